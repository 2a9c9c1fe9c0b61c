//! GitHub: `X-Hub-Signature-256: sha256=<hex>` over the body. No time is signed; repeats are known by
//! `X-GitHub-Delivery`, which a redelivery keeps.

use http::HeaderMap;

use super::Mismatch;
use super::headers::single;
use super::key::{Key, TAG};

const SIGNATURE: &str = "x-hub-signature-256";
const DELIVERY: &str = "x-github-delivery";

pub(super) fn verify(keys: &[Key], headers: &HeaderMap, body: &[u8]) -> Result<(), Mismatch> {
    let signature = parse(single(headers, SIGNATURE)?).ok_or(Mismatch::Malformed {
        header: SIGNATURE,
        problem: "is not sha256= and 64 hexadecimal digits",
    })?;
    let matched = keys
        .iter()
        .any(|key| key.made_one_of(&[signature], &[body]));
    if matched {
        Ok(())
    } else {
        Err(Mismatch::NoMatch)
    }
}

/// The headers of a webhook of this id, signed.
pub(super) fn signed(key: &Key, id: &str, body: &[u8]) -> Vec<(&'static str, String)> {
    let signature = hex::encode(key.tag(&[body]));
    vec![
        (SIGNATURE, format!("sha256={signature}")),
        (DELIVERY, id.to_owned()),
        ("x-github-event", "ping".to_owned()),
    ]
}

pub(super) fn source_key(headers: &HeaderMap) -> Option<String> {
    single(headers, DELIVERY).ok().map(ToOwned::to_owned)
}

pub(super) fn parse(value: &str) -> Option<[u8; TAG]> {
    hex_tag(value.strip_prefix("sha256=")?)
}

/// An HMAC-SHA256 in hexadecimal.
pub(super) fn hex_tag(text: &str) -> Option<[u8; TAG]> {
    let mut tag = [0; TAG];
    hex::decode_to_slice(text, &mut tag).ok().map(|()| tag)
}
