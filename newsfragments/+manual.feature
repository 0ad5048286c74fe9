Manual pages for every command and for the configuration files, and completion for zsh and fish next to bash. The packages
contain them, and ``decnet-syslog manual DIRECTORY`` and ``decnet-syslog completion SHELL`` write them.
