//! Whether a webhook comes from who holds one of its endpoint's secrets. Pure: raw bytes, headers and
//! the time come in, a verdict goes out. Comparison is in constant time, and no refusal tells what
//! would have been right.

mod github;
mod headers;
mod key;
mod standard_webhooks;
mod stripe;

use std::time::Duration;

use http::HeaderMap;

pub(crate) use key::Key;

/// How an endpoint's sources sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Not at all.
    None,
    /// Standard Webhooks, symmetric (`v1`), with `webhook-` or `svix-` headers.
    StandardWebhooks,
    /// GitHub's `X-Hub-Signature-256`.
    GitHub,
    /// Stripe's `Stripe-Signature`.
    Stripe,
}

/// Why a webhook was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Mismatch {
    /// A header that the scheme needs is not there.
    #[error("the header {0} is missing")]
    MissingHeader(&'static str),
    /// A header is not as the scheme writes it.
    #[error("the header {header} {problem}")]
    Malformed {
        /// Which one.
        header: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The signed time is too far from ours.
    #[error("the signed time is {} s {} this server's clock, more than the {} s allowed",
        off_seconds.unsigned_abs(), if *off_seconds < 0 { "behind" } else { "ahead of" }, tolerance.as_secs())]
    TimestampOutsideWindow {
        /// Signed time minus ours.
        off_seconds: i64,
        /// How far it may be off.
        tolerance: Duration,
    },
    /// None of the secrets made any of the signatures.
    #[error("no signature matches a secret of this endpoint")]
    NoMatch,
}

impl Mismatch {
    /// The stable code of this refusal.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::MissingHeader(_) => "missing_header",
            Self::Malformed { .. } => "malformed",
            Self::TimestampOutsideWindow { .. } => "timestamp_outside_window",
            Self::NoMatch => "no_match",
        }
    }
}

/// One endpoint's scheme with its prepared secrets.
pub(crate) struct Verifier {
    scheme: Scheme,
    keys: Vec<Key>,
    tolerance: Duration,
}

impl Verifier {
    /// A verifier for the secrets, all of them valid; `tolerance` bounds how far a signed time may be off.
    pub(crate) const fn new(scheme: Scheme, keys: Vec<Key>, tolerance: Duration) -> Self {
        Self {
            scheme,
            keys,
            tolerance,
        }
    }

    /// Judges a webhook by its headers, its raw body and the time.
    pub(crate) fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now_seconds: i64,
    ) -> Result<(), Mismatch> {
        let now = Window {
            now_seconds,
            tolerance: self.tolerance,
        };
        match self.scheme {
            Scheme::None => Ok(()),
            Scheme::StandardWebhooks => standard_webhooks::verify(&self.keys, headers, body, now),
            Scheme::GitHub => github::verify(&self.keys, headers, body),
            Scheme::Stripe => stripe::verify(&self.keys, headers, body, now),
        }
    }

    /// The headers that make a webhook of this id and body one of the endpoint's sources: signed
    /// with the first of its secrets. None if the scheme signs and no secret can be had.
    pub(crate) fn sign(
        &self,
        id: &str,
        body: &[u8],
        now_seconds: i64,
    ) -> Option<Vec<(&'static str, String)>> {
        if self.scheme == Scheme::None {
            return Some(Vec::new());
        }
        let key = self.keys.first()?;
        Some(match self.scheme {
            Scheme::None => Vec::new(),
            Scheme::StandardWebhooks => standard_webhooks::signed(key, id, now_seconds, body),
            Scheme::GitHub => github::signed(key, id, body),
            Scheme::Stripe => stripe::signed(key, now_seconds, body),
        })
    }

    /// The source's own id of a verified webhook, by which a repeat is known; none if it has none.
    pub(crate) fn source_key(&self, headers: &HeaderMap, body: &[u8]) -> Option<String> {
        match self.scheme {
            Scheme::None => None,
            Scheme::StandardWebhooks => standard_webhooks::source_key(headers),
            Scheme::GitHub => github::source_key(headers),
            Scheme::Stripe => stripe::source_key(body),
        }
        .filter(|key| !key.is_empty() && key.len() <= LONGEST_SOURCE_KEY)
    }
}

/// Ids of sources beyond this many bytes are no ids.
const LONGEST_SOURCE_KEY: usize = 512;

/// The time, and how far a signed one may be from it.
#[derive(Clone, Copy)]
struct Window {
    now_seconds: i64,
    tolerance: Duration,
}

impl Window {
    fn holds(self, signed_seconds: i64) -> Result<(), Mismatch> {
        let off_seconds = signed_seconds.saturating_sub(self.now_seconds);
        if off_seconds.unsigned_abs() > self.tolerance.as_secs() {
            return Err(Mismatch::TimestampOutsideWindow {
                off_seconds,
                tolerance: self.tolerance,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
