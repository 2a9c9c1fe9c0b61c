//! The session: one stream to the control plane. Opened, then driven until something ends it.

mod receive;
pub(crate) mod snapshot;

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use zen_chassis::chain::Chain;
use zen_chassis::clock::millis;
use zen_identity::{Expect, chain_from_pem, channel};
use zen_proto::codes::RefusalCode;
use zen_proto::limits;
use zen_proto::query::v1::{Answer, Query};
use zen_proto::session::v1::agent_message::Message as Up;
use zen_proto::session::v1::control_message::Message as Down;
use zen_proto::session::v1::session_service_client::SessionServiceClient;
use zen_proto::session::v1::{AgentMessage, ControlMessage, Heartbeat, Hello, Welcome};

use crate::bundle::{BundleWatch, Change};
use crate::identity::PlaneIdentity;
use crate::local::crowded;
use crate::plane::Plane;
use crate::refusal::Refusal;
use snapshot::Assembly;

/// Time until the control plane must have welcomed the session, the connection included.
const WELCOME: Duration = Duration::from_secs(15);
/// Time a message may wait for its turn before the session counts as lost.
const STALLED: Duration = Duration::from_secs(20);
/// Messages on their way up.
const QUEUE: usize = 16;
/// Questions under way at once; more are answered with QUERY_FAILED.
const QUESTIONS: usize = 32;
/// Heartbeats are never closer than this, however much there is to tell.
const BEAT_GAP: Duration = Duration::from_millis(200);
/// The least and the most that a server may ask for between heartbeats.
const BEAT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=limits::HEARTBEAT_LOST;
/// Share by which heartbeats differ, so that planes do not beat together.
const BEAT_JITTER: f64 = 0.2;

/// Why a session ended, or did not begin.
pub(crate) enum End {
    /// It broke, or never came about; with what is known.
    Lost(Refusal),
    /// The control plane asked to come back after a pause.
    GoAway(Duration),
    /// The plane was retired, for this reason.
    Retired(String),
    /// A bundle came or went.
    Bundle(Change),
}

/// An open session.
pub(crate) struct Session {
    up: mpsc::Sender<AgentMessage>,
    down: Streaming<ControlMessage>,
    interval: Duration,
    assembly: Assembly,
    /// When the control plane may be asked for a plane CA again.
    next_renewal: Instant,
}

/// Opens a session: dial → hello → welcome.
pub(crate) async fn open(plane: &Plane, identity: &PlaneIdentity) -> Result<Session, End> {
    plane.ensure_leaf(identity).map_err(End::Lost)?;
    let address = &turned(
        &identity.stored.session_address,
        plane.stage.random.fraction(),
    );
    let config = plane.live.client_config(Expect::control_plane());
    let mut client = SessionServiceClient::new(channel(address, config, plane.dial.clone()))
        .max_decoding_message_size(limits::SESSION_MESSAGE)
        .max_encoding_message_size(limits::SESSION_MESSAGE);
    let (up, queue) = mpsc::channel(QUEUE);
    let hello = message(Up::Hello(hello(plane, identity)));
    let opening = async {
        // The queue is empty: there is room.
        let _queued = up.send(hello).await;
        let mut down = client.open(ReceiverStream::new(queue)).await?.into_inner();
        let first = down.message().await?;
        Ok::<_, Status>((down, first))
    };
    let (down, first) = match tokio::time::timeout(WELCOME, opening).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(status)) => return Err(End::Lost(lost(&status))),
        Err(_) => {
            let text = format!("{address} did not welcome the session in time");
            return Err(End::Lost(Refusal::new(
                RefusalCode::ControlPlaneUnreachable,
                text,
            )));
        }
    };
    let welcome = match first.and_then(|message| message.message) {
        Some(Down::Welcome(welcome)) => welcome,
        Some(Down::Retired(retired)) => return Err(End::Retired(retired.reason)),
        Some(Down::GoAway(away)) => return Err(End::GoAway(after(away.come_back_after_ms))),
        _ => {
            let text = "the control plane did not begin with a welcome";
            return Err(End::Lost(Refusal::new(
                RefusalCode::ControlPlaneUnreachable,
                text,
            )));
        }
    };
    warn_of_skew(plane.stage.clock.unix_ms(), welcome.server_time_ms);
    if let Err(error) = receive::addresses(&welcome.addresses, plane).await {
        tracing::warn!(error = %Chain(&error), "addresses of the control plane not kept");
    }
    let interval = interval(&welcome);
    let (assembly, next_renewal) = (Assembly::default(), Instant::now());
    Ok(Session {
        up,
        down,
        interval,
        assembly,
        next_renewal,
    })
}

impl Session {
    /// Drives the session until it ends. Only waits are given up on the way, never a change that
    /// was begun.
    pub(crate) async fn run(mut self, plane: &Plane, bundles: &mut BundleWatch) -> End {
        let mut next_beat = Instant::now();
        let mut last_beat = next_beat;
        let mut answers = FuturesUnordered::new();
        let mut resealed = plane.outbox.collect();
        loop {
            let step = tokio::select! {
                change = bundles.changed(&*plane.store) => match change {
                    Change::Found(_) => return End::Bundle(change),
                    // Nobody needs it while the session is up.
                    Change::Gone => Ok(()),
                },
                message = self.down.message() => match message {
                    Ok(Some(ControlMessage { message: Some(Down::Query(query)) })) => {
                        self.put(query, plane, &mut answers).await
                    }
                    Ok(Some(ControlMessage { message })) => self.receive(message, plane).await,
                    Ok(None) => Err(End::Lost(closed())),
                    Err(status) => Err(End::Lost(lost(&status))),
                },
                Some(answer) = answers.next() => self.send(Up::Answer(answer)).await,
                parcel = resealed.next() => {
                    let sent = self.send(Up::Resealed(parcel.resealed)).await;
                    if sent.is_ok() {
                        // zen-lock may have given up by then; it looks into the next slice.
                        let _told = parcel.taken.send(());
                    }
                    sent
                }
                () = plane.roster.notable() => {
                    next_beat = next_beat.min(last_beat + BEAT_GAP);
                    Ok(())
                }
                () = tokio::time::sleep_until(next_beat) => {
                    last_beat = Instant::now();
                    next_beat = last_beat + plane.stage.random.jitter(self.interval, BEAT_JITTER);
                    self.beat(plane).await
                }
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// One heartbeat, and what is done at its pace.
    async fn beat(&mut self, plane: &Plane) -> Result<(), End> {
        let mut components = plane.roster.latest(Instant::now());
        components.push(plane.own_status());
        self.send(Up::Heartbeat(Heartbeat {
            components,
            agent_time_ms: plane.stage.clock.unix_ms(),
            applied_revision: plane.desk.now().revision(),
        }))
        .await?;
        self.renew_if_due(plane).await
    }

    /// Puts a question to the components; its answer comes among `answers`.
    async fn put(
        &self,
        query: Query,
        plane: &Plane,
        answers: &mut FuturesUnordered<futures::future::BoxFuture<'static, Answer>>,
    ) -> Result<(), End> {
        if answers.len() >= QUESTIONS {
            return self.send(Up::Answer(crowded(&query))).await;
        }
        let router = plane.router.clone();
        answers.push(Box::pin(async move { router.ask(query).await }));
        Ok(())
    }

    async fn send(&self, up: Up) -> Result<(), End> {
        match tokio::time::timeout(STALLED, self.up.send(message(up))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Lost(closed())),
            Err(_) => Err(End::Lost(Refusal::new(
                RefusalCode::ControlPlaneUnreachable,
                "the control plane takes no messages",
            ))),
        }
    }
}

/// The addresses from another one on, so that many planes spread over all of them, and one that
/// takes connections and nothing more is not tried first for ever.
fn turned(addresses: &str, fraction: f64) -> String {
    let mut all: Vec<_> = addresses.split(',').collect();
    // A fraction below 1 gives an index below the length.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a handful of addresses"
    )]
    let first = (fraction * all.len() as f64) as usize;
    let middle = first.min(all.len());
    all.rotate_left(middle);
    all.join(",")
}

fn message(up: Up) -> AgentMessage {
    AgentMessage { message: Some(up) }
}

fn hello(plane: &Plane, identity: &PlaneIdentity) -> Hello {
    let roots = chain_from_pem(&identity.stored.roots_pem).unwrap_or_default();
    let hash = |der: &[u8]| {
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der)
            .as_ref()
            .to_vec()
            .into()
    };
    Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id: plane.boot_id.clone(),
        applied_revision: plane.desk.now().revision(),
        trusted_roots: roots.iter().map(|root| hash(root)).collect(),
    }
}

/// A plane that is not let in for no reason it knows is a plane that was retired.
fn lost(status: &Status) -> Refusal {
    tracing::debug!(error = %Chain(status), "session call failed");
    Refusal::of_call(status, RefusalCode::PlaneRetired)
}

fn closed() -> Refusal {
    Refusal::new(
        RefusalCode::ControlPlaneUnreachable,
        "the control plane closed the session",
    )
}

fn after(come_back_after_ms: u32) -> Duration {
    Duration::from_millis(come_back_after_ms.into())
}

fn interval(welcome: &Welcome) -> Duration {
    match welcome.heartbeat_interval_ms {
        0 => limits::HEARTBEAT,
        given => Duration::from_millis(given.into()).clamp(*BEAT.start(), *BEAT.end()),
    }
}

fn warn_of_skew(agent_ms: u64, server_ms: u64) {
    let skew = agent_ms.abs_diff(server_ms);
    if server_ms != 0 && skew > millis(limits::CLOCK_SKEW) {
        let code = RefusalCode::ClockSkew;
        tracing::warn!(%code, skew_ms = skew, remedy = code.remedy(), "clocks are far apart");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_the_first_at_times_and_none_is_left_out() {
        assert_eq!(turned("a:1", 0.9), "a:1");
        assert_eq!(turned("a:1,b:2,c:3", 0.0), "a:1,b:2,c:3");
        assert_eq!(turned("a:1,b:2,c:3", 0.5), "b:2,c:3,a:1");
        assert_eq!(turned("a:1,b:2,c:3", 0.99), "c:3,a:1,b:2");
    }
}
