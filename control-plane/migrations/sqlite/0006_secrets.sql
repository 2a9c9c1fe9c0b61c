-- Secrets of planes, as their writers sealed them: nothing here opens one. A removed one is gone with its ciphertext.
CREATE TABLE secrets (
    id          TEXT   PRIMARY KEY,
    tenant_id   TEXT   NOT NULL REFERENCES tenants (id),
    plane_id    TEXT   NOT NULL REFERENCES planes (id),
    name        TEXT   NOT NULL,
    sealed      TEXT   NOT NULL, -- armored age
    recipients  TEXT   NOT NULL, -- JSON, age public keys as the writer told
    note        TEXT,
    version     BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    writer_kind TEXT   NOT NULL, -- who stored this version: user, key, system
    writer_id   TEXT   NOT NULL,
    writer_name TEXT   NOT NULL
);
CREATE UNIQUE INDEX secrets_by_name ON secrets (plane_id, name);
CREATE INDEX secrets_by_tenant ON secrets (tenant_id, id);
