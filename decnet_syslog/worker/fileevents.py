"""What happens to the followed files, as sentences for the log."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger, LogLevel

__all__ = ["reportFileEvent"]

_log = Logger()

# By the names that L{decnet_syslog.files} uses: how grave it is, what happened, what to do.
_SENTENCES: dict[str, tuple[LogLevel, str]] = {
    "renamed": (
        LogLevel.info,
        "{path!r} was rotated; finishing the old file first",
    ),
    "truncated": (
        LogLevel.info,
        "{path!r} was truncated at {position} octets or more; looking for its copy",
    ),
    "copy-not-found": (
        LogLevel.warn,
        "no copy of the old content of {path!r} was found: its octets from {position} on become"
        " a gap record. Give the directory of rotated files with --rotated PATTERN",
    ),
    "copy-not-certain": (
        LogLevel.warn,
        "{path!r} is taken for the copy of a file that is gone, and this is not certain; it is"
        " read from {position} on, and lines may be repeated",
    ),
    "rotated-unseen": (
        LogLevel.info,
        "{path!r} was rotated while nobody looked; shipping it",
    ),
    "duplicate": (
        LogLevel.warn,
        "{path!r} has the same octets as another rotated file; shipping both",
    ),
    "replaced": (
        LogLevel.info,
        "{path!r} was replaced by a file that begins with the old content; going on behind it",
    ),
    "returned": (
        LogLevel.info,
        "{path!r} has an earlier content again; going on where it was left",
    ),
    "late-write": (
        LogLevel.warn,
        "somebody has written to {path!r} after it was finished; shipping the rest",
    ),
    "link-changed": (LogLevel.info, "{path!r} leads to another file"),
    "writer-left": (
        LogLevel.warn,
        "a rotated file of {path!r} is closed, and a process may still write to it: {reason}."
        " Have the process reopen its log after the rotation",
    ),
    "not-kept": (
        LogLevel.warn,
        "a deleted file of {path!r} could not be copied beside the state database ({reason}):"
        " what is not shipped would be lost with this process. Free disk space",
    ),
    "stale": (
        LogLevel.warn,
        "the file server has forgotten the open file of {path!r}; opening it anew",
    ),
    "unreadable": (
        LogLevel.warn,
        "{path!r} cannot be shipped now: {reason}",
    ),
    "readable-again": (LogLevel.info, "{path!r} can be read again"),
    "too-many-files": (
        LogLevel.warn,
        "{path!r} and further files are not followed: the limit is {limit} files. Raise"
        " --max-files",
    ),
    "before-our-time": (
        LogLevel.info,
        "{files} rotated files of {path!r} are older than this forwarder's first look; they are"
        " not shipped",
    ),
}


def reportFileEvent(name: str, **facts: Any) -> None:
    """
    Log something that happened to a file.

    @param name: of the event.
    @param facts: of it, by name.
    """
    level, sentence = _SENTENCES.get(
        name, (LogLevel.warn, f"{name} of a followed file: {{path!r}}")
    )
    _log.emit(level, sentence, file_event=name, **{"path": "", **facts})
