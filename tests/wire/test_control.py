"""Tests for L{decnet_syslog.wire._control}."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.wire._control import (
    ACK,
    AT,
    BYE,
    CLOSE,
    EMPTY,
    HELLO,
    HELLO2,
    HISTORY,
    KNOWN,
    LAST,
    LIST,
    LISTED,
    MARK,
    OPEN,
    RESUME,
    SEEN,
    SKIP,
    ControlError,
    ControlLine,
    encodeControl,
    parseControl,
)

quick = settings(deadline=None, derandomize=True, database=None, max_examples=200)
stream = st.binary(min_size=16, max_size=16).map(bytes.hex)
number = st.integers(0, 2**63 - 1)
crc = st.integers(0, 2**32 - 1)
name = st.binary(min_size=1, max_size=100).map(os.fsdecode)
word = st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True)

controlLines = st.one_of(
    st.builds(HELLO, st.just(1), stream, number, number),
    st.builds(HELLO2, st.just(2), stream, number, number, number, stream),
    st.builds(MARK, number, stream),
    st.builds(SEEN, number, stream),
    st.builds(HISTORY, st.booleans()),
    st.builds(CLOSE, stream, number),
    st.builds(RESUME, stream, number, number, number, crc),
    st.builds(KNOWN, stream, number, number, number, crc, name),
    st.just(LISTED()),
    st.builds(ACK, stream, number, number),
    st.just(LIST()),
    st.builds(OPEN, stream, number, number, name),
    st.builds(AT, stream, number, number),
    st.builds(EMPTY, number),
    st.just(LAST()),
    st.builds(SKIP, number, word),
    st.builds(BYE, word, name),
)


class ControlLineTests(SynchronousTestCase):
    """Control lines are parsed to values and encoded back."""

    @quick
    @given(controlLines)
    def test_roundTrip(self, line: ControlLine) -> None:
        """
        A value that is encoded and parsed is unchanged, even with arbitrary octets in a
        file name.
        """
        octets = encodeControl(line)
        self.assertEqual(octets.count(b"\n"), 1)
        self.assertTrue(octets.isascii())
        self.assertEqual(parseControl(octets[:-1]), line)

    def test_encodedLines(self) -> None:
        """Each control line is encoded as documented, readable in a capture."""
        self.assertEqual(
            encodeControl(OPEN("0" * 32, 3, 17, "/var/log/dec net.log")),
            b"OPEN " + b"0" * 32 + b" 3 17 /var/log/dec%20net.log\n",
        )
        self.assertEqual(
            encodeControl(RESUME("a" * 32, 0, 5, 1, 255)),
            b"RESUME " + b"a" * 32 + b" 0 5 1 000000ff\n",
        )

    def test_invalidLinesAreRefused(self) -> None:
        """Octets outside the grammar are refused."""
        for octets in (
            b"",
            b"NOPE",
            b"list",
            b"LIST ",
            b"LIST x",
            b"EMPTY",
            b"EMPTY 01",
            b"EMPTY -1",
            b"EMPTY 9223372036854775808",
            b"EMPTY 1_0",
            b"EMPTY 1 ",
            b"AT " + b"g" * 32 + b" 0 0",
            b"AT " + b"A" * 32 + b" 0 0",
            b"SKIP 3 Bad",
            b"SKIP  3 bad",
            b"OPEN " + b"0" * 32 + b" 0 0 a%2",
            b"OPEN " + b"0" * 32 + b" 0 0 a\x00",
            b"RESUME " + b"0" * 32 + b" 0 0 0 123",
            b"HISTORY",
            b"HISTORY yes",
            b"HISTORY kept lost",
            b"MARK 1",
            b"MARK 1 " + b"A" * 32,
            b"SEEN -1 " + b"0" * 32,
            b"HELLO 2 " + b"0" * 32 + b" 1 1 1 " + b"g" * 32,
        ):
            self.assertRaises(ControlError, parseControl, octets)

    def test_helloOfOtherRelease(self) -> None:
        """
        A HELLO from another release raises an error with both versions and the end to
        upgrade.
        """
        journal = b" " + b"0" * 32 + b" 2048 256"
        for octets, *words in (
            (b"HELLO 3" + journal, "version 3", "knows 1 and 2", "older"),
            (b"HELLO 0" + journal, "version 0", "knows 1 and 2", "older"),
            (b"HELLO 1" + journal + b" 5", "takes 4 fields, not 5", "other end"),
            (b"HELLO 2" + journal, "takes 6 fields, not 4", "other end"),
            (b"HELLO 2" + journal + b" 5 6 7", "takes 6 fields", "other end"),
        ):
            error = self.assertRaises(ControlError, parseControl, octets)
            for word in (*words, "upgrade decnet_syslog"):
                self.assertIn(word, str(error))
        for octets in (
            b"HELLO",
            b"HELLO x",
            b"HELLO 01" + journal,
            b"HELLO " + journal,
        ):
            error = self.assertRaises(ControlError, parseControl, octets)
            self.assertIn("without a version", str(error))

    def test_encodedHellos(self) -> None:
        """Both versions of HELLO are encoded as documented."""
        self.assertEqual(
            encodeControl(HELLO2(2, "a" * 32, 2048, 256, 17, "b" * 32)),
            b"HELLO 2 " + b"a" * 32 + b" 2048 256 17 " + b"b" * 32 + b"\n",
        )
        self.assertEqual(
            encodeControl(HELLO(1, "a" * 32, 2048, 256)),
            b"HELLO 1 " + b"a" * 32 + b" 2048 256\n",
        )
        self.assertEqual(encodeControl(HISTORY(False)), b"HISTORY lost\n")

    @quick
    @given(st.binary(max_size=200))
    def test_anyOctets(self, octets: bytes) -> None:
        """Any octets give a value or a L{ControlError}."""
        try:
            line = parseControl(octets)
        except ControlError:
            return
        self.assertEqual(parseControl(encodeControl(line)[:-1]), line)
