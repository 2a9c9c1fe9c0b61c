//! What is asked of a live plane while somebody waits: one delivery, replays, trials, probes; and
//! what its heartbeat says of targets.

use serde_json::{Value, json};
use zen_proto::query::v1::{
    DeliveryRecord, Hop, Pong, Probed, QueryError, Replayed, TestAccepted, TestCalled, answer,
    query,
};
use zen_proto::session::v1::{
    ComponentStatus, FlowCounters, LinkHealth, TargetHealth, TargetState,
};

use super::common::{Agent, Running, Talk, component, text};

/// A connected plane.
async fn connected(running: &Running) -> (String, Agent, Talk) {
    let plane = running.plane("edge", "edge").await;
    let by = running.enrol(&plane).await;
    let mut talk = by.connect(0).await.unwrap();
    talk.snapshot(&by).await;
    (plane, by, talk)
}

async fn target(running: &Running, plane: &str) -> String {
    let body = json!({"plane_id": plane, "name": "billing", "url": "http://billing.internal/"});
    text(&running.create("/v1/targets", body).await, "id")
}

/// Calls, and answers the plane's next question by `make`.
async fn asked(
    running: &Running,
    talk: &mut Talk,
    call: (&str, &str, Option<Value>),
    make: impl FnOnce(query::Question) -> answer::Answer,
) -> (u16, Value) {
    let (method, path, body) = call;
    let (answered, ()) = tokio::join!(running.call(method, path, body), async {
        let query = talk.question().await;
        let answer = make(query.question.unwrap());
        talk.answer(query.query_id, answer).await;
    });
    answered
}

#[tokio::test]
async fn one_delivery_is_asked_of_the_plane_for_the_callers_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let (plane, _by, mut talk) = connected(&running).await;
    let id = "dlv_00000000000000000000000001";
    let path = format!("/v1/deliveries/{id}?plane_id={plane}");
    let (status, shown) = asked(&running, &mut talk, ("GET", &path, None), |question| {
        let query::Question::GetDelivery(asked) = question else {
            panic!("{question:?}")
        };
        assert_eq!(asked.tenant_id, running.default_tenant);
        answer::Answer::Delivery(DeliveryRecord {
            delivery_id: asked.delivery_id,
            replays: 2,
            replayed_at_ms: 1_700_000_000_000,
            ..DeliveryRecord::default()
        })
    })
    .await;
    assert_eq!((status, text(&shown, "id").as_str()), (200, id), "{shown}");
    assert_eq!(shown["replays"], 2);
    assert_eq!(text(&shown, "replayed_at"), "2023-11-14T22:13:20Z");
    let unknown = asked(&running, &mut talk, ("GET", &path, None), |_| {
        answer::Answer::Error(QueryError {
            code: "DELIVERY_UNKNOWN".to_owned(),
            detail: "none".to_owned(),
        })
    })
    .await;
    assert_eq!(
        (unknown.0, text(&unknown.1, "code").as_str()),
        (404, "NOT_FOUND")
    );
    let unasked = running
        .call("GET", &format!("/v1/deliveries/{id}"), None)
        .await;
    assert_eq!(unasked.0, 400);
    assert_eq!(
        running.call("GET", "/v1/deliveries/nonsense", None).await.0,
        404
    );
    running.stop().await;
}

#[tokio::test]
async fn a_replay_goes_on_batch_by_batch_and_tells_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let (plane, _by, mut talk) = connected(&running).await;
    let body = json!({"plane_id": plane, "rate_per_second": 7,
        "filter": {"code": "RETRIES_EXHAUSTED", "dead_since": "2023-11-14T22:13:20Z"}});
    let (answered, ()) = tokio::join!(running.call("POST", "/v1/replays", Some(body)), async {
        for (cursor, matched, replayed, remaining, next) in
            [("", 700, 500, 200, "more"), ("more", 200, 200, 0, "")]
        {
            let query = talk.question().await;
            let Some(query::Question::Replay(asked)) = query.question else {
                panic!()
            };
            assert_eq!(asked.tenant_id, running.default_tenant);
            assert_eq!((asked.cursor.as_str(), asked.rate_per_second), (cursor, 7));
            let filter = asked.filter.unwrap();
            assert_eq!(filter.code, "RETRIES_EXHAUSTED");
            assert_eq!(filter.dead_since_ms, 1_700_000_000_000);
            let replayed = Replayed {
                matched,
                replayed,
                remaining,
                next_cursor: next.to_owned(),
            };
            talk.answer(query.query_id, answer::Answer::Replayed(replayed))
                .await;
        }
    });
    let whole = json!({"matched": 700, "replayed": 700, "remaining": 0, "dry_run": false});
    assert_eq!(answered, (200, whole));
    running.stop().await;
}

#[tokio::test]
async fn a_dry_run_asks_once_and_what_makes_no_sense_is_refused_by_field() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let (plane, _by, mut talk) = connected(&running).await;
    let body = json!({"plane_id": plane, "filter": {}, "dry_run": true});
    let counted = asked(
        &running,
        &mut talk,
        ("POST", "/v1/replays", Some(body)),
        |question| {
            let query::Question::Replay(asked) = question else {
                panic!("{question:?}")
            };
            assert!(asked.dry_run && asked.filter.is_some());
            answer::Answer::Replayed(Replayed {
                matched: 3,
                remaining: 3,
                ..Replayed::default()
            })
        },
    )
    .await;
    let whole = json!({"matched": 3, "replayed": 0, "remaining": 3, "dry_run": true});
    assert_eq!(counted, (200, whole));
    for (change, field) in [
        (json!({}), "filter"),
        (
            json!({"filter": {}, "delivery_ids": ["dlv_00000000000000000000000001"]}),
            "filter",
        ),
        (json!({"delivery_ids": ["nonsense"]}), "delivery_ids.0"),
        (
            json!({"filter": {}, "rate_per_second": 0}),
            "rate_per_second",
        ),
        (
            json!({"filter": {}, "rate_per_second": 1001}),
            "rate_per_second",
        ),
        (
            json!({"filter": {"dead_until": "yesterday"}}),
            "filter.dead_until",
        ),
        (json!({"filter": {"everything": true}}), "filter.everything"),
    ] {
        let mut body = change.clone();
        body["plane_id"] = json!(plane);
        let (status, problem) = running.call("POST", "/v1/replays", Some(body)).await;
        assert_eq!(status, 422, "{change}: {problem}");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_target_and_an_endpoint_are_tried_by_their_plane() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let (plane, by, mut talk) = connected(&running).await;
    let target = target(&running, &plane).await;
    talk.snapshot(&by).await;
    let path = format!("/v1/targets/{target}/test");
    let (status, shown) = asked(&running, &mut talk, ("POST", &path, None), |question| {
        let query::Question::TestCall(asked) = question else {
            panic!("{question:?}")
        };
        assert_eq!(
            (&asked.target_id, &asked.tenant_id),
            (&target, &running.default_tenant)
        );
        answer::Answer::TestCalled(TestCalled {
            status: 503,
            code: "TARGET_ERROR".to_owned(),
            duration_ms: 12,
            remote_address: "10.0.0.1:80".to_owned(),
            ..TestCalled::default()
        })
    })
    .await;
    assert_eq!(
        (status, shown["status"].as_u64()),
        (200, Some(503)),
        "{shown}"
    );
    assert_eq!(text(&shown, "code"), "TARGET_ERROR");

    let body = json!({"plane_id": plane, "name": "shop", "verification": {"scheme": "none"}});
    let endpoint = text(&running.create("/v1/endpoints", body).await, "id");
    let path = format!("/v1/endpoints/{endpoint}/test");
    let (status, shown) = asked(&running, &mut talk, ("POST", &path, None), |question| {
        let query::Question::TestEvent(asked) = question else {
            panic!("{question:?}")
        };
        assert_eq!(asked.endpoint_id, endpoint);
        answer::Answer::TestAccepted(TestAccepted {
            event_id: "evt_1".to_owned(),
            ..TestAccepted::default()
        })
    })
    .await;
    assert_eq!((status, text(&shown, "event_id").as_str()), (200, "evt_1"));
    running.stop().await;
}

#[tokio::test]
async fn a_probe_begins_with_the_way_to_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let (plane, _by, mut talk) = connected(&running).await;
    let path = format!("/v1/planes/{plane}/probe");
    let (answered, ()) = tokio::join!(running.call("POST", &path, None), async {
        let ping = talk.question().await;
        assert!(matches!(ping.question, Some(query::Question::Ping(_))));
        talk.answer(ping.query_id, answer::Answer::Pong(Pong {}))
            .await;
        let probe = talk.question().await;
        let Some(query::Question::Probe(asked)) = probe.question else {
            panic!()
        };
        assert_eq!(asked.tenant_id, running.default_tenant);
        let hop = Hop {
            from: "egress/0".to_owned(),
            to: "target".to_owned(),
            code: "TARGET_UNREACHABLE".to_owned(),
            ..Hop::default()
        };
        let probed = answer::Answer::Probed(Probed { hops: vec![hop] });
        talk.answer(probe.query_id, probed).await;
    });
    let (status, shown) = answered;
    assert_eq!(status, 200, "{shown}");
    let hops = shown["hops"].as_array().unwrap();
    assert_eq!(
        (text(&hops[0], "from"), text(&hops[0], "to")),
        ("control-plane".to_owned(), "agent".to_owned())
    );
    assert!(hops[0]["rtt_ms"].as_f64().is_some());
    assert_eq!(text(&hops[1], "code"), "TARGET_UNREACHABLE");
    assert!(hops[1]["rtt_ms"].is_null());
    running.stop().await;
}

#[tokio::test]
async fn a_target_that_is_not_well_shows_at_the_target_and_degrades_its_plane() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let (plane, by, talk) = connected(&running).await;
    let target = target(&running, &plane).await;
    let path = format!("/v1/targets/{target}");
    assert_eq!(running.get(&path).await["health"]["state"], "unknown");
    let egress = component("egress", "");
    talk.heartbeat(&by, vec![egress.clone()]).await;
    running
        .wait(&path, |shown| shown["health"]["state"] == "ok")
        .await;
    let unwell = TargetHealth {
        target_id: target.clone(),
        state: TargetState::Open.into(),
        since_ms: 1_700_000_000_000,
        code: "TARGET_UNREACHABLE".to_owned(),
        detail: "no connection: Connection refused (os error 111)".to_owned(),
        waiting: 4,
        name: "billing".to_owned(),
    };
    let link = LinkHealth {
        to: "bridge".to_owned(),
        address: "bridge.example:7443".to_owned(),
        detail: "no answer".to_owned(),
        ..LinkHealth::default()
    };
    let sick = ComponentStatus {
        targets: vec![unwell],
        links: vec![link],
        ..egress.clone()
    };
    talk.heartbeat(&by, vec![sick]).await;
    let shown = running
        .wait(&path, |shown| shown["health"]["state"] == "failing")
        .await;
    assert_eq!(shown["health"]["code"], "TARGET_UNREACHABLE");
    assert_eq!(shown["health"]["waiting"], 4);
    assert_eq!(text(&shown["health"], "since"), "2023-11-14T22:13:20Z");
    let shown = running.get(&format!("/v1/planes/{plane}")).await;
    assert_eq!(text(&shown, "status"), "degraded");
    let detail = text(&shown, "status_detail");
    assert!(
        detail.contains("target billing refuses connections"),
        "{detail}"
    );
    assert!(detail.contains("bridge.example:7443"), "{detail}");
    assert_eq!(shown["targets"][0]["state"], "open");
    let told = &shown["components"].as_array().unwrap()[0];
    assert_eq!(
        (
            told["ready"].as_bool(),
            told["pending"].as_array().unwrap().len()
        ),
        (Some(true), 0)
    );
    assert_eq!(told["links"][0]["address"], "bridge.example:7443");
    talk.heartbeat(&by, vec![egress]).await;
    let path = format!("/v1/planes/{plane}");
    running
        .wait(&path, |shown| shown["status"] == "connected")
        .await;
    running.stop().await;
}

#[tokio::test]
async fn the_first_event_is_in_the_timeline_once() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let (plane, by, talk) = connected(&running).await;
    let path = format!("/v1/planes/{plane}");
    let counted = |accepted| ComponentStatus {
        counters: vec![FlowCounters {
            endpoint_id: "ep_00000000000000000000000001".to_owned(),
            accepted,
            ..FlowCounters::default()
        }],
        ..component("ingester", "")
    };
    let firsts = |shown: &Value| {
        let timeline = shown["timeline"].as_array().unwrap();
        timeline
            .iter()
            .filter(|event| event["kind"] == "first_event")
            .count()
    };
    let seen = |accepted: u64| {
        move |shown: &Value| {
            let counters = shown["counters"].as_array().unwrap();
            counters.iter().any(|row| row["accepted"] == accepted)
        }
    };
    talk.heartbeat(&by, vec![counted(0)]).await;
    assert_eq!(firsts(&running.wait(&path, seen(0)).await), 0);
    talk.heartbeat(&by, vec![counted(1)]).await;
    assert_eq!(firsts(&running.wait(&path, seen(1)).await), 1);
    // Nor in a later session.
    let talk = by.connect(talk.applied).await.unwrap();
    talk.heartbeat(&by, vec![counted(2)]).await;
    assert_eq!(firsts(&running.wait(&path, seen(2)).await), 1);
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_asked_of_another_tenants_plane() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let foreign = "pl_00000000000000000000000001";
    let body = json!({"plane_id": foreign, "filter": {}});
    assert_eq!(running.call("POST", "/v1/replays", Some(body)).await.0, 404);
    for path in [
        format!("/v1/planes/{foreign}/probe"),
        "/v1/targets/tgt_00000000000000000000000001/test".to_owned(),
        "/v1/endpoints/ep_00000000000000000000000001/test".to_owned(),
    ] {
        assert_eq!(running.call("POST", &path, None).await.0, 404, "{path}");
    }
    running.stop().await;
}
