"""
The times of the lease on the outputs, and the reasons to give it up.

L{decnet_syslog.nats._outbox} and L{decnet_syslog.nats._reader} have the theory.
"""

from __future__ import annotations

__all__ = ["GIVE_UP_S", "LEASE_S", "RENEW_S", "LeaseLost", "WentBack"]

# Seconds. A cluster does not answer while it elects a leader. That must not end the lease.
LEASE_S = 30.0
RENEW_S = 5.0

# Seconds since the last time that we could write the value. The rest of the lease is for writes
# that are in progress.
GIVE_UP_S = 20.0


class LeaseLost(Exception):
    """Another process writes the outputs now: stop without writing more."""


class WentBack(Exception):
    """
    The stream has lost messages at its end, and assigns their sequences to other messages.

    Its store was restored, or most nodes lost power at once. The outputs continue after the last
    unchanged message.
    """
