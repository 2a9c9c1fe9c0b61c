-- Everything the control plane keeps. Ids are text, times Unix milliseconds, revisions count from 1.

-- The control plane's own authorities; the newest signs, all are trusted.
CREATE TABLE roots (
    id              INTEGER PRIMARY KEY,
    trust_domain    TEXT    NOT NULL,
    certificate_pem TEXT    NOT NULL,
    sealed_key      TEXT    NOT NULL, -- armored age over PKCS #8 PEM
    created_at      BIGINT  NOT NULL
);

CREATE TABLE tenants (
    id         TEXT   PRIMARY KEY,
    name       TEXT   NOT NULL UNIQUE,
    role       TEXT   NOT NULL, -- operator, default, tenant
    created_at BIGINT NOT NULL
);

CREATE TABLE api_keys (
    id         TEXT    PRIMARY KEY,
    tenant_id  TEXT    NOT NULL REFERENCES tenants (id),
    name       TEXT    NOT NULL,
    operator   BOOLEAN NOT NULL, -- may also manage what belongs to the operator
    sha256     BLOB    NOT NULL UNIQUE,
    created_at BIGINT  NOT NULL
);

CREATE TABLE planes (
    id                 TEXT   PRIMARY KEY,
    tenant_id          TEXT   NOT NULL REFERENCES tenants (id),
    name               TEXT   NOT NULL,
    kind               TEXT   NOT NULL, -- edge, data
    data_plane_id      TEXT   REFERENCES planes (id),
    created_at         BIGINT NOT NULL,
    enrolled_at        BIGINT,
    retired_at         BIGINT,
    version            BIGINT NOT NULL,
    first_heartbeat_at BIGINT, -- since the last redemption
    last_heartbeat_at  BIGINT, -- written coarsely
    agent_version      TEXT,
    applied_revision   BIGINT NOT NULL,
    recoveries         BIGINT NOT NULL -- since the last long session
);
CREATE UNIQUE INDEX planes_by_name ON planes (tenant_id, name) WHERE retired_at IS NULL;
CREATE INDEX planes_by_data_plane ON planes (data_plane_id);

-- Keys of plane CAs. The current ones may open sessions.
CREATE TABLE plane_identities (
    plane_id   TEXT    NOT NULL REFERENCES planes (id),
    key_sha256 BLOB    NOT NULL,
    spki       BLOB    NOT NULL,
    chain_pem  TEXT    NOT NULL, -- the newest chain issued for the key
    issued_at  BIGINT  NOT NULL,
    current    BOOLEAN NOT NULL,
    PRIMARY KEY (plane_id, key_sha256)
);

CREATE TABLE bundles (
    id            TEXT   PRIMARY KEY,
    plane_id      TEXT   NOT NULL REFERENCES planes (id),
    tenant_id     TEXT   NOT NULL REFERENCES tenants (id),
    token_sha256  BLOB   NOT NULL,
    issued_at     BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    superseded_at BIGINT,
    redeemed_at   BIGINT,
    key_sha256    BLOB,  -- the key that redeemed it
    chain_pem     TEXT   -- what that key was answered, byte for byte
);
CREATE INDEX bundles_by_plane ON bundles (plane_id);

-- The timeline of a plane. Repeats of the newest entry are counted, not added.
CREATE TABLE plane_events (
    id              INTEGER PRIMARY KEY,
    plane_id        TEXT    NOT NULL REFERENCES planes (id),
    at              BIGINT  NOT NULL,
    last_at         BIGINT  NOT NULL,
    times           BIGINT  NOT NULL,
    kind            TEXT    NOT NULL,
    code            TEXT,
    detail          TEXT    NOT NULL,
    remote_address  TEXT,
    key_fingerprint TEXT,
    alert           BOOLEAN NOT NULL
);
CREATE INDEX plane_events_by_plane ON plane_events (plane_id, id);

-- Removed endpoints stay: their ingesters answer 410.
CREATE TABLE endpoints (
    id         TEXT   PRIMARY KEY,
    tenant_id  TEXT   NOT NULL REFERENCES tenants (id),
    plane_id   TEXT   NOT NULL REFERENCES planes (id),
    name       TEXT   NOT NULL,
    spec       TEXT   NOT NULL, -- JSON, as the API shows it
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    removed_at BIGINT,
    version    BIGINT NOT NULL
);
CREATE UNIQUE INDEX endpoints_by_name ON endpoints (tenant_id, plane_id, name) WHERE removed_at IS NULL;
CREATE INDEX endpoints_by_plane ON endpoints (plane_id);

CREATE TABLE targets (
    id         TEXT   PRIMARY KEY,
    tenant_id  TEXT   NOT NULL REFERENCES tenants (id),
    plane_id   TEXT   NOT NULL REFERENCES planes (id),
    name       TEXT   NOT NULL,
    spec       TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    removed_at BIGINT,
    version    BIGINT NOT NULL
);
CREATE UNIQUE INDEX targets_by_name ON targets (tenant_id, plane_id, name) WHERE removed_at IS NULL;
CREATE INDEX targets_by_plane ON targets (plane_id);

CREATE TABLE flows (
    id          TEXT    PRIMARY KEY,
    tenant_id   TEXT    NOT NULL REFERENCES tenants (id),
    name        TEXT    NOT NULL,
    endpoint_id TEXT    NOT NULL REFERENCES endpoints (id),
    target_id   TEXT    NOT NULL REFERENCES targets (id),
    enabled     BOOLEAN NOT NULL,
    spec        TEXT    NOT NULL,
    created_at  BIGINT  NOT NULL,
    updated_at  BIGINT  NOT NULL,
    version     BIGINT  NOT NULL
);
CREATE UNIQUE INDEX flows_by_name ON flows (tenant_id, name);
CREATE INDEX flows_by_endpoint ON flows (endpoint_id);
CREATE INDEX flows_by_target ON flows (target_id);

-- What was last published to each plane.
CREATE TABLE snapshots (
    plane_id       TEXT   PRIMARY KEY REFERENCES planes (id),
    revision       BIGINT NOT NULL,
    content_sha256 BLOB   NOT NULL, -- of the encoding with revision 0
    snapshot       BLOB   NOT NULL, -- the encoding with its revision
    published_at   BIGINT NOT NULL
);

-- Counts since the component's start; counts of earlier starts are folded into boot_id ''.
CREATE TABLE counters (
    plane_id        TEXT   NOT NULL REFERENCES planes (id),
    component       TEXT   NOT NULL,
    instance        TEXT   NOT NULL,
    boot_id         TEXT   NOT NULL,
    flow_id         TEXT   NOT NULL, -- '' if it is not of one flow
    endpoint_id     TEXT   NOT NULL, -- '' if it is of a flow
    accepted        BIGINT NOT NULL,
    refused         BIGINT NOT NULL,
    dispatched      BIGINT NOT NULL,
    delivered       BIGINT NOT NULL,
    failed_attempts BIGINT NOT NULL,
    dead_lettered   BIGINT NOT NULL,
    duplicates      BIGINT NOT NULL,
    expired         BIGINT NOT NULL,
    PRIMARY KEY (plane_id, component, instance, boot_id, flow_id, endpoint_id)
);

-- Where components say they are reached; kept, so that a restart publishes the same.
CREATE TABLE addresses (
    plane_id  TEXT   NOT NULL REFERENCES planes (id),
    component TEXT   NOT NULL,
    instance  TEXT   NOT NULL,
    address   TEXT   NOT NULL,
    seen_at   BIGINT NOT NULL,
    PRIMARY KEY (plane_id, component, instance)
);
