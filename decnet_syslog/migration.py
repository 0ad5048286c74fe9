"""
Bring a database from an older program to the newest schema, or leave it unchanged.

What must be true:

* the tables and columns decide which steps run, not the version number: different schemas
  have had the same number. A step runs when the table or column that it adds is missing;
* all steps are one transaction of the caller. It is committed only when the database then has
  exactly the tables, columns and keys of the newest schema, the same number of rows in each table
  as before, and no additional reference to a missing row. If the process is killed anywhere, the
  database is the old one or the new one;
* a database that the steps cannot bring to the newest schema is refused. Its file is
  unchanged, so that the program that made it can use it again.

To change a schema: change the schema's SQL, append a L{Step} with the next number, and keep the old
SQL in C{tests/data/schemas}, where a test upgrades each past schema.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ._tables import Table, countRows, firstDifference, has, readTables

__all__ = ["Migration", "Schema", "SchemaUnknown", "Step", "bringUp"]


class SchemaUnknown(Exception):
    """No steps lead from this database to the schema. The text describes the difference."""


@dataclass(frozen=True)
class Step:
    """
    A step from one schema to the next.

    @ivar version: the version of the schema after this step.
    @ivar adds: C{"table"} or C{"table.column"}: the step runs if this is missing.
    @ivar statements: SQL, each a single statement. They must keep the number of rows of each
        table that exists before and after.
    @ivar removes: tables and columns of earlier steps that this step removes: a database with
        this step does not need those.
    """

    version: int
    adds: str
    statements: tuple[str, ...]
    removes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Schema:
    """
    A schema, and the steps from older ones.

    @ivar sql: creates the schema in an empty database.
    @ivar steps: the steps, in order.
    @ivar guests: tables of other programs that may exist, too.
    """

    sql: str
    steps: Sequence[Step] = ()
    guests: frozenset[str] = field(default=frozenset())

    @property
    def version(self) -> int:
        """The version number of a database with the newest schema."""
        return self.steps[-1].version if self.steps else 1


def bringUp(
    db: sqlite3.Connection,
    schema: Schema,
    prepare: Callable[[], None],
    fill: Callable[[], None] = lambda: None,
) -> None:
    """
    Create the tables in an empty database, or upgrade those of an older program.

    @param prepare: called outside a transaction, before an empty database gets its tables: for
        settings that cannot change later.
    @param fill: called in the transaction that creates the tables of an empty database.
    @raise SchemaUnknown: nothing was changed. The caller closes the database.
    """
    db.execute("BEGIN EXCLUSIVE")
    migration = Migration(db, schema)
    if migration.isEmpty:
        db.execute("COMMIT")
        prepare()
        db.execute("BEGIN EXCLUSIVE")
    migration.run()
    if migration.isEmpty:
        fill()
    db.execute("COMMIT")


class Migration:
    """
    The steps for one database, found without changing it.

    @ivar isEmpty: whether the database has no tables yet.
    """

    def __init__(self, db: sqlite3.Connection, schema: Schema) -> None:
        """
        Examine a database, within a transaction of the caller.

        @raise SchemaUnknown: it belongs to a later program, or to another one.
        """
        self._db = db
        self._schema = schema
        (self._version,) = db.execute("PRAGMA user_version").fetchone()
        tables = readTables(db, schema.guests)
        self.isEmpty = self._version == 0 and not tables
        if self.isEmpty:
            return
        if self._version == 0:
            raise SchemaUnknown("it is another program's database")
        if self._version > schema.version:
            raise SchemaUnknown(
                f"it has version {self._version}, but this program knows only {schema.version}"
            )
        removed = {
            what
            for step in schema.steps
            if has(tables, step.adds)
            for what in step.removes
        }
        self._steps = [
            step
            for step in schema.steps
            if step.adds not in removed and not has(tables, step.adds)
        ]

    @property
    def isNewest(self) -> bool:
        """Whether no step is needed: the schema is only compared."""
        return (
            not self.isEmpty
            and not self._steps
            and self._version == self._schema.version
        )

    def run(self) -> None:
        """
        Create or change the tables, within a transaction of the caller, who rolls it back after
        an exception.

        @raise SchemaUnknown: the result is not the newest schema.
        """
        db, schema = self._db, self._schema
        if self.isEmpty:
            for statement in _statements(schema.sql):
                db.execute(statement)
        else:
            self._change()
        if not self.isNewest:
            db.execute(f"PRAGMA user_version = {schema.version}")

    def _change(self) -> None:
        db, guests = self._db, self._schema.guests
        before: dict[str, int] = {}
        dangling = 0
        if self._steps:
            before = countRows(db, guests)
            # A batch that is delivered but not deleted yet may belong to a forgotten stream.
            dangling = len(db.execute("PRAGMA foreign_key_check").fetchall())
        for step in self._steps:
            try:
                for statement in step.statements:
                    db.execute(statement)
            except (sqlite3.IntegrityError, sqlite3.OperationalError) as error:
                if not _isOfSchema(error):
                    raise
                raise SchemaUnknown(
                    f"the step to version {step.version} fails: {error}"
                ) from None
        different = firstDifference(readTables(db, guests), _newest(self._schema))
        if different is not None:
            raise SchemaUnknown(different)
        if not self._steps:
            return
        after = countRows(db, guests)
        for table in sorted(before.keys() & after.keys()):
            if before[table] != after[table]:
                raise SchemaUnknown(
                    f"the steps keep {after[table]} of {before[table]} rows in {table}"
                )
        if len(db.execute("PRAGMA foreign_key_check").fetchall()) > dangling:
            raise SchemaUnknown("rows would refer to missing rows")


def _isOfSchema(error: sqlite3.DatabaseError) -> bool:
    """Whether a statement does not fit the schema, as opposed to a failure of the disk."""
    return isinstance(error, sqlite3.IntegrityError) or str(error).startswith(
        ("no such", "duplicate column", "table ", "there is already", "error in ")
    )


def _statements(sql: str) -> Iterator[str]:
    """The statements of a script. SQLite itself finds their ends."""
    begun = ""
    for line in sql.splitlines(keepends=True):
        begun += line
        if sqlite3.complete_statement(begun):
            yield begun
            begun = ""
    if begun.strip():
        yield begun


def _newest(schema: Schema) -> dict[str, Table]:
    """The tables of the newest schema."""
    db = sqlite3.connect(":memory:")
    try:
        for statement in _statements(schema.sql):
            db.execute(statement)
        return readTables(db, frozenset())
    finally:
        db.close()
