//! Who gets nothing, and what is said about it.

use zen_integration_tests::fake_agent::FakeAgent;
use zen_integration_tests::locks::{Client, Lock, open, question, seal};
use zen_proto::agent::v1::Slice;
use zen_proto::codes::SecretCode;
use zen_proto::purpose::Purpose;
use zen_seal::Identity;

use crate::plane::{LOCKED, Plane, bare};

const SECRET: &[u8] = b"nobody else's business";
const PURPOSE: &str = "target-auth";

/// A zen-lock that serves a plane without any configuration but its own.
async fn alone() -> (tempfile::TempDir, FakeAgent, Lock, Client) {
    let dir = tempfile::Builder::new().prefix("zen").tempdir().unwrap();
    let socket = dir.path().join("a.sock");
    let slice = Slice {
        snapshot: Some(bare()),
        ..Slice::default()
    };
    let agent = FakeAgent::start(&socket, slice).unwrap();
    let mut lock = Lock::new(dir.path(), &socket, &bare().plane_id).unwrap();
    lock.unit.start().unwrap();
    lock.unit.ready().await.unwrap();
    let client = lock.client().unwrap();
    (dir, agent, lock, client)
}

/// What is sealed for somebody else, or not as it was sealed, each under the name of its code.
fn spoil(lock: &Lock) {
    let put = |name: &str, sealed: &str| std::fs::write(lock.file(name), sealed).unwrap();
    let purposes = [Purpose::TargetAuth];
    let values = [("value", SECRET)];
    let own = lock.recipient("1").unwrap();
    let sealed = |name: &str| lock.sealed(name, &purposes, &values).unwrap();
    put("q7-good", &sealed("q7-good"));
    put("q7-renamed", &sealed("q7-good"));
    let elsewhere = zen_proto::ids::Id::generate(9, [9; 10]);
    let elsewhere: zen_proto::ids::PlaneId = elsewhere;
    let copied = seal(
        &elsewhere.to_string(),
        "q7-copied",
        &purposes,
        &values,
        &own,
    );
    put("q7-copied", &copied.unwrap());
    let cut = sealed("q7-truncated");
    put("q7-truncated", &cut[..cut.len() * 2 / 3]);
    let foreign = Identity::generate().recipient();
    let foreign = seal(&lock.plane, "q7-foreign", &purposes, &values, &foreign);
    put("q7-foreign", &foreign.unwrap());
    put(
        "q7-large",
        &"x".repeat(zen_proto::limits::SECRET_SEALED + 1),
    );
    put("q7-plain", std::str::from_utf8(SECRET).unwrap());
    put("q7-altered", &altered(&sealed("q7-altered")));
    put(
        "q7-nobodys",
        &lock.sealed("q7-nobodys", &[], &values).unwrap(),
    );
    let bare = zen_seal::close(SECRET, &[own]).unwrap();
    put("q7-bare", &bare);
}

/// One character of the last full line, which is payload, is another.
fn altered(sealed: &str) -> String {
    let mut lines: Vec<String> = sealed.lines().map(ToOwned::to_owned).collect();
    let line = lines.len() - 3;
    let other = if lines[line].starts_with('A') {
        "B"
    } else {
        "A"
    };
    lines[line].replace_range(..1, other);
    lines.join("\n") + "\n"
}

#[tokio::test]
async fn each_refusal_has_its_code_is_counted_and_tells_nothing_else() {
    let (_dir, _agent, lock, mut client) = alone().await;
    spoil(&lock);
    let good = open(&mut client, question("q7-good", PURPOSE))
        .await
        .unwrap();
    assert_eq!(&good.value[..], SECRET);
    let mut asked = Vec::new();
    for (name, purpose, code) in [
        ("q7-good", "target-signing", SecretCode::NotAllowed),
        ("q7-good", "webhook-verification", SecretCode::NotAllowed),
        ("q7-good", "", SecretCode::NotAllowed),
        ("q7-nobodys", PURPOSE, SecretCode::NotAllowed),
        ("q7-absent", PURPOSE, SecretCode::Unknown),
        ("../identities/1", PURPOSE, SecretCode::Unknown),
        ("q7-renamed", PURPOSE, SecretCode::ScopeMismatch),
        ("q7-copied", PURPOSE, SecretCode::ScopeMismatch),
        ("q7-truncated", PURPOSE, SecretCode::Truncated),
        ("q7-altered", PURPOSE, SecretCode::Damaged),
        ("q7-foreign", PURPOSE, SecretCode::WrongRecipient),
        ("q7-large", PURPOSE, SecretCode::TooLarge),
        ("q7-plain", PURPOSE, SecretCode::NotAge),
        ("q7-bare", PURPOSE, SecretCode::Malformed),
    ] {
        let status = client.open(question(name, purpose)).await.unwrap_err();
        let said = status
            .metadata()
            .get("zen-code")
            .map(|c| c.to_str().unwrap());
        assert_eq!(said, Some(code.code()), "{name} for {purpose:?}");
        assert_eq!(status.message(), code.remedy());
        assert!(status.details().is_empty());
        // Of what gRPC itself adds nothing speaks of the secret either.
        let whole = format!("{status:?}");
        assert!(!whole.contains("q7-"), "{whole}");
        let label = if purpose.is_empty() {
            "unknown"
        } else {
            purpose
        };
        asked.push((label, code.code()));
    }
    let mut key = question("q7-good", PURPOSE);
    key.key = "other".to_owned();
    let refused = open(&mut client, key).await.unwrap_err();
    assert_eq!(refused.to_string(), "SECRET_KEY_UNKNOWN");
    for (purpose, code) in &asked {
        let labels = [("purpose", *purpose), ("outcome", *code)];
        let counted = lock.metric("zen_lock_opens_total", &labels).await.unwrap();
        let times = asked
            .iter()
            .filter(|one| **one == (*purpose, *code))
            .count();
        assert_eq!(
            counted,
            f64::from(u32::try_from(times).unwrap()),
            "{labels:?}"
        );
    }
    let written = std::fs::read_to_string(lock.audit()).unwrap();
    assert_eq!(written.lines().count(), asked.len() + 2);
    let secret = std::str::from_utf8(SECRET).unwrap();
    assert!(!written.contains(secret) && !lock.unit.log_text().contains(secret));
}

#[tokio::test]
async fn what_does_not_open_is_known_before_anybody_asks() {
    let (_dir, agent, lock, _client) = alone().await;
    spoil(&lock);
    let mut statuses = agent.statuses();
    let told = statuses.wait_for(|all| {
        let lock = all.get("lock").and_then(|status| status.lock.as_ref());
        lock.is_some_and(|lock| lock.unopened.len() == 8)
    });
    let told = tokio::time::timeout(std::time::Duration::from_secs(30), told).await;
    let told = told.unwrap().unwrap()["lock"].lock.clone().unwrap();
    let own = lock.recipient("1").unwrap();
    assert_eq!(told.recipients, [own.to_string()]);
    assert_eq!(told.usage.len(), 1);
    assert_eq!(
        (&*told.usage[0].key_id, told.usage[0].secrets),
        (&*own.key_id(), 2)
    );
    let codes: Vec<_> = told
        .unopened
        .iter()
        .map(|one| (&*one.name, &*one.code))
        .collect();
    assert!(
        codes.contains(&("q7-renamed", "SECRET_SCOPE_MISMATCH")),
        "{codes:?}"
    );
    let view = lock.view("secrets").await.unwrap();
    assert_eq!(view["q7-foreign"]["code"], "SECRET_WRONG_RECIPIENT");
    assert_eq!(view["q7-good"]["key_id"], own.key_id());
}

#[tokio::test]
async fn a_component_learns_the_code_and_uses_nothing() {
    let mut plane = Plane::new(&LOCKED).await.unwrap();
    plane.seal_all().unwrap();
    // The token is for signing only, and the webhook's secret for another name.
    let values = [("value", SECRET)];
    let lock = &plane.lock;
    lock.put("token", &[Purpose::TargetSigning], &values)
        .unwrap();
    std::fs::copy(lock.file("signing"), lock.file("hook")).unwrap();
    plane.start().await.unwrap();
    Plane::shows(
        &plane.egress,
        "egress",
        "lock:token",
        Some("SECRET_NOT_ALLOWED"),
    )
    .await
    .unwrap();
    Plane::shows(
        &plane.ingester,
        "ingester",
        "lock:hook/current",
        Some("SECRET_SCOPE_MISMATCH"),
    )
    .await
    .unwrap();
    let refused = plane.source(SECRET).post("one", bytes::Bytes::new()).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("SECRET_UNAVAILABLE"), "{refused}");
}
