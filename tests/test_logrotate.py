"""The real logrotate, copying and truncating under load."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from .peers import PairTestCase, requirePeer
from .rotating import LINE, missingFrom, rotateUnderLoad


class MissingTests(SynchronousTestCase):
    """What is in the files and did not arrive."""

    def missing(self, content: bytes, *there: int) -> list[bytes]:
        """Of one file, where these lines arrived."""
        return missingFrom([content], {LINE % number for number in there})

    def test_whole(self) -> None:
        """A line is missing unless it arrived as it is."""
        content = LINE % 1 + b"\n" + LINE % 2 + b"\n"
        self.assertEqual(self.missing(content, 1, 2), [])
        self.assertEqual(self.missing(content, 1, 20), [LINE % 2])

    def test_torn(self) -> None:
        """A copy that ends within a line: what was written there arrived, or this piece."""
        content = LINE % 119 + b"\n" + LINE % 12
        self.assertEqual(self.missing(content, 119, 120), [])
        self.assertEqual(self.missing(content, 119, 12), [])
        self.assertEqual(self.missing(content, 119, 121), [LINE % 12])
        self.assertEqual(self.missing(content, 120), [LINE % 119])


class UnderLoadTests(PairTestCase):
    """copytruncate loses what is written between its copy and its truncate; we nothing."""

    def test_copytruncate(self) -> None:
        """What is in the files arrives, once; with the forwarder running and stopped."""
        requirePeer("logrotate")
        result = rotateUnderLoad(self.pair(), 8, 0.6, random.Random(4))
        self.assertEqual((result.missing, result.repeated), (0, 0), result)
        self.assertGreater(result.delivered, 1000)
        self.assertGreater(result.stopped, 1)
