"""What decnet-syslog does, one command a module."""
