"""
Kill one end at every n-th system call of a kind, and check that nothing is missing.

C{strace -e inject} kills the process at its n-th fdatasync, fsync, pwrite64, write,
rename or sendto; then that end is restarted without injection, and every line must
arrive once. n increases until the process survives the run. To run all kinds of calls,
for both ends, completely:

    python -m tests.campaigns.enumeration

To kill the listener only at its calls on the file of segments, and to let these fail:

    python -m tests.campaigns.enumeration segments
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import rstTable, save
from decnet_syslog.testing import LocalCluster, Process

__all__ = ["CALLS", "EIO", "Reader", "attempt", "enumerate_"]

CALLS = ("fdatasync", "fsync", "pwrite64", "write", "rename", "sendto")

EIO = "error=EIO"

# The listener's calls on the file of segments, and those whose failure costs nothing.
SEGMENTS = "listener.db-segments"
SEGMENT_CALLS = ("openat", "fallocate", "pwrite64", "fdatasync", "ftruncate")
HARMLESS = [
    (call, f"error={name}")
    for call in ("openat", "fallocate", "pwrite64")
    for name in ("ENOSPC", "EIO", "EROFS")
]

# The later ones are so long that the listener commits most of them in segments of its journal.
LINES = b"".join(
    [
        b"<134>1 2026-04-18T00:00:00Z d s - e - line %d%s\n" % (n, b" x" * size)
        for n, size in enumerate([0] * 13 + [40_000] * 7)
    ]
)


class Reader(threading.Thread):
    """Reads master.log all the time: lines that were seen must stay."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.vanished: str | None = None
        self._over = threading.Event()

    def run(self) -> None:
        """Read until stopped."""
        seen = b""
        while not self._over.wait(0.01):
            now = self.path.read_bytes() if self.path.exists() else b""
            if not now.startswith(seen):
                self.vanished = f"saw {seen[-80:]!r}, then {now[-80:]!r}"
            seen = now

    def stop(self) -> None:
        """Stop reading."""
        self._over.set()
        self.join()


def traced(
    call: str, what: str, when: int, out: Path, only: Path | None = None
) -> list[str]:
    """
    A command that runs another and injects into its n-th system call of a kind.

    @param out: the file for strace's output.
    @param only: count only calls on this file.
    """
    return [
        "strace",
        "-D",
        "-f",
        "-qq",
        "-o",
        str(out),
        "-e",
        f"trace={call},fsync",
        "-y",
        "-e",
        f"inject={call}:{what}:when={when}",
        *([] if only is None else ["-P", str(only)]),
    ]


def short(octets: bytes) -> str:
    """Lines without what fills them."""
    return repr(octets.replace(b" x" * 100, b""))


def failed(trace: Path) -> bool:
    """Whether a sync was made to fail and was not followed by a successful one."""
    before, injected, after = trace.read_bytes().partition(b"(INJECTED)")
    path = before[before.rfind(b"<") + 1 : before.rfind(b">")]
    # SQLite does not check the sync of a directory: we sync it again.
    again = os.path.isdir(path) and re.search(rb"fsync\(\d+<%s>\) += 0" % path, after)
    return bool(injected) and not again


def attempt(
    directory: Path,
    side: str,
    call: str,
    when: int,
    what: str = "signal=SIGKILL",
    again: int = 0,
    only: str = "",
) -> int | None:
    """
    One run with an injection.

    @param side: listener or forwarder.
    @param again: also inject into this call of the recovery.
    @param only: count only calls on the file with this name.
    @return: the exit status of the process; C{None} if there is no n-th call, 0 if the
        process may continue after it.
    @raise AssertionError: something was lost, repeated, out of order, or vanished.
    """
    pair = LocalCluster(directory)
    worker = pair.enroll("w1", ["--poll-interval=0.1"])
    process: Process = pair.listener if side == "listener" else worker.forwarder
    reader = Reader(pair.logPath)
    trace = directory / "trace"
    file = directory / only if only else None
    half = LINES[: LINES.index(b"line 10")].rpartition(b"\n")[0] + b"\n"
    try:
        reader.start()
        process.prefix = traced(call, what, when, trace, file)
        worker.append(half)
        pair.listener.start()
        worker.forwarder.start()

        def settled(octets: bytes) -> bool:
            there = pair.logPath.read_bytes() if pair.logPath.exists() else b""
            records = pair.jsonPath.read_bytes() if pair.jsonPath.exists() else b""
            lines = octets.count(b"\n")
            return len(there) >= len(octets) and records.count(b"\n") >= lines

        pair.wait(lambda: settled(half) or not process.alive, "nothing happens", 30)
        worker.append(LINES[len(half) :])
        # Long enough for the idle sync and the subsequent cursor.
        deadline = time.monotonic() + 2.2
        while process.alive and time.monotonic() < deadline:
            time.sleep(0.02)
        status = None if process.alive else process.stop()
        if what == EIO and "sync" in call and status is None:
            # The kernel may have dropped pages that it could not write, and report
            # success next time.
            assert not failed(trace), f"{side} continued after {call} {when} failed"
            status = 0 if b"(INJECTED)" in trace.read_bytes() else None
        if status is not None and again:
            process.prefix = traced(call, what, again, trace, file)
            process.start()
            deadline = time.monotonic() + 2.5
            while process.alive and time.monotonic() < deadline:
                time.sleep(0.02)
            process.kill()
        process.prefix = ()
        process.start()
        pair.wait(
            lambda: settled(LINES), f"{side} {call} {when}: lines are missing", 45
        )
        worker.forwarder.stop()
        pair.listener.stop()
        there = pair.logPath.read_bytes()
        assert there == LINES, f"{side} {call} {when}: {short(there)}"
        count = pair.jsonPath.read_bytes().count(b"\n")
        assert count == LINES.count(b"\n"), f"{side} {call} {when}: {count} records"
        return status
    finally:
        reader.stop()
        pair.stop()
        assert reader.vanished is None, f"{side} {call} {when}: {reader.vanished}"


def enumerate_(
    side: str,
    call: str,
    recovery: bool = False,
    what: str = "signal=SIGKILL",
    only: str = "",
) -> int:
    """
    Inject into every n-th call until n exceeds the number of calls. Returns the number
    of runs.
    """
    when = 0
    while True:
        when += 1
        directory = Path(tempfile.mkdtemp(prefix="decnet-syslog-enumerate-"))
        try:
            again = when if recovery else 0
            status = attempt(directory, side, call, when, what, again, only)
        except BaseException:
            print(f"see {directory}", flush=True)
            raise
        shutil.rmtree(directory)
        if status is None:
            return when - 1


def enumerateCalls(sides: Sequence[str], calls: Sequence[str]) -> list[dict[str, Any]]:
    """
    Kill each of some ends at each of some calls, once and again in the recovery, and let each
    sync fail once.

    @return: for each end and call, how many calls there were.
    """
    found = []
    for side in sides:
        for call in calls:
            one: dict[str, Any] = {"side": side, "call": call}
            one["kills"] = enumerate_(side, call)
            one["again"] = enumerate_(side, call, recovery=True)
            if call in ("fdatasync", "fsync"):
                one["failures"] = enumerate_(side, call, what=EIO)
            print(one, flush=True)
            found.append(one)
    return found


def enumerateSegments() -> list[dict[str, Any]]:
    """Kill the listener at each call on the file of segments, and let calls fail."""
    found: list[dict[str, Any]] = []
    for call in SEGMENT_CALLS:
        found.append(
            {
                "side": "listener, segments",
                "call": call,
                "kills": enumerate_("listener", call, only=SEGMENTS),
                "again": enumerate_("listener", call, recovery=True, only=SEGMENTS),
            }
        )
        print(found[-1], flush=True)
    for call, what in [*HARMLESS, ("fdatasync", EIO)]:
        directory = Path(tempfile.mkdtemp(prefix="decnet-syslog-enumerate-"))
        status = attempt(directory, "listener", call, 1, what, only=SEGMENTS)
        injected = b"INJECTED" in (directory / "trace").read_bytes()
        assert injected, f"no {call} on {SEGMENTS}: see {directory}"
        shutil.rmtree(directory)
        end = "continues" if not status else f"ends with {status}"
        found.append({"call": call, "what": what.removeprefix("error="), "end": end})
        print(found[-1], flush=True)
    return found


def describe(results: Sequence[Mapping[str, Any]]) -> str:
    """The page's tables: in reStructuredText."""

    def reached(count: int | None) -> str:
        return "" if count is None else f"1..{count}" if count else "makes none"

    rows = [
        (
            *(one["side"], one["call"], reached(one["kills"]), reached(one["again"])),
            reached(one.get("failures")),
        )
        for one in results
        if "kills" in one
    ]
    heads = (
        "end",
        "call",
        "killed at each of",
        "and again in the recovery",
        "EIO once at each of",
    )
    text = rstTable(heads, rows)
    failed = [(one["call"], one["what"], one["end"]) for one in results if "end" in one]
    if failed:
        text += "\n" + rstTable(("call", "fails with", "the listener"), failed)
    runs = len(failed) + sum(
        [one.get(key, 0) for one in results for key in ("kills", "again", "failures")]
    )
    return (
        f"{text}\n{runs} runs: 0 lost, 0 repeated, 0 out of order, nothing vanished.\n"
    )


def options(arguments: list[str]) -> argparse.Namespace:
    """Parse a command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.campaigns.enumeration",
        description="Kill one end at each of its system calls, and again in the recovery;"
        " then let each of its syncs fail. The exit status is 0 if no line was lost,"
        " repeated or out of order.",
    )
    parser.add_argument(
        "side",
        nargs="?",
        choices=["listener", "forwarder", "segments"],
        help="only this end; only the listener's calls on its journal's segments",
    )
    parser.add_argument("call", nargs="?", choices=CALLS, help="only this system call")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Enumerate everything, or what the command line names. Returns the exit status."""
    chosen = options(arguments)
    sides = [chosen.side] if chosen.side else ["listener", "forwarder"]
    calls = [chosen.call] if chosen.call else list(CALLS)
    isSegments = chosen.side == "segments"
    found = enumerateSegments() if isSegments else enumerateCalls(sides, calls)
    print(describe(found))
    if isSegments or not chosen.side:
        save("enumeration-segments" if isSegments else "enumeration", {}, found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
