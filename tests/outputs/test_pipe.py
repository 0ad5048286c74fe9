"""Tests for L{decnet_syslog.outputs._pipe}."""

from __future__ import annotations

import copy
import pickle
import socket
import threading
from collections import deque

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.journal._values import BESIDE_OCTETS_MIN, Batch
from decnet_syslog.outputs._pipe import ObjectPipe
from decnet_syslog.wire._provenance import Provenance

WHO = Provenance("w1", "f", "a", "2026-04-18T01:02:03.000004Z", "/a", True)


def batch(octets: bytes, lengths: tuple[int, ...] | None = None) -> Batch:
    """A batch with these octets."""
    return Batch(7, WHO, "s", 1, 0, len(octets), octets, lengths, None)


SMALL, LARGE = b"x" * (BESIDE_OCTETS_MIN - 1), b"y\n" * 1_000_000
BATCHES = [batch(octets) for octets in (b"", SMALL, SMALL + b"x", LARGE, b"a\n")]
BATCHES.append(batch(LARGE, (len(LARGE),)))


class ObjectPipeTests(SynchronousTestCase):
    """Objects sent at one end arrive at the other."""

    def setUp(self) -> None:
        """Make both ends."""
        self.ends = [ObjectPipe(end.detach()) for end in socket.socketpair()]
        for end in self.ends:
            self.addCleanup(end.close)

    def test_objectsInOrder(self) -> None:
        """Objects arrive in order, with small and with large octets."""
        one, other = self.ends
        objects = [("apply", (BATCHES,)), None, ("apply", ([],)), ("apply", (BATCHES,))]
        sender = threading.Thread(target=lambda: deque(map(one.send, objects)))
        sender.start()
        received = [other.recv() for _ in objects]
        sender.join()
        self.assertEqual(received, objects)
        self.assertEqual(
            {type(made.octets) for made in received[3][1][0]},
            {bytes},
        )

    def test_closedEnd(self) -> None:
        """When one end is closed, the other raises EOFError, even within an object."""
        one, other = self.ends
        one.close()
        self.assertRaises(EOFError, other.recv)
        number = b"\1" + b"\0" * 7
        for octets in (b"\0" * 5, number * 2, number * 2 + b"x" * 8):
            left, right = socket.socketpair()
            left.sendall(octets)
            left.close()
            pipe = ObjectPipe(right.detach())
            self.assertRaises(EOFError, pipe.recv)
            pipe.close()


class BatchTests(SynchronousTestCase):
    """A batch is unchanged by copying or pickling."""

    def test_everyPickleProtocol(self) -> None:
        """A batch is unchanged by any pickle protocol, and its octets are bytes."""
        for made in BATCHES:
            for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
                again = pickle.loads(pickle.dumps(made, protocol))
                self.assertEqual(again, made)
                self.assertIs(type(again.octets), bytes)
            self.assertEqual(copy.deepcopy(made), made)
