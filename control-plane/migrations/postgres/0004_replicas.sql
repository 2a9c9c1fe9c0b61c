-- Several control planes on one database: who runs, which session is where, questions on their way.

-- Times are microseconds of the database's clock, which is one for all.
CREATE TABLE replicas (
    id         TEXT   PRIMARY KEY, -- new at each start
    started_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL
);

-- The newest session of each plane, and what was last heard in it.
CREATE TABLE plane_sessions (
    plane_id   TEXT    PRIMARY KEY REFERENCES planes (id),
    replica_id TEXT    NOT NULL, -- where it is, or was
    opened_at  BIGINT  NOT NULL,
    is_open    BOOLEAN NOT NULL,
    report     BYTEA   NOT NULL, -- protobuf
    change     BIGINT  NOT NULL  -- counts the batches of changes
);
CREATE INDEX plane_sessions_by_change ON plane_sessions (change);

-- Questions to planes whose session is on another control plane.
CREATE TABLE asks (
    id           TEXT   PRIMARY KEY,
    asker_id     TEXT   NOT NULL, -- the replica that asks
    replica_id   TEXT   NOT NULL, -- the replica with the session
    plane_id     TEXT   NOT NULL,
    question     BYTEA  NOT NULL, -- protobuf
    timeout_ms   BIGINT NOT NULL,
    asked_at     BIGINT NOT NULL,
    taken_at     BIGINT,
    outcome      TEXT,            -- answered, not_connected, busy, timeout
    answer       BYTEA            -- protobuf
);
CREATE INDEX asks_by_asker ON asks (asker_id);
CREATE INDEX asks_by_replica ON asks (replica_id);
