"""
The queue of requests for streams: granted a few at a time, fairly among workers.

A request is granted in the journal's thread, after every group of deposits that was handed over
before it. Deposits that arrive meanwhile are committed before the next few requests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ._promise import JournalBlocked
from ._values import OpenRequest, StreamLease

__all__ = ["GrantQueue"]

# Grants in one transaction. Then commits have their turn: a worker that opens very many
# streams must not delay the lines of others.
GRANTS_AT_ONCE = 64

# A request, whether the connection still wants it, and the Deferred for the answer.
_Asked: TypeAlias = tuple[OpenRequest, Callable[[], bool], Deferred[StreamLease]]


class GrantQueue:
    """
    Requests that wait for the journal.
    """

    def __init__(
        self,
        grants: Callable[[Sequence[OpenRequest]], Deferred[Any]],
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
        self._requests: dict[str, deque[_Asked]] = {}
        self._granting = False

    def add(
        self, request: OpenRequest, wanted: Callable[[], bool]
    ) -> Deferred[StreamLease]:
        """
        Queue a request.

        @param wanted: whether the connection still wants the grant; if not, the Deferred never
            fires.
        """
        done: Deferred[StreamLease] = Deferred()
        self._requests.setdefault(request.worker, deque()).append(
            (request, wanted, done)
        )
        self.proceed()
        return done

    def proceed(self) -> None:
        """Grant the next requests, unless some are being granted or the journal is blocked."""
        if self._granting or self._isBlocked():
            return
        some: list[tuple[OpenRequest, Deferred[StreamLease]]] = []
        while self._requests and len(some) < GRANTS_AT_ONCE:
            # One request per turn and worker, however many the worker has.
            worker = next(iter(self._requests))
            waiting = self._requests.pop(worker)
            request, wanted, done = waiting.popleft()
            if waiting:
                self._requests[worker] = waiting
            if wanted():
                some.append((request, done))
        if not some:
            return
        self._granting = True
        granted = self._grants([request for request, _ in some])
        granted.addCallbacks(
            self._granted, self._notGranted, callbackArgs=(some,), errbackArgs=(some,)
        )
        # Also when the journal is gone: then no request is answered.
        granted.addErrback(self._failed)

    def _granted(
        self,
        grants: list[StreamLease] | None,
        some: list[tuple[OpenRequest, Deferred[StreamLease]]],
    ) -> None:
        self._granting = False
        if grants is None:
            # The journal cannot be trusted. That was logged.
            return
        for (_, done), grant in zip(some, grants, strict=True):
            done.callback(grant)
        self.proceed()

    def _notGranted(
        self, failure: Failure, some: list[tuple[OpenRequest, Deferred[StreamLease]]]
    ) -> None:
        failure.trap(JournalBlocked)
        self._granting = False
        for _, done in some:
            done.errback(failure)
        self.proceed()
