"""Rows of L{tests.logrotate_matrix}: ways to rotate, with real processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from .logrotate_matrix import STATES, Outcome, run, table
from .peers import requirePeer
from .rotators import KINDS

_KINDS = {kind.title: kind for kind in KINDS}

# One of each nature: names, copies, packed files, another program, and a link.
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
    """No line is lost or comes twice, whichever way its file goes."""

    timeout = 300

    def test_sample(self) -> None:
        """Some rows; C{python -m tests.logrotate_matrix} tries all."""
        requirePeer("logrotate")
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        # Not one that everybody may write: logrotate refuses those.
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
    """What counts as good, and how it is shown."""

    def outcome(self, title: str = "default", **what: object) -> Outcome:
        """An outcome in which nothing happened but this."""
        facts = dict.fromkeys(("repeated", "gaps", "unseen", "lost"), 0)
        everything: dict[str, object] = {**facts, "written": 9, **what}
        return Outcome(_KINDS[title], "running", **everything)  # type: ignore[arg-type]

    def test_good(self) -> None:
        """A line that is lost or repeated is not, nor a gap where every file is there."""
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

    def test_table(self) -> None:
        """A line for each kind, a column for each state."""
        lines = table([self.outcome(lost=1234), self.outcome("svlogd", gaps=1)])
        self.assertEqual(lines[1].split(), ["rotation", *STATES])
        self.assertEqual(lines[3].split(), ["default", "1,234", "/", "0", "/", "0"])
        self.assertEqual(lines[4].split(), ["svlogd", "0", "/", "0", "/", "1"])
