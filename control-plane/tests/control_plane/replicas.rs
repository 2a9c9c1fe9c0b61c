//! Two control planes on one PostgreSQL database: whatever is done through one is as if it were
//! done through the other.

use std::path::Path;
use std::time::{Duration, Instant};

use super::common::{Agent, PATIENCE, Running, clock, component, config, server_database, text};
use serde_json::{Value, json};
use zen_control_plane::{Config, ControlPlane, DatabaseSettings};
use zen_proto::query::v1::{DeliveryPage, answer};
use zen_proto::session::v1::control_message;

/// What a change through the other control plane may take to arrive.
const SOON: Duration = Duration::from_secs(1);

/// Settings of another control plane on the database of `first`, with its root.
fn beside(first: &Path, own: &Path) -> Config {
    Config {
        database: DatabaseSettings {
            url_file: server_database(first),
            ..DatabaseSettings::default()
        },
        root_identity_file: Some(first.join("root.agekey")),
        ..config(own)
    }
}

/// Two control planes on one database; none where there is no PostgreSQL.
struct Pair {
    one: Running,
    two: Running,
    _folders: [tempfile::TempDir; 2],
}

impl Pair {
    async fn start() -> Option<Self> {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        server_database(folders[0].path())?;
        let clock = clock();
        let one = Running::start_with(config(folders[0].path()), clock.clone()).await;
        let settings = beside(folders[0].path(), folders[1].path());
        let mut two = Running::start_with(settings, clock).await;
        two.key.clone_from(&one.key);
        Some(Self {
            one,
            two,
            _folders: folders,
        })
    }

    async fn stop(self) {
        self.one.stop().await;
        self.two.stop().await;
    }
}

/// The agent as it dials the other control plane.
fn moved(mut by: Agent, to: &Running) -> Agent {
    by.address = to.agents.to_string();
    by
}

fn endpoint(plane: &str, name: &str) -> Value {
    json!({"plane_id": plane, "name": name, "verification": {"scheme": "none"}})
}

#[tokio::test]
async fn a_change_through_one_reaches_a_session_on_the_other_within_a_second() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let plane = pair.one.plane("edge", "edge").await;
    let by = moved(pair.one.enrol(&plane).await, &pair.two);
    let mut talk = by.connect(0).await.unwrap();
    talk.snapshot(&by).await;
    for number in 0..5 {
        let begun = Instant::now();
        let body = endpoint(&plane, &format!("in-{number}"));
        pair.one.create("/v1/endpoints", body).await;
        let told = talk.snapshot(&by).await;
        assert_eq!(told.endpoints.len(), number + 1);
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    }
    pair.stop().await;
}

#[tokio::test]
async fn what_a_plane_says_to_one_is_seen_through_the_other_and_so_is_its_end() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let plane = pair.one.plane("edge", "edge").await;
    let path = format!("/v1/planes/{plane}");
    let by = moved(pair.one.enrol(&plane).await, &pair.two);
    let mut talk = by.connect(0).await.unwrap();
    talk.snapshot(&by).await;
    let mut sick = component("egress", "");
    sick.ready = false;
    sick.pending = vec!["ledger: disk full".to_owned()];
    talk.heartbeat(&by, vec![sick]).await;
    let shown = pair
        .one
        .wait(&path, |shown| shown["status"] == "degraded")
        .await;
    assert!(text(&shown, "status_detail").contains("disk full"));
    assert_eq!(shown["applied_revision"], 1);
    drop(talk);
    let gone = |shown: &Value| shown["status"] == "not_connected";
    pair.one.wait(&path, gone).await;
    pair.stop().await;
}

#[tokio::test]
async fn a_question_finds_the_plane_wherever_its_session_is() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let plane = pair.one.plane("edge", "edge").await;
    let by = moved(pair.one.enrol(&plane).await, &pair.two);
    let mut talk = by.connect(0).await.unwrap();
    talk.snapshot(&by).await;
    let path = format!("/v1/planes/{plane}");
    let connected = |shown: &Value| shown["status"] == "connected";
    pair.one.wait(&path, connected).await;
    let path = format!("/v1/deliveries?plane_id={plane}&limit=7");
    let (answered, ()) = tokio::join!(pair.one.call("GET", &path, None), async {
        let query = talk.question().await;
        let page = DeliveryPage {
            next_cursor: "next".to_owned(),
            ..DeliveryPage::default()
        };
        let page = answer::Answer::Deliveries(page);
        talk.answer(query.query_id, page).await;
    });
    assert_eq!(answered.0, 200, "{answered:?}");
    assert_eq!(answered.1["next_cursor"], "next");
    pair.stop().await;
}

#[tokio::test]
async fn a_newer_session_on_one_ends_the_older_one_on_the_other() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let plane = pair.one.plane("edge", "edge").await;
    let by = pair.one.enrol(&plane).await;
    let mut older = by.connect(0).await.unwrap();
    older.snapshot(&by).await;
    let by = moved(by, &pair.two);
    let mut newer = by.connect(1).await.unwrap();
    let away = |message| match message {
        control_message::Message::GoAway(away) => Some(away),
        _ => None,
    };
    assert!(older.until(away).await.reason.contains("newer"));
    let path = format!("/v1/planes/{plane}");
    let connected = |shown: &Value| shown["status"] == "connected";
    pair.one.wait(&path, connected).await;
    pair.one
        .create("/v1/endpoints", endpoint(&plane, "in"))
        .await;
    assert_eq!(newer.snapshot(&by).await.endpoints.len(), 1);
    pair.stop().await;
}

#[tokio::test]
async fn a_plane_retired_through_one_is_told_so_by_the_other() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let plane = pair.one.plane("edge", "edge").await;
    let by = moved(pair.one.enrol(&plane).await, &pair.two);
    let mut talk = by.connect(0).await.unwrap();
    talk.snapshot(&by).await;
    let path = format!("/v1/planes/{plane}");
    assert_eq!(pair.one.call("DELETE", &path, None).await.0, 204);
    let retired = |message| match message {
        control_message::Message::Retired(retired) => Some(retired),
        _ => None,
    };
    talk.until(retired).await;
    pair.stop().await;
}

#[tokio::test]
async fn changes_through_both_at_once_are_all_in_the_last_snapshot() {
    const EACH: usize = 15;
    let Some(pair) = Pair::start().await else {
        return;
    };
    let plane = pair.one.plane("edge", "edge").await;
    let by = moved(pair.one.enrol(&plane).await, &pair.two);
    let mut talk = by.connect(0).await.unwrap();
    let change = async |through: &Running, prefix: &str| {
        for number in 0..EACH {
            let body = endpoint(&plane, &format!("{prefix}-{number}"));
            through.create("/v1/endpoints", body).await;
        }
    };
    tokio::join!(change(&pair.one, "a"), change(&pair.two, "b"));
    let all = async {
        let mut revision = 0;
        loop {
            let told = talk.snapshot(&by).await;
            assert!(told.revision > revision, "revisions only grow");
            revision = told.revision;
            if told.endpoints.len() == 2 * EACH {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap();
    pair.stop().await;
}

#[tokio::test]
async fn control_planes_that_start_at_once_make_one_root_and_one_set_of_tenants() {
    let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    if server_database(folders[0].path()).is_none() {
        return;
    }
    // As an operator gives it to every replica.
    let identity = zen_seal::Identity::generate().to_secret_text();
    std::fs::write(folders[0].path().join("root.agekey"), identity.as_bytes()).unwrap();
    let clock = clock();
    let start = async |own: &Path| {
        use zen_chassis::{App, Stage};
        let stage = Stage::detached("control-plane")
            .unwrap()
            .with_clock(clock.clone());
        let settings = beside(folders[0].path(), own);
        let app = ControlPlane::bind(settings, &stage).await.unwrap();
        let shown = (
            app.trust_bundle_pem(),
            app.operator_tenant(),
            app.default_tenant(),
        );
        (shown, app.api_key_file().exists())
    };
    let (a, b, c) = tokio::join!(
        start(folders[0].path()),
        start(folders[1].path()),
        start(folders[2].path())
    );
    assert!(a.0 == b.0 && b.0 == c.0, "one root, one set of tenants");
    let keys = [a.1, b.1, c.1].iter().filter(|there| **there).count();
    assert_eq!(keys, 1, "one key, and nobody holds one that opens nothing");
}

#[tokio::test]
async fn a_second_control_plane_without_the_roots_identity_says_what_it_needs() {
    use zen_chassis::{App, Stage};
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    if server_database(folders[0].path()).is_none() {
        return;
    }
    Running::start(folders[0].path()).await.stop().await;
    let settings = Config {
        root_identity_file: None,
        ..beside(folders[0].path(), folders[1].path())
    };
    let stage = Stage::detached("control-plane").unwrap();
    let error = ControlPlane::bind(settings, &stage).await.err().unwrap();
    let error = format!("{error:#}");
    assert!(error.contains("root_identity_file"), "{error}");
    assert!(error.contains("the file of the first"), "{error}");
}
