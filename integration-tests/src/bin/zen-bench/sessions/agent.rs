//! An agent reduced to its session: the real identity, handshake, stream, pings, heartbeats and
//! pauses; of a snapshot it only looks at the revision.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use zen_chassis::Clock;
use zen_chassis::backoff::Backoff;
use zen_identity::{DialOptions, Expect, LiveIdentity, channel};
use zen_proto::limits;
use zen_proto::session::v1::agent_message::Message as Up;
use zen_proto::session::v1::control_message::Message as Down;
use zen_proto::session::v1::session_service_client::SessionServiceClient;
use zen_proto::session::v1::{
    AgentMessage, Applied, ComponentStatus, Heartbeat, Hello, SnapshotChunk,
};

use super::board::Board;

/// Time until the session is welcomed, as a real agent waits.
const WELCOME: Duration = Duration::from_secs(15);
/// Share by which heartbeats differ, as those of a real agent do.
const JITTER: f64 = 0.2;
const QUEUE: usize = 16;

/// An enrolled agent.
pub(super) struct Agent {
    /// Its line on the board.
    pub(super) number: usize,
    /// Its leaf and its trust.
    pub(super) identity: LiveIdentity,
    /// `host:port` of the control plane.
    pub(super) address: String,
    /// Told in heartbeats as the bridge's address, if the plane has one.
    pub(super) bridge: Option<watch::Receiver<String>>,
}

/// Why a session ended.
enum End {
    /// It broke or never began.
    Lost,
    /// It was asked to come back later.
    GoAway(Duration),
}

impl Agent {
    /// Keeps a session for ever, with a real agent's pauses between tries.
    pub(super) async fn run(self, board: Arc<Board>) {
        board.opened().await;
        let mut failed = 0;
        loop {
            let end = self.session(&board).await;
            let mut was_open = false;
            board.write(self.number, |line| {
                was_open = line.welcomed.take().is_some();
            });
            let pause = match end {
                End::GoAway(pause) => pause,
                End::Lost => {
                    if was_open {
                        board.lost();
                        failed = 0;
                    }
                    failed += 1;
                    Backoff::FAR.pause(failed, rand::rng().random())
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn session(&self, board: &Board) -> End {
        let config = self.identity.client_config(Expect::control_plane());
        let dialled = channel(&self.address, config, DialOptions::default());
        let mut client = SessionServiceClient::new(dialled)
            .max_decoding_message_size(limits::SESSION_MESSAGE)
            .max_encoding_message_size(limits::SESSION_MESSAGE);
        let (up, queue) = mpsc::channel(QUEUE);
        let hello = Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: format!("boot-{}", self.number),
            applied_revision: board.read(self.number).revision,
            trusted_roots: Vec::new(),
        };
        let opening = async {
            up.send(message(Up::Hello(hello))).await.ok()?;
            let mut down = client
                .open(ReceiverStream::new(queue))
                .await
                .ok()?
                .into_inner();
            let first = down.message().await.ok()??.message?;
            Some((down, first))
        };
        let Ok(Some((mut down, first))) = tokio::time::timeout(WELCOME, opening).await else {
            return End::Lost;
        };
        let interval = match first {
            Down::Welcome(welcome) if welcome.heartbeat_interval_ms > 0 => {
                Duration::from_millis(welcome.heartbeat_interval_ms.into())
            }
            Down::Welcome(_) => limits::HEARTBEAT,
            Down::GoAway(away) => return End::GoAway(after(away.come_back_after_ms)),
            _ => return End::Lost,
        };
        board.write(self.number, |line| line.welcomed = Some(Instant::now()));
        let mut bridge = self.bridge.clone();
        let mut next_beat = tokio::time::Instant::now();
        loop {
            let news = async {
                match &mut bridge {
                    Some(bridge) => bridge.changed().await.is_ok(),
                    None => std::future::pending().await,
                }
            };
            let said = tokio::select! {
                message = down.message() => match message.ok().flatten().and_then(|m| m.message) {
                    Some(Down::Snapshot(chunk)) => self.take(&chunk, board),
                    Some(Down::GoAway(away)) => {
                        return End::GoAway(after(away.come_back_after_ms));
                    }
                    Some(_) => None,
                    None => return End::Lost,
                },
                changed = news, if self.bridge.is_some() => {
                    if !changed {
                        return End::Lost;
                    }
                    Some(self.beat(board))
                }
                () = tokio::time::sleep_until(next_beat) => {
                    let part = rand::rng().random_range(-JITTER..JITTER);
                    next_beat = tokio::time::Instant::now() + interval.mul_f64(1.0 + part);
                    Some(self.beat(board))
                }
            };
            if let Some(said) = said
                && up.send(message(said)).await.is_err()
            {
                return End::Lost;
            }
        }
    }

    /// A piece of a snapshot; the last one is answered.
    fn take(&self, chunk: &SnapshotChunk, board: &Board) -> Option<Up> {
        if !chunk.last {
            return None;
        }
        board.write(self.number, |line| {
            line.revision = chunk.revision;
            line.at = Some(Instant::now());
        });
        let revision = chunk.revision;
        Some(Up::Applied(Applied { revision }))
    }

    /// What an idle plane of three components says.
    fn beat(&self, board: &Board) -> Up {
        let revision = board.read(self.number).revision;
        let now = Clock::system().unix_ms();
        let end = now + u64::try_from(limits::LEAF_VALIDITY.as_millis()).unwrap_or(u64::MAX);
        let component = |name: &str, address: String| ComponentStatus {
            component: name.to_owned(),
            instance: "0".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: format!("boot-{}", self.number),
            ready: true,
            applied_revision: revision,
            advertised_address: address,
            certificate_not_after_ms: end,
            ..ComponentStatus::default()
        };
        let far = match &self.bridge {
            Some(address) => component("bridge", address.borrow().clone()),
            None => component("egress", String::new()),
        };
        let ingest = format!("http://ingest-{}.example:8080", self.number);
        Up::Heartbeat(Heartbeat {
            components: vec![
                component("agent", String::new()),
                component("ingester", ingest),
                far,
            ],
            agent_time_ms: now,
            applied_revision: revision,
        })
    }
}

fn message(up: Up) -> AgentMessage {
    AgentMessage { message: Some(up) }
}

fn after(milliseconds: u32) -> Duration {
    Duration::from_millis(milliseconds.into())
}
