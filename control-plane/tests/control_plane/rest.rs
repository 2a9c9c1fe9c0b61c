//! The REST API's manners: entity tags, requests that may be repeated, what it says of itself, and
//! what was counted over time.

use std::time::Duration;

use http::HeaderMap;
use serde_json::{Value, json};
use zen_proto::session::v1::FlowCounters;

use super::common::{Running, component, config, database, text};

/// One request with more headers than usual.
async fn send(
    running: &Running,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> (u16, HeaderMap, Value) {
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let (status, headers, text) = running.sent(method, path, headers, body).await;
    let value = serde_json::from_str(&text).unwrap_or(Value::Null);
    (status, headers, value)
}

fn code(problem: &Value) -> &str {
    problem["code"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_lost_update_is_refused_and_the_thing_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let endpoint = json!({"plane_id": plane, "name": "in", "verification": {"scheme": "none"}});
    let endpoint = text(&running.create("/v1/endpoints", endpoint).await, "id");
    let target = json!({"plane_id": plane, "name": "out", "url": "http://service.internal/in"});
    let target = text(&running.create("/v1/targets", target).await, "id");
    let flow = json!({"name": "flow", "endpoint_id": endpoint, "target_id": target});
    let flow = text(&running.create("/v1/flows", flow).await, "id");
    for path in [
        format!("/v1/flows/{flow}"),
        format!("/v1/endpoints/{endpoint}"),
        format!("/v1/targets/{target}"),
        format!("/v1/planes/{plane}"),
    ] {
        let (_, headers, _) = send(&running, "GET", &path, &[], None).await;
        let first = headers["etag"].to_str().unwrap().to_owned();
        let rename = |name: &str| Some(json!({ "name": name }));
        let meant = [("if-match", first.as_str())];
        let (status, headers, _) = send(&running, "PATCH", &path, &meant, rename("one")).await;
        assert_eq!(status, 200, "{path}");
        let second = headers["etag"].to_str().unwrap().to_owned();
        assert_ne!(first, second, "{path}");
        for method in ["PATCH", "DELETE"] {
            let body = (method == "PATCH").then(|| json!({"name": "two"}));
            let (status, _, problem) = send(&running, method, &path, &meant, body).await;
            assert_eq!(
                (status, code(&problem)),
                (412, "PRECONDITION_FAILED"),
                "{path}"
            );
        }
        assert_eq!(running.get(&path).await["name"], "one", "{path}");
        for (tag, expected) in [
            ("*", 200),
            (&*format!("\"x\", {second}"), 412),
            (&*format!("W/{first}"), 412),
            ("3", 400),
            ("", 400),
        ] {
            let tagged = [("if-match", tag)];
            let (status, _, _) = send(&running, "PATCH", &path, &tagged, rename("three")).await;
            assert_eq!(status, expected, "{path} {tag}");
        }
        let (_, headers, _) = send(&running, "GET", &path, &[], None).await;
        let now = [("if-match", headers["etag"].to_str().unwrap())];
        assert_eq!(
            send(&running, "DELETE", &path, &now, None).await.0,
            204,
            "{path}"
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn who_has_a_flow_already_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let endpoint = json!({"plane_id": plane, "name": "in", "verification": {"scheme": "none"}});
    let endpoint = text(&running.create("/v1/endpoints", endpoint).await, "id");
    let target = json!({"plane_id": plane, "name": "out", "url": "http://service.internal/in"});
    let target = text(&running.create("/v1/targets", target).await, "id");
    let flow = json!({"name": "flow", "endpoint_id": endpoint, "target_id": target});
    let flow = text(&running.create("/v1/flows", flow).await, "id");
    let path = format!("/v1/flows/{flow}");
    for (tag, status) in [
        ("\"1\"", 304),
        ("W/\"1\"", 304),
        ("*", 304),
        ("\"2\"", 200),
        ("1", 400),
    ] {
        let known = [("if-none-match", tag)];
        assert_eq!(
            send(&running, "GET", &path, &known, None).await.0,
            status,
            "{tag}"
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn a_repeated_request_is_answered_as_the_first_and_done_once() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let key = [("idempotency-key", "first")];
    let body = json!({"name": "edge", "kind": "edge"});
    let make = |body: Value| send(&running, "POST", "/v1/planes", &key, Some(body));
    let (status, headers, first) = make(body.clone()).await;
    assert_eq!(status, 201, "{first}");
    assert!(!headers.contains_key("idempotency-replayed"));
    let (status, again, second) = make(body.clone()).await;
    assert_eq!((status, &second), (201, &first));
    assert_eq!(again["idempotency-replayed"], "true");
    for name in ["etag", "location", "content-type"] {
        assert_eq!(again[name], headers[name], "{name}");
    }
    let (status, _, problem) = make(json!({"name": "other", "kind": "edge"})).await;
    assert_eq!((status, code(&problem)), (409, "IDEMPOTENCY_CONFLICT"));
    let planes = running.get("/v1/planes").await;
    assert_eq!(planes["items"].as_array().unwrap().len(), 1, "{planes}");
    // A refusal is an answer as well.
    let taken = [("idempotency-key", "second")];
    let refused = send(&running, "POST", "/v1/planes", &taken, Some(body.clone())).await;
    assert_eq!((refused.0, code(&refused.2)), (409, "NAME_TAKEN"));
    let again = send(&running, "POST", "/v1/planes", &taken, Some(body.clone())).await;
    assert_eq!((again.0, code(&again.2)), (409, "NAME_TAKEN"));
    assert_eq!(again.1["idempotency-replayed"], "true");
    let instance = again.2["instance"].as_str().unwrap();
    assert!(
        instance.ends_with(again.1["x-request-id"].to_str().unwrap()),
        "{instance}"
    );
    for wrong in ["", "a b"] {
        let wrong = [("idempotency-key", wrong)];
        let refused = send(&running, "POST", "/v1/planes", &wrong, Some(body.clone())).await;
        assert_eq!((refused.0, code(&refused.2)), (400, "HEADER_INVALID"));
    }
    // After a day the key is free.
    running.clock.advance(Duration::from_secs(24 * 60 * 60 + 1));
    let (status, _, problem) = make(body).await;
    assert_eq!((status, code(&problem)), (409, "NAME_TAKEN"));
    running.stop().await;
}

#[tokio::test]
async fn an_answer_is_remembered_over_a_restart_and_its_secret_is_not_in_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let path = format!("/v1/planes/{plane}/bundles");
    let key = [("idempotency-key", "bundle")];
    let (_, _, first) = send(&running, "POST", &path, &key, Some(json!({}))).await;
    let identity = text(&first, "identity");
    running.stop().await;
    let mut database = database(folder.path()).await;
    let kept: Vec<Vec<u8>> = sqlx::query_scalar("SELECT answer FROM idempotency")
        .fetch_all(&mut database)
        .await
        .unwrap();
    assert_eq!(kept.len(), 1);
    let holds = |part: &str| {
        kept[0]
            .windows(part.len())
            .any(|seen| seen == part.as_bytes())
    };
    assert!(!holds(&identity) && !holds("AGE-SECRET-KEY"));
    let running = Running::start(folder.path()).await;
    let (status, headers, again) = send(&running, "POST", &path, &key, Some(json!({}))).await;
    assert_eq!((status, &again), (201, &first));
    assert_eq!(headers["idempotency-replayed"], "true");
    running.stop().await;
}

#[tokio::test]
async fn a_request_that_died_is_made_again_unless_it_was_carried_out() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let mut database = database(folder.path()).await;
    let key = [("idempotency-key", "k")];
    let body = json!({"name": "edge", "kind": "edge"});
    let make = || send(&running, "POST", "/v1/planes", &key, Some(body.clone()));
    assert_eq!(make().await.0, 201);
    // As a crash leaves it between the change and the answer.
    sqlx::query("UPDATE idempotency SET status = NULL, answer = NULL")
        .execute(&mut database)
        .await
        .unwrap();
    let (status, headers, problem) = make().await;
    assert_eq!((status, code(&problem)), (409, "IDEMPOTENCY_IN_PROGRESS"));
    assert!(headers.contains_key("retry-after"));
    running.clock.advance(Duration::from_secs(121));
    let (status, _, problem) = make().await;
    assert_eq!((status, code(&problem)), (409, "IDEMPOTENCY_ANSWER_LOST"));
    // As a crash leaves it before the change.
    sqlx::query("UPDATE idempotency SET carried_out = 0")
        .execute(&mut database)
        .await
        .unwrap();
    let (status, _, problem) = make().await;
    assert_eq!((status, code(&problem)), (409, "NAME_TAKEN"), "made again");
    running.stop().await;
}

#[tokio::test]
async fn of_many_that_repeat_a_request_at_once_one_carries_it_out() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let key = [("idempotency-key", "k")];
    let body = json!({"name": "edge", "kind": "edge"});
    let tries = (0..16).map(|_| send(&running, "POST", "/v1/planes", &key, Some(body.clone())));
    for (status, _, answer) in futures::future::join_all(tries).await {
        let under_way = code(&answer) == "IDEMPOTENCY_IN_PROGRESS";
        assert!(status == 201 || under_way, "{status} {answer}");
    }
    let planes = running.get("/v1/planes").await;
    assert_eq!(planes["items"].as_array().unwrap().len(), 1, "{planes}");
    running.stop().await;
}

#[tokio::test]
async fn every_operation_that_is_told_is_there_and_wants_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let (status, document) = running.call_as(None, "GET", "/v1/openapi.json", None).await;
    assert_eq!((status, document["openapi"].as_str()), (200, Some("3.1.0")));
    let paths = document["paths"].as_object().unwrap();
    let mut operations = 0;
    for (path, item) in paths {
        let path = path.replace("{id}", "none");
        for (method, operation) in item.as_object().unwrap() {
            let method = method.to_uppercase();
            let public = operation["security"] == json!([]);
            let (status, _) = running.call_as(None, &method, &path, None).await;
            assert_eq!(status, if public { 200 } else { 401 }, "{method} {path}");
            operations += 1;
        }
        let (status, headers, problem) = send(&running, "TRACE", &path, &[], None).await;
        assert_eq!(
            (status, code(&problem)),
            (405, "METHOD_NOT_ALLOWED"),
            "{path}"
        );
        assert!(headers.contains_key("allow"), "{path}");
    }
    assert!(operations >= 25, "{operations}");
    running.stop().await;
}

#[tokio::test]
async fn every_answer_names_its_request_and_a_problem_repeats_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let (_, headers, problem) = send(&running, "GET", "/v1/nothing", &[], None).await;
    let id = headers["x-request-id"].to_str().unwrap();
    assert_eq!(problem["instance"], format!("urn:zen-mesh:request:{id}"));
    assert_eq!(problem["type"], "urn:zen-mesh:problem:NOT_FOUND");
    let chosen = [("x-request-id", "mine-1")];
    let (_, headers, _) = send(&running, "GET", "/v1/planes", &chosen, None).await;
    assert_eq!(headers["x-request-id"], "mine-1");
    running.stop().await;
}

#[tokio::test]
async fn no_input_makes_the_server_fail() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let deep = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    for (method, path, body, status, expected) in [
        (
            "POST",
            "/v1/planes",
            r#"{"name": "a", "name": "b"}"#,
            400,
            "JSON_MALFORMED",
        ),
        ("POST", "/v1/planes", deep.as_str(), 400, "JSON_MALFORMED"),
        (
            "POST",
            "/v1/planes",
            r#"{"name": "a", "kind": 1e999}"#,
            400,
            "JSON_MALFORMED",
        ),
        (
            "POST",
            "/v1/planes",
            r#"{"name": "a\u0000", "kind": "edge"}"#,
            422,
            "VALIDATION_FAILED",
        ),
        (
            "POST",
            "/v1/planes",
            r#"{"name": "a", "kind": 99999999999999999999}"#,
            422,
            "VALIDATION_FAILED",
        ),
        ("GET", "/v1/planes/%ff", "", 404, "NOT_FOUND"),
        ("GET", "/v1/planes?name=%00", "", 400, "QUERY_INVALID"),
        (
            "GET",
            "/v1/planes?limit=1&limit=2",
            "",
            400,
            "QUERY_INVALID",
        ),
        (
            "GET",
            "/v1/planes?status=sleeping",
            "",
            400,
            "QUERY_INVALID",
        ),
        ("GET", "/v1/planes?kind=moon", "", 400, "QUERY_INVALID"),
        ("GET", "/v1/counters?step=61", "", 400, "QUERY_INVALID"),
        (
            "GET",
            "/v1/counters?from=yesterday",
            "",
            400,
            "QUERY_INVALID",
        ),
        ("GET", "/v1/flows?endpoint_id=x", "", 400, "QUERY_INVALID"),
        ("DELETE", "/v1/planes?x=1", "", 405, "METHOD_NOT_ALLOWED"),
        ("OPTIONS", "/v1/planes", "", 405, "METHOD_NOT_ALLOWED"),
    ] {
        let (got, _, answer) = running.sent(method, path, &[], body.to_owned()).await;
        let problem: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(
            (got, code(&problem)),
            (status, expected),
            "{method} {path} {answer}"
        );
    }
    let (status, _, body) = running.sent("HEAD", "/v1/planes", &[], String::new()).await;
    assert_eq!((status, body.as_str()), (200, ""));
    running.stop().await;
}

#[tokio::test]
async fn what_is_counted_is_counted_once_and_in_its_minute() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let mut by = running.enrol(&plane).await;
    let said = |boot_id: &str, accepted, delivered| {
        let mut ingester = component("ingester", "");
        ingester.boot_id = boot_id.to_owned();
        let endpoint = FlowCounters {
            endpoint_id: format!("ep_{}", "0".repeat(26)),
            accepted,
            ..FlowCounters::default()
        };
        let flow = FlowCounters {
            flow_id: format!("flw_{}", "0".repeat(26)),
            // Deliveries taken in, not events: they are not counted as such.
            accepted: 100,
            delivered,
            ..FlowCounters::default()
        };
        ingester.counters = vec![endpoint, flow];
        ingester
    };
    let total = |series: &Value, field: &str| -> u64 {
        let points = series["points"].as_array().unwrap().iter();
        points.map(|point| point[field].as_u64().unwrap()).sum()
    };
    let path = format!("/v1/planes/{plane}/counters");
    for (step, boot_id, accepted, delivered, sum) in [
        (0, "a", 5, 4, (5, 4)),
        (1, "a", 7, 7, (7, 7)),
        (2, "b", 2, 1, (9, 8)),
        (3, "b", 2, 1, (9, 8)),
    ] {
        // The last report comes again after a restart of the control plane.
        if step == 3 {
            let clock = running.clock.clone();
            running.stop().await;
            running = Running::start_with(config(folder.path()), clock).await;
            by.address = running.agents.to_string();
        }
        running.clock.advance(Duration::from_secs(60));
        let talk = by.connect(0).await.unwrap();
        talk.heartbeat(&by, vec![said(boot_id, accepted, delivered)])
            .await;
        let heard = format!("/v1/planes/{plane}");
        running
            .wait(&heard, |shown| {
                shown["components"][0]["component"] == "ingester"
            })
            .await;
        let holds = |series: &Value| (total(series, "accepted"), total(series, "delivered")) == sum;
        running.wait(&path, holds).await;
    }
    let of_tenant = running.get("/v1/counters").await;
    assert_eq!(total(&of_tenant, "accepted"), 9);
    let points = of_tenant["points"].as_array().unwrap();
    assert_eq!(points.len(), 60);
    let day = running.get(&format!("{path}?step=3600")).await;
    assert_eq!(total(&day, "delivered"), 8);
    // The sessions ended with the agent's side of them.
    let holds = |overview: &Value| overview["planes"]["not_connected"] == 1;
    let overview = running.wait("/v1/overview", holds).await;
    assert_eq!(total(&overview["last_hour"], "accepted"), 9);
    running.stop().await;
}
