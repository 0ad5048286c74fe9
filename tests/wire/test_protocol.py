"""Tests for L{decnet_syslog.wire._protocol}."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.wire._framing import Lines, encodeFrames
from decnet_syslog.wire._protocol import OctetCountedReceiver


class Recording(OctetCountedReceiver):
    """Records messages, and halts before each if it should."""

    def __init__(self, halts: bool) -> None:
        self.messages: list[bytes] = []
        self._halts = halts

    def linesReceived(self, lines: Lines) -> None:
        self.framesReceived(lines.messages)

    def framesReceived(self, messages: list[bytes]) -> None:
        self.messages.extend(messages)
        if self._halts:
            self.halt()


MESSAGES = st.lists(
    st.one_of(
        st.binary(min_size=95, max_size=105),
        st.binary(min_size=1, max_size=12),
        st.sampled_from([99, 100, 101, 998, 999, 1000, 5000]).map(lambda n: b"x" * n),
        st.just(b"a line feed\n" * 12),
    ),
    min_size=1,
    max_size=8,
)


class ReceiveTests(SynchronousTestCase):
    """However frames are divided into receives, the same messages are received."""

    @given(MESSAGES, st.lists(st.integers(0, 2000), max_size=6), st.booleans())
    def test_anyReceives(
        self, messages: list[bytes], cuts: list[int], halts: bool
    ) -> None:
        """One frame a receive, many, or parts of them: nothing changes but the calls."""
        frames = [encodeFrames([message]) for message in messages]
        wire = b"".join(frames)
        places = sorted({0, len(wire), *[cut for cut in cuts if cut < len(wire)]})
        parts = [wire[a:b] for a, b in pairwise(places)]
        for receives in (frames, parts):
            protocol = Recording(halts)
            for data in receives:
                protocol.dataReceived(data)
                protocol.proceed()
            while protocol.unfinished:
                protocol.proceed()
            self.assertEqual(protocol.messages, messages)

    def test_haltedReceiver(self) -> None:
        """A frame that arrives alone waits, too, while the receiver is halted."""
        protocol = Recording(False)
        protocol.halt()
        for number in range(3):
            protocol.dataReceived(encodeFrames([b"%0100d" % number]))
        self.assertEqual(protocol.messages, [])
        protocol.proceed()
        self.assertEqual([int(message) for message in protocol.messages], [0, 1, 2])

    def test_behindPartOfFrame(self) -> None:
        """Octets that look like a whole frame belong to the frame that has begun."""
        protocol = Recording(False)
        inner = encodeFrames([b"x" * 100])
        wire = encodeFrames([inner])
        protocol.dataReceived(wire[: -len(inner)])
        protocol.dataReceived(inner)
        self.assertEqual(protocol.messages, [inner])
