//! The dashboard's pages over HTTP, as a browser without JavaScript meets them: every state of
//! each, forms, hostile names, long lists, and what a role is offered.
#![expect(clippy::unwrap_used, reason = "a test fails so")]

use std::path::Path;

use serde_json::{Value, json};
use zen_proto::query::v1::{
    Attempt, DeliveryPage, DeliveryRecord, DeliveryStatus, QueryError, answer, query,
};

use super::browser::{Browser, Page};
use super::common::{Agent, Running, Talk, component, text};
use super::people::{invited, owner};

/// A name that would run if a page showed it as it stands.
const HOSTILE: &str = "<img src=x onerror=alert(1)>\"'&";
const ESCAPED: &str = "&#60;img src=x onerror=alert(1)&#62;";

impl Page {
    #[track_caller]
    fn has(&self, wanted: &str) -> &Self {
        assert!(
            self.text.contains(wanted),
            "{wanted:?} is missing: {} {}",
            self.status,
            main(&self.text)
        );
        self
    }

    #[track_caller]
    fn lacks(&self, unwanted: &str) -> &Self {
        let text = main(&self.text);
        assert!(!text.contains(unwanted), "{unwanted:?} stands in {text}");
        self
    }
}

/// What stands in a page beside its frame.
fn main(text: &str) -> &str {
    let begin = text.find("<main").unwrap_or(0);
    let end = text.find("</main>").unwrap_or(text.len());
    &text[begin..end]
}

async fn start(folder: &Path) -> (Running, Browser) {
    let running = Running::start(folder).await;
    let browser = owner(&running).await;
    (running, browser)
}

async fn endpoint(running: &Running, plane: &str, name: &str) -> String {
    let body = json!({"plane_id": plane, "name": name, "verification": {"scheme": "none"}});
    text(&running.create("/v1/endpoints", body).await, "id")
}

async fn target(running: &Running, plane: &str, name: &str) -> String {
    let body = json!({"plane_id": plane, "name": name, "url": "http://service.internal/in"});
    text(&running.create("/v1/targets", body).await, "id")
}

async fn flow(running: &Running, name: &str, endpoint: &str, target: &str) -> String {
    let body = json!({"name": name, "endpoint_id": endpoint, "target_id": target});
    text(&running.create("/v1/flows", body).await, "id")
}

/// A plane with a session.
async fn connected(running: &Running, name: &str) -> (String, Agent, Talk) {
    let plane = running.plane(name, "edge").await;
    let agent = running.enrol(&plane).await;
    let mut talk = agent.connect(0).await.unwrap();
    talk.snapshot(&agent).await;
    talk.heartbeat(&agent, vec![component("egress", "")]).await;
    let is = |view: &Value| view["status"] == "connected";
    running.wait(&format!("/v1/planes/{plane}"), is).await;
    (plane, agent, talk)
}

#[tokio::test]
async fn an_empty_list_says_what_the_thing_is_and_what_to_do_next() {
    let folder = tempfile::tempdir().unwrap();
    let (running, mut browser) = start(folder.path()).await;
    for (path, says, next) in [
        ("/endpoints", "An endpoint is an address", "/endpoints/new"),
        ("/targets", "A target is a service", "/targets/new"),
        ("/flows", "A flow leads the events", "/flows/new"),
        ("/deliveries", "No plane to ask", "/planes/new"),
        ("/dead-letters", "No plane to ask", "/planes/new"),
    ] {
        let page = browser.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        page.has(says).has(next);
    }
    for (path, says) in [
        ("/endpoints/new", "There is no plane yet."),
        ("/flows/new", "A flow needs an endpoint and a target."),
        ("/endpoints?name=x", "Nothing matches"),
    ] {
        browser.get(path).await.has(says);
    }
    running.stop().await;
}

#[tokio::test]
async fn an_endpoint_is_made_shown_changed_and_removed_by_forms_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (running, mut browser) = start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let form = [
        ("name", "pushes"),
        ("plane_id", plane.as_str()),
        ("verification.scheme", "github"),
        ("verification.secrets", "file:one\r\nfile:two"),
        ("verification.tolerance_seconds", ""),
        ("methods", "POST\r\nPUT"),
        ("max_body_bytes", "2048"),
        ("allowed_sources", "10.0.0.0/8"),
    ];
    let made = browser.post("/endpoints", &form).await;
    assert_eq!(made.status, 303, "{}", main(&made.text));
    let page = browser.get(made.location()).await;
    page.has("The endpoint was made.")
        .has("pushes")
        .has("GitHub")
        .has("file:two")
        .has("POST, PUT")
        .has("2 KiB")
        .has("10.0.0.0/8")
        .has("Not known yet.");
    let path = made.location().split('?').next().unwrap().to_owned();
    let edit = browser.get(&format!("{path}/edit")).await;
    edit.has("file:one\nfile:two").has("value=\"2048\"");
    let kept = [
        ("version", "1"),
        ("name", "renamed"),
        ("verification.scheme", "none"),
    ];
    let changed = browser.post(&path, &kept).await;
    assert_eq!(changed.status, 303, "{}", main(&changed.text));
    let view = running.get(&format!("/v1{path}")).await;
    assert_eq!(view["name"], "renamed");
    assert_eq!(view["methods"], json!([]));
    assert!(view["max_body_bytes"].is_null());
    // Whoever opened the form before does not overwrite it.
    let late = browser.post(&path, &kept).await;
    assert_eq!(late.status, 412);
    late.has("value=\"renamed\"");
    browser.get(&format!("{path}/remove")).await.has("410");
    let removed = browser.post(&format!("{path}/remove"), &[]).await;
    assert_eq!(removed.location(), "/endpoints?done=removed");
    assert_eq!(browser.get(&path).await.status, 404);
    running.stop().await;
}

#[tokio::test]
async fn a_target_and_a_flow_are_managed_by_forms_and_what_uses_a_target_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let (running, mut browser) = start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let from = endpoint(&running, &plane, "in").await;
    let form = [
        ("name", "billing"),
        ("plane_id", plane.as_str()),
        ("url", "https://billing.internal/hooks"),
        ("auth.kind", "bearer"),
        ("auth.secret", "file:token"),
    ];
    let made = browser.post("/targets", &form).await;
    assert_eq!(made.status, 303, "{}", main(&made.text));
    let path = made.location().split('?').next().unwrap().to_owned();
    let page = browser.get(&path).await;
    page.has("bearer token from file:token").has("30000 ms");
    let mut other = form;
    other[3].1 = "basic";
    other[4].1 = "file:login";
    assert_eq!(browser.post(&path, &other).await.status, 303);
    let view = running.get(&format!("/v1{path}")).await;
    assert_eq!(view["auth"], json!({"basic": "file:login"}));
    let id = path.rsplit('/').next().unwrap().to_owned();
    let chosen = browser.get(&format!("/flows/new?target_id={id}")).await;
    chosen.has(&format!("value=\"{id}\" selected"));
    let form = [
        ("name", "bills"),
        ("endpoint_id", from.as_str()),
        ("target_id", id.as_str()),
        ("retry.max_attempts", "3"),
        ("enabled", "on"),
    ];
    let made = browser.post("/flows", &form).await;
    assert_eq!(made.status, 303, "{}", main(&made.text));
    let flow = made.location().split('?').next().unwrap().to_owned();
    browser.get(&flow).await.has("Up to 3 attempts");
    let refused = browser.post(&format!("{path}/remove"), &[]).await;
    assert_eq!(refused.status, 409);
    refused.has("IN_USE").has(&flow).has("bills");
    let off = browser.post(&format!("{flow}/disable"), &[]).await;
    browser
        .get(off.location())
        .await
        .has("This flow is disabled.");
    assert_eq!(
        browser.post(&format!("{path}/remove"), &[]).await.status,
        303
    );
    let kept = browser.post(&format!("{flow}/enable"), &[]).await;
    assert!([303, 409].contains(&kept.status), "{}", kept.status);
    assert_eq!(
        browser
            .post(&format!("{flow}/remove"), &[])
            .await
            .location(),
        "/flows?done=removed"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_refused_form_keeps_what_was_typed_and_says_at_the_field_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let (running, mut browser) = start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let form = [
        ("name", HOSTILE),
        ("plane_id", plane.as_str()),
        ("verification.scheme", "stripe"),
        ("verification.secrets", "file:a\nwhsec_plain"),
        ("max_body_bytes", "lots"),
    ];
    let refused = browser.post("/endpoints", &form).await;
    assert_eq!(refused.status, 422);
    refused
        .has(ESCAPED)
        .lacks("<img src=x")
        .has("value=\"lots\"")
        .has("aria-invalid=\"true\"")
        .has(&format!("value=\"{plane}\" selected"))
        .has("value=\"stripe\" selected");
    let form = [("name", "x"), ("url", "ftp://x"), ("plane_id", &plane)];
    let refused = browser.post("/targets", &form).await;
    assert_eq!(refused.status, 422);
    refused.has("an http or https address");
    let (from, to) = (
        endpoint(&running, &plane, "in").await,
        running.plane("far", "edge").await,
    );
    let to = target(&running, &to, "out").await;
    let form = [
        ("name", "x"),
        ("endpoint_id", from.as_str()),
        ("target_id", to.as_str()),
    ];
    let refused = browser.post("/flows", &form).await;
    assert_eq!(refused.status, 409);
    refused.has("No data plane joins the two planes");
    running.stop().await;
}

#[tokio::test]
async fn names_that_would_run_are_shown_as_text_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let (running, mut browser) = start(folder.path()).await;
    let plane = running.plane(HOSTILE, "edge").await;
    let from = endpoint(&running, &plane, HOSTILE).await;
    let to = target(&running, &plane, HOSTILE).await;
    let way = flow(&running, HOSTILE, &from, &to).await;
    let key = json!({"name": HOSTILE, "role": "viewer"});
    running.create("/v1/api-keys", key).await;
    for path in [
        "/endpoints".to_owned(),
        format!("/endpoints/{from}"),
        format!("/endpoints/{from}/edit"),
        format!("/endpoints/{from}/remove"),
        "/endpoints/new".to_owned(),
        "/targets".to_owned(),
        format!("/targets/{to}"),
        format!("/targets/{to}/edit"),
        "/flows".to_owned(),
        format!("/flows/{way}"),
        "/flows/new".to_owned(),
        format!("/deliveries?plane_id={plane}"),
        "/settings/api-keys".to_owned(),
        "/audit".to_owned(),
    ] {
        let page = browser.get(&path).await;
        assert!(page.status < 500, "{path}: {}", page.status);
        page.lacks("<img src=x").has(ESCAPED);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_viewer_is_offered_no_action_and_refused_the_ones_sent_anyway() {
    let folder = tempfile::tempdir().unwrap();
    let (running, _owner) = start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let from = endpoint(&running, &plane, "in").await;
    let to = target(&running, &plane, "out").await;
    let way = flow(&running, "way", &from, &to).await;
    let (mut viewer, _) = invited(&running, "viewer").await;
    let things = [
        format!("/endpoints/{from}"),
        format!("/targets/{to}"),
        format!("/flows/{way}"),
    ];
    let lists = ["/endpoints", "/targets", "/flows", "/dead-letters"].map(str::to_owned);
    for path in things.iter().chain(&lists) {
        let page = viewer.get(path).await;
        assert!([200, 409].contains(&page.status), "{path}: {}", page.status);
        page.lacks("method=\"post\"")
            .lacks("/new\"")
            .lacks("/edit\"")
            .lacks("/remove\"");
    }
    for path in &things {
        assert_eq!(viewer.get(&format!("{path}/edit")).await.status, 403);
        assert_eq!(viewer.get(&format!("{path}/remove")).await.status, 403);
        assert_eq!(
            viewer.post(&format!("{path}/remove"), &[]).await.status,
            403
        );
        assert_eq!(viewer.post(path, &[("name", "mine")]).await.status, 403);
    }
    for (path, status) in [
        ("/endpoints/new", 403),
        ("/audit", 403),
        ("/settings/api-keys", 403),
        ("/settings/data-planes", 403),
        ("/settings/users/new", 403),
        ("/settings/users", 200),
        ("/settings/account", 200),
        ("/settings", 200),
        ("/guide", 200),
    ] {
        assert_eq!(viewer.get(path).await.status, status, "{path}");
    }
    for thing in &things {
        running.get(&format!("/v1{thing}")).await;
    }
    running.stop().await;
}

fn record(id: &str, status: DeliveryStatus) -> DeliveryRecord {
    DeliveryRecord {
        delivery_id: id.to_owned(),
        status: status.into(),
        accepted_at_ms: 1_700_000_000_000,
        settled_at_ms: 1_700_000_060_000,
        attempts: 2,
        code: "RETRIES_EXHAUSTED".to_owned(),
        history: vec![Attempt {
            number: 2,
            started_at_ms: 1_700_000_059_000,
            duration_ms: 1_250,
            status: 503,
            code: "TARGET_ERROR".to_owned(),
            detail: HOSTILE.to_owned(),
        }],
        ..DeliveryRecord::default()
    }
}

/// Asks for a page whose plane answers `said`.
async fn answered(browser: &Browser, talk: &mut Talk, path: &str, said: answer::Answer) -> Page {
    let mut asking = browser.clone();
    let path = path.to_owned();
    let page = tokio::spawn(async move { asking.get(&path).await });
    let question = talk.question().await;
    talk.answer(question.query_id, said).await;
    page.await.unwrap()
}

#[tokio::test]
async fn deliveries_are_asked_of_the_plane_and_every_silence_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let (running, mut browser) = start(folder.path()).await;
    let away = running.plane("a-way", "edge").await;
    let page = browser.get("/deliveries").await;
    assert_eq!(page.status, 409);
    page.has("The plane is not connected")
        .has("a-way (not connected)");
    let (plane, _agent, mut talk) = connected(&running, "here").await;
    let listed = answer::Answer::Deliveries(DeliveryPage {
        deliveries: vec![record("dlv_1", DeliveryStatus::Delivered)],
        next_cursor: "more&more".to_owned(),
    });
    // The connected plane is asked though another one comes first by name.
    let page = answered(&browser, &mut talk, "/deliveries", listed).await;
    assert_eq!(page.status, 200);
    page.has("dlv_1").has("Delivered").has("cursor=more%26more");
    let dead = answer::Answer::Deliveries(DeliveryPage {
        deliveries: vec![record("dlv_2", DeliveryStatus::DeadLetter)],
        next_cursor: String::new(),
    });
    let path = format!("/dead-letters?plane_id={plane}");
    let page = answered(&browser, &mut talk, &path, dead).await;
    page.has("dlv_2")
        .has("RETRIES_EXHAUSTED")
        .has("Every attempt that the flow allows has failed")
        .has("Replay what is selected");
    let none = answer::Answer::Deliveries(DeliveryPage::default());
    let page = answered(&browser, &mut talk, &path, none).await;
    page.has("No dead letters").lacks("Replay what is selected");
    let absent = answer::Answer::Error(QueryError {
        code: "COMPONENT_ABSENT".to_owned(),
        detail: "no egress".to_owned(),
    });
    let page = answered(&browser, &mut talk, "/deliveries", absent).await;
    assert_eq!(page.status, 503);
    page.has("The plane runs no egress").has("COMPONENT_ABSENT");
    let page = browser.get(&format!("/deliveries?plane_id={away}")).await;
    page.has("The plane is not connected");
    running.stop().await;
}

#[tokio::test]
async fn a_delivery_shows_its_attempts_with_code_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let (running, browser) = start(folder.path()).await;
    let (plane, _agent, mut talk) = connected(&running, "here").await;
    let id = format!("dlv_{}", "0".repeat(26));
    let path = format!("/deliveries/{id}?plane_id={plane}");
    let said = answer::Answer::Delivery(record(&id, DeliveryStatus::DeadLetter));
    let page = answered(&browser, &mut talk, &path, said).await;
    assert_eq!(page.status, 200, "{}", main(&page.text));
    page.has("Every attempt that the flow allows has failed")
        .has("1,250 ms")
        .has("503")
        .has("TARGET_ERROR")
        .has(ESCAPED)
        .has("1 earlier attempts are not kept");
    let unknown = answer::Answer::Error(QueryError {
        code: "DELIVERY_UNKNOWN".to_owned(),
        detail: "it is not here".to_owned(),
    });
    let page = answered(&browser, &mut talk, &path, unknown).await;
    page.has("The plane does not know this delivery");
    running.stop().await;
}

#[tokio::test]
async fn a_replay_shows_the_count_first_then_asks_then_reports() {
    let folder = tempfile::tempdir().unwrap();
    let (running, mut browser) = start(folder.path()).await;
    let (plane, _agent, mut talk) = connected(&running, "here").await;
    let counted = |matched, replayed| {
        answer::Answer::Replayed(zen_proto::query::v1::Replayed {
            matched,
            replayed,
            remaining: matched - replayed,
            next_cursor: String::new(),
        })
    };
    let path = format!("/dead-letters/replay?plane_id={plane}");
    let page = answered(&browser, &mut talk, &path, counted(1_204, 0)).await;
    page.has("1,204 dead letters are selected")
        .has("Replay 1,204 dead letters");
    let form = [
        ("plane_id", plane.clone()),
        ("rate_per_second", "100".to_owned()),
    ];
    let mut asking = browser.clone();
    let asked = form.clone();
    let page = tokio::spawn(async move {
        let form: Vec<_> = asked.iter().map(|(n, v)| (*n, v.as_str())).collect();
        asking.post("/dead-letters/replay", &form).await
    });
    let question = talk.question().await;
    let Some(query::Question::Replay(replay)) = &question.question else {
        panic!("{question:?}");
    };
    assert!(!replay.dry_run && replay.rate_per_second == 100);
    talk.answer(question.query_id, counted(1_204, 1_204)).await;
    page.await
        .unwrap()
        .has("Replayed 1,204 of 1,204 dead letters.");
    let page = answered(&browser, &mut talk, &path, counted(0, 0)).await;
    page.has("Nothing to replay");
    let alone = running.plane("alone", "edge").await;
    let page = browser
        .get(&format!("/dead-letters/replay?plane_id={alone}"))
        .await;
    assert_eq!(page.status, 409);
    page.has("The plane is not connected");
    running.stop().await;
}

/// Puts 10,000 endpoints beside the API, as quickly as the database takes them.
async fn fill(folder: &Path, tenant: &str, plane: &str) {
    let file = folder.join("control-plane.db");
    let pool = sqlx::sqlite::SqlitePool::connect(&format!("sqlite:{}", file.display()))
        .await
        .unwrap();
    let spec = json!({"plane_id": plane, "name": "x", "verification": {"scheme": "none"}});
    sqlx::query(
        "INSERT INTO endpoints (id, tenant_id, plane_id, name, spec, created_at, updated_at, \
         version) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) \
         SELECT printf('ep_%026d', i), $1, $2, printf('e-%05d', i), \
         json_set($3, '$.name', printf('e-%05d', i)), 0, 0, 1 FROM n",
    )
    .bind(tenant)
    .bind(plane)
    .bind(spec.to_string())
    .execute(&pool)
    .await
    .unwrap();
    pool.close().await;
}

#[tokio::test]
async fn ten_thousand_rows_are_paged_without_gaps_and_found_by_name() {
    if super::ENGINE == crate::Engine::Postgres {
        // The rows are put into the file of SQLite; the lists of both engines are compared by the
        // tests of the API.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (running, mut browser) = start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    fill(folder.path(), &running.default_tenant, &plane).await;
    let (mut path, mut seen) = ("/endpoints".to_owned(), 0_u32);
    for _ in 0..3 {
        let page = browser.get(&path).await;
        for row in seen + 1..=seen + 50 {
            page.has(&format!(">e-{row:05}<"));
        }
        page.lacks(&format!(">e-{:05}<", seen + 51));
        seen += 50;
        let next = page.text.split("rel=\"next\"").next().unwrap();
        let next = next.rsplit("href=\"").next().unwrap();
        path = next.split('"').next().unwrap().replace("&#38;", "&");
    }
    let page = browser.get("/endpoints?name=E-0999").await;
    page.has(">e-09990<").has(">e-09999<").lacks(">e-09989<");
    let new = browser.get("/flows/new").await;
    new.has("There are more than the form below offers");
    let found = browser.get("/flows/new?search=e-09998").await;
    found.has("e-09998").lacks("e-09997");
    running.stop().await;
}

#[tokio::test]
async fn a_key_and_an_invitation_are_shown_once_and_can_be_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let (running, mut browser) = start(folder.path()).await;
    let form = [
        ("name", "pipeline"),
        ("role", "editor"),
        ("days", "30"),
        ("scope", "flow.read"),
        ("scope", "flow.write"),
    ];
    let made = browser.post("/settings/api-keys", &form).await;
    assert_eq!(made.status, 200, "{}", main(&made.text));
    let key = made.text.split("id=\"shown-once\">").nth(1).unwrap();
    let key = key.split('<').next().unwrap().to_owned();
    let (status, _) = running.call_as(Some(&key), "GET", "/v1/flows", None).await;
    assert_eq!(status, 200);
    let (status, _) = running.call_as(Some(&key), "GET", "/v1/planes", None).await;
    assert_eq!(status, 403);
    let list = browser.get("/settings/api-keys").await;
    list.has("pipeline")
        .has("flow.read, flow.write")
        .lacks(&key);
    let remove = main(&list.text).split("pipeline").nth(1).unwrap();
    let remove = remove.split("href=\"").nth(1).unwrap();
    let remove = remove.split('"').next().unwrap().to_owned();
    browser.get(&remove).await.has("Revoke key");
    assert_eq!(browser.post(&remove, &[]).await.status, 303);
    let (status, _) = running.call_as(Some(&key), "GET", "/v1/flows", None).await;
    assert_eq!(status, 401);
    let form = [
        ("name", "Bob"),
        ("email", "bob@example.org"),
        ("role", "viewer"),
    ];
    let invited = browser.post("/settings/users", &form).await;
    invited.has("Hand this link to Bob").has("/sign-in/link/");
    let again = browser.post("/settings/users", &form).await;
    assert!([409, 422].contains(&again.status), "{}", again.status);
    again.has("value=\"bob@example.org\"");
    browser
        .get("/settings/users")
        .await
        .has("Bob")
        .has("Invited");
    running.stop().await;
}

#[tokio::test]
async fn the_audit_page_filters_and_tells_the_chains_state() {
    let folder = tempfile::tempdir().unwrap();
    let (running, mut browser) = start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let made = endpoint(&running, &plane, "in").await;
    let page = browser.get("/audit").await;
    page.has("endpoint.create")
        .has(&format!("/endpoints/{made}"));
    let page = browser.get("/audit?action=endpoint.create").await;
    page.has("endpoint.create").lacks(">plane.create<");
    browser.get("/audit?check=chain").await.has("Unbroken");
    let page = browser
        .get("/audit?from=2001-01-01T00:00&until=2001-01-02T00:00")
        .await;
    page.has("Nothing matches");
    let page = browser.get("/audit?from=soon").await;
    assert_eq!(page.status, 400);
    page.has("This filter cannot be used.")
        .has("value=\"soon\"");
    running.stop().await;
}

#[tokio::test]
async fn the_guide_tells_every_operation_of_the_running_server_and_every_code() {
    let folder = tempfile::tempdir().unwrap();
    let (running, mut browser) = start(folder.path()).await;
    let document = running.get("/v1/openapi.json").await;
    let guide = browser.get("/guide").await;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (_, operation) in item.as_object().unwrap() {
            let Some(id) = operation["operationId"].as_str() else {
                continue;
            };
            guide.has(&format!("id=\"{id}\"")).has(path);
        }
    }
    for code in ["BUNDLE_EXPIRED", "TARGET_TIMEOUT", "PLANES_NOT_JOINED"] {
        guide.has(&format!("id=\"{code}\""));
    }
    running.stop().await;
}
