"""The listener's memory while very many peers stall or announce large frames."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import residentKiB
from benchmarks.report import rstTable

from .field import Field
from .papers import Papers
from .peer import OPEN, Peer, TLSPeer, context

__all__ = ["Figure", "describe", "measure"]

# The beginning of a ClientHello: the listener waits for the rest.
_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(32)

HALF_OPEN = 10_000
SLOW = 2_000
SLOW_S = 10
LARGEST = 100
MIB = 1024 * 1024

# Time for the listener to come to rest, in seconds.
REST_S = 2.0


@dataclass(frozen=True)
class Figure:
    """
    The cost of a crowd.

    @ivar sent: a description of the peers' behaviour.
    @ivar held: the number of peers still connected after all had come.
    """

    sent: str
    held: int
    beforeKiB: int
    peakKiB: int
    afterKiB: int

    def row(self) -> list[str]:
        """The row of the table."""
        mib = [f"{k / 1024:.0f}" for k in (self.beforeKiB, self.peakKiB, self.afterKiB)]
        return [self.sent, f"{self.held:,}", *mib]


def _crowd(
    field: Field,
    sent: str,
    gather: Callable[[], Sequence[Peer]],
    act: Callable[[Sequence[Peer]], None],
) -> Figure:
    pid = field.pair.listener.pid
    time.sleep(REST_S)
    before = residentKiB(pid)
    peers = gather()
    held = sum(1 for peer in peers if peer.fate(0) == OPEN)
    peak = residentKiB(pid)
    deadline = time.monotonic() + SLOW_S
    while time.monotonic() < deadline:
        act(peers)
        peak = max(peak, residentKiB(pid))
        time.sleep(1.0)
    for peer in peers:
        peer.reset()
    time.sleep(REST_S)
    assert field.pair.listener.alive
    return Figure(sent, held, before, peak, residentKiB(pid))


def _nothing(peers: Sequence[Peer]) -> None:
    pass


def measure(directory: Path) -> dict[str, Any]:
    """Try three crowds. Returns a table."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    options = ["--max-connections-per-worker=4000"]
    field = Field(directory, options)
    figures = []
    try:
        field.start()
        figures.append(
            _crowd(field, "half a handshake", lambda: _halves(field), _nothing)
        )
        papers = field.enroll("crowd")
        figures.append(
            _crowd(
                field,
                "a frame, one octet a second",
                lambda: _crawlers(field, papers),
                _crawl,
            )
        )
        figures.append(
            _crowd(
                field,
                "a frame of 1 MiB announced, all but its last octet sent",
                lambda: _announcers(field),
                _nothing,
            )
        )
        seen = field.finish()
    finally:
        field.stop()
    return {"crowds": [asdict(one) for one in figures], "worker": asdict(seen)}


def describe(results: Mapping[str, Any]) -> str:
    """The page's table: in reStructuredText."""
    seen = results["worker"]
    heads = ["each", "held at once", "before", "peak", "after, MiB"]
    rows = [Figure(**one).row() for one in results["crowds"]]
    return (
        f"{rstTable(heads, rows)}\n"
        f"The well-behaved worker: {seen['written']:,} lines written,"
        f" {seen['delivered']:,} delivered, {seen['repeated']} repeated;"
        f" delay {seen['worst'] * 1000:.0f} ms at worst.\n"
    )


def _halves(field: Field) -> list[Peer]:
    """Each address is allowed 1,024 unfinished handshakes."""
    peers: list[Peer] = []
    source = ""
    for number in range(HALF_OPEN):
        if number % 500 == 0:
            source = field.address()
        with suppress(OSError):
            peers.append(Peer(field.target, source))
            peers[-1].send(_HELLO)
    return peers


def _crawlers(field: Field, papers: Papers) -> list[Peer]:
    made = context(papers)
    source = field.address()
    peers: list[Peer] = []
    for _ in range(SLOW):
        peers.append(TLSPeer(field.target, source, made))
        peers[-1].send(b"1000 ")
    return peers


def _crawl(peers: Sequence[Peer]) -> None:
    for peer in peers:
        with suppress(OSError):
            peer.send(b"x")


def _announcers(field: Field) -> list[Peer]:
    peers: list[Peer] = []
    for number in range(LARGEST):
        made = context(field.enroll(f"large-{number}"))
        peers.append(TLSPeer(field.target, field.address(), made))
    for peer in peers:
        with suppress(OSError):
            peer.send(b"%d " % MIB + bytes(MIB - 1), 5.0)
    return peers
