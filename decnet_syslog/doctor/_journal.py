"""The journal's disk: how the listener will divide its space."""

from __future__ import annotations

from pathlib import Path

from ..journal import MIB, DiskShares, available
from ..wire import NUMBER_MAX
from ._report import DoctorReport

__all__ = ["checkJournalSpace"]

# A smaller journal holds less than the lines of one commit.
JOURNAL_OCTETS_MIN = 8 * 1024 * 1024


def checkJournalSpace(report: DoctorReport, journal: Path, most: int) -> None:
    """
    Whether the journal has enough space, counting its own files as available.

    @param most: the most octets of lines that it may hold.
    """
    check = f"space of {journal}"
    has = available(journal)
    if has >= NUMBER_MAX:
        report.note(
            check,
            "the file system does not report its free space",
            "check it with df",
        )
        return
    budget = DiskShares.of(has)
    beside = budget.reserve + budget.wal
    said = (
        f"{has // MIB} MiB: {budget.reserve // MIB} in reserve, {budget.wal // MIB} for the"
        f" write-ahead log, about {max(0, has - beside) // MIB} for lines"
    )
    if has < JOURNAL_OCTETS_MIN:
        report.fail(
            check,
            f"{said}; {JOURNAL_OCTETS_MIN // MIB} MiB are needed",
            "free space, or move the journal to another disk",
        )
    elif has < beside + most:
        report.note(
            check,
            f"{said}, but --journal-max is {most // MIB} MiB",
            "free space, or lower --journal-max; when the disk is full, lines wait on the workers",
        )
    else:
        report.ok(check, said)
