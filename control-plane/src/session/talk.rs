//! One session from its first message to its end. Whatever wakes it (a message, an order, a new
//! revision, the clock) is handled to the end before the next.

mod hear;
mod reseal;
mod say;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tonic::Streaming;
use zen_chassis::chain::Chain;
use zen_identity::Peer;
use zen_proto::component::Component;
use zen_proto::query::v1::{answer, query};
use zen_proto::session::v1::{AgentMessage, Hello, agent_message};

use super::Outbound;
use super::notes::Notes;
use crate::control::Control;
use crate::live::{Ask, Order, Place};
use crate::plane::{Plane, Report};
use crate::roots::Said;
use crate::store::{EventKind, NewEvent};

/// Time for the first message.
const HELLO: Duration = Duration::from_secs(10);
/// Questions under way at the most.
const QUESTIONS: usize = 64;
/// Longest code and detail of an agent that are kept.
const WORDS: usize = 300;

/// One session.
pub(super) struct Talk {
    control: Arc<Control>,
    plane: Plane,
    peer: Peer,
    out: Outbound,
    notes: Notes,
    addresses: HashMap<Component, BTreeMap<String, String>>,
    questions: HashMap<String, oneshot::Sender<answer::Answer>>,
    began: Instant,
    last_heard: Instant,
    /// There was a heartbeat.
    beat: bool,
    last_written: Option<Instant>,
    forgiven: bool,
    agent_version: String,
    applied: u64,
    /// The revision sent last; 0 if none was.
    sent: u64,
    /// When the snapshot is read again, after the store failed.
    news_due: Option<Instant>,
    /// Planes whose revocation was last told; none before the first trust bundle.
    revoked: Option<Vec<String>>,
    /// Roots last told.
    roots: Option<Arc<str>>,
    /// What the plane last said of its roots, as it is kept.
    said_roots: Option<Said>,
    /// When the plane is told to renew its CA, if it shall.
    renew_due: Option<Instant>,
    /// When it was last told so.
    renew_asked: Option<Instant>,
    /// The snapshot is sent again, with a signature of today.
    sign_anew: bool,
    /// Who waits for a new plane CA.
    rotations: Vec<oneshot::Sender<answer::Answer>>,
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The agent closed it, or the connection broke.
    Closed,
    /// The agent fell silent, or takes nothing any more.
    Lost,
    /// A newer session of the plane took its place.
    Replaced,
    /// The plane was retired.
    Retired,
    /// The agent's certificate is not good any more: it shall come back with a newer one.
    Certificate,
    /// The agent said what it must not say.
    Protocol,
    /// The control plane stops.
    Shutdown,
    /// The control plane cannot serve it now.
    Unready,
    /// Too many others came at the same time.
    Crowded,
}

impl End {
    const fn words(self) -> &'static str {
        match self {
            Self::Closed => "the connection ended",
            Self::Lost => "the agent fell silent",
            Self::Replaced => "a newer session took its place",
            Self::Retired => "the plane was retired",
            Self::Certificate => "the agent's certificate is over",
            Self::Protocol => "the agent broke the protocol",
            Self::Shutdown => "the control plane stops",
            Self::Crowded => "too many planes connect at once",
            Self::Unready => "the control plane cannot read its database",
        }
    }
}

impl Talk {
    pub(super) fn new(control: Arc<Control>, plane: Plane, peer: Peer, out: Outbound) -> Self {
        let now = Instant::now();
        Self {
            applied: plane.applied_revision,
            control,
            plane,
            peer,
            out,
            notes: Notes::default(),
            addresses: HashMap::new(),
            questions: HashMap::new(),
            began: now,
            last_heard: now,
            beat: false,
            last_written: None,
            forgiven: false,
            agent_version: String::new(),
            sent: 0,
            news_due: None,
            revoked: None,
            roots: None,
            said_roots: None,
            renew_due: None,
            renew_asked: None,
            sign_anew: false,
            rotations: Vec::new(),
        }
    }

    /// The session's whole way.
    pub(super) async fn run(mut self, mut inbound: Streaming<AgentMessage>) {
        let Some(hello) = first(&mut inbound).await else {
            return;
        };
        // After a restart everybody comes at once: whoever cannot be taken now is told when to
        // come, instead of waiting in a crowd until it gives up.
        let Ok(opening) = Arc::clone(&self.control.openings).try_acquire_owned() else {
            return self.say_goodbye(End::Crowded).await;
        };
        self.agent_version = hello.version.chars().take(WORDS).collect();
        self.applied = hello.applied_revision;
        let opened_at = match self.control.shared_time().await {
            Ok(opened_at) => opened_at,
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "a session cannot be opened");
                return self.say_goodbye(End::Unready).await;
            }
        };
        let live = &self.control.live;
        let mut place = live.attach(self.plane.id, self.first_report(), opened_at);
        self.control.metrics.sessions.add(1, &[]);
        let (id, address) = (self.plane.id, self.peer.address.to_string());
        tracing::info!(plane = %id, %address, version = %self.agent_version, "session opened");
        self.note(
            EventKind::Connected,
            format!("agent {}", self.agent_version),
        )
        .await;
        let greeted = self.greet(&mut place).await;
        // The next may come in.
        drop(opening);
        let end = match greeted {
            Ok(()) => self.listen(&mut place, &mut inbound).await,
            Err(end) => end,
        };
        self.say_goodbye(end).await;
        drop(place);
        self.control.metrics.sessions.add(-1, &[]);
        self.write_heard().await;
        tracing::info!(plane = %id, reason = end.words(), "session ended");
        if end != End::Replaced {
            self.note(EventKind::Disconnected, end.words().to_owned())
                .await;
        }
    }

    fn first_report(&self) -> Report {
        Report {
            last_heartbeat_at: Some(self.control.stage.clock.unix_ms()),
            agent_version: self.agent_version.clone(),
            applied_revision: self.applied,
            ..Report::default()
        }
    }

    /// Welcome, then whatever the agent has not applied yet.
    async fn greet(&mut self, place: &mut Place) -> Result<(), End> {
        // Between admission and this place the plane may have been retired, with nobody to tell.
        match self.control.store.any_plane(self.plane.id).await {
            Ok(Some(plane)) if !plane.is_retired() => {}
            Ok(_) => return Err(End::Retired),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "plane could not be looked at");
                return Err(End::Unready);
            }
        }
        self.say_welcome().await?;
        place.revision.mark_unchanged();
        self.say_news().await
    }

    /// Until the session ends.
    async fn listen(&mut self, place: &mut Place, inbound: &mut Streaming<AgentMessage>) -> End {
        let stop = self.control.stage.shutdown.clone();
        let mut roots = self.control.authority.changes();
        // They may have changed since the greeting.
        roots.mark_changed();
        loop {
            let silent = self.last_heard + self.control.times.heartbeat_lost;
            let news_due = self.news_due;
            let renew_due = self.renew_due;
            let outcome = tokio::select! {
                () = stop.cancelled() => Err(End::Shutdown),
                order = place.orders.recv() => match order {
                    Some(Order::Ask(ask)) => self.ask(*ask).await,
                    Some(Order::Retire) => Err(End::Retired),
                    None => Err(End::Replaced),
                },
                Ok(()) = place.revision.changed() => self.say_news().await,
                () = due(news_due) => self.say_news().await,
                Ok(()) = roots.changed() => self.say_news().await,
                () = due(renew_due) => self.say_renew().await,
                message = inbound.next() => match message {
                    Some(Ok(message)) => self.hear(place, message).await,
                    Some(Err(_)) | None => Err(End::Closed),
                },
                () = tokio::time::sleep_until(silent) => Err(End::Lost),
            };
            if let Err(end) = outcome {
                return end;
            }
        }
    }

    async fn ask(&mut self, ask: Ask) -> Result<(), End> {
        self.questions.retain(|_, reply| !reply.is_closed());
        if self.questions.len() >= QUESTIONS {
            // Dropping the reply answers the asker.
            return Ok(());
        }
        let Ask {
            query_id,
            question,
            timeout,
            reply,
        } = ask;
        if matches!(question, query::Question::RotatePlaneCa(_)) {
            self.rotations.retain(|reply| !reply.is_closed());
            if self.rotations.len() < QUESTIONS {
                self.rotations.push(reply);
            }
            return self.say_renew().await;
        }
        self.questions.insert(query_id.clone(), reply);
        self.say_question(query_id, question, timeout).await
    }

    fn event(&self, kind: EventKind, detail: impl Into<String>) -> NewEvent {
        let at = self.control.stage.clock.unix_ms();
        NewEvent {
            remote_address: Some(self.peer.address.to_string()),
            ..NewEvent::plain(self.plane.id, at, kind, detail)
        }
    }

    async fn note(&self, kind: EventKind, detail: impl Into<String>) {
        let event = self.event(kind, detail);
        self.keep(&event).await;
    }

    async fn keep(&self, event: &NewEvent) {
        if let Err(error) = self.control.store.add_event(event).await {
            tracing::warn!(plane = %self.plane.id, error = %Chain(&error), "cannot keep an event");
        }
    }
}

/// Waits for a moment that may never come.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The first message, if it comes in time and is what it must be.
async fn first(inbound: &mut Streaming<AgentMessage>) -> Option<Hello> {
    let message = tokio::time::timeout(HELLO, inbound.next())
        .await
        .ok()??
        .ok()?;
    match message.message? {
        agent_message::Message::Hello(hello) => Some(hello),
        _ => None,
    }
}
