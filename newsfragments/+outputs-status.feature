``decnet-outputs`` has ``--status-port`` and ``--on-event``. They report which process writes, how far each output lags, and how much
the stream holds; ``decnet-syslog status`` shows it.
