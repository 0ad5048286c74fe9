"""Kills at selected system calls; L{tests.campaigns.enumeration} has all of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from decnet_syslog.durable import EXIT_STORAGE

from ..peers import PairTestCase, requirePeer
from .enumeration import EIO, attempt


class KillTests(PairTestCase):
    """A process is killed at its n-th call of a kind, and nothing is lost."""

    def test_killedListener(self) -> None:
        """
        A listener killed at the first commits, during a write, or during recovery loses
        nothing.
        """
        requirePeer("strace")
        for call, when, again in (
            ("fdatasync", 4, 0),
            ("fdatasync", 6, 2),
            ("pwrite64", 12, 5),
            ("write", 9, 0),
            ("sendto", 6, 0),
        ):
            with self.subTest(call=call, when=when):
                directory = self.directory / f"{call}-{when}-{again}"
                directory.mkdir()
                attempt(directory, "listener", call, when, again=again)

    def test_killedForwarder(self) -> None:
        """
        A forwarder killed before or after its positions are on disk loses nothing.
        """
        requirePeer("strace")
        for call, when in (
            ("fdatasync", 2),
            ("fdatasync", 4),
            ("pwrite64", 6),
            ("sendto", 5),
        ):
            with self.subTest(call=call, when=when):
                directory = self.directory / f"{call}-{when}"
                directory.mkdir()
                attempt(directory, "forwarder", call, when)

    def test_failedSync(self) -> None:
        """A failed fdatasync ends the process, and nothing acknowledged is lost."""
        requirePeer("strace")
        for side, when in (("listener", 5), ("listener", 7), ("forwarder", 4)):
            with self.subTest(side=side, when=when):
                directory = self.directory / f"eio-{side}-{when}"
                directory.mkdir()
                status = attempt(directory, side, "fdatasync", when, EIO)
                self.assertEqual(status, EXIT_STORAGE)


class OrderTests(PairTestCase):
    """Acknowledged lines are on disk."""

    def calls(self, trace: Path) -> list[str]:
        """The listener's calls on its journal and its connection, in order."""
        # strace continues at its own offset: the truncated part reads as NULs.
        text = trace.read_bytes().replace(b"\0", b"").decode("utf-8", "replace")
        calls = re.findall(r"^\d+ +(\w+)\(\d+<([^>]*)>", text, re.M)
        return [
            "sync" if name in ("fdatasync", "fsync") and "listener.db" in path else name
            for name, path in calls
            if "listener.db" in path or "TCP" in path or "socket" in path
        ]

    def test_syncBeforeAcknowledgement(self) -> None:
        """
        Between writing lines to the journal and sending their ACK, the listener syncs it.
        """
        strace = requirePeer("strace")
        pair = self.pair()
        worker = pair.enroll("w1")
        trace = self.directory / "trace"
        pair.listener.prefix = [strace, "-D", "-f", "-y", "-qq", "-o", str(trace)]
        pair.listener.prefix += ["-e", "trace=fdatasync,fsync,pwrite64,recvfrom,sendto"]
        pair.startListener()
        worker.append(b"one\n")
        worker.forwarder.start()
        self.waitForLines(pair, 1)
        trace.write_text("")
        worker.append(b"two\n")
        self.waitForLines(pair, 2)
        # Reports and their answers can be among these calls, so the write of the line counts.
        pair.wait(lambda: self.afterWrite(trace).count("sendto"), "no ACK is sent")
        kinds = self.afterWrite(trace)
        self.assertIn("sync", kinds[: kinds.index("sendto")])

    def afterWrite(self, trace: Path) -> list[str]:
        """The calls after the first write to the journal."""
        kinds = self.calls(trace)
        return kinds[kinds.index("pwrite64") :] if "pwrite64" in kinds else []


class CleanUpTests(PairTestCase):
    """Runs clean up after themselves."""

    def test_nothingLeftOpen(self) -> None:
        """After a traced process was killed, no child process remains."""
        strace = requirePeer("strace")
        directory: Path = self.directory / "left"
        directory.mkdir()
        attempt(directory, "listener", "fdatasync", 3)
        left = subprocess.run(
            ["pgrep", "-f", str(directory)], capture_output=True, text=True
        )
        self.assertEqual(left.stdout, "", strace)
        shutil.rmtree(directory)
