"""See L{tests.campaigns.cluster}."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from decnet_syslog.testing import (
    Process,
    Tally,
    Writer,
    countRecords,
    deliveredNumbers,
    printTallies,
    progressBar,
)

from .badday import FAULTS, BadDay
from .fleet import Fleet
from .naming import found, unnamed

__all__ = ["Trial", "main"]

# Lines per second for each worker.
RATE = 20.0

# The interval between two kills, in seconds: often too short for the previous one to
# heal.
PAUSES_S = (0.05, 0.5, 1.0, 3.0)

# The time limit for all lines to arrive once nothing is killed any more, in seconds.
SETTLE_S = 180.0


# The time limit for a NATS node to catch up, in seconds, and how often it is then
# restarted: some versions stay behind forever ("group node unhealthy").
HEAL_S = 30.0
HEALINGS_MAX = 8


class Trial:
    """
    Random kills, and their count.

    @ivar kills: the number of kills up to now, by the kind of process.
    @ivar healed: the number of NATS nodes that were restarted because they stayed
        behind.
    """

    def __init__(
        self,
        fleet: Fleet,
        seed: int,
        rate: float,
        overlap: bool,
        faults: Sequence[str] = (),
    ) -> None:
        """
        @param overlap: kill a NATS node even while another one has not caught up.
        @param faults: the faults of L{BadDay} that make up half of the kills.
        """
        self.fleet = fleet
        self.kills: Counter[str] = Counter()
        self.dice = random.Random(seed)
        self.writer = Writer(fleet.workers, seed, rate)
        self.badDay = (
            BadDay(fleet, self.dice, self._heal, self.writer, faults)
            if faults
            else None
        )
        self.healed = 0
        self._overlap = overlap

    def begin(self) -> None:
        """Start everything, and begin to write lines."""
        self.fleet.start()
        self.writer.start()

    def kill(self) -> None:
        """Kill one process, or sometimes several; restart them sooner or later."""
        for _ in range(self.dice.choice((1, 1, 1, 2))):
            what = self.dice.choice(("NATS node", "listener", "outputs", "worker"))
            self.kills[what] += 1
            if what == "NATS node":
                if not self._overlap:
                    self._heal()
                self.dice.choice(self.fleet.nats.nodes).kill()
            else:
                self._process(what).kill()
        time.sleep(self.dice.random())
        self.fleet.revive()

    def _heal(self) -> None:
        """Wait until NATS is healthy; a node that does not get there is restarted."""
        self.fleet.revive()
        for at in range(HEALINGS_MAX):
            deadline = time.monotonic() + HEAL_S
            while time.monotonic() < deadline:
                if self.fleet.isHealthy():
                    return
                time.sleep(0.1)
            for node in self.fleet.nats.nodes:
                # The last time all of them.
                if at == HEALINGS_MAX - 2 or not node.healthy():
                    self.healed += 1
                    node.stop()
            self.fleet.revive()
        raise AssertionError(f"NATS does not heal; {self.fleet.directory}")

    def _process(self, what: str) -> Process:
        if what == "outputs":
            return self.fleet.outputs
        if what == "listener":
            return self.dice.choice(self.fleet.listeners)
        return self.dice.choice(self.fleet.workers).forwarder

    def perform(self, count: int, quiet: bool) -> None:
        """Kill the given number of times; with faults, until that many have happened."""
        show = progressBar(count, quiet)

        def done() -> int:
            return self.kills["fault"] if self.badDay else self.kills.total()

        while done() < count:
            time.sleep(self.dice.choice(PAUSES_S))
            if self.badDay is not None and self.dice.random() < 0.5:
                self.badDay.strike()
                self.kills["fault"] += 1
                # Half of the faults come together with a kill.
                if self.dice.random() < 0.5:
                    time.sleep(self.dice.random())
                    self.fleet.revive()
                    show(done())
                    continue
            self.kill()
            show(done())

    def roll(self) -> float:
        """
        Restart every listener, one after another, as an operator does.

        @return: the time of the beginning.
        """
        began = time.time()
        for listener in self.fleet.listeners:
            listener.stop()
            before = len(listener.output())
            listener.start()
            self.fleet.wait(
                lambda listener=listener, before=before: (  # type: ignore[misc]
                    "listening on" in listener.output()[before:]
                ),
                "a listener does not restart",
            )
            # The balancer must first find it healthy.
            time.sleep(2)
        return began

    def settle(self) -> None:
        """
        Stop writing; wait until every line has arrived; stop the processes in order.
        """
        self.writer.stop()
        self.fleet.revive()
        wanted = {
            (name, number)
            for name, count in self.writer.written.items()
            for number in range(count)
        }

        def arrived() -> bool:
            # Repeated lines do not count.
            return all(
                path.exists()
                and wanted <= {(one.worker, one.number) for one, _ in found(path)}
                for path in (self.fleet.logPath, self.fleet.jsonPath)
            )

        deadline = time.monotonic() + SETTLE_S
        while not arrived() and time.monotonic() < deadline:
            time.sleep(2)
            self.fleet.revive()
        # Time for possible repetitions to appear.
        time.sleep(2)
        for worker in self.fleet.workers:
            worker.forwarder.stop()
        for listener in self.fleet.listeners:
            listener.stop()
        self.fleet.outputs.stop()
        if self.badDay is not None and self.badDay.clone is not None:
            self.badDay.clone.kill()

    def report(self) -> int:
        """Print the counts. Returns the number of errors."""
        if self.kills:
            print("killed          times")
            for name, times in sorted(self.kills.items()):
                print(f"{name:<15} {times:>5}")
            if self.healed:
                print(
                    f"NATS nodes that stayed behind and were restarted: {self.healed}"
                )
            print()
        if self.badDay is not None:
            for name, times in sorted(self.badDay.faults.items()):
                print(f"{name:<20} {times:>5}")
            print()
        names = [worker.name for worker in self.fleet.workers]
        numbers = deliveredNumbers(self.fleet.logPath, names)
        written = self.writer.written
        tallies = [Tally.of(name, written[name], numbers[name]) for name in names]
        bad = printTallies(tallies)
        records = countRecords(self.fleet.jsonPath)
        total = sum(written.values()) + len(names)
        print(f"\nall: {total} written, {records} records")
        if self.badDay is None:
            return bad + abs(records - total)
        return self._named(tallies, records - total)

    def _named(self, tallies: Sequence[Tally], moreRecords: int) -> int:
        """Count the errors that no event has announced."""
        said = self.fleet.outputs.output()
        events = said.count("the stream went back behind the output")
        repeated = sum(one.repeated for one in tallies)
        print(f"went back: {events} times, said by the outputs; repeated: {repeated}")
        wrong = unnamed(said, self.fleet.logPath, self.fleet.jsonPath)
        print(f"repeated lines that no event has named: {len(wrong)}")
        for text in wrong[:20]:
            print(f"  {text}")
        clone = self.fleet.directory / "clone" / "master.log"
        cloned = clone.read_bytes().count(b"\n") if clone.exists() else 0
        print(f"written by the clone: {cloned}")
        # A repeated line is also out of order.
        isOrdered = repeated or not any(one.disorder for one in tallies)
        lost = sum(one.lost for one in tallies)
        return lost + len(wrong) + cloned + (moreRecords < 0) + (not isOrdered)

    def lateness(self, since: float) -> dict[str, float]:
        """
        For each worker, the longest time that a line needed to reach a listener.

        @param since: only lines written after this time count.
        """
        longest: dict[str, float] = dict.fromkeys(
            [worker.name for worker in self.fleet.workers], 0.0
        )
        with open(self.fleet.jsonPath, "rb") as lines:
            for line in lines:
                record = json.loads(line)
                _, found, rest = record["raw_line"].partition('" at="')
                written = float(rest.partition('"')[0]) if found else 0.0
                if written < since:
                    continue
                came = datetime.fromisoformat(
                    record["received_at"].replace("Z", "+00:00")
                ).timestamp()
                worker = record["source_worker"]
                longest[worker] = max(longest[worker], came - written)
        return longest


def main(arguments: Sequence[str]) -> int:
    """Run the trial. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.cluster")
    parser.add_argument(
        "--kills", type=int, default=200, help="or faults, with --faults"
    )
    parser.add_argument("--workers", type=int, default=20)
    parser.add_argument("--listeners", type=int, default=3)
    parser.add_argument("--rate", type=float, default=RATE, help="of each worker")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--roll", action="store_true", help="restart, do not kill")
    parser.add_argument(
        "--overlap",
        action="store_true",
        help="kill a NATS node even while another has not caught up",
    )
    parser.add_argument(
        "--one-port",
        action="store_true",
        help="no balancer: the listeners share a port (--reuse-port)",
    )
    parser.add_argument(
        "--faults",
        nargs="*",
        choices=FAULTS,
        metavar="FAULT",
        help="as many faults as --kills, and about as many kills between them; all kinds of"
        f" faults, or only these: {', '.join(FAULTS)}",
    )
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--quiet", action="store_true")
    given = parser.parse_args(arguments)
    directory = Path(tempfile.mkdtemp(prefix="decnet-syslog-cluster-"))
    fleet = Fleet(
        directory, given.listeners, given.workers, balanced=not given.one_port
    )
    faults = () if given.faults is None else given.faults or FAULTS
    trial = Trial(fleet, given.seed, given.rate, given.overlap, faults)
    bad = 1
    try:
        trial.begin()
        if given.roll:
            time.sleep(3)
            since = trial.roll()
        else:
            trial.perform(given.kills, given.quiet)
        trial.settle()
        print(f"\nseed {given.seed}, {given.listeners} listeners\n")
        bad = trial.report()
        if given.roll:
            longest = trial.lateness(since)
            print(
                f"longest time for a line to reach a listener: {max(longest.values()):.2f} s"
            )
    finally:
        fleet.stop()
        if bad or given.keep:
            print(f"\nEverything is in {directory}", file=sys.stderr)
        else:
            shutil.rmtree(directory)
    print("\nThe promise was broken!" if bad else "\nEvery line once, in order.")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
