"""The commands of decnet-syslog, one module each."""
