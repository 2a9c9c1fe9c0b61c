//! Attaches to the bridges of the slice: dial out → hello and credit → parcels → ledger → ack and
//! fresh credit. One task a bridge, each coming back by itself; gone when its bridge is.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::Context;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use zen_chassis::Stage;
use zen_chassis::backoff::Backoff;
use zen_chassis::chain::Chain;
use zen_chassis::neighbour::Neighbour;
use zen_identity::{DialOptions, Expect, LiveIdentity, SpiffeId, channel};
use zen_proto::agent::v1::Slice;
use zen_proto::limits;
use zen_proto::relay::v1::relay_service_client::RelayServiceClient;
use zen_proto::relay::v1::{
    Ack, AttachHello, AttachRequest, Credit, ParcelBatch, attach_request, attach_response,
};

use crate::intake::Intake;
use crate::ledger::Incoming;

/// Messages to a bridge that wait to be sent.
const UP: usize = 256;
/// The largest message from a bridge: a batch around one largest parcel.
const MESSAGE: usize = limits::DELIVERY_MESSAGE
    + limits::DELIVERY_BATCH_BYTES
    + limits::DELIVERY_BATCH * limits::HEADER_BLOCK;

/// A bridge as the slice names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BridgeKey {
    address: String,
    spiffe_id: String,
}

/// How the way to one bridge is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Why this egress is not attached; nothing means that it is.
    pub(crate) apart: Option<String>,
    /// Since when, Unix milliseconds.
    pub(crate) since_ms: u64,
    /// There was no attempt yet that came to an end.
    pub(crate) untried: bool,
}

/// How each bridge of the slice is doing. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Bridges(Arc<Mutex<BTreeMap<BridgeKey, Link>>>);

impl Bridges {
    /// Address and state of each.
    pub(crate) fn all(&self) -> Vec<(String, Link)> {
        self.0
            .lock()
            .iter()
            .map(|(key, link)| (key.address.clone(), link.clone()))
            .collect()
    }

    fn begin(&self, bridge: BridgeKey, now_ms: u64) {
        let link = Link {
            apart: Some("not attached yet".to_owned()),
            since_ms: now_ms,
            untried: true,
        };
        self.0.lock().insert(bridge, link);
    }

    fn set(&self, bridge: &BridgeKey, apart: Option<String>, now_ms: u64) {
        // A bridge that left the slice meanwhile is not brought back.
        if let Some(link) = self.0.lock().get_mut(bridge) {
            if link.apart.is_some() != apart.is_some() {
                link.since_ms = now_ms;
            }
            (link.apart, link.untried) = (apart, false);
        }
    }
}

/// Keeps this egress attached to every bridge of its slice.
#[derive(Clone)]
pub(crate) struct Uplinks {
    pub(crate) identity: LiveIdentity,
    pub(crate) intake: Intake,
    /// Names this replica.
    pub(crate) instance: String,
    /// Parcels under way from one bridge at once.
    pub(crate) credit: u32,
    pub(crate) bridges: Bridges,
    pub(crate) stage: Stage,
}

impl Uplinks {
    /// Runs until shutdown.
    ///
    /// # Errors
    /// When a task panics.
    pub(crate) async fn run(
        self,
        mut slice: watch::Receiver<Option<Arc<Slice>>>,
    ) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        let mut attached: HashMap<BridgeKey, AbortHandle> = HashMap::new();
        loop {
            let wanted = bridges_of(&slice.borrow_and_update());
            attached.retain(|bridge, task| {
                let stays = wanted.contains(bridge);
                if !stays {
                    tracing::info!(bridge = bridge.address, "bridge left the configuration");
                    self.bridges.0.lock().remove(bridge);
                    task.abort();
                }
                stays
            });
            for bridge in wanted {
                attached.entry(bridge.clone()).or_insert_with(|| {
                    let now_ms = self.stage.clock.unix_ms();
                    self.bridges.begin(bridge.clone(), now_ms);
                    tasks.spawn(self.clone().keep_attached(bridge))
                });
            }
            tokio::select! {
                () = self.stage.shutdown.cancelled() => return Ok(()),
                // Its sender ends with the component, so that there is nothing to wait for then.
                Ok(()) = slice.changed() => {}
                Some(ended) = tasks.join_next() => match ended {
                    Err(error) if error.is_panic() => return Err(error.into()),
                    _ => {}
                },
            }
        }
    }

    async fn keep_attached(self, bridge: BridgeKey) {
        let mut failed = 0;
        loop {
            let mut welcome = false;
            let ended = self.attach(&bridge, &mut welcome).await;
            failed = if welcome { 1 } else { failed + 1 };
            let why = match &ended {
                Ok(()) => "the bridge ended the stream".to_owned(),
                Err(error) => Chain(error.as_ref()).to_string(),
            };
            if failed == 1 || failed % 20 == 0 {
                tracing::warn!(bridge = bridge.address, why, "not attached");
            }
            let now_ms = self.stage.clock.unix_ms();
            self.bridges.set(&bridge, Some(why), now_ms);
            tokio::time::sleep(Backoff::FAR.pause(failed, self.stage.random.fraction())).await;
        }
    }

    /// One stream, from dialling to its end. Sets `welcome` once the bridge has spoken.
    async fn attach(&self, bridge: &BridgeKey, welcome: &mut bool) -> anyhow::Result<()> {
        let id: SpiffeId = bridge
            .spiffe_id
            .parse()
            .context("the bridge's id is malformed")?;
        self.leaf().await?;
        let (up, mut down) = self.dial(bridge, &id).await?;
        let mut trust = self.identity.changed();
        let mut taking = FuturesUnordered::new();
        loop {
            tokio::select! {
                message = down.message() => match message?.and_then(|message| message.message) {
                    Some(attach_response::Message::Welcome(hello)) => {
                        *welcome = true;
                        self.bridges.set(bridge, None, self.stage.clock.unix_ms());
                        let backlog = hello.backlog;
                        tracing::info!(bridge = bridge.address, backlog, "attached");
                    }
                    Some(attach_response::Message::Batch(batch)) => taking.push(self.take(batch)),
                    None => return Ok(()),
                },
                Some(taken) = taking.next() => {
                    let positions: Vec<u64> = taken?;
                    let parcels = u32::try_from(positions.len()).unwrap_or(u32::MAX);
                    up.send(request(attach_request::Message::Ack(Ack { positions }))).await?;
                    up.send(request(attach_request::Message::Credit(Credit { parcels }))).await?;
                }
                changed = trust.changed() => {
                    changed?;
                    anyhow::ensure!(!self.is_revoked(&id), "the bridge's plane is revoked");
                }
            }
        }
    }

    async fn dial(
        &self,
        bridge: &BridgeKey,
        id: &SpiffeId,
    ) -> anyhow::Result<(mpsc::Sender<AttachRequest>, Down)> {
        anyhow::ensure!(!self.is_revoked(id), "the bridge's plane is revoked");
        let config = self.identity.client_config(Expect::exactly(id.clone()));
        let channel = channel(&bridge.address, config, DialOptions::default());
        let (up, queue) = mpsc::channel(UP);
        let hello = AttachHello {
            instance: self.instance.clone(),
        };
        up.send(request(attach_request::Message::Hello(hello)))
            .await?;
        let credit = Credit {
            parcels: self.credit,
        };
        up.send(request(attach_request::Message::Credit(credit)))
            .await?;
        let mut client = RelayServiceClient::new(channel).max_decoding_message_size(MESSAGE);
        let down = client
            .attach(ReceiverStream::new(queue))
            .await?
            .into_inner();
        Ok((up, down))
    }

    /// Waits until the agent has certified this egress.
    async fn leaf(&self) -> anyhow::Result<()> {
        let mut changed = self.identity.changed();
        while !self.identity.has_leaf() {
            changed.changed().await?;
        }
        Ok(())
    }

    fn is_revoked(&self, id: &SpiffeId) -> bool {
        let SpiffeId::Component { plane, .. } = id else {
            return false;
        };
        self.identity
            .trust()
            .is_some_and(|trust| trust.is_revoked(*plane))
    }

    /// One batch into the ledger; gives the positions to acknowledge.
    async fn take(&self, batch: ParcelBatch) -> anyhow::Result<Vec<u64>> {
        let mut positions = Vec::with_capacity(batch.parcels.len());
        let mut deliveries = Vec::with_capacity(batch.parcels.len());
        for positioned in batch.parcels {
            positions.push(positioned.position);
            deliveries.push(Incoming::from_parcel(
                &positioned.parcel.unwrap_or_default(),
            ));
        }
        self.intake.take(deliveries).await?;
        Ok(positions)
    }
}

type Down = tonic::Streaming<zen_proto::relay::v1::AttachResponse>;

fn request(message: attach_request::Message) -> AttachRequest {
    AttachRequest {
        message: Some(message),
    }
}

fn bridges_of(slice: &Option<Arc<Slice>>) -> std::collections::BTreeSet<BridgeKey> {
    Neighbour::snapshot(slice)
        .into_iter()
        .flat_map(|snapshot| &snapshot.bridges)
        .map(|bridge| BridgeKey {
            address: bridge.address.clone(),
            spiffe_id: bridge.spiffe_id.clone(),
        })
        .collect()
}
