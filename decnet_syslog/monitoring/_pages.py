"""
The pages as web resources: what a browser can ask for, and how often.

A page is made in the reactor's thread, which also has to receive lines. So each page is made once
for the same facts, and at most L{PAGES_MAX} pages are made for them: a browser that keeps asking
for different pages is sometimes told to ask again later.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from importlib import resources

from twisted.python.failure import Failure
from twisted.web.http import NOT_FOUND, SERVICE_UNAVAILABLE
from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request
from twisted.web.template import Tag, flattenString

from ._events import Event
from ._factparts import WorkerFacts
from ._facts import ListenerFacts
from ._fleetpage import fleetPage
from ._icon import ICONS
from ._site import Document, withoutBody
from ._view import View
from ._workerpage import strangerPage, workerPage
from ._workerrecord import workerRecord
from ._workertable import WorkerNamed

__all__ = ["makePages"]

# Different pages made of the same facts, which are gathered at most once a second.
PAGES_MAX = 8

# Events on a worker's page.
EVENTS_MAX = 50

_HTML = b"text/html; charset=utf-8"

_JSON = b"application/json"

Status = ListenerFacts
EventsOf = Callable[[str, int], list[Event]]


class Printer:
    """Pages as octets, each made once for the same facts."""

    def __init__(self, facts: Callable[[], Status]) -> None:
        self._facts = facts
        self._of: Status | None = None
        self._made: dict[Hashable, bytes] = {}

    def __call__(self, key: Hashable, make: Callable[[Status], bytes]) -> bytes | None:
        """
        Return a page.

        @param key: which page.
        @return: C{None}: too many other pages were asked for.
        """
        status = self._facts()
        if status is not self._of:
            self._of = status
            self._made = {}
        page = self._made.get(key)
        if page is None and len(self._made) < PAGES_MAX:
            page = self._made[key] = make(status)
        return page


def _flat(page: Tag) -> bytes:
    """Render a page that contains nothing asynchronous."""
    done: list[bytes] = []
    failed: list[Failure] = []
    flattenString(None, page).addCallbacks(done.append, failed.append)
    for failure in failed:
        failure.raiseException()
    (octets,) = done
    return b"<!DOCTYPE html>\n" + octets + b"\n"


class _Page(Resource):
    """A page from the printer."""

    isLeaf = True
    render_HEAD = withoutBody

    def __init__(self, printer: Printer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._printer = printer

    def answer(
        self,
        request: Request,
        key: Hashable,
        make: Callable[[Status], bytes],
        contentType: bytes = _HTML,
    ) -> bytes:
        """Send the page, or 503 if too many were asked for."""
        octets = self._printer(key, make)
        if octets is None:
            request.setResponseCode(SERVICE_UNAVAILABLE)
            request.setHeader(b"retry-after", b"1")
            request.setHeader(b"content-type", b"text/plain; charset=utf-8")
            return b"too many different pages are requested; try again in a second\n"
        request.setHeader(b"content-type", contentType)
        return octets


class _Fleet(_Page):
    """The page of the fleet."""

    def __init__(self, printer: Printer, worker: WorkerNamed, hidden: bool) -> None:
        super().__init__(printer)
        self._worker = worker
        self._hidden = hidden

    def render_GET(self, request: Request) -> bytes:
        """Render the selected workers."""
        view = View.of(request.args or {})
        return self.answer(
            request,
            view,
            lambda status: _flat(fleetPage(status, self._worker, view, self._hidden)),
        )


class _OneWorker(_Page):
    """The page of a worker."""

    def __init__(
        self,
        printer: Printer,
        name: str,
        worker: WorkerNamed,
        events: EventsOf,
        hidden: bool,
    ) -> None:
        super().__init__(printer)
        self._name = name
        self._worker = worker
        self._events = events
        self._hidden = hidden

    def render_GET(self, request: Request) -> bytes:
        """The present state, or 404 for an unknown name."""
        name, worker = self._name, self._worker(self._name)
        if worker is None:
            request.setResponseCode(NOT_FOUND)
            return self.answer(request, "nobody", _strangerPage)
        known = worker

        def make(status: Status) -> bytes:
            fact = _fact(status, name)
            if fact is None:
                return _strangerPage(status)
            events = self._events(name, EVENTS_MAX)
            return _flat(workerPage(status, fact, known, events, self._hidden))

        return self.answer(request, ("page", name), make)


class _OneRecord(_Page):
    """A worker's page as JSON."""

    def __init__(
        self, printer: Printer, name: str, worker: WorkerNamed, events: EventsOf
    ) -> None:
        super().__init__(printer)
        self._name = name
        self._worker = worker
        self._events = events

    def render_GET(self, request: Request) -> bytes:
        """The present state, or C{null} for an unknown name."""
        name, worker = self._name, self._worker(self._name)
        if worker is None:
            request.setResponseCode(NOT_FOUND)
            return self.answer(request, "null", lambda status: b"null\n", _JSON)
        known = worker

        def make(status: Status) -> bytes:
            fact = _fact(status, name)
            found = fact and workerRecord(
                status, fact, known, self._events(name, EVENTS_MAX)
            )
            return json.dumps(found).encode("ascii") + b"\n"

        return self.answer(request, ("record", name), make, _JSON)


def _fact(status: Status, name: str) -> WorkerFacts | None:
    """The facts about a worker."""
    for fact in status["workers"]:
        if fact["name"] == name:
            return fact
    return None


def _strangerPage(status: Status) -> bytes:
    return _flat(strangerPage(status))


class _Workers(Resource):
    """The resources below C{/worker/}."""

    def __init__(
        self, page: Callable[[str], Resource], record: Callable[[str], Resource]
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._page = page
        self._record = record

    def render_GET(self, request: Request) -> bytes:
        """404: a name is missing."""
        octets: bytes = notFound().render(request)
        return octets

    def getChild(self, path: bytes, request: Request) -> IResource:
        """The page of the worker with this name; below it, the same as JSON."""
        name = path.decode("utf-8", "replace")
        if not request.postpath:
            return self._page(name)
        return (
            self._record(name) if request.postpath == [b"status.json"] else notFound()
        )


def makePages(
    facts: Callable[[], Status],
    worker: WorkerNamed,
    events: EventsOf,
    hidden: bool = False,
) -> Mapping[bytes, Resource]:
    """
    The resources for people, by the first segment of their path.

    @param worker: returns further knowledge of a name.
    @param events: returns the last events of a name, at most the given number.
    @param hidden: whether to show no worker's lines.
    """
    printer = Printer(facts)

    def fixed(octets: bytes, contentType: bytes) -> Resource:
        return Document(contentType, lambda: octets)

    def ours(name: str, contentType: bytes) -> Resource:
        return fixed(
            resources.files(__package__).joinpath(name).read_bytes(), contentType
        )

    return {
        b"": _Fleet(printer, worker, hidden),
        b"worker": _Workers(
            lambda name: _OneWorker(printer, name, worker, events, hidden),
            lambda name: _OneRecord(printer, name, worker, events),
        ),
        b"page.css": ours("page.css", b"text/css; charset=utf-8"),
        b"page.js": ours("page.js", b"text/javascript; charset=utf-8"),
        **{
            name.encode("ascii"): fixed(octets, b"image/svg+xml")
            for name, octets in ICONS.items()
        },
    }
