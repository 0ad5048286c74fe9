"""Tests for L{decnet_syslog.wire.rfc5424}, record and gap."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.wire.gap import Gap, renderGapMessage, renderGapRecord
from decnet_syslog.wire.record import Provenance, record, renderRecords
from decnet_syslog.wire.rfc5424 import Element, Message, MessageError, parseMessage

NOW = "2026-04-18T01:02:03.000004Z"
WHO = Provenance("w1", "sha-256:AA", "192.0.2.1:5", NOW, "/var/log/x")
VECTORS = Path(__file__).parent / "data" / "decnet-records.jsonl"

quick = settings(deadline=None, derandomize=True, database=None, max_examples=300)
pieces = st.lists(
    st.sampled_from(
        [
            b"<134>1",
            b" ",
            b"-",
            b"[relay@55555",
            b' a="',
            b'"',
            b"]",
            b"\\",
            b"src_ip=",
            b"\xff",
            b"2026-04-18T00:00:00Z",
            b"1.2.3.4:99",
            b"CMD ",
            b"\n",
            b"\x00",
            "é\u2028".encode(),
        ]
    ),
    max_size=30,
).map(b"".join)
messages = st.one_of(pieces, st.binary(max_size=60))


class RFC5424Tests(SynchronousTestCase):
    """The parser is right by the RFC."""

    def test_full(self) -> None:
        """Section 6.5, example 4, with escapes."""
        octets = (
            b"<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 "
            b'[exampleSDID@32473 iut="3" x="a\\"b\\\\c\\]d\\e"][examplePriority@32473 class="high"]'
            b" \xef\xbb\xbfAn \xc3\xa9"
        )
        self.assertEqual(
            parseMessage(octets),
            Message(
                20,
                5,
                1,
                "2003-10-11T22:14:15.003Z",
                "mymachine.example.com",
                "evntslog",
                None,
                "ID47",
                (
                    Element("exampleSDID@32473", (("iut", "3"), ("x", 'a"b\\c]d\\e'))),
                    Element("examplePriority@32473", (("class", "high"),)),
                ),
                "An é".encode(),
                True,
            ),
        )

    def test_nil(self) -> None:
        """NILVALUE everywhere, and no MSG."""
        message = parseMessage(b"<0>1 - - - - - -")
        self.assertEqual(
            (message.hostname, message.structuredData, message.msg), (None, (), None)
        )

    def test_anyOctetsInMSG(self) -> None:
        """MSG without BOM is any octets."""
        message = parseMessage(b"<0>1 - - - - - - \xff\x00]\n")
        self.assertEqual((message.msg, message.utf8), (b"\xff\x00]\n", False))

    def test_refused(self) -> None:
        """What the grammar does not have, and where."""
        for position, octets in (
            (0, b""),
            (0, b"<192>1 - - - - - -"),
            (0, b"<01>1 - - - - - -"),
            (3, b"<1>0 - - - - - -"),
            (5, b"<1>1 2003-10-11T22:14:60Z - - - - -"),
            (5, b"<1>1 2003-10-11t22:14:15Z - - - - -"),
            (5, b"<1>1 2003-10-11T22:14:15.1234567Z - - - - -"),
            (7, b"<1>1 -  - - - -"),
            (7, b"<1>1 - " + b"h" * 256 + b" - - - -"),
            (9, b"<1>1 - - " + b"a" * 49 + b" - - -"),
            (15, b"<1>1 - - - - - x"),
            (16, b"<1>1 - - - - - -x"),
            (17, b'<1>1 - - - - - [a="]'),
            (21, b'<1>1 - - - - - [a b="]"]'),
            (25, b'<1>1 - - - - - [a b="c"][a]'),
            (18, b'<1>1 - - - - - [a  b="c"]'),
            (15, b'<1>1 - - - - - [a b="\xff"]'),
            (20, b"<1>1 - - - - - - \xef\xbb\xbf\xff"),
        ):
            try:
                parseMessage(octets)
            except MessageError as error:
                self.assertEqual(error.position, position, octets)
            else:
                self.fail(f"accepted {octets!r}")

    @quick
    @given(messages)
    def test_anyOctets(self, octets: bytes) -> None:
        """Whatever comes is a message or a L{MessageError} with a position in it."""
        try:
            parseMessage(octets)
        except MessageError as error:
            self.assertLessEqual(0, error.position)
            self.assertLessEqual(error.position, len(octets) + 1)

    def test_linear(self) -> None:
        """A long hostile message costs no more than its octets: this returns at all."""
        for octets in (
            b'[a b="' + b"\\" * 10**6,
            b"[a " * 300000,
            b'[a b="' + b'\\"' * 10**6,
        ):
            self.assertRaises(MessageError, parseMessage, b"<1>1 - - - - - " + octets)


class RecordTests(SynchronousTestCase):
    """The record is DECNET's, and never fails."""

    def test_vectors(self) -> None:
        """Every line gives the record that DECNET's own parser gives."""
        count = 0
        for line in VECTORS.read_text("utf-8").splitlines():
            vector: dict[str, Any] = json.loads(line)
            message = vector["line"].encode("utf-8")
            made: dict[str, Any] = json.loads(renderRecords([message], WHO, 7))
            count += 1
            if vector["record"] is None:
                self.assertEqual(made["event_type"], "unparsed")
                self.assertEqual((made["msg"], made["raw_line"]), (vector["line"],) * 2)
                continue
            wanted = vector["record"]
            self.assertEqual({key: made[key] for key in wanted}, wanted)
            self.assertEqual(list(made)[: len(wanted)], list(wanted))
        self.assertEqual(count, 48)

    def test_ours(self) -> None:
        """What we add comes after DECNET's keys, in this order."""
        made = json.loads(renderRecords([b"x", b"yy"], WHO, 7).splitlines()[1])
        self.assertEqual(
            list(made.items())[8:],
            [
                ("source_worker", "w1"),
                ("source_fingerprint", "sha-256:AA"),
                ("source_address", "192.0.2.1:5"),
                ("source_log", "/var/log/x"),
                ("source_offset", 9),
                ("received_at", NOW),
            ],
        )

    def test_rightByTheRFC(self) -> None:
        """Where DECNET's parser is wrong: escaped brackets, several elements, brackets in
        the text."""
        head = b"<134>1 2026-04-18T00:00:00Z h a - m "
        for octets, fields, msg in (
            (b'[relay@55555 a="x\\]y" b="2"] z', {"a": "x]y", "b": "2"}, "z"),
            (b'[t x="1"][relay@55555 a="2"] z', {"a": "2"}, "z"),
            (b'[relay@55555 a="2"] z] y', {"a": "2"}, "z] y"),
            (b'[relay@55555 a="2" z', {}, '[relay@55555 a="2" z'),
        ):
            made = record(head + octets, WHO, 0)
            self.assertEqual((made["fields"], made["msg"]), (fields, msg))

    def test_notUTF8(self) -> None:
        """Octets that are not UTF-8 show as U+FFFD, and are there exactly."""
        octets = b"<134>1 - h a - m - \xff\x00"
        made = record(octets, WHO, None)
        self.assertEqual(made["msg"], "\ufffd\x00")
        self.assertEqual(b64decode(str(made["raw_base64"])), octets)
        self.assertEqual(made["source_offset"], None)

    @quick
    @given(st.lists(messages, max_size=4), st.one_of(st.none(), st.integers(0, 2**62)))
    @example([b"<134>1 - h a - m \x85\x1c x"], 0)
    def test_anyOctets(self, many: list[bytes], start: int | None) -> None:
        """Whatever comes, there is a line of ASCII for each message, and it is the record."""
        octets = renderRecords(many, WHO, start)
        lines = octets.splitlines(keepends=True)
        self.assertEqual(len(lines), len(many))
        self.assertEqual(octets.count(b"\n"), len(many))
        self.assertTrue(octets.isascii())
        offset = start
        for message, line in zip(many, lines, strict=True):
            made = json.loads(line)
            self.assertEqual(made, record(message, WHO, offset))
            self.assertNotIn("gap", made)
            raw = b64decode(made["raw_base64"]) if "raw_base64" in made else None
            self.assertEqual(raw or made["raw_line"].encode("utf-8"), message)
            if offset is not None:
                offset += len(message) + 1


class GapTests(SynchronousTestCase):
    """A gap says what is missing, and cannot be mistaken or forged."""

    def test_record(self) -> None:
        """The mark is a member that no message makes."""
        made = json.loads(renderGapRecord(Gap(5, 9, "lag-cap"), WHO, "a" * 32, 2))
        self.assertEqual(
            made["gap"],
            {
                "start": 5,
                "end": 9,
                "octets": 4,
                "reason": "lag-cap",
                "stream": "a" * 32,
                "generation": 2,
            },
        )
        self.assertEqual((made["source_worker"], made["event_type"]), ("w1", "gap"))
        forged = renderRecords([made["raw_line"].encode()], WHO, 0)
        self.assertNotIn("gap", json.loads(forged))

    @quick
    @given(st.text(max_size=40), st.text(max_size=20))
    def test_hostileNames(self, log: str, reason: str) -> None:
        """A file's name cannot make a second line, and the line is a message by the RFC."""
        who = Provenance("w1", "f", "a", NOW, log)
        octets = renderGapMessage(Gap(0, 1, reason), who, "a" * 32, 0)
        self.assertEqual(octets.count(b"\n"), 1)
        self.assertTrue(all(0x20 <= octet < 0x7F for octet in octets[:-1]))
        (element,) = parseMessage(octets[:-1]).structuredData
        self.assertEqual(dict(element.params)["worker"], "w1")
        json.loads(renderGapRecord(Gap(0, 1, reason), who, "a" * 32, 0))
