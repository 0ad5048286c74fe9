A small module in C does the framing and renders the records, if a compiler is present when the package is installed. Otherwise
Python does the same, more slowly. ``decnet-syslog --version`` and the status show which one runs, and ``DECNET_SYSLOG_PURE_PYTHON=1``
disables the module.
