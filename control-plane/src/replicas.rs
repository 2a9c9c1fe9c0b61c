//! Several control planes on one PostgreSQL database: each tells the others of its sessions, hears
//! what they publish and retire, and carries questions to where a plane's session is. On SQLite
//! there is one control plane, and none of this runs.
//!
//! Notices make it quick, the database makes it true: whatever a notice says can be read as well,
//! and is, a little later.

mod report;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use zen_chassis::CancellationToken;
use zen_chassis::chain::Chain;
use zen_chassis::clock::millis;
use zen_proto::query::v1::{Answer, Query, answer};

use crate::control::Control;
use crate::live::{AskAbroad, AskError, Told};
use crate::store::{AskOutcome, NO_CHANGE, NewAsk, Notice, SessionRow, StoreError, TakenAsk};

/// Pause between two looks at what the others wrote, and between two signs of life.
const BEAT: Duration = Duration::from_secs(1);
/// Shortest pause between two looks, however much is said to be new.
const GAP: Duration = Duration::from_millis(50);
/// Pause between two looks for what notices would have told.
const SAFETY: Duration = Duration::from_secs(30);
/// Retirements this far back are looked for.
const RETIRED_SINCE: Duration = Duration::from_secs(10 * 60);
/// Sessions written at once.
const BATCH: usize = 500;
/// Questions of other control planes under way at once.
const QUESTIONS: usize = 64;
/// Pause after the listener could not connect.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// This control plane among the others.
pub(crate) struct Replica {
    control: Arc<Control>,
    /// New at each start.
    id: String,
    asked: mpsc::Receiver<AskAbroad>,
    /// Questions of ours that others carry, by id.
    pending: HashMap<String, oneshot::Sender<Result<answer::Answer, AskError>>>,
    /// Wakes when notices came, or may have been missed.
    heard: Arc<Heard>,
    places: Arc<Semaphore>,
    alive: BTreeSet<String>,
    change: u64,
    safety_due: Instant,
}

/// What the listener heard and the beat shall look at.
#[derive(Default)]
struct Heard {
    wake: Notify,
    /// Notices may have been missed.
    gap: std::sync::atomic::AtomicBool,
}

impl Replica {
    /// This control plane; `asked` are the questions for others.
    pub(crate) fn new(control: Arc<Control>, asked: mpsc::Receiver<AskAbroad>) -> Self {
        let id = hex::encode(control.stage.random.bytes::<16>());
        Self {
            control,
            id,
            asked,
            pending: HashMap::new(),
            heard: Arc::default(),
            places: Arc::new(Semaphore::new(QUESTIONS)),
            alive: BTreeSet::new(),
            change: NO_CHANGE,
            safety_due: Instant::now(),
        }
    }

    /// Tells and hears until `stop`.
    ///
    /// # Errors
    /// None while the process lives: a database that fails is tried again.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), StoreError> {
        let listening = listen(
            Arc::clone(&self.control),
            self.id.clone(),
            Arc::clone(&self.heard),
            stop.clone(),
        );
        self.control.stage.tasks.spawn_side("notices", listening);
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let live = self.control.live.clone();
        let heard = Arc::clone(&self.heard);
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = beat.tick() => {}
                () = live.urgent() => {}
                () = heard.wake.notified() => {}
                Some(ask) = self.asked.recv() => {
                    self.hand_over(ask).await;
                    while let Ok(ask) = self.asked.try_recv() {
                        self.hand_over(ask).await;
                    }
                }
            }
            if let Err(error) = self.look_around().await {
                tracing::warn!(error = %Chain(&error), "cannot reach the other control planes");
            }
            tokio::time::sleep(GAP).await;
        }
        self.leave().await;
        Ok(())
    }

    /// One round: tell, look, answer.
    async fn look_around(&mut self) -> Result<(), StoreError> {
        self.tell().await?;
        self.look().await?;
        self.take_questions().await?;
        if !self.pending.is_empty() {
            self.take_answers().await?;
        }
        let missed = self
            .heard
            .gap
            .swap(false, std::sync::atomic::Ordering::Relaxed);
        if missed || Instant::now() >= self.safety_due {
            self.safety_due = Instant::now() + SAFETY;
            self.catch_up().await?;
        }
        Ok(())
    }

    /// Says that this control plane lives, and what is new of its sessions.
    async fn tell(&self) -> Result<(), StoreError> {
        let news = self.control.live.take_news();
        let rows: Vec<SessionRow> = news
            .iter()
            .map(|told| SessionRow {
                plane: told.plane,
                replica: self.id.clone(),
                opened_at: told.opened_at,
                open: told.open,
                report: report::encode(&told.report),
            })
            .collect();
        if rows.is_empty() {
            return self.control.store.beat(&self.id, &[]).await;
        }
        for (at, batch) in rows.chunks(BATCH).enumerate() {
            if let Err(error) = self.control.store.beat(&self.id, batch).await {
                let untold: Vec<_> = rows[at * BATCH..].iter().map(|row| row.plane).collect();
                self.control.live.put_back_news(&untold);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Mirrors what the others told. When one has died, whatever it had changed and not published
    /// is published here.
    async fn look(&mut self) -> Result<(), StoreError> {
        let seen = self.control.store.look(&self.id, self.change).await?;
        self.change = seen.change;
        for row in seen.sessions {
            let told = Told {
                plane: row.plane,
                opened_at: row.opened_at,
                open: row.open,
                report: report::decode(&row.report),
            };
            self.control.live.told(&row.replica, told);
        }
        self.control.live.alive(&seen.alive);
        let died = self.alive.difference(&seen.alive).any(|id| *id != self.id);
        if died {
            tracing::warn!("another control plane is gone");
            let planes = self.control.store.planes_in_service().await?;
            self.control.touched.touch(planes);
        }
        self.alive = seen.alive;
        Ok(())
    }

    /// What notices would have told, had they been heard.
    async fn catch_up(&self) -> Result<(), StoreError> {
        let control = &self.control;
        let since = control.stage.clock.unix_ms();
        let since = since.saturating_sub(millis(RETIRED_SINCE));
        let (published, retired) = control.store.missed(since).await?;
        for (plane, revision) in published {
            control.live.published(plane, revision);
        }
        for plane in retired {
            control.live.retire(plane);
        }
        control.store.forget_replicas().await
    }

    /// Hands a question to the control plane with the session.
    async fn hand_over(&mut self, ask: AskAbroad) {
        self.pending.retain(|_, reply| !reply.is_closed());
        let id = hex::encode(self.control.stage.random.bytes::<16>());
        let query = Query {
            query_id: id.clone(),
            timeout_ms: u32::try_from(millis(ask.timeout)).unwrap_or(u32::MAX),
            question: Some(ask.question),
        };
        let new = NewAsk {
            id: id.clone(),
            asker: self.id.clone(),
            replica: ask.replica,
            plane: ask.plane,
            question: query.encode_to_vec(),
            timeout_ms: millis(ask.timeout),
        };
        match self.control.store.ask(&new).await {
            Ok(()) => {
                self.pending.insert(id, ask.reply);
            }
            // Dropping the reply answers whoever asked.
            Err(error) => tracing::warn!(error = %Chain(&error), "cannot hand a question over"),
        }
    }

    /// Answers what others ask of the sessions here, each in its own task.
    async fn take_questions(&self) -> Result<(), StoreError> {
        for taken in self.control.store.take_asks(&self.id).await? {
            let control = Arc::clone(&self.control);
            let place = Arc::clone(&self.places).try_acquire_owned();
            self.control.stage.tasks.spawn_side("question", async move {
                let outcome = match place {
                    Ok(_place) => ask_here(&control, &taken).await,
                    Err(_full) => Err(AskError::Busy),
                };
                let outcome = to_row(taken.id, outcome);
                if let Err(error) = control.store.answer_ask(&taken.asker, &outcome).await {
                    tracing::warn!(error = %Chain(&error), "cannot hand an answer back");
                }
            });
        }
        Ok(())
    }

    async fn take_answers(&mut self) -> Result<(), StoreError> {
        for row in self.control.store.ask_outcomes(&self.id).await? {
            if let Some(reply) = self.pending.remove(&row.id) {
                // Whoever asked may have given up.
                let _taken = reply.send(from_row(&row));
            }
        }
        Ok(())
    }

    /// Tells the last news, so that nobody waits for what is over.
    async fn leave(&self) {
        let told = async {
            self.tell().await?;
            self.control.store.leave(&self.id).await
        };
        if let Err(error) = told.await {
            tracing::debug!(error = %Chain(&error), "left without a word");
        }
    }
}

async fn ask_here(control: &Control, taken: &TakenAsk) -> Result<answer::Answer, AskError> {
    let query = Query::decode(taken.question.as_slice()).ok();
    let question = query.and_then(|query| query.question);
    let question = question.ok_or(AskError::NotConnected)?;
    let timeout = Duration::from_millis(taken.timeout_ms);
    control.live.ask_here(taken.plane, question, timeout).await
}

fn to_row(id: String, outcome: Result<answer::Answer, AskError>) -> AskOutcome {
    let (word, answer) = match outcome {
        Ok(answer) => {
            let answer = Answer {
                query_id: String::new(),
                answer: Some(answer),
            };
            ("answered", Some(answer.encode_to_vec()))
        }
        Err(AskError::NotConnected) => ("not_connected", None),
        Err(AskError::Busy) => ("busy", None),
        Err(AskError::Timeout) => ("timeout", None),
    };
    AskOutcome {
        id,
        outcome: word.to_owned(),
        answer,
    }
}

fn from_row(row: &AskOutcome) -> Result<answer::Answer, AskError> {
    match row.outcome.as_str() {
        "busy" => return Err(AskError::Busy),
        "timeout" => return Err(AskError::Timeout),
        _ => {}
    }
    let answer = row.answer.as_deref().map(Answer::decode);
    let answer = answer.and_then(Result::ok).and_then(|said| said.answer);
    answer.ok_or(AskError::NotConnected)
}

/// Hears notices until `stop`. What they are about is done at once, or left to the next round.
async fn listen(control: Arc<Control>, own: String, heard: Arc<Heard>, stop: CancellationToken) {
    let hearing = async {
        loop {
            if let Err(error) = hear(&control, &own, &heard).await {
                tracing::warn!(error = %Chain(&error), "cannot hear the other control planes");
            }
            tokio::time::sleep(LISTEN_AGAIN).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = hearing => {}
    }
}

async fn hear(control: &Control, own: &str, heard: &Heard) -> Result<(), StoreError> {
    let Some(mut notices) = control.store.notices().await? else {
        return Ok(());
    };
    // Before this moment nothing was heard.
    heard.gap.store(true, std::sync::atomic::Ordering::Relaxed);
    heard.wake.notify_one();
    loop {
        match notices.next().await? {
            Some(Notice::Published { plane, revision }) => control.live.published(plane, revision),
            Some(Notice::Retired(plane)) => control.live.retire(plane),
            Some(Notice::Sessions) => heard.wake.notify_one(),
            Some(Notice::Asked(replica) | Notice::Answered(replica)) if replica == own => {
                heard.wake.notify_one();
            }
            Some(Notice::Asked(_) | Notice::Answered(_)) => {}
            None => {
                heard.gap.store(true, std::sync::atomic::Ordering::Relaxed);
                heard.wake.notify_one();
            }
        }
    }
}
