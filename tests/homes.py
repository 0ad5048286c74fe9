"""A master's and a worker's home, commands typed in them, and deaths in a command."""

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
    """Two homes stand for two machines."""

    def setUp(self) -> None:
        self.top = Path(self.mktemp()).resolve()
        self.master, self.worker = self.top / "master", self.top / "worker"
        for home in (self.master, self.worker):
            home.mkdir(parents=True)
        self.agent = self.worker / ".decnet" / "agent"
        self.ca = self.master / ".decnet" / "ca"

    def call(self, home: Path, *words: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """Type a command. Its status, what it printed, and what it printed as an error."""
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
        """What a command prints that succeeds."""
        status, out, error = self.call(home, *words, stdin=stdin)
        self.assertEqual((status, error), (0, ""), out)
        return out

    def refused(self, home: Path, *words: str, stdin: bytes = b"") -> str:
        """The error of a command that refuses: one line."""
        status, out, error = self.call(home, *words, stdin=stdin)
        self.assertEqual((status, out), (1, ""), error)
        self.assertEqual(error.count("\n"), 1, error)
        self.assertNotIn("Traceback", error)
        return error


def _dieAt(number: int, action: Callable[[], object]) -> bool:
    """Run in a child that dies before its change of that number. Whether it died."""
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
    Run an action that dies before its first change of a disk, then before its second, and so on.

    Yields the number of the change after each death. The action is a child process's.

    @param prepare: make the state before it.
    """
    for number in range(1000):
        prepare()
        if not _dieAt(number, action):
            return
        yield number
    raise AssertionError("it has no end")
