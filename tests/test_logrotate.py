"""The real logrotate, copying and truncating under load."""

from __future__ import annotations

import random

from .peers import PairTestCase, requirePeer
from .rotating import rotateUnderLoad


class UnderLoadTests(PairTestCase):
    """copytruncate loses what is written between its copy and its truncate; we nothing."""

    def test_copytruncate(self) -> None:
        """What is in the files arrives, once; with the forwarder running and stopped."""
        requirePeer("logrotate")
        result = rotateUnderLoad(self.pair(), 8, 0.6, random.Random(4))
        self.assertEqual((result.missing, result.repeated), (0, 0), result)
        self.assertGreater(result.delivered, 1000)
        self.assertGreater(result.stopped, 1)
