"""
C{/readyz}: whether a process does its work now, for those who send work to it or restart it.

C{/healthz} answers as long as the process does. This also asks the parts that do the work, each in
its own thread, and answers 503 with the reasons if one does not answer or cannot go on. Requests at
the same time share one question, so that no client can make us ask more often.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.http import SERVICE_UNAVAILABLE, Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

__all__ = ["PATIENCE_S", "Ready", "ReadyResource"]

# How long a part may take to answer, in seconds: less than Kubernetes and balancers wait by default
# with a margin, more than a commit on a slow disk.
PATIENCE_S = 5.0


class Ready:
    """
    Asks whether a process is ready.
    """

    def __init__(
        self,
        clock: IReactorTime,
        obstacles: Callable[[], list[str]],
        parts: Callable[[], Mapping[str, Deferred[None] | Deferred[bool]]],
    ) -> None:
        """
        @param obstacles: returns why the process cannot do its work now.
        @param parts: asks every part; called only if there is no obstacle.
        """
        self._clock = clock
        self._obstacles = obstacles
        self._parts = parts
        self._waiting: list[Deferred[list[str]]] = []

    def ask(self) -> Deferred[list[str]]:
        """Fire with the reasons why the process is not ready; none: it is."""
        done: Deferred[list[str]] = Deferred()
        self._waiting.append(done)
        if len(self._waiting) == 1:
            obstacles = self._obstacles()
            if obstacles:
                self._answer(obstacles)
            else:
                self._askParts()
        return done

    def _askParts(self) -> None:
        asked = self._parts()
        if not asked:
            self._answer([])
            return
        missing = dict.fromkeys(asked, "does not answer")

        def over() -> None:
            self._answer([f"{name} {why}" for name, why in missing.items()])

        timer = self._clock.callLater(PATIENCE_S, over)

        def answered(result: object, name: str) -> None:
            del missing[name]
            # A part may answer after the others have heard that it does not.
            if not missing and timer.active():
                timer.cancel()
                over()

        def failed(failure: Failure, name: str) -> None:
            missing[name] = f"failed: {failure.getErrorMessage()}"

        for name, answer in list(asked.items()):
            answer.addCallbacks(
                answered, failed, callbackArgs=(name,), errbackArgs=(name,)
            )

    def _answer(self, reasons: list[str]) -> None:
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done.callback(reasons)


class ReadyResource(Resource):
    """The resource."""

    isLeaf = True

    def __init__(self, ready: Ready) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._ready = ready

    def render_GET(self, request: Request) -> int:
        """Answer when every part has, or after C{PATIENCE_S}."""
        isGone: list[object] = []
        request.notifyFinish().addBoth(isGone.append)

        def answer(reasons: list[str]) -> None:
            if isGone:
                return
            request.setHeader(b"content-type", b"text/plain; charset=utf-8")
            text = "".join(f"{reason}\n" for reason in reasons) or "ok\n"
            if reasons:
                request.setResponseCode(SERVICE_UNAVAILABLE)
            octets = text.encode("utf-8", "replace")
            request.setHeader(b"content-length", b"%d" % len(octets))
            if request.method != b"HEAD":
                request.write(octets)
            request.finish()

        self._ready.ask().addCallback(answer)
        return NOT_DONE_YET

    render_HEAD = render_GET
