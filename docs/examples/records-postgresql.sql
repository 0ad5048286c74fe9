-- Load records from standard input: zcat -f master.json-20261128.gz | psql -v ON_ERROR_STOP=1 -f records-postgresql.sql
BEGIN;
CREATE TABLE IF NOT EXISTS record (
    received_at timestamptz NOT NULL,
    source_worker text NOT NULL,
    source_log text NOT NULL,           -- '': not from a file of a forwarder
    source_offset bigint NOT NULL,      -- -1: the same
    line text NOT NULL,                 -- a fingerprint of the whole record
    record jsonb NOT NULL,              -- with U+FFFD in the place of U+0000, which jsonb refuses
    PRIMARY KEY (source_worker, source_log, source_offset, received_at, line)
);
CREATE TEMP TABLE incoming (record text) ON COMMIT DROP;
-- As CSV with characters that JSON in ASCII cannot have: each line is one value, backslashes and all.
\copy incoming FROM pstdin WITH (FORMAT csv, DELIMITER E'\x02', QUOTE E'\x01')
INSERT INTO record
SELECT (one->>'received_at')::timestamptz, one->>'source_worker', coalesce(one->>'source_log', ''),
    coalesce((one->>'source_offset')::bigint, -1), md5(record), one
FROM incoming, LATERAL (
    -- An even number of backslashes before it: otherwise the line has a backslash and "u0000" itself.
    SELECT regexp_replace(record, '(?<!\\)((?:\\\\)*)\\u0000', '\1\\ufffd', 'g')::jsonb AS one) AS parsed
ON CONFLICT DO NOTHING;
COMMIT;
