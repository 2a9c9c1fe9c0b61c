//! Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature` (or the older `svix-` names);
//! the signature is a list of `v1,<base64>` over `id.timestamp.body`, other versions are skipped.

use base64::Engine as _;
use http::HeaderMap;

use super::headers::{single, unix_seconds};
use super::key::{BASE64, Key, TAG};
use super::{Mismatch, Window};

/// The names of the three headers.
struct Names {
    id: &'static str,
    timestamp: &'static str,
    signature: &'static str,
}

const STANDARD: Names = Names {
    id: "webhook-id",
    timestamp: "webhook-timestamp",
    signature: "webhook-signature",
};
const SVIX: Names = Names {
    id: "svix-id",
    timestamp: "svix-timestamp",
    signature: "svix-signature",
};

/// The standard's names, unless only the older ones are there.
fn names(headers: &HeaderMap) -> &'static Names {
    let older = !headers.contains_key(STANDARD.id) && headers.contains_key(SVIX.id);
    if older { &SVIX } else { &STANDARD }
}

pub(super) fn verify(
    keys: &[Key],
    headers: &HeaderMap,
    body: &[u8],
    window: Window,
) -> Result<(), Mismatch> {
    let names = names(headers);
    let id = single(headers, names.id)?;
    let timestamp = single(headers, names.timestamp)?;
    let signatures = parse(single(headers, names.signature)?).ok_or(Mismatch::Malformed {
        header: names.signature,
        problem: "has no signature of version v1",
    })?;
    let seconds = unix_seconds(timestamp).ok_or(Mismatch::Malformed {
        header: names.timestamp,
        problem: "is no number of seconds",
    })?;
    window.holds(seconds)?;
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let matched = keys.iter().any(|key| key.made_one_of(&signatures, &signed));
    if matched {
        Ok(())
    } else {
        Err(Mismatch::NoMatch)
    }
}

/// The headers of a webhook of this id, signed.
pub(super) fn signed(
    key: &Key,
    id: &str,
    now_seconds: i64,
    body: &[u8],
) -> Vec<(&'static str, String)> {
    let timestamp = now_seconds.to_string();
    let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    let signature = BASE64.encode(key.tag(&parts));
    vec![
        (STANDARD.id, id.to_owned()),
        (STANDARD.timestamp, timestamp),
        (STANDARD.signature, format!("v1,{signature}")),
    ]
}

pub(super) fn source_key(headers: &HeaderMap) -> Option<String> {
    single(headers, names(headers).id)
        .ok()
        .map(ToOwned::to_owned)
}

/// The signatures of version v1, at least one.
pub(super) fn parse(value: &str) -> Option<Vec<[u8; TAG]>> {
    let signatures: Vec<_> = value
        .split(' ')
        .filter_map(|part| part.strip_prefix("v1,"))
        .filter_map(|text| BASE64.decode(text).ok()?.try_into().ok())
        .collect();
    (!signatures.is_empty()).then_some(signatures)
}
