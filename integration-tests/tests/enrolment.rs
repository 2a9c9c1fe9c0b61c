//! Enrolment cannot be bricked or cheated: real control plane, real agents, real TLS. Every
//! refusal has its stable code and remedy in the agent's log and on `/readyz`; the agent stays up.
#![cfg(test)]

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use zen_agent::Agent;
use zen_chassis::{App, Clock, Stage};
use zen_control_plane::ControlPlane;
use zen_integration_tests::api::Api;
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::ports;
use zen_integration_tests::tools;
use zen_integration_tests::unit::Unit;
use zen_integration_tests::wire::Wire;
use zen_integration_tests::world::{PATIENCE, Seat, write_bundle};
use zen_proto::codes::RefusalCode;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Waits until the agent shows `code` with its remedy on `/readyz` and in its log, and is alive.
async fn refused(agent: &mut Unit, code: RefusalCode) {
    let pending = agent.pending_with(code.code()).await.unwrap();
    assert!(pending.contains(code.remedy()), "no remedy in {pending}");
    let log = agent.log_text();
    assert!(
        log.contains(code.code()) && log.contains(code.remedy()),
        "not in the log: {log}"
    );
    assert!(agent.is_running(), "the agent ended");
}

fn has_identity(folder: &Path) -> bool {
    folder.join("agent/identity.json").exists()
}

fn timeline<'a>(plane: &'a Value, kind: &str) -> Vec<&'a Value> {
    let all = plane["timeline"].as_array().unwrap();
    all.iter().filter(|entry| entry["kind"] == kind).collect()
}

#[tokio::test]
async fn first_use_of_a_bundle_enrols_and_connects() {
    let seat = Seat::start(&[]).await.unwrap();
    let plane = seat.plane("p", "edge").await.unwrap();
    assert_eq!(seat.show(&plane).await.unwrap()["status"], "never_enrolled");
    let folder = seat.dir.path().join("p");
    seat.bundle(&plane, &folder.join("agent/enrollment"))
        .await
        .unwrap();
    let mut agent = seat.agent(&folder).unwrap();
    agent.start().unwrap();
    agent.ready().await.unwrap();
    let seen = seat.status(&plane, "connected").await.unwrap();
    assert_eq!(timeline(&seen, "bundle_redeemed").len(), 1, "{seen}");
    assert!(
        !folder.join("agent/enrollment/bundle.age").exists(),
        "the bundle was left behind"
    );
    assert!(
        !folder.join("agent/enrollment/identity.txt").exists(),
        "its key was left behind"
    );
    assert!(agent.log_text().contains("enrolled"));
    agent.terminate().await.unwrap();
    seat.status(&plane, "not_connected").await.unwrap();
}

#[tokio::test]
async fn an_expired_bundle_is_refused_and_a_new_one_is_picked_up_without_a_restart() {
    let dir = tempfile::Builder::new().prefix("zen").tempdir().unwrap();
    // The server's clock starts three minutes behind, so that five minutes later it is still
    // within the skew that a good agent may have.
    let clock = Clock::manual(Clock::system().unix_ms() - 3 * 60 * 1000);
    let stage = Stage::detached("control-plane")
        .unwrap()
        .with_clock(clock.clone());
    let mut config = zen_control_plane::Config {
        state_dir: dir.path().join("cp"),
        ..zen_control_plane::Config::default()
    };
    config.http.listen = "127.0.0.1:0".parse().unwrap();
    config.agents.listen = "127.0.0.1:0".parse().unwrap();
    let app = ControlPlane::bind(config, &stage).await.unwrap();
    let key = std::fs::read_to_string(app.api_key_file()).unwrap();
    let api = Api::new(format!("http://{}", app.http_address()), key.trim());
    let running = tokio::spawn(app.run(stage.clone()));

    let plane = api
        .post("/v1/planes", &json!({ "name": "p", "kind": "edge" }))
        .await
        .unwrap();
    let bundles = format!("/v1/planes/{}/bundles", plane["id"].as_str().unwrap());
    let issued = api
        .post(&bundles, &json!({ "ttl_seconds": 300 }))
        .await
        .unwrap();
    let folder = dir.path().join("p");
    write_bundle(&issued, &folder.join("agent/enrollment")).unwrap();
    clock.advance(Duration::from_secs(301));
    let mut agent = Unit::new(
        "zen-agent",
        dir.path(),
        vec![
            format!("state_dir={}", folder.join("agent").display()),
            format!("listen=unix:{}", dir.path().join("a.sock").display()),
        ],
    )
    .unwrap();
    agent.start().unwrap();
    refused(&mut agent, RefusalCode::BundleExpired).await;
    let shown = api
        .get(&format!("/v1/planes/{}", plane["id"].as_str().unwrap()))
        .await
        .unwrap();
    assert!(shown.to_string().contains("BUNDLE_EXPIRED"), "{shown}");

    let issued = api.post(&bundles, &json!({})).await.unwrap();
    write_bundle(&issued, &folder.join("agent/enrollment")).unwrap();
    agent.ready().await.unwrap();
    assert!(has_identity(&folder));
    stage.shutdown.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_bundle_used_by_another_key_is_refused_and_shown_on_the_plane() {
    let seat = Seat::start(&[]).await.unwrap();
    let plane = seat.plane("p", "edge").await.unwrap();
    let (first, second) = (
        seat.dir.path().join("first"),
        seat.dir.path().join("second"),
    );
    let issued = seat
        .bundle(&plane, &first.join("agent/enrollment"))
        .await
        .unwrap();
    write_bundle(&issued, &second.join("agent/enrollment")).unwrap();
    let mut honest = seat.agent(&first).unwrap();
    honest.start().unwrap();
    honest.ready().await.unwrap();
    let mut thief = seat.agent(&second).unwrap();
    thief.start().unwrap();
    refused(&mut thief, RefusalCode::BundleAlreadyUsed).await;
    assert!(!has_identity(&second));
    let seen = seat.show(&plane).await.unwrap();
    let alert = seen["alerts"].to_string();
    assert!(
        alert.contains("BUNDLE_ALREADY_USED") && alert.contains("127.0.0.1"),
        "{seen}"
    );
    assert_eq!(
        seen["status"], "connected",
        "the honest agent lost its session: {seen}"
    );
}

#[tokio::test]
async fn the_same_key_gets_the_same_answer_after_a_lost_reply() {
    let near = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let advertise = format!("agents.advertise={}", near.local_addr().unwrap());
    let seat = Seat::start(&[advertise]).await.unwrap();
    let wire = Wire::start(near, seat.agents.address).unwrap();
    let plane = seat.plane("p", "edge").await.unwrap();
    let folder = seat.dir.path().join("p");
    seat.bundle(&plane, &folder.join("agent/enrollment"))
        .await
        .unwrap();
    let mut agent = seat.agent(&folder).unwrap();
    // The reply is cut later and later, until the server has redeemed and the agent knows nothing.
    let mut lost = false;
    for bytes in (1_000..12_000).step_by(100) {
        wire.limit_replies(bytes);
        agent.start().unwrap();
        agent
            .pending_with("CONTROL_PLANE_UNREACHABLE")
            .await
            .unwrap();
        agent.kill().await.unwrap();
        let seen = seat.show(&plane).await.unwrap();
        if !timeline(&seen, "bundle_redeemed").is_empty() {
            assert!(!has_identity(&folder), "the reply was not lost");
            lost = true;
            break;
        }
    }
    assert!(lost, "no cut fell between redemption and reply");
    wire.limit_replies(u64::MAX);
    agent.start().unwrap();
    agent.ready().await.unwrap();
    let seen = seat.status(&plane, "connected").await.unwrap();
    assert!(
        !seen["alerts"].to_string().contains("BUNDLE_ALREADY_USED"),
        "{seen}"
    );
}

#[tokio::test]
async fn an_agent_killed_between_any_two_steps_ends_enrolled_with_one_identity() {
    if !tools::have("strace", "strace").unwrap() {
        return;
    }
    let seat = Seat::start(&[]).await.unwrap();
    // Every call by which a step becomes visible to the disk or to the control plane, each cut at
    // its first time, its second, and so on until the agent gets through.
    let mut deaths = 0;
    for call in [
        "mkdir", "openat", "fsync", "rename", "connect", "writev", "unlink",
    ] {
        for time in 1..=60 {
            let name = format!("{call}-{time}");
            let plane = seat.plane(&name, "edge").await.unwrap();
            let folder = seat.dir.path().join(&name);
            seat.bundle(&plane, &folder.join("agent/enrollment"))
                .await
                .unwrap();
            let mut agent = seat.agent(&folder).unwrap();
            let inject = format!("inject={call}:signal=SIGKILL:when={time}");
            let trace = format!("trace={call}");
            let words = [
                "strace",
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                &trace,
                "-e",
                &inject,
            ];
            agent.run_under(words.map(ToOwned::to_owned).to_vec());
            agent.start().unwrap();
            // Either the call is reached and the agent dies, or it enrols and connects first.
            let survived = tokio::select! {
                ended = agent.ended(PATIENCE) => { ended.unwrap(); false }
                connected = seat.status(&plane, "connected") => { connected.unwrap(); true }
            };
            agent.kill().await.unwrap();
            deaths += u32::from(!survived);
            agent.run_under(Vec::new());
            agent.start().unwrap();
            agent.ready().await.unwrap();
            let seen = seat.status(&plane, "connected").await.unwrap();
            let keys: std::collections::BTreeSet<_> = timeline(&seen, "bundle_redeemed")
                .iter()
                .map(|entry| entry["key_fingerprint"].to_string())
                .collect();
            assert_eq!(keys.len(), 1, "killed at {name}: {seen}");
            assert!(
                seen["alerts"].as_array().unwrap().is_empty(),
                "killed at {name}: {seen}"
            );
            assert!(
                !folder.join("agent/enrollment/identity.txt").exists(),
                "killed at {name}"
            );
            agent.kill().await.unwrap();
            if survived {
                break;
            }
        }
    }
    println!("killed {deaths} times");
    assert!(
        deaths >= 20,
        "only {deaths} calls were cut: the injection does not reach"
    );
}

#[tokio::test]
async fn a_superseded_bundle_is_refused() {
    let seat = Seat::start(&[]).await.unwrap();
    let plane = seat.plane("p", "edge").await.unwrap();
    let folder = seat.dir.path().join("p");
    seat.bundle(&plane, &folder.join("agent/enrollment"))
        .await
        .unwrap();
    let newer = seat.dir.path().join("newer");
    let issued = seat.bundle(&plane, &newer).await.unwrap();
    let mut agent = seat.agent(&folder).unwrap();
    agent.start().unwrap();
    refused(&mut agent, RefusalCode::BundleSuperseded).await;
    write_bundle(&issued, &folder.join("agent/enrollment")).unwrap();
    agent.ready().await.unwrap();
    seat.status(&plane, "connected").await.unwrap();
}

#[tokio::test]
async fn a_bundle_of_another_plane_is_refused() {
    let seat = Seat::start(&[]).await.unwrap();
    let (mine, other) = (
        seat.plane("mine", "edge").await.unwrap(),
        seat.plane("other", "edge").await.unwrap(),
    );
    let folder = seat.dir.path().join("mine");
    seat.bundle(&other, &folder.join("agent/enrollment"))
        .await
        .unwrap();
    let mut agent = seat.agent(&folder).unwrap();
    agent.set("plane_id", &mine);
    agent.start().unwrap();
    refused(&mut agent, RefusalCode::PlaneMismatch).await;
    assert_eq!(seat.show(&other).await.unwrap()["status"], "never_enrolled");
    seat.bundle(&mine, &folder.join("agent/enrollment"))
        .await
        .unwrap();
    agent.ready().await.unwrap();
    seat.status(&mine, "connected").await.unwrap();
}

#[tokio::test]
async fn a_damaged_bundle_or_a_wrong_identity_is_unreadable() {
    let seat = Seat::start(&[]).await.unwrap();
    let plane = seat.plane("p", "edge").await.unwrap();
    let folder = seat.dir.path().join("p");
    let issued = seat
        .bundle(&plane, &folder.join("agent/enrollment"))
        .await
        .unwrap();
    let mut damaged = issued.clone();
    let text = issued["bundle"].as_str().unwrap();
    let middle = text.len() / 2;
    let other = if text.as_bytes()[middle] == b'A' {
        "B"
    } else {
        "A"
    };
    damaged["bundle"] = format!("{}{other}{}", &text[..middle], &text[middle + 1..]).into();
    write_bundle(&damaged, &folder.join("agent/enrollment")).unwrap();
    let mut agent = seat.agent(&folder).unwrap();
    agent.start().unwrap();
    refused(&mut agent, RefusalCode::BundleUnreadable).await;
    let elsewhere = seat.plane("elsewhere", "edge").await.unwrap();
    let foreign = seat
        .bundle(&elsewhere, &seat.dir.path().join("x"))
        .await
        .unwrap();
    let mut mixed = issued.clone();
    mixed["identity"] = foreign["identity"].clone();
    write_bundle(&mixed, &folder.join("agent/enrollment")).unwrap();
    refused(&mut agent, RefusalCode::BundleUnreadable).await;
    write_bundle(&issued, &folder.join("agent/enrollment")).unwrap();
    agent.ready().await.unwrap();
}

#[tokio::test]
async fn a_control_plane_with_another_root_is_not_trusted() {
    let seat = Seat::start(&[]).await.unwrap();
    let plane = seat.plane("p", "edge").await.unwrap();
    let folder = seat.dir.path().join("p");
    seat.bundle(&plane, &folder.join("agent/enrollment"))
        .await
        .unwrap();
    let Seat {
        dir,
        mut control_plane,
        http,
        agents,
        ..
    } = seat;
    control_plane.terminate().await.unwrap();
    let mut impostor = Unit::new(
        "zen-control-plane",
        dir.path(),
        vec![
            format!("state_dir={}", dir.path().join("impostor").display()),
            format!("http.listen={}", http.address),
            format!("agents.listen={}", agents.address),
        ],
    )
    .unwrap();
    impostor.start().unwrap();
    impostor.ready().await.unwrap();
    let mut agent = Unit::new(
        "zen-agent",
        &folder,
        vec![
            format!("state_dir={}", folder.join("agent").display()),
            format!("listen=unix:{}", folder.join("a.sock").display()),
        ],
    )
    .unwrap();
    agent.start().unwrap();
    refused(&mut agent, RefusalCode::ControlPlaneUntrusted).await;
    impostor.terminate().await.unwrap();
    control_plane.start().unwrap();
    agent.ready().await.unwrap();
}

#[tokio::test]
async fn an_agent_waits_for_a_control_plane_that_is_away() {
    let mut seat = Seat::start(&[]).await.unwrap();
    let plane = seat.plane("p", "edge").await.unwrap();
    let folder = seat.dir.path().join("p");
    seat.bundle(&plane, &folder.join("agent/enrollment"))
        .await
        .unwrap();
    seat.control_plane.kill().await.unwrap();
    let mut agent = seat.agent(&folder).unwrap();
    agent.start().unwrap();
    refused(&mut agent, RefusalCode::ControlPlaneUnreachable).await;
    seat.control_plane.start().unwrap();
    agent.ready().await.unwrap();
    seat.status(&plane, "connected").await.unwrap();
}

#[tokio::test]
async fn a_clock_a_day_off_is_named_and_costs_no_bundle() {
    let seat = Seat::start(&[]).await.unwrap();
    for (name, shift) in [("behind", -DAY_MS), ("ahead", DAY_MS)] {
        let plane = seat.plane(name, "edge").await.unwrap();
        let folder = seat.dir.path().join(name);
        seat.bundle(&plane, &folder.join("agent/enrollment"))
            .await
            .unwrap();
        let socket = format!("unix:{}", folder.join("a.sock").display());
        let config = zen_agent::Config {
            state_dir: folder.join("agent"),
            listen: socket.parse().unwrap(),
            ..zen_agent::Config::default()
        };
        let stage = Stage::detached("agent")
            .unwrap()
            .with_clock(Clock::shifted(shift));
        let app = Agent::bind(config, &stage).await.unwrap();
        let running = tokio::spawn(app.run(stage.clone()));
        eventually("the agent names its clock", PATIENCE, || async {
            let pending = stage.ready.pending();
            let told = pending.iter().any(|(_, why)| {
                why.contains("CLOCK_SKEW") && why.contains(RefusalCode::ClockSkew.remedy())
            });
            anyhow::ensure!(told, "{pending:?}");
            Ok(())
        })
        .await
        .unwrap();
        stage.shutdown.cancel();
        running.await.unwrap().unwrap();
        stage.tasks.finish(PATIENCE).await.unwrap();
        // The clock is set right: the same bundle still works.
        let mut agent = seat.agent(&folder).unwrap();
        agent.start().unwrap();
        agent.ready().await.unwrap();
        seat.status(&plane, "connected").await.unwrap();
    }
}

#[tokio::test]
async fn a_retired_plane_stops_and_forgets_its_identity() {
    let seat = Seat::start(&[]).await.unwrap();
    let plane = seat.plane("p", "edge").await.unwrap();
    let folder = seat.dir.path().join("p");
    seat.bundle(&plane, &folder.join("agent/enrollment"))
        .await
        .unwrap();
    let mut agent = seat.agent(&folder).unwrap();
    agent.start().unwrap();
    agent.ready().await.unwrap();
    seat.api
        .delete(&format!("/v1/planes/{plane}"))
        .await
        .unwrap();
    refused(&mut agent, RefusalCode::PlaneRetired).await;
    eventually("the identity is gone", PATIENCE, || async {
        anyhow::ensure!(!has_identity(&folder), "still there");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(seat.show(&plane).await.unwrap()["status"], "retired");
}

#[tokio::test]
async fn a_plane_retired_while_its_agent_connects_is_told_so() {
    let seat = Seat::start(&[]).await.unwrap();
    // Ever later after the redemption: before the session, while it opens, after it.
    for delay_ms in (0..60).step_by(6) {
        let name = format!("p{delay_ms}");
        let plane = seat.plane(&name, "edge").await.unwrap();
        let folder = seat.dir.path().join(&name);
        seat.bundle(&plane, &folder.join("agent/enrollment"))
            .await
            .unwrap();
        let mut agent = seat.agent(&folder).unwrap();
        agent.start().unwrap();
        eventually("the agent has its identity", PATIENCE, || async {
            anyhow::ensure!(has_identity(&folder), "not yet");
            Ok(())
        })
        .await
        .unwrap();
        // The moment of the retirement is what is varied; no state is waited for.
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        seat.api
            .delete(&format!("/v1/planes/{plane}"))
            .await
            .unwrap();
        refused(&mut agent, RefusalCode::PlaneRetired).await;
        agent.kill().await.unwrap();
    }
}

#[tokio::test]
async fn two_agents_on_one_directory_are_told_apart() {
    let port = ports::reserve().unwrap();
    let dir = tempfile::Builder::new().prefix("zen").tempdir().unwrap();
    let settings = vec![
        format!("state_dir={}", dir.path().join("agent").display()),
        format!("listen=unix:{}", dir.path().join("a.sock").display()),
    ];
    let mut first = Unit::new("zen-agent", dir.path(), settings.clone()).unwrap();
    first.start().unwrap();
    first.pending_with("enrollment").await.unwrap();
    let mut second = Unit::new("zen-agent", dir.path(), settings).unwrap();
    second.start().unwrap();
    let status = second.ended(PATIENCE).await.unwrap();
    assert_eq!(status.code(), Some(1), "{}", second.log_text());
    drop(port);
}
