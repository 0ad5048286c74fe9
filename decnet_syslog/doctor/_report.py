"""
Findings: a check, its result, and the remedy.

Text from a peer, a certificate or a file name is only shown, never interpreted: the doctor runs in
a terminal.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ..untrusted import escapeUntrusted

__all__ = ["FAIL", "NOTE", "OK", "DoctorReport", "Finding"]

OK = "ok"
# It works, but the operator should know.
NOTE = "note"
FAIL = "FAIL"

# Longer than any text of ours; a peer's text can be longer.
TEXT_CHARACTERS_MAX = 600


def _shown(text: str) -> str:
    return escapeUntrusted(text, TEXT_CHARACTERS_MAX, "readable")


@dataclass(frozen=True)
class Finding:
    """
    The result of a check.

    @ivar check: the name of the check.
    @ivar state: L{OK}, L{NOTE} or L{FAIL}.
    @ivar said: the observation.
    @ivar cure: the remedy; empty if none is needed.
    """

    check: str
    state: str
    said: str
    cure: str = ""


class DoctorReport:
    """
    The findings so far.
    """

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def ok(self, check: str, said: str) -> None:
        """Add a check that found no problem."""
        self._add(check, OK, said)

    def note(self, check: str, said: str, cure: str) -> None:
        """Add a check whose result works, but needs attention."""
        self._add(check, NOTE, said, cure)

    def fail(self, check: str, said: str, cure: str) -> None:
        """Add a check whose result does not work, or not as promised."""
        self._add(check, FAIL, said, cure)

    def _add(self, check: str, state: str, said: str, cure: str = "") -> None:
        self.findings.append(Finding(check, state, _shown(said), _shown(cure)))

    @property
    def well(self) -> bool:
        """Whether no check failed."""
        return all(finding.state != FAIL for finding in self.findings)

    def asText(self) -> str:
        """For people: a line per finding, with the remedy below it."""
        lines = []
        for finding in self.findings:
            lines.append(f"{finding.state:<5} {finding.check}: {finding.said}")
            if finding.cure:
                lines.append(f"      -> {finding.cure}")
        failed = sum(finding.state == FAIL for finding in self.findings)
        lines.append(
            "no problem found"
            if not failed
            else f"{failed} of {len(self.findings)} checks failed"
        )
        return "\n".join(lines)

    def asJSON(self) -> dict[str, object]:
        """For programs."""
        return {
            "ok": self.well,
            "findings": [asdict(finding) for finding in self.findings],
        }
