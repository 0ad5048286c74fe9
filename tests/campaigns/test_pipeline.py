"""
Tests for the pipeline in memory: exactly-once delivery whichever process dies. See
L{tests.campaigns.pipeline}.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from .pipeline import Master, World, journalHistory, perform, run

steps = st.one_of(
    st.tuples(st.just("line"), st.integers(0, 200)),
    st.tuples(st.just("deliver"), st.integers(1, 400), st.booleans()),
    st.tuples(st.just("step"), st.integers(1, 3)),
    st.tuples(st.just("late"), st.integers(1, 400)),
    st.tuples(st.just("crash worker"), st.booleans()),
    st.tuples(st.just("crash master"), st.booleans()),
    st.sampled_from(
        [
            ("connect",),
            ("poll",),
            ("poll",),
            ("cut",),
            ("rotate",),
            ("copytruncate",),
            ("all",),
            ("send",),
            ("hear",),
            ("wait",),
            ("look",),
        ]
    ),
)


class HistoryTests(SynchronousTestCase):
    """Any history of lines, rotations, cuts and crashes."""

    def world(self) -> World:
        directory = Path(self.mktemp()).resolve()
        world = World(directory)
        self.addCleanup(world.close)
        return world

    @settings(deadline=None, derandomize=True, database=None, max_examples=150)
    @given(st.lists(steps, max_size=40))
    def test_anyHistory(self, history: list[tuple[object, ...]]) -> None:
        """
        Every line arrives once and in order, and lines that a reader has seen never
        change.
        """
        directory = Path(self.mktemp()).resolve()
        try:
            run(directory, history)
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def test_restoredAndSwitchedMasters(self) -> None:
        """
        If masters are restored from snapshots and switched, each has every line once.
        """
        for seed in range(24):
            directory = Path(self.mktemp()).resolve()
            try:
                run(directory, journalHistory(seed), marks=seed % 4 > 0)
            finally:
                shutil.rmtree(directory, ignore_errors=True)

    def test_noFaults(self) -> None:
        """Without faults, every line arrives once and in order."""
        world = self.world()
        world.connect()
        for _ in range(20):
            world.line(50)
        world.heal()
        world.check()

    def test_cutAtEveryOctet(self) -> None:
        """
        If the connection is cut at any octet of a session, in either direction, every
        line arrives once.
        """
        for down in (False, True):
            at = 0
            while True:
                world = self.world()
                world.connect()
                for _ in range(6):
                    world.line(3)
                left, finished = at, False
                while not finished:
                    world.poll()
                    world.step(5)
                    link = world.link
                    assert link is not None
                    out = link.master.out if down else link.worker.out
                    moved = min(left, len(out))
                    world.deliver(moved, down)
                    left -= moved
                    other = link.worker.out if down else link.master.out
                    finished = not moved and not other
                    world.deliver(10**6, not down)
                    world.step(5)
                world.cut()
                world.heal()
                world.check()
                if left:
                    break
                at += 1
            self.assertGreater(at, 100)

    def test_stateLost(self) -> None:
        """If the worker's database is lost, the file is recognised by its content."""
        world = self.world()
        world.connect()
        for _ in range(5):
            world.line()
        world.heal()
        world.loseState()
        world.line()
        world.heal()
        world.check()

    def test_stateRestored(self) -> None:
        """If the worker's database is an old copy, no line is sent twice."""
        world = self.world()
        world.connect()
        world.line()
        world.heal()
        world.files.save()
        old = world.copyDatabase(world.statePath)
        for _ in range(5):
            world.line()
        world.heal()
        world.crashWorker(True)
        world.stopWorker()
        world.statePath = old
        world.startWorker()
        world.line()
        world.heal()
        world.check()

    def test_shortCopy(self) -> None:
        """
        The forwarder is killed while the copy of a truncated log lacks its last lines,
        which had arrived: they are not repeated.
        """
        world = self.world()
        world.connect()
        for _ in range(3):
            world.line()
        world.heal()
        world.files.save()
        for _ in range(2):
            world.line()
        copy = world.log.read_bytes()
        world.line()
        for _ in range(5):
            perform(world, ("all",))
        (world.logs / "app.log.1").write_bytes(copy)
        os.truncate(world.log, 0)
        world.line()
        world.crashWorker(False)
        world.heal()
        world.check()

    def test_masterRestored(self) -> None:
        """If the master's journal is an old copy, lines that it lost are sent again."""
        world = self.world()
        world.connect()
        world.line()
        world.heal()
        old = world.copyDatabase(world.master.path)
        raw, records = world.rawPath.read_bytes(), world.jsonPath.read_bytes()
        for _ in range(5):
            world.line()
        world.heal()
        world.crashMaster()
        world.master.die()
        # A backup has all files of the master from the same moment.
        with open(world.rawPath, "r+b") as file:
            file.truncate(len(raw))
        with open(world.jsonPath, "r+b") as file:
            file.truncate(len(records))
        world.seen[""] = raw
        world.cut()
        world.master = Master(world, old)
        world.line()
        world.heal()
        world.check()

    def test_newMaster(self) -> None:
        """A master with a new journal receives every line that is still on disk."""
        world = self.world()
        world.connect()
        for _ in range(3):
            world.line()
        world.heal()
        world.crashMaster()
        world.master.die()
        world.rawPath.unlink()
        world.jsonPath.unlink()
        world.seen = {}
        world.master = Master(world, world.directory / "another-0.db")
        world.line()
        world.heal()
        world.check()
