"""
When acknowledgements are sent: those of many connections together, and few for each connection.

Sending an acknowledgement is as much work as receiving a line, and no forwarder waits for one: it
keeps a window of lines that are not acknowledged yet. So a connection that sends a line now and
then gets its acknowledgement at once, and one that sends lines all the time gets one in each
C{ACK_SPACING_S}.
"""

from __future__ import annotations

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from ._depositor import Depositor, notify

__all__ = ["ACK_OCTETS_MAX", "ACK_SPACING_S", "AckSchedule"]

# The time between two acknowledgements on one connection, in seconds, unless they cover
# ACK_OCTETS_MAX octets. That must be less than the smallest window of a forwarder (16 KiB), which
# would otherwise wait for the rest of the time.
ACK_SPACING_S = 1.0
ACK_OCTETS_MAX = 8 * 1024


class AckSchedule:
    """
    The depositors that have something to acknowledge soon.

    @ivar spacing: the time between two acknowledgements on one connection, in seconds.
    @ivar sent: the number of acknowledgements sent to all peers.
    """

    def __init__(self, clock: IReactorTime, spacing: float) -> None:
        self.spacing = spacing
        self.sent = 0
        self._clock = clock
        self._due: dict[Depositor, None] = {}
        self._timer: IDelayedCall | None = None
        self._isStopped = False

    def scheduleAck(self, depositor: Depositor) -> None:
        """Call C{depositor.acknowledge} soon, together with the others'."""
        self._due[depositor] = None
        if self._timer is None and not self._isStopped:
            self._timer = self._clock.callLater(self.spacing, self._acknowledge)

    def _acknowledge(self) -> None:
        self._timer = None
        due, self._due = self._due, {}
        for depositor in due:
            notify(depositor, depositor.acknowledge)

    def stop(self) -> None:
        """Send no more."""
        self._isStopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
