//! What is told when the API server does not do what it is asked: stable code, detail, remedy. The
//! board remembers what is wrong, so that each fault is told once and not at every try.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use zen_chassis::ready::Condition;

use super::herald::Herald;

/// Longest detail that is kept, characters.
const DETAIL: usize = 400;

/// The stable codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// No connection, no answer in time, or the server says that it cannot now.
    Unreachable,
    /// The service account may not do this.
    Forbidden,
    /// The server understood and does not do it.
    Refused,
}

impl Code {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "KUBERNETES_API_UNREACHABLE",
            Self::Forbidden => "KUBERNETES_API_FORBIDDEN",
            Self::Refused => "KUBERNETES_API_REFUSED",
        }
    }

    /// What a person does about it, one sentence.
    pub(crate) const fn remedy(self) -> &'static str {
        match self {
            Self::Unreachable => {
                "look at the API server, and at what stands between it and this pod (network \
                 policies, DNS, proxy); the agent keeps trying"
            }
            Self::Forbidden => {
                "upgrade the agent's chart, or grant this verb to the agent's service account"
            }
            Self::Refused => "look at what the API server says, and at its admission webhooks",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing, or nothing whole, came back; whether it was carried out is not known.
    NoAnswer,
    /// An answer with this HTTP status.
    Status(u16),
    /// An answer that cannot be read.
    Garbled,
}

/// A request that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", .kind.code())]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// `verb resource name: what happened`, one line.
    pub(crate) detail: String,
}

impl Kind {
    pub(crate) const fn code(self) -> Code {
        match self {
            Self::NoAnswer | Self::Status(408 | 429 | 500..=599) => Code::Unreachable,
            Self::Status(401 | 403) => Code::Forbidden,
            Self::Status(_) | Self::Garbled => Code::Refused,
        }
    }
}

impl Fault {
    pub(crate) fn new(kind: Kind, detail: &str) -> Self {
        let detail = detail
            .chars()
            .take(DETAIL)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        Self { kind, detail }
    }

    pub(crate) const fn code(&self) -> Code {
        self.kind.code()
    }

    /// Whether the same request may yet succeed by itself, soon.
    pub(crate) fn is_transient(&self) -> bool {
        self.code() == Code::Unreachable
    }

    /// Whether the object changed since it was read.
    pub(crate) fn is_conflict(&self) -> bool {
        self.kind == Kind::Status(409)
    }

    /// Whether it says neither that it may not be, nor that it cannot be now.
    pub(crate) fn is_odd(&self) -> bool {
        self.code() == Code::Refused || self.kind == Kind::Status(500)
    }

    /// Whether the object is not there.
    pub(crate) fn is_gone(&self) -> bool {
        self.kind == Kind::Status(404)
    }

    /// `CODE: detail; remedy: …`, as it stands in `/readyz`.
    pub(crate) fn line(&self) -> String {
        let code = self.code();
        format!("{code}: {}; remedy: {}", self.detail, code.remedy())
    }
}

/// What the agent does at the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Area {
    Lease,
    State,
    BundleWatch,
    BundleKeyWatch,
    TrustBundle,
    TokenReview,
}

impl Area {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::State => "state",
            Self::BundleWatch => "bundle watch",
            Self::BundleKeyWatch => "bundle key watch",
            Self::TrustBundle => "trust bundle",
            Self::TokenReview => "token review",
        }
    }
}

/// What is wrong now. Clones are the same.
#[derive(Clone)]
pub(crate) struct Board(Arc<Mutex<Inner>>);

struct Inner {
    faults: BTreeMap<Area, Fault>,
    /// Faults that only a person can mend keep an agent with no identity unready.
    condition: Condition,
    enrolled: bool,
    herald: Herald,
}

impl Board {
    pub(crate) fn new(condition: Condition, herald: Herald) -> Self {
        condition.ready();
        Self(Arc::new(Mutex::new(Inner {
            faults: BTreeMap::new(),
            condition,
            enrolled: false,
            herald,
        })))
    }

    /// Takes note of how something went.
    pub(crate) fn note<T>(&self, area: Area, outcome: &Result<T, Fault>) {
        match outcome {
            Ok(_) => self.well(area),
            Err(fault) => self.fault(area, fault),
        }
    }

    pub(crate) fn fault(&self, area: Area, fault: &Fault) {
        let mut inner = self.0.lock();
        let before = inner.faults.insert(area, fault.clone());
        let (code, detail, what) = (fault.code(), &fault.detail, area.as_str());
        if before.is_some_and(|before| before.code() == code) {
            tracing::debug!(%code, detail, area = what, "Kubernetes API still fails");
        } else {
            tracing::warn!(%code, detail, area = what, remedy = code.remedy(), "Kubernetes API fails");
            inner.herald.warn(code.as_str(), &fault.line());
        }
        inner.show();
    }

    pub(crate) fn well(&self, area: Area) {
        let mut inner = self.0.lock();
        if let Some(before) = inner.faults.remove(&area) {
            let code = before.code();
            tracing::info!(%code, area = area.as_str(), "Kubernetes API answers again");
            inner.show();
        }
    }

    /// Whether the agent holds an identity: then it has work that no fault here keeps it from.
    pub(crate) fn enrolled(&self, enrolled: bool) {
        let mut inner = self.0.lock();
        inner.enrolled = enrolled;
        inner.show();
    }

    /// What is wrong, for `/debug/state`.
    pub(crate) fn lines(&self) -> Vec<String> {
        let inner = self.0.lock();
        let line = |(area, fault): (&Area, &Fault)| format!("{}: {fault}", area.as_str());
        inner.faults.iter().map(line).collect()
    }
}

impl Inner {
    fn show(&self) {
        // The lease speaks for itself, in its own condition.
        let of_concern = self.faults.iter().find(|(area, fault)| {
            let needed = matches!(area, Area::State | Area::BundleWatch | Area::BundleKeyWatch);
            needed && !fault.is_transient()
        });
        match of_concern {
            Some((_, fault)) if !self.enrolled => self.condition.not_ready(fault.line()),
            _ => self.condition.ready(),
        }
    }
}

#[cfg(test)]
mod tests {
    use zen_chassis::ready::Readiness;

    use super::*;

    #[test]
    fn a_status_has_one_code_and_says_whether_waiting_helps() {
        let fault = |kind| Fault::new(kind, "get secrets x");
        for status in [408, 429, 500, 503, 504] {
            assert!(fault(Kind::Status(status)).is_transient(), "{status}");
        }
        for status in [400, 401, 403, 404, 409, 410, 422] {
            assert!(!fault(Kind::Status(status)).is_transient(), "{status}");
        }
        assert_eq!(fault(Kind::Status(403)).code(), Code::Forbidden);
        assert!(fault(Kind::NoAnswer).is_transient());
        assert!(fault(Kind::Status(409)).is_conflict());
    }

    #[test]
    fn a_missing_right_keeps_only_an_agent_without_identity_unready() {
        let ready = Readiness::default();
        let board = Board::new(ready.condition("kubernetes", ""), Herald::silent());
        let fault = Fault::new(Kind::Status(403), "watch secrets zen-enrollment: forbidden");
        board.fault(Area::BundleWatch, &fault);
        let (name, line) = ready.pending().remove(0);
        assert_eq!(name, "kubernetes");
        assert!(
            line.starts_with(
                "KUBERNETES_API_FORBIDDEN: watch secrets zen-enrollment: forbidden; remedy: "
            ),
            "{line}"
        );
        board.enrolled(true);
        assert!(ready.is_ready());
        board.enrolled(false);
        assert!(!ready.is_ready());
        board.well(Area::BundleWatch);
        assert!(ready.is_ready());
    }
}
