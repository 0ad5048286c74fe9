"""
The provenance of a line: every member comes back from every place that stores or sends it, and
every record shows it, whichever path renders it.

The cases take the members from the class. So a new member is tested as soon as it is there.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import get_type_hints
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog import hotpath
from decnet_syslog.journal._sqlite import Journal
from decnet_syslog.journal._values import BESIDE_OCTETS_MIN, Batch, Deposit
from decnet_syslog.nats._messages import MessagePosition, decode, encode
from decnet_syslog.wire import _provenance
from decnet_syslog.wire._gap import GapRecord, renderGapRecord
from decnet_syslog.wire._provenance import Provenance
from decnet_syslog.wire._record import MISMATCH

from ..records import record, renderRecords

MUCH = 10**9
# One of the common shape, and two that only the exact path renders.
COMMON = (
    b"<134>1 2026-04-18T00:00:00.123456+00:00 decky04 ssh 1234 auth"
    b' [relay@55555 src_ip="203.0.113.7"] login failed'
)
MESSAGES = [COMMON, b"no syslog", COMMON + b"\\"]


def provenances() -> Iterator[Provenance]:
    """
    Provenances in which no two texts are equal: all flags off, then each flag alone.

    @raise TypeError: a member has a type for which there is no value here: add one.
    """
    hints = get_type_hints(Provenance)
    texts = {n: f"its {n}" for n, hint in hints.items() if hint in (str, str | None)}
    flags = [name for name, hint in hints.items() if hint is bool]
    if texts.keys() | set(flags) != {field.name for field in fields(Provenance)}:
        raise TypeError("no distinct value for each member: add one for the new type")
    for on in (None, *flags):
        yield Provenance(**texts, **{name: name == on for name in flags})  # type: ignore[arg-type]


def deposits() -> list[Deposit]:
    """One of each kind from each provenance."""
    return [
        deposit
        for who in provenances()
        for deposit in (
            Deposit(who, None, 0, 0, b"a\n"),
            Deposit(who, None, 0, 0, b"a\nb", (3,)),
            Deposit(who, None, 0, 99, b"a", reason="too long"),
        )
    ]


class StoredTests(SynchronousTestCase):
    """What is stored or sent comes back with the same provenance."""

    def test_noDefaults(self) -> None:
        """No member has a default, which would hide that a place forgot it."""
        for field in fields(Provenance):
            self.assertIs(field.default, MISSING, field.name)
            self.assertIs(field.default_factory, MISSING, field.name)

    def test_fileReturnsIt(self) -> None:
        """A journal in a file returns it, in the commit and after a restart."""
        path = Path(self.mktemp())
        journal = Journal.open(path)
        given = [deposit.provenance for deposit in deposits()]
        stored = [b and b.provenance for b in journal.commit(deposits())]
        self.assertEqual(stored, given)
        journal.close()
        journal = Journal.open(path)
        self.addCleanup(journal.close)
        self.assertEqual([b.provenance for b in journal.read(0, MUCH)], given)

    def test_messageHasIt(self) -> None:
        """A message of a journal in NATS has it."""
        for deposit in deposits():
            headers, body = encode(deposit, MessagePosition(0, 0, 0), "a" * 32)
            batch = decode(1, headers, body).batch
            assert batch is not None
            self.assertEqual(batch.provenance, deposit.provenance)

    def test_outputsProcessReceivesIt(self) -> None:
        """The process of an output receives it, whatever the size and the protocol."""
        for who in provenances():
            for octets in (b"a\n", b"a\n" * BESIDE_OCTETS_MIN):
                batch = Batch(1, who, None, 0, 0, 0, octets, None, None)
                for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
                    again = pickle.loads(pickle.dumps(batch, protocol))
                    self.assertEqual(again, batch)
                    self.assertEqual(again.provenance, who)


class RenderedTests(SynchronousTestCase):
    """Every record shows the provenance, on every path."""

    def assertShown(self, who: Provenance, shown: dict[str, object]) -> None:
        """Every text of the provenance is the value of a member."""
        for field in fields(who):
            value = getattr(who, field.name)
            if isinstance(value, str):
                self.assertIn(value, shown.values(), field.name)

    def rendered(self, who: Provenance) -> list[dict[str, object]]:
        """The records of L{MESSAGES}, which must be the definition's, octet for octet."""
        octets = renderRecords(MESSAGES, who, None)
        wanted = [json.dumps(record(message, who, None)) for message in MESSAGES]
        self.assertEqual(octets.decode().splitlines(), wanted)
        return [json.loads(line) for line in octets.splitlines()]

    def test_everyPath(self) -> None:
        """The fast path, the exact path and the compiled one show it, and gap records do."""
        for who in provenances():
            ways = {None, hotpath.compiled}
            for way in ways:
                with mock.patch.object(hotpath, "compiled", way):
                    for shown in self.rendered(who):
                        self.assertShown(who, shown)
                        marked = (
                            shown["decky"] == "decky04" and who.flagHostnameMismatch
                        )
                        self.assertEqual(shown.get(MISMATCH, False), marked)
            gap = renderGapRecord(GapRecord(1, 2, "r"), who, "5" * 32, 0)
            self.assertShown(who, json.loads(gap))

    def test_newMember(self) -> None:
        """A member that is added after the offset, in one place, is in every record."""
        known = _provenance._arrivalFields

        def more(who: Provenance) -> dict[str, str]:
            return {**known(who), "received_by": f"by {who.worker} \u00e9"}

        self.patch(_provenance, "_arrivalFields", more)
        for who in provenances():
            gap = renderGapRecord(GapRecord(1, 2, "r"), who, "5" * 32, 0)
            for way in {None, hotpath.compiled}:
                with mock.patch.object(hotpath, "compiled", way):
                    for shown in [*self.rendered(who), json.loads(gap)]:
                        self.assertEqual(
                            shown["received_by"], f"by {who.worker} \u00e9"
                        )
