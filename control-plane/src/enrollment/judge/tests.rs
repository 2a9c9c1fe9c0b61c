//! The table of refusals, and what outranks what.

use zen_identity::PrivateKey;
use zen_proto::ids::{Id as _, TenantId};
use zen_seal::Token;

use super::*;
use crate::plane::PlaneKind;
use crate::plane::tests::plane;
use crate::store::bundles::Redeemed;

const NOW: u64 = 1_700_000_000_000;
const KEY: [u8; 32] = [7; 32];

struct Sample {
    bundle: StoredBundle,
    plane: Plane,
    keys: Vec<[u8; 32]>,
    asked: RedeemRequest,
    now: u64,
}

impl Sample {
    fn new() -> Self {
        let token = Token::new([3; 32]);
        let plane = plane(PlaneKind::Edge, 1, None);
        Self {
            bundle: StoredBundle {
                plane: plane.id,
                tenant: plane.tenant,
                token_sha256: token.sha256(),
                expires_at: NOW + 1000,
                superseded_at: None,
                redeemed: None,
            },
            asked: RedeemRequest {
                token: token.expose().to_vec().into(),
                tenant_id: plane.tenant.to_string(),
                plane_id: plane.id.to_string(),
                agent_time_ms: NOW,
                ..RedeemRequest::default()
            },
            plane,
            keys: vec![KEY],
            now: NOW,
        }
    }

    fn redeemed_by(mut self, key: [u8; 32]) -> Self {
        self.bundle.redeemed = Some(Redeemed {
            key_sha256: key,
            chain_pem: "chain".to_owned(),
        });
        self
    }

    fn judge(&self) -> Verdict {
        redemption(&Redemption {
            bundle: Some(&self.bundle),
            plane: Some(&self.plane),
            current_keys: &self.keys,
            asked: &self.asked,
            key_sha256: &KEY,
            now: self.now,
        })
    }

    fn code(&self) -> Option<RefusalCode> {
        match self.judge() {
            Verdict::Refuse(_, refused) | Verdict::Unknown(refused) => Some(refused.code),
            Verdict::Enrol | Verdict::Repeat(_) => None,
        }
    }
}

#[test]
fn the_first_key_in_time_enrols() {
    assert_eq!(Sample::new().judge(), Verdict::Enrol);
}

#[test]
fn each_fault_has_its_code() {
    type Change = fn(&mut Sample);
    let table: [(RefusalCode, Change); 7] = [
        (RefusalCode::BundleUnreadable, |s| {
            s.asked.token = vec![4; 32].into()
        }),
        (RefusalCode::PlaneMismatch, |s| {
            s.asked.plane_id = "pl_x".to_owned()
        }),
        (RefusalCode::PlaneMismatch, |s| {
            s.asked.tenant_id = TenantId::generate(2, [9; 10]).to_string();
        }),
        (RefusalCode::PlaneRetired, |s| s.plane.retired_at = Some(1)),
        (RefusalCode::ClockSkew, |s| {
            s.asked.agent_time_ms = NOW + 301_000
        }),
        (RefusalCode::BundleSuperseded, |s| {
            s.bundle.superseded_at = Some(1)
        }),
        (RefusalCode::BundleExpired, |s| s.bundle.expires_at = NOW),
    ];
    for (code, change) in table {
        let mut sample = Sample::new();
        change(&mut sample);
        assert_eq!(sample.code(), Some(code));
    }
}

#[test]
fn the_same_key_gets_the_same_answer_after_expiry_and_regeneration() {
    let mut sample = Sample::new().redeemed_by(KEY);
    sample.bundle.superseded_at = Some(1);
    sample.bundle.expires_at = 1;
    assert_eq!(sample.judge(), Verdict::Repeat("chain".to_owned()));
}

#[test]
fn another_key_is_named_as_such_whatever_else_is_wrong() {
    let mut sample = Sample::new().redeemed_by([8; 32]);
    sample.bundle.expires_at = 1;
    sample.bundle.superseded_at = Some(1);
    sample.asked.agent_time_ms = 1;
    assert_eq!(sample.code(), Some(RefusalCode::BundleAlreadyUsed));
}

#[test]
fn a_key_that_lost_the_plane_to_a_later_bundle_does_not_come_back() {
    let mut sample = Sample::new().redeemed_by(KEY);
    sample.keys = vec![[9; 32]];
    assert_eq!(sample.code(), Some(RefusalCode::BundleSuperseded));
}

#[test]
fn a_wrong_token_is_nobodys_and_does_not_reach_the_timeline() {
    let mut sample = Sample::new();
    sample.asked.token = vec![].into();
    assert!(matches!(sample.judge(), Verdict::Unknown(_)));
}

fn recover(change: impl FnOnce(&mut Plane, &mut RecoverRequest)) -> Result<(), Refused> {
    let key = PrivateKey::generate().unwrap();
    let mut plane = plane(PlaneKind::Edge, 1, None);
    let mut signed = format!("zen recover v1\n{}\n", plane.id).into_bytes();
    signed.extend_from_slice(&NOW.to_be_bytes());
    let mut asked = RecoverRequest {
        plane_id: plane.id.to_string(),
        agent_time_ms: NOW,
        proof: key.sign(&signed).unwrap().into(),
        ..RecoverRequest::default()
    };
    change(&mut plane, &mut asked);
    let spki = key.spki_der();
    recovery(&Recovery {
        plane: Some(&plane),
        known_spki: Some(&spki),
        asked: &asked,
        budget: 5,
        now: NOW,
    })
}

#[test]
fn a_known_key_recovers_as_often_as_its_budget_allows() {
    assert_eq!(recover(|plane, _| plane.recoveries = 4), Ok(()));
    let spent = recover(|plane, _| plane.recoveries = 5).unwrap_err();
    assert_eq!(
        (spent.code, spent.proven),
        (RefusalCode::BundleAlreadyUsed, true)
    );
}

#[test]
fn a_proof_of_another_time_does_not_hold() {
    let refused = recover(|_, asked| asked.agent_time_ms += 1).unwrap_err();
    assert_eq!(
        (refused.code, refused.proven),
        (RefusalCode::BundleAlreadyUsed, false)
    );
    assert_eq!(
        recover(|p, _| p.retired_at = Some(1)).unwrap_err().code,
        RefusalCode::PlaneRetired
    );
}
