"""Tests for the names of rotated copies: L{decnet_syslog.files}."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.files import COMPRESSED, RotatedNames, compressionOf
from decnet_syslog.files._names import RotatedIndex

LABEL = "@4000000065a1b2c3d4e5f607"

# Names that rotation gives to app.log, oldest first where a tool makes several.
ROTATED: Sequence[Sequence[str]] = (
    # logrotate, Python's RotatingFileHandler, Docker's json-file, savelog, newsyslog.
    ("app.log.10", "app.log.2", "app.log.1", "app.log.0"),
    ("app.log-3", "app.log-1"),
    # logrotate's dateext: daily, hourly, by the minute, with seconds since 1970.
    ("app.log-20251231", "app.log-20261127", "app.log-20261128"),
    ("app.log-2026112807", "app.log-2026112813"),
    ("app.log-202611281305", "app.log-202611281306"),
    ("app.log-20261128-1795871100", "app.log-20261128-1795871101"),
    ("app.log-1795871100", "app.log-1795871101"),
    # logrotate's dateformat.
    ("app.log-2026-11-28", "app.log-2026-11-29"),
    ("app.log.2026.11.28", "app.log.2026.11.29"),
    ("app.log-2026_11_28", "app.log-2026_11_29"),
    ("app.log-2026-W48", "app.log-2026-W49"),
    ("app.log-2026W48", "app.log-2026W49"),
    ("app.log-20261128T130501+0100", "app.log-20261128T130502+0100"),
    ("app.log-20261128T130501Z", "app.log-20261128T130502Z"),
    ("app.log-2026", "app.log-2027"),
    ("app.log-26-11-28", "app.log-26-11-29"),
    ("app.log.26_11_28_13_05", "app.log.26_11_28_13_06"),
    ("app.log-48-2026", "app.log-49-2026"),
    ("app.log-31-10-2026", "app.log-01-11-2026", "app.log-28-11-2026"),
    ("app.log-11-28-2026",),
    # kubelet.
    ("app.log.20261128-130501", "app.log.20261128-130502"),
    # Python's TimedRotatingFileHandler.
    ("app.log.2026-11-28_13-05-01", "app.log.2026-11-28_13-05-02"),
    ("app.log.2026-11-28 13:05:01", "app.log.2026-11-28 13:05:02"),
    # log4j, logback, NLog: an index after a date increases.
    ("app.log.2026-11-28-13", "app.log.2026-11-28-14"),
    ("app.log.2026-11-28.0", "app.log.2026-11-28.1", "app.log.2026-11-28.10"),
    ("app-2026-11-28.log", "app-2026-11-29.log"),
    ("app-2026-11-28-1.log", "app-2026-11-28-2.log"),
    ("app.2026-11-28.0.log", "app.2026-11-28.1.log"),
    ("app.20261128.1.log", "app.20261128.2.log"),
    # logrotate's extension.
    ("app.10.log", "app.2.log", "app.1.log"),
    ("app-20261127.log", "app-20261128.log"),
    ("app-2.log", "app-1.log"),
    # lumberjack.
    ("app-2026-11-28T13-05-01.000.log", "app-2026-11-28T13-05-01.001.log"),
    ("app.log.old",),
)

# Unrelated files.
OTHERS = (
    "app.log",
    "app.log.1.filtered",
    "app.log.1.bak",
    "app.log.1~",
    "app.log.2.gz.part",
    "app.log.swp",
    ".app.log.swp",
    "app.log.bak~",
    "app.log.bak",
    "app.log~",
    "app.log.older",
    "app.log-old",
    "app.log_1",
    "app.log1",
    "app.log.",
    "app.log.-1",
    "app.log..1",
    "app.log.1.",
    "app.log.1a",
    "app.log.a1",
    "app.log.1.1",
    "app.log.1-2-3",
    "app.log.01.02.03",
    "app.log.1-02-03",
    "app.log.01-32-03",
    "app.log.123456789012345678901",
    "app.log.٣",
    "myapp.log.1",
    "app.logs.1",
    "app.1.logs",
    "app.1.txt",
    "app1.log",
    "app_1.log",
    "app-x.log",
    "app-1.2.3.log",
    "app-10.0.0.1.log",
    "app-192.168.2026.1.log",
    "app-web-1.log",
    "error-app.log.1",
    # logrotate while running, and after it was killed.
    "app.log.tmp",
    "app.log.1.gz-2026112813.backup",
    "app.log-2026112813.backup",
    "logrotate_temp.XyZ123",
    # rsync, kubelet, dpkg.
    ".app.log.1.XyZ123",
    "app.log.20261128-130501.tmp",
    "app.log.dpkg-old",
    # Without a number: not compressed by rotation.
    "app.log.gz",
    "app.log.1.gz.gz",
    "app.log.1gz",
    "app.log.1.tar.gz",
    # Rotated copies of a log named "current".
    f"{LABEL}.s",
    f"{LABEL}.u",
)


class NamesTestCase(SynchronousTestCase):
    """A directory of logs."""

    def setUp(self) -> None:
        self.directory = Path(os.path.realpath(self.mktemp()))
        self.directory.mkdir()

    def names(
        self, path: str = "app.log", patterns: Sequence[str] = ()
    ) -> RotatedNames:
        return RotatedNames(str(self.directory / path), patterns)

    def matching(self, names: RotatedNames, place: str | Path = ".") -> set[str]:
        """The names listed in this module that match."""
        here = os.path.normpath(self.directory / place)
        known = {name for group in ROTATED for name in group} | set(OTHERS)
        return {name for name in known if names.matches(here, name)}


class UsualTests(NamesTestCase):
    """Names that tools use by default."""

    def test_eachToolsNames(self) -> None:
        """The names of every known tool match, compressed or not, and no others."""
        names = self.names()
        self.assertEqual(names.directories(), [str(self.directory)])
        self.assertEqual(
            self.matching(names), {name for group in ROTATED for name in group}
        )
        for group in ROTATED:
            for name in group:
                for suffix in COMPRESSED:
                    self.assertTrue(names.matches(str(self.directory), name + suffix))

    def test_otherDirectory(self) -> None:
        """A matching name in another directory does not count."""
        self.assertEqual(self.matching(self.names(), "other"), set())

    def test_orderByAge(self) -> None:
        """Numbers decrease and dates increase with time, compressed or not."""
        names = self.names()
        for group in ROTATED:
            mixed = [n + (".gz" if i % 2 else "") for i, n in enumerate(group)]
            shuffled = sorted(mixed)
            random.Random(1).shuffle(shuffled)
            self.assertEqual(sorted(shuffled, key=names.order), mixed)

    def test_currentIsLabelled(self) -> None:
        """
        multilog, svlogd and s6-log rename "current" to a label; finished and unfinished
        files match.
        """
        names = self.names("current")
        here = str(self.directory)
        for name in (f"{LABEL}.s", f"{LABEL}.u", f"{LABEL}.s.gz", "current.1"):
            self.assertTrue(names.matches(here, name), name)
        self.assertTrue(names.matches(here, "@4000000065a1b2c3.s"))
        for name in (f"{LABEL}.t", LABEL, "@.s", f"{LABEL}.s.bak", f"x{LABEL}.s"):
            self.assertFalse(names.matches(here, name), name)
        for name in ("state", "newstate", "previous", "lock", "processed"):
            self.assertFalse(names.matches(here, name), name)
        labels = [f"@40000000{number:016x}.s" for number in (1, 9, 10, 255, 256)]
        backwards = labels[::-1]
        self.assertEqual(sorted(backwards, key=names.order), labels)

    def test_dotsInExtensions(self) -> None:
        """An extension may have several dots, and a log may have none."""
        here = str(self.directory)
        names = self.names("web.access.log")
        for name in ("web.1.access.log", "web.access.1.log", "web.access.log.1"):
            self.assertTrue(names.matches(here, name), name)
        names = self.names("messages")
        self.assertTrue(names.matches(here, "messages-20261128"))
        self.assertFalse(names.matches(here, "messages-20261128.log"))
        # A number at the end of a log's name is no extension.
        names = self.names("app.1")
        self.assertTrue(names.matches(here, "app.1.2"))
        self.assertFalse(names.matches(here, "app.2.1"))
        # Likewise, a name that begins with a dot is not all extension.
        self.assertFalse(self.names(".log").matches(here, "1.log"))

    def test_compressedLog(self) -> None:
        """
        A log whose own name ends like a compressed file's has rotated copies as well.
        """
        names = self.names("data.Z")
        here = str(self.directory)
        self.assertTrue(names.matches(here, "data.Z.1"))
        self.assertTrue(names.matches(here, "data.1.Z"))
        self.assertFalse(names.matches(here, "data.1"))

    def test_namesNotUTF8(self) -> None:
        """Names that are not UTF-8 match."""
        name = os.fsdecode(b"\xff.log")
        names = self.names(name)
        self.assertTrue(names.matches(str(self.directory), name + ".1"))
        self.assertFalse(names.matches(str(self.directory), os.fsdecode(b"\xfe.log.1")))

    def test_compressionSuffix(self) -> None:
        """A name that consists only of a suffix is not compressed."""
        self.assertEqual(compressionOf("app.log.1.gz"), ".gz")
        self.assertEqual(compressionOf("app.log.1"), "")
        self.assertEqual(compressionOf(".gz"), "")
        self.assertEqual(compressionOf("gz"), "")

    @settings(deadline=None, derandomize=True, database=None, max_examples=300)
    @given(
        st.text(st.sampled_from("app.log-120@WTZ:_ s"), min_size=1, max_size=24),
        st.sampled_from(["app.log", "app", "a.p", "current", "2026.log"]),
    )
    def test_matchingNamesShareStem(self, name: str, log: str) -> None:
        """
        Any match begins with the log's name or its stem, and ends in digits or "old".
        """
        names = RotatedNames(f"/nowhere/{log}")
        names.order(name)
        if names.matches("/nowhere", name):
            self.assertNotEqual(name, log)
            if not name.startswith("@"):
                self.assertTrue(name.startswith(log.split(".")[0]))
            self.assertTrue(any(letter.isdigit() for letter in name) or ".old" in name)


class LiveTests(NamesTestCase):
    """A followed log is never another log's rotated copy."""

    def pathsOf(self, logs: Sequence[str], name: str) -> list[str]:
        index = RotatedIndex([str(self.directory / log) for log in logs])
        found = index.pathsOf(str(self.directory), name)
        return [os.path.basename(path) for path in found]

    def test_logsBeginAlike(self) -> None:
        """Logs whose names begin alike are not each other's rotated copies."""
        logs = ("web", "web-01", "web.2", "web-2.log", "web.log", "web.old")
        for name in logs:
            self.assertEqual(self.pathsOf(logs, name), [], name)
        self.assertEqual(self.pathsOf(logs, "web.1"), ["web"])
        self.assertEqual(self.pathsOf(logs, "web-01.1"), ["web-01"])
        self.assertEqual(self.pathsOf(logs, "web-2.log.1"), ["web-2.log"])
        self.assertEqual(self.pathsOf(logs, "web-2.1.log"), ["web-2.log"])
        self.assertEqual(self.pathsOf(logs, "web.2.gz"), ["web"])

    def test_longerLogFirst(self) -> None:
        """A name that fits two logs belongs to the longer-named log first."""
        logs = ("app", "app.2026-11-28")
        name = "app.2026-11-28.1"
        self.assertEqual(self.pathsOf(logs, name), ["app.2026-11-28", "app"])

    def test_otherSpelling(self) -> None:
        """A followed log is recognised by any spelling of its directory."""
        (self.directory / "here").mkdir()
        (self.directory / "there").symlink_to("here")
        for place in ("here", "there", "there/../there"):
            logs = [str(self.directory / place / name) for name in ("a", "a.1")]
            index = RotatedIndex(logs)
            self.assertEqual(index.directories(), [str(self.directory / "here")])
            for name, found in (("a.1", []), ("a.2", logs[:1])):
                paths = index.pathsOf(str(self.directory / "here"), name)
                self.assertEqual(paths, found, (place, name))


class LinkTests(NamesTestCase):
    """A log that is a symbolic link."""

    def test_kubernetesLayout(self) -> None:
        """Rotated files are found in the target's directory under the target's name."""
        pod = self.directory / "pods" / "ns_pod_uid" / "container"
        pod.mkdir(parents=True)
        containers = self.directory / "containers"
        containers.mkdir()
        (containers / "x.log").symlink_to("../pods/ns_pod_uid/container/0.log")
        names = self.names("containers/x.log")
        self.assertEqual(names.directories(), [str(containers), str(pod)])
        for name in ("0.log.20261128-130501", "0.log.20261128-130501.gz", "x.log.1"):
            self.assertTrue(names.matches(str(pod), name), name)
        # The log itself, and the container's next log.
        for name in ("0.log", "1.log", "0.log.20261128-130501.tmp"):
            self.assertFalse(names.matches(str(pod), name), name)
        self.assertFalse(names.matches(str(containers), "x.log"))
        self.assertTrue(names.matches(str(containers), "x.log.1"))

    def test_chainOfLinks(self) -> None:
        """
        Rotated files are found along a chain of links, relative and absolute, including
        one to a directory.
        """
        for name in ("a", "b", "c", "d"):
            (self.directory / name).mkdir()
        (self.directory / "e").symlink_to("d")
        (self.directory / "a" / "one").symlink_to("../b/two")
        (self.directory / "b" / "two").symlink_to(self.directory / "c" / "three")
        (self.directory / "c" / "three").symlink_to("../e/four")
        names = self.names("a/one")
        places = [str(self.directory / name) for name in "abcd"]
        self.assertEqual(names.directories(), places)
        for place in places:
            for name in ("one.1", "two.1", "three.1", "four.1"):
                self.assertTrue(names.matches(place, name))
        self.assertFalse(names.matches(places[3], "four"))

    def test_danglingLinks(self) -> None:
        """
        A missing target, as in the middle of a rotation, and a loop of links are
        tolerated.
        """
        (self.directory / "a").symlink_to("other/b")
        self.assertTrue(self.names("a").matches(str(self.directory / "other"), "b.1"))
        (self.directory / "x").symlink_to("y")
        (self.directory / "y").symlink_to("x")
        self.assertEqual(self.names("x").directories(), [str(self.directory)])

    def test_linkToDatedFile(self) -> None:
        """
        If the link leads to a file named after the day, yesterday's file is a rotated
        copy.
        """
        (self.directory / "app.log").symlink_to("app-20261128.log")
        names = self.names()
        self.assertTrue(names.matches(str(self.directory), "app-20261127.log"))
        self.assertFalse(names.matches(str(self.directory), "app-20261128.log"))


class PatternTests(NamesTestCase):
    """The C{--rotated} option."""

    def test_directoryAsPattern(self) -> None:
        """
        A directory as pattern, below the log's or elsewhere, matches the default names
        there.
        """
        (self.directory / "old").mkdir()
        (self.directory / "far").mkdir()
        (self.directory / "logs").mkdir()
        for pattern, place in (
            ("old", "old"),
            ("old/", "old"),
            ("./old", "old"),
            (f"{self.directory}/far/", "far"),
            (f"{self.directory}/far", "far"),
            ("not-there-yet/", "not-there-yet"),
            ("*/", "old"),
        ):
            names = self.names("app.log", [pattern])
            self.assertIn(str(self.directory / place), names.directories(), pattern)
            self.assertTrue(names.matches(str(self.directory / place), "app.log.1"))
            self.assertFalse(names.matches(str(self.directory / place), "other.log.1"))
            self.assertFalse(names.matches(str(self.directory / place), "app.log"))
            self.assertTrue(names.matches(str(self.directory), "app.log.1"))

    def test_patternDirectories(self) -> None:
        """A pattern of names matches only in its own directories."""
        names = self.names("app.log", ["app.log_*", "old/app*", "*/x/app?"])
        here = str(self.directory)
        self.assertTrue(names.matches(here, "app.log_20261128"))
        self.assertFalse(names.matches(here, "app2"))
        self.assertTrue(names.matches(f"{here}/old", "app2"))
        self.assertTrue(names.matches(f"{here}/old", "app.log"))
        self.assertFalse(names.matches(f"{here}/old/x", "app2"))
        (self.directory / "old" / "x").mkdir(parents=True)
        names = self.names("app.log", ["*/x/app?"])
        self.assertTrue(names.matches(f"{here}/old/x", "app2"))
        # The log itself is still live, and the order is that of the digits.
        self.assertFalse(self.names("app.log", ["*"]).matches(here, "app.log"))
        mixed = ["app.log_20261127", "app.log_20261128"]
        backwards = mixed[::-1]
        self.assertEqual(sorted(backwards, key=names.order), mixed)

    def test_specialCharacters(self) -> None:
        """
        Special characters in the log's own directory are not treated as a pattern.
        """
        (self.directory / "[a]").mkdir()
        names = self.names("[a]/app.log", ["app_*"])
        self.assertTrue(names.matches(str(self.directory / "[a]"), "app_1"))
        self.assertEqual(names.directories(), [str(self.directory / "[a]")])

    def test_relativePatternAndLink(self) -> None:
        """A relative pattern applies in the link's directory and in its target's."""
        (self.directory / "target").mkdir()
        (self.directory / "app.log").symlink_to("target/0.log")
        names = self.names("app.log", ["old/"])
        for place in ("old", "target/old"):
            self.assertTrue(names.matches(str(self.directory / place), "0.log.1"))

    def test_patternForSeveralLogs(self) -> None:
        """
        A file that matches a pattern belongs to the log that its name fits, otherwise
        to every log of the pattern.
        """
        logs = [str(self.directory / name) for name in ("app.log", "web.log")]
        index = RotatedIndex(logs, [f"{self.directory}/old/*"])
        old = str(self.directory / "old")
        self.assertEqual(index.pathsOf(old, "app.log.1"), logs[:1])
        self.assertEqual(index.pathsOf(old, "web-20261128.log.gz"), logs[1:])
        self.assertEqual(index.pathsOf(old, "something"), logs)


class CostTests(NamesTestCase):
    """Many names and many logs."""

    def calls(self, index: RotatedIndex, names: Sequence[str]) -> int:
        """
        The number of function calls for a set of names: a measure without a clock.
        """
        count = 0

        def tell(frame: object, event: str, argument: object) -> None:
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(tell)
        try:
            for name in names:
                index.pathsOf("/logs", name)
        finally:
            sys.setprofile(None)
        return count

    def test_linearInNames(self) -> None:
        """
        The cost of a name does not grow with the number of logs, whatever their names.
        """
        for shape in ("app{}.log", "app.{}.log", "app-{}", "app.x{}"):
            few = RotatedIndex(["/logs/" + shape.format(n) for n in range(10)])
            many = RotatedIndex(["/logs/" + shape.format(n) for n in range(1000)])
            names = [shape.format(f"5{tail}") for tail in (".1", "-20261128.gz", "~")]
            names += ["other.log.1", "app.5.1.log", "app.x.log"]
            self.assertLessEqual(self.calls(many, names), self.calls(few, names) + 10)

    def test_hostileName(self) -> None:
        """A long name with many separators costs only a few calls for each."""
        index = RotatedIndex([f"/logs/a{'.2026' * n}.log" for n in range(40)])
        name = "a" + ".2026" * 50 + ".log"
        self.assertLess(self.calls(index, [name]), 50 * 40 * 6)

    def test_thousandLogs(self) -> None:
        """Each of a thousand logs is assigned its ten rotated copies, and no others."""
        logs = [f"/logs/app-{n:04}.log" for n in range(1000)]
        index = RotatedIndex(logs)
        for log in logs:
            for n in range(1, 11):
                name = f"{os.path.basename(log)}.{n}"
                self.assertEqual(index.pathsOf("/logs", name), [log])
