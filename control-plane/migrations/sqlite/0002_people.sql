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
    hash           BLOB   NOT NULL,
    PRIMARY KEY (tenant_id, seq)
);

-- The driver for any database does not know BOOLEAN on SQLite: from now on it is INTEGER there.
ALTER TABLE api_keys ADD COLUMN operator_now INTEGER NOT NULL DEFAULT 0;
UPDATE api_keys SET operator_now = operator;
ALTER TABLE api_keys DROP COLUMN operator;
ALTER TABLE api_keys RENAME COLUMN operator_now TO operator;
ALTER TABLE plane_identities ADD COLUMN current_now INTEGER NOT NULL DEFAULT 0;
UPDATE plane_identities SET current_now = current;
ALTER TABLE plane_identities DROP COLUMN current;
ALTER TABLE plane_identities RENAME COLUMN current_now TO current;
ALTER TABLE plane_events ADD COLUMN alert_now INTEGER NOT NULL DEFAULT 0;
UPDATE plane_events SET alert_now = alert;
ALTER TABLE plane_events DROP COLUMN alert;
ALTER TABLE plane_events RENAME COLUMN alert_now TO alert;
ALTER TABLE flows ADD COLUMN enabled_now INTEGER NOT NULL DEFAULT 0;
UPDATE flows SET enabled_now = enabled;
ALTER TABLE flows DROP COLUMN enabled;
ALTER TABLE flows RENAME COLUMN enabled_now TO enabled;

ALTER TABLE api_keys ADD COLUMN scopes TEXT; -- words with a space between; NULL: all of the role
ALTER TABLE api_keys ADD COLUMN created_by TEXT NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN expires_at BIGINT;
ALTER TABLE api_keys ADD COLUMN last_used_at BIGINT; -- written coarsely
ALTER TABLE api_keys ADD COLUMN revoked_at BIGINT;

ALTER TABLE tenants ADD COLUMN totp_required INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN version BIGINT NOT NULL DEFAULT 1;

CREATE TABLE users (
    id           TEXT    PRIMARY KEY,
    tenant_id    TEXT    NOT NULL REFERENCES tenants (id),
    operator     INTEGER NOT NULL, -- may also manage what belongs to the operator
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
    sha256  BLOB NOT NULL,
    PRIMARY KEY (user_id, sha256)
);

CREATE TABLE sessions (
    id              TEXT    PRIMARY KEY, -- lets nobody in
    user_id         TEXT    NOT NULL REFERENCES users (id),
    token_sha256    BLOB    NOT NULL UNIQUE,
    previous_sha256 BLOB,
    second_step     INTEGER NOT NULL,
    began_at        BIGINT  NOT NULL,
    seen_at         BIGINT  NOT NULL, -- written coarsely
    rotated_at      BIGINT  NOT NULL,
    remote_address  TEXT    NOT NULL,
    browser         TEXT    NOT NULL
);
CREATE INDEX sessions_by_previous ON sessions (previous_sha256);
CREATE INDEX sessions_by_user ON sessions (user_id);

CREATE TABLE sign_in_links (
    token_sha256 BLOB   PRIMARY KEY,
    user_id      TEXT   NOT NULL REFERENCES users (id),
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL
);
CREATE INDEX sign_in_links_by_user ON sign_in_links (user_id);

-- Sign-ins that wait for their second step.
CREATE TABLE sign_in_steps (
    token_sha256 BLOB   PRIMARY KEY,
    user_id      TEXT   NOT NULL REFERENCES users (id),
    next         TEXT   NOT NULL,
    expires_at   BIGINT NOT NULL,
    tries        BIGINT NOT NULL
);

-- Where each chain ends, authenticated with a key that is not in the database.
CREATE TABLE audit_heads (
    tenant_id TEXT   PRIMARY KEY REFERENCES tenants (id),
    seq       BIGINT NOT NULL,
    hash      BLOB   NOT NULL,
    mac       BLOB   NOT NULL
);
CREATE INDEX audit_by_subject ON audit (tenant_id, subject, seq);
CREATE INDEX audit_by_time ON audit (tenant_id, at);
