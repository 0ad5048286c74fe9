``decnet-outputs`` has ``--status-port`` and ``--on-event``: who writes, how far behind each output is, what the stream
holds; ``decnet-syslog status`` shows it.
