``decnet-syslog ca replace`` replaces the CA in repeatable steps, without a restart and without losing a line; ``revoke`` works before, during and after. See docs/trust.rst.
