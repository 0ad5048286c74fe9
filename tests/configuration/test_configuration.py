"""Tests for the configuration file, and for the commands that read it."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.cli import main
from decnet_syslog.commands.config import SERVICES
from decnet_syslog.configuration import Configured, showConfiguration
from decnet_syslog.configuration._document import CONFIGURATION_OCTETS_MAX, readEntries
from decnet_syslog.options import asSize, octets
from decnet_syslog.trust import Authority

EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples"


def said(*words: str) -> tuple[object, str, str]:
    """The status of a command, its output, and its errors."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(words)
        except SystemExit as ended:
            return ended.code, out.getvalue(), err.getvalue()
    raise AssertionError("main() always exits")


class ConfigurationTestCase(SynchronousTestCase):
    """A directory of configuration files, and no other source."""

    def setUp(self) -> None:
        self.home = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.home)
        self.patch(Configured, "directory", str(self.home / "etc"))
        clean = {k: v for k, v in os.environ.items() if not k.startswith("DECNET_")}
        environment = mock.patch.dict(os.environ, clean, clear=True)
        environment.start()
        self.addCleanup(environment.stop)

    def file(self, text: str | bytes, name: str = "forwarder.toml") -> str:
        path = self.home / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    def parsed(self, service: str, *words: str) -> Any:
        """The options of a service."""
        options = SERVICES[service]()
        options.parseOptions(words)
        return options

    def refused(self, text: str | bytes, service: str = "forwarder") -> str:
        """The error about a file, without the file's path."""
        path = self.file(text)
        error = self.assertRaises(
            usage.UsageError, self.parsed, service, "--config", path
        )
        shown = str(error)
        self.assertTrue(shown.startswith(path), shown)
        self.assertTrue(shown.isprintable(), ascii(shown))
        self.assertLess(len(shown), 600)
        return shown.removeprefix(path)


# Values that are not the defaults, by option. An option that is not here gets one by its type.
VALUES: dict[str, Any] = {
    "host": "192.0.2.7",
    "delivery": "acked",
    "on-new-master": "resume",
    "on-hostname-mismatch": "accept",
    "journal-compression": "none",
    "proxy-protocol": ["192.0.2.0/24", "198.51.100.7"],
    "status-address": "::1",
    "on-event": "/bin/true 'a b'",
    "max-message": "64k",
    "max-rate": "3m",
    "max-files": 77,
    "max-lag-bytes": "200m",
    "batch-bytes": 8192,
    "poll-interval": 0.25,
    "master-name": "other-master",
    "journal-name": "others",
    "status-port": 6599,
    "master-domain": "d.example",
    "master-host": ["m1", "[::1]:99"],
}

# What the others need to be given, too.
NEEDED: dict[str, dict[str, Any]] = {
    "forwarder": {"log-file": "/x.log", "master-host": "m"},
    "listener": {},
    "outputs": {"journal": "nats://127.0.0.1"},
}
TOGETHER: dict[str, dict[str, Any]] = {
    "status-address": {"status-port": 6599},
    "max-files-per-worker": {"max-files": 50},
    "master-domain": {"master-host": None},
    "journal-cert": {"journal-ca": "/c", "journal-key": "/k"},
    "journal-key": {"journal-ca": "/c", "journal-cert": "/c"},
}


class EveryOptionTests(ConfigurationTestCase):
    """Every option of every service."""

    def value(self, options: Configured, name: str) -> Any:
        types, _ = options.typesOf(name)
        if (options.service, name) == ("outputs", "journal"):
            return "nats://127.0.0.2"
        if name in VALUES:
            return VALUES[name]
        if bool in types:
            return True
        if list in types:
            # Two outputs may not have the same path.
            return [str(self.home / f"{name}-a"), str(self.home / f"{name}-b")]
        if options.coerceOf(name) is octets:
            return asSize(2 * options[name])
        if int in types:
            return 4321
        return str(self.home / name)

    def test_everyOptionInFile(self) -> None:
        """
        Each option has the same value from the file as from the command line, with its line
        as its source; the command line wins over the file.
        """
        count = 0
        for service, cls in SERVICES.items():
            blank = cls()
            every = {word.rstrip("=") for word in blank.longOpt} - {
                "help",
                "version",
                "config",
            }
            self.assertEqual(set(blank.names), every)
            for name in blank.names:
                with self.subTest(service=service, option=name):
                    value = self.value(blank, name)
                    values = {**NEEDED[service], **TOGETHER.get(name, {}), name: value}
                    given = {k: v for k, v in values.items() if v is not None}
                    words = self.words(given)
                    byLine = self.parsed(service, "--config=", *words)
                    path = self.file(
                        "# a comment\n" + "".join(map(self.toml, given.items()))
                    )
                    byFile = self.parsed(service, "--config", path)
                    for one in blank.names:
                        self.assertEqual(byFile.valueOf(one), byLine.valueOf(one), one)
                    line = 2 + list(given).index(name)
                    self.assertEqual(byFile.sourceOf(name), f"{path}:{line}")
                    self.assertEqual(byLine.sourceOf(name), "command line")
                    both = self.parsed(service, f"--config={path}", *words)
                    self.assertEqual(both.valueOf(name), byLine.valueOf(name))
                    self.assertEqual(both.sourceOf(name), "command line")
                    if value is not True:
                        default = self.parsed(service, *self.words({**NEEDED[service]}))
                        self.assertNotEqual(byFile.valueOf(name), default.valueOf(name))
                    count += 1
        self.assertGreater(count, 60)

    def words(self, values: dict[str, Any]) -> list[str]:
        found = []
        for name, value in values.items():
            if value is True:
                found.append(f"--{name}")
            else:
                many = value if isinstance(value, list) else [value]
                found += [f"--{name}={one}" for one in many]
        return found

    def toml(self, item: tuple[str, Any]) -> str:
        # Python's form of these values is TOML's, except that of True.
        return f"{item[0]} = {'true' if item[1] is True else repr(item[1])}\n"

    def test_wrongTypes(self) -> None:
        """Each option refuses every other type of TOML, by file, line and name."""
        samples: dict[type, str] = {
            str: '"x"',
            int: "5",
            float: "1.5",
            bool: "true",
            list: '["x"]',
            dict: "{x = 1}",
            object: "2026-11-28",
        }
        for service, cls in SERVICES.items():
            blank = cls()
            for name in blank.names:
                types, _ = blank.typesOf(name)
                for kind, sample in samples.items():
                    isSection = kind is dict and name in cls.groups
                    if kind not in types and not isSection:
                        shown = self.refused(f"\n{name} = {sample}\n", service)
                        self.assertTrue(shown.startswith(":2: "), shown)
                        self.assertIn(name, shown)

    def test_nearestKey(self) -> None:
        """A mistyped option is refused with the one that was meant."""
        for service, cls in SERVICES.items():
            for name in cls().names:
                wrong = name[:-1] + "qx"
                if len(name) > 6:
                    shown = self.refused(f"\n\n{wrong} = 1", service)
                    self.assertTrue(shown.startswith(":3: "), shown)
                    self.assertIn(f"there is no option {wrong}", shown)
                    self.assertIn("do you mean", shown)
                if "-" in name:
                    under = name.replace("-", "_")
                    shown = self.refused(f"{under} = 1", service)
                    self.assertTrue(shown.endswith(f"do you mean {name}?"), shown)

    def test_shownIsReadBack(self) -> None:
        """C{config show} prints a file that gives the same options."""
        for service, cls in SERVICES.items():
            blank = cls()
            given = {name: self.value(blank, name) for name in blank.names}
            given.pop("master-domain", None)
            given.update({**NEEDED[service], "max-files-per-worker": 9999})
            given = {k: v for k, v in given.items() if k in blank.names}
            if "log-path" in given:
                given["log-path"] = [str(self.home / 'a "b" \\c\u00a0é.log')]
            first = self.parsed(service, *self.words(given))
            path = self.file(showConfiguration(first))
            again = self.parsed(service, "--config", path)
            for name in blank.names:
                self.assertEqual(again.valueOf(name), first.valueOf(name), name)

    def test_defaultsAreReadBack(self) -> None:
        """The defaults that C{config show} prints, without their comment signs, are accepted."""
        for service in SERVICES:
            shown = showConfiguration(
                self.parsed(service, *self.words(NEEDED[service]))
            )
            lines = [
                line.removeprefix("# ")
                for line in shown.splitlines()
                if "not set" not in line and "status-address" not in line
            ]
            # forwarder.db has no directory here.
            path = self.file("\n".join(one for one in lines if "state-db" not in one))
            self.parsed(service, "--config", path)


class PrecedenceTests(ConfigurationTestCase):
    """Command line, environment, file, default."""

    def test_environmentWins(self) -> None:
        """Each variable of the environment wins over the file, and loses to the command line."""
        values = {
            "master-port": ("7001", 7001, "7002", 7002),
            "agent-dir": ("/e", "/e", "/c", "/c"),
            "master-host": ("e1, e2", ["e1", "e2"], "c", ["c"]),
            "log-file": ("/e.log", ["/e.log"], "/c.log", ["/c.log"]),
            "host": ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"),
            "port": ("7001", 7001, "7002", 7002),
        }
        seen = set()
        for service, cls in SERVICES.items():
            for name, variable in cls.environment.items():
                text, value, word, given = values[name]
                seen.add(name)
                toml = "".join(f'{k} = "{v}"\n' for k, v in NEEDED[service].items())
                if name not in NEEDED[service]:
                    toml += (
                        f"{name} = 9\n" if name.endswith("port") else f"{name} = 'f'\n"
                    )
                path = self.file(toml)
                with mock.patch.dict(os.environ, {variable: text}):
                    options = self.parsed(service, "--config", path)
                    self.assertEqual(options.valueOf(name), value)
                    self.assertEqual(options.sourceOf(name), f"environment {variable}")
                    options = self.parsed(service, "--config", path, f"--{name}={word}")
                    self.assertEqual(options.valueOf(name), given)
                with mock.patch.dict(os.environ, {variable: ""}):
                    options = self.parsed(service, "--config", path)
                    self.assertIn(path, options.sourceOf(name))
        self.assertEqual(seen, set(values))

    def test_defaultFile(self) -> None:
        """
        The file in /etc is read if it is there, unless another or none is given; one that
        cannot be read is not ignored.
        """
        words = ["--log-file=/x.log", "--master-host=m"]
        self.assertIsNone(self.parsed("forwarder", *words).file)
        (self.home / "etc").mkdir()
        path = self.home / "etc" / "forwarder.toml"
        path.write_text("max-files = 5")
        options = self.parsed("forwarder", *words)
        self.assertEqual((options["max-files"], options.file), (5, str(path)))
        self.assertEqual(self.parsed("forwarder", *words, "--config=").file, None)
        other = self.file("max-files = 6")
        options = self.parsed("forwarder", *words, "--config=/no", f"--config={other}")
        self.assertEqual(options["max-files"], 6)
        path.unlink()
        path.symlink_to("nowhere")
        for wrong in ([], ["--config=/nonexistent"], ["--config", str(self.home)]):
            error = self.assertRaises(
                usage.UsageError, self.parsed, "forwarder", *words, *wrong
            )
            self.assertRegex(str(error), "No such file|is a directory")

    def test_alternativesReplaceEachOther(self) -> None:
        """
        An option of the command line or the environment also replaces those of the file
        that it excludes; both in one file are refused.
        """
        path = self.file("master-host = 'm'\nlog-file = '/x.log'")
        options = self.parsed("forwarder", "--config", path, "--master-domain=d.org")
        self.assertEqual(options.valueOf("master-host"), ["d.org"])
        domain = self.file("master-domain = 'd'\nlog-file = '/x.log'", "domain.toml")
        with mock.patch.dict(os.environ, {"DECNET_SWARM_MASTER_HOST": "m2"}):
            options = self.parsed("forwarder", "--config", domain)
            self.assertEqual(options.valueOf("master-host"), ["m2"])
            self.assertIsNone(options["master-domain"])
            options = self.parsed("forwarder", "--config=", "--master-domain=d",
                                  "--log-file=/x.log")  # fmt: skip
            self.assertEqual(options.valueOf("master-host"), ["d"])
        shown = self.refused("\nmaster-host = 'm'\nmaster-domain = 'd'\n")
        self.assertRegex(shown, r"\A:2: --master-host and --master-domain exclude")

    def test_doctorReadsFile(self) -> None:
        """The doctor examines the options of the file; its own are not in there."""
        path = self.file("log-file = '/x.log'\nmax-files = 'x'")
        status, out, err = said("doctor", "forwarder", "--config", path)
        self.assertEqual((status, out), (2, ""))
        self.assertIn(f"{path}:2: max-files", err)
        path = self.file("json = true")
        status, out, err = said("doctor", "forwarder", "--config", path)
        self.assertIn("there is no option json of forwarder", err)


class MistakeTests(ConfigurationTestCase):
    """Files that are refused, each with its line and the remedy."""

    def test_mistakesNameFileAndLine(self) -> None:
        """Each mistake is reported in one line, with file and line if it has one."""
        for text, words in (
            ("log-file = ", r":1: not TOML"),
            ("\n\nmax-files 3", r":3: not TOML"),
            ("a = 'x", r":1: not TOML|: not TOML"),
            ("max-files = 3\nmax-files = 4", r":2: max-files is given twice: delete"),
            ("[limits]\n[limits]", r":2: \[limits\] is given twice"),
            ("max-files = 3\n[limits]\nmax-files = 4", r":3: max-files is in line 1 al"),
            ("x = '''\n\n'''\n[limit]", r":1: there is no option x"),
            ("log-file = '''\n/a\nb'''\nmax-fils = 1", r":1: .*control|:4: "),
            ("\n[limit]\nmax-files = 1", r":2: there is no section \[limit\].*limits"),
            ("[limits.x]\nmax-files = 1", r":1: x is in|:1: there is no"),
            ("[[limits]]\nmax-files = 1", r":1: limits is a section: write \[limits\]"),
            ("limits = 3", r":1: limits is a section"),
            ("[log-file]\na = 1", r":1: log-file must be text in quotes"),
            ("a.b.c = 1", r":1: "),
            ("limits.max-fils = 1", r":1: .*do you mean max-files"),
            ("limits = {max-files = 0}", r":1: --max-files: '0' is not a number"),
            ("max-files = -1", r":1: --max-files: '-1'"),
            ("max-files = " + "9" * 5000, r": not TOML"),
            ("poll-interval = inf", r":1: poll-interval must be"),
            ("poll-interval = nan", r":1: poll-interval must be"),
            ("poll-interval = 0", r":1: --poll-interval: '0' is not a time"),
            ("max-message = '1x'", r":1: --max-message: '1x' is not a size"),
            ("max-message = 5", r":1: --max-message must be at least 2048"),
            ("master-port = 70000", r":1: --master-port: '70000' is not a port"),
            ("log-file = []", r":1: log-file is empty"),
            ("log-file = ['/a', 3]", r":1: log-file must be a list of texts"),
            ("log-file = [['/a']]", r":1: log-file must be a list of texts"),
            ("log-file = '/a\\u0000'", r"."),
            ('log-file = "/a\\u0000"', r":1: log-file has a control character"),
            ('state-db = "C:\\temp"', r":1: state-db has a control character"),
            ("delivery = 'maybe'", r":1: --delivery must be auto"),
            ("config = 'x'", r":1: there is no option config"),
            ("help = true", r":1: there is no option help"),
            ("master-host = 'https://m:6514/'", r":1: --master-host: .* is a URL"),
            ('"\\u001b[2J\\n" = 1', r":1: there is no option"),
            ("[" * 5000 + "]" * 5000, r":1: not TOML"),
            ("a = " + "[" * 100_000, r":1: not TOML|: not TOML"),
            (b"# \xff", r":1: not UTF-8"),
            (b"\n\n# \xc3", r":3: not UTF-8"),
            ("#" * (CONFIGURATION_OCTETS_MAX + 1), r": longer than"),
            (
                "max-lag-bytes = '2k'\nmax-message = '4k'",
                r":1: --max-lag-bytes must be 0 or at least",
            ),
            ("status-address = '::1'", r":1: --status-address ::1 without --status-port"),
            ("on-event = '/nowhere/x'", r":1: "),
        ):  # fmt: skip
            if text == "log-file = '/a\\u0000'":
                # A literal text in TOML: a backslash, and no control character.
                path = self.file(text + "\nmaster-host = 'm'")
                self.parsed("forwarder", "--config", path)
                continue
            with self.subTest(text=text[:60]):
                whole: Any = text
                if isinstance(text, str) and "on-event" in text:
                    whole += "\nlog-file='/x'\nmaster-host='m'"
                self.assertRegex(self.refused(whole), rf"\A(?:{words})")

    def test_linesOfEntries(self) -> None:
        """Every key has its line, whatever precedes it."""
        text = (
            "\ufeff# [x] = 'a'\r\n"
            'a = """\r\n[no]\n # no "quoted" \\""" \n""""\n'
            "b = '''\n'no' [\n'''  # '''\n"
            'c = [ # ]\n  \'x]\', "]\\"", [1,\n 2], {y = 1} ]\n'
            "[s] # [t]\n"
            '"d e".f = { g = 1, h = [\n] }\n'
            "  [ 's2' . \"x.y\" ]\n\n\ti = 1979-05-27T07:32:00Z"
        )
        found = [(entry.path, entry.line) for entry in readEntries(self.file(text))]
        self.assertEqual(
            found,
            [
                (("a",), 2),
                (("b",), 6),
                (("c",), 9),
                (("s",), 12),
                (("s", "d e"), 13),
                (("s", "d e", "f"), 13),
                (("s", "d e", "f", "g"), 13),
                (("s", "d e", "f", "h"), 13),
                (("s2", "x.y"), 15),
                (("s2", "x.y", "i"), 17),
            ],
        )

    def test_writableByOthers(self) -> None:
        """A file that every user can change is refused: it may name a command."""
        path = self.file("log-file = '/x'\nmaster-host = 'm'")
        os.chmod(path, 0o646)
        error = self.assertRaises(
            usage.UsageError, self.parsed, "forwarder", "--config", path
        )
        self.assertIn("chmod o-w", str(error))

    def test_noRegularFile(self) -> None:
        """A pipe without a writer is refused at once."""
        path = str(self.home / "pipe")
        os.mkfifo(path)
        error = self.assertRaises(
            usage.UsageError, self.parsed, "forwarder", "--config", path
        )
        self.assertIn("not a regular file", str(error))


class CommandTests(ConfigurationTestCase):
    """C{decnet-syslog config}, and the services as commands."""

    def test_examplesAreAccepted(self) -> None:
        """C{config check} accepts the examples, and finds a mistake in any of their lines."""
        for name in ("forwarder.toml", "listener.toml"):
            example, service = EXAMPLES / name, name.partition(".")[0]
            status, out, err = said("config", "check", str(example))
            self.assertEqual((status, err), (0, ""), out)
            self.assertTrue(out.startswith(f"{example}: ok for the {service}"), out)
            lines = example.read_text().splitlines()
            for number, line in enumerate(lines):
                if "-" in line.partition(" = ")[0] and not line.startswith("#"):
                    changed = [*lines]
                    changed[number] = line.replace("-", "-q", 1)
                    path = self.file("\n".join(changed), f"{service}.toml")
                    status, out, err = said("config", "check", path)
                    self.assertEqual((status, err), (2, ""))
                    self.assertTrue(out.startswith(f"{path}:{number + 1}: "), out)
                    self.assertEqual(out.count("\n"), 1)

    def test_checkTellsWhatIsMissing(self) -> None:
        """A file may leave options to the command line: C{config check} tells which."""
        path = self.file("max-files = 3")
        status, out, _ = said("config", "check", path)
        self.assertEqual(status, 0)
        self.assertIn("note: no master given: add --master-host", out)
        other = self.file("journal-max = '2g'", "tokyo.toml")
        status, out, err = said("config", "check", other)
        self.assertEqual((status, out), (2, ""))
        self.assertIn("add --service", err)
        status, out, err = said("config", "check", other, path, "--service=listener")
        self.assertEqual((status, out.count("\n")), (0, 2), err)
        for words in ([], ["check"], ["show"], ["shwo"], ["check", "--service=x", "f"],
                      ["check", ""], ["show", "forwarder", "--config=", "a\n"]):  # fmt: skip
            status, out, err = said("config", *words)
            self.assertEqual((status, err.count("\n")), (2, 1), err)

    def test_checkRefusesWhatServiceRefuses(self) -> None:
        """
        C{config check} refuses values that the service would refuse on every machine, with the
        name of the option and its line.
        """
        for service, text in (
            ("listener", "host = '127.0.0.1:5'"),
            ("listener", "host = 'a..b'"),
            ("listener", "host = '192.0.2.300'"),
            ("listener", "journal = 'nats://'"),
            ("listener", "journal = 'nats://h:0'"),
            ("listener", "journal = 'nats://me:secret@h'"),
            ("listener", "journal = 'tls://h'"),
            ("listener", "journal = 'nats://192.0.2.1'"),
            ("outputs", "journal = 'nats://'"),
            ("outputs", "journal = 'tls://h'"),
            ("outputs", "journal = 'nats://127.0.0.1'\njournal-key = '/k'"),
            (
                "outputs",
                "journal = 'nats://127.0.0.1'\njournal-ca = '/c'\njournal-cert='/c'",
            ),
            ("forwarder", "master-host = 'a..b'\nlog-file = '/x'"),
            ("forwarder", "master-domain = 'a..b'\nlog-file = '/x'"),
            ("forwarder", "master-port = 0\nmaster-host = 'a'\nlog-file = '/x'"),
        ):
            whole = "log-path = ''\njson-path = ''\n" * (service == "listener") + text
            if service == "outputs":
                whole = f"log-path = '/x.log'\n{text}"
            path = self.file(whole)
            status, out, _ = said("config", "check", path, "--service", service)
            with self.subTest(text=text):
                self.assertEqual((status, out.count("\n")), (2, 1), out)
                name = text.partition(" ")[0]
                self.assertRegex(
                    out, rf"{re.escape(path)}:[1-9]: .*--(?:{name}|journal)"
                )

    def test_checkNotesWhatMachineLacks(self) -> None:
        """What the service needs and this machine lacks is a note; with it, there is none."""
        (self.home / "there").write_text("")
        for service, text, lacking in (
            ("listener", "allow = '/nonexistent/allow'", "--allow /nonexistent/allow"),
            ("listener", "ca-dir = '/nonexistent/ca'", "--ca-dir: /nonexistent/ca/master"),
            ("listener", "journal = 'nats://127.0.0.1'\njournal-credentials = '/nonex/c'",
             "--journal-credentials /nonex/c"),
            ("outputs", "journal = 'nats://127.0.0.1'\njournal-ca = '/nonexistent/ca'",
             "--journal-ca /nonexistent/ca"),
            ("forwarder", "agent-dir = '/nonexistent/agent'", "--agent-dir: /nonexistent"),
        ):  # fmt: skip
            needed = {
                "listener": f"log-path = '{self.home}/x.log'\njson-path = ''\n",
                "outputs": f"log-path = '{self.home}/x.log'\njson-path = ''\n",
                "forwarder": f"log-file = '/x'\nmaster-host = 'm'\nstate-db = '{self.home}/s'\n",
            }[service]
            if "nats:" in text and service == "listener":
                needed = "log-path = ''\njson-path = ''\n"
            path = self.file(needed + text)
            status, out, _ = said("config", "check", path, "--service", service)
            with self.subTest(text=text):
                self.assertEqual((status, out.count("\n")), (0, 1), out)
                self.assertIn(f"ok for the {service}; note: ", out)
                self.assertIn(lacking, out)
        authority = Authority.create(self.home / "ca")
        authority.masterIdentity(["127.0.0.1"])
        authority.enroll("w1", self.home / "agent")
        complete = {
            "listener": f"ca-dir = '{self.home}/ca'\nallow = '{self.home}/there'\n"
            f"log-path = '{self.home}/x.log'",
            "forwarder": f"agent-dir = '{self.home}/agent'\nlog-file = '/x'\nmaster-host = 'm'",
        }
        for service, text in complete.items():
            path = self.file(text)
            status, out, _ = said("config", "check", path, "--service", service)
            self.assertEqual((status, out), (0, f"{path}: ok for the {service}\n"))

    def test_undecodablePath(self) -> None:
        """Octets of a path that are not UTF-8 are shown as escapes."""
        name = os.fsencode(self.home) + b"/\xff-forwarder.toml"
        with open(name, "w") as file:
            file.write("delivery = 'maybe'")
        process = subprocess.run(
            [
                *(sys.executable, "-c", "from decnet_syslog.cli import main; main()"),
                *(b"config", b"check", name),
            ],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            capture_output=True,
        )
        self.assertEqual((process.returncode, process.stderr), (2, b""))
        self.assertIn(b"udcff-forwarder.toml:1: --delivery", process.stdout)

    def test_showTellsSources(self) -> None:
        """C{config show} tells where each value comes from, even if the service would not start."""
        path = self.file("max-files = 3\n[masters]\nmaster-port = 99\nmaster-host='f'")
        with mock.patch.dict(os.environ, {"DECNET_SWARM_MASTER_HOST": "e"}):
            status, out, err = said(
                "config", "show", "forwarder", "--config", path, "--delivery=plain"
            )
        lines = [" ".join(line.split()) for line in out.splitlines()]
        for line in (
            f"max-files = 3 # {path}:1",
            f"master-port = 99 # {path}:3",
            'master-host = ["e"] # environment DECNET_SWARM_MASTER_HOST',
            'delivery = "plain" # command line',
            '# on-new-master = "resend" # default',
            "# log-file # not set",
        ):
            self.assertIn(line, lines)
        self.assertEqual(status, 1)
        self.assertIn("the forwarder would not start: no log file given", err)

    def test_nearestNameIsSuggested(self) -> None:
        """A mistyped command, subcommand or option is answered with the nearest one."""
        for words, meant in (
            (["forwader"], "forwarder"),
            (["listner", "--x"], "listener"),
            (["config", "chek"], "check"),
            (["config", "show", "forward"], "forwarder"),
            (["forwarder", "--log-fil3=x"], "--log-file"),
            (["listener", "--hots", "x"], "--host"),
            (["enroll", "--renw"], "--renew"),
        ):
            status, out, err = said(*words)
            self.assertEqual((status, out), (2, ""))
            self.assertIn(f"do you mean {meant}?", err)
            self.assertEqual(err.count("\n"), 1)
        status, _, err = said("\x1b[2J\n")
        self.assertTrue(err.removesuffix("\n").isprintable(), ascii(err))

    def test_valueErrorsNameOption(self) -> None:
        """An error about a value names its option."""
        for service, words in (
            *((service, f"--{name}=\x1b") for service, cls in SERVICES.items()
              for name in cls().names if cls().coerceOf(name)),
            ("forwarder", "--master-host=https://m:6514"),
            ("forwarder", "--master-host=a:b:c"),
            ("forwarder", "--master-host=a,b"),
            ("forwarder", f"--log-file={self.home}"),
            ("forwarder", f"--log-file={self.home}/"),
            ("forwarder", f"--state-db={self.home}"),
            ("forwarder", "--state-db=/nonexistent/x.db"),
            ("forwarder", "--status-address=127.0.0.2"),
            ("listener", "--status-address=0.0.0.0"),
            ("listener", "--log-path={workr}.log"),
            ("listener", "--json-path={worker}{worker}"),
            ("listener", f"--log-path={self.home}"),
            ("listener", f"--json-path={self.home}/"),
            ("listener", f"--journal={self.home}"),
            ("outputs", f"--state={self.home}"),
            ("outputs", "--journal=/x.db"),
        ):  # fmt: skip
            option = words.partition("=")[0]
            given = {k: v for k, v in NEEDED[service].items() if f"--{k}" != option}
            more = [f"--{k}={v}" for k, v in given.items()]
            status, out, err = said(service, "--config=", words, *more)
            self.assertEqual((status, out), (2, ""), words)
            self.assertIn(option, err)
            self.assertEqual(err.count("\n"), 1)
            self.assertTrue(err.removesuffix("\n").isprintable(), ascii(err))
        self.assertIn(
            "do you mean {worker}?", said("listener", "--log-path={workr}")[2]
        )

    def test_groupsHaveEveryOption(self) -> None:
        """
        The help lists each option once, the six that most people need first, and the title of
        each group once.
        """
        for service, cls in SERVICES.items():
            _, out, _ = said(service, "--help")
            first = out.partition("\nWhat most people need:\n")[2].partition("\n\n")[0]
            listed = re.findall(r"(?m)^  (?:-., |    )--([a-z-]+)", first)
            self.assertEqual(sorted(listed), sorted(cls.common))
            self.assertEqual(len(listed), 6)
            for title, _ in cls.groups.values():
                self.assertLessEqual(f"{out}\n".count(f"\n{title}:\n"), 1)
            for name in [*cls().names, "config", "help"]:
                rows = re.findall(rf"(?m)^  (?:-., |    )?--{name}(?:=|\s)", out)
                self.assertEqual(len(rows), 1, name)


class ServiceTests(ConfigurationTestCase):
    """The services as commands, in real processes."""

    def started(self, *words: str) -> subprocess.Popen[str]:
        code = "from decnet_syslog.cli import main; main()"
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words],
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **os.environ,
                "HOME": str(self.home),
                "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
                "PYTHONUNBUFFERED": "1",
            },
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_runsByFile(self) -> None:
        """
        C{decnet-syslog listener} serves with the options of a file, survives SIGHUP, and ends
        by SIGTERM.
        """
        self.assertEqual(
            said("ca", "init", f"--ca-dir={self.home}/ca", "--san=127.0.0.1")[0], 0
        )
        path = self.file(
            f"host = '127.0.0.1'\nport = 0\nca-dir = '{self.home}/ca'\n"
            f"log-path = '{self.home}/m.log'\njson-path = ''\n"
        )
        process = self.started("listener", "--config", path)
        # A process that never listens fails the test instead of blocking it.
        limit = threading.Timer(60, process.kill)
        limit.start()
        self.addCleanup(limit.cancel)
        assert process.stdout is not None
        seen = ""
        for line in process.stdout:
            seen += line
            if "listening on 127.0.0.1" in line:
                process.send_signal(signal.SIGHUP)
                process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(), -signal.SIGTERM, seen)
        self.assertNotIn("Traceback", seen)
        self.assertTrue((self.home / "listener.db").exists())
        self.assertFalse((self.home / "master.json").exists())

    def test_addressElsewhere(self) -> None:
        """An address of another machine is reported as such."""
        said("ca", "init", f"--ca-dir={self.home}/ca", "--san=127.0.0.1")
        for words in (
            ["--host=192.0.2.1"],
            ["--host=127.0.0.1", "--status-port=0", "--status-address=192.0.2.1"],
        ):
            process = self.started(
                "listener", "--config=", "--port=0", f"--ca-dir={self.home}/ca", *words
            )
            output, _ = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 1, output)
            self.assertRegex(output, "address of this machine")
            self.assertNotIn("choose another", output)
            self.assertNotIn("Traceback", output)
