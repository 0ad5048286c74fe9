"""The contents on record: rows of the state database."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ._contents import Content, ContentKey, Life, Proof
from ._objects import FileId
from ._statedatabase import StateDatabase

__all__ = ["ContentTable"]

_CONTENT = (
    "stream, generation, name, device, inode, version, origin, seen,"
    " proof_start, proof_end, proof_crc, delivered_start, delivered_end, delivered_crc,"
    " head, life, archived, modified, label, reason, kept, cut"
)


class ContentTable(StateDatabase):
    """The table of contents."""

    def contentsOf(self, name: str) -> list[Content]:
        """The records of a path, the oldest first."""
        rows = self._db.execute(
            f"SELECT {_CONTENT} FROM content WHERE name = ? ORDER BY generation",
            (os.fsencode(name),),
        )
        return [_content(row) for row in rows]

    def at(self, file: FileId) -> list[Content]:
        """The records whose file is a given object, the newest last."""
        rows = self._db.execute(
            f"SELECT {_CONTENT} FROM content WHERE device = ? AND inode = ?"
            " ORDER BY generation",
            file[:2],
        )
        return [c for c in map(_content, rows) if c.file.isSame(file)]

    def names(self) -> set[str]:
        """The paths that have records."""
        rows = self._db.execute("SELECT DISTINCT name FROM content")
        return {os.fsdecode(name) for (name,) in rows}

    def unfinished(self) -> set[str]:
        """The paths with contents that have not ended."""
        rows = self._db.execute(
            "SELECT DISTINCT name FROM content WHERE life NOT IN (?, ?, ?)",
            (Life.ENDED.value, Life.PAST.value, Life.GONE.value),
        )
        return {os.fsdecode(name) for (name,) in rows}

    def finished(self) -> list[ContentKey]:
        """The keys of the contents that have ended."""
        rows = self._db.execute(
            "SELECT stream, generation FROM content WHERE life IN (?, ?)",
            (Life.ENDED.value, Life.GONE.value),
        )
        return [(stream, generation) for stream, generation in rows]

    def origins(self) -> dict[ContentKey, int]:
        """The offset at which each content begins."""
        rows = self._db.execute("SELECT stream, generation, origin FROM content")
        return {(stream, generation): origin for stream, generation, origin in rows}

    def _saveContents(self, contents: Iterable[Content]) -> None:
        """Write records, inside the caller's transaction."""
        self._db.executemany(
            f"INSERT OR REPLACE INTO content ({_CONTENT}) VALUES"
            f" ({', '.join('?' * 22)})",
            [_row(content) for content in contents],
        )


def _content(row: tuple[object, ...]) -> Content:
    values: list[object] = list(row)
    return Content(
        values[0],  # type: ignore[arg-type]
        values[1],  # type: ignore[arg-type]
        os.fsdecode(values[2]),  # type: ignore[arg-type]
        FileId(*values[3:6]),  # type: ignore[arg-type]
        values[6],  # type: ignore[arg-type]
        values[7],  # type: ignore[arg-type]
        Proof(*values[8:11]),  # type: ignore[arg-type]
        Proof(*values[11:14]),  # type: ignore[arg-type]
        values[14],  # type: ignore[arg-type]
        Life(values[15]),
        values[16],  # type: ignore[arg-type]
        values[17],  # type: ignore[arg-type]
        os.fsdecode(values[18]),  # type: ignore[arg-type]
        values[19],  # type: ignore[arg-type]
        values[20],  # type: ignore[arg-type]
        values[21],  # type: ignore[arg-type]
    )


def _row(content: Content) -> tuple[object, ...]:
    proof, delivered = content.proof, content.delivered
    return (
        content.stream,
        content.generation,
        os.fsencode(content.name),
        *content.file,
        content.origin,
        content.seen,
        proof.start,
        proof.end,
        proof.crc,
        delivered.start,
        delivered.end,
        delivered.crc,
        content.head,
        content.life.value,
        content.archived,
        content.modified,
        os.fsencode(content.label),
        content.reason,
        content.kept,
        content.cut,
    )
