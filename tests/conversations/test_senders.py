"""Tests for plain senders: the odd frames of DECNET's forwarder, and other framings."""

from __future__ import annotations

import json

from decnet_syslog.journal._values import Batch
from decnet_syslog.outputs._rendering import renderJSON, renderRaw
from decnet_syslog.receiving._seldom import SELDOM_S, Seldom
from decnet_syslog.trust._contexts import ForwarderContext
from decnet_syslog.wire import AT, OPEN, encodeControl
from decnet_syslog.wire._diagnosis import diagnose
from decnet_syslog.wire._framing import encodeFrames

from ..certificates import worker
from ..doubles import STREAM, MasterTestCase
from ..trust.test_contexts import Client, TLSTestCase

LIMIT = 1024 * 1024

LONG = b"<134>1 - decky ssh - login - " + b"A" * LIMIT


class LenientTests(TLSTestCase):
    """Empty and oversize frames from a plain peer cost no lines."""

    def send(self, octets: bytes, name: str = "w1") -> Client:
        """Let a plain peer with this name send."""
        creator = ForwarderContext(worker(name), "decnet-master", False)
        return self.connect(creator, octets)

    def batches(self) -> list[Batch]:
        return self.journal.read(0, 10**9)

    def told(self, words: str) -> list[str]:
        return [line for line in self.said if words in line]

    def test_emptyFrames(self) -> None:
        """
        Empty frames are counted, the lines around them are stored, and the connection
        stays open.
        """
        client = self.send(b"0 3 one0 0 3 two0 ")
        self.assertEqual(self.stored(), [("w1", b"one\ntwo\n")])
        self.assertIsNone(client.lost)
        self.assertEqual(self.listener.emptyFrames, {"w1": 4})
        self.assertEqual(len(self.told("skipped 4 empty frames")), 1)

    def test_oversizeFrame(self) -> None:
        """
        The gap record for an oversize frame has its length and first octets, and all
        lines keep their order.
        """
        octets = encodeFrames([b"one", LONG, b"two", LONG + b"B", b"three"])
        client = self.send(octets)
        for _ in range(100):
            self.pump.flush()
        self.assertIsNone(client.lost)
        seen = [(b.reason, b.start, b.end, b.octets) for b in self.batches()]
        self.assertEqual(
            seen,
            [
                (None, 0, 0, b"one\n"),
                ("oversize", 0, len(LONG), LONG[:256]),
                (None, 0, 0, b"two\n"),
                ("oversize", 0, len(LONG) + 1, LONG[:256]),
                (None, 0, 0, b"three\n"),
            ],
        )
        self.assertEqual(self.commits.pendingOctets, 0)
        self.assertEqual(len(self.told(f"a message of {len(LONG)} octets")), 1)

    def test_recordOfOversizeFrame(self) -> None:
        """The record has the frame's length and its first octets, whatever they are."""
        hostile = b'a\x00\n"]\\\xff\xe2\x80\xa8' + b"x" * LIMIT
        self.send(encodeFrames([hostile]))
        for _ in range(100):
            self.pump.flush()
        (batch,) = self.batches()
        (line,) = renderJSON(batch)
        record = json.loads(line)
        gap = record["gap"]
        self.assertEqual((gap["octets"], gap["reason"]), (len(hostile), "oversize"))
        first = gap["first"].encode("ascii").decode("unicode_escape").encode("latin-1")
        self.assertEqual(first, hostile[:256])
        self.assertEqual(
            (record["source_worker"], record["source_offset"]), ("w1", None)
        )
        (raw,) = renderRaw(batch)
        self.assertEqual(raw.count(b"\n"), 1)
        self.assertIn(b"a message of %d octets of w1 was not taken" % len(hostile), raw)

    def test_leavesWithinFrame(self) -> None:
        """A peer that disconnects within an oversize frame gets a gap record for it."""
        client = self.send(b"3 one9999999999 " + LONG[:300])
        assert client.transport is not None
        client.transport.loseConnection()
        self.pump.flush()
        seen = [(b.reason, b.end, b.octets) for b in self.batches()]
        self.assertEqual(
            seen, [(None, 0, b"one\n"), ("oversize", 9999999999, LONG[:256])]
        )

    def test_slowOversizeFrame(self) -> None:
        """A skipped frame may take any time, because it holds no memory."""
        client = self.send(b"9999999999 " + LONG[:300])
        self.clock.advance(1000)
        self.pump.flush()
        self.assertIsNone(client.lost)
        self.assertEqual(self.listener.held, 0)

    def test_reportsAreRare(self) -> None:
        """However often it happens and the peer reconnects, few lines are logged."""
        for _ in range(20):
            self.send(b"0 0 ")
            self.send(b"1 a0 ", "w2")
        self.assertEqual(len(self.told("empty frames")), 2)
        self.clock.advance(SELDOM_S)
        self.send(b"0 ")
        # For w1: first its first connection's frames, now all later ones.
        self.assertEqual(len(self.told("skipped 39 empty frames")), 1)
        self.assertEqual(self.listener.emptyFrames, {"w1": 41, "w2": 20})

    def test_strictWithExtension(self) -> None:
        """
        A connection with the extension is closed because of an empty or an oversize
        frame.
        """
        for octets in (b"0 ", b"%d " % (LIMIT + 1)):
            creator = ForwarderContext(worker(), "decnet-master", True)
            opened = encodeControl(OPEN(STREAM, 0, 0, "x")) + encodeControl(
                AT(STREAM, 0, 0)
            )
            client = self.connect(creator, encodeControl(OPEN(STREAM, 0, 0, "x")))
            assert client.transport is not None
            client.transport.write(opened[opened.index(b"AT") :] + octets)
            self.pump.flush()
            self.assertIn(b"BYE framing ", client.received)
        self.assertEqual(self.batches(), [])


# Octets in place of a frame, and words from the remedy.
STRANGERS = (
    (b"<134>1 - h a - - - x\n<134>1 - h a - - - y\n", "frames by line feed", "octet-c"),
    (b"<13>Jan  1 00:00:00 h a: x\n", "frames by line feed", "TCP_Framing"),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP", "--status-port"),
    (b"POST /loki/api/v1/push HTTP/1.1\r\n", "HTTP", "--status-port"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP", "--status-port"),
    (b"\0", "NUL between frames", "switch off the delimiter"),
    (b"\n", "line feed between frames", "switch off the delimiter"),
    (b"\r\n5 hello", "line feed between frames", "switch off the delimiter"),
    (b'{"version":"1.1"}\0', "JSON", "RFC 5424"),
    (b"\x16\x03\x01\x02\x00\x01", "TLS inside TLS", "switch off one TLS layer"),
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6514\r\n", "balancer", "--proxy-protocol"),
    (b"1 open 85 relp_version=0\n", "RELP", "omfwd"),
    (b"LIST\n", "without ALPN", "pass TLS through"),
    (b"05 hello", "zeros", "without them"),
    (b"2026-11-28T00:00:00Z h a: x\n", "not a length", "octet counting"),
    (b"99999999999 x", "not a length", "octet counting"),
    (b"Nov 28 00:00:00 h a: x\n", "line feed", "count octets, not characters"),
    (b"\xc3\xa9", "not syslog", "find the program"),
)


class StrangerTests(TLSTestCase):
    """
    Input without octet counting closes the connection, and the log names its kind and
    the remedy.
    """

    def test_unknownFraming(self) -> None:
        """
        Each kind of wrong framing is recognised at the beginning of a connection and
        after a valid frame.
        """
        for octets, kind, remedy in STRANGERS:
            for before in (b"", b"2 ok"):
                with self.subTest(octets=octets, before=before):
                    del self.said[:]
                    creator = ForwarderContext(worker(), "decnet-master", False)
                    client = self.connect(creator, before + octets)
                    (line,) = [line for line in self.said if "closing w1" in line]
                    self.assertIn(": framing: ", line)
                    self.assertIn(kind, line)
                    self.assertIn(remedy, line)
                    self.assertIsNotNone(client.lost)

    def test_anyFirstOctet(self) -> None:
        """Any octets give one line of printable ASCII."""
        for octet in range(256):
            for behind in (b"", b"\n", b" ", b"\xff" * 31):
                text = diagnose(bytes([octet]) + behind)
                self.assertTrue(text.isascii() and text.isprintable() and text)


class SeldomTests(MasterTestCase):
    """The memory about peers is bounded."""

    def test_oldestNameIsForgotten(self) -> None:
        """The oldest of very many names is forgotten."""
        seldom = Seldom(self.clock)
        for number in range(10_000):
            self.assertEqual(seldom.occurred((f"w{number}", "empty")), 1)
        self.assertLess(len(seldom), 5000)
        self.assertEqual(seldom.occurred(("w9999", "empty")), 0)
        self.assertEqual(seldom.occurred(("w0", "empty")), 1)
