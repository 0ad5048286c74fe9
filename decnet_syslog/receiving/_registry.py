"""
The registry of connections: those of each worker, and the owner of each stream.

The newest always wins: when a worker has too many connections the oldest is closed, and a
stream belongs to the connection that opened it last. The lines of two connections never mix:
once the newer one was granted the stream, no deposit of the older one can commit.

Set aside: the oldest wins. A worker whose host lost power would return while its dead
connection still looks alive, for two minutes; and an attacker with a copied key who connects
first would keep the worker out for good. A collision is logged, whichever connection wins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from twisted.logger import Logger

from ..wire import BYE
from ._acked import AckedSession
from ._flowcontrol import Pause
from ._openstreams import Key

__all__ = ["ConnectionRegistry", "IMember"]


class IMember(Protocol):
    """A connection whose handshake is done."""

    @property
    def address(self) -> str:
        """The peer's address: host and port."""

    def close(self, bye: BYE) -> None:
        """Send the reason, and close."""

    def pause(self, why: Pause) -> None:
        """Stop reading."""

    def resume(self, why: Pause) -> None:
        """A reason is gone: read on, unless there is another one."""


def _host(address: str) -> str:
    return address.rpartition(":")[0]


class ConnectionRegistry:
    """
    The connections of each worker, and the owners of streams.

    @ivar perWorkerMax: connections of one worker, beyond which the oldest is closed.
    """

    _log = Logger()

    def __init__(self, perWorkerMax: int) -> None:
        self.perWorkerMax = perWorkerMax
        self._members: dict[str, deque[IMember]] = {}
        self._owners: dict[Key, AckedSession] = {}

    def of(self, worker: str) -> Sequence[IMember]:
        """The connections of a worker, the oldest first."""
        return tuple(self._members.get(worker, ()))

    def join(self, worker: str, member: IMember) -> None:
        """Add a connection. One from another address is a collision."""
        members = self._members.setdefault(worker, deque())
        host = _host(member.address)
        for other in reversed(members):
            if _host(other.address) != host:
                self._log.warn(
                    "{worker} connects from {address} and is connected from {other}: a"
                    " copied key, or a host with a new address",
                    event="collision",
                    worker=worker,
                    address=member.address,
                    other=other.address,
                    reason="one name from two addresses",
                )
                break
        members.append(member)
        if len(members) > self.perWorkerMax:
            oldest = members.popleft()
            oldest.close(BYE("limit", "this worker has too many connections"))

    def leave(self, worker: str, member: IMember) -> bool:
        """
        A connection is gone.

        @return: whether it was the worker's last one.
        """
        members = self._members.get(worker)
        if members is None or member not in members:
            return False
        members.remove(member)
        if members:
            return False
        del self._members[worker]
        return True

    def opened(self, stream: Key, session: AckedSession) -> None:
        """A connection opens a stream: close the older connection that has it."""
        older = self._owners.get(stream)
        self._owners[stream] = session
        if older is None or older is session:
            return
        here, there = session.who.address, older.who.address
        if _host(here) != _host(there):
            self._log.warn(
                "{worker} sends stream {stream} from {address} and from {other}: the state"
                " of its forwarder was copied, or its host has a new address",
                event="collision",
                worker=session.who.worker,
                stream=stream[1],
                address=here,
                other=there,
                reason="one stream from two addresses",
            )
        older.supersede()

    def closed(self, stream: Key, session: AckedSession) -> None:
        """A connection has released a stream."""
        if self._owners.get(stream) is session:
            del self._owners[stream]

    def gone(self, session: AckedSession) -> None:
        """A connection with streams is gone."""
        for stream in session.opened:
            self.closed(stream, session)
