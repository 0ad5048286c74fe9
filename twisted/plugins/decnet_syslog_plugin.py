"""The two twistd commands: decnet-forwarder (worker) and decnet-listener (master)."""

from twisted.application.service import ServiceMaker

decnetForwarder = ServiceMaker(
    "DECNET forwarder",
    "decnet_syslog.worker.tap",
    "Ship a local log over mutual TLS to the master (RFC 5425).",
    "decnet-forwarder",
)

decnetListener = ServiceMaker(
    "DECNET listener",
    "decnet_syslog.master.tap",
    "Collect the workers' logs over mutual TLS into the ingest files (RFC 5425).",
    "decnet-listener",
)
