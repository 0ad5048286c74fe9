"""
Tests for our verdicts on the cases that other parsers test, and for the tables in the
documentation.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.wire._provenance import Provenance

from ..campaigns.parsers import main, readCases, readMessage, render
from ..records import renderRecords

DOCS = Path(__file__).parent.parent.parent / "docs" / "parsers.rst"
WHO = Provenance(
    "w1", "sha-256:AA", "192.0.2.1:5", "2026-04-18T01:02:03.000004Z", None, False
)


class ParsersTests(SynchronousTestCase):
    """The cases of go-syslog, axosyslog, Vector and rsyslog."""

    def test_verdictsAgreeOrCiteRFC(self) -> None:
        """
        Each verdict agrees with the other parser's, or a paragraph of an RFC decides
        otherwise.
        """
        for case in readCases():
            self.assertNotEqual(
                case.agrees, bool(case.rfc), (case.peer, case.about, case.verdicts())
            )
            self.assertEqual(bool(case.rfc), bool(case.why))
            if case.rfc:
                self.assertRegex(case.rfc, r"\ARFC 542[45] [46](\.[0-9])*\Z")

    def test_casesAreUnique(self) -> None:
        """
        No case occurs twice, and each parser has cases that it accepts and refuses.
        """
        cases = list(readCases())
        names = Counter((case.peer, case.about, case.octets) for case in cases)
        self.assertEqual([name for name, count in names.items() if count > 1], [])
        for peer in {case.peer for case in cases}:
            verdicts = {
                case.accepts if case.accepts is not None else not case.refused
                for case in cases
                if case.peer == peer
            }
            self.assertEqual(verdicts, {True, False}, peer)
        self.assertGreater(len(cases), 300)

    def test_tablesInDocs(self) -> None:
        """The tables in the documentation are those that the command prints."""
        printed = io.StringIO()
        with redirect_stdout(printed):
            main([])
        self.assertEqual(printed.getvalue(), render() + "\n")
        self.assertIn(render().rstrip(), DOCS.read_text("utf-8"))

    def test_refusedMessagesHaveRecords(self) -> None:
        """A message that the strict parser refuses still has a complete record."""
        lenient = 0
        for case in readCases():
            if case.accepts is None:
                continue
            made = json.loads(renderRecords([case.octets], WHO, 0))
            self.assertEqual(
                made["raw_line"], case.octets.decode("utf-8", "replace"), case.about
            )
            if "our record" in case.why:
                lenient += 1
                self.assertIsNone(readMessage(case.octets))
                self.assertNotEqual(made["event_type"], "unparsed", case.about)
        self.assertGreater(lenient, 10)
