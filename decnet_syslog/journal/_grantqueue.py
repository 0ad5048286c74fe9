"""
The queue of requests for streams: granted a few at a time, fairly among workers.

A request is granted in the journal's thread, after every group of deposits that was handed over
before it. Deposits that arrive meanwhile are committed before the next few requests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ._promise import JournalBlocked
from ._values import OpenRequest, StreamLease

__all__ = ["GrantQueue"]

# Grants in one transaction. Then commits have their turn: a worker that opens very many
# streams must not delay the lines of others.
GRANTS_AT_ONCE = 64


class _Waiting(NamedTuple):
    """
    A request that waits for its grant.

    @ivar isWanted: whether the connection still wants the grant.
    @ivar answer: the L{Deferred} that the connection has.
    """

    request: OpenRequest
    isWanted: Callable[[], bool]
    answer: Deferred[StreamLease]


class GrantQueue:
    """Requests that wait for the journal."""

    def __init__(
        self,
        grants: Callable[[Sequence[OpenRequest]], Deferred[list[StreamLease]]],
        isBlocked: Callable[[], bool],
        failed: Callable[[Failure], Failure | None],
    ) -> None:
        """
        @param grants: grant requests in the journal's thread; its answer is C{None} if the
            journal cannot be trusted any more.
        @param isBlocked: whether the journal takes no more work for now.
        @param failed: told of an error that is not a blocked journal.
        """
        self._grants = grants
        self._isBlocked = isBlocked
        self._failed = failed
        self._waiting: dict[str, deque[_Waiting]] = {}
        self._granting = False

    def add(
        self, request: OpenRequest, isWanted: Callable[[], bool]
    ) -> Deferred[StreamLease]:
        """
        Queue a request.

        @param isWanted: whether the connection still wants the grant; if not, the Deferred never
            fires.
        """
        waiting = _Waiting(request, isWanted, Deferred())
        self._waiting.setdefault(request.worker, deque()).append(waiting)
        self.proceed()
        return waiting.answer

    def proceed(self) -> None:
        """Grant the next requests, unless some are being granted or the journal is blocked."""
        if self._granting or self._isBlocked():
            return
        some: list[_Waiting] = []
        while self._waiting and len(some) < GRANTS_AT_ONCE:
            # One request per turn and worker, however many the worker has.
            worker = next(iter(self._waiting))
            ofWorker = self._waiting.pop(worker)
            first = ofWorker.popleft()
            if ofWorker:
                self._waiting[worker] = ofWorker
            if first.isWanted():
                some.append(first)
        if not some:
            return
        self._granting = True
        granted = self._grants([waiting.request for waiting in some])
        granted.addCallbacks(
            self._granted, self._notGranted, callbackArgs=(some,), errbackArgs=(some,)
        )
        # Also when the journal is gone: then no request is answered.
        granted.addErrback(self._failed)

    def _granted(self, grants: list[StreamLease] | None, some: list[_Waiting]) -> None:
        self._granting = False
        if grants is None:
            # The journal cannot be trusted. That was logged.
            return
        for waiting, grant in zip(some, grants, strict=True):
            waiting.answer.callback(grant)
        self.proceed()

    def _notGranted(self, failure: Failure, some: list[_Waiting]) -> None:
        failure.trap(JournalBlocked)
        self._granting = False
        for waiting in some:
            waiting.answer.errback(failure)
        self.proceed()
