//! Flows, as callers manage them.

use serde::Serialize;
use serde_json::Value;
use zen_proto::ids::{EndpointId, FlowId, PlaneId, TargetId};
use zen_proto::limits;

use super::read::{patched, read};
use super::{Listed, shown_time};
use crate::control::Control;
use crate::fields::Faults;
use crate::flow::{Flow, FlowBody};
use crate::plane::Plane;
use crate::problem::Problem;
use crate::store::{Added, Principal, Room, Wanted};

/// A flow as the API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct FlowView {
    id: String,
    tenant_id: String,
    #[serde(flatten)]
    body: FlowBody,
    endpoint_plane_id: String,
    target_plane_id: String,
    created_at: String,
    updated_at: String,
}

impl From<Flow> for FlowView {
    fn from(flow: Flow) -> Self {
        Self {
            id: flow.id.to_string(),
            tenant_id: flow.tenant.to_string(),
            endpoint_plane_id: flow.endpoint_plane.to_string(),
            target_plane_id: flow.target_plane.to_string(),
            body: flow.body,
            created_at: shown_time(flow.created_at),
            updated_at: shown_time(flow.updated_at),
        }
    }
}

impl Control {
    /// Makes a flow.
    pub(crate) async fn create_flow(
        &self,
        caller: &Principal,
        body: Value,
    ) -> Result<FlowView, Problem> {
        let body: FlowBody = read(&body)?;
        body.check()?;
        let mut faults = Faults::default();
        let endpoint: Option<EndpointId> = faults.id("endpoint_id", &body.endpoint_id);
        let target: Option<TargetId> = faults.id("target_id", &body.target_id);
        let (Some(endpoint), Some(target)) = (endpoint, target) else {
            return Err(faults.into());
        };
        let absent = |field: &str, problem: Problem| match problem.code {
            "NOT_FOUND" => Problem::field(field, problem.detail),
            _ => problem,
        };
        let endpoint = self
            .endpoint(caller, endpoint)
            .await
            .map_err(|p| absent("endpoint_id", p))?;
        let target = self
            .target(caller, target)
            .await
            .map_err(|p| absent("target_id", p))?;
        self.refuse_unless_joined(endpoint.plane, target.plane)
            .await?;
        let now = self.stage.clock.unix_ms();
        let flow = Flow {
            id: self.stage.id(),
            tenant: caller.tenant,
            endpoint: endpoint.id,
            endpoint_plane: endpoint.plane,
            target: target.id,
            target_plane: target.plane,
            whole: true,
            body,
            created_at: now,
            updated_at: now,
            version: 1,
        };
        let planes = [flow.endpoint_plane, flow.target_plane];
        let room = Room {
            planes,
            most: limits::FLOWS_PER_PLANE,
        };
        match self.store.add_flow(&flow, &room).await? {
            Added::Added => self.touched.touch(planes),
            Added::Full(plane) => {
                let most = limits::FLOWS_PER_PLANE;
                return Err(Problem::full(format!(
                    "plane {plane} has {most} flows already"
                )));
            }
        }
        Ok(flow.into())
    }

    /// Two planes are joined if they are one, or meet at one data plane.
    async fn refuse_unless_joined(&self, from: PlaneId, to: PlaneId) -> Result<(), Problem> {
        let plane = async |id| -> Result<Plane, Problem> {
            let found = self
                .store
                .any_plane(id)
                .await?
                .ok_or_else(|| Problem::no_such("plane", id))?;
            super::in_service(found)
        };
        let (from, to) = (plane(from).await?, plane(to).await?);
        let meet = from.bridged_by().is_some() && from.bridged_by() == to.bridged_by();
        if from.id == to.id || meet {
            return Ok(());
        }
        Err(Problem::not_joined(format!(
            "give {} and {} the same data plane",
            from.id, to.id
        )))
    }

    /// The caller's flows, from one endpoint or all.
    pub(crate) async fn list_flows(
        &self,
        caller: &Principal,
        endpoint: Option<EndpointId>,
        wanted: &Wanted,
    ) -> Result<Listed<FlowView>, Problem> {
        let page = self.store.flows(caller.tenant, endpoint, wanted).await?;
        let items = page.items.into_iter().map(FlowView::from).collect();
        Ok(Listed {
            items,
            next_cursor: page.next,
        })
    }

    /// One flow.
    pub(crate) async fn get_flow(
        &self,
        caller: &Principal,
        id: FlowId,
    ) -> Result<FlowView, Problem> {
        self.flow(caller, id).await.map(FlowView::from)
    }

    /// Changes a flow. Its two ends stay.
    pub(crate) async fn change_flow(
        &self,
        caller: &Principal,
        id: FlowId,
        patch: Value,
    ) -> Result<FlowView, Problem> {
        let before = self.flow(caller, id).await?;
        let body: FlowBody = patched(&before.body, patch)?;
        let mut faults = Faults::default();
        let kept = body.endpoint_id == before.body.endpoint_id;
        faults.require(
            kept,
            "endpoint_id",
            "a flow keeps its endpoint: make another one",
        );
        let kept = body.target_id == before.body.target_id;
        faults.require(
            kept,
            "target_id",
            "a flow keeps its target: make another one",
        );
        faults.result()?;
        body.check()?;
        if body.enabled && !before.whole {
            let detail = "its endpoint, target or one of their planes is gone";
            return Err(Problem::removed(detail));
        }
        if body.enabled && !before.body.enabled {
            self.refuse_unless_joined(before.endpoint_plane, before.target_plane)
                .await?;
        }
        self.store
            .change_flow(&before, &body, self.stage.clock.unix_ms())
            .await?;
        self.touched
            .touch([before.endpoint_plane, before.target_plane]);
        self.get_flow(caller, id).await
    }

    /// Removes a flow.
    pub(crate) async fn remove_flow(&self, caller: &Principal, id: FlowId) -> Result<(), Problem> {
        let flow = self.flow(caller, id).await?;
        if !self.store.remove_flow(id).await? {
            return Err(Problem::no_such("flow", id));
        }
        self.touched.touch([flow.endpoint_plane, flow.target_plane]);
        Ok(())
    }

    pub(super) async fn flow(&self, caller: &Principal, id: FlowId) -> Result<Flow, Problem> {
        let found = self.store.flow(caller.tenant, id).await?;
        found.ok_or_else(|| Problem::no_such("flow", id))
    }
}
