//! Who may enrol or recover, judged from facts alone: no clock, no store, no randomness.

use zen_identity::verify_signature;
use zen_proto::codes::RefusalCode;
use zen_proto::enrollment::v1::{RecoverRequest, RedeemRequest};
use zen_proto::ids::PlaneId;
use zen_proto::limits;

use crate::plane::Plane;
use crate::store::StoredBundle;

/// What a redemption is judged by.
pub(super) struct Redemption<'a> {
    pub(super) bundle: Option<&'a StoredBundle>,
    /// The bundle's plane.
    pub(super) plane: Option<&'a Plane>,
    /// The plane's current keys.
    pub(super) current_keys: &'a [[u8; 32]],
    pub(super) asked: &'a RedeemRequest,
    /// The asking key, proven.
    pub(super) key_sha256: &'a [u8; 32],
    /// Unix milliseconds.
    pub(super) now: u64,
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) code: RefusalCode,
    pub(super) detail: String,
    /// The caller has proven to be the plane, or to hold its bundle.
    pub(super) proven: bool,
}

impl Refused {
    /// A refusal of somebody who has proven nothing.
    pub(super) fn new(code: RefusalCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            proven: false,
        }
    }

    fn proven(code: RefusalCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            proven: true,
        }
    }
}

/// What comes of a redemption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The first: sign, and bind the bundle to the key.
    Enrol,
    /// The same key again: this is what it was answered.
    Repeat(String),
    /// Refused, and the plane shall know.
    Refuse(PlaneId, Refused),
    /// Refused, and nobody holds a bundle of ours.
    Unknown(Refused),
}

/// Judges a redemption.
pub(super) fn redemption(facts: &Redemption<'_>) -> Verdict {
    let unknown =
        |detail: &str| Verdict::Unknown(Refused::new(RefusalCode::BundleUnreadable, detail));
    let (Some(bundle), Some(plane)) = (facts.bundle, facts.plane) else {
        return unknown("there is no such bundle");
    };
    if !zen_seal::token_matches(&facts.asked.token, &bundle.token_sha256) {
        return unknown("the token is not the bundle's");
    }
    let refuse = |code, detail: String| Verdict::Refuse(plane.id, Refused::proven(code, detail));
    let named = (
        facts.asked.plane_id.parse().ok(),
        facts.asked.tenant_id.parse().ok(),
    );
    if named != (Some(bundle.plane), Some(bundle.tenant)) {
        return refuse(
            RefusalCode::PlaneMismatch,
            format!("the bundle is for {}", plane.id),
        );
    }
    if plane.is_retired() {
        return refuse(
            RefusalCode::PlaneRetired,
            "the plane was retired".to_owned(),
        );
    }
    // Another key is told so before anything else, lest a wrong clock hide it from the alert.
    let bound = bundle.redeemed.as_ref();
    if bound.is_some_and(|redeemed| redeemed.key_sha256 != *facts.key_sha256) {
        return refuse(
            RefusalCode::BundleAlreadyUsed,
            "another key redeemed it before".to_owned(),
        );
    }
    if let Some(skew) = skew(facts.asked.agent_time_ms, facts.now) {
        return refuse(RefusalCode::ClockSkew, skew);
    }
    if let Some(redeemed) = bound {
        // Whoever lost the plane to a later bundle is not let back in by the earlier one.
        return if facts.current_keys.contains(facts.key_sha256) {
            Verdict::Repeat(redeemed.chain_pem.clone())
        } else {
            let detail = "the plane was enrolled anew with a later bundle".to_owned();
            refuse(RefusalCode::BundleSuperseded, detail)
        };
    }
    if bundle.superseded_at.is_some() {
        return refuse(
            RefusalCode::BundleSuperseded,
            "a newer bundle was issued".to_owned(),
        );
    }
    if facts.now >= bundle.expires_at {
        let late = (facts.now - bundle.expires_at) / 1000;
        return refuse(
            RefusalCode::BundleExpired,
            format!("it expired {late} s ago"),
        );
    }
    Verdict::Enrol
}

/// What a recovery is judged by.
pub(super) struct Recovery<'a> {
    pub(super) plane: Option<&'a Plane>,
    /// The asking key's SubjectPublicKeyInfo, if it is a current one of the plane.
    pub(super) known_spki: Option<&'a [u8]>,
    pub(super) asked: &'a RecoverRequest,
    /// Recoveries between long sessions.
    pub(super) budget: u32,
    /// Unix milliseconds.
    pub(super) now: u64,
}

/// Judges a recovery.
///
/// # Errors
/// Why not.
pub(super) fn recovery(facts: &Recovery<'_>) -> Result<(), Refused> {
    let plane = facts
        .plane
        .ok_or_else(|| Refused::new(RefusalCode::PlaneMismatch, "there is no such plane"))?;
    if plane.is_retired() {
        return Err(Refused::new(
            RefusalCode::PlaneRetired,
            "the plane was retired",
        ));
    }
    let unknown = || Refused::new(RefusalCode::BundleAlreadyUsed, "the key is not the plane's");
    let spki = facts.known_spki.ok_or_else(unknown)?;
    let mut proven = format!("zen recover v1\n{}\n", plane.id).into_bytes();
    proven.extend_from_slice(&facts.asked.agent_time_ms.to_be_bytes());
    if !verify_signature(spki, &proven, &facts.asked.proof) {
        return Err(unknown());
    }
    if let Some(skew) = skew(facts.asked.agent_time_ms, facts.now) {
        return Err(Refused::proven(RefusalCode::ClockSkew, skew));
    }
    if plane.recoveries >= u64::from(facts.budget) {
        let detail = format!(
            "{} recoveries without a session of an hour",
            plane.recoveries
        );
        return Err(Refused::proven(RefusalCode::BundleAlreadyUsed, detail));
    }
    Ok(())
}

/// How far the agent's clock is off, if it is too far.
fn skew(agent_ms: u64, now_ms: u64) -> Option<String> {
    let apart = agent_ms.abs_diff(now_ms);
    let most = zen_chassis::clock::millis(limits::CLOCK_SKEW);
    let direction = if agent_ms > now_ms { "ahead" } else { "behind" };
    (apart > most).then(|| format!("the agent's clock is {} s {direction}", apart / 1000))
}

#[cfg(test)]
#[path = "judge/tests.rs"]
mod tests;
