"""Kills at chosen system calls; L{tests.enumeration} has them all."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from decnet_syslog.durable import EXIT_STORAGE

from .enumeration import EIO, attempt
from .peers import PairTestCase, requirePeer


class KillTests(PairTestCase):
    """An end is killed at its n-th call of a kind, and nothing is missing."""

    def test_listener(self) -> None:
        """Around the first commits, in the middle of a write, in the recovery."""
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

    def test_forwarder(self) -> None:
        """Before the bookmark is on disk, and after."""
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
        """An error of fdatasync is the end of the process, and nothing acknowledged is lost."""
        requirePeer("strace")
        for side, when in (("listener", 5), ("listener", 7), ("forwarder", 4)):
            with self.subTest(side=side, when=when):
                directory = self.directory / f"eio-{side}-{when}"
                directory.mkdir()
                status = attempt(directory, side, "fdatasync", when, EIO)
                self.assertEqual(status, EXIT_STORAGE)


class OrderTests(PairTestCase):
    """What is acknowledged is on disk."""

    def calls(self, trace: Path) -> list[str]:
        """What the listener did to its journal and its connection, in order."""
        # strace goes on at its own offset: what was emptied reads as NULs.
        text = trace.read_bytes().replace(b"\0", b"").decode("utf-8", "replace")
        calls = re.findall(r"^\d+ +(\w+)\(\d+<([^>]*)>", text, re.M)
        return [
            "sync" if name in ("fdatasync", "fsync") and "listener.db" in path else name
            for name, path in calls
            if "listener.db" in path or "TCP" in path or "socket" in path
        ]

    def test_syncBeforeAcknowledgement(self) -> None:
        """Between the lines' arrival and the ACK there is an fdatasync of the journal."""
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
        pair.wait(lambda: "sendto" in self.calls(trace), "no acknowledgement is sent")
        kinds = self.calls(trace)
        received = kinds.index("recvfrom")
        answered = kinds.index("sendto", received)
        self.assertIn("pwrite64", kinds[received:answered])
        self.assertIn("sync", kinds[received:answered])
        written = kinds.index("pwrite64", received)
        self.assertIn("sync", kinds[written:answered])


class CleanUp(PairTestCase):
    """What a run leaves."""

    def test_nothingLeftOpen(self) -> None:
        """A traced process that was killed leaves no process behind."""
        strace = requirePeer("strace")
        directory: Path = self.directory / "left"
        directory.mkdir()
        attempt(directory, "listener", "fdatasync", 3)
        left = subprocess.run(
            ["pgrep", "-f", str(directory)], capture_output=True, text=True
        )
        self.assertEqual(left.stdout, "", strace)
        shutil.rmtree(directory)
