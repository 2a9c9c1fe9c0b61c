//! Intake over a disk that fails, and under a tracer that collects.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use prost::Message;
use tokio_util::task::TaskTracker;
use tracing_subscriber::layer::SubscriberExt;
use zen_chassis::Stage;
use zen_chassis::secret::SecretStore;
use zen_journal::sim::SimDisk;
use zen_journal::{Journal, Options};
use zen_proto::agent::v1::Slice;
use zen_proto::delivery::v1::Event;
use zen_proto::ids::{EndpointId, Id};
use zen_proto::snapshot::v1::{Endpoint, Scheme, Snapshot, Verification};

use super::{Intake, is_traced};
use crate::configure::Configuration;
use crate::counters::Counters;
use crate::metrics::Metrics;
use crate::store::Store;

struct World {
    intake: Arc<Intake>,
    disk: SimDisk,
    secrets: tempfile::TempDir,
}

fn endpoint_id(scheme: Scheme) -> String {
    EndpointId::generate(1_700_000_000_000, [scheme as u8; 10]).to_string()
}

fn endpoint(scheme: Scheme) -> Endpoint {
    let secrets = vec!["file:secret".to_owned()];
    let verification = Verification {
        scheme: scheme as i32,
        secrets,
        tolerance_seconds: 0,
    };
    Endpoint {
        id: endpoint_id(scheme),
        verification: Some(verification),
        ..Endpoint::default()
    }
}

impl World {
    async fn new() -> Self {
        let stage = Stage::detached("ingester").unwrap();
        let disk = SimDisk::new(1);
        let (journal, _) = Journal::open_on(Arc::new(disk.clone()), "/journal", Options::default())
            .await
            .unwrap();
        let (store, _keeper) = Store::over(journal, 1 << 30, &stage).await.unwrap();
        let secrets = tempfile::tempdir().unwrap();
        std::fs::write(secrets.path().join("secret"), "It's a Secret to Everybody").unwrap();
        let folder = SecretStore::in_folder(secrets.path().to_owned());
        let configuration = Configuration::new(folder, Counters::default());
        let endpoints = vec![endpoint(Scheme::None), endpoint(Scheme::Github)];
        let snapshot = Some(Snapshot {
            revision: 1,
            endpoints,
            ..Snapshot::default()
        });
        configuration.apply(&Slice {
            snapshot,
            ..Slice::default()
        });
        let intake = Intake {
            configuration: Arc::new(configuration),
            store,
            metrics: Metrics::new(&stage.meter),
            stage,
            appends: TaskTracker::new(),
            request_timeout: Duration::from_secs(10),
            traced: is_traced(),
        };
        Self {
            intake: Arc::new(intake),
            disk,
            secrets,
        }
    }

    async fn post(
        &self,
        scheme: Scheme,
        headers: &[(&str, &str)],
        body: &'static str,
    ) -> (u16, HeaderMap, serde_json::Value) {
        let mut request = Request::post(format!("/hooks/{}", endpoint_id(scheme)));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::from_static(body.as_bytes())))
            .unwrap();
        let answer = self.intake.answer(request, [127, 0, 0, 1].into()).await;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (
            parts.status.as_u16(),
            parts.headers,
            serde_json::from_slice(&body).unwrap(),
        )
    }

    async fn events(&self) -> Vec<Event> {
        let journal = self.intake.store.journal();
        let mut reader = journal.reader(journal.start());
        let mut events = Vec::new();
        while reader.position() < journal.end() {
            let records = reader.next_batch(100, 1 << 20).await.unwrap();
            events.extend(
                records
                    .into_iter()
                    .map(|r| Event::decode(r.payload).unwrap()),
            );
        }
        events
    }
}

const SIGNED: [(&str, &str); 2] = [
    (
        "x-hub-signature-256",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    ),
    ("x-github-delivery", "one"),
];

#[tokio::test]
async fn a_full_disk_is_503_and_the_repeat_is_taken_once_there_is_space() {
    let world = World::new().await;
    world.disk.limit_growth(Some(0));
    let (status, headers, body) = world.post(Scheme::Github, &SIGNED, "Hello, World!").await;
    assert_eq!(
        (status, body["code"].as_str()),
        (503, Some("JOURNAL_DISK_FULL"))
    );
    assert!(headers.contains_key("retry-after"));
    assert!(
        world.intake.stage.ready.is_ready(),
        "it may take events again by itself"
    );
    world.disk.limit_growth(None);
    // The first failed, so that its id is free.
    let (status, ..) = world.post(Scheme::Github, &SIGNED, "Hello, World!").await;
    assert_eq!(status, 202);
    assert_eq!(world.events().await.len(), 1);
    drop(world.secrets);
}

#[tokio::test]
async fn a_failed_sync_is_no_2xx_then_or_later_and_says_so_in_readiness() {
    let world = World::new().await;
    world.disk.fail_next_sync();
    let (status, _, body) = world.post(Scheme::None, &[], "").await;
    assert_eq!((status, body["code"].as_str()), (503, Some("JOURNAL_IO")));
    let (status, _, body) = world.post(Scheme::None, &[], "").await;
    assert_eq!(
        (status, body["code"].as_str()),
        (503, Some("JOURNAL_POISONED"))
    );
    let pending = world.intake.stage.ready.pending();
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0].0, "journal");
    assert!(
        pending[0].1.starts_with("JOURNAL_POISONED: "),
        "{pending:?}"
    );
    assert!(world.events().await.is_empty());
}

#[tokio::test]
async fn repeats_under_way_take_over_from_a_first_that_fails() {
    let world = World::new().await;
    world.disk.limit_growth(Some(0));
    let posts = (0..4).map(|_| world.post(Scheme::Github, &SIGNED, "Hello, World!"));
    let answers = futures::future::join_all(posts).await;
    assert!(answers.iter().all(|(status, ..)| *status == 503));
    world.disk.limit_growth(None);
    let posts = (0..4).map(|_| world.post(Scheme::Github, &SIGNED, "Hello, World!"));
    let answers = futures::future::join_all(posts).await;
    let ids: Vec<_> = answers
        .iter()
        .map(|(_, _, body)| body["event_id"].clone())
        .collect();
    assert!(
        ids[0].is_string() && ids.iter().all(|id| *id == ids[0]),
        "{ids:?}"
    );
    assert_eq!(world.events().await.len(), 1);
}

#[tokio::test]
async fn a_source_that_gives_up_leaves_its_event_known() {
    let world = World::new().await;
    let intake = Arc::clone(&world.intake);
    let given_up = async {
        tokio::select! {
            biased;
            _ = world.post(Scheme::Github, &SIGNED, "Hello, World!") => {}
            // As soon as the request waits for anything, it is dropped.
            () = std::future::ready(()) => {}
        }
    };
    given_up.await;
    intake.appends.close();
    intake.appends.wait().await;
    let (status, ..) = world.post(Scheme::Github, &SIGNED, "Hello, World!").await;
    assert_eq!(status, 202);
    assert_eq!(world.events().await.len(), 1);
}

#[tokio::test]
async fn a_collected_span_continues_the_sources_trace_into_the_event() {
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _here = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let world = World::new().await;
    assert!(world.intake.traced);
    let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (status, ..) = world
        .post(Scheme::None, &[("traceparent", context)], "")
        .await;
    assert_eq!(status, 202);
    let kept = world.events().await.remove(0).traceparent;
    assert_eq!(kept[..36], context[..36], "the same trace");
    assert_ne!(kept[36..52], context[36..52], "our own span of it");
}
