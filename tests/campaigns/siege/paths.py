"""Obstacles that a local user or a worker's name can put at the listener's paths."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from .certificates import FRAME
from .field import Attack, Field, Row
from .peer import TLSPeer, context

__all__ = ["ROWS"]


def _planted(plant: Callable[[Field, Path], None]) -> Callable[[Attack], str]:
    """Start another listener that finds a planted object where its file should be."""

    def attack(attack: Attack) -> str:
        directory = attack.field.directory / attack.name
        directory.mkdir()
        precious = directory / "precious"
        precious.write_bytes(b"precious")
        other = Field(directory, witnessed=False)
        plant(other, precious)
        process = other.pair.listener
        process.start()
        try:
            ended = attack.until(
                lambda: not process.alive or bool(other.said("listening on"))
            )
            if not ended or process.alive:
                verdict = "it runs"
            else:
                verdict = "it does not start"
                last = process.output().strip().splitlines()[-1]
                verdict += f": {_cause(last)}"
        finally:
            other.stop()
        if precious.read_bytes() != b"precious":
            return "a file of somebody else's was written"
        return verdict

    return attack


def _cause(line: str) -> str:
    for word in ("link", "regular file", "lock"):
        if word in line:
            return word
    return line


def _link(name: str) -> Callable[[Field, Path], None]:
    def plant(field: Field, precious: Path) -> None:
        os.symlink(precious, field.directory / name)

    return plant


def _fifo(field: Field, precious: Path) -> None:
    os.mkfifo(field.pair.logPath)


def _eachWorker(attack: Attack) -> str:
    """A file for each worker; one worker is named like a file of the listener's own."""
    directory = attack.field.directory / attack.name
    directory.mkdir()
    other = Field(directory, witnessed=False)
    listener = other.pair.listener
    listener.arguments = [
        *[a for a in listener.arguments if not a.startswith("--log-path=")],
        f"--log-path={directory}/{{worker}}",
    ]
    before = (directory / "ca" / "ca.crt").read_bytes()
    try:
        other.pair.startListener()
        for name in ("listener.db", "master.json", "ca"):
            papers = other.enroll(name)
            peer = TLSPeer(other.target, attack.source, context(papers))
            peer.send(FRAME)
            peer.finish()
        kept = attack.until(
            lambda: all(
                (directory / f"{name}.refused").exists()
                and (directory / f"{name}.refused").read_bytes() == FRAME[3:] + b"\n"
                for name in ("listener.db", "master.json", "ca")
            ),
            10.0,
        )
        intact = (directory / "ca" / "ca.crt").read_bytes() == before
        good = (
            kept
            and intact
            and listener.alive
            and all(
                len(other.messages(name)) == 1
                for name in ("listener.db", "master.json", "ca")
            )
        )
        return "kept next to them" if good else "not next to them"
    finally:
        other.stop()


def _row(name: str, sent: str, plant: Callable[[Field, Path], None], wire: str) -> Row:
    return Row("path", name, sent, _planted(plant), wire)


_NOT = "it does not start: link"

ROWS: Sequence[Row] = [
    _row("path-log", "a link planted as master.log", _link("master.log"), _NOT),
    _row("path-json", "a link planted as master.json", _link("master.json"), _NOT),
    _row("path-journal", "a link planted as the journal", _link("listener.db"), _NOT),
    _row(
        "path-wal",
        "a link planted as the WAL of a new journal, which is removed",
        _link("listener.db-wal"),
        "it runs",
    ),
    _row("path-lock", "a link planted as the lock", _link("listener.db.lock"), _NOT),
    _row("path-fifo", "a FIFO as master.log", _fifo, "it does not start: regular file"),
    Row(
        "path",
        "path-own",
        "CNs equal to the listener's own file names, with a file per worker",
        _eachWorker,
        "kept next to them",
    ),
]
