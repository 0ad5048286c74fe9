-- The journal of a listener, schema version 1. Opened by exactly one connection at a time.

-- identity: 32 hex digits, random, made with the file. A forwarder knows a master by it.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- One row for each incarnation of a worker's log file: the authority on its position.
CREATE TABLE stream (
    id         INTEGER PRIMARY KEY,
    worker     TEXT    NOT NULL,  -- the peer certificate's CN
    stream     TEXT    NOT NULL,  -- 32 hex digits, the forwarder's choice
    generation INTEGER NOT NULL,  -- counts the rotations of the file
    name       BLOB    NOT NULL,  -- the worker's path of the file; hostile octets
    offset     INTEGER NOT NULL,  -- octets of the file committed here, gaps included
    base       INTEGER NOT NULL,  -- end of the last gap
    crc        INTEGER NOT NULL,  -- CRC-32 of the octets [base, offset)
    epoch      INTEGER NOT NULL,  -- granted to the newest connection; older ones are stale
    UNIQUE (worker, stream, generation)
);

-- What has been received and is not yet on disk in every output.
CREATE TABLE batch (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    worker      TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    address     TEXT    NOT NULL,
    received_at TEXT    NOT NULL,  -- RFC 3339, UTC
    stream_id   INTEGER REFERENCES stream (id),  -- NULL: a peer without positions
    start       INTEGER NOT NULL,  -- of the octets in the file; 0 without a stream
    "end"       INTEGER NOT NULL,
    reason      TEXT,    -- a gap: these octets will never come. NULL: octets have come
    lengths     BLOB,    -- of each message, 32 bits little-endian, when one holds an LF
    octets      BLOB    NOT NULL  -- lines with their LFs; with lengths: messages without
);

-- What can never be delivered: kept for good, a row for each gap.
CREATE TABLE gap (
    stream_id   INTEGER NOT NULL REFERENCES stream (id),
    start       INTEGER NOT NULL,
    "end"       INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    received_at TEXT    NOT NULL,
    PRIMARY KEY (stream_id, start)
) WITHOUT ROWID;

-- How far each output has the batches on disk.
CREATE TABLE cursor (
    output TEXT PRIMARY KEY,
    seq    INTEGER NOT NULL
) WITHOUT ROWID;

-- The files of an output as they were, on disk, when its cursor was at that batch.
CREATE TABLE output_file (
    output TEXT    NOT NULL,
    path   BLOB    NOT NULL,
    device INTEGER NOT NULL,
    inode  INTEGER NOT NULL,
    length INTEGER NOT NULL,
    PRIMARY KEY (output, path)
) WITHOUT ROWID;
