"""Tests for L{decnet_syslog.wire._gap}."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.wire._gap import GapRecord, renderGapMessage, renderGapRecord
from decnet_syslog.wire._provenance import Provenance

from ..records import record, renderRecords
from ..rfc5424 import parseMessage

NOW = "2026-04-18T01:02:03.000004Z"
WHO = Provenance("w1", "sha-256:AA", "192.0.2.1:5", NOW, "/var/log/x", False)
STREAM = "0123456789abcdef" * 2
GAP = GapRecord(5, 9, "lag-cap")

quick = settings(deadline=None, derandomize=True, database=None, max_examples=300)
# Including surrogates: a file name is octets, and Python represents them so.
texts = st.text(st.characters(exclude_categories=()), max_size=40)


class MessageTests(SynchronousTestCase):
    """A gap is reported in the raw log as a message."""

    def test_messageHasFacts(self) -> None:
        """
        The message names the worker, the file, the number of octets and the reason.
        """
        self.assertEqual(
            renderGapMessage(GAP, WHO, STREAM, 2),
            b"<108>1 2026-04-18T01:02:03.000004Z - decnet-syslog - GAP"
            b' [gap@55555 worker="w1" file="/var/log/x"'
            b' stream="0123456789abcdef0123456789abcdef" generation="2"'
            b' start="5" end="9" octets="4" reason="lag-cap"]'
            b" 4 octets of /var/log/x of w1 were not delivered: lag-cap\n",
        )

    def test_noName(self) -> None:
        """A file whose name is unknown gets no invented name."""
        octets = renderGapMessage(GAP, replace(WHO, log=None), STREAM, 2)
        (element,) = parseMessage(octets[:-1]).structuredData
        self.assertNotIn("file", dict(element.params))
        self.assertIn(b" of a file without a name of w1 ", octets)

    @quick
    @given(texts, texts, texts)
    @example('a] b"\\', "\n\r\x00\x7f\x85\u2028", "\ud800\udcff")
    @example("\udcff", "\ud800", "w1")
    def test_hostileText(self, log: str, reason: str, worker: str) -> None:
        """Text from a worker cannot end a line, a value or an element."""
        who = replace(WHO, log=log, worker=worker)
        octets = renderGapMessage(GapRecord(0, 1, reason), who, STREAM, 0)
        self.assertEqual(octets[-1:], b"\n")
        self.assertTrue(all(0x20 <= octet < 0x7F for octet in octets[:-1]))
        message = parseMessage(octets[:-1])
        (element,) = message.structuredData
        self.assertEqual(element.id, "gap@55555")
        shown = {
            name: value.encode("ascii").decode("unicode_escape")
            for name, value in element.params
        }
        self.assertEqual(
            shown,
            {
                "worker": worker,
                "file": log,
                "stream": STREAM,
                "generation": "0",
                "start": "0",
                "end": "1",
                "octets": "1",
                "reason": reason,
            },
        )


class RecordTests(SynchronousTestCase):
    """A gap is a record that is unambiguous and cannot be forged."""

    def test_recordHasGapLast(self) -> None:
        """The record has every usual member, and C{gap} as the last one."""
        made: dict[str, Any] = json.loads(renderGapRecord(GAP, WHO, STREAM, 2))
        self.assertEqual(list(made), [*record(b"", WHO, 0), "gap"])
        facts = {
            "start": 5,
            "end": 9,
            "octets": 4,
            "reason": "lag-cap",
            "stream": STREAM,
            "generation": 2,
        }
        self.assertEqual(made["gap"], facts)
        self.assertEqual(
            made["fields"], {name: str(value) for name, value in facts.items()}
        )
        self.assertEqual(made["timestamp"], "2026-04-18 01:02:03")
        self.assertEqual(
            (made["decky"], made["service"], made["event_type"], made["attacker_ip"]),
            ("w1", "decnet-syslog", "gap", "Unknown"),
        )
        self.assertEqual((made["source_worker"], made["source_offset"]), ("w1", 5))
        self.assertEqual(
            made["raw_line"].encode() + b"\n", renderGapMessage(GAP, WHO, STREAM, 2)
        )
        self.assertEqual(
            made["msg"], "4 octets of /var/log/x of w1 were not delivered: lag-cap"
        )

    @quick
    @given(st.binary(max_size=256))
    @example(b'] "\\\x00\n\xff')
    def test_firstOctets(self, first: bytes) -> None:
        """
        For an oversize message, the message and the record both contain its first
        octets unchanged.
        """
        gap, who = GapRecord(0, 10**7, "oversize", first), replace(WHO, log=None)
        made = json.loads(renderGapRecord(gap, who, "", 0))

        def back(text: str) -> bytes:
            return text.encode("ascii").decode("unicode_escape").encode("latin-1")

        self.assertEqual(back(made["gap"]["first"]), first)
        self.assertEqual((made["gap"]["octets"], made["source_offset"]), (10**7, None))
        line = renderGapMessage(gap, who, "", 0)
        self.assertEqual(line.count(b"\n"), 1)
        (element,) = parseMessage(line[:-1]).structuredData
        self.assertEqual(back(dict(element.params)["first"]), first)

    def test_forgedGap(self) -> None:
        """A gap message sent by a worker gets a record without C{gap}."""
        line = renderGapMessage(GAP, WHO, STREAM, 2)
        for message in (line, line[:-1], renderGapRecord(GAP, WHO, STREAM, 2)):
            made = json.loads(renderRecords([message], WHO, 0))
            self.assertEqual(list(made), list(record(b"", WHO, 0)))

    @quick
    @given(texts, texts, texts)
    @example('a] b"\\', "\n\r\x00\x7f\x85\u2028", "\ud800\udcff")
    @example("\udcff", "\ud800", "w1")
    def test_hostileText(self, log: str, reason: str, worker: str) -> None:
        """
        Any text gives one line of ASCII that every JSON parser accepts, with the text
        intact.
        """
        who = replace(WHO, log=log, worker=worker)
        octets = renderGapRecord(GapRecord(0, 1, reason), who, STREAM, 0)
        self.assertEqual((octets.count(b"\n"), octets[-1:]), (1, b"\n"))
        self.assertTrue(octets.isascii())
        made = json.loads(octets)
        # No lone surrogate: parsers in other languages refuse the whole line for one.
        json.dumps(made, ensure_ascii=False).encode("utf-8")
        self.assertTrue(made["msg"].startswith("1 octets of "))
        self.assertTrue(made["raw_line"].endswith("] " + made["msg"]))
        if not any("\ud800" <= character <= "\udfff" for character in log + reason):
            self.assertEqual((made["source_log"], made["gap"]["reason"]), (log, reason))
