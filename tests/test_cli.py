"""Tests for the command line: every command explains itself."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog import __version__, hotpath
from decnet_syslog.cli import Options, main
from decnet_syslog.commands.enroll import Options as EnrollOptions
from decnet_syslog.commands.status import Options as StatusOptions
from decnet_syslog.commands.verify import Options as VerifyOptions
from decnet_syslog.master.tap import Options as ListenerOptions
from decnet_syslog.options import asSize, octets
from decnet_syslog.worker.tap import Options as ForwarderOptions

from .peers import requirePeer


def commands(
    options: usage.Options, path: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], usage.Options]]:
    """Every command with its options, including subcommands."""
    found = [(path, options)]
    for name, _, make, _ in getattr(options, "subCommands", ()):
        found += commands(make(), (*path, name))
    return found


def said(*arguments: str) -> tuple[object, str]:
    """The output of a command, and its exit status."""
    out = io.StringIO()
    status: object = None
    with redirect_stdout(out):
        try:
            main(arguments)
        except SystemExit as ended:
            status = ended.code
    return status, out.getvalue()


class HelpTests(SynchronousTestCase):
    """The help of each command."""

    def test_helpShowsExamples(self) -> None:
        """
        The help of every command and both services shows an example that names it.
        """
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
            shown = str(options)
            # The example appears unwrapped, so that it can be copied.
            self.assertIn(f"\n{text}\n", shown)
            for line in shown.splitlines():
                self.assertLess(len(line), 100, line)

    def test_usageLine(self) -> None:
        """
        The usage line shows the commands that lead to this command, and no others.
        """
        for words, usage_ in (
            ([], "Usage: decnet-syslog COMMAND [options]"),
            (["ca", "init"], "Usage: decnet-syslog ca init [options]"),
            (["tail"], "Usage: decnet-syslog tail [NAME ...] [options]"),
        ):
            status, shown = said(*words, "--help")
            self.assertEqual((status, shown.splitlines()[0]), (0, usage_))

    def test_sizesAreReadBack(self) -> None:
        """A size is printed in a form that the options accept."""
        shown = str(ListenerOptions())
        self.assertIn("[default: 1g]", " ".join(shown.split()))
        for number in (0, 1, 1023, 1024, 1536, 3 * 1024**2, 1024**3, 5 * 1024**4):
            self.assertEqual(octets(asSize(number)), number)

    def test_misunderstoodCommandLine(self) -> None:
        """A usage error names the fault, and the command whose help has more."""
        for words, help_ in (
            (["ca", "init", "--foo"], "ca init --help"),
            (["enroll"], "enroll --help"),
            (["nonsense"], "decnet-syslog --help"),
        ):
            err = io.StringIO()
            with redirect_stderr(err):
                status, out = said(*words)
            self.assertEqual((status, out), (2, ""))
            self.assertIn(help_, err.getvalue())
            self.assertEqual(err.getvalue().count("\n"), 1)

    def test_wordsOfUsageErrors(self) -> None:
        """
        A usage error shows the word that is wrong and the reason, without Twisted's words around it
        and without a full stop in the middle of the line.
        """
        for words, text in (
            (
                ["prove", "--kills", "x"],
                "decnet-syslog: --kills: 'x' is not a positive number; see",
            ),
            (["revoke", "a", "b"], "decnet-syslog: Wrong number of arguments; see"),
            (
                ["status", "foo"],
                "decnet-syslog: 'foo' is not an address: give status PORT",
            ),
            (["status"], "decnet-syslog: address missing: give status PORT"),
        ):
            err = io.StringIO()
            with redirect_stderr(err):
                status, _ = said(*words)
            self.assertEqual(status, 2)
            self.assertTrue(err.getvalue().startswith(text), err.getvalue())

    def test_anyOrder(self) -> None:
        """
        Arguments and options can be mixed; arguments after C{--} are never options.
        """
        for words in (["w", "--out", "d", "--renew"], ["--renew", "-o", "d", "w"]):
            options = EnrollOptions()
            options.parseOptions(words)
            self.assertEqual(
                (options["name"], options["out"], options["renew"]), ("w", "d", 1)
            )
        verify = VerifyOptions()
        verify.parseOptions(["a.log", "--worker", "w", "b.log", "--json", "m.json"])
        self.assertEqual(verify.files, ["a.log", "b.log"])
        options = EnrollOptions()
        options.parseOptions(["--out=d", "--", "--renew"])
        self.assertEqual((options["name"], options["renew"]), ("--renew", 0))

    def test_statusPortByNumber(self) -> None:
        """A status port can be given as a bare number."""
        for word, url in (
            ("6515", "http://127.0.0.1:6515/status.json"),
            ("localhost:6515", "http://localhost:6515/status.json"),
            ("[::1]:6515", "http://[::1]:6515/status.json"),
            ("http://h:1/status.json", "http://h:1/status.json"),
        ):
            options = StatusOptions()
            options.parseOptions([word, "--json"])
            self.assertEqual(options["url"], url)
        for words in (["m:6515", "--bundle=d"], ["--bundle=d", "https://m:6515/"]):
            options = StatusOptions()
            options.parseOptions(words)
            self.assertEqual(options["url"], "https://m:6515/status.json")
        for words in (
            *([], ["x"], ["http"], ["1:2:3"]),
            *(["https://m:6515"], ["http://m:6515", "--bundle=d"]),
        ):
            with self.assertRaises(usage.UsageError):
                StatusOptions().parseOptions(words)

    def test_brokenPipe(self) -> None:
        """
        Help written to a pipe that closes early causes no traceback, however short the
        help.
        """
        for option in ("--help", "--version"):
            self.unread(option)

    def unread(self, option: str) -> None:
        """The output of a command whose reader has gone."""
        reader, writer = os.pipe()
        os.close(reader)
        try:
            done = subprocess.run(
                [
                    *(sys.executable, "-c"),
                    *("from decnet_syslog.cli import main; main()", option),
                ],
                stdout=writer,
                stderr=subprocess.PIPE,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
                    # The output is flushed at exit.
                    "PYTHONUNBUFFERED": "",
                },
            )
        finally:
            os.close(writer)
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_versionOption(self) -> None:
        """C{--version} of a command prints the project's version, not Twisted's."""
        for arguments in (["--version"], ["enroll", "--version"]):
            status, text = said(*arguments)
            self.assertEqual(
                (status, text.splitlines()),
                (
                    0,
                    [
                        f"decnet-syslog {__version__}",
                        f"hot path: {hotpath.description}",
                    ],
                ),
            )


# What each shell gets after its script, and the words of a command line: it prints the
# candidates, one a line. zsh's own functions need a terminal: here they print their arguments.
SHELLS = {
    "bash": (
        ["--norc", "-c"],
        'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _decnet_syslog\n'
        'printf "%s\\n" "${COMPREPLY[@]}"',
    ),
    "zsh": (
        ["-f", "-c"],
        '_describe() { print -rl -- "${${(@P)4}[@]%%:*}" }\n'
        '_arguments() { print -rl -- "${@[2,-2]%%[=\\[]*}" }\n'
        'words=("$@"); CURRENT=$#; _decnet_syslog',
    ),
    "fish": (
        ["--no-config", "-c"],
        "for line in (complete -C (string join ' ' -- $argv))\n"
        "string split -f1 \\t -- $line\nend",
    ),
}


class CompletionTests(SynchronousTestCase):
    """Completion in each shell that has a script."""

    def completed(self, shell: str, *words: str) -> list[str]:
        program = requirePeer(shell)
        status, script = said("completion", shell)
        self.assertEqual(status, 0)
        options, code = SHELLS[shell]
        name = [] if shell == "fish" else [shell]
        # zsh would complete at once with the words of the script.
        script = script.removesuffix('_decnet_syslog "$@"\n')
        done = subprocess.run(
            [program, *options, f"{script}\n{code}", *name, *words],
            capture_output=True,
            text=True,
            cwd=self.directory,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        # bash and fish leave out what does not begin with the last word; zsh does that itself.
        return [one for one in done.stdout.split() if one.startswith(words[-1])]

    def setUp(self) -> None:
        self.directory = self.mktemp()
        os.mkdir(self.directory)
        # Not a candidate where a command is expected.
        Path(self.directory, "enraged").touch()

    def test_completedWords(self) -> None:
        """Each shell completes commands, subcommands and options, even after an argument."""
        for shell in SHELLS:

            def completed(*words: str, shell: str = shell) -> list[str]:
                return sorted(self.completed(shell, "decnet-syslog", *words))

            self.assertEqual(completed("enr"), ["enroll"], shell)
            self.assertLess({"forwarder", "listener"}, {*completed("doctor", ""), ""})
            self.assertNotIn("enroll", completed("doctor", ""), shell)
            self.assertEqual(
                completed("doctor", "forwarder", "--master-h"), ["--master-host"], shell
            )
            self.assertEqual(
                completed("enroll", "decky-01", "--ca"), ["--ca-dir"], shell
            )
            # The options of one subcommand are not those of another.
            self.assertEqual(completed("ca", "replace", "--fi"), ["--finish"], shell)
            self.assertEqual(completed("ca", "show", "--fi"), [], shell)

    def test_unknownShell(self) -> None:
        """An unknown shell is reported."""
        status, _ = said("completion", "tcsh")
        self.assertEqual(status, 2)
