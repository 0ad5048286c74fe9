"""The journal's disk: how the listener will divide it."""

from __future__ import annotations

from pathlib import Path

from ..master.space import MIB, Budget, available
from ..wire.control import NUMBER_MAX
from .report import Report

__all__ = ["checkJournalSpace"]

# Beneath this a journal holds less than the lines that one commit may bring.
JOURNAL_OCTETS_MIN = 8 * 1024 * 1024


def checkJournalSpace(report: Report, journal: Path, most: int) -> None:
    """
    Whether the journal has room, with what its own files have.

    @param most: octets of lines that it may come to hold.
    """
    check = f"space of {journal}"
    has = available(journal)
    if has >= NUMBER_MAX:
        report.note(check, "the file system does not tell", "see df")
        return
    budget = Budget.of(has)
    beside = budget.reserve + budget.wal
    said = (
        f"{has // MIB} MiB: {budget.reserve // MIB} in reserve, {budget.wal // MIB} for the"
        f" write-ahead log, about {max(0, has - beside) // MIB} for lines"
    )
    if has < JOURNAL_OCTETS_MIN:
        report.fail(
            check,
            f"{said}; {JOURNAL_OCTETS_MIN // MIB} MiB are needed",
            "make room, or move it",
        )
    elif has < beside + most:
        report.note(
            check,
            f"{said}, and --journal-max is {most // MIB} MiB",
            "make room, or lower the limit; lines wait on the workers when the disk is full",
        )
    else:
        report.ok(check, said)
