"""
Formats: a third one needs nothing but a L{Format} in L{FORMATS}.

Options, checks of existing files, outputs and error messages all take it from there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.configuration import showConfiguration
from decnet_syslog.journal._values import Batch, Cursor
from decnet_syslog.master.tap import Options as ListenerOptions
from decnet_syslog.nats.tap import Options as OutputsOptions
from decnet_syslog.outputs import FORMATS, FileOutput, Format, ListenerLock, makeOutputs
from decnet_syslog.outputs._paths import WrongKind
from decnet_syslog.outputs._process import RemoteOutput
from decnet_syslog.outputs._rendering import RAW, RECORDS, otherOf, renderJSON

from ..doubles import makeOutput
from .test_fileoutput import batch

NATS = "--journal=nats://127.0.0.1"


def _render(batch: Batch) -> Iterable[bytes]:
    return [b"line,%d,%d\n" % (batch.seq, batch.lines)]


TABLE = Format(
    name="table",
    option="csv",
    default=None,
    words="rows",
    help="Rows go here",
    render=_render,
    isOwn=lambda line: line.startswith(b"line,"),
    ownProcess=False,
    lineWork=1,
)
RECORD = b"".join(renderJSON(batch(1, b"one\n"))).rstrip(b"\n")


class ThirdFormatTests(SynchronousTestCase):
    """A format with another name for its cursor than for its option, and without a default."""

    def setUp(self) -> None:
        FORMATS[TABLE.name] = TABLE
        self.addCleanup(FORMATS.pop, TABLE.name)
        self.home = Path(self.mktemp()).resolve()
        self.home.mkdir()

    def at(self, name: str) -> str:
        """A path in the home."""
        return str(self.home / name)

    def listener(self, *words: str) -> ListenerOptions:
        """Options of a listener with a journal in a file."""
        options = ListenerOptions()
        options.parseOptions([f"--journal={self.at('listener.db')}", *words])
        return options

    def outputs(self, *words: str) -> OutputsOptions:
        """Options of the outputs of a journal in NATS."""
        options = OutputsOptions()
        state = f"--state={self.at('outputs.db')}"
        options.parseOptions([NATS, state, *words])
        return options

    def test_notByDefault(self) -> None:
        """Nobody asked for it: it has no path, and the others have their defaults."""
        for options in (self.listener(), self.outputs()):
            self.assertEqual(
                options.paths,
                {
                    "log": [os.path.abspath("master.log")],
                    "json": [os.path.abspath("master.json")],
                    "csv": [],
                },
            )
            self.assertEqual(options.valueOf("csv-path"), [""])
            lock = ListenerLock(self.home / "lock")
            made = makeOutputs(options, lock, [])
            self.assertEqual([type(o) for o in made], [FileOutput, RemoteOutput])

    def test_onlyOutput(self) -> None:
        """It can be the only output, of either process."""
        words = ["--log-path=", "--json-path=", f"--csv-path={self.at('x.csv')}"]
        for options in (self.listener(*words), self.outputs(*words)):
            self.assertEqual(options.allPaths, [self.at("x.csv")])
            (output,) = makeOutputs(options, ListenerLock(self.home / "lock"), [])
            self.assertEqual(output.name, f"table:{self.at('x.csv')}")

    def test_listenerWithNats(self) -> None:
        """A listener with a journal in NATS writes no outputs, and refuses a path of any."""
        options = ListenerOptions()
        options.parseOptions([NATS])
        self.assertEqual(options.paths, {"log": [], "json": [], "csv": []})
        error = self.assertRaises(
            usage.UsageError, ListenerOptions().parseOptions, [NATS, "--csv-path=x"]
        )
        self.assertIn("--log-path, --json-path and --csv-path", str(error))

    def test_noOutput(self) -> None:
        """The error names every option that would be an output."""
        error = self.assertRaises(
            usage.UsageError, self.outputs, "--log-path=", "--json-path=", "--csv-path="
        )
        self.assertIn("--log-path, --json-path or --csv-path", str(error))

    def test_pathsAreChecked(self) -> None:
        """The rules for paths hold: no path twice, {worker} in the name only, no directory."""
        for words, said in (
            (["--csv-path=x", "--log-path=x"], "two outputs"),
            (["--csv-path={worker}/x"], "--csv-path"),
            ([f"--csv-path={self.home}"], "is a directory"),
        ):
            for parse in (self.listener, self.outputs):
                error = self.assertRaises(usage.UsageError, parse, *words)
                self.assertIn(said, str(error))

    def test_inConfigurationAndHelp(self) -> None:
        """A configuration file can have it; C{config show} and the help list it."""
        words = [f"--csv-path={self.at('{worker}.csv')}", f"--csv-path={self.at('x')}"]
        for parse in (self.listener, self.outputs):
            first = parse(*words)
            file = self.home / "file.toml"
            file.write_text(showConfiguration(first), "utf-8")
            again = parse(f"--config={file}")
            self.assertEqual(again.paths, first.paths)
            self.assertEqual(again.groupOf("csv-path"), "outputs")
            self.assertIn("--csv-path=", str(again))

    def test_appendedAfterCursor(self) -> None:
        """An output writes it, and goes on after its cursor."""
        options = self.listener(
            "--log-path=", "--json-path=", f"--csv-path={self.at('x')}"
        )
        cursor = Cursor("", 0, {})
        for seq in (1, 2):
            (output,) = makeOutputs(options, ListenerLock(self.home / "lock"), [])
            output.start(cursor)
            while (done := output.apply([batch(seq, b"a\nb\n")])) is not None:
                cursor = done
            output.close()
        self.assertEqual(Path(self.at("x")).read_bytes(), b"line,1,2\nline,2,2\n")

    def test_exchangedFiles(self) -> None:
        """An output refuses a file that contains only lines of another format."""
        own = {"log": b"<1>1 - a b - - -", "json": RECORD, "csv": b"line,1,1"}
        for option, line in own.items():
            path = self.home / f"with.{option}"
            path.write_bytes(line + b"\n")
            for other in own.keys() - {option}:
                off = [f"--{name}-path=" for name in ("log", "json") if name != other]
                options = self.listener(*off, f"--{other}-path={path}")
                paths = makeOutputs(options, ListenerLock(self.home / "lock"), [])
                # The child of a RemoteOutput does not know the third format.
                format = next(f for f in FORMATS.values() if f.option == other)
                output = makeOutput(self, paths[0].path, format)
                error = self.assertRaises(WrongKind, output.start, Cursor("", 0, {}))
                for named in (option, other):
                    self.assertIn(f"--{named}-path", str(error))


class OtherTests(SynchronousTestCase):
    """Which other format some lines have."""

    def test_twoFormats(self) -> None:
        """Raw lines differ from records; a file with both can belong to either output."""
        raw = b"a line"
        for format, lines, other in (
            (RAW, [], None),
            (RECORDS, [], None),
            (RAW, [raw], None),
            (RAW, [RECORD], RECORDS),
            (RAW, [RECORD, raw], None),
            (RECORDS, [RECORD, raw], None),
            (RECORDS, [raw, raw], RAW),
        ):
            self.assertIs(otherOf(format, lines), other)

    def test_cursorNames(self) -> None:
        """The names in cursors are stored state, and never change."""
        self.assertEqual(
            {format.option: format.name for format in (RAW, RECORDS)},
            {"log": "raw", "json": "json"},
        )
        self.assertEqual(list(FORMATS), ["raw", "json"])
