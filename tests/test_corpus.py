"""
What the fuzzer has found, and what it begins with, through every target of L{fuzz}.

The files of C{tests/corpus/TARGET} are inputs that have once broken it, by what was wrong.
atheris is not needed.
"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from fuzz.targets import NAMES, load

CORPUS = Path(__file__).parent / "corpus"


class CorpusTests(SynchronousTestCase):
    """Every target takes every input."""

    def test_found(self) -> None:
        """What has been found once stays found."""
        for directory in sorted(path for path in CORPUS.iterdir() if path.is_dir()):
            target = load(directory.name)
            for path in sorted(directory.iterdir()):
                with self.subTest(target=directory.name, found=path.name):
                    target.run(path.read_bytes())

    def test_seeds(self) -> None:
        """The seeds of every target, and each without its end, and without its beginning."""
        for name in NAMES:
            target = load(name)
            for seed in target.SEEDS:
                self.assertLessEqual(len(seed), target.OCTETS_MAX, name)
                half = len(seed) // 2
                for octets in (seed, seed[:half], seed[half:]):
                    with self.subTest(target=name, octets=octets):
                        target.run(octets)

    def test_words(self) -> None:
        """What inputs are made of is no input that breaks anything."""
        for name in NAMES:
            target = load(name)
            with self.subTest(target=name):
                target.run(b"".join(target.WORDS)[: target.OCTETS_MAX])
