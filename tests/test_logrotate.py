"""The real logrotate, copying and truncating under load."""

from __future__ import annotations

import subprocess
import threading
from collections import Counter

from .peers import PairTestCase, requirePeer


class UnderLoadTests(PairTestCase):
    """copytruncate loses what is written between its copy and its truncate; we nothing."""

    def test_copytruncate(self) -> None:
        """What is in the files arrives, once; with the forwarder running and stopped."""
        program = requirePeer("logrotate")
        pair = self.pair()
        worker = pair.enroll("w1")
        pair.startListener()
        worker.forwarder.start()
        configuration = self.directory / "logrotate.conf"
        configuration.write_text(
            f'"{worker.file}" {{\n  rotate 99\n  copytruncate\n  compress\n  delaycompress\n}}\n'
        )
        configuration.chmod(0o644)
        over = threading.Event()

        def write() -> None:
            number = 0
            while not over.wait(0.002):
                worker.append(
                    b"".join(
                        b"<134>1 2026-04-18T00:00:00Z d s - e - line %d\n" % n
                        for n in range(number, number + 20)
                    )
                )
                number += 20

        # What is rotated before the first look at a file is not the forwarder's.
        worker.append(b"the beginning\n")
        self.waitForLines(pair, 1)
        writer = threading.Thread(target=write)
        writer.start()
        try:
            for round_ in range(8):
                if round_ in (3, 6):
                    worker.forwarder.kill()
                if round_ == 5:
                    worker.forwarder.start()
                over.wait(0.6)
                done = subprocess.run(
                    [
                        program,
                        "-f",
                        "-s",
                        str(self.directory / "state"),
                        str(configuration),
                    ],
                    capture_output=True,
                    text=True,
                )
                self.assertEqual((done.returncode, done.stderr), (0, ""))
        finally:
            over.set()
            writer.join()
        worker.forwarder.start()
        worker.append(b"the end\n")

        def arrived() -> bool:
            return pair.logPath.exists() and b"the end\n" in pair.logPath.read_bytes()

        self.waitFor(pair, arrived, "the last line has not arrived")
        worker.forwarder.stop()
        pair.listener.stop()
        kept = b""
        for number in range(1, 20):
            for path in (
                worker.file.with_name(f"{worker.file.name}.{number}"),
                worker.file.with_name(f"{worker.file.name}.{number}.gz"),
            ):
                if path.exists():
                    done_ = subprocess.run(
                        ["gzip", "-dcf", str(path)], capture_output=True, check=True
                    )
                    kept += done_.stdout
        kept += worker.file.read_bytes()
        there = Counter(
            line
            for line in pair.logPath.read_bytes().splitlines()
            if b" GAP [" not in line
        )
        lost = [line for line in kept.splitlines() if line not in there]
        repeated = [line for line, count in there.items() if count > 1]
        self.assertEqual((lost[:3], repeated[:3]), ([], []))
        self.assertGreater(len(there), 1000)
