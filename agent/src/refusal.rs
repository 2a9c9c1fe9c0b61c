//! Why the plane is not let in, as told to people: stable code, detail, remedy.

use std::error::Error;

use tonic::{Code, Status};
use zen_chassis::chain::Chain;
use zen_identity::{DialFailure, dial_failure};
use zen_proto::codes::RefusalCode;

/// Longest detail that is kept, characters.
const DETAIL: usize = 400;

/// A refusal with what is known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code; it carries the remedy.
    pub code: RefusalCode,
    /// What happened, one line.
    pub detail: String,
}

impl Refusal {
    pub(crate) fn new(code: RefusalCode, detail: impl Into<String>) -> Self {
        let detail: String = detail.into();
        let detail = detail
            .chars()
            .take(DETAIL)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        Self { code, detail }
    }

    /// `CODE: detail; remedy: …`, as it stands in `/readyz`.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "{}: {}; remedy: {}",
            self.code,
            self.detail,
            self.code.remedy()
        )
    }

    /// A refusal whose code came over the wire; one this version does not know keeps its name in
    /// the detail.
    pub(crate) fn from_wire(code: &str, detail: &str, otherwise: RefusalCode) -> Self {
        match code.parse() {
            Ok(code) => Self::new(code, detail),
            Err(_) => Self::new(otherwise, format!("{code}: {detail}")),
        }
    }

    /// Reads a failed call: what TLS or the network said, or the code the server put first into
    /// its message. `denied` is what a refusal without a known code means.
    pub(crate) fn of_call(status: &Status, denied: RefusalCode) -> Self {
        let text = Chain(status as &(dyn Error + 'static)).to_string();
        let code = match dial_failure(status) {
            DialFailure::Unreachable => RefusalCode::ControlPlaneUnreachable,
            DialFailure::Untrusted(_) => RefusalCode::ControlPlaneUntrusted,
            DialFailure::ClockSkew => RefusalCode::ClockSkew,
            DialFailure::RefusedByPeer => denied,
            DialFailure::Other => return Self::of_status(status, denied, text),
        };
        Self::new(code, text)
    }

    fn of_status(status: &Status, denied: RefusalCode, text: String) -> Self {
        let word = status
            .message()
            .split([':', ' '])
            .next()
            .unwrap_or_default();
        if let Ok(code) = word.parse() {
            return Self::new(code, status.message());
        }
        match status.code() {
            Code::PermissionDenied | Code::Unauthenticated => Self::new(denied, text),
            _ => Self::new(RefusalCode::ControlPlaneUnreachable, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_in_the_servers_message_is_taken_at_its_word() {
        let status = Status::permission_denied("PLANE_RETIRED: it was retired yesterday");
        let refusal = Refusal::of_call(&status, RefusalCode::ControlPlaneUntrusted);
        assert_eq!(refusal.code, RefusalCode::PlaneRetired);
        let status = Status::permission_denied("no");
        let refusal = Refusal::of_call(&status, RefusalCode::PlaneRetired);
        assert_eq!(refusal.code, RefusalCode::PlaneRetired);
        let status = Status::unavailable("restarting");
        let refusal = Refusal::of_call(&status, RefusalCode::PlaneRetired);
        assert_eq!(refusal.code, RefusalCode::ControlPlaneUnreachable);
    }

    #[test]
    fn a_line_names_code_detail_and_remedy() {
        let line = Refusal::new(RefusalCode::ClockSkew, "off by\na day").line();
        assert_eq!(
            line,
            "CLOCK_SKEW: off by a day; remedy: set this host's clock (NTP)"
        );
    }

    #[test]
    fn a_code_of_a_newer_control_plane_keeps_its_name() {
        let refusal = Refusal::from_wire("NEW_THING", "why", RefusalCode::ControlPlaneUnreachable);
        assert_eq!(refusal.detail, "NEW_THING: why");
    }
}
