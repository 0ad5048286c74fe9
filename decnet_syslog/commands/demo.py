"""decnet-syslog demo: the whole pipeline on this machine, in a minute."""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

from twisted.python import usage

from ..errors import UserError
from ..options import Described
from ..testing import LocalCluster, LocalWorker, countLines, newDirectory

__all__ = ["Options", "run"]

NAMES = ("decky-01", "decky-02")

# The hostname in decky-02's lines. It makes no difference: the certificate's name counts.
FORGED_HOSTNAME = "decky-01"


class Options(Described):
    """Options of the demo."""

    synopsis = "[options]"
    longdesc = """\
Make a CA, enroll two workers and a master, start a real listener and two real forwarders,
write RFC 5424 lines and watch them arrive. The listener is killed half-way. At the end the
demo counts the lines written, delivered, lost and repeated; exit status 0 if no line was lost
or repeated.

Example:
    decnet-syslog demo --lines 500 --keep"""

    optParameters = [
        ["directory", "d", None, "Work in this new directory [a temporary one]"],
        ["lines", "n", 200, "Lines that each worker writes", int],
    ]
    optFlags = [["keep", "k", "Keep the directory for inspection"]]

    def postOptions(self) -> None:
        """Check the number of lines."""
        if not 10 <= self["lines"] <= 1_000_000:
            raise usage.UsageError("--lines must be from 10 to 1000000")


def line(worker: str, number: int) -> bytes:
    """A line as DECNET's decoys write them."""
    dice = random.Random(f"{worker} {number}")
    now = datetime.now(timezone.utc).isoformat(timespec="microseconds")
    service, event = dice.choice(
        [
            ("ssh", "auth_attempt"),
            ("telnet", "command"),
            ("http", "request"),
            ("smb", "connect"),
        ]
    )
    address = f"203.0.113.{dice.randint(1, 254)}"
    return (
        f"<134>1 {now} {FORGED_HOSTNAME} {service} - {event}"
        f' [relay@55555 src_ip="{address}" seq="{number}"] {worker} saw something\n'
    ).encode()


def _say(text: str) -> None:
    print(text, flush=True)


def _show(path: Path, seen: int, most: int) -> int:
    """Print the newest records. Return their number."""
    if not path.exists():
        return seen
    records = path.read_bytes().splitlines()
    for record in records[seen : seen + most]:
        fields = json.loads(record)
        _say(
            f"    {fields['source_worker']:<9} {fields['service']:<7} {fields['event_type']:<13}"
            f" from {fields['attacker_ip']:<14} (says it is {fields['decky']})"
        )
    if len(records) > seen + most:
        _say(f"    ... and {len(records) - seen - most} more")
    return len(records)


def _write(workers: list[LocalWorker], numbers: range) -> None:
    for number in numbers:
        for worker in workers:
            worker.append(line(worker.name, number))
        time.sleep(0.002)


def _delivered(pair: LocalCluster, count: int) -> None:
    pair.wait(
        lambda: (
            pair.jsonPath.exists() and pair.jsonPath.read_bytes().count(b"\n") >= count
        ),
        f"{count} records did not arrive",
    )


def _demonstrate(pair: LocalCluster, lines: int) -> int:
    workers = [pair.enroll(name) for name in NAMES]
    _say(
        f"  certificate authority, master and {len(workers)} workers in {pair.directory}"
    )
    pair.startListener()
    _say(
        f"  listener on {pair.host} port {pair.port}, mutual TLS, pid {pair.listener.pid}"
    )
    for worker in workers:
        worker.forwarder.start()
        _say(f"  forwarder of {worker.name}, pid {worker.forwarder.pid}")
    third = lines // 3
    _say(
        f"\nEach worker writes {third} lines; the worker's name comes from its certificate, not"
        " from the line:"
    )
    _write(workers, range(third))
    _delivered(pair, 2 * third)
    seen = _show(pair.jsonPath, 0, 6)
    _say(f"\nThe listener is killed (SIGKILL); each worker writes {third} more lines:")
    _write(workers, range(third, third + third // 2))
    pair.listener.kill()
    _write(workers, range(third + third // 2, 2 * third))
    _say("  The lines wait in the workers' files. The listener starts again:")
    pair.startListener()
    _write(workers, range(2 * third, lines))
    _delivered(pair, 2 * lines)
    # A repeated line would arrive now: let every connection finish.
    for worker in workers:
        worker.forwarder.stop()
    pair.listener.stop()
    _show(pair.jsonPath, seen, 6)
    return _count(pair, workers)


def _count(pair: LocalCluster, workers: list[LocalWorker]) -> int:
    records = [json.loads(record) for record in pair.jsonPath.read_bytes().splitlines()]
    bad = 0
    _say("\nworker     written  delivered  lost  repeated")
    for worker in workers:
        written = worker.file.read_bytes().splitlines()
        delivered = [
            record["raw_line"].encode()
            for record in records
            if record["source_worker"] == worker.name
        ]
        lost, repeated = countLines(written, delivered)
        bad += lost + repeated
        _say(
            f"{worker.name:<9} {len(written):>8} {len(delivered):>10} {lost:>5} {repeated:>9}"
        )
    raw = pair.logPath.read_bytes().splitlines()
    everything = [
        line for worker in workers for line in worker.file.read_bytes().splitlines()
    ]
    lost, repeated = countLines(everything, raw)
    bad += lost + repeated
    _say(
        f"{'master.log':<9} {len(everything):>7} {len(raw):>10} {lost:>5} {repeated:>9}"
    )
    return 1 if bad else 0


def run(options: Options) -> int:
    """Run the demo. The exit status."""
    directory = newDirectory(options["directory"], "demo")
    _say("decnet-syslog demo: a master and two workers on this machine")
    pair = LocalCluster(directory)
    keep = options["keep"]
    try:
        status = _demonstrate(pair, options["lines"])
        keep = keep or status != 0
    except UserError:
        keep = True
        raise
    finally:
        pair.stop()
        if keep:
            print(f"\nEverything is in {directory}", file=sys.stderr)
        else:
            shutil.rmtree(directory)
    _say("\nEvery line once." if status == 0 else "\nLines were lost or repeated!")
    return status
