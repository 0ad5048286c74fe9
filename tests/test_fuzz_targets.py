"""
The targets of L{fuzz} by hypothesis: inputs of what a target says inputs are made of.

Few examples, and always the same: C{python -m fuzz} looks for what is new.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from fuzz.targets import NAMES, Target, load

# Targets whose examples take milliseconds each, with files and databases.
SLOW = {"tail": 10, "reception": 40, "sender": 20, "pipeline": 4}
EXAMPLES = 60


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """A seed, or nothing, cut somewhere; behind it words and a few octets in any order."""
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

    def test_wire(self) -> None:
        """Octets to values and back."""
        self.attempt(WIRE)

    def test_trust(self) -> None:
        """Certificates and bundles."""
        self.attempt(TRUST)

    def test_files(self) -> None:
        """What rotation has made of a file, and the tail of one."""
        self.attempt(FILES)

    def test_connections(self) -> None:
        """Both ends of a connection, with a strange peer and with each other."""
        self.attempt(CONNECTIONS)

    def test_all(self) -> None:
        """No target is left out above."""
        self.assertEqual({*WIRE, *TRUST, *FILES, *CONNECTIONS}, set(NAMES))
