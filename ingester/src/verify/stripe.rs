//! Stripe: `Stripe-Signature: t=<seconds>,v1=<hex>[,v1=<hex>…]` over `t.body`. Two `v1` stand there while a
//! secret is rolled; other versions are skipped. A repeat is known by the body's `id`.

use http::HeaderMap;
use serde::Deserialize;

use super::github::hex_tag;
use super::headers::{single, unix_seconds};
use super::key::{Key, TAG};
use super::{Mismatch, Window};

const SIGNATURE: &str = "stripe-signature";

pub(super) fn verify(
    keys: &[Key],
    headers: &HeaderMap,
    body: &[u8],
    window: Window,
) -> Result<(), Mismatch> {
    let header = parse(single(headers, SIGNATURE)?).map_err(|problem| Mismatch::Malformed {
        header: SIGNATURE,
        problem,
    })?;
    window.holds(header.seconds)?;
    let signed = [header.timestamp.as_bytes(), b".", body];
    let matched = keys
        .iter()
        .any(|key| key.made_one_of(&header.signatures, &signed));
    if matched {
        Ok(())
    } else {
        Err(Mismatch::NoMatch)
    }
}

/// The header of a webhook, signed; its id stands in the body.
pub(super) fn signed(key: &Key, now_seconds: i64, body: &[u8]) -> Vec<(&'static str, String)> {
    let timestamp = now_seconds.to_string();
    let signature = hex::encode(key.tag(&[timestamp.as_bytes(), b".", body]));
    vec![(SIGNATURE, format!("t={timestamp},v1={signature}"))]
}

pub(super) fn source_key(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    serde_json::from_slice::<Named>(body)
        .ok()
        .map(|event| event.id)
}

/// What stands in the header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header<'a> {
    /// As it was signed.
    timestamp: &'a str,
    seconds: i64,
    signatures: Vec<[u8; TAG]>,
}

pub(super) fn parse(value: &str) -> Result<Header<'_>, &'static str> {
    let (mut timestamp, mut signatures) = (None, Vec::new());
    for part in value.split(',') {
        match part.trim().split_once('=') {
            Some(("t", _)) if timestamp.is_some() => return Err("has two times"),
            Some(("t", text)) => timestamp = Some(text),
            Some(("v1", text)) => signatures.extend(hex_tag(text)),
            Some(_) => {}
            None => return Err("is not a list of key=value"),
        }
    }
    let timestamp = timestamp.ok_or("has no time (t=)")?;
    let seconds = unix_seconds(timestamp).ok_or("has a time that is no number of seconds")?;
    if signatures.is_empty() {
        return Err("has no signature of version v1");
    }
    Ok(Header {
        timestamp,
        seconds,
        signatures,
    })
}
