"""What a listener logs about frames that it skipped: seldom, however many a peer sends."""

from __future__ import annotations

from twisted.logger import Logger

from ._seldom import Seldom

__all__ = ["SkippedLog"]


class SkippedLog:
    """Logs the skipped frames of a connection."""

    _log = Logger()

    def __init__(self, seldom: Seldom, worker: str, address: str) -> None:
        self._seldom = seldom
        self._worker = worker
        self._address = address

    def oversize(self, octets: int, limit: int) -> None:
        """A message over the limit was skipped."""
        count = self._seldom.occurred((self._worker, "oversize"))
        if count:
            self._log.warn(
                "{worker} at {address}: skipped a message of {octets} octets ({count} since the"
                " last such line): {reason}; a gap record has its length and its first octets;"
                " --max-message raises the limit",
                event="gap",
                worker=self._worker,
                address=self._address,
                octets=octets,
                count=count,
                reason=f"over the limit of {limit}",
            )

    def empty(self, count: int) -> None:
        """Empty frames were skipped."""
        count = self._seldom.occurred((self._worker, "empty"), count)
        if count:
            self._log.warn(
                "{worker} at {address}: skipped {count} empty frames (MSG-LEN 0) since the last"
                " such line: {reason}",
                event="skipped",
                worker=self._worker,
                address=self._address,
                count=count,
                reason="an empty line in its log, if it is DECNET's forwarder",
            )
