//! Sessions over real mutual TLS: configuration down, status up, questions through, and every way
//! to end.

use std::time::Duration;

use super::common::{Agent, PATIENCE, Running, agent, clock, component, config, text};
use serde_json::json;
use zen_identity::PrivateKey;
use zen_proto::query::v1::{
    Attempt, DeliveryPage, DeliveryRecord, DeliveryStatus, QueryError, answer, query,
};
use zen_proto::session::v1::{
    FlowCounters, PlaneCaRequest, Rejected, agent_message, control_message,
};

#[tokio::test]
async fn a_change_reaches_the_plane_as_a_signed_snapshot_and_nothing_comes_twice() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let by = running.enrol(&plane).await;
    let mut talk = by.connect(0).await.unwrap();
    let first = talk.snapshot(&by).await;
    assert_eq!((first.revision, first.endpoints.len()), (1, 0));
    let body = json!({
        "plane_id": plane, "name": "github",
        "verification": {"scheme": "github", "secrets": ["file:github"]},
    });
    let endpoint = running.create("/v1/endpoints", body).await;
    let second = talk.snapshot(&by).await;
    assert_eq!(second.revision, 2);
    assert_eq!(second.endpoints[0].id, text(&endpoint, "id"));
    assert_eq!(
        second.endpoints[0].verification.as_ref().unwrap().secrets,
        ["file:github"]
    );
    let path = format!("/v1/planes/{plane}");
    running
        .wait(&path, |shown| shown["applied_revision"] == 2)
        .await;
    // An agent that has it already gets none: the next snapshot it sees is the next change.
    let mut again = by.connect(2).await.unwrap();
    let path = format!("/v1/endpoints/{}", text(&endpoint, "id"));
    assert_eq!(running.call("DELETE", &path, None).await.0, 204);
    let third = again.snapshot(&by).await;
    assert_eq!((third.revision, third.endpoints[0].removed), (3, true));
    running.stop().await;
}

#[tokio::test]
async fn heartbeats_make_the_status_and_silence_unmakes_it() {
    let folder = tempfile::tempdir().unwrap();
    let settings = zen_control_plane::Config {
        heartbeat_interval: Duration::from_millis(100),
        heartbeat_lost: Duration::from_millis(1500),
        ..config(folder.path())
    };
    let running = Running::start_with(settings, clock()).await;
    let plane = running.plane("edge", "edge").await;
    let path = format!("/v1/planes/{plane}");
    assert_eq!(running.get(&path).await["status"], "never_enrolled");
    let by = running.enrol(&plane).await;
    assert_eq!(running.get(&path).await["status"], "not_connected");
    let mut talk = by.connect(0).await.unwrap();
    let welcome = talk.next().await.unwrap();
    let control_message::Message::Welcome(welcome) = welcome else {
        panic!("{welcome:?}")
    };
    assert_eq!(welcome.heartbeat_interval_ms, 100);
    let mut sick = component("egress", "");
    sick.ready = false;
    sick.pending = vec!["ledger: disk full".to_owned()];
    talk.heartbeat(&by, vec![sick]).await;
    let shown = running
        .wait(&path, |shown| shown["status"] == "degraded")
        .await;
    assert!(
        text(&shown, "status_detail").contains("disk full"),
        "{shown}"
    );
    talk.heartbeat(&by, vec![component("egress", "")]).await;
    let shown = running
        .wait(&path, |shown| shown["status"] == "connected")
        .await;
    assert_eq!(shown["agent_version"], "0.0.0-test");
    assert_eq!(shown["components"][0]["component"], "egress");
    // What is live is seen at once, the timeline once it is written.
    let told = |shown: &serde_json::Value| {
        let timeline = shown["timeline"].as_array().unwrap();
        let has = |kind: &str| timeline.iter().any(|event| event["kind"] == kind);
        has("connected") && has("first_heartbeat")
    };
    running.wait(&path, told).await;
    let shown = running
        .wait(&path, |shown| shown["status"] == "not_connected")
        .await;
    assert!(shown["last_heartbeat_at"].is_string());
    while talk.next().await.is_some() {}
    running.stop().await;
}

#[tokio::test]
async fn a_rejected_snapshot_degrades_the_plane_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let by = running.enrol(&plane).await;
    let mut talk = by.connect(0).await.unwrap();
    let revision = talk.snapshot(&by).await.revision;
    let rejected = Rejected {
        revision,
        code: "DIGEST".to_owned(),
        detail: "does not match".to_owned(),
    };
    talk.say
        .send(agent(agent_message::Message::Rejected(rejected)))
        .await
        .unwrap();
    let path = format!("/v1/planes/{plane}");
    let shown = running
        .wait(&path, |shown| shown["status"] == "degraded")
        .await;
    assert!(text(&shown, "status_detail").contains("DIGEST"), "{shown}");
    assert_eq!(
        shown["timeline"].as_array().unwrap().last().unwrap()["code"],
        "DIGEST"
    );
    running.stop().await;
}

#[tokio::test]
async fn retiring_ends_the_session_and_whoever_comes_back_hears_it() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let by = running.enrol(&plane).await;
    let mut talk = by.connect(0).await.unwrap();
    talk.snapshot(&by).await;
    assert_eq!(
        running
            .call("DELETE", &format!("/v1/planes/{plane}"), None)
            .await
            .0,
        204
    );
    let retired = |message| matches!(message, control_message::Message::Retired(_)).then_some(());
    talk.until(retired).await;
    assert!(talk.next().await.is_none());
    let mut later = by.connect(1).await.unwrap();
    later.until(retired).await;
    assert!(later.next().await.is_none());
    running.stop().await;
}

#[tokio::test]
async fn a_newer_session_takes_the_place_of_the_older() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let by = running.enrol(&plane).await;
    let mut older = by.connect(0).await.unwrap();
    older.snapshot(&by).await;
    let mut newer = by.connect(0).await.unwrap();
    newer.snapshot(&by).await;
    let gone = older.until(|message| match message {
        control_message::Message::GoAway(go_away) => Some(go_away),
        _ => None,
    });
    assert!(gone.await.reason.contains("newer session"));
    assert_eq!(
        running.get(&format!("/v1/planes/{plane}")).await["status"],
        "connected"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_stopping_control_plane_says_when_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let by = running.enrol(&plane).await;
    let mut talk = by.connect(0).await.unwrap();
    talk.snapshot(&by).await;
    let stopping = tokio::spawn(running.stop());
    let go_away = talk
        .until(|message| match message {
            control_message::Message::GoAway(go_away) => Some(go_away),
            _ => None,
        })
        .await;
    assert!(
        (200..=1200).contains(&go_away.come_back_after_ms),
        "{go_away:?}"
    );
    drop(talk);
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_session_wants_an_agents_certificate_of_the_current_key() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let former = running.enrol(&plane).await;
    let current = running.enrol(&plane).await;
    let refused = former.connect(0).await.err().unwrap();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused:?}");
    current.connect(0).await.unwrap().snapshot(&current).await;
    let bundle = running.bundle(&plane).await;
    let nobody = Agent::new(&bundle, running.clock.clone());
    let refused = nobody.connect(0).await.err().unwrap();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{refused:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_plane_ca_is_renewed_for_a_new_key_which_may_then_open_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let mut by = running.enrol(&plane).await;
    let mut talk = by.connect(0).await.unwrap();
    let plane_ca = |message| match message {
        control_message::Message::PlaneCa(answer) => Some(answer),
        _ => None,
    };
    let garbage = PlaneCaRequest {
        csr: vec![1].into(),
    };
    talk.say
        .send(agent(agent_message::Message::PlaneCaRequest(garbage)))
        .await
        .unwrap();
    let refused = talk.until(plane_ca).await;
    assert!(
        refused.chain.is_empty() && refused.refusal.starts_with("CSR_INVALID"),
        "{refused:?}"
    );
    let key = PrivateKey::generate().unwrap();
    let csr = key.csr("plane").unwrap().into();
    let ask = agent_message::Message::PlaneCaRequest(PlaneCaRequest { csr });
    talk.say.send(agent(ask)).await.unwrap();
    let renewed = talk.until(plane_ca).await;
    assert_eq!(renewed.refusal, "");
    by.key = key;
    by.settle(&zen_proto::enrollment::v1::Enrolled {
        plane_ca_chain: renewed.chain,
        ..Default::default()
    });
    by.connect(0).await.unwrap().snapshot(&by).await;
    running.stop().await;
}

#[tokio::test]
async fn a_bridge_that_appears_reaches_the_edge_planes_and_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock();
    let running = Running::start_with(config(folder.path()), clock.clone()).await;
    let data = running.plane("data", "data").await;
    let edge = running
        .create("/v1/planes", json!({"name": "edge", "kind": "edge"}))
        .await;
    assert_eq!(text(&edge, "data_plane_id"), data);
    let edge = text(&edge, "id");
    let by_data = running.enrol(&data).await;
    let by_edge = running.enrol(&edge).await;
    let mut talk_data = by_data.connect(0).await.unwrap();
    let mut talk_edge = by_edge.connect(0).await.unwrap();
    let told = talk_data.snapshot(&by_data).await;
    let served = |id: &str| told.served_planes.iter().any(|plane| plane.plane_id == id);
    assert!(served(&edge) && served(&data), "{told:?}");
    assert!(talk_edge.snapshot(&by_edge).await.bridges.is_empty());
    let said = vec![
        component("bridge", "bridge.example:7443"),
        component("ingester", "https://in.example"),
    ];
    talk_data.heartbeat(&by_data, said).await;
    let told = talk_edge.snapshot(&by_edge).await;
    assert_eq!(told.bridges[0].address, "bridge.example:7443");
    let id = format!("/tenant/{}/plane/{data}/bridge", running.operator_tenant);
    assert!(told.bridges[0].spiffe_id.ends_with(&id), "{told:?}");
    let body = json!({"plane_id": data, "name": "in", "verification": {"scheme": "none"}});
    let endpoint = running.create("/v1/endpoints", body).await;
    let url = format!("https://in.example/hooks/{}", text(&endpoint, "id"));
    assert_eq!(text(&endpoint, "url"), url);
    let before = running.get(&format!("/v1/planes/{edge}")).await;
    drop((talk_data, talk_edge));
    running.stop().await;

    let running = Running::start_with(config(folder.path()), clock).await;
    let path = format!("/v1/endpoints/{}", text(&endpoint, "id"));
    assert_eq!(text(&running.get(&path).await, "url"), url);
    let after = running.get(&format!("/v1/planes/{edge}")).await;
    assert_eq!(after["published_revision"], before["published_revision"]);
    let mut by_edge = by_edge;
    by_edge.address = running.agents.to_string();
    let told = by_edge.connect(0).await.unwrap().snapshot(&by_edge).await;
    assert_eq!(told.bridges[0].address, "bridge.example:7443");
    running.stop().await;
}

#[tokio::test]
async fn counters_are_added_up_over_restarts_of_a_component() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let by = running.enrol(&plane).await;
    let talk = by.connect(0).await.unwrap();
    let flow_id = format!("flw_{}", "0".repeat(26));
    let said = |boot_id: &str, delivered| {
        let mut egress = component("egress", "");
        egress.boot_id = boot_id.to_owned();
        let flow_id = flow_id.clone();
        egress.counters = vec![FlowCounters {
            flow_id,
            delivered,
            ..FlowCounters::default()
        }];
        egress
    };
    let path = format!("/v1/planes/{plane}");
    for (boot_id, delivered, total) in [("a", 5, 5), ("a", 7, 7), ("b", 2, 9), ("c", 1, 10)] {
        talk.heartbeat(&by, vec![said(boot_id, delivered)]).await;
        let holds = |shown: &serde_json::Value| shown["counters"][0]["delivered"] == total;
        running.wait(&path, holds).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn deliveries_are_asked_of_the_plane_for_the_callers_tenant_only() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let path = format!("/v1/deliveries?plane_id={plane}&status=dead_letter&limit=7");
    let (status, problem) = running.call("GET", &path, None).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("PLANE_NOT_CONNECTED"))
    );
    let by = running.enrol(&plane).await;
    let mut talk = by.connect(0).await.unwrap();
    talk.snapshot(&by).await;
    let (answered, ()) = tokio::join!(running.call("GET", &path, None), async {
        let query = talk.question().await;
        let Some(query::Question::ListDeliveries(asked)) = query.question else {
            panic!()
        };
        assert_eq!(asked.tenant_id, running.default_tenant);
        assert_eq!(
            (asked.limit, asked.status()),
            (7, DeliveryStatus::DeadLetter)
        );
        let attempt = Attempt {
            number: 1,
            status: 500,
            code: "X".to_owned(),
            ..Default::default()
        };
        let record = DeliveryRecord {
            delivery_id: "dlv_1".to_owned(),
            status: DeliveryStatus::DeadLetter.into(),
            accepted_at_ms: 1_700_000_000_000,
            attempts: 1,
            history: vec![attempt],
            ..Default::default()
        };
        let page = DeliveryPage {
            deliveries: vec![record],
            next_cursor: "next".to_owned(),
        };
        talk.answer(query.query_id, answer::Answer::Deliveries(page))
            .await;
    });
    let (status, listed) = answered;
    assert_eq!(
        (status, text(&listed, "next_cursor").as_str()),
        (200, "next"),
        "{listed}"
    );
    let item = &listed["items"][0];
    assert_eq!(
        (text(item, "id").as_str(), text(item, "status").as_str()),
        ("dlv_1", "dead_letter")
    );
    assert_eq!(text(item, "accepted_at"), "2023-11-14T22:13:20Z");
    assert_eq!(
        (
            item["history"][0]["status"].as_u64(),
            item["attempts"].as_u64()
        ),
        (Some(500), Some(1))
    );
    running.stop().await;
}

#[tokio::test]
async fn a_plane_that_cannot_or_does_not_answer_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let settings = zen_control_plane::Config {
        query_timeout: Duration::from_millis(400),
        ..config(folder.path())
    };
    let running = Running::start_with(settings, clock()).await;
    let plane = running.plane("edge", "edge").await;
    let by = running.enrol(&plane).await;
    let mut talk = by.connect(0).await.unwrap();
    talk.snapshot(&by).await;
    let path = format!("/v1/dead-letters?plane_id={plane}");
    let (answered, ()) = tokio::join!(running.call("GET", &path, None), async {
        let query = talk.question().await;
        let error = QueryError {
            code: "COMPONENT_ABSENT".to_owned(),
            detail: "none".to_owned(),
        };
        talk.answer(query.query_id, answer::Answer::Error(error))
            .await;
    });
    assert_eq!(
        (answered.0, answered.1["code"].as_str()),
        (503, Some("COMPONENT_ABSENT"))
    );
    let (status, problem) = running.call("GET", &path, None).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (504, Some("QUERY_TIMEOUT"))
    );
    running.stop().await;
}

#[tokio::test]
async fn an_agent_ahead_of_a_restored_store_gets_a_revision_beyond_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let by = running.enrol(&plane).await;
    let mut talk = by.connect(41).await.unwrap();
    let told = tokio::time::timeout(PATIENCE, talk.snapshot(&by))
        .await
        .unwrap();
    assert_eq!(told.revision, 42);
    running.stop().await;
}
