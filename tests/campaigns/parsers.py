"""
The cases that other parsers test, and how our parser decides them.

``tests/data/parsers.jsonl`` has one case per line: the situation, octets written for it
here, and the verdict of the other parser's own tests. A message is accepted or refused,
and has values. A stream of frames contains messages, and is refused or not. Where our
verdict differs, the case names the paragraph of the RFC that decides::

    python -m tests.campaigns.parsers          the tables of docs/parsers.rst
    python -m tests.campaigns.parsers --cases  every case and both verdicts
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from decnet_syslog.wire._decoder import FrameDecoder
from decnet_syslog.wire._framing import MESSAGE_OCTETS_MAX, FramingError, Oversize

from ..rfc5424 import MessageError, parseMessage

__all__ = ["Case", "readCases", "render"]

CASES = Path(__file__).parent.parent / "data" / "parsers.jsonl"


@dataclass(frozen=True)
class Case:
    """
    A situation that another parser tests.

    @ivar peer: the other parser.
    @ivar about: the situation.
    @ivar octets: a message, or a stream of frames.
    @ivar accepts: whether the peer accepts the message; C{None} for a stream.
    @ivar values: the values that the peer finds in the message.
    @ivar frames: the messages that the peer finds in the stream.
    @ivar refused: whether the peer refuses the rest of the stream.
    @ivar limit: the longest message that the stream's receiver accepts.
    @ivar rfc: the paragraph that decides where the verdicts differ.
    @ivar why: the rule in that paragraph.
    """

    peer: str
    about: str
    octets: bytes
    accepts: bool | None = None
    values: dict[str, Any] = field(default_factory=dict)
    frames: Sequence[bytes] = ()
    refused: bool = False
    limit: int = MESSAGE_OCTETS_MAX
    rfc: str = ""
    why: str = ""

    @property
    def agrees(self) -> bool:
        """Whether our verdict is the peer's."""
        if self.accepts is None:
            return readFrames(self) == (list(self.frames), self.refused)
        values = readMessage(self.octets)
        if values is None or not self.accepts:
            return (values is not None) == self.accepts
        return {name: values[name] for name in self.values} == self.values

    def verdicts(self) -> tuple[str, str]:
        """The peer's verdict and ours, as text."""
        if self.accepts is not None:
            accepted = readMessage(self.octets) is not None
            both = self.accepts and accepted
            if both and not self.agrees:
                return "accept", "accept, with other values"
            return _word(self.accepts), _word(accepted)
        frames, refused = readFrames(self)
        theirs = f"{_count(self.frames)}{', then refuse' if self.refused else ''}"
        return theirs, f"{_count(frames)}{', then refuse' if refused else ''}"


def _word(accepts: bool) -> str:
    return "accept" if accepts else "refuse"


def _count(frames: Sequence[bytes]) -> str:
    return f"{len(frames)} message{'' if len(frames) == 1 else 's'}"


def _octets(text: str) -> bytes:
    """The octets of a case; octets that are not UTF-8 are written as surrogates."""
    return text.encode("utf-8", "surrogateescape")


def readCases() -> Iterator[Case]:
    """Every case."""
    for line in CASES.read_text("ascii").splitlines():
        members: dict[str, Any] = json.loads(line)
        members["octets"] = _octets(members["octets"])
        members["frames"] = [_octets(frame) for frame in members.get("frames", ())]
        yield Case(**members)


def readMessage(octets: bytes) -> dict[str, Any] | None:
    """Our values for a message; C{None} if we refuse it."""
    try:
        message = parseMessage(octets)
    except MessageError:
        return None
    text = message.msg
    return {
        "pri": 8 * message.facility + message.severity,
        "version": message.version,
        "timestamp": message.timestamp,
        "hostname": message.hostname,
        "appName": message.appName,
        "procID": message.procID,
        "msgID": message.msgID,
        "elements": [
            [element.id, [list(param) for param in element.params]]
            for element in message.structuredData
        ],
        "msg": None if text is None else text.decode("utf-8", "surrogateescape"),
    }


def readFrames(case: Case) -> tuple[list[bytes], bool]:
    """
    The messages that our listener takes from a plain sender's stream, and whether it
    refuses the rest.
    """
    decoder = FrameDecoder(case.limit, lenient=True)
    frames: list[bytes] = []
    try:
        item = decoder.decode(case.octets, frames)
        while isinstance(item, Oversize):
            item = decoder.decode(b"", frames)
    except FramingError:
        return frames, True
    return frames, False


def _table(rows: Iterable[Sequence[str]], widths: str) -> Iterator[str]:
    """A list-table of reStructuredText; the first row is its head."""
    yield from (".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", "")
    for row in rows:
        for number, cell in enumerate(row):
            shown = cell.replace("\\", "\\\\")
            yield f"   {'* ' if number == 0 else '  '}- {shown}".rstrip()
    yield ""


def _joined(abouts: Iterable[str]) -> str:
    """Situations as one text; a common prefix appears once."""
    shared: dict[str, list[str]] = {}
    for about in abouts:
        head, colon, rest = about.partition(": ")
        shared.setdefault(head if colon else "", []).append(rest if colon else about)
    return "; ".join(
        [
            f"{head}{': ' if head else ''}{'; '.join(rests)}"
            for head, rests in shared.items()
        ]
    )


def render() -> str:
    """The tables of docs/parsers.rst."""
    cases = list(readCases())
    all_ = Counter(case.peer for case in cases)
    agreed = Counter(case.peer for case in cases if case.agrees)
    rows = [("parser", "cases", "agreements", "disagreements")]
    rows += [
        (peer, str(all_[peer]), str(agreed[peer]), str(all_[peer] - agreed[peer]))
        for peer in all_
    ]
    total, same = sum(all_.values()), sum(agreed.values())
    rows.append(("all", str(total), str(same), str(total - same)))
    groups: dict[tuple[str, ...], list[str]] = {}
    for case in cases:
        if not case.agrees:
            key = (case.peer, *case.verdicts(), case.rfc, case.why)
            groups.setdefault(key, []).append(case.about)
    differences = [("parser", "cases", "theirs", "ours", "deciding rule")]
    for (peer, theirs, ours, rfc, why), abouts in groups.items():
        differences.append((peer, _joined(abouts), theirs, ours, f"{rfc}: {why}"))
    return "\n".join(
        [*_table(rows, "40 20 20 20"), *_table(differences, "12 34 12 12 30")]
    )


def main(arguments: Sequence[str]) -> None:
    """Print the tables, or every case."""
    if "--cases" not in arguments:
        print(render())
        return
    for case in readCases():
        theirs, ours = case.verdicts()
        mark = " " if case.agrees else "*"
        print(f"{mark} {case.peer}: {case.about}: {theirs} / {ours}")


if __name__ == "__main__":
    main(sys.argv[1:])
