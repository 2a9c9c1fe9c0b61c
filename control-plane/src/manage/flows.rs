//! Flows, as callers manage them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use zen_proto::ids::{EndpointId, FlowId, PlaneId, TargetId};
use zen_proto::limits;

use super::lists::{Listed, Paging};
use super::read::{patched, read};
use super::{lists, shown_time};
use crate::control::Control;
use crate::fields::Faults;
use crate::flow::{Flow, FlowBody};
use crate::permissions::Operation;
use crate::plane::Plane;
use crate::precondition::Expected;
use crate::principal::Principal;
use crate::problem::Problem;
use crate::store::{Added, FlowsOf, Room};

/// A flow as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FlowView {
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    #[serde(flatten)]
    pub(crate) body: FlowBody,
    pub(crate) endpoint_plane_id: String,
    pub(crate) target_plane_id: String,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
    /// Counts the changes that people made; the `ETag`.
    pub(crate) version: u64,
}

/// Which flows are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct FlowsAsked {
    /// Those with this in their name, in upper or lower case.
    #[param(max_length = 100)]
    pub(crate) name: Option<String>,
    /// The ones with exactly this name.
    #[param(max_length = 100)]
    pub(crate) exact_name: Option<String>,
    /// Those that begin or end in this plane.
    pub(crate) plane_id: Option<String>,
    /// Those that begin at this endpoint.
    pub(crate) endpoint_id: Option<String>,
    /// Those that end at this target.
    pub(crate) target_id: Option<String>,
    /// Items of a page at the most.
    #[param(minimum = 1, maximum = 500, default = 50)]
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

impl FlowsAsked {
    fn paging(&self) -> Paging<'_> {
        Paging {
            limit: self.limit,
            cursor: self.cursor.as_deref(),
            name: self.name.as_deref(),
            exact_name: self.exact_name.as_deref(),
        }
    }
}

impl From<Flow> for FlowView {
    fn from(flow: Flow) -> Self {
        Self {
            id: flow.id.to_string(),
            tenant_id: flow.tenant.to_string(),
            endpoint_plane_id: flow.endpoint_plane.to_string(),
            target_plane_id: flow.target_plane.to_string(),
            body: flow.body,
            version: flow.version,
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
        caller.may(Operation::FlowWrite)?;
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
        let entry = caller.did(now, "flow.create", flow.id, json!(&flow.body));
        match self.store.add_flow(&flow, &room, &entry).await? {
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

    /// The caller's flows.
    pub(crate) async fn list_flows(
        &self,
        caller: &Principal,
        asked: &FlowsAsked,
    ) -> Result<Listed<FlowView>, Problem> {
        caller.may(Operation::FlowRead)?;
        let wanted = asked.paging().wanted::<FlowId>()?;
        let of = FlowsOf {
            plane: lists::id("plane_id", asked.plane_id.as_deref())?,
            endpoint: lists::id("endpoint_id", asked.endpoint_id.as_deref())?,
            target: lists::id("target_id", asked.target_id.as_deref())?,
        };
        let page = self.store.flows(caller.tenant, &of, &wanted).await?;
        Ok(Listed::of(page, FlowView::from))
    }

    /// One flow.
    pub(crate) async fn get_flow(
        &self,
        caller: &Principal,
        id: FlowId,
    ) -> Result<FlowView, Problem> {
        caller.may(Operation::FlowRead)?;
        self.flow(caller, id).await.map(FlowView::from)
    }

    /// Changes a flow. Its two ends stay.
    pub(crate) async fn change_flow(
        &self,
        caller: &Principal,
        id: FlowId,
        patch: Value,
        expected: &Expected,
    ) -> Result<FlowView, Problem> {
        caller.may(Operation::FlowWrite)?;
        let before = self.flow(caller, id).await?;
        expected.meets(before.version)?;
        let body: FlowBody = patched(&before.body, patch.clone())?;
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
        let now = self.stage.clock.unix_ms();
        let entry = caller.did(now, "flow.change", id, patch);
        let changed = self.store.change_flow(&before, &body, now, &entry).await;
        changed.map_err(|error| expected.lost(error.into()))?;
        self.touched
            .touch([before.endpoint_plane, before.target_plane]);
        self.get_flow(caller, id).await
    }

    /// Removes a flow.
    pub(crate) async fn remove_flow(
        &self,
        caller: &Principal,
        id: FlowId,
        expected: &Expected,
    ) -> Result<(), Problem> {
        caller.may(Operation::FlowWrite)?;
        let flow = self.flow(caller, id).await?;
        expected.meets(flow.version)?;
        let named = json!({ "name": flow.body.name });
        let entry = caller.did(self.stage.clock.unix_ms(), "flow.remove", id, named);
        let pinned = expected.pinned(flow.version);
        if !self.store.remove_flow(id, pinned, &entry).await? {
            let changed = expected.lost(Problem::changed("read it again"));
            return Err(pinned.map_or_else(|| Problem::no_such("flow", id), |_| changed));
        }
        self.touched.touch([flow.endpoint_plane, flow.target_plane]);
        Ok(())
    }

    pub(super) async fn flow(&self, caller: &Principal, id: FlowId) -> Result<Flow, Problem> {
        let found = self.store.flow(caller.tenant, id).await?;
        found.ok_or_else(|| Problem::no_such("flow", id))
    }
}
