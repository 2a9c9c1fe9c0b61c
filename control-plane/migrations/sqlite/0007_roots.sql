-- Rotation of the root: stages of roots, and what each plane last said of the roots it has.

-- announced (trusted, signs nothing), signing (one), retiring (trusted, signed before).
ALTER TABLE roots ADD COLUMN stage TEXT NOT NULL DEFAULT 'signing';

CREATE TABLE plane_roots (
    plane_id TEXT   PRIMARY KEY REFERENCES planes (id),
    held     TEXT   NOT NULL, -- SHA-256 in hex, spaces between: what all of its components trust
    used     TEXT   NOT NULL, -- the same: what certificates of its components lead to
    at       BIGINT NOT NULL
);
