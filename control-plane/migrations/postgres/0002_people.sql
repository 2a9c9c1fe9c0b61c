-- Who may do what, and what was done: people, their sessions and ways in, roles of API keys, and
-- a hash chain of changes per tenant.

ALTER TABLE api_keys ADD COLUMN role TEXT NOT NULL DEFAULT 'owner';

-- What was done. Each row's hash covers the row and the hash before it; numbers have no gaps.
CREATE TABLE audit (
    tenant_id      TEXT   NOT NULL REFERENCES tenants (id),
    seq            BIGINT NOT NULL, -- from 1
    at             BIGINT NOT NULL,
    actor_kind     TEXT   NOT NULL, -- user, key, system
    actor_id       TEXT   NOT NULL, -- '' for the system
    actor_name     TEXT   NOT NULL,
    action         TEXT   NOT NULL,
    subject        TEXT   NOT NULL, -- an id, or ''
    detail         TEXT   NOT NULL, -- JSON
    remote_address TEXT   NOT NULL, -- '' if unknown
    hash           BYTEA  NOT NULL,
    PRIMARY KEY (tenant_id, seq)
);

ALTER TABLE api_keys ADD COLUMN scopes TEXT; -- words with a space between; NULL: all of the role
ALTER TABLE api_keys ADD COLUMN created_by TEXT NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN expires_at BIGINT;
ALTER TABLE api_keys ADD COLUMN last_used_at BIGINT; -- written coarsely
ALTER TABLE api_keys ADD COLUMN revoked_at BIGINT;

ALTER TABLE tenants ADD COLUMN totp_required BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE tenants ADD COLUMN version BIGINT NOT NULL DEFAULT 1;

CREATE TABLE users (
    id           TEXT    PRIMARY KEY,
    tenant_id    TEXT    NOT NULL REFERENCES tenants (id),
    operator     BOOLEAN NOT NULL, -- may also manage what belongs to the operator
    email        TEXT,             -- NULL until the first owner gave one
    email_folded TEXT    UNIQUE,   -- lower case
    name         TEXT    NOT NULL,
    role         TEXT    NOT NULL, -- owner, admin, editor, viewer
    password     TEXT,             -- PHC string
    disabled_at  BIGINT,
    totp_sealed  TEXT,             -- armored age over the secret
    totp_pending TEXT,             -- the same, begun and not confirmed
    totp_step    BIGINT,           -- of the last code taken
    created_at   BIGINT  NOT NULL,
    updated_at   BIGINT  NOT NULL,
    signed_in_at BIGINT,
    version      BIGINT  NOT NULL
);
CREATE INDEX users_by_tenant ON users (tenant_id, id);

CREATE TABLE recovery_codes (
    user_id TEXT NOT NULL REFERENCES users (id),
    sha256  BYTEA NOT NULL,
    PRIMARY KEY (user_id, sha256)
);

CREATE TABLE sessions (
    id              TEXT    PRIMARY KEY, -- lets nobody in
    user_id         TEXT    NOT NULL REFERENCES users (id),
    token_sha256    BYTEA   NOT NULL UNIQUE,
    previous_sha256 BYTEA,
    second_step     BOOLEAN NOT NULL,
    began_at        BIGINT  NOT NULL,
    seen_at         BIGINT  NOT NULL, -- written coarsely
    rotated_at      BIGINT  NOT NULL,
    remote_address  TEXT    NOT NULL,
    browser         TEXT    NOT NULL
);
CREATE INDEX sessions_by_previous ON sessions (previous_sha256);
CREATE INDEX sessions_by_user ON sessions (user_id);

CREATE TABLE sign_in_links (
    token_sha256 BYTEA  PRIMARY KEY,
    user_id      TEXT   NOT NULL REFERENCES users (id),
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL
);
CREATE INDEX sign_in_links_by_user ON sign_in_links (user_id);

-- Sign-ins that wait for their second step.
CREATE TABLE sign_in_steps (
    token_sha256 BYTEA  PRIMARY KEY,
    user_id      TEXT   NOT NULL REFERENCES users (id),
    next         TEXT   NOT NULL,
    expires_at   BIGINT NOT NULL,
    tries        BIGINT NOT NULL
);

-- Where each chain ends, authenticated with a key that is not in the database.
CREATE TABLE audit_heads (
    tenant_id TEXT   PRIMARY KEY REFERENCES tenants (id),
    seq       BIGINT NOT NULL,
    hash      BYTEA  NOT NULL,
    mac       BYTEA  NOT NULL
);
CREATE INDEX audit_by_subject ON audit (tenant_id, subject, seq);
CREATE INDEX audit_by_time ON audit (tenant_id, at);
