"""Tests for the siege: a few rows of each kind, and detection of any other outcome."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.trust._names import checkName

from .siege import __main__ as siege
from .siege import field, floods
from .siege.field import REFUSED, Outcome, Row, try_
from .siege.peer import CLOSED, OPEN
from .siege.witness import NAME, Seen, Witness

# A few rows of each kind that take less than a minute.
QUICK = (
    *("cert-none", "cert-stranger", "cert-expired", "cert-two-names", "cert-nul"),
    *("hand-plain", "hand-1.1", "hand-null", "hand-1.3", "hand-again"),
    *("frame-zero", "frame-over", "frame-half-rst", "frame-octets", "frame-many"),
    *("ctl-behind", "ctl-good", "ctl-streams", "ctl-superseded"),
    *("text-forged", "text-nul", "text-not-utf8", "text-host"),
    *("flood-greetings", "flood-lists", "flood-long-names", "flood-zero", "flood-over"),
    *("slow-octets",),
    *("path-0", "path-4", "path-log", "path-own"),
)

GOOD = Seen(written=3, delivered=3, worst=0.2, median=0.1)


def row(
    attack: Callable[[Any], str] = lambda attack: OPEN,
    wire: str = OPEN,
    says: str = "",
    stored: tuple[bytes, ...] = (),
    counted: int | None = None,
) -> Row:
    """A row of which only the expectation matters."""
    return Row("frame", "w1", "octets", attack, wire, says, stored, counted)


class StillField:
    """A listener's field with given log lines and stored messages."""

    def __init__(self, said: Sequence[str] = (), stored: Sequence[bytes] = ()) -> None:
        self.pair = SimpleNamespace(listener=SimpleNamespace(alive=True))
        self._said = said
        self._stored = {"w1": list(stored)}

    def address(self) -> str:
        """The address that every attack uses."""
        return "127.250.0.1"

    def said(self, *of: str) -> list[str]:
        """See L{field.Field.said}."""
        return [line for line in self._said if any(mark in line for mark in of)]

    def messages(self, worker: str) -> list[bytes]:
        """See L{field.Field.messages}."""
        return self._stored.get(worker, [])


class RowTests(SynchronousTestCase):
    """A row is good if everything is as expected."""

    def setUp(self) -> None:
        self.patch(field, "SEEN_S", 0.0)
        self.patch(field, "SURPLUS_S", 0.0)
        self.field = StillField()

    def outcome(self, tried: Row) -> Outcome:
        still: Any = self.field
        return try_(still, tried)

    def raising(self, error: Exception) -> Callable[[Any], str]:
        def attack(attack: Any) -> str:
            raise error

        return attack

    def test_everythingAsExpected(self) -> None:
        """
        If the end, the log and the stored octets are as expected, the row is good.
        """
        said = ["closing w1 at 127.250.0.1:9: framing"]
        self.field = StillField(said, [b"a", b"b"])
        tried = row(says="framing", stored=(b"a", b"b"))
        outcome = self.outcome(tried)
        self.assertEqual(outcome, Outcome(tried, "open: framing; 2 stored", True))
        self.assertEqual(tried.expected, outcome.seen)

    def test_otherEnd(self) -> None:
        """If the connection ends in another way, the row is bad."""
        outcome = self.outcome(row(wire=CLOSED))
        self.assertFalse(outcome.good)
        self.assertTrue(outcome.seen.startswith("open"))

    def test_missingWords(self) -> None:
        """If the log lacks the reason, or has it for another peer, the row is bad."""
        tried = row(says="framing")
        self.assertFalse(self.outcome(tried).good)
        self.field = StillField(["closing w2 at 127.250.0.2:9: framing"])
        self.assertFalse(self.outcome(tried).good)

    def test_otherOctets(self) -> None:
        """
        If a stored line is missing, changed, additional, repeated, or out of order, the
        row is bad.
        """
        for stored in (
            [b"a"],
            [b"a", b"B"],
            [b"a", b"b", b"c"],
            [b"a"] * 2,
            [b"b", b"a"],
        ):
            self.field = StillField(stored=stored)
            outcome = self.outcome(row(stored=(b"a", b"b")))
            self.assertFalse(outcome.good, stored)

    def test_unexpectedlyStored(self) -> None:
        """If something is stored that must not be, the row is bad."""
        self.field = StillField(stored=[b"a"])
        self.assertFalse(self.outcome(row()).good)

    def test_numberOfMessages(self) -> None:
        """A row may expect a number of messages, whatever their content."""
        self.field = StillField(stored=[b"a", b"b"])
        self.assertTrue(self.outcome(row(counted=2)).good)
        self.assertFalse(self.outcome(row(counted=3)).good)

    def test_deadListener(self) -> None:
        """If the listener has died, every row is bad."""
        self.field.pair.listener.alive = False
        self.assertFalse(self.outcome(row()).good)

    def test_refusalOrClose(self) -> None:
        """
        A connection that ends before the listener has accepted it counts as refused,
        later as closed.
        """
        attack = self.raising(ConnectionResetError())
        self.assertTrue(self.outcome(row(attack, REFUSED)).good)
        self.field = StillField(["w1 connected from 127.250.0.1:9, plain"])
        self.assertFalse(self.outcome(row(attack, REFUSED)).good)
        self.assertTrue(self.outcome(row(attack, CLOSED)).good)

    def test_brokenAttack(self) -> None:
        """An attack that fails in itself is bad, whatever the expectation."""
        for wire in (OPEN, CLOSED, REFUSED):
            for error, words in (
                (TimeoutError(), "stuck"),
                (KeyError("k"), "not tried"),
            ):
                outcome = self.outcome(row(self.raising(error), wire))
                self.assertFalse(outcome.good)
                self.assertTrue(outcome.seen.startswith(words), outcome.seen)


class TableTests(SynchronousTestCase):
    """The printed table, and the exit status."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.patch(tempfile, "tempdir", str(self.directory))
        self.good = Outcome(row(wire=CLOSED, says="framing"), "closed: framing", True)
        self.bad = Outcome(row(wire=CLOSED), "open -- log: []", False)

    def test_namesAndKinds(self) -> None:
        """
        Every row has a unique name that a worker can have, and every kind is present.
        """
        names = [one.name for one in siege.ROWS]
        self.assertEqual(len(set(names)), len(names))
        self.assertGreaterEqual(len(names), 60)
        for name in names:
            checkName(name)
            self.assertNotEqual(name, NAME)
        kinds = "certificate handshake frame control_line content flood slow path"
        wanted = {kind.replace("_", " ") for kind in kinds.split()}
        self.assertEqual({one.kind for one in siege.ROWS}, wanted)
        quick = {one.kind for one in siege.ROWS if one.name in QUICK}
        self.assertEqual(quick, wanted)
        self.assertEqual(set(QUICK) - set(names), set())

    def test_tableAsText(self) -> None:
        """
        In the text table, a bad row shows both the expected and the observed outcome.
        """
        head, _, good, bad = siege.table([self.good, self.bad]).splitlines()
        self.assertEqual(head.split()[-2:], ["expected", "seen"])
        self.assertEqual(good.count("closed: framing"), 2)
        self.assertTrue(bad.endswith("open -- log: []"))
        self.assertIn("closed ", bad)

    def test_tableAsRst(self) -> None:
        """
        In the table for the documentation, a bad row shows the outcome, another row the
        delays of its lines; backslashes are escaped.
        """
        path = Row("path", "w1", "CN a\\b", lambda a: OPEN, OPEN)
        outcomes = [Outcome(path, OPEN, True, (0.25,)), self.good, self.bad]
        text = siege.describe(siege.asResults(outcomes, "the verdict"))
        escaped, good, bad = text.splitlines()[3:6]
        self.assertIn("CN a\\\\b  ", escaped)
        self.assertTrue(escaped.endswith("delay 250 ms, 250 at worst"), escaped)
        self.assertTrue(good.endswith("as expected"), good)
        self.assertTrue(bad.endswith("**open -- log: []**"), bad)
        self.assertTrue(text.endswith("\nthe verdict.\n"))

    def verdict(self, *outcomes: Outcome, differ: int = 0, **seen: Any) -> bool:
        worker = Seen(**{**vars(GOOD), **seen})
        return siege.verdict(outcomes, worker, differ)[1]

    def test_oneFailureFails(self) -> None:
        """One unexpected result makes the verdict negative."""
        self.assertTrue(self.verdict(self.good))
        self.assertFalse(self.verdict(self.good, self.bad))
        self.assertFalse(self.verdict(self.good, differ=1))
        self.assertFalse(self.verdict(self.good, differ=-1))
        for wrong in (
            {"delivered": 2},
            {"repeated": 1},
            {"disordered": 1},
            {"foreign": 1},
            {"worst": 1.0},
        ):
            self.assertFalse(self.verdict(self.good, **wrong), wrong)

    def call(self, *outcomes: Outcome) -> tuple[int, str]:
        def besiege(
            directory: Path, rows: Sequence[Row], progress: bool
        ) -> tuple[Sequence[Outcome], Seen, int]:
            self.assertEqual([one.name for one in rows], ["cert-none"])
            return outcomes, GOOD, 0

        self.patch(siege, "besiege", besiege)
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            status = siege.main(["--rows", "cert-none"])
        return status, out.getvalue()

    def test_exitStatus(self) -> None:
        """
        The status is 0 if everything is as expected, and no files remain; otherwise it
        is 1, and the files are kept.
        """
        status, said = self.call(self.good)
        self.assertEqual((status, list(self.directory.iterdir())), (0, []))
        self.assertIn("1 of 1 as expected", said)
        status, said = self.call(self.good, self.bad)
        self.assertEqual(status, 1)
        (kept,) = self.directory.iterdir()
        self.assertIn(f"see {kept}", said)


class WitnessTests(SynchronousTestCase):
    """The well-behaved worker detects any problem with its lines."""

    def setUp(self) -> None:
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        self.output = directory / "master.json"
        self.log = directory / "decnet.log"
        self.witness = Witness(self.log, self.output)
        self.addCleanup(self.witness.close)
        for _ in range(3):
            self.witness.write()
        self.lines = self.log.read_text().splitlines()

    def see(self, *lines: str, worker: str = NAME) -> Seen:
        """Let the witness read these records."""
        with open(self.output, "a") as file:
            for line in lines:
                file.write(json.dumps({"raw_line": line, "source_worker": worker}))
                file.write("\n")
        self.witness.look()
        self.witness.look()
        return self.witness.seen

    def test_allLinesOnce(self) -> None:
        """Lines that arrive once and in order are good."""
        self.assertTrue(self.see(*self.lines).good)

    def test_missingLine(self) -> None:
        """A missing line is detected, even if another worker has sent it."""
        self.see(*self.lines[:2])
        self.assertFalse(self.see(self.lines[2], worker="w2").good)

    def test_repeatedLine(self) -> None:
        """A repeated line is detected."""
        self.assertEqual(self.see(*self.lines, self.lines[1]).repeated, 1)
        self.assertFalse(self.witness.seen.good)

    def test_disorderedLine(self) -> None:
        """A line that arrives before an older one is detected."""
        one, two, three = self.lines
        self.assertGreater(self.see(one, three, two).disordered, 0)
        self.assertFalse(self.witness.seen.good)

    def test_foreignLine(self) -> None:
        """A line under the worker's name that it has not written is detected."""
        seen = self.see(*self.lines, "<134>1 2026-04-18T00:00:00Z d s - e - hi")
        self.assertEqual(seen.foreign, 1)
        self.assertFalse(seen.good)


class RunningTests(SynchronousTestCase):
    """A real listener, and a well-behaved worker."""

    timeout = 240

    def test_sampleOfRows(self) -> None:
        """
        During a few rows of every kind, the worker's lines arrive once and in order.
        """
        self.patch(floods, "FLOOD_S", 1.0)
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        rows = [one for one in siege.ROWS if one.name in QUICK]
        outcomes, seen, differ = siege.besiege(directory, rows)
        bad = [outcome for outcome in outcomes if not outcome.good]
        self.assertEqual(bad, [], siege.table(bad))
        self.assertEqual(len(outcomes), len(QUICK))
        self.assertTrue(seen.good, seen)
        self.assertGreater(seen.written, 100)
        self.assertEqual(differ, 0)
