-- The newest schema of a listener's journal: decnet_syslog.journal._schema has the steps to it.
-- Opened by exactly one connection at a time.

-- identity: 32 hex digits, random, made with the file. A forwarder knows a master by it.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Each name that a worker gives its files, once. A number is not given again.
CREATE TABLE name (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    worker TEXT NOT NULL,
    digest BLOB,           -- SHA-256 of the name; NULL: of an older schema, and not looked up
    name   BLOB NOT NULL,  -- the worker's path of a file; hostile octets
    UNIQUE (worker, digest)
);

-- One row for each incarnation of a worker's log file: the authority on its position.
CREATE TABLE stream (
    id         INTEGER PRIMARY KEY,
    worker     TEXT    NOT NULL,  -- the peer certificate's CN
    stream     TEXT    NOT NULL,  -- 32 hex digits, the forwarder's choice
    generation INTEGER NOT NULL,  -- counts the rotations of the file
    name_id    INTEGER NOT NULL REFERENCES name (id),
    offset     INTEGER NOT NULL,  -- octets of the file committed here, gaps included
    base       INTEGER NOT NULL,  -- end of the last gap
    crc        INTEGER NOT NULL,  -- CRC-32 of the octets [base, offset)
    epoch      INTEGER NOT NULL,  -- granted to the newest connection; older ones are stale
    turn       INTEGER NOT NULL,  -- of all streams, that which advanced last has the highest
    UNIQUE (worker, stream, generation)
);

-- What has been received and is not yet on disk in every output.
CREATE TABLE batch (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    worker      TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    address     TEXT    NOT NULL,
    received_at TEXT    NOT NULL,  -- RFC 3339, UTC
    name        BLOB,    -- of an older schema: as name_id
    name_id     INTEGER REFERENCES name (id),  -- of the file, as it was then; NULL: it has none
    marks       INTEGER NOT NULL,  -- whether records show that a HOSTNAME is not the worker's
    stream_id   INTEGER REFERENCES stream (id),  -- NULL: a peer without positions
    start       INTEGER NOT NULL,  -- of the octets in the file; 0 without a stream
    "end"       INTEGER NOT NULL,
    reason      TEXT,    -- a gap: these octets will never come. NULL: octets have come
    lengths     BLOB,    -- of each message, 32 bits little-endian, when one holds an LF
    octets      BLOB    NOT NULL  -- lines with their LFs; with lengths: messages without
);

-- What can never be delivered: a row for each gap, kept for longer than its stream.
CREATE TABLE gap (
    worker      TEXT    NOT NULL,
    stream      TEXT    NOT NULL,
    generation  INTEGER NOT NULL,
    name_id     INTEGER NOT NULL REFERENCES name (id),
    start       INTEGER NOT NULL,
    "end"       INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    received_at TEXT    NOT NULL,
    UNIQUE (worker, stream, generation, start)
);

-- How far each output has the batches on disk.
CREATE TABLE cursor (
    output TEXT PRIMARY KEY,
    seq    INTEGER NOT NULL
) WITHOUT ROWID;

-- Outputs that had a cursor once and are not configured now. A row stays until the output has
-- saved a cursor again: what it lacks is reported at each start until then.
CREATE TABLE absent_output (
    output TEXT PRIMARY KEY,
    seq    INTEGER NOT NULL,  -- its cursor when it was left out
    since  TEXT    NOT NULL   -- when the first batch behind that was received; RFC 3339, UTC
) WITHOUT ROWID;

-- The files of an output as they were, on disk, when its cursor was at that batch. Kept for
-- absent outputs, too.
CREATE TABLE output_file (
    output TEXT    NOT NULL,
    path   BLOB    NOT NULL,
    device INTEGER NOT NULL,  -- device and inode 0: no file yet, a new one comes next
    inode  INTEGER NOT NULL,
    length INTEGER NOT NULL,
    anchor BLOB    NOT NULL,  -- the last octets before length
    ahead  INTEGER NOT NULL,  -- octets of what follows the cursor that are in earlier files
    boot   TEXT    NOT NULL,  -- the kernel's boot id then; empty: not known
    PRIMARY KEY (output, path)
) WITHOUT ROWID;

-- The journal's history. An era begins with the first commit of each opening. A journal that
-- was put back to a copy was opened again, so what it commits then is of another era: a mark
-- (batch, token) of a lost batch is behind the beginning of the era after its own.
CREATE TABLE era (
    number INTEGER PRIMARY KEY,
    token  TEXT    NOT NULL UNIQUE,  -- 32 hex digits, random
    first  INTEGER NOT NULL          -- the last batch before it
);

-- Only used with a journal in JetStream (decnet_syslog.nats._written): the end of each stream that
-- an output has written. After a rollback, lines that come again are recognized by its checksum.
CREATE TABLE written (
    output     TEXT    NOT NULL,
    worker     TEXT    NOT NULL,
    stream     TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    "end"      INTEGER NOT NULL,  -- octets of the file that are written, including gaps
    seq        INTEGER NOT NULL,  -- the last batch of the stream
    base       INTEGER,           -- crc is the checksum of the octets [base, "end");
    crc        INTEGER,           -- both NULL: not known
    PRIMARY KEY (output, worker, stream, generation)
) WITHOUT ROWID;

-- The same: streams whose batches behind a message an output writes from an earlier offset than
-- its end above, because nothing proves that they are the same octets. A row stays until the
-- output's cursor is behind the message.
CREATE TABLE written_again (
    output     TEXT    NOT NULL,
    worker     TEXT    NOT NULL,
    stream     TEXT    NOT NULL,
    generation INTEGER NOT NULL,
    seq        INTEGER NOT NULL,  -- the message
    start      INTEGER NOT NULL,
    PRIMARY KEY (output, worker, stream, generation)
) WITHOUT ROWID;
