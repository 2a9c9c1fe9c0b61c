//! Signatures as sources make them, and checking those of deliveries.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign, verify};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// GitHub's `X-Hub-Signature-256`.
#[must_use]
pub fn github(secret: &[u8], body: &[u8]) -> String {
    format!(
        "sha256={}",
        hex::encode(sign(&Key::new(HMAC_SHA256, secret), body))
    )
}

/// Standard Webhooks' `webhook-signature`; `key` is what stands behind `whsec_`.
#[must_use]
pub fn standard_webhooks(key: &[u8], id: &str, timestamp: u64, body: &[u8]) -> String {
    let mac = sign(
        &Key::new(HMAC_SHA256, key),
        &signed(id, &timestamp.to_string(), body),
    );
    format!("v1,{}", STANDARD.encode(mac))
}

/// Whether one of the signatures in `header` is right.
#[must_use]
pub fn is_standard_webhooks(
    key: &[u8],
    id: &str,
    timestamp: &str,
    body: &[u8],
    header: &str,
) -> bool {
    let key = Key::new(HMAC_SHA256, key);
    let content = signed(id, timestamp, body);
    header.split(' ').any(|one| {
        one.strip_prefix("v1,")
            .and_then(|mac| STANDARD.decode(mac).ok())
            .is_some_and(|mac| verify(&key, &content, &mac).is_ok())
    })
}

fn signed(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    let mut content = format!("{id}.{timestamp}.").into_bytes();
    content.extend_from_slice(body);
    content
}
