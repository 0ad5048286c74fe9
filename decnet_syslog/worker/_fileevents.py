"""Log messages for events of the followed files."""

from __future__ import annotations

from twisted.logger import Logger, LogLevel

__all__ = ["reportFileEvent"]

_log = Logger()

# For each event name of L{decnet_syslog.files}: its level, what happened, and the remedy.
_SENTENCES: dict[str, tuple[LogLevel, str]] = {
    "renamed": (
        LogLevel.info,
        "{path!r} was rotated; finishing the old file first",
    ),
    "truncated": (
        LogLevel.info,
        "{path!r} was truncated at {position} octets or more; looking for the copy of its"
        " old content",
    ),
    "copy-not-found": (
        LogLevel.warn,
        "no copy of the old content of {path!r} was found: its octets from {position} on are"
        " reported as a gap record. Give the directory of rotated files with --rotated PATTERN",
    ),
    "copy-not-certain": (
        LogLevel.warn,
        "{path!r} is probably, but not certainly, the copy of a file that is gone; reading it"
        " from {position} on, some lines may be repeated",
    ),
    "rotated-unseen": (
        LogLevel.info,
        "{path!r} was rotated between two looks; sending it",
    ),
    "duplicate": (
        LogLevel.warn,
        "{path!r} has or begins with the lines of another file of this log; sending both, and"
        " lines are repeated",
    ),
    "replaced": (
        LogLevel.info,
        "{path!r} was replaced by a file that begins with the old content; continuing after"
        " that content",
    ),
    "returned": (
        LogLevel.info,
        "{path!r} has an earlier content again; continuing where that content was left",
    ),
    "late-write": (
        LogLevel.warn,
        "a process wrote to {path!r} after the file was finished; sending the rest. Have the"
        " process reopen its log at once after a rotation",
    ),
    "link-changed": (
        LogLevel.info,
        "{path!r} is a symbolic link and now points to another file",
    ),
    "writer-left": (
        LogLevel.warn,
        "closed a rotated file of {path!r}, but a process may still write to it: {reason}."
        " Have the process reopen its log after the rotation",
    ),
    "not-kept": (
        LogLevel.warn,
        "cannot copy a deleted file of {path!r} to the directory of the state database"
        " ({reason}): lines not yet sent are lost if this process ends. Free disk space",
    ),
    "stale": (
        LogLevel.warn,
        "the file server no longer knows the open file of {path!r}; opening it again",
    ),
    "unreadable": (
        LogLevel.warn,
        "cannot read {path!r}: {reason}. It is tried again at every look. Let the forwarder's user"
        " read the file (by its group, with SupplementaryGroups= in the unit); a directory, a"
        " pipe or a device cannot be followed",
    ),
    "readable-again": (LogLevel.info, "{path!r} can be read again"),
    "too-many-files": (
        LogLevel.warn,
        "not following {path!r} and further files: the limit is {limit} files. Raise"
        " --max-files",
    ),
    "offset-elsewhere": (
        LogLevel.warn,
        "the offset of DECNET's own forwarder, {offset}, is not in {path!r}, which has {size}"
        " octets: beginning at its start. Lines that DECNET has sent from it are sent again; check"
        " that it is the log that DECNET's forwarder followed",
    ),
    "before-our-time": (
        LogLevel.info,
        "not sending {files} rotated files of {path!r}: they are older than the first look of"
        " this forwarder",
    ),
}


def reportFileEvent(name: str, **facts: object) -> None:
    """
    Log an event of a followed file.

    @param name: the event.
    @param facts: its details: the fields of the sentence.
    """
    level, sentence = _SENTENCES.get(
        name, (LogLevel.warn, f"unexpected event of {{path!r}}: {name}")
    )
    _log.emit(level, sentence, file_event=name, **{"path": "", **facts})
