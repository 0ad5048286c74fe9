"""
The configuration of logrotate: its files, and the directives that apply to each log.

A directive is read, not judged: that is up to L{decnet_syslog.doctor._logrotate}.
"""

from __future__ import annotations

import fnmatch
import os
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ._report import DoctorReport

__all__ = ["Rotation", "readRotations"]

# Maximum depth of included files: a file may include itself.
DEPTH_MAX = 8

# A configuration has a page or so; a longer file is something else.
CONFIGURATION_OCTETS_MAX = 1024 * 1024

# Endings of files that logrotate ignores in a directory (its taboo list).
_TABOO = (
    *(",v", ".bak", ".disabled", ".swp", "~", ".cfsaved"),
    *(".rpmnew", ".rpmorig", ".rpmsave", ".ucf-dist", ".ucf-new", ".ucf-old"),
    *(".dpkg-bak", ".dpkg-del", ".dpkg-dist", ".dpkg-new", ".dpkg-old"),
)

_SCRIPTS = ("prerotate", "postrotate", "firstaction", "lastaction", "preremove")

# Within each group, the last directive counts.
_CREATION = ("create", "copytruncate", "copy", "renamecopy")


@dataclass
class Rotation:
    """
    The configuration for some files.

    @ivar source: the path of the configuration.
    @ivar settings: the directives; the arguments of each as one text.
    """

    source: str
    patterns: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)

    def covers(self, path: str) -> bool:
        """Whether this applies to a file; C{*} in a pattern does not match C{/}."""
        parts = path.split("/")
        for pattern in self.patterns:
            wanted = pattern.split("/")
            if len(wanted) == len(parts) and all(
                map(fnmatch.fnmatchcase, parts, wanted)
            ):
                return True
        return False

    def set(self, line: str) -> None:
        """Apply one directive."""
        name, _, argument = line.replace("=", " ", 1).partition(" ")
        name = name.strip().lower()
        if name.startswith("no") and name[2:] in _SWITCHES:
            self.settings.pop(name[2:], None)
            return
        if name in _CREATION:
            for other in _CREATION:
                self.settings.pop(other, None)
        # The later one of compresscmd and compressext decides.
        self.settings.pop(name, None)
        self.settings[name] = argument.strip().strip("\"'")

    def has(self, name: str) -> bool:
        """Whether a directive is in force."""
        return name in self.settings

    @property
    def kept(self) -> int | None:
        """The number of rotated files that are kept; C{None}: all."""
        try:
            count = int(self.settings.get("rotate", "0"))
        except ValueError:
            return 0
        return None if count < 0 else count


_SWITCHES = (
    *_CREATION,
    "compress",
    "delaycompress",
    "dateext",
    "olddir",
    "shred",
)


def readRotations(report: DoctorReport, paths: Iterable[str]) -> list[Rotation]:
    """All rotations in configuration files and directories, in order."""
    found: list[Rotation] = []
    common = Rotation("")
    for path in paths:
        _readPath(report, path, common, found, 0)
    return found


def _readPath(
    report: DoctorReport, path: str, common: Rotation, found: list[Rotation], depth: int
) -> None:
    if depth > DEPTH_MAX:
        report.note(
            "logrotate",
            f"{path} is included too deep",
            "it was ignored: check for files that include each other",
        )
        return
    if os.path.isdir(path):
        try:
            names = sorted(os.listdir(path))
        except OSError as error:
            report.note(
                "logrotate",
                f"{path}: {error.strerror}",
                "it was ignored: run this as a user who can read it",
            )
            return
        for name in names:
            inside = os.path.join(path, name)
            if os.path.isfile(inside) and not name.endswith(_TABOO):
                _readPath(report, inside, common, found, depth + 1)
        return
    try:
        if not os.path.isfile(path):
            raise FileNotFoundError(2, "No such file or directory")
        with open(path, "rb") as file:
            text = file.read(CONFIGURATION_OCTETS_MAX).decode("utf-8", "replace")
    except OSError as error:
        report.note(
            "logrotate",
            f"{path}: {error.strerror}",
            "run this as a user who can read it, or give another path with --logrotate",
        )
        return
    patterns: list[str] = []
    inside_: Rotation | None = None
    for line in _lines(text):
        if line == "}":
            inside_ = None
        elif line == "{":
            inside_ = Rotation(path, patterns, dict(common.settings))
            found.append(inside_)
            patterns = []
        elif inside_ is not None:
            inside_.set(line)
        elif line.startswith("include "):
            _readPath(report, line.split(None, 1)[1], common, found, depth + 1)
        elif line[0] in "/\"'~":
            patterns += _words(line)
        else:
            common.set(line)


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _lines(text: str) -> Iterator[str]:
    """Directives, patterns and braces, one each; comments and scripts are left out."""
    script = False
    for raw in text.splitlines():
        line = raw.strip()
        if script:
            script = line != "endscript"
            continue
        if not line or line.startswith("#"):
            continue
        if line.split()[0] in _SCRIPTS:
            script = True
            continue
        opened, brace, behind = line.partition("{")
        if brace:
            if opened.strip():
                yield opened.strip()
            yield "{"
            line = behind.strip()
        closes = line.endswith("}")
        line = line.removesuffix("}").strip()
        if line and not line.startswith("#"):
            yield line
        if closes:
            yield "}"
