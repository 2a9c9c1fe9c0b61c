//! The root is rotated, and a plane's CA, while planes are connected and events run both ways:
//! every event is taken at the first try and delivered at the first try.
#![cfg(test)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use zen_integration_tests::api::Api;
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::service::Service;
use zen_integration_tests::source::{Scheme, Source};
use zen_integration_tests::world::{PATIENCE, World};

const SECRET: &[u8] = b"It's a secret to everybody";
/// Between two events of one source.
const PACE: Duration = Duration::from_millis(20);
/// Sessions that each plane may open through a whole rotation: the first, and one after the old
/// root has gone.
const SESSIONS: usize = 3;

/// Events on their way, from a source to the service.
struct Traffic {
    over: Arc<AtomicBool>,
    posting: Vec<JoinHandle<anyhow::Result<Vec<String>>>>,
}

impl Traffic {
    fn start(sources: &[Source]) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let start = |(number, source): (usize, &Source)| {
            let (source, over) = (source.clone(), Arc::clone(&over));
            tokio::spawn(async move {
                let mut accepted = Vec::new();
                let mut pace = tokio::time::interval(PACE);
                while !over.load(Ordering::SeqCst) {
                    pace.tick().await;
                    let id = format!("s{number}-{}", accepted.len());
                    let body = Bytes::from(json!({ "id": id }).to_string());
                    // One that is refused ends the test.
                    accepted.push(source.post(&id, body).await?);
                }
                Ok(accepted)
            })
        };
        let posting = sources.iter().enumerate().map(start).collect();
        Self { over, posting }
    }

    /// Ends it, and waits until all that was accepted has come.
    async fn end(self, service: &Service) -> usize {
        self.over.store(true, Ordering::SeqCst);
        let mut count = 0;
        for posting in self.posting {
            let accepted = posting.await.unwrap().unwrap();
            assert!(accepted.len() > 10, "events were posted: {accepted:?}");
            count += accepted.len();
            let mut received = service.received.clone();
            let all = received.wait_for(|all| accepted.iter().all(|id| all.contains_key(id)));
            let came = tokio::time::timeout(PATIENCE, all).await;
            assert!(came.is_ok(), "not all of {} came", accepted.len());
        }
        count
    }
}

/// A target, and an endpoint in each plane with a flow to it.
async fn both_ways(world: &mut World, service: &Service) -> Vec<Source> {
    world.data.secret("github", SECRET).unwrap();
    world.edge.secret("github", SECRET).unwrap();
    let body = json!({ "name": "t", "url": service.url() });
    let target = world.target(body).await.unwrap();
    let mut sources = Vec::new();
    for (plane, ingest, name) in [
        (world.data.id.clone(), world.data.ingest.address, "public"),
        (world.edge.id.clone(), world.edge.ingest.address, "local"),
    ] {
        let verification = json!({ "scheme": "github", "secrets": ["file:github"] });
        let endpoint = world.endpoint(&plane, name, verification, &target, json!({}));
        let endpoint = endpoint.await.unwrap();
        let url = format!("http://{ingest}/hooks/{}", endpoint["id"].as_str().unwrap());
        sources.push(Source::new(url, Scheme::Github(SECRET.to_vec())));
    }
    world.settled().await.unwrap();
    sources
}

async fn roots(api: &Api) -> Vec<Value> {
    let roots = api.get("/v1/roots").await.unwrap();
    roots["items"].as_array().unwrap().clone()
}

/// Waits until the next step of the root waits for nobody.
async fn ready(api: &Api, id: &str) -> anyhow::Result<Value> {
    eventually("the root's next step can be taken", PATIENCE, || async {
        let root = roots(api).await.into_iter().find(|root| root["id"] == id);
        let root = root.unwrap_or_default();
        anyhow::ensure!(root["waits_for"] == json!([]), "{root}");
        Ok(root)
    })
    .await
}

fn id(root: &Value) -> String {
    root["id"].as_str().unwrap().to_owned()
}

/// The code with which something is refused.
async fn refusal(api: &Api, method: Method, path: &str, body: Option<&Value>) -> String {
    let (status, answer) = api.call(method, path, body).await.unwrap();
    let problem: Value = serde_json::from_slice(&answer).unwrap_or_default();
    assert!(status.is_client_error(), "{status} {problem}");
    problem["code"].as_str().unwrap_or_default().to_owned()
}

/// Nothing of a plane failed or was refused.
async fn nothing_failed(world: &World) {
    for plane in [&world.data.id, &world.edge.id] {
        let seen = world.api.get(&format!("/v1/planes/{plane}")).await.unwrap();
        for counted in seen["counters"].as_array().unwrap() {
            for what in ["failed_attempts", "refused", "dead_lettered"] {
                assert_eq!(counted[what], 0, "{what}: {counted}");
            }
        }
    }
}

fn sessions(world: &World) -> usize {
    let log = world.control_plane.log_text();
    log.matches("session opened").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_is_rotated_under_load_and_every_event_is_delivered_at_the_first_try() {
    let mut world = World::start().await.unwrap();
    let service = Service::start().await.unwrap();
    let sources = both_ways(&mut world, &service).await;
    let api = world.api.clone();
    let traffic = Traffic::start(&sources);

    let old = id(&roots(&api).await[0]);
    let new = id(&api.post("/v1/roots", &json!({})).await.unwrap());
    let again = refusal(&api, Method::POST, "/v1/roots", Some(&json!({}))).await;
    assert_eq!(again, "ROOT_ROTATION_UNDER_WAY");
    let sign = format!("/v1/roots/{new}/sign");
    // Nobody can have said for long enough that it trusts it.
    let early = refusal(&api, Method::POST, &sign, Some(&json!({}))).await;
    assert_eq!(early, "ROOT_NOT_ACKNOWLEDGED");
    let announced = ready(&api, &new).await.unwrap();
    assert_eq!(announced["acknowledged"], 2, "{announced}");
    assert_eq!(announced["stage"], "announced");

    let signs = api.post(&sign, &json!({})).await.unwrap();
    assert_eq!(signs["stage"], "signing");
    let retire = format!("/v1/roots/{old}");
    let early = refusal(&api, Method::DELETE, &retire, None).await;
    assert_eq!(early, "ROOT_NOT_ACKNOWLEDGED");
    let never = refusal(&api, Method::DELETE, &format!("/v1/roots/{new}"), None).await;
    assert_eq!(never, "ROOT_STAGE");
    ready(&api, &old).await.unwrap();

    api.delete(&retire).await.unwrap();
    assert_eq!(roots(&api).await.len(), 1);
    eventually("the planes trust the new root alone", PATIENCE, || async {
        let root = roots(&api).await.remove(0);
        anyhow::ensure!(root["acknowledged"] == 2, "{root}");
        for folder in [&world.data.folder, &world.edge.folder] {
            let stored = std::fs::read_to_string(folder.join("agent/identity.json"))?;
            let stored: Value = serde_json::from_str(&stored)?;
            let pem = stored["roots_pem"].as_str().unwrap_or_default();
            anyhow::ensure!(pem.matches("BEGIN").count() == 1, "two roots are stored");
        }
        Ok(())
    })
    .await
    .unwrap();
    world.settled().await.unwrap();
    let count = traffic.end(&service).await;
    nothing_failed(&world).await;
    let opened = sessions(&world);
    println!("{count} events through the rotation, {opened} sessions of two planes");
    assert!(opened <= 2 * SESSIONS, "{opened} sessions were opened");

    // All of it stands on disk.
    for unit in world.units() {
        unit.kill().await.unwrap();
    }
    for unit in world.units() {
        unit.start().unwrap();
    }
    world.settled().await.unwrap();
    let traffic = Traffic::start(&sources);
    let seen = service.received.borrow().len();
    let mut received = service.received.clone();
    let more = received.wait_for(|all| all.len() > seen + 40);
    tokio::time::timeout(PATIENCE, more).await.unwrap().unwrap();
    traffic.end(&service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plane_ca_is_rotated_on_demand_and_nothing_is_interrupted() {
    let mut world = World::start().await.unwrap();
    let service = Service::start().await.unwrap();
    let sources = both_ways(&mut world, &service).await;
    let api = world.api.clone();
    let traffic = Traffic::start(&sources);
    let mut keys = HashMap::new();
    for plane in [&world.data.id, &world.edge.id] {
        let path = format!("/v1/planes/{plane}/rotate-ca");
        api.post(&path, &json!({})).await.unwrap();
        let seen = api.get(&format!("/v1/planes/{plane}")).await.unwrap();
        let timeline = seen["timeline"].as_array().unwrap();
        let renewed = timeline
            .iter()
            .find(|event| event["detail"] == "plane CA renewed");
        keys.insert(plane.clone(), renewed.unwrap()["key_fingerprint"].clone());
    }
    assert_eq!(keys.len(), 2);
    // Each component has a leaf by it.
    for unit in [
        &world.data.far,
        &world.data.ingester,
        &world.edge.far,
        &world.edge.ingester,
    ] {
        eventually(
            "the component has another certificate",
            PATIENCE,
            || async {
                let issued = unit.log_text().matches("certificate issued").count();
                anyhow::ensure!(issued >= 2, "{issued} certificates");
                Ok(())
            },
        )
        .await
        .unwrap();
    }
    traffic.end(&service).await;
    nothing_failed(&world).await;
    assert_eq!(sessions(&world), 2, "sessions stay open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plane_that_is_away_keeps_a_root_from_signing_until_it_is_named() {
    let mut world = World::start().await.unwrap();
    let api = world.api.clone();
    world.data.agent.kill().await.unwrap();
    let old = id(&roots(&api).await[0]);
    let new = id(&api.post("/v1/roots", &json!({})).await.unwrap());
    let sign = format!("/v1/roots/{new}/sign");
    let waiting = eventually(
        "only the plane that is away is waited for",
        PATIENCE,
        || async {
            let root = roots(&api).await.into_iter().find(|root| root["id"] == new);
            let waits = root.unwrap_or_default()["waits_for"].clone();
            let away = waits.as_array().is_some_and(|waits| waits.len() == 1);
            anyhow::ensure!(away && waits[0]["connected"] == false, "{waits}");
            Ok(waits)
        },
    )
    .await
    .unwrap();
    assert_eq!(waiting[0]["id"], world.data.id.as_str());
    let early = refusal(&api, Method::POST, &sign, Some(&json!({}))).await;
    assert_eq!(early, "ROOT_NOT_ACKNOWLEDGED");
    // One that is connected is waited for, named or not; the other one is let go.
    let named = json!({ "without": [world.data.id] });
    api.post(&sign, &named).await.unwrap();
    eventually(
        "the plane that is there has its new CA",
        PATIENCE,
        || async {
            let root = roots(&api).await.into_iter().find(|root| root["id"] == old);
            let waits = root.unwrap_or_default()["waits_for"].clone();
            anyhow::ensure!(
                waits.as_array().is_some_and(|all| all.len() == 1),
                "{waits}"
            );
            Ok(())
        },
    )
    .await
    .unwrap();
    let retire = format!("/v1/roots/{old}");
    let early = refusal(&api, Method::DELETE, &retire, None).await;
    assert_eq!(early, "ROOT_NOT_ACKNOWLEDGED");
    let named = format!("{retire}?without={}", world.data.id);
    api.delete(&named).await.unwrap();
    // It can come back by enrolling anew, and by nothing else.
    world.data.agent.start().unwrap();
    let folder = world.data.folder.join("agent/enrollment");
    let path = format!("/v1/planes/{}/bundles", world.data.id);
    let issued = api.post(&path, &json!({})).await.unwrap();
    zen_integration_tests::world::write_bundle(&issued, &folder).unwrap();
    world.settled().await.unwrap();
}
