"""
Tests that the handmade mistakes of L{tests.campaigns.mutants} are found, each through a failing
assertion.
"""

from __future__ import annotations

import shutil
import unittest
from pathlib import Path

from twisted.trial.runner import TestLoader
from twisted.trial.unittest import SynchronousTestCase

from .mutants import HISTORIES, MUTANTS, NO_ROSTER, Mutant, Replacement, edited
from .pipeline import randomHistory, run

# The number of histories within which one must reveal a mistake.
HISTORIES_MAX = 300


def theCase(name: str) -> unittest.TestResult:
    """Load a single test case by name."""
    result = unittest.TestResult()
    suite = TestLoader().loadByName(name)
    assert suite.countTestCases() == 1, name
    suite.run(result)
    assert result.testsRun == 1, name
    return result


class MutantTests(SynchronousTestCase):
    """Each mistake is found; a test for each is added below."""

    def hunt(self, mutant: Mutant) -> None:
        """
        Check that a mistake fails an assertion. Any other exception is an error in this
        test: the mistake or the hunt does not do what it claims.
        """
        if mutant.hunt in (HISTORIES, NO_ROSTER):
            self.assertTrue(self.inHistories(mutant), f"{mutant.name} was not found")
            return
        result = theCase(mutant.hunt)
        self.assertEqual(
            (result.failures, result.errors), ([], []), "without a mistake"
        )
        with mutant.inPlace():
            result = theCase(mutant.hunt)
        self.assertEqual(
            result.errors, [], "the hunt failed with an error instead of an assertion"
        )
        self.assertEqual(len(result.failures), 1, f"{mutant.name} was not found")

    def inHistories(self, mutant: Mutant) -> bool:
        """
        Whether some history fails an assertion with the mistake, and passes without it.
        """
        hasRoster = mutant.hunt == HISTORIES
        for seed in range(HISTORIES_MAX):
            if self.fails(seed, hasRoster, mutant):
                self.assertFalse(self.fails(seed, hasRoster, None), f"history {seed}")
                return True
        return False

    def fails(self, seed: int, hasRoster: bool, mutant: Mutant | None) -> bool:
        """Run a history. Returns whether an assertion failed."""
        directory = Path(self.mktemp()).resolve()
        try:
            if mutant is None:
                run(directory, randomHistory(seed), hasRoster=hasRoster)
            else:
                with mutant.inPlace():
                    run(directory, randomHistory(seed), hasRoster=hasRoster)
        except AssertionError:
            return True
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        return False


def _make(mutant: Mutant) -> None:
    def test(self: MutantTests) -> None:
        self.hunt(mutant)

    words = mutant.name.split()
    test.__name__ = "test_" + words[0] + "".join(w.capitalize() for w in words[1:])
    test.__doc__ = f"{mutant.name.capitalize()}: found by {mutant.hunt}."
    setattr(MutantTests, test.__name__, test)


for _mutant in MUTANTS:
    _make(_mutant)


class ReplacementTests(SynchronousTestCase):
    """Replacements fit the replaced functions."""

    def test_signaturesMatch(self) -> None:
        """Each mistake can be called like the original."""
        for mutant in MUTANTS:
            for one in mutant.replacements:
                with self.subTest(mutant=mutant.name, replaces=one.attribute):
                    one.check()

    def test_otherSignature(self) -> None:
        """A replacement with another signature is detected."""

        def fails(self: object, other: object) -> None:
            """Has an additional parameter."""

        replacement = Replacement(MutantTests, "hunt", lambda self: None)
        self.assertRaises(AssertionError, replacement.check)
        replacement = Replacement(MutantTests, "fails", fails)
        self.assertRaises(AssertionError, replacement.check)

    def test_editedTextIsUnique(self) -> None:
        """A text to be edited must occur exactly once."""
        self.assertRaises(AssertionError, edited, MutantTests, "fails", ("nowhere", ""))
        self.assertRaises(AssertionError, edited, MutantTests, "fails", ("seed", ""))
