"""
The journal's schema, and the steps from every schema that a journal has had.

The newest is in C{journal.sql}. L{decnet_syslog.migration} says how a step is added.
"""

from __future__ import annotations

from importlib import resources

from ..migration import Schema, Step

__all__ = ["journalSchema"]

_STEPS = (
    # Three schemas bore version 1. Which stream advanced last was not recorded: the newest
    # is taken for that.
    Step(
        1,
        "stream.turn",
        (
            "ALTER TABLE stream ADD COLUMN turn INTEGER NOT NULL DEFAULT 0",
            "UPDATE stream SET turn = id",
        ),
    ),
    Step(1, "batch.name", ("ALTER TABLE batch ADD COLUMN name BLOB",)),
    # Gaps once went with their streams.
    Step(
        1,
        "gap.worker",
        (
            "ALTER TABLE gap RENAME TO gap_of_stream",
            "CREATE TABLE gap (worker TEXT NOT NULL, stream TEXT NOT NULL,"
            " generation INTEGER NOT NULL, name BLOB NOT NULL, start INTEGER NOT NULL,"
            ' "end" INTEGER NOT NULL, reason TEXT NOT NULL, received_at TEXT NOT NULL,'
            " UNIQUE (worker, stream, generation, start))",
            "INSERT INTO gap SELECT worker, stream, generation, name, start,"
            ' "end", reason, received_at FROM gap_of_stream'
            " JOIN stream ON stream.id = stream_id ORDER BY received_at",
            "DROP TABLE gap_of_stream",
        ),
    ),
    # Without an anchor a file is believed by its inode and its length.
    Step(
        1,
        "output_file.anchor",
        ("ALTER TABLE output_file ADD COLUMN anchor BLOB NOT NULL DEFAULT x''",),
    ),
    # Batches are rendered as they were begun.
    Step(
        2,
        "batch.marks",
        ("ALTER TABLE batch ADD COLUMN marks INTEGER NOT NULL DEFAULT 0",),
    ),
    # The journal begins its first era when it is opened.
    Step(
        3,
        "era",
        (
            "CREATE TABLE era (number INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE,"
            " first INTEGER NOT NULL)",
        ),
    ),
    # A batch of an output may be in two files.
    Step(
        3,
        "output_file.ahead",
        ("ALTER TABLE output_file ADD COLUMN ahead INTEGER NOT NULL DEFAULT 0",),
    ),
    Step(
        3,
        "output_file.boot",
        ("ALTER TABLE output_file ADD COLUMN boot TEXT NOT NULL DEFAULT ''",),
    ),
    Step(
        3,
        "absent_output",
        (
            "CREATE TABLE absent_output (output TEXT PRIMARY KEY,"
            " seq INTEGER NOT NULL, since TEXT NOT NULL) WITHOUT ROWID",
        ),
    ),
    # The outputs of a journal in JetStream record the end of each written stream.
    Step(
        3,
        "written",
        (
            "CREATE TABLE written (output TEXT NOT NULL, worker TEXT NOT NULL,"
            " stream TEXT NOT NULL, generation INTEGER NOT NULL,"
            ' "end" INTEGER NOT NULL, seq INTEGER NOT NULL,'
            " PRIMARY KEY (output, worker, stream, generation)) WITHOUT ROWID",
        ),
    ),
    # Names once stood in each row. Batches of then keep theirs: there may be gigabytes.
    Step(
        4,
        "name",
        (
            "CREATE TABLE name (id INTEGER PRIMARY KEY AUTOINCREMENT, worker TEXT NOT NULL,"
            " digest BLOB, name BLOB NOT NULL, UNIQUE (worker, digest))",
        ),
    ),
    Step(
        4,
        "stream.name_id",
        (
            "INSERT INTO name (worker, name) SELECT DISTINCT worker, name FROM stream",
            "ALTER TABLE stream ADD COLUMN name_id INTEGER NOT NULL DEFAULT 0",
            "CREATE TEMP TABLE named AS SELECT id, worker, name FROM name",
            "CREATE INDEX temp.named_key ON named (worker, name)",
            "UPDATE stream SET name_id = (SELECT id FROM named"
            " WHERE named.worker = stream.worker AND named.name = stream.name)",
            "DROP TABLE temp.named",
            "ALTER TABLE stream DROP COLUMN name",
        ),
    ),
    Step(
        4,
        "gap.name_id",
        (
            "CREATE TEMP TABLE named AS SELECT DISTINCT worker, name FROM gap",
            "INSERT INTO name (worker, name) SELECT worker, name FROM named",
            "DROP TABLE temp.named",
            "ALTER TABLE gap ADD COLUMN name_id INTEGER NOT NULL DEFAULT 0",
            "CREATE TEMP TABLE named AS SELECT max(id) AS id, worker, name FROM name"
            " GROUP BY worker, name",
            "CREATE INDEX temp.named_key ON named (worker, name)",
            "UPDATE gap SET name_id = (SELECT id FROM named"
            " WHERE named.worker = gap.worker AND named.name = gap.name)",
            "DROP TABLE temp.named",
            "ALTER TABLE gap DROP COLUMN name",
        ),
    ),
    Step(4, "batch.name_id", ("ALTER TABLE batch ADD COLUMN name_id INTEGER",)),
    # Of what an older program has written the checksum is not known.
    Step(
        5,
        "written.crc",
        (
            "ALTER TABLE written ADD COLUMN base INTEGER",
            "ALTER TABLE written ADD COLUMN crc INTEGER",
        ),
    ),
    Step(
        5,
        "written_again",
        (
            "CREATE TABLE written_again (output TEXT NOT NULL, worker TEXT NOT NULL,"
            " stream TEXT NOT NULL, generation INTEGER NOT NULL, seq INTEGER NOT NULL,"
            " start INTEGER NOT NULL, PRIMARY KEY (output, worker, stream, generation))"
            " WITHOUT ROWID",
        ),
    ),
    # Octets were always in the row. An older program would take the others for empty.
    Step(
        6,
        "batch.place",
        (
            "ALTER TABLE batch ADD COLUMN place INTEGER",
            "ALTER TABLE batch ADD COLUMN size INTEGER",
            "ALTER TABLE batch ADD COLUMN rest INTEGER",
            "ALTER TABLE batch ADD COLUMN seed INTEGER",
            "ALTER TABLE batch ADD COLUMN crc INTEGER",
        ),
    ),
)


def journalSchema() -> Schema:
    """The journal's schema, read from the package."""
    sql = resources.files(__package__).joinpath("journal.sql").read_text("utf-8")
    return Schema(sql, _STEPS)
