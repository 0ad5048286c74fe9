"""The twistd commands: decnet-forwarder (worker), decnet-listener and decnet-outputs (master)."""

from decnet_syslog.signals import SignalSafeServiceMaker

decnetForwarder = SignalSafeServiceMaker(
    "DECNET forwarder",
    "decnet_syslog.worker.tap",
    "Send local logs to the master over mutual TLS (RFC 5425).",
    "decnet-forwarder",
)

decnetListener = SignalSafeServiceMaker(
    "DECNET listener",
    "decnet_syslog.master.tap",
    "Collect the workers' logs over mutual TLS into the ingest files (RFC 5425).",
    "decnet-listener",
)

decnetOutputs = SignalSafeServiceMaker(
    "DECNET outputs",
    "decnet_syslog.nats.tap",
    "Write the ingest files of a journal that several listeners share (NATS JetStream).",
    "decnet-outputs",
)
