"""The schema of the state database, and how older ones are brought up to it."""

from __future__ import annotations

from ..migration import Schema, Step

__all__ = ["STATE_SCHEMA"]

_SCHEMA = """
CREATE TABLE content (
    stream          TEXT    NOT NULL,  -- 32 hex digits, made at first sight of the path
    generation      INTEGER NOT NULL,  -- counts the contents that the path has had
    name            BLOB    NOT NULL,  -- the path as configured
    device          INTEGER NOT NULL,  -- of the file that held it when last seen
    inode           INTEGER NOT NULL,
    version         INTEGER NOT NULL,  -- the inode's generation; 0: the file system has none
    origin          INTEGER NOT NULL,  -- where the stream begins in the file
    seen            INTEGER NOT NULL,  -- the largest size that was seen, and synced
    proof_start     INTEGER NOT NULL,  -- CRC-32 of these octets of the file
    proof_end       INTEGER NOT NULL,
    proof_crc       INTEGER NOT NULL,
    delivered_start INTEGER NOT NULL,  -- and of these, up to what a journal has acknowledged
    delivered_end   INTEGER NOT NULL,
    delivered_crc   INTEGER NOT NULL,
    head            BLOB    NOT NULL,  -- the first octets
    life            TEXT    NOT NULL,  -- live, rotated, searching, lost, ended, past, gone
    archived        INTEGER NOT NULL,  -- octets of the compressed file that holds it; 0: none
    modified        INTEGER NOT NULL,  -- when the file had changed last, nanoseconds
    label           BLOB    NOT NULL,  -- what a master shows instead of the name, or ''
    reason          TEXT    NOT NULL,  -- of the gap that its rest is, if its file is lost
    kept            INTEGER NOT NULL,  -- from where on a copy beside this database has octets
    cut             INTEGER NOT NULL,  -- octets that the file has, if it is a short copy; or 0
    PRIMARY KEY (stream, generation)
) WITHOUT ROWID;

CREATE INDEX content_name ON content (name);

CREATE INDEX content_file ON content (device, inode);

CREATE TABLE position (
    journal          TEXT    NOT NULL,  -- the identity of a master's journal
    worker           TEXT    NOT NULL,  -- our name there; '': noted by version 1
    stream           TEXT    NOT NULL,
    generation       INTEGER NOT NULL,
    there            TEXT    NOT NULL,  -- what the journal calls them
    there_generation INTEGER NOT NULL,
    offset           INTEGER NOT NULL,  -- acknowledged
    base             INTEGER NOT NULL,  -- end of the last gap
    crc              INTEGER NOT NULL,  -- CRC-32 of [base, offset)
    PRIMARY KEY (journal, worker, stream, generation)
) WITHOUT ROWID;

CREATE TABLE journal (
    journal TEXT    NOT NULL,
    worker  TEXT    NOT NULL,
    number  INTEGER NOT NULL,  -- of its newest mark that we were told
    token   TEXT    NOT NULL,  -- of that; '': it has told none
    met     INTEGER NOT NULL,  -- the highest was met last
    PRIMARY KEY (journal, worker)
) WITHOUT ROWID;
"""

# Of version 1 a file is known by its head, and by the checksum behind the last gap. A finished
# content that is still there is compared by object, size and head until it is read anew.
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

# The file may be the one that DECNET's own forwarder keeps its offset in.
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
