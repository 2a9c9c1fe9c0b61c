//! Sealed secrets: stored, shipped and shown, never opened; plaintext is refused and leaves no
//! trace; what the plane's zen-lock says and seals again.

use std::path::Path;

use serde_json::{Value, json};
use sqlx::Row as _;
use zen_proto::session::v1::{
    ComponentStatus, KeyUsage, LockStatus, Resealed, UnopenedSecret, agent_message,
};
use zen_proto::snapshot::v1::Snapshot;
use zen_seal::{Identity, Realm, Scope, ScopedSecret, SecretValue, unseal};

use super::common::{Agent, Running, Talk, agent, component, database, text};
use super::permissions::second_tenant;

/// What nobody but the plane may ever see.
const CANARY: &str = "canary-5f0c1b9e-whsec";

/// A secret sealed for these keys, as `zen seal` writes it.
pub(crate) fn seal(plane: &str, name: &str, keys: &[&Identity]) -> String {
    let secret = ScopedSecret {
        scope: scope(plane, name),
        service_accounts: Vec::new(),
        purposes: Vec::new(),
        created_at_ms: 1,
        version: "0".repeat(32),
        values: [(
            "value".to_owned(),
            SecretValue::from(CANARY.as_bytes().to_vec()),
        )]
        .into(),
    };
    let keys: Vec<_> = keys.iter().map(|key| key.recipient()).collect();
    secret.seal(&keys, None, 1).unwrap()
}

fn scope(plane: &str, name: &str) -> Scope {
    Scope {
        realm: Realm::Plane(plane.parse().unwrap()),
        namespace: None,
        name: name.to_owned(),
    }
}

pub(crate) fn recipients(keys: &[&Identity]) -> Vec<String> {
    keys.iter().map(|key| key.recipient().to_string()).collect()
}

fn body(plane: &str, name: &str, keys: &[&Identity]) -> Value {
    json!({
        "plane_id": plane, "name": name, "sealed": seal(plane, name, keys),
        "recipients": recipients(keys),
    })
}

/// An endpoint that names the secret.
async fn endpoint(running: &Running, plane: &str, name: &str, reference: &str) -> Value {
    let verification = json!({"scheme": "github", "secrets": [reference]});
    let body = json!({"plane_id": plane, "name": name, "verification": verification});
    running.create("/v1/endpoints", body).await
}

/// A component that says what zen-lock says.
pub(crate) fn lock(talk: &Talk, keys: &[&Identity], unopened: &[(&str, &str)]) -> ComponentStatus {
    let unopened = unopened.iter().map(|(name, code)| UnopenedSecret {
        name: (*name).to_owned(),
        code: (*code).to_owned(),
    });
    let usage = keys.iter().map(|key| KeyUsage {
        key_id: key.recipient().key_id(),
        secrets: 1,
    });
    ComponentStatus {
        applied_revision: talk.applied,
        lock: Some(LockStatus {
            recipients: recipients(keys),
            usage: usage.collect(),
            unopened: unopened.collect(),
            to_reseal: 1,
        }),
        ..component("lock", "")
    }
}

/// A plane with a session.
pub(crate) async fn connected(running: &Running, name: &str) -> (String, Agent, Talk) {
    let plane = running.plane(name, "edge").await;
    let by = running.enrol(&plane).await;
    let mut talk = by.connect(0).await.unwrap();
    talk.snapshot(&by).await;
    (plane, by, talk)
}

/// The next snapshot that shows what is looked for.
async fn until(talk: &mut Talk, by: &Agent, holds: impl Fn(&Snapshot) -> bool) -> Snapshot {
    loop {
        let snapshot = talk.snapshot(by).await;
        if holds(&snapshot) {
            return snapshot;
        }
    }
}

#[tokio::test]
async fn a_sealed_secret_reaches_its_plane_and_only_the_plane_opens_it() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let (plane, by, mut talk) = connected(&running, "edge").await;
    let (other, other_by, mut other_talk) = connected(&running, "other").await;
    let key = Identity::generate();
    let made = running
        .create("/v1/secrets", body(&plane, "github", &[&key]))
        .await;
    assert_eq!(made["version"], 1);
    assert_eq!(made["scope"], format!("{plane}/github"));
    assert_eq!(made["key_ids"], json!([key.recipient().key_id()]));
    assert_eq!(made["written_by"]["kind"], "key");
    let second = running
        .create("/v1/secrets", body(&plane, "a.b", &[&key]))
        .await;
    let told = until(&mut talk, &by, |s| s.secrets.len() == 2).await;
    let ids: Vec<_> = told
        .secrets
        .iter()
        .map(|secret| secret.id.clone())
        .collect();
    assert!(ids.is_sorted() && ids.contains(&text(&second, "id")));
    let github = told.secrets.iter().find(|s| s.name == "github").unwrap();
    assert_eq!(github.version, 1);
    let opened = unseal(github.sealed.as_bytes(), std::slice::from_ref(&key)).unwrap();
    assert!(opened.for_scope(&scope(&plane, "github")).is_ok());
    // Sealed anew, it is published anew.
    let path = format!("/v1/secrets/{}", text(&made, "id"));
    let newer = Identity::generate();
    let anew = json!({
        "sealed": seal(&plane, "github", &[&newer]), "recipients": recipients(&[&newer]),
        "note": "of the provider's new account",
    });
    let (status, changed) = running.call("PATCH", &path, Some(anew)).await;
    assert_eq!((status, &changed["version"]), (200, &json!(2)), "{changed}");
    let told = until(&mut talk, &by, |s| s.secrets.iter().any(|s| s.version == 2)).await;
    let github = told.secrets.iter().find(|s| s.name == "github").unwrap();
    assert_eq!(Value::from(github.sealed.clone()), changed["sealed"]);
    // Another plane learns nothing of it, also when it is published to.
    endpoint(&running, &other, "e", "lock:github").await;
    let told = until(&mut other_talk, &other_by, |s| !s.endpoints.is_empty()).await;
    assert!(told.secrets.is_empty());
    // In the list it stands without its text; removed, it is gone from the plane.
    let listed = running
        .get(&format!("/v1/secrets?plane_id={plane}&exact_name=github"))
        .await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert!(listed["items"][0].get("sealed").is_none(), "{listed}");
    assert_eq!(running.call("DELETE", &path, None).await.0, 204);
    let told = until(&mut talk, &by, |s| s.secrets.len() == 1).await;
    assert_eq!(told.secrets[0].name, "a.b");
    assert_eq!(running.call("GET", &path, None).await.0, 404);
    running.stop().await;
}

#[tokio::test]
async fn what_is_not_sealed_is_refused_with_its_code_and_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let key = Identity::generate();
    let good = body(&plane, "github", &[&key]);
    let sealed = text(&good, "sealed");
    let identity = key.to_secret_text().to_string();
    let armored = format!("{}\n{CANARY}\n", sealed.lines().next().unwrap());
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let (beside, cut) = (format!("{CANARY}\n{sealed}"), &sealed[..sealed.len() / 2]);
    let bodies = [
        ("SECRET_NOT_AGE", with("sealed", json!(CANARY))),
        ("SECRET_NOT_AGE", with("sealed", json!(beside))),
        ("SECRET_NOT_AGE", with("sealed", json!(""))),
        ("SECRET_TRUNCATED", with("sealed", json!(armored))),
        ("SECRET_TRUNCATED", with("sealed", json!(cut))),
        ("SECRET_IDENTITY_SENT", with("sealed", json!(identity))),
        ("SECRET_IDENTITY_SENT", with("note", json!(identity))),
        (
            "SECRET_IDENTITY_SENT",
            with("recipients", json!([identity])),
        ),
        (
            "SECRET_TOO_LARGE",
            with("sealed", json!("A".repeat(300_000))),
        ),
        ("VALIDATION_FAILED", with("recipients", json!([CANARY]))),
        ("VALIDATION_FAILED", with("recipients", json!([]))),
        ("VALIDATION_FAILED", with("value", json!(CANARY))),
        ("VALIDATION_FAILED", with("name", json!("Git_Hub"))),
        ("VALIDATION_FAILED", with("plane_id", json!(CANARY))),
        (
            "VALIDATION_FAILED",
            with("sealed", json!({"value": CANARY})),
        ),
    ];
    for (number, (code, body)) in bodies.iter().enumerate() {
        // Also what is remembered for a repetition holds nothing of it.
        let once = number.to_string();
        let once = [("idempotency-key", once.as_str())];
        let sent = running.sent("POST", "/v1/secrets", &once, body.to_string());
        let (status, _, answer) = sent.await;
        let told: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(
            (status, told["code"].as_str()),
            (422, Some(*code)),
            "{told}"
        );
        assert!(
            !answer.contains(CANARY) && !answer.contains(&identity[16..]),
            "{told}"
        );
    }
    let id = text(&running.create("/v1/secrets", good).await, "id");
    for (code, body) in &bodies[..2] {
        let patch = json!({"sealed": body["sealed"], "recipients": body["recipients"]});
        let (status, answer) = running
            .call("PATCH", &format!("/v1/secrets/{id}"), Some(patch))
            .await;
        assert_eq!(
            (status, answer["code"].as_str()),
            (422, Some(*code)),
            "{answer}"
        );
    }
    running.stop().await;
    nowhere(folder.path(), &[CANARY, &identity[16..]]).await;
}

/// No row of any table, and on SQLite no byte of any file, holds one of the words.
async fn nowhere(folder: &Path, words: &[&str]) {
    let mut open = database(folder).await;
    for table in ["secrets", "audit", "idempotency", "snapshots"] {
        let columns = if table == "secrets" { "sealed" } else { "1" };
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {columns} FROM {table}"
        )))
        .fetch_all(&mut open)
        .await
        .unwrap();
        assert!(table != "secrets" || rows.len() == 1);
    }
    let rows = sqlx::query("SELECT detail FROM audit")
        .fetch_all(&mut open)
        .await
        .unwrap();
    assert!(rows.len() > 1);
    for row in rows {
        let detail: String = row.get(0);
        assert!(!words.iter().any(|word| detail.contains(word)), "{detail}");
    }
    drop(open);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let found = words.iter().any(|word| {
                let word = word.as_bytes();
                bytes.windows(word.len()).any(|window| window == word)
            });
            assert!(!found, "{}", path.display());
        }
    }
}

#[tokio::test]
async fn name_and_plane_stay_and_a_new_text_comes_with_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let other = running.plane("other", "edge").await;
    let key = Identity::generate();
    let made = running
        .create("/v1/secrets", body(&plane, "github", &[&key]))
        .await;
    let path = format!("/v1/secrets/{}", text(&made, "id"));
    let sealed = seal(&plane, "github", &[&key]);
    for patch in [
        json!({"name": "other"}),
        json!({"plane_id": other}),
        json!({"sealed": sealed}),
        json!({"recipients": recipients(&[&Identity::generate()])}),
        json!({"sealed": null, "recipients": null}),
    ] {
        let (status, answer) = running.call("PATCH", &path, Some(patch)).await;
        assert_eq!(
            (status, &answer["code"]),
            (422, &json!("VALIDATION_FAILED")),
            "{answer}"
        );
    }
    let taken = running.call("POST", "/v1/secrets", Some(body(&plane, "github", &[&key])));
    assert_eq!(taken.await.1["code"], "NAME_TAKEN");
    running
        .create("/v1/secrets", body(&other, "github", &[&key]))
        .await;
    let note = json!({"note": "x"}).to_string();
    let (status, headers, _) = running
        .sent("PATCH", &path, &[("if-match", "\"1\"")], note.clone())
        .await;
    assert_eq!((status, headers["etag"].to_str().unwrap()), (200, "\"2\""));
    let late = running
        .sent("PATCH", &path, &[("if-match", "\"1\"")], note)
        .await;
    assert_eq!(late.0, 412);
    let late = running
        .sent("DELETE", &path, &[("if-match", "\"1\"")], String::new())
        .await;
    assert_eq!(late.0, 412);
    let shown = running.get(&path).await;
    assert_eq!(
        (&shown["sealed"], &shown["note"]),
        (&made["sealed"], &json!("x"))
    );
    // A request that is repeated stores once.
    let repeated = body(&plane, "twice", &[&key]).to_string();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let once = [("idempotency-key", "once")];
        let (status, _, answer) = running
            .sent("POST", "/v1/secrets", &once, repeated.clone())
            .await;
        assert_eq!(status, 201, "{answer}");
        ids.push(text(&serde_json::from_str(&answer).unwrap(), "id"));
    }
    assert_eq!(ids[0], ids[1]);
    running.stop().await;
}

#[tokio::test]
async fn a_secret_that_is_named_stays_unless_its_removal_is_forced() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let key = Identity::generate();
    let made = running
        .create("/v1/secrets", body(&plane, "api", &[&key]))
        .await;
    let path = format!("/v1/secrets/{}", text(&made, "id"));
    let target = json!({
        "plane_id": plane, "name": "billing", "url": "http://billing.internal/in",
        "auth": {"bearer": "lock:api"}, "signing_secrets": ["lock:api"],
    });
    let target = running.create("/v1/targets", target).await;
    let by = endpoint(&running, &plane, "in", "lock:api").await;
    // A longer name is another secret's.
    let missing = endpoint(&running, &plane, "else", "lock:api.v2").await;
    let shown = running.get(&path).await;
    let users = shown["used_by"].as_array().unwrap();
    let mut ids: Vec<_> = users.iter().map(|used| text(used, "id")).collect();
    ids.sort();
    assert_eq!(ids, [text(&by, "id"), text(&target, "id")], "{shown}");
    assert_eq!(by["warnings"], json!([]));
    assert_eq!(missing["warnings"][0]["code"], "SECRET_UNKNOWN");
    let listed = running.get("/v1/endpoints?exact_name=else").await;
    assert_eq!(listed["items"][0]["warnings"], missing["warnings"]);
    let (status, refused) = running.call("DELETE", &path, None).await;
    assert_eq!(
        (status, &refused["code"]),
        (409, &json!("IN_USE")),
        "{refused}"
    );
    assert!(
        ids.iter().all(|id| text(&refused, "detail").contains(id)),
        "{refused}"
    );
    for user in [
        format!("/v1/endpoints/{}", ids[0]),
        format!("/v1/targets/{}", ids[1]),
    ] {
        assert_eq!(running.call("DELETE", &path, None).await.0, 409);
        assert_eq!(running.call("DELETE", &user, None).await.0, 204);
    }
    assert_eq!(running.call("DELETE", &path, None).await.0, 204);
    let again = running
        .create("/v1/secrets", body(&plane, "api", &[&key]))
        .await;
    let by = endpoint(&running, &plane, "in-2", "lock:api").await;
    let path = format!("/v1/secrets/{}?force=true", text(&again, "id"));
    assert_eq!(running.call("DELETE", &path, None).await.0, 204);
    let by = running
        .get(&format!("/v1/endpoints/{}", text(&by, "id")))
        .await;
    assert_eq!(by["warnings"][0]["code"], "SECRET_UNKNOWN");
    let log = running.get("/v1/audit?action=secret.remove").await;
    assert_eq!(log["items"][0]["detail"]["forced"], true);
    running.stop().await;
}

#[tokio::test]
async fn what_zen_lock_says_stands_at_the_plane_the_secret_and_whoever_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let (plane, by, mut talk) = connected(&running, "edge").await;
    let (old, new) = (Identity::generate(), Identity::generate());
    for (name, key) in [("good", &new), ("old", &old), ("bad", &new)] {
        running
            .create("/v1/secrets", body(&plane, name, &[key]))
            .await;
    }
    let list = format!("/v1/secrets?plane_id={plane}");
    let state = |shown: &Value, name: &str| {
        let items = shown["items"].as_array().unwrap().iter();
        items
            .clone()
            .find(|item| item["name"] == name)
            .unwrap()
            .clone()
    };
    let before = running.get(&list).await;
    assert_eq!(state(&before, "good")["state"], "unknown");
    until(&mut talk, &by, |s| s.secrets.len() == 3).await;
    let named = endpoint(&running, &plane, "in", "lock:bad").await;
    until(&mut talk, &by, |s| s.endpoints.len() == 1).await;
    talk.heartbeat(&by, vec![component("ingester", "")]).await;
    let path = format!("/v1/endpoints/{}", text(&named, "id"));
    let needs = |shown: &Value| shown["warnings"][0]["code"] == "SECRET_NEEDS_LOCK";
    running.wait(&path, needs).await;
    let said = lock(&talk, &[&new, &old], &[("bad", "SECRET_DAMAGED")]);
    talk.heartbeat(&by, vec![said]).await;
    let shown = running
        .wait(&list, |shown| state(shown, "good")["state"] == "opens")
        .await;
    assert_eq!(state(&shown, "good")["sealed_to_old_key"], false);
    assert_eq!(state(&shown, "old")["sealed_to_old_key"], true);
    let bad = state(&shown, "bad");
    assert_eq!(
        (&bad["state"], &bad["code"]),
        (&json!("unopened"), &json!("SECRET_DAMAGED"))
    );
    assert!(text(&bad, "remedy").contains("seal the secret again"));
    let shown = running.get(&path).await;
    assert_eq!(shown["warnings"][0]["code"], "SECRET_DAMAGED");
    let shown = running.get(&format!("/v1/planes/{plane}")).await;
    let lock = &shown["lock"];
    assert_eq!(lock["recipients"], json!(recipients(&[&new, &old])));
    assert_eq!(lock["usage"][1]["key_id"], old.recipient().key_id());
    assert_eq!(lock["unopened"][0]["name"], "bad");
    assert_eq!(lock["to_reseal"], 1);
    running.stop().await;
}

#[tokio::test]
async fn what_zen_lock_sealed_again_is_kept_once_and_only_from_its_own_plane() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let (plane, by, mut talk) = connected(&running, "edge").await;
    let (_, _other_by, other_talk) = connected(&running, "other").await;
    let (old, new) = (Identity::generate(), Identity::generate());
    let made = running
        .create("/v1/secrets", body(&plane, "github", &[&old]))
        .await;
    let id = text(&made, "id");
    until(&mut talk, &by, |s| s.secrets.len() == 1).await;
    let resealed = |version, sealed: String, keys: Vec<String>| {
        agent(agent_message::Message::Resealed(Resealed {
            secret_id: id.clone(),
            version,
            sealed,
            recipients: keys,
        }))
    };
    let again = || {
        zen_seal::reseal(
            text(&made, "sealed").as_bytes(),
            std::slice::from_ref(&old),
            &[new.recipient()],
            2,
        )
        .unwrap()
    };
    let keys = || recipients(&[&new]);
    // Of another plane, of another version, not sealed, with wrong keys: none is taken.
    other_talk
        .say
        .send(resealed(1, again(), keys()))
        .await
        .unwrap();
    talk.say.send(resealed(2, again(), keys())).await.unwrap();
    talk.say
        .send(resealed(1, CANARY.to_owned(), keys()))
        .await
        .unwrap();
    talk.say
        .send(resealed(1, again(), recipients(&[&new, &old])))
        .await
        .unwrap();
    talk.say.send(resealed(1, again(), keys())).await.unwrap();
    // The first was taken: what comes after it is of an old version.
    talk.say.send(resealed(1, again(), keys())).await.unwrap();
    let told = until(&mut talk, &by, |s| s.secrets[0].version > 1).await;
    assert_eq!(told.secrets[0].version, 2);
    let opened = unseal(
        told.secrets[0].sealed.as_bytes(),
        std::slice::from_ref(&new),
    )
    .unwrap();
    assert!(opened.for_scope(&scope(&plane, "github")).is_ok());
    // The session goes on, and has heard everything before this.
    talk.heartbeat(&by, vec![component("lock", "")]).await;
    let path = format!("/v1/planes/{plane}");
    running
        .wait(&path, |shown| shown["components"][0]["component"] == "lock")
        .await;
    let shown = running.get(&format!("/v1/secrets/{id}")).await;
    assert_eq!(
        (&shown["version"], &shown["recipients"]),
        (&json!(2), &json!(keys()))
    );
    let writer = json!({"kind": "system", "id": "", "name": "zen-lock of edge"});
    assert_eq!(shown["written_by"], writer);
    let log = running.get("/v1/audit?action=secret.reseal").await;
    assert_eq!(log["items"].as_array().unwrap().len(), 1, "{log}");
    assert_eq!(log["items"][0]["actor"]["kind"], "system", "{log}");
    running.stop().await;
}

#[tokio::test]
async fn a_plane_keeps_no_more_secrets_than_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("edge", "edge").await;
    let key = Identity::generate();
    // Each as large as one may be: so many make up what a plane may hold.
    // What is in them does not matter here.
    let large = zen_seal::close(&vec![7; 190_000], &[key.recipient()]).unwrap();
    let most = zen_proto::limits::SECRETS_PER_PLANE_BYTES / large.len();
    for number in 0..most {
        let name = format!("s{number}");
        let body = json!({
            "plane_id": plane, "name": name, "sealed": large, "recipients": recipients(&[&key]),
        });
        running.create("/v1/secrets", body).await;
    }
    let body = json!({
        "plane_id": plane, "name": "more", "sealed": large, "recipients": recipients(&[&key]),
    });
    let (status, refused) = running.call("POST", "/v1/secrets", Some(body)).await;
    assert_eq!(
        (status, &refused["code"]),
        (409, &json!("LIMIT_REACHED")),
        "{refused}"
    );
    running.stop().await;
}

#[tokio::test]
async fn secrets_of_a_data_plane_are_its_operators_and_no_tenant_can_name_them() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let data = running.plane("data", "data").await;
    let key = Identity::generate();
    let mut other = second_tenant(&running).await;
    let stored = running
        .create("/v1/secrets", body(&data, "shared", &[&key]))
        .await;
    endpoint(&running, &data, "mine", "lock:shared").await;
    let sealed = body(&data, "theirs", &[&key]);
    let (status, refused) = other.call("POST", "/v1/secrets", sealed).await;
    assert_eq!(
        (status, &refused["errors"][0]["field"]),
        (422, &json!("plane_id"))
    );
    let target = |auth: Value| json!({"plane_id": data, "name": "t", "url": "https://theirs.example", "auth": auth});
    let (status, refused) = other
        .call(
            "POST",
            "/v1/targets",
            target(json!({"bearer": "lock:shared"})),
        )
        .await;
    assert_eq!(
        (status, &refused["errors"][0]["field"]),
        (422, &json!("auth.bearer"))
    );
    let (status, own) = other.call("POST", "/v1/targets", target(Value::Null)).await;
    assert_eq!(status, 201, "{own}");
    let path = format!("/v1/targets/{}", text(&own, "id"));
    let patch = json!({"auth": {"basic": "lock:shared"}});
    assert_eq!(other.call("PATCH", &path, patch).await.0, 422);
    let (_, listed) = other.call("GET", "/v1/secrets", Value::Null).await;
    assert_eq!(listed["items"], json!([]));
    let path = format!("/v1/secrets/{}", text(&stored, "id"));
    assert_eq!(other.call("GET", &path, Value::Null).await.0, 404);
    running.stop().await;
}
