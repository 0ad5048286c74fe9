"""
The cost of very many streams for a journal in JetStream. C{python -m benchmarks.streams}.

For each number of streams, on one nats-server: open each stream, send some batches, write them to
an output, shorten the positions, restart all processes, and open all streams again. The table
has the processor time for a stream (ours and the server's): it must not grow with their number, and
other programs on the machine hardly change it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from decnet_syslog.journal import Cursor, Deposit, OpenRequest, StreamLease
from decnet_syslog.nats import _shortening as shortening
from decnet_syslog.nats._journal import JetStreamJournal
from decnet_syslog.nats._outputsjournal import OutputsJournal
from decnet_syslog.wire import Provenance
from tests.natsserver import ROOMY, NatsServer, openJetStream, openOutputs, waitUntil

from .report import save, table

__all__ = ["describe", "main"]

# The limit for a worker is 4,096.
STREAMS_OF_WORKER = 1000
AT_ONCE = 64
ROUNDS = 8
OCTETS_MAX = 1 << 30
MUCH = 1 << 30
LINE = os.urandom(1500).hex().encode() + b"\n"


def _grants(journal: JetStreamJournal, count: int) -> list[StreamLease]:
    """Open all streams in groups, like group commit."""
    requests = [
        OpenRequest(
            f"w{at // STREAMS_OF_WORKER}", f"{at:032x}", 0, 0, f"/var/log/{at}.log"
        )
        for at in range(count)
    ]
    return [
        granted
        for at in range(0, count, AT_ONCE)
        for granted in journal.grants(requests[at : at + AT_ONCE])
    ]


def _send(journal: JetStreamJournal, grants: Sequence[StreamLease]) -> None:
    """Send a batch of each stream."""
    deposits = [
        Deposit(
            replace(
                Provenance(
                    "", "-", f"127.0.0.1:{at}", "2026-04-18T00:00:00Z", "x", False
                ),
                worker=f"w{at // STREAMS_OF_WORKER}",
            ),
            granted,
            granted.offset,
            granted.offset + len(LINE),
            LINE,
        )
        for at, granted in enumerate(grants)
    ]
    for at in range(0, len(deposits), AT_ONCE):
        assert None not in journal.commit(deposits[at : at + AT_ONCE])


def _write(writer: OutputsJournal) -> None:
    """Read all batches, save the cursor, and remove written messages."""
    after = writer.outbox.released
    while batches := writer.written("a").read(after, 1 << 20):
        after = batches[-1].seq
        writer.commit([], [Cursor("a", after, {})])


def _tidy(writer: OutputsJournal, count: int) -> None:
    """Shorten all positions."""
    for _ in range(count // shortening.TIDY_AT_ONCE + 1):
        writer.tidy()
        writer._shortener._tidied = float("-inf")


def _spent(server: NatsServer) -> float:
    """The processor time of this process and of a server, in seconds."""
    if not server.alive:
        return time.process_time()
    assert server.running is not None
    stat = Path(f"/proc/{server.running.pid}/stat").read_text().rpartition(")")[2]
    ticks = sum(map(int, stat.split()[11:13]))
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def _measure(directory: Path, count: int) -> list[dict[str, Any]]:
    """Time each step with a number of streams."""
    steps: list[dict[str, Any]] = []
    server = NatsServer(directory, extra=ROOMY)
    server.start()
    state = directory / "outputs.db"

    def timed(what: str, work: Callable[[], object]) -> None:
        began, spent = time.monotonic(), _spent(server)
        work()
        took, spent = time.monotonic() - began, _spent(server) - spent
        steps.append(
            {"step": what, "streams": count, "elapsed_s": took, "cpu_s": spent}
        )
        print(f"{count:>7,} {what:<44} {took:>8.2f} s", flush=True)

    def listener() -> JetStreamJournal:
        return openJetStream(
            server.url, octetsMax=OCTETS_MAX, encoding="none", messageOctetsMax=9999
        )

    try:
        waitUntil(server.healthy, "JetStream does not start")
        with closing(listener()) as journal:
            grants: list[StreamLease] = []
            timed(
                "a listener opens them, new",
                lambda: grants.extend(_grants(journal, count)),
            )
            timed("one batch of each is committed", lambda: _send(journal, grants))
            for _ in range(ROUNDS - 1):
                _send(journal, _grants(journal, count))
        with closing(openOutputs(server.url, state, octetsMax=OCTETS_MAX)) as writer:
            timed(
                "the outputs start, nothing written", lambda: writer.useOutputs(["a"])
            )
            timed(
                f"{ROUNDS} batches of each are read and removed", lambda: _write(writer)
            )
            timed("all positions are shortened", lambda: _tidy(writer, count))
            timed("the outputs look again, all are short", writer.tidy)
        server.stop()
        timed("nats-server starts", server.start)
        waitUntil(server.healthy, "JetStream does not start")
        journals: list[JetStreamJournal] = []
        timed("a listener starts", lambda: journals.append(listener()))
        with closing(journals[0]) as journal:
            timed("a listener opens them again", lambda: _grants(journal, count))
            timed("it answers a LIST of 1,000 streams", lambda: journal.known("w0"))
        writers: list[OutputsJournal] = []
        timed(
            "the outputs start, everything written",
            lambda: writers.append(
                openOutputs(server.url, state, octetsMax=OCTETS_MAX)
            ),
        )
        with closing(writers[0]) as writer:
            timed("and find their places", lambda: writer.useOutputs(["a"]))
    finally:
        server.kill()
    return steps


def describe(steps: Sequence[dict[str, Any]]) -> str:
    """A table: the processor time of each step for a stream, by the number of streams."""
    counts = sorted({one["streams"] for one in steps})
    cells: dict[str, dict[int, str]] = {}
    for one in steps:
        each = f"{one['cpu_s'] / one['streams'] * 1000:.2f}"
        cells.setdefault(one["step"], {})[one["streams"]] = each
    return table(
        ["ms of CPU for a stream", *[f"{count:,} streams" for count in counts]],
        [[step, *[row.get(c, "") for c in counts]] for step, row in cells.items()],
    )


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams")
    parser.add_argument(
        "--streams", type=int, nargs="*", default=[1000, 3000, 10_000, 30_000]
    )
    given = parser.parse_args(arguments)
    shortening.QUIET_S = 0
    steps: list[dict[str, Any]] = []
    for count in given.streams:
        with tempfile.TemporaryDirectory(prefix="decnet-syslog-streams-") as made:
            steps += _measure(Path(made), count)
    print(describe(steps))
    save("streams", vars(given), steps)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
