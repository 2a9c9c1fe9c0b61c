//! A plane's folder with an agent, and an ingester that can be started, stopped and started again in it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use bytesize::ByteSize;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use zen_chassis::net::Address;
use zen_chassis::{App, Clock, Stage};
use zen_ingester::{Config, Ingester};
use zen_journal::{Journal, Options};
use zen_proto::agent::v1::Slice;
use zen_proto::delivery::v1::Event;
use zen_proto::ids::{EndpointId, FlowId, Id};
use zen_proto::snapshot::v1::{Endpoint, Flow, Scheme, Snapshot, Verification};

use crate::agent::{DOMAIN, FakeAgent};

/// Time for anything that has to happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A folder, an agent, a configuration.
pub(crate) struct Plane {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) agent: FakeAgent,
    pub(crate) config: Config,
    pub(crate) snapshot: Snapshot,
    pub(crate) clock: Clock,
}

/// A running ingester.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) stage: Stage,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// An answer, read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: serde_json::Value,
}

impl Answer {
    pub(crate) fn event_id(&self) -> &str {
        assert_eq!(self.status, StatusCode::ACCEPTED, "{self:?}");
        let id = self.body["event_id"].as_str().unwrap();
        assert_eq!(self.headers["x-zen-event-id"], id);
        id
    }

    /// Status and code of a refusal, which says something to people too.
    pub(crate) fn refusal(&self) -> (u16, &str) {
        assert!(!self.body["detail"].as_str().unwrap().is_empty());
        (self.status.as_u16(), self.body["code"].as_str().unwrap())
    }
}

pub(crate) fn endpoint_id(n: u8) -> String {
    EndpointId::generate(1_700_000_000_000, [n; 10]).to_string()
}

pub(crate) fn flow_id(n: u8) -> String {
    FlowId::generate(1_700_000_000_000, [n; 10]).to_string()
}

impl Plane {
    /// A plane whose endpoint 1 verifies nothing.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agent_socket = folder.path().join("agent.sock");
        let agent = FakeAgent::start(&agent_socket);
        let mut config = Config {
            state_dir: folder.path().join("state"),
            listen: "127.0.0.1:0".parse().unwrap(),
            secrets_dir: folder.path().join("secrets"),
            egress: Some(Address::Unix(folder.path().join("egress.sock"))),
            ..Config::default()
        };
        config.agent.address = Address::Unix(agent_socket);
        config.journal.segment_size = ByteSize::mib(1);
        std::fs::create_dir(&config.secrets_dir).unwrap();
        let snapshot = Snapshot {
            version: 1,
            revision: 1,
            tenant_id: agent.authority.tenant.to_string(),
            plane_id: agent.authority.plane.to_string(),
            ..Snapshot::default()
        };
        let mut plane = Self {
            folder,
            agent,
            config,
            snapshot,
            clock: Clock::system(),
        };
        plane.endpoint(1, Scheme::None, &[]);
        plane
    }

    pub(crate) fn egress_socket(&self) -> PathBuf {
        self.folder.path().join("egress.sock")
    }

    pub(crate) fn secret(&self, name: &str, value: &str) {
        std::fs::write(self.config.secrets_dir.join(name), value).unwrap();
    }

    pub(crate) fn endpoint(&mut self, n: u8, scheme: Scheme, secrets: &[&str]) -> &mut Endpoint {
        self.snapshot.endpoints.push(Endpoint {
            id: endpoint_id(n),
            tenant_id: self.snapshot.tenant_id.clone(),
            verification: Some(Verification {
                scheme: scheme as i32,
                secrets: secrets.iter().map(ToString::to_string).collect(),
                ..Verification::default()
            }),
            ..Endpoint::default()
        });
        self.snapshot.endpoints.last_mut().unwrap()
    }

    /// A flow from endpoint 1; to this plane if `plane` is none.
    pub(crate) fn flow(&mut self, n: u8, plane: Option<&str>) {
        let own = self.snapshot.plane_id.clone();
        self.snapshot.flows.push(Flow {
            id: flow_id(n),
            tenant_id: self.snapshot.tenant_id.clone(),
            endpoint_id: endpoint_id(1),
            endpoint_plane_id: own.clone(),
            target_id: format!("tgt_{n}"),
            target_plane_id: plane.map_or(own, ToOwned::to_owned),
            enabled: true,
            ..Flow::default()
        });
    }

    pub(crate) fn slice(&self) -> Slice {
        Slice {
            snapshot: Some(self.snapshot.clone()),
            trust_domain: DOMAIN.to_owned(),
            trust_bundle_pem: self.agent.authority.root.cert_pem(),
            ..Slice::default()
        }
    }

    /// Publishes the snapshot as a new revision.
    pub(crate) fn publish(&mut self) {
        self.snapshot.revision += 1;
        self.agent.publish(self.slice());
    }

    /// Starts an ingester and waits until it goes by the newest snapshot.
    pub(crate) async fn start(&mut self) -> Running {
        self.publish();
        let running = self.start_unconfigured().await;
        self.applied(&running).await;
        running
    }

    pub(crate) async fn start_unconfigured(&self) -> Running {
        let stage = Stage::detached("ingester")
            .unwrap()
            .with_clock(self.clock.clone());
        let app = Ingester::bind(self.config.clone(), &stage).await.unwrap();
        let address = app.address();
        let task = tokio::spawn(app.run(stage.clone()));
        let client = Client::builder(TokioExecutor::new()).build_http();
        Running {
            address,
            stage,
            task,
            client,
        }
    }

    /// Waits until the newest snapshot is in force at the door: its marker endpoint is known.
    pub(crate) async fn applied(&mut self, running: &Running) {
        let marker = 200 + (self.snapshot.revision % 50) as u8;
        self.endpoint(marker, Scheme::None, &[]).removed = true;
        self.publish();
        let gone = async {
            while running.post(&endpoint_id(marker), &[], "").await.status != StatusCode::GONE {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, gone)
            .await
            .expect("the snapshot was not applied");
    }

    /// The events in the journal of a stopped ingester.
    pub(crate) async fn stored(&self) -> Vec<Event> {
        let folder = self.config.state_dir.join("journal");
        let (journal, _) = Journal::open(folder, Options::default()).await.unwrap();
        let mut reader = journal.reader(journal.start());
        let mut events = Vec::new();
        while reader.position() < journal.end() {
            for record in reader.next_batch(1000, 1 << 20).await.unwrap() {
                events.push(Event::decode(record.payload).unwrap());
            }
        }
        journal.close().await;
        events
    }
}

impl Running {
    pub(crate) async fn send(&self, request: http::request::Builder, body: &[u8]) -> Answer {
        let request = request
            .body(Full::new(Bytes::copy_from_slice(body)))
            .unwrap();
        let answer = self.client.request(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn post(
        &self,
        endpoint: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::post(self.url(&format!("/hooks/{endpoint}")));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request, body.as_bytes()).await
    }

    /// Stops as SIGTERM does, and checks that it ends well.
    pub(crate) async fn stop(self) {
        drop(self.client);
        self.stage.shutdown.cancel();
        tokio::time::timeout(SOON, self.task)
            .await
            .expect("does not end")
            .unwrap()
            .unwrap();
        self.stage.tasks.finish(SOON).await.unwrap();
    }
}
