//! Runs the machine: each state has its work, each work ends in an event, each event leads to the
//! next state. What a crash could cut in two is ordered in `enrol`; here nothing is given up but
//! waits.

mod tell;

use std::convert::Infallible;
use std::time::Duration;

use zen_chassis::backoff::Backoff;
use zen_chassis::chain::Chain;
use zen_chassis::ready::Condition;
use zen_proto::codes::RefusalCode;
use zen_proto::ids::PlaneId;
use zen_seal::Bundle;

use crate::bundle::{BundleWatch, Change, Sealed};
use crate::config::LockConfig;
use crate::enrol::lock::NotOpened;
use crate::enrol::{self, EnrolError, Opened};
use crate::machine::{Event, Machine, State, is_transient};
use crate::plane::Plane;
use crate::refusal::Refusal;
use crate::session::{self, End, Session};
use crate::store::StoreError;

/// Pause between tries of what was refused for good, should the control plane think better of it.
const SLOW: Duration = Duration::from_secs(60);
/// Shortest pause that a control plane may send an agent away for.
const SHORTEST: Duration = Duration::from_millis(100);
/// Tries between two warnings of one and the same refusal.
const WARN_EVERY: u32 = 20;
/// A session that lived this long was a good one: the next tries begin with short pauses.
const GOOD_SESSION: Duration = Duration::from_secs(60);

/// Tries to have a new bundle opened while there is an identity to go on with.
const TRIES_BESIDE_IDENTITY: u32 = 5;

/// What a plane's course begins with, at each term anew.
#[derive(Clone)]
pub(crate) struct Course {
    /// The plane that this agent is for.
    pub(crate) expected: Option<PlaneId>,
    pub(crate) poll: Duration,
    /// Who opens a bundle that comes without its key.
    pub(crate) lock: Option<LockConfig>,
}

/// The plane's course, driven.
pub(crate) struct Driver {
    plane: Plane,
    course: Course,
    bundles: BundleWatch,
    enrolment: Condition,
    machine: Machine,
    work: Work,
}

/// What one state's work leaves for the next.
#[derive(Default)]
struct Work {
    /// From the find to the removal.
    sealed: Option<Sealed>,
    /// From opening to redemption.
    bundle: Option<Bundle>,
    /// From welcome to end.
    session: Option<Session>,
    /// What was refused last.
    refusal: Option<Refusal>,
    /// Tries in a row that came to nothing.
    failed: u32,
    /// What the control plane asked for.
    come_back_after: Option<Duration>,
    /// The refusal that was warned of last.
    told: Option<RefusalCode>,
    /// Whether there was a session before.
    was_connected: bool,
}

impl Driver {
    /// For a plane with what it holds already in force.
    pub(crate) fn new(plane: Plane, course: Course, enrolment: Condition) -> Self {
        let machine = Machine::start(plane.desk.now().identity.is_some());
        Self {
            plane,
            bundles: BundleWatch::new(course.poll, course.lock.is_some()),
            course,
            enrolment,
            machine,
            work: Work::default(),
        }
    }

    /// Drives the plane until shutdown.
    pub(crate) async fn run(mut self) -> Result<(), Infallible> {
        let shutdown = self.plane.stage.shutdown.clone();
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            () = self.course() => Ok(()),
        }
    }

    /// State by state, without end.
    async fn course(&mut self) {
        if let Some(identity) = self.plane.desk.now().identity
            && let Err(error) =
                enrol::tidy_up(&*self.plane.store, &identity, self.course.lock.is_some()).await
        {
            tracing::warn!(error = %Chain(&error), "leftovers of an earlier start stay");
        }
        loop {
            self.show();
            let event = self.work().await;
            let (next, actions) = self.machine.on(event);
            tracing::debug!(from = %self.machine.state(), ?event, to = %next.state(), "plane moved");
            self.machine = next;
            for action in actions {
                self.act(action).await;
            }
        }
    }

    /// Does what the present state is for, until something happens. A store that fails is told,
    /// and the work begun again.
    async fn work(&mut self) -> Event {
        let mut failed = 0;
        loop {
            let outcome = match self.machine.state() {
                State::WaitingForBundle | State::Retired => Ok(self.wait_for_bundle().await),
                State::Opening => Ok(self.open_bundle().await),
                State::Redeeming => self.redeem().await,
                State::Enrolled => Ok(self.take_up()),
                State::Connecting => Ok(self.connect().await),
                State::Connected => Ok(self.hold_session().await),
                State::Recovering => self.recover().await,
                State::Refused(code) => Ok(self.sit_out(code).await),
            };
            match outcome {
                Ok(event) => return event,
                Err(error) => {
                    failed += 1;
                    tracing::error!(error = %Chain(&error), "state cannot be stored");
                    self.enrolment
                        .not_ready(format!("STORE_FAILED: {}", Chain(&error)));
                    let pause = Backoff::FAR.pause(failed, self.plane.stage.random.fraction());
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn wait_for_bundle(&mut self) -> Event {
        let change = self.bundles.changed(&*self.plane.store).await;
        self.note(change)
    }

    fn note(&mut self, change: Change) -> Event {
        self.work.failed = 0;
        match change {
            Change::Found(sealed) => {
                self.work.refusal = None;
                self.work.told = None;
                self.work.sealed = Some(sealed);
                Event::BundleFound
            }
            Change::Gone => {
                self.work.sealed = None;
                self.work.told = None;
                Event::BundleGone
            }
        }
    }

    async fn open_bundle(&mut self) -> Event {
        let held = self
            .plane
            .desk
            .now()
            .identity
            .map(|identity| identity.stored.bundle_id);
        let Some(sealed) = self.work.sealed.clone() else {
            return self.refused(taken_away());
        };
        let expected = self.course.expected;
        let opened = match self.course.lock.clone() {
            Some(lock) if sealed.identity.is_none() => match self.ask_lock(&lock, &sealed).await {
                Ok(Ok(bundle)) => enrol::judge(bundle, expected, held),
                Ok(Err(refusal)) => Err(refusal),
                Err(change) => return self.note(change),
            },
            _ => enrol::open(&sealed, expected, held),
        };
        match opened {
            Ok(Opened::ToRedeem(bundle)) => {
                self.work.bundle = Some(bundle);
                Event::Opened
            }
            Ok(Opened::AlreadyRedeemed) => Event::AlreadyRedeemed,
            Err(refusal) => self.refused(refusal),
        }
    }

    /// Has zen-lock open the bundle, however long it takes to be there, unless a bundle comes or
    /// goes meanwhile. A plane that has an identity is not kept from its session for long.
    async fn ask_lock(
        &mut self,
        lock: &LockConfig,
        sealed: &Sealed,
    ) -> Result<Result<Bundle, Refusal>, Change> {
        let plane = &self.plane;
        let enrolled = plane.desk.now().identity.is_some();
        let enrolment = &self.enrolment;
        let tries = async {
            let mut failed = 0;
            loop {
                let line = match enrol::lock::open(lock, &sealed.bundle).await {
                    Ok(bundle) => return Ok(bundle),
                    Err(NotOpened::Refused(refusal)) => return Err(refusal),
                    Err(NotOpened::NotYet(line)) => line,
                };
                failed += 1;
                if enrolled && failed >= TRIES_BESIDE_IDENTITY {
                    return Err(Refusal::new(RefusalCode::BundleUnreadable, line));
                }
                if failed == 1 {
                    tracing::warn!(detail = line, "zen-lock has not opened the bundle yet");
                    plane.herald.warn("BundleWaitsForLock", &line);
                }
                if !enrolled {
                    enrolment.not_ready(format!("the bundle waits for zen-lock: {line}"));
                }
                let pause = Backoff::FAR.pause(failed, plane.stage.random.fraction());
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! {
            change = self.bundles.changed(&*plane.store) => Err(change),
            opened = tries => Ok(opened),
        }
    }

    async fn redeem(&mut self) -> Result<Event, StoreError> {
        let Some(bundle) = &self.work.bundle else {
            return Ok(self.refused(taken_away()));
        };
        let plane = &self.plane;
        match enrol::redeem(bundle, &*plane.store, &plane.stage.clock, &plane.dial).await {
            Ok(identity) => {
                plane.adopt(identity);
                self.work.failed = 0;
                Ok(Event::Redeemed)
            }
            Err(EnrolError::Refused(refusal)) => Ok(self.refused(refusal)),
            Err(EnrolError::Store(error)) => Err(error),
        }
    }

    async fn recover(&mut self) -> Result<Event, StoreError> {
        let plane = &self.plane;
        let Some(held) = plane.desk.now().identity else {
            return Ok(Event::Retired);
        };
        match enrol::recover(&held, &*plane.store, &plane.stage.clock, &plane.dial).await {
            Ok(identity) => {
                plane.adopt(identity);
                self.work.failed = 0;
                tracing::info!("identity recovered");
                Ok(Event::Recovered)
            }
            Err(EnrolError::Refused(refusal)) => Ok(self.refused(refusal)),
            Err(EnrolError::Store(error)) => Err(error),
        }
    }

    /// The identity is in force already: it is there from the start, or was adopted when it came.
    fn take_up(&self) -> Event {
        if self.is_expired() {
            Event::Expired
        } else {
            Event::InForce
        }
    }

    fn is_expired(&self) -> bool {
        let now = self.plane.stage.clock.now();
        self.plane
            .desk
            .now()
            .identity
            .is_some_and(|identity| identity.is_expired(now))
    }

    /// A pause after failures, then one try to open a session. A bundle that comes or goes in the
    /// meantime goes first.
    async fn connect(&mut self) -> Event {
        if self.is_expired() {
            return Event::Expired;
        }
        let Some(identity) = self.plane.desk.now().identity else {
            return Event::Retired;
        };
        let asked = self.work.come_back_after.take();
        let pause = asked.map_or_else(
            || self.pause(),
            // Later by up to a fifth, so that planes sent away together do not return together.
            |asked| {
                asked
                    .max(SHORTEST)
                    .mul_f64(1.0 + self.plane.stage.random.fraction() / 5.0)
            },
        );
        let plane = &self.plane;
        let try_once = async {
            tokio::time::sleep(pause).await;
            session::open(plane, &identity).await
        };
        let opened = tokio::select! {
            change = self.bundles.changed(&*plane.store) => Err(End::Bundle(change)),
            opened = try_once => opened,
        };
        match opened {
            Ok(session) => {
                self.work.session = Some(session);
                self.work.refusal = None;
                Event::SessionUp
            }
            Err(end) => self.ended(end),
        }
    }

    async fn hold_session(&mut self) -> Event {
        let Some(session) = self.work.session.take() else {
            return Event::SessionLost;
        };
        let since = tokio::time::Instant::now();
        let end = session.run(&self.plane, &mut self.bundles).await;
        if since.elapsed() >= GOOD_SESSION {
            self.work.failed = 0;
        }
        self.ended(end)
    }

    fn ended(&mut self, end: End) -> Event {
        match end {
            End::Lost(refusal) => self.refused(refusal),
            End::GoAway(pause) => {
                self.work.come_back_after = Some(pause);
                Event::SessionLost
            }
            End::Retired(reason) => {
                self.work.refusal = Some(Refusal::new(RefusalCode::PlaneRetired, reason));
                Event::Retired
            }
            End::Bundle(change) => self.note(change),
        }
    }

    /// Sits out a refusal: until it is time to try again, if there is anything to try, or a bundle
    /// comes or goes.
    async fn sit_out(&mut self, code: RefusalCode) -> Event {
        let retries = self.machine.retries();
        let pause = if is_transient(code) {
            self.pause()
        } else {
            SLOW
        };
        tokio::select! {
            () = tokio::time::sleep(pause), if retries => Event::RetryDue,
            change = self.bundles.changed(&*self.plane.store) => self.note(change),
        }
    }

    fn pause(&self) -> Duration {
        match self.work.failed {
            0 => Duration::ZERO,
            failed => Backoff::FAR.pause(failed, self.plane.stage.random.fraction()),
        }
    }

    fn refused(&mut self, refusal: Refusal) -> Event {
        let code = refusal.code;
        self.work.failed = self.work.failed.saturating_add(1);
        self.work.refusal = Some(refusal);
        Event::Refused(code)
    }
}

fn taken_away() -> Refusal {
    Refusal::new(RefusalCode::BundleUnreadable, "the bundle was taken away")
}
