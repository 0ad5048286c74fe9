"""Mistakes that are put in by hand are found, each by an assertion: L{tests.mutants}."""

from __future__ import annotations

import shutil
import unittest
from pathlib import Path

from twisted.trial.runner import TestLoader
from twisted.trial.unittest import SynchronousTestCase

from .mutants import HISTORIES, MUTANTS, NO_ROSTER, Mutant, Replacement, edited
from .pipeline import randomHistory, run

# Histories until one must have shown a mistake.
HISTORIES_MAX = 300


def theCase(name: str) -> unittest.TestResult:
    """Run a single test case."""
    result = unittest.TestResult()
    suite = TestLoader().loadByName(name)
    assert suite.countTestCases() == 1, name
    suite.run(result)
    assert result.testsRun == 1, name
    return result


class MutantTests(SynchronousTestCase):
    """Each mistake is found; a case for each is made below."""

    def hunt(self, mutant: Mutant) -> None:
        """
        See a mistake fail an assertion. Any other exception is an error of this test: the
        mistake, or the hunt, is not what it says.
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
        self.assertEqual(result.errors, [], "found by an error of its own")
        self.assertEqual(len(result.failures), 1, f"{mutant.name} was not found")

    def inHistories(self, mutant: Mutant) -> bool:
        """Whether a history fails an assertion with a mistake, and none without it."""
        hasRoster = mutant.hunt == HISTORIES
        for seed in range(HISTORIES_MAX):
            if self.fails(seed, hasRoster, mutant):
                self.assertFalse(self.fails(seed, hasRoster, None), f"history {seed}")
                return True
        return False

    def fails(self, seed: int, hasRoster: bool, mutant: Mutant | None) -> bool:
        """Live through a history. Whether an assertion has failed."""
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
    """What is put in fits the place."""

    def test_signatures(self) -> None:
        """Each mistake can be called like what it replaces."""
        for mutant in MUTANTS:
            for one in mutant.replacements:
                with self.subTest(mutant=mutant.name, replaces=one.attribute):
                    one.check()

    def test_otherSignature(self) -> None:
        """One that cannot is found out."""

        def fails(self: object, other: object) -> None:
            """Has a parameter more."""

        replacement = Replacement(MutantTests, "hunt", lambda self: None)
        self.assertRaises(AssertionError, replacement.check)
        replacement = Replacement(MutantTests, "fails", fails)
        self.assertRaises(AssertionError, replacement.check)

    def test_edit(self) -> None:
        """A text that is to be edited must be there, once."""
        self.assertRaises(AssertionError, edited, MutantTests, "fails", ("nowhere", ""))
        self.assertRaises(AssertionError, edited, MutantTests, "fails", ("seed", ""))
