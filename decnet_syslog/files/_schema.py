"""The schema of the state database, and the steps that upgrade an older one."""

from __future__ import annotations

from ..migration import Schema, Step

__all__ = ["STATE_SCHEMA"]

_SCHEMA = """
CREATE TABLE content (
    stream          TEXT    NOT NULL,  -- 32 hex digits, drawn when the path is first seen
    generation      INTEGER NOT NULL,  -- counts the contents that the path has had
    name            BLOB    NOT NULL,  -- the path as configured
    device          INTEGER NOT NULL,  -- of the file that held it when last seen
    inode           INTEGER NOT NULL,
    version         INTEGER NOT NULL,  -- the inode's generation; 0: the file system has none
    origin          INTEGER NOT NULL,  -- where the stream begins in the file
    seen            INTEGER NOT NULL,  -- the largest size that was seen, and synced
    proof_start     INTEGER NOT NULL,  -- the CRC-32 covers these octets of the file
    proof_end       INTEGER NOT NULL,
    proof_crc       INTEGER NOT NULL,
    delivered_start INTEGER NOT NULL,  -- the same, up to the furthest acknowledgement
    delivered_end   INTEGER NOT NULL,
    delivered_crc   INTEGER NOT NULL,
    head            BLOB    NOT NULL,  -- the first octets
    life            TEXT    NOT NULL,  -- live, rotated, searching, lost, ended, past, gone
    archived        INTEGER NOT NULL,  -- size of the compressed file that holds it; 0: none
    modified        INTEGER NOT NULL,  -- when the file last changed, in nanoseconds
    label           BLOB    NOT NULL,  -- a master shows this instead of the name; '': none
    reason          TEXT    NOT NULL,  -- of the gap that covers the rest, if the file is lost
    kept            INTEGER NOT NULL,  -- offset from which a copy next to this file has octets
    cut             INTEGER NOT NULL,  -- size of the file, if that is a short copy; 0: none
    PRIMARY KEY (stream, generation)
) WITHOUT ROWID;

CREATE INDEX content_name ON content (name);

CREATE INDEX content_file ON content (device, inode);

CREATE TABLE position (
    journal          TEXT    NOT NULL,  -- the identity of a master's journal
    worker           TEXT    NOT NULL,  -- our name there; '': written by version 1
    stream           TEXT    NOT NULL,
    generation       INTEGER NOT NULL,
    there            TEXT    NOT NULL,  -- the journal's name for the content
    there_generation INTEGER NOT NULL,
    offset           INTEGER NOT NULL,  -- acknowledged
    base             INTEGER NOT NULL,  -- end of the last gap
    crc              INTEGER NOT NULL,  -- CRC-32 of [base, offset)
    PRIMARY KEY (journal, worker, stream, generation)
) WITHOUT ROWID;

CREATE TABLE journal (
    journal TEXT    NOT NULL,
    worker  TEXT    NOT NULL,
    number  INTEGER NOT NULL,  -- of its newest known mark
    token   TEXT    NOT NULL,  -- of the same mark; '': no mark is known
    met     INTEGER NOT NULL,  -- the journal with the highest number was met last
    PRIMARY KEY (journal, worker)
) WITHOUT ROWID;
"""

# A record of version 1 identifies a file by its head, and by the checksum after the last gap. A
# finished content that still exists is compared by object, size and head until it is read again.
_FROM_1 = (
    """
    INSERT INTO content SELECT stream, generation, name, device, inode, 0, origin,
        max(size, offset), base, offset, crc, base, offset, crc, head,
        CASE finished WHEN 1 THEN 'ended' ELSE 'live' END, 0, 0, x'', '', offset, 0
    FROM bookmark
    """,
    """
    INSERT INTO position SELECT journal, '', stream, generation, stream, generation,
        offset, base, crc
    FROM bookmark WHERE journal != '' OR offset > origin
    """,
    """
    INSERT INTO journal SELECT journal, '', 0, '', row_number() OVER (ORDER BY journal)
    FROM (SELECT DISTINCT journal FROM bookmark WHERE journal != '')
    """,
    "DROP TABLE bookmark",
)

# The database may be the one in which DECNET's own forwarder keeps its offset.
STATE_SCHEMA = Schema(
    _SCHEMA,
    (
        Step(
            2,
            "content",
            (
                *[part for part in _SCHEMA.split(";\n") if part.strip()],
                *_FROM_1,
            ),
        ),
    ),
    frozenset({"forwarder_offset"}),
)
