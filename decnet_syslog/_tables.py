"""The tables of an SQLite database: the properties on which statements depend."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Column", "Table", "countRows", "firstDifference", "has", "readTables"]


class Column(NamedTuple):
    """
    The properties of a column on which statements depend.

    @ivar isNeeded: whether a row without a value for it is refused.
    @ivar key: its position in the primary key, from 1; 0 for other columns.
    """

    type: str
    isNeeded: bool
    key: int


@dataclass(frozen=True)
class Table:
    """
    The properties of a table on which statements depend; the order of its columns is not one.

    @ivar unique: the columns of each unique index.
    """

    columns: Mapping[str, Column]
    unique: frozenset[tuple[str, ...]]
    hasRowid: bool


def readTables(db: sqlite3.Connection, guests: frozenset[str]) -> dict[str, Table]:
    """All tables, views and triggers, except SQLite's own and the guests."""
    found = db.execute(
        "SELECT type, name, coalesce(sql, '') FROM sqlite_master"
        " WHERE name NOT LIKE 'sqlite!_%' ESCAPE '!' AND type != 'index'"
    ).fetchall()
    tables = {}
    for kind, name, sql in found:
        if name in guests:
            continue
        if kind != "table":
            # A trigger or a view: our schemas have none.
            tables[f"{kind} {name}"] = Table({}, frozenset(), False)
            continue
        columns = {
            column: Column(declared.upper(), bool(needed), key)
            for _, column, declared, needed, _, key, _ in db.execute(
                "SELECT * FROM pragma_table_xinfo(?)", (name,)
            ).fetchall()
        }
        unique = frozenset(
            tuple(
                str(column)
                for (column,) in db.execute(
                    "SELECT name FROM pragma_index_info(?) ORDER BY seqno", (index,)
                ).fetchall()
            )
            for (index,) in db.execute(
                'SELECT name FROM pragma_index_list(?) WHERE "unique"', (name,)
            ).fetchall()
        )
        without = " ".join(sql.upper().split()).endswith("WITHOUT ROWID")
        tables[name] = Table(columns, unique, not without)
    return tables


def has(tables: Mapping[str, Table], what: str) -> bool:
    """Whether there is a C{"table"} or C{"table.column"}."""
    table, _, column = what.partition(".")
    return table in tables and (not column or column in tables[table].columns)


def countRows(db: sqlite3.Connection, guests: frozenset[str]) -> dict[str, int]:
    """The number of rows in each table."""
    return {
        name: db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
        for name, table in readTables(db, guests).items()
        if table.columns
    }


def firstDifference(
    found: Mapping[str, Table], wanted: Mapping[str, Table]
) -> str | None:
    """The first difference between two schemas."""
    for name in sorted(found.keys() | wanted.keys()):
        if name not in wanted:
            return f"{name} is unknown to this program"
        if name not in found:
            return f"it has no table {name}"
        there, ours = found[name], wanted[name]
        for column in sorted(there.columns.keys() | ours.columns.keys()):
            if column not in ours.columns:
                return f"the column {name}.{column} is unknown to this program"
            if column not in there.columns:
                return f"it has no column {name}.{column}"
            if there.columns[column] != ours.columns[column]:
                return f"the column {name}.{column} has another type or key"
        if there != ours:
            return f"the keys of {name} are different"
    return None
