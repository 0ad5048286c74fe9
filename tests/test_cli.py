"""The table of commands: each explains itself."""

from __future__ import annotations

import io
import subprocess
from contextlib import redirect_stdout
from typing import Any

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog import __version__
from decnet_syslog.cli import Options, main
from decnet_syslog.master.tap import Options as ListenerOptions
from decnet_syslog.worker.tap import Options as ForwarderOptions

from .peers import requirePeer


def commands(
    options: usage.Options, path: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], usage.Options]]:
    """Every command and what it can be told, its own commands too."""
    found = [(path, options)]
    for name, _, make, _ in getattr(options, "subCommands", ()):
        found += commands(make(), (*path, name))
    return found


def said(*arguments: str) -> tuple[object, str]:
    """What a command prints, and its status."""
    out = io.StringIO()
    status: object = None
    with redirect_stdout(out):
        try:
            main(arguments)
        except SystemExit as ended:
            status = ended.code
    return status, out.getvalue()


class HelpTests(SynchronousTestCase):
    """Help teaches by example."""

    def test_examples(self) -> None:
        """Every command and both services show an example that names them."""
        every: list[tuple[tuple[str, ...], Any]] = [
            *commands(Options()),
            (("decnet-forwarder",), ForwarderOptions()),
            (("decnet-listener",), ListenerOptions()),
        ]
        self.assertGreater(len(every), 9)
        for path, options in every:
            text = options.longdesc
            self.assertIn("Example", text, path)
            for word in path:
                self.assertIn(word, text.partition("Example")[2], path)
            for line in str(options).splitlines():
                self.assertLess(len(line), 100, line)

    def test_version(self) -> None:
        """A command has the version of the project, not of Twisted."""
        for arguments in (["--version"], ["enroll", "--version"]):
            self.assertEqual(said(*arguments), (0, f"decnet-syslog {__version__}\n"))


class CompletionTests(SynchronousTestCase):
    """With a real bash."""

    def completed(self, *words: str) -> list[str]:
        bash = requirePeer("bash")
        status, script = said("completion", "bash")
        self.assertEqual(status, 0)
        code = (
            f'{script}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _decnet_syslog;'
            ' echo "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            [bash, "--norc", "-c", code, "bash", *words],
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    def test_words(self) -> None:
        """Commands, commands of commands, options; also behind an argument."""
        self.assertEqual(self.completed("decnet-syslog", "enr"), ["enroll"])
        self.assertEqual(
            self.completed("decnet-syslog", "doctor", ""),
            ["forwarder", "listener", "--help", "--version"],
        )
        self.assertEqual(
            self.completed("decnet-syslog", "doctor", "forwarder", "--master-h"),
            ["--master-host"],
        )
        self.assertEqual(
            self.completed("decnet-syslog", "enroll", "decky-01", "--ca"), ["--ca-dir"]
        )

    def test_otherShell(self) -> None:
        """A shell that we do not know is said."""
        status, _ = said("completion", "fish")
        self.assertEqual(status, 2)
