//! What a session brings, what survives without one, and how it comes back.

use std::time::Duration;

use zen_agent::State;
use zen_chassis::Clock;
use zen_proto::agent::v1::WatchRequest;
use zen_proto::codes::RefusalCode;
use zen_proto::session::v1::agent_message::Message as Up;
use zen_proto::session::v1::control_message::Message as Down;
use zen_proto::session::v1::{GoAway, Retired, TrustBundle};
use zen_proto::snapshot::v1::{Endpoint, Snapshot};

use crate::control_plane::ControlPlane;
use crate::rig::{Home, Running, eventually};

pub(crate) fn snapshot(control: &ControlPlane, revision: u64) -> Snapshot {
    Snapshot {
        version: 1,
        revision,
        tenant_id: control.facts().tenant.to_string(),
        plane_id: control.facts().plane.to_string(),
        kind: 1,
        endpoints: vec![Endpoint {
            id: format!("ep-{revision}"),
            ..Endpoint::default()
        }],
        ..Snapshot::default()
    }
}

pub(crate) async fn enrolled(control: &ControlPlane, home: &Home) -> Running {
    home.put(&control.issue());
    let mut agent = home.start().await;
    agent.reaches(State::Connected).await;
    agent
}

async fn revision_served(agent: &Running) -> u64 {
    let hello = WatchRequest {
        component: "ingester".to_owned(),
        instance: "0".to_owned(),
    };
    let mut slices = agent.client().watch(hello).await.unwrap().into_inner();
    let slice = tokio::time::timeout(Duration::from_secs(10), slices.message()).await;
    slice
        .expect("a slice is served")
        .unwrap()
        .unwrap()
        .snapshot
        .unwrap()
        .revision
}

async fn answer_to(control: &ControlPlane, revision: u64) -> Result<(), String> {
    control
        .heard("an answer to the snapshot", |up| match up {
            Up::Applied(applied) if applied.revision == revision => Some(Ok(())),
            Up::Rejected(rejected) if rejected.revision == revision => {
                Some(Err(rejected.code.clone()))
            }
            _ => None,
        })
        .await
}

#[tokio::test]
async fn a_snapshot_is_applied_and_served_without_a_control_plane_after_a_restart() {
    let control = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    let mut agent = enrolled(&control, &home).await;
    control.publish(&snapshot(&control, 3), |_| {}).await;
    assert_eq!(answer_to(&control, 3).await, Ok(()));
    agent.until("applied", |shown| shown.revision == 3).await;
    agent.stop().await;

    control.vanish();
    let mut agent = home.start().await;
    assert_eq!(
        agent.state.borrow().revision,
        3,
        "served from the very start"
    );
    assert_eq!(revision_served(&agent).await, 3);
    agent
        .until("told that nobody answers", |shown| {
            shown.state == State::Connecting && shown.refusal.is_some()
        })
        .await;
    assert!(
        agent.stage.ready.is_ready(),
        "an enrolled plane needs no control plane"
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_tampered_snapshot_is_rejected_and_the_last_good_one_stays() {
    let control = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    let agent = enrolled(&control, &home).await;
    control.publish(&snapshot(&control, 3), |_| {}).await;
    assert_eq!(answer_to(&control, 3).await, Ok(()));
    let evil = control.sign_nothing(&snapshot(&control, 9));
    control
        .publish(&snapshot(&control, 4), |signed| signed.snapshot = evil)
        .await;
    assert_eq!(
        answer_to(&control, 4).await,
        Err("SNAPSHOT_DIGEST".to_owned())
    );
    control
        .publish(&snapshot(&control, 5), |signed| {
            let mut signature = signed.signature.to_vec();
            *signature.last_mut().unwrap() ^= 1;
            signed.signature = signature.into();
        })
        .await;
    assert_eq!(
        answer_to(&control, 5).await,
        Err("SNAPSHOT_SIGNATURE".to_owned())
    );
    assert_eq!(revision_served(&agent).await, 3);
    agent.stop().await;
    let agent = home.start().await;
    assert_eq!(revision_served(&agent).await, 3);
    agent.stop().await;
}

#[tokio::test]
async fn an_older_snapshot_is_stale_and_the_very_same_is_not() {
    let control = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    let agent = enrolled(&control, &home).await;
    for (revision, expected) in [
        (3, Ok(())),
        (2, Err("SNAPSHOT_STALE".to_owned())),
        (3, Ok(())),
    ] {
        control.forget_heard();
        control.publish(&snapshot(&control, revision), |_| {}).await;
        assert_eq!(answer_to(&control, revision).await, expected);
    }
    control.forget_heard();
    let other = Snapshot {
        endpoints: vec![],
        ..snapshot(&control, 3)
    };
    control.publish(&other, |_| {}).await;
    assert_eq!(
        answer_to(&control, 3).await,
        Err("SNAPSHOT_STALE".to_owned())
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_plane_certificate_past_half_its_life_is_renewed_with_a_new_key() {
    let control = ControlPlane::start(Clock::system()).await;
    // Certificates begin five minutes ago: this one is past its half at once.
    control.issue_plane_cas_for(Duration::from_secs(60));
    let home = Home::new();
    home.put(&control.issue());
    let mut agent = home.start().await;
    agent.reaches(State::Connected).await;
    control.issue_plane_cas_for(crate::control_plane::DAY);
    eventually("a second key is in the stored identity", || {
        control.distinct_keys() == 2 && home.leftovers().is_empty()
    })
    .await;
    agent.stop().await;
    let mut agent = home.start().await;
    agent.reaches(State::Connected).await;
    assert_eq!(
        control.distinct_keys(),
        2,
        "the renewed one is good for a while"
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_plane_that_slept_over_its_expiry_recovers_with_its_known_key() {
    let clock = Clock::manual(1_790_000_000_000);
    let control = ControlPlane::start(clock.clone()).await;
    control.issue_plane_cas_for(Duration::from_secs(30 * 60));
    let mut home = Home::new();
    home.clock = clock.clone();
    let agent = enrolled(&control, &home).await;
    agent.stop().await;
    clock.advance(Duration::from_secs(60 * 60));
    control.issue_plane_cas_for(crate::control_plane::DAY);
    let mut agent = home.start().await;
    agent.reaches(State::Connected).await;
    assert_eq!(control.times_recovered(), 1);
    assert!(agent.stage.ready.is_ready());
    agent.stop().await;
}

#[tokio::test]
async fn a_retired_plane_forgets_who_it_was_and_certifies_nobody() {
    let control = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    let mut agent = enrolled(&control, &home).await;
    control.publish(&snapshot(&control, 1), |_| {}).await;
    assert_eq!(answer_to(&control, 1).await, Ok(()));
    control
        .push(Down::Retired(Retired {
            reason: "no longer needed".to_owned(),
        }))
        .await;
    agent.reaches(State::Retired).await;
    agent.shows(RefusalCode::PlaneRetired).await;
    eventually("identity and snapshot are gone", || {
        !home.path("identity.json").exists() && !home.path("snapshot.bin").exists()
    })
    .await;
    let refused = agent
        .client()
        .certify(crate::neighbours::request("egress"))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);

    home.put(&control.issue());
    agent.reaches(State::Connected).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_session_that_is_not_let_in_keeps_the_last_good_snapshot_serving() {
    let control = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    let agent = enrolled(&control, &home).await;
    control.publish(&snapshot(&control, 3), |_| {}).await;
    assert_eq!(answer_to(&control, 3).await, Ok(()));
    agent.stop().await;
    control.refuse_session(Some("PLANE_RETIRED"));
    let mut agent = home.start().await;
    agent
        .reaches(State::Refused(RefusalCode::PlaneRetired))
        .await;
    agent.shows(RefusalCode::PlaneRetired).await;
    assert_eq!(revision_served(&agent).await, 3);
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_that_is_sent_away_comes_back() {
    let control = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    let mut agent = enrolled(&control, &home).await;
    control
        .push(Down::GoAway(GoAway {
            come_back_after_ms: 150,
            reason: "full".to_owned(),
        }))
        .await;
    agent.reaches(State::Connecting).await;
    agent.reaches(State::Connected).await;
    assert_eq!(control.sessions(), 2);
    agent.stop().await;
}

#[tokio::test]
async fn a_trust_bundle_is_stored_and_a_useless_one_is_not() {
    let control = ControlPlane::start(Clock::system()).await;
    let other = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    let agent = enrolled(&control, &home).await;
    let revoked = vec![other.facts().plane.to_string()];
    let (ours, theirs) = (
        control.facts().root.cert_pem(),
        other.facts().root.cert_pem(),
    );
    let useless = TrustBundle {
        roots_pem: theirs.clone(),
        revoked_plane_ids: vec![],
    };
    control.push(Down::TrustBundle(useless)).await;
    let both = TrustBundle {
        roots_pem: format!("{ours}{theirs}"),
        revoked_plane_ids: revoked,
    };
    control.push(Down::TrustBundle(both)).await;
    eventually("the trust bundle is stored", || {
        home.stored_identity().is_some_and(|stored| {
            stored["revoked_plane_ids"][0] == other.facts().plane.to_string()
                && stored["roots_pem"] == format!("{ours}{theirs}")
        })
    })
    .await;
    agent.stop().await;
    let mut agent = home.start().await;
    agent.reaches(State::Connected).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_lost_connection_comes_back_by_itself() {
    let control = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    let mut agent = enrolled(&control, &home).await;
    control.hang_up();
    eventually("a second session", || control.sessions() == 2).await;
    agent.reaches(State::Connected).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_certificate_that_is_not_taken_any_more_is_a_refusal() {
    let control = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    let mut agent = enrolled(&control, &home).await;
    control.revoke();
    control.hang_up();
    agent
        .reaches(State::Refused(RefusalCode::PlaneRetired))
        .await;
    agent.shows(RefusalCode::PlaneRetired).await;
    assert!(
        home.stored_identity().is_some(),
        "it may have been a mistake"
    );
    agent.stop().await;
}
