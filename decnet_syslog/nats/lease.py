"""
When whoever writes the outputs has to stop.

L{decnet_syslog.nats.outbox} and L{decnet_syslog.nats.reader} say why.
"""

from __future__ import annotations

__all__ = ["GIVE_UP_S", "LEASE_S", "RENEW_S", "LeaseLost", "WentBack"]

# A cluster that elects a leader answers nobody for some seconds: that is no reason to go.
LEASE_S = 30.0
RENEW_S = 5.0

# From the last time that we could write the value. The rest is for what is under way.
GIVE_UP_S = 20.0


class LeaseLost(Exception):
    """Somebody else writes the outputs now: stop, and write nothing more."""


class WentBack(Exception):
    """
    The stream has lost messages at its end, and gives their sequences to others.

    Most of its nodes have lost their power at once. Whoever writes
    the outputs begins again behind what is still there.
    """
