"""
Findings: what was looked at, what was seen, what to do.

What a peer, a certificate or a file name says is shown, never obeyed: whoever runs a
doctor does so in a terminal.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["FAIL", "NOTE", "OK", "Finding", "Report", "printable"]

OK = "ok"
# Works, and somebody should know.
NOTE = "note"
FAIL = "FAIL"

# No sentence of ours is longer; a peer's can be.
TEXT_CHARACTERS_MAX = 600


def printable(text: str) -> str:
    """Any text as a terminal may get it: one line, no control and no bidi characters."""
    shown = "".join(
        [c if c.isprintable() else ascii(c)[1:-1] for c in text[:TEXT_CHARACTERS_MAX]]
    )
    return shown + "..." if len(text) > TEXT_CHARACTERS_MAX else shown


@dataclass(frozen=True)
class Finding:
    """
    One thing that was looked at.

    @ivar check: what.
    @ivar state: L{OK}, L{NOTE} or L{FAIL}.
    @ivar said: what was seen.
    @ivar cure: what to do; empty if nothing.
    """

    check: str
    state: str
    said: str
    cure: str = ""


class Report:
    """
    What has been found so far.
    """

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def ok(self, check: str, said: str) -> None:
        """All is well."""
        self._add(check, OK, said)

    def note(self, check: str, said: str, cure: str) -> None:
        """It works, but."""
        self._add(check, NOTE, said, cure)

    def fail(self, check: str, said: str, cure: str) -> None:
        """It cannot work, or not as promised."""
        self._add(check, FAIL, said, cure)

    def _add(self, check: str, state: str, said: str, cure: str = "") -> None:
        self.findings.append(Finding(check, state, printable(said), printable(cure)))

    @property
    def well(self) -> bool:
        """Whether nothing has failed."""
        return all(finding.state != FAIL for finding in self.findings)

    def asText(self) -> str:
        """For people: a line for each, the cure below it."""
        lines = []
        for finding in self.findings:
            lines.append(f"{finding.state:<5} {finding.check}: {finding.said}")
            if finding.cure:
                lines.append(f"      -> {finding.cure}")
        failed = sum(finding.state == FAIL for finding in self.findings)
        lines.append(
            "nothing is in the way"
            if not failed
            else f"{failed} of {len(self.findings)} checks failed"
        )
        return "\n".join(lines)

    def asJSON(self) -> dict[str, Any]:
        """For programs."""
        return {
            "ok": self.well,
            "findings": [asdict(finding) for finding in self.findings],
        }
