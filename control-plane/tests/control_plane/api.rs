//! The REST API: what it refuses and how, whose things are whose, pages, and what hangs together.

use super::common::{Running, database, text};
use serde_json::{Value, json};

fn endpoint(plane: &str, name: &str) -> Value {
    json!({"plane_id": plane, "name": name, "verification": {"scheme": "none"}})
}

fn target(plane: &str, name: &str) -> Value {
    json!({"plane_id": plane, "name": name, "url": "http://service.internal/in"})
}

#[tokio::test]
async fn without_a_good_key_nothing_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let wrong = format!("zen_{}", "A".repeat(43));
    for key in [None, Some("zen_short"), Some(wrong.as_str()), Some("")] {
        let (status, headers, text) = running
            .raw(key, "GET", "/v1/planes", "application/json", String::new())
            .await;
        assert_eq!(status, 401, "{key:?}");
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(headers["www-authenticate"], "Bearer");
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (problem["code"].as_str(), problem["status"].as_u64()),
            (Some("UNAUTHENTICATED"), Some(401))
        );
        assert!(problem["title"].is_string() && problem["detail"].is_string());
    }
    running.stop().await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn every_fault_is_a_problem_with_a_stable_code_and_names_its_field() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let with = |field: &str, value: Value| {
        let mut body = endpoint(&plane, "x");
        body[field] = value;
        body
    };
    let aimed = |field: &str, value: Value| {
        let mut body = target(&plane, "x");
        body[field] = value;
        body
    };
    let (e, t) = ("/v1/endpoints", "/v1/targets");
    let table = [
        (e, with("name", json!("")), "name"),
        (e, with("name", json!(7)), "name"),
        (e, with("nam", json!("x")), "nam"),
        (e, with("plane_id", json!("ten_1")), "plane_id"),
        (
            e,
            with("plane_id", json!(format!("pl_{}", "0".repeat(26)))),
            "plane_id",
        ),
        (
            e,
            with("verification", json!({"scheme": "github"})),
            "verification.secrets",
        ),
        (
            e,
            with("verification", json!({"scheme": "magic"})),
            "verification.scheme",
        ),
        (
            e,
            with(
                "verification",
                json!({"scheme": "stripe", "secrets": ["whsec_abc"]}),
            ),
            "verification.secrets.0",
        ),
        (e, with("methods", json!(["post"])), "methods"),
        (
            e,
            with("max_body_bytes", json!(11 * 1024 * 1024)),
            "max_body_bytes",
        ),
        (
            e,
            with("allowed_sources", json!(["10.0.0.0/8", "x"])),
            "allowed_sources.1",
        ),
        (t, aimed("url", json!("ftp://x/")), "url"),
        (t, aimed("url", json!("http://user:pass@x/")), "url"),
        (
            t,
            aimed("auth", json!({"bearer": "Bearer abc"})),
            "auth.bearer",
        ),
        (t, aimed("timeout_ms", json!(0)), "timeout_ms"),
        (t, aimed("ca_pem", json!("hello")), "ca_pem"),
        ("/v1/planes", json!({"name": "x", "kind": "moon"}), "kind"),
        (
            "/v1/flows",
            json!({"name": "x", "endpoint_id": "ep_1", "target_id": "tgt_1"}),
            "endpoint_id",
        ),
        (
            "/v1/flows",
            json!({"name": "x", "endpoint_id": "e", "target_id": "t", "retry": {"max_attempts": 0}}),
            "retry.max_attempts",
        ),
    ];
    for (path, body, field) in table {
        let (status, problem) = running.call("POST", path, Some(body.clone())).await;
        assert_eq!(
            (status, problem["code"].as_str()),
            (422, Some("VALIDATION_FAILED")),
            "{body}: {problem}"
        );
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    let (_, problem) = running
        .call(
            "POST",
            e,
            Some(with(
                "verification",
                json!({"scheme": "stripe", "secrets": ["whsec_abc"]}),
            )),
        )
        .await;
    assert!(
        !problem.to_string().contains("whsec_abc"),
        "a value is not repeated"
    );
    running.stop().await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn what_is_no_request_of_this_api_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let key = Some(running.key.clone());
    let json_type = "application/json";
    let big = format!("{{\"name\": \"{}\"}}", "x".repeat(1024 * 1024));
    let table = [
        (
            "GET",
            "/v1/nothing",
            json_type,
            String::new(),
            404,
            "NOT_FOUND",
        ),
        (
            "GET",
            "/v1/planes/ten_1",
            json_type,
            String::new(),
            404,
            "NOT_FOUND",
        ),
        (
            "PUT",
            "/v1/planes",
            json_type,
            String::new(),
            405,
            "METHOD_NOT_ALLOWED",
        ),
        (
            "POST",
            "/v1/planes",
            json_type,
            "{".to_owned(),
            400,
            "JSON_MALFORMED",
        ),
        (
            "POST",
            "/v1/planes",
            "text/plain",
            "{}".to_owned(),
            415,
            "MEDIA_TYPE_UNSUPPORTED",
        ),
        ("POST", "/v1/planes", json_type, big, 413, "BODY_TOO_LARGE"),
        (
            "POST",
            "/v1/planes",
            json_type,
            "[]".to_owned(),
            422,
            "VALIDATION_FAILED",
        ),
        (
            "GET",
            "/v1/planes?limit=501",
            json_type,
            String::new(),
            400,
            "QUERY_INVALID",
        ),
        (
            "GET",
            "/v1/planes?cursor=x",
            json_type,
            String::new(),
            400,
            "QUERY_INVALID",
        ),
        (
            "GET",
            "/v1/planes?colour=x",
            json_type,
            String::new(),
            400,
            "QUERY_INVALID",
        ),
        (
            "GET",
            "/v1/deliveries",
            json_type,
            String::new(),
            400,
            "QUERY_INVALID",
        ),
        (
            "GET",
            "/v1/deliveries?colour=x",
            json_type,
            String::new(),
            400,
            "QUERY_INVALID",
        ),
    ];
    for (method, path, media_type, body, status, code) in table {
        let (got, _, text) = running
            .raw(key.as_deref(), method, path, media_type, body)
            .await;
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (got, problem["code"].as_str()),
            (status, Some(code)),
            "{method} {path}: {text}"
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn an_endpoint_is_made_read_changed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let made = running
        .create("/v1/endpoints", endpoint(&plane, "in"))
        .await;
    assert_eq!(
        (made["url"].clone(), made["methods"].clone()),
        (Value::Null, json!([]))
    );
    let path = format!("/v1/endpoints/{}", text(&made, "id"));
    assert_eq!(running.get(&path).await, made);
    let patch = json!({"name": "renamed", "methods": ["PUT"], "max_body_bytes": 10});
    let (status, changed) = running.call("PATCH", &path, Some(patch)).await;
    assert_eq!(
        (status, text(&changed, "name").as_str()),
        (200, "renamed"),
        "{changed}"
    );
    let (_, changed) = running
        .call("PATCH", &path, Some(json!({"max_body_bytes": null})))
        .await;
    assert_eq!(changed["max_body_bytes"], Value::Null);
    assert_eq!(changed["methods"], json!(["PUT"]));
    let (status, problem) = running
        .call("PATCH", &path, Some(json!({"name": ""})))
        .await;
    assert_eq!(
        (status, problem["errors"][0]["field"].as_str()),
        (422, Some("name"))
    );
    let (status, problem) = running
        .call("POST", "/v1/endpoints", Some(endpoint(&plane, "renamed")))
        .await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("NAME_TAKEN"))
    );
    assert_eq!(running.call("DELETE", &path, None).await.0, 204);
    assert_eq!(running.call("GET", &path, None).await.0, 404);
    assert_eq!(running.call("DELETE", &path, None).await.0, 404);
    running
        .create("/v1/endpoints", endpoint(&plane, "renamed"))
        .await;
    running.stop().await;
}

#[tokio::test]
async fn what_an_enabled_flow_uses_is_not_removed_and_the_flow_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let from = text(
        &running
            .create("/v1/endpoints", endpoint(&plane, "in"))
            .await,
        "id",
    );
    let to = text(
        &running.create("/v1/targets", target(&plane, "out")).await,
        "id",
    );
    let body =
        json!({"name": "f", "endpoint_id": from, "target_id": to, "retry": {"max_attempts": 3}});
    let flow = running.create("/v1/flows", body).await;
    assert_eq!(
        (
            flow["enabled"].as_bool(),
            flow["retry"]["max_attempts"].as_u64()
        ),
        (Some(true), Some(3))
    );
    let flow = text(&flow, "id");
    for path in [format!("/v1/endpoints/{from}"), format!("/v1/targets/{to}")] {
        let (status, problem) = running.call("DELETE", &path, None).await;
        assert_eq!((status, problem["code"].as_str()), (409, Some("IN_USE")));
        assert!(text(&problem, "detail").contains(&flow), "{problem}");
    }
    let path = format!("/v1/flows/{flow}");
    assert_eq!(
        running
            .call("PATCH", &path, Some(json!({"enabled": false})))
            .await
            .0,
        200
    );
    assert_eq!(
        running
            .call("DELETE", &format!("/v1/targets/{to}"), None)
            .await
            .0,
        204
    );
    let (status, problem) = running
        .call("PATCH", &path, Some(json!({"enabled": true})))
        .await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("REMOVED")));
    assert_eq!(running.call("DELETE", &path, None).await.0, 204);
    running.stop().await;
}

#[tokio::test]
async fn a_flow_between_planes_needs_a_data_plane_that_joins_them() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let one = running.plane("one", "edge").await;
    let two = running.plane("two", "edge").await;
    let from = text(
        &running.create("/v1/endpoints", endpoint(&one, "in")).await,
        "id",
    );
    let to = text(
        &running.create("/v1/targets", target(&two, "out")).await,
        "id",
    );
    let body = json!({"name": "f", "endpoint_id": from, "target_id": to});
    let (status, problem) = running.call("POST", "/v1/flows", Some(body.clone())).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("PLANES_NOT_JOINED"))
    );
    let data = running.plane("data", "data").await;
    for plane in [&one, &two] {
        let path = format!("/v1/planes/{plane}");
        let (status, changed) = running
            .call("PATCH", &path, Some(json!({"data_plane_id": data})))
            .await;
        assert_eq!(
            (status, text(&changed, "data_plane_id")),
            (200, data.clone())
        );
    }
    running.create("/v1/flows", body).await;
    let path = format!("/v1/planes/{one}");
    let (status, problem) = running
        .call("PATCH", &path, Some(json!({"data_plane_id": null})))
        .await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("IN_USE")),
        "{problem}"
    );
    let (status, problem) = running
        .call("DELETE", &format!("/v1/planes/{data}"), None)
        .await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("IN_USE")),
        "{problem}"
    );
    running.stop().await;
}

#[tokio::test]
async fn lists_come_in_pages_that_together_are_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(text(
            &running
                .create("/v1/targets", target(&plane, &format!("t{number}")))
                .await,
            "id",
        ));
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = running
            .get(&format!("/v1/targets?limit=2&plane_id={plane}{cursor}"))
            .await;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2);
        seen.extend(items.iter().map(|item| text(item, "id")));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    made.sort();
    assert_eq!(seen, made);
    running.stop().await;
}

#[tokio::test]
async fn one_tenant_sees_nothing_of_another_and_manages_no_data_plane() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let data = running.plane("data", "data").await;
    let edge = running.plane("edge", "edge").await;
    let mine = text(
        &running.create("/v1/endpoints", endpoint(&edge, "in")).await,
        "id",
    );
    let to = text(
        &running.create("/v1/targets", target(&edge, "out")).await,
        "id",
    );
    let key = second_tenant(folder.path()).await;
    let as_other = async |method: &str, path: &str, body: Option<Value>| {
        running.call_as(Some(&key), method, path, body).await
    };
    for path in [
        format!("/v1/planes/{edge}"),
        format!("/v1/planes/{data}"),
        format!("/v1/endpoints/{mine}"),
        format!("/v1/targets/{to}"),
        format!("/v1/deliveries?plane_id={edge}"),
    ] {
        assert_eq!(as_other("GET", &path, None).await.0, 404, "{path}");
    }
    for path in ["/v1/planes", "/v1/endpoints", "/v1/targets", "/v1/flows"] {
        assert_eq!(
            as_other("GET", path, None).await.1["items"],
            json!([]),
            "{path}"
        );
    }
    assert_eq!(
        as_other("DELETE", &format!("/v1/planes/{edge}"), None)
            .await
            .0,
        404
    );
    let body = json!({"name": "own", "kind": "data"});
    assert_eq!(as_other("POST", "/v1/planes", Some(body)).await.0, 403);
    assert_eq!(
        as_other("POST", "/v1/endpoints", Some(endpoint(&edge, "x")))
            .await
            .0,
        422
    );
    // A data plane serves many tenants: each puts its own endpoints there.
    let (status, own) = as_other("POST", "/v1/endpoints", Some(endpoint(&data, "x"))).await;
    assert_eq!(status, 201, "{own}");
    let body = json!({"name": "f", "endpoint_id": text(&own, "id"), "target_id": to});
    let (status, problem) = as_other("POST", "/v1/flows", Some(body)).await;
    assert_eq!(
        (status, problem["errors"][0]["field"].as_str()),
        (422, Some("target_id"))
    );
    assert_eq!(
        running
            .call("GET", &format!("/v1/endpoints/{}", text(&own, "id")), None)
            .await
            .0,
        404
    );
    running.stop().await;
}

/// Adds a tenant with a key of its own, as a later step's API will.
async fn second_tenant(folder: &std::path::Path) -> String {
    let key = format!("zen_{}", "B".repeat(43));
    let tenant = format!("ten_{}", "0".repeat(26));
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
    let mut database = database(folder).await;
    sqlx::query("INSERT INTO tenants (id, name, role, created_at) VALUES ($1, 'two', 'tenant', 1)")
        .bind(&tenant)
        .execute(&mut database)
        .await
        .unwrap();
    sqlx::query(
        "INSERT INTO api_keys (id, tenant_id, name, operator, sha256, created_at) \
         VALUES ($1, $2, 'two', false, $3, 1)",
    )
    .bind(format!("key_{}", "0".repeat(26)))
    .bind(&tenant)
    .bind(hash.as_ref().to_vec())
    .execute(&mut database)
    .await
    .unwrap();
    key
}
