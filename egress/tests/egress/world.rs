//! A plane around one egress: folder, agent, snapshot, and an ingester that hands deliveries over.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;
use zen_chassis::neighbour::NeighbourSettings;
use zen_chassis::net::{Address, local_channel};
use zen_chassis::{App, Clock, Stage};
use zen_egress::{Config, Egress};
use zen_proto::delivery::v1::delivery_service_client::DeliveryServiceClient;
use zen_proto::delivery::v1::{DeliverRequest, DeliverResponse, Delivery, Event, Header};
use zen_proto::ids::{DeliveryId, EventId, FlowId, Id, TargetId};
use zen_proto::query::v1::{DeliveryRecord, DeliveryStatus, ListDeliveries, answer, query};
use zen_proto::snapshot::v1::{self as snapshot, RetryPolicy};

use crate::agent::Agent;

pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) agent: Agent,
}

/// An egress that runs in this process.
pub(crate) struct Running {
    pub(crate) stage: Stage,
    task: JoinHandle<anyhow::Result<()>>,
    pub(crate) address: Address,
}

/// Hands deliveries over as an ingester of the same plane does.
pub(crate) struct Ingester {
    requests: mpsc::Sender<DeliverRequest>,
    answers: tonic::Streaming<DeliverResponse>,
    sequence: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("secrets")).unwrap();
        let agent = Agent::serve(&folder.path().join("agent.sock"));
        Self { folder, agent }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn secret(&self, name: &str, text: &str) -> String {
        std::fs::write(self.folder.path().join("secrets").join(name), text).unwrap();
        format!("file:{name}")
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            state_dir: self.path("egress"),
            listen: Address::Unix(self.path("egress.sock")),
            agent: NeighbourSettings {
                address: Address::Unix(self.path("agent.sock")),
                ..NeighbourSettings::default()
            },
            secrets_dir: self.path("secrets"),
            drain: Duration::from_secs(5),
            ..Config::default()
        }
    }

    pub(crate) async fn start(&self) -> Running {
        self.start_with(|_| {}).await
    }

    pub(crate) async fn start_with(&self, change: impl FnOnce(&mut Config)) -> Running {
        let mut config = self.config();
        change(&mut config);
        let stage = Stage::detached("egress").unwrap();
        let egress = Egress::bind(config, &stage).await.unwrap();
        let address = egress.local_address().clone();
        let task = tokio::spawn(egress.run(stage.clone()));
        Running {
            stage,
            task,
            address,
        }
    }

    /// Adds a target with number `number`, and the flow of the same number to it.
    pub(crate) fn target(&self, number: u8, url: &str) {
        self.target_with(number, url, |_, _| {});
    }

    pub(crate) fn target_with(
        &self,
        number: u8,
        url: &str,
        change: impl FnOnce(&mut snapshot::Target, &mut snapshot::Flow),
    ) {
        let tenant_id = self.agent.authority.tenant.to_string();
        let mut target = snapshot::Target {
            id: target_id(number).to_string(),
            tenant_id: tenant_id.clone(),
            name: format!("target {number}"),
            url: url.to_owned(),
            ..snapshot::Target::default()
        };
        let mut flow = snapshot::Flow {
            id: flow_id(number).to_string(),
            tenant_id,
            name: format!("flow {number}"),
            target_id: target.id.clone(),
            enabled: true,
            // Quick, so that a test that waits for retries is.
            retry: Some(RetryPolicy {
                max_attempts: 5,
                initial_backoff_ms: 20,
                max_backoff_ms: 80,
            }),
            ..snapshot::Flow::default()
        };
        change(&mut target, &mut flow);
        self.agent.change(|snapshot| {
            snapshot.targets.retain(|known| known.id != target.id);
            snapshot.flows.retain(|known| known.id != flow.id);
            snapshot.targets.push(target);
            snapshot.flows.push(flow);
        });
    }

    /// Delivery number `event` for flow and target number `target`.
    pub(crate) fn delivery(&self, target: u8, event: u32) -> Delivery {
        let [a, b, c, d] = event.to_be_bytes();
        let now_ms = Clock::system().unix_ms();
        let event_id = EventId::generate(1, [0, 0, 0, 0, 0, 0, a, b, c, d]).to_string();
        let delivery_id = DeliveryId::generate(1, [0, 0, 0, 0, 0, target, a, b, c, d]).to_string();
        Delivery {
            version: 1,
            delivery_id,
            flow_id: flow_id(target).to_string(),
            target_id: target_id(target).to_string(),
            target_plane_id: self.agent.authority.plane.to_string(),
            expires_at_ms: now_ms + 3_600_000,
            event: Some(Event {
                version: 1,
                event_id,
                tenant_id: self.agent.authority.tenant.to_string(),
                endpoint_id: "ep_test".to_owned(),
                accepted_at_ms: now_ms,
                method: "POST".to_owned(),
                headers: vec![
                    header("Content-Type", "application/json"),
                    header("X-Source", "shop"),
                    header("Authorization", "Bearer for-the-endpoint"),
                ],
                body: format!(r#"{{"event":{event}}}"#).into(),
                ..Event::default()
            }),
        }
    }

    pub(crate) fn deliveries(&self, target: u8, events: std::ops::Range<u32>) -> Vec<Delivery> {
        events.map(|event| self.delivery(target, event)).collect()
    }

    /// The record of one delivery, once it is in the wanted status.
    pub(crate) async fn record(
        &self,
        delivery: &Delivery,
        wanted: DeliveryStatus,
    ) -> DeliveryRecord {
        let found = async {
            loop {
                let all = self.list(ListDeliveries::default()).await;
                let found = all
                    .into_iter()
                    .find(|one| one.delivery_id == delivery.delivery_id);
                if let Some(record) = found
                    && record.status() == wanted
                {
                    return record;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(20), found).await;
        found.unwrap_or_else(|_| panic!("{} is not {wanted:?} in time", delivery.delivery_id))
    }

    /// Everything that matches, page after page.
    pub(crate) async fn list(&self, question: ListDeliveries) -> Vec<DeliveryRecord> {
        let mut question = question;
        let mut all = Vec::new();
        loop {
            let asked = query::Question::ListDeliveries(question.clone());
            let answer::Answer::Deliveries(page) = self.agent.ask(asked).await else {
                panic!("the question failed")
            };
            all.extend(page.deliveries);
            if page.next_cursor.is_empty() {
                return all;
            }
            question.cursor = page.next_cursor;
        }
    }
}

impl Running {
    pub(crate) async fn ingester(&self) -> Ingester {
        let Address::Unix(socket) = &self.address else {
            panic!("no socket")
        };
        Ingester::attach(socket).await
    }

    /// Asks to stop and waits for the end.
    pub(crate) async fn stop(self) {
        self.stage.shutdown.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(30), self.task).await;
        ended.expect("not stopped in time").unwrap().unwrap();
        self.stage
            .tasks
            .finish(Duration::from_secs(10))
            .await
            .unwrap();
    }
}

impl Ingester {
    pub(crate) async fn attach(socket: &std::path::Path) -> Self {
        Self::on(local_channel(socket).unwrap()).await.unwrap()
    }

    /// Opens a stream for deliveries on a channel.
    pub(crate) async fn on(channel: Channel) -> Result<Self, Status> {
        let mut client = DeliveryServiceClient::new(channel);
        let (requests, queue) = mpsc::channel(64);
        let answers = client.deliver(ReceiverStream::new(queue)).await?;
        Ok(Self {
            requests,
            answers: answers.into_inner(),
            sequence: 0,
        })
    }

    /// Sends a batch without waiting for its answer.
    pub(crate) async fn send(&mut self, deliveries: Vec<Delivery>) -> Option<u64> {
        self.sequence += 1;
        let request = DeliverRequest {
            sequence: self.sequence,
            deliveries,
        };
        self.requests
            .send(request)
            .await
            .ok()
            .map(|()| self.sequence)
    }

    /// The next answer; nothing if the egress has gone.
    pub(crate) async fn answer(&mut self) -> Option<DeliverResponse> {
        let answer = tokio::time::timeout(Duration::from_secs(30), self.answers.message()).await;
        answer.expect("no answer in time").ok().flatten()
    }

    /// Sends a batch and waits until it is in the ledger.
    pub(crate) async fn deliver(&mut self, deliveries: Vec<Delivery>) -> DeliverResponse {
        let sequence = self.send(deliveries).await.expect("the egress has gone");
        let answer = self.answer().await.expect("the egress has gone");
        assert_eq!(answer.sequence, sequence);
        answer
    }
}

pub(crate) fn header(name: &str, value: &str) -> Header {
    Header {
        name: name.to_owned(),
        value: value.as_bytes().to_vec().into(),
    }
}

pub(crate) fn target_id(number: u8) -> TargetId {
    TargetId::generate(1, [number; 10])
}

pub(crate) fn flow_id(number: u8) -> FlowId {
    FlowId::generate(1, [number; 10])
}
