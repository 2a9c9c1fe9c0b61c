//! The agent's metrics.

use std::time::SystemTime;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Meter};
use zen_chassis::clock::to_unix_ms;
use zen_proto::codes::RefusalCode;

/// Instruments. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    /// 1 while an identity is held.
    enrolled: Gauge<u64>,
    /// 1 while the session is up.
    connected: Gauge<u64>,
    /// Of the applied snapshot.
    revision: Gauge<u64>,
    /// Unix seconds, by `certificate` = `plane_ca` | `leaf`.
    not_after: Gauge<u64>,
    /// Sessions opened after the first.
    reconnects: Counter<u64>,
    /// By `code`.
    refusals: Counter<u64>,
    /// Snapshots that were not applied.
    rejected: Counter<u64>,
    /// Handshakes over TCP that failed, by `code`.
    handshakes: Counter<u64>,
    /// First certificates asked for, by `outcome`.
    first_contacts: Counter<u64>,
    /// 1 while the lease is held; only where there is one.
    leading: Gauge<u64>,
}

/// What became of a component's first contact.
#[derive(Clone, Copy)]
pub(crate) enum FirstContact {
    Accepted,
    Refused,
    Unavailable,
}

/// Which of the agent's certificates.
#[derive(Clone, Copy)]
pub(crate) enum Certificate {
    PlaneCa,
    Leaf,
}

impl Metrics {
    pub(crate) fn new(meter: &Meter) -> Self {
        let metrics = Self {
            enrolled: meter
                .u64_gauge("zen_agent_enrolled")
                .with_description("1 while the agent holds an identity of its plane")
                .build(),
            connected: meter
                .u64_gauge("zen_agent_connected")
                .with_description("1 while the session to the control plane is up")
                .build(),
            revision: meter
                .u64_gauge("zen_agent_snapshot_revision")
                .with_description("revision of the applied snapshot")
                .build(),
            not_after: meter
                .u64_gauge("zen_agent_cert_not_after_timestamp")
                .with_unit("s")
                .with_description("when the certificate ends, Unix time")
                .build(),
            reconnects: meter
                .u64_counter("zen_agent_session_reconnects")
                .with_description("sessions opened after the first of this process")
                .build(),
            refusals: meter
                .u64_counter("zen_agent_refusals")
                .with_description("refusals met around enrolment and session, by code")
                .build(),
            rejected: meter
                .u64_counter("zen_agent_snapshots_rejected")
                .with_description("snapshots that were not applied")
                .build(),
            handshakes: meter
                .u64_counter("zen_agent_handshakes_refused")
                .with_description("TLS handshakes of neighbours that failed, by code")
                .build(),
            first_contacts: meter
                .u64_counter("zen_agent_first_contacts")
                .with_description("first certificates asked for with a token, by outcome")
                .build(),
            leading: meter
                .u64_gauge("zen_agent_lease_held")
                .with_description("1 while this agent holds the lease of its plane")
                .build(),
        };
        metrics.standing(false, false);
        metrics.applied(0);
        metrics
    }

    pub(crate) fn standing(&self, enrolled: bool, connected: bool) {
        self.enrolled.record(enrolled.into(), &[]);
        self.connected.record(connected.into(), &[]);
    }

    pub(crate) fn applied(&self, revision: u64) {
        self.revision.record(revision, &[]);
    }

    pub(crate) fn certificate(&self, which: Certificate, not_after: SystemTime) {
        let name = match which {
            Certificate::PlaneCa => "plane_ca",
            Certificate::Leaf => "leaf",
        };
        self.not_after.record(
            to_unix_ms(not_after) / 1_000,
            &[KeyValue::new("certificate", name)],
        );
    }

    pub(crate) fn reconnected(&self) {
        self.reconnects.add(1, &[]);
    }

    pub(crate) fn refused(&self, code: RefusalCode) {
        self.refusals.add(1, &[KeyValue::new("code", code.code())]);
    }

    pub(crate) fn handshake_refused(&self, code: &'static str) {
        self.handshakes.add(1, &[KeyValue::new("code", code)]);
    }

    pub(crate) fn first_contact(&self, outcome: FirstContact) {
        let outcome = match outcome {
            FirstContact::Accepted => "accepted",
            FirstContact::Refused => "refused",
            FirstContact::Unavailable => "unavailable",
        };
        self.first_contacts
            .add(1, &[KeyValue::new("outcome", outcome)]);
    }

    pub(crate) fn leading(&self, holds: bool) {
        self.leading.record(holds.into(), &[]);
    }

    pub(crate) fn rejected(&self) {
        self.rejected.add(1, &[]);
    }
}
