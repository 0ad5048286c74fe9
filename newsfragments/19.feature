Framing and records are done by a small module in C, if there is a compiler when the package is installed; without one Python
does the same, slower. ``decnet-syslog --version`` and the status say which one runs, and ``DECNET_SYSLOG_PURE_PYTHON=1`` turns
the module off.
