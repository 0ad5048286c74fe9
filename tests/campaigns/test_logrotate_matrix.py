"""Rows of L{tests.campaigns.logrotate_matrix}: ways to rotate, with real processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from ..peers import requirePeer
from ..rotators import KINDS
from .logrotate_matrix import STATES, Outcome, run, table

_KINDS = {kind.title: kind for kind in KINDS}

# One of each type: names, copies, compressed files, another program, and a link.
SAMPLE = (
    ("extension", "stopped"),
    ("copytruncate", "stopped"),
    ("compress, gzip", "killed"),
    ("compress, xz", "killed"),
    ("svlogd", "running"),
    ("compress, delaycompress", "stopped"),
    ("kubelet, through a link", "running"),
)


class SampleTests(SynchronousTestCase):
    """No line is lost or repeated, whichever way its file is rotated."""

    timeout = 300

    def test_sampleOfRotations(self) -> None:
        """
        A sample of rotations loses and repeats nothing; C{python -m
        tests.campaigns.logrotate_matrix} runs all.
        """
        requirePeer("logrotate")
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        # Not world-writable: logrotate refuses such directories.
        directory.chmod(0o755)
        with ThreadPoolExecutor(4) as pool:
            outcomes = list(
                pool.map(
                    lambda row: run(
                        directory / f"{row[0]}-{row[1]}", _KINDS[row[0]], row[1]
                    ),
                    SAMPLE,
                )
            )
        for outcome in outcomes:
            self.assertGreater(outcome.written, 3000)
            self.assertTrue(outcome.isGood, outcome)


class OutcomeTests(SynchronousTestCase):
    """Which outcomes are good, and how they are shown."""

    def outcome(self, title: str = "default", **what: object) -> Outcome:
        """An outcome with zeros except for these values."""
        facts = dict.fromkeys(("repeated", "gaps", "unseen", "lost"), 0)
        everything: dict[str, object] = {**facts, "written": 9, **what}
        return Outcome(_KINDS[title], "running", **everything)  # type: ignore[arg-type]

    def test_goodOutcomes(self) -> None:
        """
        An outcome is good without lost or repeated lines, and without gaps if every
        file exists.
        """
        away = "rotate 1, master away"
        self.assertTrue(self.outcome().isGood)
        self.assertTrue(self.outcome(away, gaps=3, unseen=5).isGood)
        for bad in (
            self.outcome(lost=1),
            self.outcome(lost=-1, gaps=1),
            self.outcome(repeated=1),
            self.outcome(gaps=1),
            self.outcome(unseen=1),
            self.outcome(away, lost=1),
            self.outcome(failure="nothing comes"),
        ):
            self.assertFalse(bad.isGood, bad)

    def test_tableOfOutcomes(self) -> None:
        """The table has a row for each kind of rotation and a column for each state."""
        outcomes = [self.outcome(lost=1234), self.outcome("svlogd", gaps=1)]
        lines = table(outcomes).splitlines()
        self.assertEqual(lines[1].split(), ["rotation", *STATES])
        self.assertEqual(lines[3].split(), ["default", "1,234", "/", "0", "/", "0"])
        self.assertEqual(lines[4].split(), ["svlogd", "0", "/", "0", "/", "1"])
