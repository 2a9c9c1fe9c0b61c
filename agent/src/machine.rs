//! The plane's course from nothing to connected, as a pure machine: a state and an event give the
//! next state and what is to be done once on the way. What goes on *during* a state (calls, pauses)
//! is in `driver`.

use std::fmt;

use zen_proto::codes::RefusalCode;

/// Where a plane stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// There is no identity and no bundle.
    WaitingForBundle,
    /// A bundle is here and is being opened.
    Opening,
    /// The bundle is being redeemed at the control plane.
    Redeeming,
    /// The identity is stored; no session was tried yet.
    Enrolled,
    /// A session is being opened.
    Connecting,
    /// The session is up.
    Connected,
    /// The plane is not let in, for this reason.
    Refused(RefusalCode),
    /// The identity expired while the plane slept; the known key asks for a new one.
    Recovering,
    /// The plane was retired and its identity forgotten. Only a new bundle leads out.
    Retired,
}

impl State {
    /// The one word for it in logs and `/debug/state`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WaitingForBundle => "waiting_for_bundle",
            Self::Opening => "opening",
            Self::Redeeming => "redeeming",
            Self::Enrolled => "enrolled",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Refused(_) => "refused",
            Self::Recovering => "recovering",
            Self::Retired => "retired",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::Refused(code) => write!(f, "({code})"),
            _ => Ok(()),
        }
    }
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A bundle that was not looked at before.
    BundleFound,
    /// The bundle was taken away.
    BundleGone,
    /// The bundle opened and is to be redeemed.
    Opened,
    /// The bundle is the one the identity came from.
    AlreadyRedeemed,
    /// The bundle was redeemed and the identity it gave is stored.
    Redeemed,
    /// The identity is in force.
    InForce,
    /// The identity's time is over.
    Expired,
    /// The known key got a new identity, and it is stored.
    Recovered,
    /// The control plane welcomed the session.
    SessionUp,
    /// The session ended for no reason that concerns the identity.
    SessionLost,
    /// What was under way was refused.
    Refused(RefusalCode),
    /// The pause after a refusal is over.
    RetryDue,
    /// The control plane retired the plane.
    Retired,
}

/// What is to be done once, between two states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Log, count and show a refusal.
    TellRefusal(RefusalCode),
    /// Log that the plane is enrolled.
    TellEnrolled,
    /// Log that the session is up.
    TellConnected,
    /// The session is open and shall not be any more.
    CloseSession,
    /// Remove bundle, its identity and what was pending for it.
    RemoveBundle,
    /// Remove identity and snapshot.
    ForgetIdentity,
}

/// The plane's state with what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    state: State,
    /// An identity is stored.
    identity: bool,
    /// A bundle opened and is neither redeemed nor refused for good.
    bundle: bool,
}

/// Whether the same bundle, or the same identity, may yet succeed: the agent keeps trying.
pub(crate) const fn is_transient(code: RefusalCode) -> bool {
    matches!(
        code,
        RefusalCode::ControlPlaneUnreachable
            | RefusalCode::ControlPlaneUntrusted
            | RefusalCode::ClockSkew
    )
}

impl Machine {
    /// At start, with or without a stored identity.
    pub(crate) const fn start(identity: bool) -> Self {
        let state = if identity {
            State::Enrolled
        } else {
            State::WaitingForBundle
        };
        Self {
            state,
            identity,
            bundle: false,
        }
    }

    pub(crate) const fn state(self) -> State {
        self.state
    }

    /// Whether a refused plane tries again by itself.
    pub(crate) const fn retries(self) -> bool {
        match self.state {
            State::Refused(code) => self.identity || (self.bundle && is_transient(code)),
            _ => false,
        }
    }

    /// The next state, and what is to be done on the way there, in this order.
    pub(crate) fn on(self, event: Event) -> (Self, Vec<Action>) {
        let (next, mut actions) = self.next(event);
        if self.state == State::Connected && next.state != State::Connected {
            actions.insert(0, Action::CloseSession);
        }
        (next, actions)
    }

    fn next(self, event: Event) -> (Self, Vec<Action>) {
        use State as S;
        match (self.state, event) {
            (_, Event::BundleFound) => (
                Self {
                    bundle: false,
                    ..self.to(S::Opening)
                },
                vec![],
            ),
            (S::Opening, Event::Opened) => (
                Self {
                    bundle: true,
                    ..self.to(S::Redeeming)
                },
                vec![],
            ),
            (S::Opening, Event::AlreadyRedeemed) if self.identity => {
                (self.to(S::Enrolled), vec![Action::RemoveBundle])
            }
            (S::Redeeming, Event::Redeemed) => (
                Self {
                    state: S::Enrolled,
                    identity: true,
                    bundle: false,
                },
                vec![Action::TellEnrolled, Action::RemoveBundle],
            ),
            (S::Enrolled, Event::InForce) => (self.to(S::Connecting), vec![]),
            (S::Enrolled | S::Connecting, Event::Expired) => (self.to(S::Recovering), vec![]),
            (S::Recovering, Event::Recovered) => (self.to(S::Enrolled), vec![]),
            (S::Connecting, Event::SessionUp) => {
                (self.to(S::Connected), vec![Action::TellConnected])
            }
            (S::Connected, Event::SessionLost) => (self.to(S::Connecting), vec![]),
            (S::Connecting | S::Connected, Event::Retired) => (
                Self {
                    state: S::Retired,
                    identity: false,
                    bundle: false,
                },
                vec![
                    Action::TellRefusal(RefusalCode::PlaneRetired),
                    Action::ForgetIdentity,
                ],
            ),
            (_, Event::Refused(code)) => self.refuse(code),
            (S::Refused(_), Event::RetryDue) if self.retries() => (self.again(), vec![]),
            (S::Refused(_) | S::WaitingForBundle | S::Opening, Event::BundleGone) => (
                Self {
                    bundle: false,
                    ..self
                }
                .again(),
                vec![],
            ),
            // What does not fit the state is late news of one that was left.
            _ => (self, vec![]),
        }
    }

    fn refuse(self, code: RefusalCode) -> (Self, Vec<Action>) {
        use State as S;
        let told = vec![Action::TellRefusal(code)];
        match self.state {
            // A bundle that can never succeed does not cost a plane the identity it has.
            S::Opening | S::Redeeming if !is_transient(code) => {
                let left = Self {
                    bundle: false,
                    ..self
                };
                let next = if self.identity {
                    S::Connecting
                } else {
                    S::Refused(code)
                };
                (left.to(next), told)
            }
            S::Connecting | S::Connected if is_transient(code) => (self.to(S::Connecting), told),
            S::Opening | S::Redeeming | S::Connecting | S::Connected | S::Recovering => {
                (self.to(S::Refused(code)), told)
            }
            S::WaitingForBundle | S::Enrolled | S::Refused(_) | S::Retired => (self, vec![]),
        }
    }

    /// What is left to try.
    const fn again(self) -> Self {
        self.to(match (self.bundle, self.identity) {
            (true, _) => State::Redeeming,
            (false, true) => State::Connecting,
            (false, false) => State::WaitingForBundle,
        })
    }

    const fn to(self, state: State) -> Self {
        Self { state, ..self }
    }
}

#[cfg(test)]
#[path = "machine/tests.rs"]
mod tests;
