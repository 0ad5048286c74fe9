The options of the forwarder, the listener and the outputs can be in a TOML file (``--config``, or
``/etc/decnet-syslog/forwarder.toml``, ``listener.toml``, ``outputs.toml``). ``decnet-syslog config check`` finds mistakes
in it, with file, line and the nearest name; ``decnet-syslog config show`` prints each value and its source.
``decnet-syslog forwarder``, ``listener`` and ``outputs`` run the services without twistd's options; their help is in
groups. Python 3.10 needs ``tomli``.

Mistyped commands and options are answered with the nearest one, and errors about a value name its option. A URL as master,
a directory as log or output, and ``--status-address`` without ``--status-port`` are refused at the start. An
address of another machine is reported as such.
