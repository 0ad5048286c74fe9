"""
Tests that run the fuzzer's findings and seeds through every target of L{fuzz}.

The files of C{tests/corpus/TARGET} are inputs that once broke it, named after the
fault. atheris is not needed.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from fuzz.targets import NAMES, load

CORPUS = Path(__file__).parent / "corpus"


class CorpusTests(SynchronousTestCase):
    """Every target accepts every input."""

    def test_formerFindings(self) -> None:
        """Inputs that once broke a target no longer do."""
        for directory in sorted(path for path in CORPUS.iterdir() if path.is_dir()):
            target = load(directory.name)
            for path in sorted(directory.iterdir()):
                with self.subTest(target=directory.name, found=path.name):
                    target.run(path.read_bytes())

    def test_seedsAndTheirHalves(self) -> None:
        """Every target accepts its seeds, and the first and the second half of each."""
        for name in NAMES:
            target = load(name)
            for seed in target.SEEDS:
                self.assertLessEqual(len(seed), target.OCTETS_MAX, name)
                half = len(seed) // 2
                for octets in (seed, seed[:half], seed[half:]):
                    with self.subTest(target=name, octets=octets):
                        target.run(octets)

    def test_joinedWords(self) -> None:
        """Every target accepts its dictionary words joined together."""
        for name in NAMES:
            target = load(name)
            with self.subTest(target=name):
                target.run(b"".join(target.WORDS)[: target.OCTETS_MAX])
