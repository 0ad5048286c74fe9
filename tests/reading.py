"""Request the listener's pages and parse them."""

from __future__ import annotations

from html.parser import HTMLParser

from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from .watched import Watched


class Page(HTMLParser):
    """
    A parsed page.

    @ivar title: the title of the document.
    @ivar tables: by the first class of the table, its rows, the head first.
    @ivar sections: the text of each section, by its id.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = self.title = ""
        self.sections: dict[str, str] = {}
        self.tables: dict[str, list[list[str]]] = {}
        self._in: list[str] = []
        self._section = self._table = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag == "section":
            self._section = attributes["id"] or ""
        elif tag == "table":
            self._table = (attributes["class"] or "").partition(" ")[0]
            self.tables[self._table] = []
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag in ("td", "th"):
            self.tables[self._table][-1].append("")
        self._in.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        while self._in and self._in.pop() != tag:
            pass
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in[-1:] == ["title"]:
            self.title += data
        self.sections[self._section] = self.sections.get(self._section, "") + data
        if "td" in self._in or "th" in self._in:
            self.tables[self._table][-1][-1] += data

    def having(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each element with a tag."""
        return [attributes for name, attributes in self.elements if name == tag]

    def workers(self) -> dict[str, list[str]]:
        """
        The rows of the table of workers, by name; a worker's newest row, if it is there,
        comes last.
        """
        _, *rows = self.tables["workers"]
        if len(rows) < 2 or len(rows[1]) > 1:
            return {name: row for name, *row in rows}
        return {
            row[0]: [*row[1:], *newest]
            for row, newest in zip(rows[::2], rows[1::2], strict=True)
        }


def ask(
    watched: Watched, path: str, host: str | None = "127.0.0.1:5", method: str = "GET"
) -> tuple[int, dict[str, str], str]:
    """Send a request on a connection of its own: status, headers and body."""
    protocol = watched.site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 9))
    assert protocol is not None
    transport = StringTransport(IPv4Address("TCP", "127.0.0.1", 5))
    protocol.makeConnection(transport)
    named = "" if host is None else f"Host: {host}\r\n"
    protocol.dataReceived(f"{method} {path} HTTP/1.0\r\n{named}\r\n".encode())
    watched.clock.advance(0)
    head, _, body = transport.value().partition(b"\r\n\r\n")
    protocol.connectionLost(Failure(Exception("closed")))
    status, *lines = head.decode("ascii").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, body.decode("utf-8")
