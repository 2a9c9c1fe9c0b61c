//! SHA-256, and how a hash is shown to people.

use aws_lc_rs::digest::{SHA256, digest};

/// SHA-256 of the bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// A key's hash as people compare it: `sha256:` and 64 hex digits.
pub(crate) fn fingerprint(key_sha256: &[u8; 32]) -> String {
    format!("sha256:{}", hex::encode(key_sha256))
}
