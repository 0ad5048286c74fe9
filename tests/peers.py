"""
Real programs that the tests run: rsyslog, syslog-ng, logrotate, strace, haproxy and
more.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.testing import LocalCluster

__all__ = ["EXAMPLES", "PairTestCase", "example", "requireModule", "requirePeer"]

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"


def example(name: str, *instead: tuple[str, object]) -> str:
    """
    An example configuration from the documentation, adapted to this machine.

    @param instead: texts that must occur in the example, and their replacements.
    """
    text = (EXAMPLES / name).read_text("utf-8")
    for old, new in instead:
        assert old in text, (name, old)
        text = text.replace(old, str(new))
    return text


def requirePeer(name: str) -> str:
    """The path of a program. Its absence is a failure where CI requires peers."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if name == "syslog-ng" and path is None:
        path = os.environ.get("DECNET_SYSLOG_SYSLOG_NG")
    if path is not None:
        return path
    _missing(name)


def requireModule(name: str) -> str:
    """
    The path of an npm module, as pinned by .ci/npm: see L{requirePeer}.

    C{DECNET_SYSLOG_NPM} names the directory where C{npm ci} installed it.
    """
    requirePeer("node")
    directory = os.environ.get(
        "DECNET_SYSLOG_NPM", EXAMPLES.parent.parent / ".peers/npm"
    )
    path = Path(directory) / "node_modules" / name
    if not path.is_dir():
        _missing(f"{name}, a module of node's,")
    return str(path)


def _missing(name: str) -> NoReturn:
    message = f"{name} is not installed"
    if os.environ.get("DECNET_SYSLOG_PEERS") == "required":
        raise AssertionError(message)
    raise SkipTest(message)


class PairTestCase(SynchronousTestCase):
    """
    A temporary master with workers as real processes, and other programs as peers.
    """

    # In seconds; trial's own limit for a test that waits for processes.
    timeout = 240

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.children: list[subprocess.Popen[bytes]] = []
        self.addCleanup(self._endChildren)

    def pair(
        self, options: Sequence[str] = (), port: int | None = None
    ) -> LocalCluster:
        """A master that is not started yet."""
        pair = LocalCluster(self.directory, options, port)
        self.addCleanup(pair.stop)
        return pair

    def spawn(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a peer."""
        with open(self.directory / "peer.out", "ab") as out:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.directory,
            )
        self.children.append(child)
        return child

    def _endChildren(self) -> None:
        for child in self.children:
            child.kill()
            child.wait()

    def waitFor(
        self, pair: LocalCluster, condition: Callable[[], bool], what: str
    ) -> None:
        """Wait for a condition; on failure show the output of every process."""
        try:
            pair.wait(condition, what)
        except Exception as error:
            said = "".join(
                f"\n--- {path}\n{path.read_text('utf-8', 'replace')[-3000:]}"
                for path in sorted(self.directory.glob("**/*.out"))
            )
            raise AssertionError(f"{error}{said}") from None

    def waitForLines(self, pair: LocalCluster, count: int) -> list[bytes]:
        """Wait for a number of lines in master.log."""
        self.waitForFile(pair, pair.logPath, count)
        self.waitForFile(pair, pair.jsonPath, count)
        return pair.logPath.read_bytes().splitlines(keepends=True)

    def waitForFile(self, pair: LocalCluster, path: Path, count: int) -> bytes:
        """Wait for a number of lines in a file."""
        self.waitFor(
            pair,
            lambda: path.exists() and path.read_bytes().count(b"\n") >= count,
            f"{path.name} has not {count} lines",
        )
        return path.read_bytes()
