"""decnet-syslog forwarder: the same service as twistd decnet-forwarder, in the foreground."""

from __future__ import annotations

from ..worker import tap
from .service import runService

__all__ = ["Options", "run"]


class Options(tap.Options):
    """Options of the service."""

    longdesc = tap.Options.longdesc.replace("twistd -n decnet-", "decnet-syslog ")


def run(options: Options) -> int:
    """Run the service until it stops. The exit status."""
    return runService("decnet-forwarder", options)
