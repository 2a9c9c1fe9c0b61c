//! From a bundle to a connected plane, and every way to be refused.

use zen_agent::State;
use zen_chassis::Clock;
use zen_proto::codes::RefusalCode;
use zen_proto::ids::{Id as _, PlaneId};

use crate::control_plane::{ControlPlane, DAY, Issued};
use crate::rig::{Home, eventually};

#[tokio::test]
async fn a_plane_enrols_connects_and_leaves_no_bundle_behind() {
    let control = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    let mut agent = home.start().await;
    agent.reaches(State::WaitingForBundle).await;
    assert_eq!(
        agent.stage.ready.pending(),
        [("enrollment".to_owned(), "waiting for a bundle".to_owned())]
    );
    home.put(&control.issue());
    agent.reaches(State::Connected).await;
    assert!(agent.stage.ready.is_ready());
    let shown = agent.state.borrow().clone();
    assert_eq!(shown.plane, Some(control.facts().plane));
    assert_eq!(shown.tenant, Some(control.facts().tenant));
    eventually("the bundle is removed", || home.leftovers().is_empty()).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_lost_reply_is_asked_for_again_with_the_same_key() {
    let control = ControlPlane::start(Clock::system()).await;
    control.lose_replies(3);
    let home = Home::new();
    home.put(&control.issue());
    let mut agent = home.start().await;
    agent.shows(RefusalCode::ControlPlaneUnreachable).await;
    agent.reaches(State::Connected).await;
    assert_eq!(control.times_certified(), 4);
    assert_eq!(control.distinct_keys(), 1);
    agent.stop().await;
}

#[tokio::test]
async fn a_restart_goes_on_with_the_stored_identity() {
    let control = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    home.put(&control.issue());
    let mut agent = home.start().await;
    agent.reaches(State::Connected).await;
    agent.stop().await;
    let mut agent = home.start().await;
    agent.reaches(State::Connected).await;
    assert_eq!(control.times_certified(), 1, "nothing was redeemed again");
    agent.stop().await;
}

#[tokio::test]
async fn every_refusal_of_the_server_is_shown_and_a_new_bundle_leads_out_of_it() {
    let control = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    let mut agent = home.start().await;
    for code in RefusalCode::ALL {
        control.refuse_redeem(Some(code.code()));
        home.put(&control.issue());
        agent.shows(*code).await;
        agent
            .until(code.code(), |shown| shown.state == State::Refused(*code))
            .await;
    }
    control.refuse_redeem(None);
    home.put(&control.issue());
    agent.reaches(State::Connected).await;
    assert!(agent.stage.ready.is_ready());
    agent.stop().await;
}

#[tokio::test]
async fn a_bundle_that_does_not_open_is_unreadable_until_a_good_one_comes() {
    let control = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    let good = control.issue();
    let wrong_key = Issued {
        identity: control.issue().identity,
        bundle: good.bundle.clone(),
        id: good.id,
    };
    home.put(&wrong_key);
    let mut agent = home.start().await;
    agent.shows(RefusalCode::BundleUnreadable).await;

    let damaged = Issued {
        bundle: good.bundle.replace("-----END", "AAAA\n-----END"),
        ..good
    };
    home.put(&damaged);
    agent.shows(RefusalCode::BundleUnreadable).await;
    assert_eq!(control.times_certified(), 0);

    home.put(&control.issue());
    agent.reaches(State::Connected).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_bundle_of_another_plane_is_refused_without_a_call() {
    let control = ControlPlane::start(Clock::system()).await;
    let mut home = Home::new();
    home.config.plane_id = Some(PlaneId::generate(1, [9; 10]));
    home.put(&control.issue());
    let mut agent = home.start().await;
    agent.shows(RefusalCode::PlaneMismatch).await;
    assert_eq!(control.times_certified(), 0);
    agent.stop().await;
}

#[tokio::test]
async fn an_unreachable_control_plane_is_tried_until_it_is_there() {
    let gone = ControlPlane::start(Clock::system()).await;
    gone.vanish();
    let address = gone.facts().address.clone();
    eventually("the port is closed", || {
        std::net::TcpStream::connect(&address).is_err()
    })
    .await;
    let home = Home::new();
    home.put(&gone.issue());
    let mut agent = home.start().await;
    agent.shows(RefusalCode::ControlPlaneUnreachable).await;
    // The operator puts the bundle of one that answers.
    let control = ControlPlane::start(Clock::system()).await;
    home.put(&control.issue());
    agent.reaches(State::Connected).await;
    agent.stop().await;
}

#[tokio::test]
async fn an_impostor_at_the_address_is_untrusted() {
    let control = ControlPlane::start(Clock::system()).await;
    let impostor = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    let address = impostor.facts().address.clone();
    home.put(&control.issue_with(|bundle| bundle.control_plane_address = address));
    let mut agent = home.start().await;
    agent.shows(RefusalCode::ControlPlaneUntrusted).await;
    assert_eq!(impostor.times_certified(), 0);
    agent.stop().await;
}

#[tokio::test]
async fn a_clock_that_is_a_day_off_is_named_either_way() {
    let control = ControlPlane::start(Clock::system()).await;
    let day = i64::try_from(DAY.as_millis()).unwrap();
    for off in [day, -day] {
        let mut home = Home::new();
        home.clock = Clock::shifted(off);
        home.put(&control.issue());
        let mut agent = home.start().await;
        agent.shows(RefusalCode::ClockSkew).await;
        assert_eq!(
            home.leftovers(),
            [
                "enrollment/bundle.age",
                "enrollment/identity.txt",
                "pending.json"
            ]
        );
        agent.stop().await;

        // The clock is set, and the same bundle is good.
        home.clock = Clock::system();
        let mut agent = home.start().await;
        agent.reaches(State::Connected).await;
        agent.stop().await;
    }
}

#[tokio::test]
async fn another_bundle_enrols_anew_and_a_refused_one_costs_nothing() {
    let control = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    let first = control.issue();
    home.put(&first);
    let mut agent = home.start().await;
    agent.reaches(State::Connected).await;
    let before = home.stored_identity();

    control.refuse_redeem(Some("BUNDLE_EXPIRED"));
    home.put(&control.issue());
    agent
        .until("told of the refusal", |shown| {
            shown
                .refusal
                .as_ref()
                .is_some_and(|r| r.code == RefusalCode::BundleExpired)
        })
        .await;
    agent.reaches(State::Connected).await;
    assert_eq!(home.stored_identity(), before, "the old identity stays");

    control.refuse_redeem(None);
    let second = control.issue();
    home.put(&second);
    eventually("the new identity is stored", || {
        home.stored_identity()
            .is_some_and(|s| s["bundle_id"] == second.id.to_string())
    })
    .await;
    agent.reaches(State::Connected).await;
    assert_eq!(control.distinct_keys(), 2);
    eventually("the bundle is removed", || home.leftovers().is_empty()).await;

    // The very same once more is only tidied away.
    home.put(&second);
    eventually("the bundle is removed again", || {
        home.leftovers().is_empty()
    })
    .await;
    agent.reaches(State::Connected).await;
    assert_eq!(control.times_certified(), 2);
    agent.stop().await;
}

#[tokio::test]
async fn the_agents_files_are_its_own() {
    use std::os::unix::fs::PermissionsExt;
    let control = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    let mut agent = home.start().await;
    home.put(&control.issue());
    agent.reaches(State::Connected).await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&home.path("identity.json")) & 0o777, 0o600);
    assert_eq!(mode(&home.path("")) & 0o777, 0o700);
    assert_eq!(mode(agent.socket()) & 0o777, 0o600);
    agent.stop().await;
}
