The log messages, the help, the doctor's findings and the status page say in plain English what happened, to what,
and what to do. Alarms are logged as sentences ("worker decky-01 is silent: ..."). The reload of a certificate, of the
allow-list or of the revocation list and the shutdown of a master are now logged as information, not as warnings.
