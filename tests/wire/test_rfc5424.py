"""Tests for L{tests.rfc5424}."""

from __future__ import annotations

import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.wire._rfc5424 import unescape

from ..rfc5424 import (
    Element,
    MessageError,
    SyslogMessage,
    parseMessage,
)

quick = settings(deadline=None, derandomize=True, database=None, max_examples=300)

BOM = b"\xef\xbb\xbf"

PIECES = [
    b"<134>1",
    b"<1>1 - - - - - ",
    b" ",
    b"-",
    b"[a@1",
    b"[b",
    b' a="',
    b'"',
    b"]",
    b"\\",
    b"=",
    b"2026-04-18T00:00:00Z",
    BOM,
    b"\xff",
    b"\xc3\xa9",
    b"\n",
    b"\x00",
]
hostile = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join),
    st.binary(max_size=60),
)

printable = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
# A field "-" is NILVALUE, not text.
words = st.text(printable, min_size=1, max_size=32).filter(lambda word: word != "-")
names = st.text(
    printable.filter(lambda character: character not in '="]'), min_size=1, max_size=32
)
elements = st.builds(
    Element,
    names,
    st.lists(st.tuples(names, st.text(max_size=12)), max_size=4).map(tuple),
)
# MSG without a BOM may be any octets, but if it begins with the BOM it is MSG with one.
texts = st.one_of(
    st.tuples(st.none(), st.just(False)),
    st.tuples(
        st.binary(max_size=20).filter(lambda octets: not octets.startswith(BOM)),
        st.just(False),
    ),
    st.tuples(st.text(max_size=20).map(str.encode), st.just(True)),
)


@st.composite
def wellFormed(draw: st.DrawFn) -> SyslogMessage:
    """Any well-formed message."""
    maybe = st.one_of(st.none(), words)
    msg, utf8 = draw(texts)
    return SyslogMessage(
        draw(st.integers(0, 23)),
        draw(st.integers(0, 7)),
        draw(st.integers(1, 999)),
        draw(st.sampled_from([None, "2026-04-18T00:00:00.1-23:59"])),
        draw(maybe),
        draw(maybe),
        draw(maybe),
        draw(maybe),
        tuple(draw(st.lists(elements, max_size=3, unique_by=lambda one: one.id))),
        msg,
        utf8,
    )


def written(message: SyslogMessage) -> bytes:
    """A message as its sender writes it."""
    header = [message.timestamp, message.hostname, message.appName]
    header += [message.procID, message.msgID]
    shown = ""
    for element in message.structuredData:
        shown += f"[{element.id}"
        for name, value in element.params:
            for special in '\\"]':
                value = value.replace(special, "\\" + special)
            shown += f' {name}="{value}"'
        shown += "]"
    octets = (
        f"<{message.facility * 8 + message.severity}>{message.version} "
        f"{' '.join([field or '-' for field in header])} {shown or '-'}"
    ).encode()
    if message.msg is not None:
        octets += b" " + (BOM if message.utf8 else b"") + message.msg
    return octets


class AcceptedTests(SynchronousTestCase):
    """Messages that follow the grammar are parsed correctly."""

    def test_sectionExample1(self) -> None:
        """
        Section 6.5, example 1 has no structured data, and a BOM that is not part of the
        text.
        """
        self.assertEqual(
            parseMessage(
                b"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - "
                + BOM
                + b"'su root' failed for lonvick on /dev/pts/8"
            ),
            SyslogMessage(
                4,
                2,
                1,
                "2003-10-11T22:14:15.003Z",
                "mymachine.example.com",
                "su",
                None,
                "ID47",
                (),
                b"'su root' failed for lonvick on /dev/pts/8",
                True,
            ),
        )

    def test_sectionExample2(self) -> None:
        """
        Section 6.5, example 2 has a UTC offset, a PROCID, and MSG in an unknown
        encoding.
        """
        message = parseMessage(
            b"<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - "
            b"%% It's time to make the do-nuts."
        )
        self.assertEqual(message.timestamp, "2003-08-24T05:14:15.000003-07:00")
        self.assertEqual((message.procID, message.msgID), ("8710", None))
        self.assertEqual(message.msg, b"%% It's time to make the do-nuts.")
        self.assertFalse(message.utf8)

    def test_sectionExample4(self) -> None:
        """Section 6.5, example 4 has two elements and no MSG."""
        message = parseMessage(
            b"<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 "
            b'[exampleSDID@32473 iut="3" eventSource="Application" eventID="1011"]'
            b'[examplePriority@32473 class="high"]'
        )
        self.assertEqual(
            message.structuredData,
            (
                Element(
                    "exampleSDID@32473",
                    (
                        ("iut", "3"),
                        ("eventSource", "Application"),
                        ("eventID", "1011"),
                    ),
                ),
                Element("examplePriority@32473", (("class", "high"),)),
            ),
        )
        self.assertIs(message.msg, None)

    def test_spaceBetweenElements(self) -> None:
        """
        After a space the rest is MSG, whatever it looks like (section 6.3.5, example
        3).
        """
        message = parseMessage(b'<1>1 - - - - - [a b="1"] [c d="2"]')
        self.assertEqual(message.structuredData, (Element("a", (("b", "1"),)),))
        self.assertEqual(message.msg, b'[c d="2"]')

    def test_nilEverywhere(self) -> None:
        """A message may have NILVALUE in every field, and no MSG."""
        self.assertEqual(
            parseMessage(b"<0>1 - - - - - -"),
            SyslogMessage(0, 0, 1, None, None, None, None, None, (), None, False),
        )

    def test_emptyMSG(self) -> None:
        """An empty MSG differs from a missing one."""
        self.assertEqual(parseMessage(b"<0>1 - - - - - - ").msg, b"")
        self.assertIs(parseMessage(b"<0>1 - - - - - -").msg, None)

    def test_anyOctetsInMSG(self) -> None:
        """MSG without a BOM may be any octets, including a bracket."""
        message = parseMessage(b"<0>1 - - - - - [a] \xff\x00]\n")
        self.assertEqual((message.msg, message.utf8), (b"\xff\x00]\n", False))

    def test_escapedCharacters(self) -> None:
        """
        A backslash escapes a quote, a backslash and a bracket; elsewhere it is text.
        """
        for raw, value in (
            (r"\"", '"'),
            (r"\\", "\\"),
            (r"\]", "]"),
            (r"\d", r"\d"),
            (r"\\\"", '\\"'),
            (r"\\\]", "\\]"),
            (r"\\\\d\]\"", '\\\\d]"'),
            (r"\\\d", r"\\d"),
        ):
            message = parseMessage(f'<1>1 - - - - - [a b="{raw}"] c'.encode())
            self.assertEqual(
                message.structuredData, (Element("a", (("b", value),)),), raw
            )
            self.assertEqual(unescape(raw), value)

    def test_longestFields(self) -> None:
        """The longest header fields that section 6 allows are accepted."""
        fields = ["h" * 255, "a" * 48, "p" * 128, "m" * 32]
        name = "n" * 32
        message = parseMessage(
            f'<191>999 - {" ".join(fields)} [{name} {name}=""]'.encode()
        )
        self.assertEqual(
            [message.hostname, message.appName, message.procID, message.msgID], fields
        )
        self.assertEqual(message.structuredData, (Element(name, ((name, ""),)),))
        self.assertEqual(
            (message.facility, message.severity, message.version), (23, 7, 999)
        )

    def test_timestampsAreKept(self) -> None:
        """TIMESTAMP is kept unchanged."""
        for timestamp in (
            "1985-04-12T23:20:50.52Z",
            "1985-04-12T19:20:50.52-04:00",
            "2003-08-24T05:14:15.000003-07:00",
            "2024-02-29T00:00:00Z",
        ):
            message = parseMessage(f"<1>1 {timestamp} - - - - -".encode())
            self.assertEqual(message.timestamp, timestamp)

    @quick
    @given(wellFormed())
    def test_writtenMessageIsParsed(self, message: SyslogMessage) -> None:
        """A message written by the grammar parses to the same values."""
        self.assertEqual(parseMessage(written(message)), message)


class RefusedTests(SynchronousTestCase):
    """Input that does not follow the grammar is refused, with the position."""

    def refused(self, octets: bytes, position: int) -> None:
        """Check that the octets are refused because of this position."""
        error = self.assertRaises(MessageError, parseMessage, octets)
        self.assertEqual(error.position, position, (octets, str(error)))

    def test_errorHasPosition(self) -> None:
        """
        An error has the expected element and the position, and compares as a value.
        """
        error = self.assertRaises(MessageError, parseMessage, b"<1>1 - - - - - x")
        self.assertEqual(error, MessageError("STRUCTURED-DATA", 15))
        self.assertEqual(str(error), "expected STRUCTURED-DATA at octet 15")
        self.assertEqual(len({error, MessageError("STRUCTURED-DATA", 15)}), 1)

    def test_invalidHead(self) -> None:
        """PRI is <0> to <191> without leading zeros; VERSION is a number from 1."""
        self.refused(b"", 0)
        self.refused(b"hello", 0)
        self.refused(b" <1>1 - - - - - -", 0)
        self.refused(b"<192>1 - - - - - -", 0)
        self.refused(b"<01>1 - - - - - -", 0)
        self.refused(b"<-1>1 - - - - - -", 0)
        self.refused(b"<>1 - - - - - -", 0)
        self.refused(b"<1>0 - - - - - -", 3)
        self.refused(b"<1>1000 - - - - - -", 3)
        self.refused(b"<1>", 3)

    def test_invalidTimestamps(self) -> None:
        """
        Timestamps need upper case, at most six fractional digits, no leap second, and
        an existing day (section 6.2.3).
        """
        for timestamp in (
            b"2003-10-11T22:14:60Z",
            b"2003-10-11t22:14:15Z",
            b"2003-10-11T22:14:15z",
            b"2003-10-11 22:14:15Z",
            b"2003-10-11T22:14:15",
            b"2003-10-11T24:00:00Z",
            b"2003-10-11T22:14:15+24:00",
            b"2003-08-24T05:14:15.000000003-07:00",
            b"2003-10-11T22:14:15.Z",
            b"2003-02-29T22:14:15Z",
            b"2003-04-31T22:14:15Z",
            b"2003-13-01T22:14:15Z",
            b"2003-10-11",
            b"20031011T221415Z",
            b"",
            b"2" * 1000,
        ):
            self.refused(b"<1>1 " + timestamp + b" - - - - -", 5)

    def test_invalidFields(self) -> None:
        """
        A header field is a limited number of printable ASCII octets, followed by one
        space.
        """
        self.refused(b"<1>1 -  - - - -", 7)
        self.refused(b"<1>1 - " + b"h" * 256 + b" - - - -", 7)
        self.refused(b"<1>1 - \xc3\xa9 - - - -", 7)
        self.refused(b"<1>1 - - " + b"a" * 49 + b" - - -", 9)
        self.refused(b"<1>1 - - - " + b"p" * 129 + b" - -", 11)
        self.refused(b"<1>1 - - - - " + b"m" * 33 + b" -", 13)
        self.refused(b"<1>1 - - - - \x7f -", 13)
        self.refused(b"<1>1 - - - - -", 13)

    def test_structuredData(self) -> None:
        """
        An element needs a name that occurs once, and parameters separated by single
        spaces.
        """
        self.refused(b"<1>1 - - - - - x", 15)
        self.refused(b"<1>1 - - - - - -x", 16)
        self.refused(b"<1>1 - - - - - []", 16)
        self.refused(b"<1>1 - - - - - [" + b"a" * 33 + b"]", 48)
        self.refused(b'<1>1 - - - - - [a="]', 17)
        self.refused(b"<1>1 - - - - - [a ]", 18)
        self.refused(b"<1>1 - - - - - [a b]", 19)
        self.refused(b'<1>1 - - - - - [a  b="c"]', 18)
        self.refused(b'<1>1 - - - - - [a b="c" ]', 24)
        self.refused(b'<1>1 - - - - - [a b="c"c="d"]', 23)
        self.refused(b'<1>1 - - - - - [a b="]"]', 21)
        self.refused(b'<1>1 - - - - - [a b="c', 22)
        self.refused(b'<1>1 - - - - - [a b="\\', 21)
        self.refused(b'<1>1 - - - - - [a b="\\"', 23)
        self.refused(b'<1>1 - - - - - [a b="c"][a]', 25)
        self.refused(b"<1>1 - - - - - [a]x", 18)

    def test_invalidUTF8(self) -> None:
        """Values, and MSG with a BOM, must be valid UTF-8."""
        self.refused(b'<1>1 - - - - - [a b="\xff"]', 15)
        self.refused(b"<1>1 - - - - - - " + BOM + b"\xff", 20)


class HostileTests(SynchronousTestCase):
    """The cost of any input is proportional to its length."""

    @quick
    @given(hostile)
    def test_anyOctets(self, octets: bytes) -> None:
        """
        Any octets give a message, or a L{MessageError} with a position inside them.
        """
        try:
            message = parseMessage(octets)
        except MessageError as error:
            self.assertTrue(0 <= error.position <= len(octets), (octets, error))
        else:
            self.assertEqual(parseMessage(written(message)), message)

    def test_noBacktracking(self) -> None:
        """
        Octets that make naive parsers backtrack are handled in linear time: the test
        returns.
        """
        for octets in (
            b'[a b="' + b"\\" * 10**6,
            b'[a b="' + b'\\"' * 10**6,
            b"[a " * 10**5,
            b"[" + b"a" * 10**6,
            b"[a" + b" " * 10**6,
            b"[a]" * 10**5,
        ):
            self.assertRaises(MessageError, parseMessage, b"<1>1 - - - - - " + octets)
        self.assertRaises(MessageError, parseMessage, b"<" + b"1" * 10**6)
        self.assertRaises(MessageError, parseMessage, b"<1>1 " + b"1" * 10**6)

    def test_memoryForEscapes(self) -> None:
        """A value that consists only of escapes needs little memory."""
        octets = b'<1>1 - - - - - [a b="' + b'\\"' * 200_000 + b'"]'
        tracemalloc.start()
        try:
            message = parseMessage(octets)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        self.assertEqual(message.structuredData[0].params, (("b", '"' * 200_000),))
        self.assertLess(peak, 8 * len(octets))
