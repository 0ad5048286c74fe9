"""
The effect of logrotate on a file, read from its configuration in advance.

Only directives that can lose lines are read. A forwarder finds the rotated copies of C{app.log} in
its directory, under the names in L{decnet_syslog.files}. A configuration that moves them elsewhere
or gives them other names needs C{--rotated}; one that compresses them in an unreadable format, or
deletes them at once, loses lines that are not sent yet.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from ..files import RotatedNames, compressionOf, linksOf, whyUnreadable
from ._report import DoctorReport
from ._rotations import Rotation

__all__ = ["checkForwarded", "checkOutput"]


def _find(
    report: DoctorReport, rotations: Iterable[Rotation], path: str
) -> Rotation | None:
    """The rotation that applies to a file."""
    check = f"rotation of {path}"
    covering = [rotation for rotation in rotations if rotation.covers(path)]
    if not covering:
        report.note(
            check,
            "no rotation is configured",
            "nothing is lost, but the disk will fill up: see docs/operations.rst",
        )
        return None
    if len(covering) > 1:
        sources = ", ".join([rotation.source for rotation in covering])
        report.note(
            check,
            f"it is configured more than once, in {sources}",
            "logrotate refuses this: keep one configuration",
        )
    return covering[0]


# A value for each field of a date format, to make an example; patterns get "*" instead.
_DATE = (
    *(("%Y", "2026"), ("%G", "2026"), ("%y", "26"), ("%g", "26"), ("%m", "04")),
    *(("%d", "18"), ("%H", "07"), ("%M", "30"), ("%S", "00"), ("%V", "16")),
    *(("%U", "15"), ("%W", "15"), ("%j", "108"), ("%u", "6"), ("%w", "6")),
    *(("%s", "1776470400"), ("%z", "+0200")),
)

# The suffixes that logrotate knows, by the program's name; ".gz" for other programs.
_PACKERS = {
    "bzip2": ".bz2",
    "xz": ".xz",
    "zstd": ".zst",
    "compress": ".Z",
    "zip": ".zip",
}

# Programs whose files really are what the suffix ".gz" promises.
_GZIPS = ("gzip", "pigz", "zopfli", "igzip", "minigzip")


def _number(rotation: Rotation) -> str:
    """The part that logrotate appends to a name, as a date format."""
    settings = rotation.settings
    if not rotation.has("dateext"):
        return ".1"
    finest = (
        "%H%M" if rotation.has("minutes") else "%H" if rotation.has("hourly") else ""
    )
    return settings.get("dateformat", "").lstrip() or f"-%Y%m%d{finest}"


def _suffix(rotation: Rotation) -> str:
    """The suffix that compression adds."""
    said = [n for n in rotation.settings if n in ("compresscmd", "compressext")]
    packer = os.path.basename(rotation.settings.get("compresscmd", "gzip"))
    if said and said[-1] == "compressext":
        return rotation.settings["compressext"]
    if packer in _PACKERS:
        return _PACKERS[packer]
    return rotation.settings.get("compressext", ".gz")


def _rotatedPath(path: str, rotation: Rotation, number: str) -> str:
    """The path to which logrotate moves a log, before compression."""
    directory, base = os.path.split(path)
    settings = rotation.settings
    # logrotate always moves addextension to the end, and extension only if the name has it.
    extension = settings.get("addextension", "")
    base = base.removesuffix(extension)
    kept = settings.get("extension", "")
    if kept and base.endswith(kept):
        base, extension = base.removesuffix(kept), kept
    olddir = settings.get("olddir", "")
    return os.path.join(directory, olddir, base + number + extension)


def _missing(path: str, rotation: Rotation, rotated: Sequence[str]) -> str | None:
    """The --rotated option that a forwarder needs to find the rotated copies of a log."""
    number = when = _number(rotation)
    for letter, digits in _DATE:
        number = number.replace(letter, digits)
        when = when.replace(letter, "*")
    where = _rotatedPath(path, rotation, number)
    suffix = _suffix(rotation) if rotation.has("compress") else ""
    place, name = os.path.split(where)
    place = os.path.realpath(place)

    def found(patterns: Sequence[str]) -> bool:
        names = RotatedNames(path, patterns)
        return names.matches(place, name) and names.matches(place, name + suffix)

    if found(rotated):
        return None
    usual = os.path.join(os.path.dirname(where), "")
    if found([usual]):
        return usual
    if not rotation.has("dateext"):
        when = ".[0-9]*"
    while "**" in when:
        when = when.replace("**", "*")
    return _rotatedPath(path, rotation, when) + ("*" if suffix else "")


def checkForwarded(
    report: DoctorReport,
    rotations: list[Rotation],
    path: str,
    rotated: Sequence[str] = (),
) -> None:
    """
    Whether the rotation of a followed file can lose lines.

    @param rotated: the forwarder's --rotated options.
    """
    # logrotate ignores symbolic links; it rotates the file they point to.
    path = linksOf(path)[-1] if os.path.islink(path) else path
    rotation = _find(report, rotations, path)
    if rotation is None:
        return
    before = len(report.findings)
    check = f"rotation of {path}"
    where = f" ({rotation.source})"
    if rotation.kept == 0:
        report.fail(
            check,
            f"rotate 0: rotated files are deleted at once, whether sent or not{where}",
            "set rotate 7, or as many as are made while a master may be away",
        )
    if rotation.has("shred"):
        report.fail(
            check,
            "shred: a deleted file is overwritten, even while the forwarder still reads it"
            f"{where}",
            "set noshred",
        )
    missing = _missing(path, rotation, rotated)
    if missing is not None:
        directives = [
            name
            for name in ("olddir", "extension", "addextension", "dateformat")
            if rotation.has(name)
        ]
        report.fail(
            check,
            f"{', '.join(directives) or 'the name'}: the forwarder does not look for the"
            f" rotated files there{where}",
            f"give the forwarder --rotated '{missing}'",
        )
    _checkCompression(report, rotation, check, where)
    if rotation.has("copytruncate"):
        report.note(
            check,
            f"copytruncate: lines written between logrotate's copy and its truncation are in no"
            f" file{where}",
            "use create and a signal to the program, if it can reopen its log",
        )
    if len(report.findings) == before:
        report.ok(check, f"{rotation.source} loses nothing")


def _checkCompression(
    report: DoctorReport, rotation: Rotation, check: str, where: str
) -> None:
    """Whether the forwarder can read the compressed files of a rotation."""
    if not rotation.has("compress"):
        return
    suffix = _suffix(rotation)
    packer = os.path.basename(rotation.settings.get("compresscmd", "gzip"))
    why = whyUnreadable(f"log.1{suffix}")
    cure = "remove compresscmd, uncompresscmd, compressext and compressoptions"
    if why is not None and "pip install" in why:
        cure = f"install it where the forwarder runs, or {cure}"
    elif compressionOf(f"log.1{suffix}") != suffix:
        why = f"the forwarder treats files with the suffix {suffix} as plain text"
    elif suffix == ".gz" and packer not in (*_GZIPS, *_PACKERS):
        why = f"the forwarder may be unable to read the files of {packer}"
    if why is None:
        return
    said = f"compresscmd {packer}, compressext {suffix}: {why}{where}"
    if rotation.has("delaycompress"):
        report.note(
            check,
            f"{said}: lines are lost if two rotations pass before they are sent",
            cure,
        )
    else:
        report.fail(check, said, cure)


def checkOutput(report: DoctorReport, rotations: list[Rotation], path: str) -> None:
    """Whether the rotation of an output of the listener can lose lines."""
    if "{worker}" in path:
        path = path.replace("{worker}", "decky-01")
    rotation = _find(report, rotations, path)
    if rotation is None:
        return
    before = len(report.findings)
    check = f"rotation of {path}"
    where = f" ({rotation.source})"
    if rotation.has("copytruncate"):
        report.fail(
            check,
            "copytruncate: lines that the listener writes between logrotate's copy and its"
            f" truncation are lost, although they were acknowledged{where}",
            "use create 0640 instead; the listener continues in the new file by itself",
        )
    if rotation.kept == 0:
        report.fail(
            check,
            f"rotate 0: rotated files are deleted at once{where}",
            "set rotate 30, or as many as are needed to keep evidence",
        )
    if len(report.findings) == before:
        report.ok(check, f"{rotation.source} loses nothing")
