"""
Tests for the targets of L{fuzz}, using hypothesis: inputs made of each target's own
parts.

There are few examples, and always the same ones: C{python -m fuzz} searches for new
ones.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from fuzz.targets import NAMES, Target, load

# Targets with files and databases, whose examples take milliseconds each.
SLOW = {"tail": 10, "reception": 40, "sender": 20, "pipeline": 4}
EXAMPLES = 60


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """A truncated seed or nothing, followed by words and a few octets in any order."""
    seeds = st.sampled_from([b"", *target.SEEDS])
    bits = st.lists(st.sampled_from(target.WORDS) | st.binary(max_size=6), max_size=12)

    def made(seed: bytes, end: int, more: list[bytes]) -> bytes:
        return (seed[: end or None] + b"".join(more))[: target.OCTETS_MAX]

    return st.builds(made, seeds, st.integers(0, 64), bits)


WIRE = ("framing", "control", "rfc5424", "record", "decnet", "gap", "proxyheader")
TRUST = ("names", "bundles")
FILES = ("rotated", "tail")
CONNECTIONS = ("reception", "sender", "pipeline")


class TargetTests(SynchronousTestCase):
    """No input breaks a target."""

    def attempt(self, names: tuple[str, ...]) -> None:
        for name in names:
            target = load(name)
            run = given(inputs(target))(target.run)
            with self.subTest(target=name):
                settings(
                    deadline=None,
                    derandomize=True,
                    database=None,
                    max_examples=SLOW.get(name, EXAMPLES),
                )(run)()

    def test_wireTargets(self) -> None:
        """No input breaks the targets for parsing and encoding."""
        self.attempt(WIRE)

    def test_trustTargets(self) -> None:
        """No input breaks the targets for certificates and bundles."""
        self.attempt(TRUST)

    def test_fileTargets(self) -> None:
        """No input breaks the targets for rotated files and the tail."""
        self.attempt(FILES)

    def test_connectionTargets(self) -> None:
        """No input breaks the targets for either end of a connection."""
        self.attempt(CONNECTIONS)

    def test_everyTargetIsTested(self) -> None:
        """Every target is in one of the groups above."""
        self.assertEqual({*WIRE, *TRUST, *FILES, *CONNECTIONS}, set(NAMES))
