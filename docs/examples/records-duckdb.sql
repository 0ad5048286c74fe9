-- Load master.json and its rotated files into DuckDB: duckdb records.duckdb < records-duckdb.sql
CREATE TABLE IF NOT EXISTS record (
    received_at TIMESTAMPTZ NOT NULL,
    source_worker VARCHAR NOT NULL,
    source_log VARCHAR NOT NULL,        -- '': not from a file of a forwarder
    source_offset BIGINT NOT NULL,      -- -1: the same
    line VARCHAR NOT NULL,              -- a fingerprint of the whole record
    service VARCHAR,
    event_type VARCHAR,
    attacker_ip VARCHAR,
    fields MAP(VARCHAR, VARCHAR),
    msg VARCHAR,
    raw_line VARCHAR,
    gap JSON,
    PRIMARY KEY (source_worker, source_log, source_offset, received_at, line)
);
INSERT OR IGNORE INTO record
SELECT received_at, source_worker, coalesce(source_log, ''), coalesce(source_offset, -1),
    md5(concat_ws(chr(31), raw_line, raw_base64, source_address, gap::VARCHAR)), service, event_type, attacker_ip,
    fields, msg, raw_line, gap
FROM read_json('master.json*', format = 'newline_delimited', maximum_object_size = 8388608,
    columns = {service: 'VARCHAR', event_type: 'VARCHAR', attacker_ip: 'VARCHAR',
        fields: 'MAP(VARCHAR, VARCHAR)', msg: 'VARCHAR', raw_line: 'VARCHAR', raw_base64: 'VARCHAR',
        source_worker: 'VARCHAR', source_address: 'VARCHAR', source_log: 'VARCHAR', source_offset: 'BIGINT',
        received_at: 'TIMESTAMPTZ', gap: 'JSON'});
