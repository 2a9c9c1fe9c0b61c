//! Trials: a test call to a target, a test event at an endpoint, a probe of a plane's ways. Each is
//! made by the plane itself, with the parts that deliver.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use zen_proto::ids::{EndpointId, PlaneId, TargetId};
use zen_proto::query::v1::{
    Hop, Ping, Probe, Probed, TestAccepted, TestCall, TestCalled, TestEvent, answer, query,
};

use super::ask::{besides, text};
use super::{in_service, shown_time};
use crate::control::Control;
use crate::permissions::Operation;
use crate::principal::Principal;
use crate::problem::Problem;

/// Time for a trial: a target is given 15 s, a probe 8 s.
const TIME: Duration = Duration::from_secs(20);

/// What came of a test call: never what the target says beyond its status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct TestCallView {
    /// HTTP status; none if there was no answer.
    pub(crate) status: Option<u32>,
    /// Stable code of what went wrong; none on success.
    pub(crate) code: Option<String>,
    pub(crate) detail: Option<String>,
    pub(crate) duration_ms: u32,
    /// `ip:port` that answered.
    pub(crate) remote_address: Option<String>,
}

/// What the plane's ingester made of a test event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct TestEventView {
    /// The event that is on its way now; none if it was refused.
    pub(crate) event_id: Option<String>,
    /// The refusal that a source would get.
    pub(crate) code: Option<String>,
    pub(crate) detail: Option<String>,
}

/// The ways of a plane at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct ProbeView {
    /// RFC 3339.
    pub(crate) at: String,
    pub(crate) hops: Vec<HopView>,
}

/// One step of the way, and how it is.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct HopView {
    /// `control-plane`, or component and instance such as `egress/0`.
    pub(crate) from: String,
    /// `agent`, `egress`, `bridge` or `target`.
    pub(crate) to: String,
    pub(crate) target_id: Option<String>,
    /// Where it leads.
    pub(crate) address: Option<String>,
    /// Milliseconds until an answer or a connection; none if there was none.
    pub(crate) rtt_ms: Option<f64>,
    /// Stable code of what is wrong; none if it is well.
    pub(crate) code: Option<String>,
    pub(crate) detail: Option<String>,
    /// Since when it is so, as far as that is known.
    pub(crate) since: Option<String>,
}

impl Control {
    /// Calls the target once, by the way of a delivery.
    pub(crate) async fn test_target(
        &self,
        caller: &Principal,
        id: TargetId,
    ) -> Result<TestCallView, Problem> {
        caller.may(Operation::TestSend)?;
        let target = self.target(caller, id).await?;
        let now = self.stage.clock.unix_ms();
        let named = json!({ "name": target.body.name });
        self.store
            .note(&caller.did(now, "target.test", id, named))
            .await?;
        let question = query::Question::TestCall(TestCall {
            target_id: id.to_string(),
            tenant_id: target.tenant.to_string(),
        });
        match self.ask_plane(target.plane, question, TIME).await? {
            answer::Answer::TestCalled(called) => Ok(called.into()),
            _ => Err(besides()),
        }
    }

    /// Sends a test event by the way of a webhook.
    pub(crate) async fn test_endpoint(
        &self,
        caller: &Principal,
        id: EndpointId,
    ) -> Result<TestEventView, Problem> {
        caller.may(Operation::TestSend)?;
        let endpoint = self.endpoint(caller, id).await?;
        let now = self.stage.clock.unix_ms();
        let named = json!({ "name": endpoint.body.name });
        self.store
            .note(&caller.did(now, "endpoint.test", id, named))
            .await?;
        let question = query::Question::TestEvent(TestEvent {
            endpoint_id: id.to_string(),
            tenant_id: endpoint.tenant.to_string(),
        });
        match self.ask_plane(endpoint.plane, question, TIME).await? {
            answer::Answer::TestAccepted(accepted) => Ok(accepted.into()),
            _ => Err(besides()),
        }
    }

    /// Probes every way of the plane: from here to its agent, and from component to component.
    pub(crate) async fn probe_plane(
        &self,
        caller: &Principal,
        id: PlaneId,
    ) -> Result<ProbeView, Problem> {
        caller.may(Operation::PlaneRead)?;
        let plane = in_service(self.managed_plane(caller, id).await?)?;
        let at = self.stage.clock.unix_ms();
        let agent = self.probe_agent(id).await?;
        let tenant_id = caller.tenant.to_string();
        let question = query::Question::Probe(Probe { tenant_id });
        let answer = self.ask_plane(plane.id, question, TIME).await?;
        let answer::Answer::Probed(Probed { hops }) = answer else {
            return Err(besides());
        };
        let hops = hops.into_iter().map(HopView::from);
        Ok(ProbeView {
            at: shown_time(at),
            hops: [agent].into_iter().chain(hops).collect(),
        })
    }

    /// The round trip to the plane's agent.
    async fn probe_agent(&self, plane: PlaneId) -> Result<HopView, Problem> {
        let began = Instant::now();
        let ping = query::Question::Ping(Ping {});
        // Any answer came this way and back: one that knows no ping too.
        self.live.ask(plane, ping, TIME).await?;
        Ok(HopView {
            from: "control-plane".to_owned(),
            to: "agent".to_owned(),
            target_id: None,
            address: None,
            rtt_ms: Some(milliseconds(began.elapsed().as_micros())),
            code: None,
            detail: None,
            since: None,
        })
    }
}

impl From<TestCalled> for TestCallView {
    fn from(called: TestCalled) -> Self {
        Self {
            status: (called.status > 0).then_some(called.status),
            code: text(called.code),
            detail: text(called.detail),
            duration_ms: called.duration_ms,
            remote_address: text(called.remote_address),
        }
    }
}

impl From<TestAccepted> for TestEventView {
    fn from(accepted: TestAccepted) -> Self {
        Self {
            event_id: text(accepted.event_id),
            code: text(accepted.code),
            detail: text(accepted.detail),
        }
    }
}

impl From<Hop> for HopView {
    fn from(hop: Hop) -> Self {
        Self {
            from: hop.from,
            to: hop.to,
            target_id: text(hop.target_id),
            address: text(hop.address),
            rtt_ms: (hop.rtt_us > 0).then(|| milliseconds(hop.rtt_us.into())),
            code: text(hop.code),
            detail: text(hop.detail),
            since: (hop.since_ms > 0).then(|| shown_time(hop.since_ms)),
        }
    }
}

/// With two digits after the point.
fn milliseconds(microseconds: u128) -> f64 {
    let hundredths = u32::try_from(microseconds / 10).unwrap_or(u32::MAX);
    f64::from(hundredths) / 100.0
}
