//! What is known of a plane from its session, as one control plane tells it to another. Grows only:
//! control planes of two versions share a database while they are brought up to date.

use prost::Message;
use zen_proto::session::v1::{ComponentStatus, Rejected};

use crate::plane::{Rejection, Report};

#[derive(Clone, PartialEq, Message)]
struct Encoded {
    #[prost(uint64, optional, tag = "1")]
    last_heartbeat_at: Option<u64>,
    #[prost(string, tag = "2")]
    agent_version: String,
    #[prost(uint64, tag = "3")]
    applied_revision: u64,
    #[prost(message, repeated, tag = "4")]
    components: Vec<ComponentStatus>,
    #[prost(message, optional, tag = "5")]
    rejected: Option<Rejected>,
}

/// The report in bytes.
pub(super) fn encode(report: &Report) -> Vec<u8> {
    let Report {
        last_heartbeat_at,
        agent_version,
        applied_revision,
        components,
        rejected,
    } = report.clone();
    let rejected = rejected.map(|rejection| Rejected {
        revision: rejection.revision,
        code: rejection.code,
        detail: rejection.detail,
    });
    let encoded = Encoded {
        last_heartbeat_at,
        agent_version,
        applied_revision,
        components,
        rejected,
    };
    encoded.encode_to_vec()
}

/// What the bytes say; nothing if they say nothing that this version knows.
pub(super) fn decode(bytes: &[u8]) -> Report {
    let Encoded {
        last_heartbeat_at,
        agent_version,
        applied_revision,
        components,
        rejected,
    } = Encoded::decode(bytes).unwrap_or_default();
    let rejected = rejected.map(|rejected| Rejection {
        revision: rejected.revision,
        code: rejected.code,
        detail: rejected.detail,
    });
    Report {
        last_heartbeat_at,
        agent_version,
        applied_revision,
        components,
        rejected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_as_it_was_told() {
        let rejected = Rejection {
            revision: 4,
            code: "X".to_owned(),
            detail: "y".to_owned(),
        };
        let component = ComponentStatus {
            component: "egress".to_owned(),
            ..ComponentStatus::default()
        };
        let report = Report {
            last_heartbeat_at: Some(0),
            agent_version: "1".to_owned(),
            applied_revision: 3,
            components: vec![component],
            rejected: Some(rejected),
        };
        let read = decode(&encode(&report));
        assert_eq!(format!("{read:?}"), format!("{report:?}"));
    }
}
