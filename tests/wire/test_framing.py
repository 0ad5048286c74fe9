"""Tests for L{decnet_syslog.wire._framing} and L{decnet_syslog.wire._decoder}."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.wire._decoder import FrameDecoder
from decnet_syslog.wire._framing import (
    CONTROL_LINE_OCTETS_MAX,
    FIRST_OCTETS,
    FramingError,
    LengthError,
    Oversize,
    encodeFrames,
)

messages = st.lists(st.binary(min_size=1, max_size=300), max_size=20)
cuts = st.lists(st.integers(0, 6000), max_size=12)
quick = settings(deadline=None, derandomize=True, database=None, max_examples=200)


def divide(octets: bytes, at: list[int]) -> list[bytes]:
    """Split octets into receives."""
    places = sorted({0, len(octets), *[place for place in at if place < len(octets)]})
    return [octets[a:b] for a, b in pairwise(places)]


def decodeAll(
    decoder: FrameDecoder, receives: list[bytes]
) -> tuple[list[bytes], list[bytes]]:
    """Every message and every control line."""
    frames: list[bytes] = []
    lines: list[bytes] = []
    for receive in receives:
        line = decoder.decode(receive, frames)
        while line is not None:
            assert isinstance(line, bytes)
            lines.append(line)
            line = decoder.decode(b"", frames)
    return frames, lines


def decodeLenient(
    octets: bytes, limit: int, at: list[int]
) -> tuple[list[bytes | Oversize], FrameDecoder]:
    """
    Decode leniently, in order, and check after each step that few octets are held.
    """
    decoder = FrameDecoder(limit, lenient=True)
    found: list[bytes | Oversize] = []
    for receive in divide(octets, at):
        while True:
            frames: list[bytes] = []
            try:
                item = decoder.decode(receive, frames)
            finally:
                found += frames
            if item is None:
                break
            assert isinstance(item, Oversize)
            found.append(item)
            receive = b""
        assert decoder.held <= max(limit, FIRST_OCTETS) + 11, decoder.held
    return found, decoder


class RoundTripTests(SynchronousTestCase):
    """Decoding reverses encoding."""

    @quick
    @given(messages, cuts)
    def test_anyDivision(self, sent: list[bytes], at: list[int]) -> None:
        """The split into receives does not matter."""
        decoder = FrameDecoder()
        frames, lines = decodeAll(decoder, divide(encodeFrames(sent), at))
        self.assertEqual((frames, lines, decoder.held), (sent, [], 0))

    def test_octetByOctet(self) -> None:
        """A frame can arrive one octet at a time."""
        sent = [b"<1>1 x", b"12 34", b"\n", b"9" * 4000]
        octets = encodeFrames(sent)
        receives = [octets[i : i + 1] for i in range(len(octets))]
        self.assertEqual(decodeAll(FrameDecoder(), receives), (sent, []))

    @quick
    @given(st.lists(st.one_of(st.binary(min_size=1, max_size=50), st.just(None))), cuts)
    def test_controlLines(self, items: list[bytes | None], at: list[int]) -> None:
        """Control lines between frames are recognised by their first octet."""
        octets = b"".join(
            [b"LAST\n" if i is None else encodeFrames([i]) for i in items]
        )
        frames, lines = decodeAll(FrameDecoder(control=True), divide(octets, at))
        self.assertEqual(frames, [i for i in items if i is not None])
        self.assertEqual(lines, [b"LAST" for i in items if i is None])


class RefusalTests(SynchronousTestCase):
    """Invalid input is refused immediately, and no earlier frame is lost."""

    def refused(self, octets: bytes, **options: int) -> FramingError:
        """Decode the octets after a valid frame, whole and octet by octet."""
        errors = []
        for receives in ([b"2 ok" + octets], [bytes([o]) for o in b"2 ok" + octets]):
            decoder = FrameDecoder(**options)  # type: ignore[arg-type]
            frames: list[bytes] = []
            with self.assertRaises(FramingError) as caught:
                for receive in receives:
                    decoder.decode(receive, frames)
            self.assertEqual(frames, [b"ok"])
            errors.append(caught.exception)
        self.assertEqual(errors[0].reason, errors[1].reason)
        return errors[0]  # type: ignore[no-any-return]

    def test_leadingZero(self) -> None:
        """A MSG-LEN with a leading zero is refused."""
        self.assertIn("zero", self.refused(b"05 hello").reason)

    def test_emptyMessage(self) -> None:
        """An empty message is refused."""
        self.assertIn("zero", self.refused(b"0 ").reason)

    def test_notANumber(self) -> None:
        """
        A MSG-LEN with anything except ASCII digits is refused, even if int() would
        accept it.
        """
        for octets in (
            b"+5 hello",
            b"1_0 hello",
            b" 5 hello",
            b"-1 x",
            b"<14>1 x",
            b"5\thello",
        ):
            self.assertIn("not a number", self.refused(octets).reason)

    def test_overTheLimit(self) -> None:
        """A length over the limit is refused before the message arrives."""
        error = self.refused(b"2049 ", messageOctetsMax=2048)
        self.assertIsInstance(error, LengthError)
        self.assertEqual(error.length, 2049)  # type: ignore[attr-defined]

    def test_tooManyDigits(self) -> None:
        """A number with too many digits is refused before its end arrives."""
        self.assertIsInstance(
            self.refused(b"99999", messageOctetsMax=2048), LengthError
        )

    def test_controlLineWithoutExtension(self) -> None:
        """Without the extension, a frame that begins with a letter is refused."""
        self.assertIn("not a number", self.refused(b"LAST\n").reason)

    def test_longControlLine(self) -> None:
        """A control line over the limit is refused."""
        octets = b"A" * (CONTROL_LINE_OCTETS_MAX + 1)
        self.assertIn("control line", self.refused(octets, control=True).reason)

    def test_longestControlLine(self) -> None:
        """A control line's limit includes its LF."""
        octets = b"A" * CONTROL_LINE_OCTETS_MAX + b"\n"
        self.assertIn("control line", self.refused(octets, control=True).reason)
        for receives in ([octets[1:]], [bytes([octet]) for octet in octets[1:]]):
            frames, lines = decodeAll(FrameDecoder(control=True), receives)
            self.assertEqual((frames, lines), ([], [octets[1:-1]]))

    @quick
    @given(st.binary(max_size=400), cuts, st.booleans())
    def test_anyOctets(self, octets: bytes, at: list[int], control: bool) -> None:
        """
        For any octets, the held amount is bounded and the outcome is independent of the
        split.
        """
        outcomes = []
        for receives in ([octets], divide(octets, at)):
            decoder = FrameDecoder(100, control)
            frames: list[bytes] = []
            lines: list[bytes] = []
            reason = None
            try:
                for receive in receives:
                    line = decoder.decode(receive, frames)
                    while line is not None:
                        assert isinstance(line, bytes)
                        lines.append(line)
                        line = decoder.decode(b"", frames)
                    self.assertLess(decoder.held, CONTROL_LINE_OCTETS_MAX + 500)
            except FramingError as error:
                reason = error.reason
            outcomes.append((frames, lines, reason))
        self.assertEqual(outcomes[0], outcomes[-1])


class LenientTests(SynchronousTestCase):
    """From a peer without the extension, frames without a valid message are skipped."""

    def everyWay(
        self, octets: bytes, limit: int = 300
    ) -> tuple[list[bytes | Oversize], int]:
        """
        Decode whole, octet by octet and in pieces, and check that the results agree.
        """
        outcomes = []
        for step in (len(octets), 1, 7, 255, 256, 257):
            found, decoder = decodeLenient(
                octets, limit, list(range(0, len(octets), step))
            )
            self.assertEqual(decoder.held, 0)
            outcomes.append((found, decoder.empty))
        for outcome in outcomes:
            self.assertEqual(outcome, outcomes[0])
        return outcomes[0]

    def test_emptyFramesAreCounted(self) -> None:
        """Empty frames are counted, wherever they occur and however many there are."""
        self.assertEqual(self.everyWay(b"0 "), ([], 1))
        self.assertEqual(
            self.everyWay(b"0 0 1 a0 10 0123456789"), ([b"a", b"0123456789"], 3)
        )
        self.assertEqual(self.everyWay(b"0 " * 5000 + b"1 a"), ([b"a"], 5000))

    def test_oversizeFrame(self) -> None:
        """A frame over the limit is reported with its length and its first octets."""
        body = bytes(n % 251 for n in range(5000))
        for length in (301, 512, 999, 1000, 5000):
            octets = b"2 ok%d %b3 end" % (length, body[:length])
            self.assertEqual(
                self.everyWay(octets),
                ([b"ok", Oversize(length, body[:256]), b"end"], 0),
            )

    def test_shortOversize(self) -> None:
        """With a low limit, the first octets may be the whole frame."""
        found, _ = self.everyWay(b"11 abcdefghijk0 12 abcdefghijkl1 x", 10)
        wanted = [Oversize(11, b"abcdefghijk"), Oversize(12, b"abcdefghijkl"), b"x"]
        self.assertEqual(found, wanted)

    def test_framesInside(self) -> None:
        """Frames inside a skipped frame are skipped with it."""
        inside = encodeFrames([b"forged"] * 500)
        octets = b"%d %b4 real" % (len(inside), inside)
        self.assertEqual(
            self.everyWay(octets), ([Oversize(len(inside), inside[:256]), b"real"], 0)
        )

    def test_digitsOfLength(self) -> None:
        """
        A number with up to ten digits is a length; a longer one is refused immediately.
        """
        found, decoder = decodeLenient(b"9999999999 " + bytes(400), 300, [])
        self.assertEqual(found, [Oversize(9999999999, bytes(256))])
        self.assertEqual(decoder.held, 0)
        for octets in (b"99999999999", b"10000000000 x"):
            self.assertRaises(LengthError, decodeLenient, octets, 300, [])

    def test_skippedFrameHoldsLittle(self) -> None:
        """While a frame is skipped, at most its first octets are held."""
        _, decoder = decodeLenient(b"301 " + bytes(255), 300, [])
        self.assertEqual(decoder.held, 255)
        _, decoder = decodeLenient(b"5000 " + bytes(4000), 300, [])
        self.assertEqual(decoder.held, 0)

    def test_invalidFramesAreRefused(self) -> None:
        """Input that cannot be skipped is still refused."""
        for octets in (
            b"00 ",
            b"05 hello",
            b"0\n",
            b"-1 x",
            b"5\thello",
            b"LIST\n",
            b"\0",
        ):
            self.assertRaises(FramingError, decodeLenient, b"2 ok" + octets, 300, [])

    def test_strictWithExtension(self) -> None:
        """From a peer with the extension, empty and oversize frames are refused."""
        for octets in (b"0 ", b"301 "):
            self.assertRaises(
                FramingError, FrameDecoder(300, control=True).decode, octets, []
            )
