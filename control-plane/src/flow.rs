//! A flow: from an endpoint to a target. What a person writes about it, and what planes are told.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zen_proto::ids::{EndpointId, FlowId, PlaneId, TargetId, TenantId};
use zen_proto::snapshot::v1 as wire;

use crate::fields::Faults;

/// Attempts at the most.
const ATTEMPTS: u32 = 100;
/// Longest pause between attempts.
const BACKOFF_MS: u32 = 24 * 60 * 60 * 1000;

/// What a person writes about a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FlowBody {
    #[schema(min_length = 1, max_length = 100)]
    pub(crate) name: String,
    /// Where it begins; never changes.
    pub(crate) endpoint_id: String,
    /// Where it ends; never changes.
    pub(crate) target_id: String,
    #[serde(default)]
    pub(crate) retry: Option<Retry>,
    #[serde(default = "yes")]
    pub(crate) enabled: bool,
}

const fn yes() -> bool {
    true
}

/// Attempts and pauses; what is not given is the product's default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retry {
    #[serde(default)]
    #[schema(minimum = 1, maximum = 100)]
    pub(crate) max_attempts: Option<u32>,
    #[serde(default)]
    #[schema(minimum = 1, maximum = 86400000)]
    pub(crate) initial_backoff_ms: Option<u32>,
    #[serde(default)]
    #[schema(minimum = 1, maximum = 86400000)]
    pub(crate) max_backoff_ms: Option<u32>,
}

/// A flow as it is kept, and where its ends live. Times are Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) id: FlowId,
    pub(crate) tenant: TenantId,
    pub(crate) endpoint: EndpointId,
    pub(crate) endpoint_plane: PlaneId,
    pub(crate) target: TargetId,
    pub(crate) target_plane: PlaneId,
    /// Endpoint and target are there, and so are their planes.
    pub(crate) whole: bool,
    pub(crate) body: FlowBody,
    pub(crate) created_at: u64,
    pub(crate) updated_at: u64,
    /// Counts its changes.
    pub(crate) version: u64,
}

impl FlowBody {
    /// Checks everything that does not need the store.
    ///
    /// # Errors
    /// All faults at once.
    pub(crate) fn check(&self) -> Result<(), Faults> {
        let mut faults = Faults::default();
        faults.name("name", &self.name);
        if let Some(Retry {
            max_attempts,
            initial_backoff_ms,
            max_backoff_ms,
        }) = self.retry
        {
            let within = |value: Option<u32>, most| value.is_none_or(|v| (1..=most).contains(&v));
            faults.require(
                within(max_attempts, ATTEMPTS),
                "retry.max_attempts",
                "1 to 100",
            );
            let initial = within(initial_backoff_ms, BACKOFF_MS);
            faults.require(initial, "retry.initial_backoff_ms", "1 to 86400000");
            let longest = within(max_backoff_ms, BACKOFF_MS);
            faults.require(longest, "retry.max_backoff_ms", "1 to 86400000");
            let ordered = initial_backoff_ms
                .zip(max_backoff_ms)
                .is_none_or(|(a, b)| a <= b);
            faults.require(
                ordered,
                "retry.max_backoff_ms",
                "not below initial_backoff_ms",
            );
        }
        faults.result()
    }
}

/// The flow as planes are told.
pub(crate) fn to_wire(flow: &Flow) -> wire::Flow {
    let retry = flow.body.retry.as_ref().map(|retry| wire::RetryPolicy {
        max_attempts: retry.max_attempts.unwrap_or(0),
        initial_backoff_ms: retry.initial_backoff_ms.unwrap_or(0),
        max_backoff_ms: retry.max_backoff_ms.unwrap_or(0),
    });
    wire::Flow {
        id: flow.id.to_string(),
        tenant_id: flow.tenant.to_string(),
        name: flow.body.name.clone(),
        endpoint_id: flow.endpoint.to_string(),
        endpoint_plane_id: flow.endpoint_plane.to_string(),
        target_id: flow.target.to_string(),
        target_plane_id: flow.target_plane.to_string(),
        enabled: flow.body.enabled,
        retry,
    }
}
