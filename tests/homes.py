"""
Home directories of a master and a worker, commands run in them, and kills within a
command.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.cli import main

__all__ = ["HomesTestCase", "deaths"]

# Audit events before which a process can die and leave something half done.
_CHANGES = {
    "os.chmod",
    "os.chown",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.truncate",
}
_KILLED = 9


class HomesTestCase(SynchronousTestCase):
    """Two home directories stand for two machines."""

    def setUp(self) -> None:
        self.top = Path(self.mktemp()).resolve()
        self.master, self.worker = self.top / "master", self.top / "worker"
        for home in (self.master, self.worker):
            home.mkdir(parents=True)
        self.agent = self.worker / ".decnet" / "agent"
        self.ca = self.master / ".decnet" / "ca"

    def call(self, home: Path, *words: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """Run a command. Returns its status, its output, and its error output."""
        out, error = io.StringIO(), io.StringIO()
        typed = io.TextIOWrapper(io.BytesIO(stdin))
        kept = {k: v for k, v in os.environ.items() if not k.startswith("DECNET_")}
        with (
            mock.patch.dict(os.environ, {**kept, "HOME": str(home)}, clear=True),
            mock.patch("sys.stdin", typed),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(error),
        ):
            done = self.assertRaises(SystemExit, main, list(words))
        return int(done.code or 0), out.getvalue(), error.getvalue()

    def good(self, home: Path, *words: str, stdin: bytes = b"") -> str:
        """Run a command that must succeed. Returns its output."""
        status, out, error = self.call(home, *words, stdin=stdin)
        self.assertEqual((status, error), (0, ""), out)
        return out

    def refused(self, home: Path, *words: str, stdin: bytes = b"") -> str:
        """Run a command that must fail with one line. Returns the line."""
        status, out, error = self.call(home, *words, stdin=stdin)
        self.assertEqual((status, out), (1, ""), error)
        self.assertEqual(error.count("\n"), 1, error)
        self.assertNotIn("Traceback", error)
        return error


def _dieAt(number: int, action: Callable[[], object]) -> bool:
    """
    Run in a child that dies before its change with this number. Returns whether it
    died.
    """
    child = os.fork()
    if not child:
        left = number

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            # The third argument of an open is its flags.
            writes = event == "open" and int(str(arguments[2] or 0)) & 3
            if event in _CHANGES or writes:
                left -= 1
                if left < 0:
                    os._exit(_KILLED)

        status = 1
        try:
            sys.addaudithook(hook)
            action()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, _KILLED):
        raise AssertionError(f"the action failed before its change {number}")
    return code == _KILLED


def deaths(
    action: Callable[[], object], prepare: Callable[[], object]
) -> Iterator[int]:
    """
    Run an action that dies before its first change of a disk, then before its second,
    and so on, until it survives.

    Yields the number of the change after each death. The action runs in a child
    process.

    @param prepare: creates the initial state before each run.
    """
    for number in range(1000):
        prepare()
        if not _dieAt(number, action):
            return
        yield number
    raise AssertionError("it has no end")
