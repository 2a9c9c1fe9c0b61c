//! Endpoints, as callers manage them.

use serde::Serialize;
use serde_json::Value;
use zen_proto::component::Component;
use zen_proto::ids::{EndpointId, PlaneId};

use super::read::{patched, read};
use super::{Listed, shown_time};
use crate::control::Control;
use crate::endpoint::{Endpoint, EndpointBody};
use crate::problem::Problem;
use crate::store::{Placed, Principal, Removal, Wanted};

/// An endpoint as the API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct EndpointView {
    id: String,
    tenant_id: String,
    /// Where sources post; none until the plane's ingester has said where it is reached.
    url: Option<String>,
    #[serde(flatten)]
    body: EndpointBody,
    created_at: String,
    updated_at: String,
}

impl Control {
    /// Makes an endpoint.
    pub(crate) async fn create_endpoint(
        &self,
        caller: &Principal,
        body: Value,
    ) -> Result<EndpointView, Problem> {
        let body: EndpointBody = read(&body)?;
        body.check()?;
        let plane = self.usable_plane(caller, &body.plane_id).await?;
        let now = self.stage.clock.unix_ms();
        let endpoint = Placed {
            id: self.stage.id(),
            tenant: caller.tenant,
            plane: plane.id,
            body,
            created_at: now,
            updated_at: now,
            removed_at: None,
            version: 1,
        };
        self.store.add(&endpoint).await?;
        self.touched.touch([plane.id]);
        self.show_endpoint(endpoint).await
    }

    /// The caller's endpoints, of one plane or all.
    pub(crate) async fn list_endpoints(
        &self,
        caller: &Principal,
        plane: Option<PlaneId>,
        wanted: &Wanted,
    ) -> Result<Listed<EndpointView>, Problem> {
        let page = self
            .store
            .list::<EndpointBody>(caller.tenant, plane, wanted)
            .await?;
        let mut items = Vec::with_capacity(page.items.len());
        for endpoint in page.items {
            items.push(self.show_endpoint(endpoint).await?);
        }
        Ok(Listed {
            items,
            next_cursor: page.next,
        })
    }

    /// One endpoint.
    pub(crate) async fn get_endpoint(
        &self,
        caller: &Principal,
        id: EndpointId,
    ) -> Result<EndpointView, Problem> {
        let endpoint = self.endpoint(caller, id).await?;
        self.show_endpoint(endpoint).await
    }

    /// Changes an endpoint.
    pub(crate) async fn change_endpoint(
        &self,
        caller: &Principal,
        id: EndpointId,
        patch: Value,
    ) -> Result<EndpointView, Problem> {
        let before = self.endpoint(caller, id).await?;
        let body: EndpointBody = patched(&before.body, patch)?;
        if body.plane_id != before.body.plane_id {
            return Err(Problem::field("plane_id", "an endpoint stays in its plane"));
        }
        body.check()?;
        self.store
            .change(&before, &body, self.stage.clock.unix_ms())
            .await?;
        self.touched.touch([before.plane]);
        self.get_endpoint(caller, id).await
    }

    /// Removes an endpoint that no enabled flow uses; its ingesters answer 410 from then on.
    pub(crate) async fn remove_endpoint(
        &self,
        caller: &Principal,
        id: EndpointId,
    ) -> Result<(), Problem> {
        let endpoint = self.endpoint(caller, id).await?;
        match self
            .store
            .remove::<EndpointBody>(id, self.stage.clock.unix_ms())
            .await?
        {
            Removal::Removed => self.touched.touch([endpoint.plane]),
            Removal::Absent => return Err(Problem::no_such("endpoint", id)),
            Removal::InUse(flows) => {
                let flows = flows.join(", ");
                return Err(Problem::in_use(format!(
                    "enabled flows begin here: {flows}"
                )));
            }
        }
        Ok(())
    }

    /// The caller's endpoint of that id, unless it was removed.
    pub(super) async fn endpoint(
        &self,
        caller: &Principal,
        id: EndpointId,
    ) -> Result<Endpoint, Problem> {
        let found = self.store.find::<EndpointBody>(caller.tenant, id).await?;
        let found = found.filter(|endpoint| endpoint.removed_at.is_none());
        found.ok_or_else(|| Problem::no_such("endpoint", id))
    }

    async fn show_endpoint(&self, endpoint: Endpoint) -> Result<EndpointView, Problem> {
        let ingesters = self
            .store
            .addresses(endpoint.plane, Component::Ingester)
            .await?;
        let base = ingesters.into_values().next();
        Ok(EndpointView {
            id: endpoint.id.to_string(),
            tenant_id: endpoint.tenant.to_string(),
            url: base.map(|base| format!("{}/hooks/{}", base.trim_end_matches('/'), endpoint.id)),
            body: endpoint.body,
            created_at: shown_time(endpoint.created_at),
            updated_at: shown_time(endpoint.updated_at),
        })
    }
}
