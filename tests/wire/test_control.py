"""Tests for L{decnet_syslog.wire._control}."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog import wire
from decnet_syslog.wire import (
    ACK,
    AGES_MAX,
    AT,
    BEAT,
    BYE,
    CLOSE,
    EMPTY,
    HELLO,
    HELLO2,
    HISTORY,
    KNOWN,
    LAG,
    LAST,
    LIMIT,
    LIST,
    LISTED,
    MARK,
    OPEN,
    REPORT,
    RESUME,
    SEEN,
    SKIP,
    STATE,
    TROUBLE,
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

ages = st.lists(st.tuples(number, number), min_size=1, max_size=AGES_MAX).map(
    lambda points: tuple(
        zip(sorted([at for at, _ in points]), [age for _, age in points], strict=True)
    )
)

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
    st.builds(STATE, stream, number, number, number, number),
    st.builds(LAG, stream, number, number, ages),
    st.builds(TROUBLE, word, name, name),
    st.builds(BEAT, number, number, number),
    st.builds(REPORT, number, number, number, number),
    st.builds(LIMIT, number, word, name),
    st.builds(BYE, word, name),
)

_ID = "0123456789abcdef" * 2
_TOKEN = "f" * 32

# Each line as octets, its value, and the form of each field.
TABLE: tuple[tuple[str, ControlLine, str], ...] = (
    (
        f"HELLO 1 {_ID} 2048 256",
        HELLO(1, _ID, 2048, 256),
        "number stream number number",
    ),
    (
        f"HELLO 2 {_ID} 2048 256 17 {_TOKEN}",
        HELLO2(2, _ID, 2048, 256, 17, _TOKEN),
        "number stream number number number stream",
    ),
    (f"MARK 17 {_TOKEN}", MARK(17, _TOKEN), "number stream"),
    (f"SEEN 0 {_TOKEN}", SEEN(0, _TOKEN), "number stream"),
    ("HISTORY kept", HISTORY(True), "kept"),
    (
        f"OPEN {_ID} 3 17 a%20b%7E",
        OPEN(_ID, 3, 17, "a b~"),
        "stream number number name",
    ),
    (f"CLOSE {_ID} 3", CLOSE(_ID, 3), "stream number"),
    (
        f"RESUME {_ID} 0 5 1 000000ff",
        RESUME(_ID, 0, 5, 1, 255),
        "stream number number number crc",
    ),
    ("LIST", LIST(), ""),
    (
        f"KNOWN {_ID} 0 5 1 ffffffff /%FF",
        KNOWN(_ID, 0, 5, 1, 2**32 - 1, "/\udcff"),
        "stream number number number crc name",
    ),
    ("LISTED", LISTED(), ""),
    (f"AT {_ID} 3 9223372036854775807", AT(_ID, 3, 2**63 - 1), "stream number number"),
    ("EMPTY 1024", EMPTY(1024), "number"),
    ("LAST", LAST(), ""),
    ("SKIP 5 lag-cap", SKIP(5, "lag-cap"), "number word"),
    (f"ACK {_ID} 3 85", ACK(_ID, 3, 85), "stream number number"),
    (
        f"STATE {_ID} 3 85 42 1500",
        STATE(_ID, 3, 85, 42, 1500),
        "stream number number number number",
    ),
    (
        f"LAG {_ID} 3 85 42:1500,42:900,80:7",
        LAG(_ID, 3, 85, ((42, 1500), (42, 900), (80, 7))),
        "stream number number ages",
    ),
    ("TROUBLE stuck /a I/O", TROUBLE("stuck", "/a", "I/O"), "word name name"),
    ("BEAT 1 2 3", BEAT(1, 2, 3), "number number number"),
    ("REPORT 9 1 2 3", REPORT(9, 1, 2, 3), "number number number number"),
    ("LIMIT 65536 rate -", LIMIT(65536, "rate", "-"), "number word name"),
    ("BYE shutdown at%0A8", BYE("shutdown", "at\n8"), "word name"),
)

_NOT_NUMBERS = ("", "01", "-1", "+1", "1_0", "0x1", "9223372036854775808", "1" * 20)

# Octets that each form refuses, and the form that the error names.
BAD: dict[str, tuple[tuple[str, str], ...]] = {
    "number": tuple((octets, "number") for octets in _NOT_NUMBERS),
    "stream": tuple(
        (octets, "stream")
        for octets in ("", "0" * 31, "0" * 33, "g" * 32, "A" * 32, "0" * 31 + "\n")
    ),
    "crc": tuple(
        (octets, "crc") for octets in ("", "0", "0" * 9, "0000000G", "FF" * 4)
    ),
    "word": tuple(
        (octets, "word") for octets in ("", "Bad", "0", "a_b", "a" * 33, "a\n")
    ),
    "name": tuple(
        (octets, "name") for octets in ("", "%2", "%0a", "a\x00", "~", "\xe9", "a\n")
    ),
    "kept": (("", "kept"), ("yes", "kept"), ("KEPT", "kept")),
    "ages": (
        *[(octets, "ages") for octets in ("", "1", "2:1,1:1", ",".join(["1:1"] * 17))],
        *[(f"{octets}:1", "number") for octets in _NOT_NUMBERS],
        *[(f"1:{octets}", "number") for octets in _NOT_NUMBERS],
    ),
}


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

    def test_tableIsComplete(self) -> None:
        """The table of these tests has a row for each control line."""
        kinds = {
            offered
            for offered in map(wire.__getattr__, wire.__all__)
            if isinstance(offered, type) and issubclass(offered, ControlLine)
        }
        self.assertEqual({type(row[1]) for row in TABLE}, kinds - {ControlLine})

    def test_eachLine(self) -> None:
        """Each control line is encoded as documented, and parsed back."""
        for text, value, forms in TABLE:
            octets = text.encode("ascii")
            self.assertEqual(encodeControl(value), octets + b"\n")
            self.assertEqual(parseControl(octets), value)
            self.assertEqual(len(forms.split()), text.count(" "), text)

    def test_eachBadField(self) -> None:
        """Each malformed field of each control line is refused, and the error names its form."""
        for text, value, forms in TABLE:
            words = text.split(" ")
            for at, form in enumerate(forms.split(), 1):
                if words[0] == "HELLO" and at == 1:
                    continue
                for bad, named in BAD[form]:
                    line = " ".join([*words[:at], bad, *words[at + 1 :]])
                    octets = line.encode("latin-1")
                    error = self.assertRaises(ControlError, parseControl, octets)
                    verb = type(value).__name__
                    self.assertEqual(error.reason, f"{verb} has a malformed {named}")
                    self.assertEqual(error.seen, octets[:80])

    def test_numberOfFields(self) -> None:
        """A control line with a field too few or too many is refused."""
        for text, _, forms in TABLE:
            if not text.startswith("HELLO"):
                number = len(forms.split())
                for line, found in (
                    (text + " 0", number + 1),
                    (text.rpartition(" ")[0], number - 1),
                ):
                    if found >= 0:
                        error = self.assertRaises(
                            ControlError, parseControl, line.encode("ascii")
                        )
                        self.assertIn(f"{number} fields, not {found}", error.reason)

    def test_unknownVerbs(self) -> None:
        """A line that does not begin with a verb is refused."""
        for octets in (
            b"",
            b"NOPE",
            b"list",
            b" LIST",
            b"LIST\n",
            b"HELLO2 1",
            b"LIS T",
        ):
            error = self.assertRaises(ControlError, parseControl, octets)
            self.assertEqual(error.reason, "an unknown control line")

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

    @quick
    @given(st.binary(max_size=200))
    def test_anyOctets(self, octets: bytes) -> None:
        """Any octets give a value or a L{ControlError}."""
        try:
            line = parseControl(octets)
        except ControlError:
            return
        self.assertEqual(parseControl(encodeControl(line)[:-1]), line)
