//! Zero knowledge: secrets that cannot be mistaken go through the whole product, and everything that
//! it wrote, sent or holds is searched for them. They are found only where they must be used.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::json;
use zen_integration_tests::api::Api;
use zen_integration_tests::collector::Collector;
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::locks::Lock;
use zen_integration_tests::service::Service;
use zen_integration_tests::sign;
use zen_integration_tests::source::{Scheme, Source};
use zen_integration_tests::unit::Unit;
use zen_integration_tests::verbs::zen_at;
use zen_integration_tests::world::{PATIENCE, World};
use zen_proto::purpose::Purpose;

/// Checks webhooks: never sent anywhere.
const HOOK: &str = "canary-hook-8kT2vQ9xLm4RzB7n";
/// Proves deliveries: sent to the target and nowhere else.
const TOKEN: &str = "canary-token-5pW1cJ6yHd3FsG0q";
/// Signs deliveries: never sent anywhere. It is base64 of 24 bytes after its prefix.
const SIGNING: &str = "canary-sign-2nV7bX4mKt9Q";

/// What a search looks for: each canary as it is, in base64 and in hexadecimal.
fn signs() -> Vec<Vec<u8>> {
    let mut signs = Vec::new();
    for canary in [HOOK, TOKEN, SIGNING] {
        signs.push(canary.as_bytes().to_vec());
        signs.push(hex::encode(canary).into_bytes());
        // Wherever it begins in a longer text: without the characters that its neighbours share.
        for shift in 0..3 {
            let padded = [&[0_u8; 2][..shift], canary.as_bytes()].concat();
            let encoded = STANDARD.encode(padded);
            signs.push(encoded.as_bytes()[4..encoded.len() - 4].to_vec());
        }
    }
    signs
}

fn found(bytes: &[u8], signs: &[Vec<u8>]) -> BTreeSet<String> {
    let hits = signs.iter().filter(|sign| memmem(bytes, sign));
    hits.map(|sign| String::from_utf8_lossy(sign).into_owned())
        .collect()
}

fn memmem(bytes: &[u8], sign: &[u8]) -> bool {
    let first = sign[0];
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| byte == first) {
        if rest[at..].starts_with(sign) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files(&entry.path(), into);
        } else if kind.is_file() {
            into.push(entry.path());
        }
    }
}

/// Everything that a process holds in memory and may read itself.
fn memory(unit: &Unit) -> Vec<u8> {
    let pid = unit.pid().unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut all = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        // Not the program itself, and not what the kernel lends.
        let place = words.nth(3).unwrap_or_default();
        if !rights.starts_with("rw") || place.starts_with("[v") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let mut bytes = vec![0; usize::try_from(number(to) - number(from)).unwrap()];
        memory.seek(SeekFrom::Start(number(from))).unwrap();
        // A piece may go away between the two reads.
        if memory.read_exact(&mut bytes).is_ok() {
            all.extend_from_slice(&bytes);
        }
    }
    all
}

fn core_limit(unit: &Unit) -> String {
    let limits = fs::read_to_string(format!("/proc/{}/limits", unit.pid().unwrap())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    line.unwrap().split_whitespace().nth(4).unwrap().to_owned()
}

/// Seals a value as a person would, and has the control plane keep it.
async fn seal(world: &World, lock: &Lock, name: &str, purpose: Purpose, value: &str) {
    let recipient = lock.recipient("1").unwrap().to_string();
    let server = format!("http://{}", world.http.address);
    let key = world.dir.path().join("cp/api-key");
    let words = [
        "seal",
        "--plane",
        &lock.plane,
        "--name",
        name,
        "--purpose",
        purpose.as_str(),
        "--recipient",
        &recipient,
        "--put",
    ];
    let sealed = zen_at(&server, &key, &words, value).await.unwrap();
    assert!(sealed.status.success(), "{sealed:?}");
    let said = [sealed.stdout, sealed.stderr].concat();
    assert!(found(&said, &signs()).is_empty());
}

/// Whatever the product shows of itself.
async fn shown(world: &World, api: &Api, lock: &Lock) -> Vec<(String, Vec<u8>)> {
    let mut shown = Vec::new();
    for path in [
        "/v1/planes",
        "/v1/endpoints",
        "/v1/targets",
        "/v1/flows",
        "/v1/secrets",
        "/v1/audit",
        "/v1/overview",
        "/v1/openapi.json",
    ] {
        let page = api.get(path).await.unwrap();
        for secret in page["items"].as_array().into_iter().flatten() {
            if path == "/v1/secrets" {
                let one = format!("{path}/{}", secret["id"].as_str().unwrap());
                shown.push((
                    one.clone(),
                    api.get(&one).await.unwrap().to_string().into_bytes(),
                ));
            }
        }
        shown.push((path.to_owned(), page.to_string().into_bytes()));
    }
    let plane = format!("/v1/planes/{}", world.edge.id);
    shown.push((
        plane.clone(),
        api.get(&plane).await.unwrap().to_string().into_bytes(),
    ));
    for list in ["deliveries", "dead-letters"] {
        let path = format!("/v1/{list}?plane_id={}", world.edge.id);
        shown.push((
            path.clone(),
            api.get(&path).await.unwrap().to_string().into_bytes(),
        ));
    }
    let units = [
        &world.control_plane,
        &world.edge.agent,
        &world.edge.ingester,
        &world.edge.far,
        &lock.unit,
    ];
    for unit in units {
        for path in ["/metrics", "/debug/state", "/readyz"] {
            let (_, text) = unit.admin_get(path).await.unwrap();
            shown.push((format!("{} {path}", unit.binary), text.to_vec()));
        }
    }
    shown
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_found_only_where_they_must_be_used() {
    let collector = Collector::start().await.unwrap();
    let (mut world, mut lock) = sealed_world(&collector).await;
    let named = driven(&mut world).await;
    // zen-lock again from the start, and the control plane away: both write what they know.
    lock.unit.kill().await.unwrap();
    lock.unit.start().unwrap();
    lock.unit.ready().await.unwrap();

    searched(&world, &lock, &collector).await;
    no_longer_named(&world, &named).await;
}

/// A world whose edge plane has a zen-lock, and all three secrets in the control plane.
async fn sealed_world(collector: &Collector) -> (World, Lock) {
    let otlp = format!("otlp.endpoint=http://{}", collector.address);
    let mut world = World::start_with(&[otlp.clone(), "log.level=debug".to_owned()])
        .await
        .unwrap();
    let agent = world.edge.folder.join("a.sock");
    let mut lock = Lock::new(&world.edge.folder, &agent, &world.edge.id).unwrap();
    lock.unit
        .set("otlp.endpoint", format!("http://{}", collector.address));
    lock.unit.set("log.level", "debug");
    lock.unit.start().unwrap();
    lock.unit.ready().await.unwrap();
    let known = lock.address.to_string();
    for unit in [&mut world.edge.far, &mut world.edge.ingester] {
        unit.terminate().await.unwrap();
        unit.set("lock", &known);
        unit.start().unwrap();
    }
    let whsec = format!("whsec_{}", STANDARD.encode(SIGNING));
    seal(&world, &lock, "hook", Purpose::WebhookVerification, HOOK).await;
    seal(&world, &lock, "token", Purpose::TargetAuth, TOKEN).await;
    seal(&world, &lock, "sign", Purpose::TargetSigning, &whsec).await;
    (world, lock)
}

/// Paths of a flow, its endpoint and its target, after deliveries that work, webhooks that are refused,
/// and deliveries that are given up.
async fn driven(world: &mut World) -> [String; 3] {
    let service = Service::start().await.unwrap();
    let target = json!({ "name": "service", "url": service.url(),
        "signing_secrets": ["lock:sign"], "auth": { "bearer": "lock:token" } });
    let target = world.target(target).await.unwrap();
    let verification = json!({ "scheme": "github", "secrets": ["lock:hook"] });
    let retry = json!({ "max_attempts": 2, "initial_backoff_ms": 10, "max_backoff_ms": 10 });
    let edge = world.edge.id.clone();
    let endpoint = world
        .endpoint(&edge, "hook", verification, &target, retry)
        .await
        .unwrap();
    world.settled().await.unwrap();
    let id = endpoint["id"].as_str().unwrap();
    let url = format!("http://{}/hooks/{id}", world.edge.ingest.address);
    let source = Source::new(&url, Scheme::Github(HOOK.as_bytes().to_vec()));
    let event = source
        .post_until_accepted("one", Bytes::from_static(b"{}"), PATIENCE)
        .await
        .unwrap();
    let mut received = service.received.clone();
    let came = received.wait_for(|all| all.contains_key(&event));
    let seen = tokio::time::timeout(PATIENCE, came).await.unwrap().unwrap()[&event].clone();
    // Where they must be used: the target has the token, and what only the signing secret makes.
    let text = |name: &str| seen.headers[name].to_str().unwrap().to_owned();
    assert_eq!(text("authorization"), format!("Bearer {TOKEN}"));
    let signed = (
        text("webhook-id"),
        text("webhook-timestamp"),
        text("webhook-signature"),
    );
    let right = sign::is_standard_webhooks(
        SIGNING.as_bytes(),
        &signed.0,
        &signed.1,
        &seen.body,
        &signed.2,
    );
    assert!(right);
    let wrong = Source::new(&url, Scheme::Github(b"another".to_vec()));
    wrong
        .post("two", Bytes::from_static(b"{}"))
        .await
        .unwrap_err();
    service.answer(http::StatusCode::INTERNAL_SERVER_ERROR);
    source
        .post("three", Bytes::from_static(b"{\"n\":3}"))
        .await
        .unwrap();
    let api = &world.api;
    let letters = format!("/v1/dead-letters?plane_id={edge}");
    eventually("an event is given up", PATIENCE, || async {
        let given_up = api.get(&letters).await?;
        anyhow::ensure!(
            given_up["items"]
                .as_array()
                .is_some_and(|all| !all.is_empty()),
            "{given_up}"
        );
        Ok(())
    })
    .await
    .unwrap();
    let flows = api.get("/v1/flows").await.unwrap();
    let id = |of: &serde_json::Value| of["id"].as_str().unwrap().to_owned();
    [
        format!("/v1/flows/{}", id(&flows["items"][0])),
        format!("/v1/endpoints/{}", id(&endpoint)),
        format!("/v1/targets/{}", id(&target)),
    ]
}

/// Searches everything.
async fn searched(world: &World, lock: &Lock, collector: &Collector) {
    let signs = signs();
    for (what, bytes) in shown(world, &world.api, lock).await {
        let hits = found(&bytes, &signs);
        assert!(hits.is_empty(), "{what} shows {hits:?}");
    }
    eventually("spans were sent", PATIENCE, || async {
        let count = collector.spans.borrow().len();
        anyhow::ensure!(count > 4, "{count}");
        Ok(())
    })
    .await
    .unwrap();
    let spans = format!("{:?}", collector.spans.borrow());
    assert!(
        found(spans.as_bytes(), &signs).is_empty(),
        "a trace has them"
    );
    // Databases, journals, ledgers, snapshots, slices, logs, the audit.
    let mut all = Vec::new();
    files(world.dir.path(), &mut all);
    assert!(all.len() > 20, "{all:?}");
    for file in &all {
        let hits = found(&fs::read(file).unwrap(), &signs);
        assert!(hits.is_empty(), "{} holds {hits:?}", file.display());
    }
    // Nobody but the components that use them ever had them in memory.
    let strangers = [
        &world.control_plane,
        &world.edge.agent,
        &world.data.agent,
        &world.data.ingester,
        &world.data.far,
    ];
    for unit in strangers {
        let hits = found(&memory(unit), &signs);
        assert!(hits.is_empty(), "{} holds {hits:?}", unit.binary);
    }
    // The search finds what is there: the two that must have them do.
    assert!(found(&memory(&world.edge.ingester), &signs).contains(HOOK));
    assert!(found(&memory(&world.edge.far), &signs).contains(TOKEN));
    let users = [&world.edge.ingester, &world.edge.far, &lock.unit];
    for unit in strangers.iter().copied().chain(users) {
        assert_eq!(
            core_limit(unit),
            "0",
            "{} may write a core file",
            unit.binary
        );
    }
}

/// Once nothing names a secret any more, those who held it let it go.
async fn no_longer_named(world: &World, paths: &[String; 3]) {
    for path in paths {
        world.api.delete(path).await.unwrap();
    }
    let users = [
        (&world.edge.ingester, "ingester", HOOK),
        (&world.edge.far, "egress", TOKEN),
    ];
    for (unit, word, canary) in users {
        eventually("what nothing names is let go", PATIENCE, || async {
            let (_, state) = unit.admin_get("/debug/state").await?;
            let state: serde_json::Value = serde_json::from_slice(&state)?;
            let held = state[word]["lock"].as_array().map(Vec::len);
            anyhow::ensure!(held == Some(0), "{state}");
            Ok(())
        })
        .await
        .unwrap();
        // What it held was wiped. Buffers that HTTP/2 gave back may have it until they are used again.
        let left = memmem(&memory(unit), canary.as_bytes());
        eprintln!("{word}: a copy is left in freed memory: {left}");
    }
}
