"""Tests for L{decnet_syslog.nats._messages}."""

from __future__ import annotations

import json
import os
import re
import zlib
from base64 import b64decode, b64encode
from dataclasses import replace
from pathlib import Path
from unittest import mock
from zlib import decompress

import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.journal._promise import JournalBlocked
from decnet_syslog.journal._values import Deposit, StreamLease
from decnet_syslog.nats import _messages as messages
from decnet_syslog.nats._messages import (
    HEADERS_OCTETS_MAX,
    Entry,
    MessagePosition,
    UnrecognizedMessage,
    decode,
    encode,
    streamsOf,
    subjectOf,
)
from decnet_syslog.nats._packing import packer
from decnet_syslog.nats._pieces import pieces
from decnet_syslog.wire._provenance import Provenance

from ..doubles import PROVENANCE, STREAM, lines

ATTEMPT = "a" * 32
GRANT = StreamLease(1, 1, STREAM, 3, 0, 0, 0)

# Messages of stored journals, as the listener of the version in the name encoded them.
OLDER = Path(__file__).parent.parent / "data" / "messages" / "messages-1.0.json"

# The headers that every message of a stream had from the first version on. A header that is added
# later is optional, and is never added here: stored messages lack it.
MANDATORY = (
    "Decnet-Attempt",
    "Decnet-Worker",
    "Decnet-Fingerprint",
    "Decnet-Address",
    "Decnet-Received-At",
    "Decnet-Marks",
    "Decnet-Generation",
    "Decnet-Start",
    "Decnet-End",
    "Decnet-Base",
    "Decnet-Crc",
)

# Any possible name: a CN, or a path whose octets are not UTF-8.
NAMES = st.one_of(
    st.text(max_size=40, alphabet=st.characters(exclude_categories=["Cs"])),
    st.binary(max_size=40).map(lambda o: o.decode("utf-8", "surrogateescape")),
    st.sampled_from(
        ["a\r\nNats-Msg-Id: x", "*", ">", "a.b", "%41", " ", "\x00", "=", ""]
    ),
)
NUMBERS = st.integers(0, 2**63 - 1)
WHO = st.builds(
    Provenance, NAMES, NAMES, NAMES, NAMES, st.none() | NAMES, st.booleans()
)
MESSAGES = st.lists(st.binary(max_size=30), min_size=1, max_size=20)


def onTheWire(headers: dict[str, str]) -> dict[str, str]:
    """
    Headers as a reader of the protocol sees them: lines with a name and a stripped
    value.
    """
    text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return {
        name: value.strip()
        for name, _, value in (line.partition(":") for line in text.split("\r\n"))
        if name
    }


def roundTrip(deposit: Deposit, position: MessagePosition) -> Entry:
    """Encode and decode, with or without compression."""
    headers, body = encode(deposit, position, ATTEMPT)
    packed, short = encode(deposit, position, ATTEMPT, zlib.compress)
    with mock.patch.object(messages, "unpack", lambda name, octets: decompress(octets)):
        entry = decode(7, onTheWire(packed), short)
    assert entry == decode(7, onTheWire(headers), body)
    return entry


class FormatTests(SynchronousTestCase):
    """A committed deposit is read back unchanged."""

    @settings(deadline=None)
    @given(WHO, NUMBERS, NUMBERS, st.integers(0, 2**32 - 1), MESSAGES)
    def test_linesOfStream(
        self, who: Provenance, start: int, base: int, crc: int, some: list[bytes]
    ) -> None:
        """Lines of a stream are read back, with the position after them."""
        octets = b"".join(m.replace(b"\n", b"") + b"\n" for m in some)
        deposit = Deposit(who, GRANT, start, start + len(octets), octets)
        position = MessagePosition(deposit.end, base, crc)
        entry = roundTrip(deposit, position)
        assert entry.batch is not None
        batch = entry.batch
        self.assertEqual((entry.seq, entry.attempt), (7, ATTEMPT))
        self.assertEqual(entry.position, position)
        self.assertEqual(batch.provenance, who)
        self.assertEqual((batch.stream, batch.generation), (STREAM, 3))
        self.assertEqual(
            (batch.start, batch.end, batch.octets), (start, deposit.end, octets)
        )

    @settings(deadline=None)
    @given(WHO, MESSAGES)
    def test_framedMessages(self, who: Provenance, some: list[bytes]) -> None:
        """
        Messages of a peer without streams are read back, even with line feeds inside.
        """
        deposit = Deposit(who, None, 0, 0, b"".join(some), tuple(map(len, some)))
        batch = roundTrip(deposit, MessagePosition(0, 0, 0)).batch
        assert batch is not None
        self.assertEqual(
            (batch.octets, batch.lengths, batch.stream),
            (deposit.octets, deposit.lengths, None),
        )

    def test_tooLong(self) -> None:
        """
        A plain peer's oversize message is read back with its length and its first
        octets.
        """
        first = bytes(range(256))
        deposit = Deposit(PROVENANCE, None, 0, 10**9, first, reason="oversize")
        headers, body = encode(deposit, MessagePosition(0, 0, 0), ATTEMPT)
        batch = decode(7, onTheWire(headers), body).batch
        assert batch is not None
        self.assertEqual((batch.stream, batch.start, batch.end), (None, 0, 10**9))
        self.assertEqual((batch.octets, batch.reason), (first, "oversize"))

    @settings(deadline=None)
    @given(NAMES)
    def test_gapOfStream(self, reason: str) -> None:
        """A gap is read back with its reason, and moves the position."""
        deposit = Deposit(PROVENANCE, GRANT, 5, 9, b"", reason=reason)
        position = MessagePosition(5, 0, 77).behind(deposit)
        self.assertEqual(position, MessagePosition(9, 9, 0))
        entry = roundTrip(deposit, position)
        assert entry.batch is not None
        self.assertEqual((entry.batch.reason, entry.batch.start), (reason, 5))

    @settings(deadline=None)
    @given(NAMES, NAMES)
    def test_subjectIsUnique(self, one: str, other: str) -> None:
        """
        A name becomes one token of the subject without special meaning, and different
        names stay different.
        """
        subject = subjectOf("decnet", one, GRANT)
        self.assertTrue(
            re.fullmatch(r"decnet\.[A-Za-z0-9_%-]*\.[0-9a-f]{32}\.3", subject)
        )
        self.assertEqual(subject == subjectOf("decnet", other, GRANT), one == other)
        self.assertEqual(streamsOf("decnet", one), subject.rsplit(".", 2)[0] + ".*.*")

    def test_longestNames(self) -> None:
        """The longest names that a peer can have fit into the headers."""
        who = Provenance("w" * 64, "f" * 128, "a" * 64, "t" * 32, "\xff" * 2048, True)
        deposit = Deposit(who, GRANT, 2**63, 2**63, b"", reason="r" * 64)
        headers, _ = encode(deposit, MessagePosition(2**63, 2**63, 2**32 - 1), ATTEMPT)
        octets = sum(len(name) + len(value) + 4 for name, value in headers.items())
        self.assertLess(octets + 512, HEADERS_OCTETS_MAX)

    def test_olderMessages(self) -> None:
        """
        Messages that an older listener has stored are decoded: they hold acknowledged lines. A
        reader that does not recognise one skips it as another program's.
        """
        stored = json.loads(OLDER.read_text("utf-8"))
        self.assertEqual(
            {one["kind"] for one in stored},
            {"lines", "packed lines", "octet-counted", "gap", "too long"},
        )
        for one in stored:
            body = b64decode(one["body"])
            entry = decode(7, one["headers"], body)
            assert entry.batch is not None
            batch, wanted = entry.batch, one["batch"]
            self.assertEqual(
                [
                    *[batch.stream, batch.generation, batch.start, batch.end],
                    *[b64encode(batch.octets).decode(), batch.reason],
                    None if batch.lengths is None else list(batch.lengths),
                ],
                wanted,
                one["kind"],
            )
            who, position = batch.provenance, entry.position
            self.assertEqual(
                [entry.attempt, position.offset, position.base, position.crc],
                one["position"],
            )
            for name, value in one["provenance"].items():
                self.assertEqual(getattr(who, name), value, (one["kind"], name))

    def test_foreignMessage(self) -> None:
        """
        A message that lacks a header or has an invalid one is recognised as another
        program's.
        """
        headers, body = encode(
            lines(GRANT, 0, b"a\n"), MessagePosition(2, 0, 1), ATTEMPT
        )
        for name in MANDATORY:
            less = {n: v for n, v in headers.items() if n != name}
            self.assertEqual(len(less), len(headers) - 1, name)
            self.assertRaises(UnrecognizedMessage, decode, 1, less, body)
        for name, value in [
            ("Decnet-End", "-1"),
            ("Decnet-End", "\u0661"),
            ("Decnet-Crc", "x"),
            ("Decnet-Marks", ""),
        ]:
            self.assertRaises(
                UnrecognizedMessage, decode, 1, {**headers, name: value}, body
            )
        framed = {**headers, "Decnet-Framing": "octet-counted"}
        for bad in (b"x", b"5 abc", b" a", b"99999999999999 a"):
            self.assertRaises(UnrecognizedMessage, decode, 1, framed, bad)


class PackingTests(SynchronousTestCase):
    """Compressed bodies, and bodies that falsely claim to be."""

    def entry(self, body: bytes, encoding: str = "zstd") -> Entry:
        headers, _ = encode(lines(GRANT, 0, b"a\n"), MessagePosition(2, 0, 1), ATTEMPT)
        return decode(1, {**headers, "Decnet-Encoding": encoding}, body)

    @settings(deadline=None)
    @given(st.lists(st.binary(min_size=1, max_size=300), max_size=50))
    def test_packedOrUnchanged(self, some: list[bytes]) -> None:
        """
        A body is compressed if that makes it shorter, and otherwise left unchanged.
        """
        octets = b"".join(m.replace(b"\n", b"") + b"\n" for m in some)
        deposit = lines(GRANT, 0, octets)
        position = MessagePosition(len(octets), 0, 7)
        headers, body = encode(deposit, position, ATTEMPT, packer("zstd"))
        if "Decnet-Encoding" in headers:
            self.assertLess(len(body), len(octets))
        else:
            self.assertEqual(body, octets)
        batch = decode(1, onTheWire(headers), body).batch
        self.assertEqual(b"" if batch is None else batch.octets, octets)

    def test_worthIt(self) -> None:
        """
        Lines are compressed; short or random octets are not, nor is anything if
        compression is off.
        """
        pack = packer("zstd")
        text = b"a line like another\n" * 100
        self.assertLess(len(pack(text) or text), 200)
        self.assertIs(pack(text[:400]), None)
        self.assertIs(pack(os.urandom(4000)), None)
        self.assertIs(packer("none")(text), None)

    def test_headersOnly(self) -> None:
        """The position can be read from a message without its body."""
        entry = self.entry(b"")
        self.assertEqual((entry.position.offset, entry.batch), (2, None))

    def test_notPacked(self) -> None:
        """
        A body that cannot be decompressed, or does not state its size, counts as
        another program's.
        """
        whole = zstandard.ZstdCompressor().compress(b"x" * 1000)
        stream = zstandard.ZstdCompressor().compressobj()
        endless = stream.compress(b"x" * 1000) + stream.flush()
        # Magic number, a single segment with eight octets for its size: 2^62.
        bomb = b"\x28\xb5\x2f\xfd\xe0" + b"\0" * 7 + b"\x40" + whole[6:]
        for body in (b"x", whole[:-5], whole[:20] + b"\xff" * 30, endless, bomb):
            error = self.assertRaises(UnrecognizedMessage, self.entry, body)
            self.assertIn("cannot be unpacked", str(error))

    def test_unknownCompression(self) -> None:
        """
        A message in an unknown compression blocks the journal and is not skipped: a
        newer program must read it.
        """
        self.assertRaises(JournalBlocked, self.entry, b"x", "lz9")
        self.assertRaises(JournalBlocked, self.entry, b"x", "")


class PieceTests(SynchronousTestCase):
    """A deposit is split after lines, completely."""

    @settings(deadline=None)
    @given(MESSAGES, st.integers(1, 60), st.booleans())
    def test_splitLines(self, some: list[bytes], most: int, ends: bool) -> None:
        """
        Each piece of lines begins where the previous one ended, and ends with a line.
        """
        octets = b"".join(m.replace(b"\n", b"") + b"\n" for m in some)
        octets = octets if ends else octets + b"x"
        deposit = Deposit(PROVENANCE, GRANT, 100, 100 + len(octets), octets)
        cut = list(pieces(deposit, most))
        self.assertEqual(b"".join(p.octets for p in cut), octets)
        at = 100
        for piece in cut:
            self.assertEqual((piece.start, piece.end), (at, at + len(piece.octets)))
            at = piece.end
            if len(piece.octets) > most:
                self.assertLess(piece.octets[:-1].count(b"\n"), 2)
        for piece in cut[:-1]:
            self.assertTrue(piece.octets.endswith(b"\n"))
        position = MessagePosition(100, 0, 5)
        for piece in cut:
            position = position.behind(piece)
        self.assertEqual(position, MessagePosition(100, 0, 5).behind(deposit))

    @settings(deadline=None)
    @given(MESSAGES, st.integers(1, 60))
    def test_splitMessages(self, some: list[bytes], most: int) -> None:
        """Pieces contain whole messages, in order."""
        deposit = Deposit(PROVENANCE, None, 0, 0, b"".join(some), tuple(map(len, some)))
        cut = list(pieces(deposit, most))
        self.assertEqual(b"".join(p.octets for p in cut), deposit.octets)
        self.assertEqual(
            tuple(n for p in cut for n in p.lengths or ()), deposit.lengths
        )
        for piece in cut:
            _, body = encode(piece, MessagePosition(0, 0, 0), ATTEMPT)
            assert piece.lengths is not None
            self.assertTrue(len(body) <= most or len(piece.lengths) == 1)

    def test_gapIsOnePiece(self) -> None:
        """A gap is one piece."""
        gap = Deposit(PROVENANCE, GRANT, 0, 10**12, b"", reason="x")
        self.assertEqual(list(pieces(gap, 10)), [gap])
        plain = replace(lines(None, 0, b"a\nb\n"))
        self.assertEqual([p.octets for p in pieces(plain, 2)], [b"a\n", b"b\n"])
        self.assertEqual({(p.start, p.end) for p in pieces(plain, 2)}, {(0, 0)})
