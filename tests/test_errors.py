"""Tests for L{decnet_syslog.errors}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.errors import sentence, withRemedy


class PunctuationTests(SynchronousTestCase):
    """A reason of our own, of Twisted's or of the system's, and what follows it."""

    def test_oneMark(self) -> None:
        """One mark ends a reason, whichever it has of its own."""
        for reason, alone, together in (
            ("no host", "no host.", "no host; see x"),
            ("in use.", "in use.", "in use; see x"),
            ("no --x; do you mean --y?", "no --x; do you mean --y?", None),
            ("add nats://host:port,...", "add nats://host:port,...", None),
        ):
            self.assertEqual(sentence(reason), alone)
            if together is None:
                together = (
                    f"{reason} See x" if reason[-1] == "?" else f"{reason}; see x"
                )
            self.assertEqual(withRemedy(reason, "see x"), together)
