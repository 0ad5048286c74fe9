"""decnet-syslog listener: the same service as twistd decnet-listener, in the foreground."""

from __future__ import annotations

from ..master import tap
from .service import runService

__all__ = ["Options", "run"]


class Options(tap.Options):
    """Options of the service."""

    longdesc = tap.Options.longdesc.replace("twistd -n decnet-", "decnet-syslog ")


def run(options: Options) -> int:
    """Run the service until it stops. The exit status."""
    return runService("decnet-listener", options)
