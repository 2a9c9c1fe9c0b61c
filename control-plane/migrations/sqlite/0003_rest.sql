-- What lists, repeated requests and charts need.

-- Pages of lists go by tenant and id.
CREATE INDEX planes_by_tenant ON planes (tenant_id, id);
CREATE INDEX endpoints_by_tenant ON endpoints (tenant_id, id);
CREATE INDEX targets_by_tenant ON targets (tenant_id, id);
CREATE INDEX flows_by_tenant ON flows (tenant_id, id);
CREATE INDEX plane_events_alerts ON plane_events (plane_id, id) WHERE alert;

-- Requests with an Idempotency-Key. What was answered can be read only with the caller's own key
-- and API key: nobody learns a secret from this table.
CREATE TABLE idempotency (
    id            TEXT    PRIMARY KEY, -- hash of tenant, operation and key
    tenant_id     TEXT    NOT NULL REFERENCES tenants (id),
    claim         TEXT    NOT NULL,    -- which try is under way
    claimed_until BIGINT  NOT NULL,    -- after that, the try is taken for dead
    fingerprint   BLOB    NOT NULL,    -- keyed hash of the request
    carried_out   BIGINT  NOT NULL,    -- 1 if the change is made, whatever became of the answer
    status        BIGINT,              -- none until it is answered
    answer        BLOB,                -- sealed
    expires_at    BIGINT  NOT NULL
);
CREATE INDEX idempotency_by_tenant ON idempotency (tenant_id);
CREATE INDEX idempotency_by_expiry ON idempotency (expires_at);

-- What was counted in each minute, for 30 days. Minutes since 1970.
CREATE TABLE minutes (
    plane_id        TEXT   NOT NULL REFERENCES planes (id),
    tenant_id       TEXT   NOT NULL REFERENCES tenants (id), -- whose events; a data plane has many
    minute          BIGINT NOT NULL,
    accepted        BIGINT NOT NULL,
    delivered       BIGINT NOT NULL,
    failed_attempts BIGINT NOT NULL,
    dead_lettered   BIGINT NOT NULL,
    refused         BIGINT NOT NULL,
    expired         BIGINT NOT NULL,
    PRIMARY KEY (plane_id, tenant_id, minute)
);
CREATE INDEX minutes_by_tenant ON minutes (tenant_id, minute);
CREATE INDEX minutes_by_age ON minutes (minute);
