//! Endpoints, as callers manage them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use zen_proto::component::Component;
use zen_proto::ids::{EndpointId, PlaneId};

use super::lists::{Listed, Paging};
use super::read::{patched, read};
use super::secrets::SecretWarningView;
use super::{lists, shown_time};
use crate::control::Control;
use crate::endpoint::{Endpoint, EndpointBody};
use crate::permissions::Operation;
use crate::precondition::Expected;
use crate::principal::Principal;
use crate::problem::Problem;
use crate::store::{Noun as _, Placed, Removal};

/// The field that names secrets.
const SECRETS: &str = "verification.secrets";

/// An endpoint as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndpointView {
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    /// Where sources post; none until the plane's ingester has said where it is reached.
    pub(crate) url: Option<String>,
    #[serde(flatten)]
    pub(crate) body: EndpointBody,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
    /// Secrets that it names and that cannot be had, as far as is known.
    pub(crate) warnings: Vec<SecretWarningView>,
    /// Counts the changes that people made; the `ETag`.
    pub(crate) version: u64,
}

/// Which endpoints are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EndpointsAsked {
    /// Those with this in their name, in upper or lower case.
    #[param(max_length = 100)]
    pub(crate) name: Option<String>,
    /// The ones with exactly this name.
    #[param(max_length = 100)]
    pub(crate) exact_name: Option<String>,
    /// Those of this plane.
    pub(crate) plane_id: Option<String>,
    /// Items of a page at the most.
    #[param(minimum = 1, maximum = 500, default = 50)]
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

impl EndpointsAsked {
    fn paging(&self) -> Paging<'_> {
        Paging {
            limit: self.limit,
            cursor: self.cursor.as_deref(),
            name: self.name.as_deref(),
            exact_name: self.exact_name.as_deref(),
        }
    }
}

impl Control {
    /// Makes an endpoint.
    pub(crate) async fn create_endpoint(
        &self,
        caller: &Principal,
        body: Value,
    ) -> Result<EndpointView, Problem> {
        caller.may(Operation::EndpointWrite)?;
        let body: EndpointBody = read(&body)?;
        body.check()?;
        let plane = self.usable_plane(caller, &body.plane_id).await?;
        self.may_name(caller, &plane, SECRETS, &body.secrets())?;
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
        let written = json!(&endpoint.body);
        let entry = caller.did(now, "endpoint.create", endpoint.id, written);
        self.store.add(&endpoint, &entry).await?;
        self.touched.touch([plane.id]);
        self.show_endpoint(endpoint).await
    }

    /// The caller's endpoints.
    pub(crate) async fn list_endpoints(
        &self,
        caller: &Principal,
        asked: &EndpointsAsked,
    ) -> Result<Listed<EndpointView>, Problem> {
        caller.may(Operation::EndpointRead)?;
        let wanted = asked.paging().wanted::<EndpointId>()?;
        let plane: Option<PlaneId> = lists::id("plane_id", asked.plane_id.as_deref())?;
        let page = self
            .store
            .list::<EndpointBody>(caller.tenant, plane, &wanted)
            .await?;
        let ends = page.items.first().zip(page.items.last());
        let bases = match ends {
            Some((first, last)) => {
                let store = &self.store;
                store.ingest_urls(caller.tenant, first.id, last.id).await?
            }
            None => BTreeMap::new(),
        };
        let named = page.items.iter().map(|e| (e.plane, e.body.secrets()));
        let warnings = self.secret_warnings(named).await?;
        let items = page.items.into_iter().zip(warnings);
        let show = |(endpoint, said): (Endpoint, _)| {
            let base = bases.get(&endpoint.plane).map(String::as_str);
            endpoint_view(endpoint, base, said)
        };
        Ok(Listed {
            items: items.map(show).collect(),
            next_cursor: page.next,
        })
    }

    /// One endpoint.
    pub(crate) async fn get_endpoint(
        &self,
        caller: &Principal,
        id: EndpointId,
    ) -> Result<EndpointView, Problem> {
        caller.may(Operation::EndpointRead)?;
        let endpoint = self.endpoint(caller, id).await?;
        self.show_endpoint(endpoint).await
    }

    /// Changes an endpoint.
    pub(crate) async fn change_endpoint(
        &self,
        caller: &Principal,
        id: EndpointId,
        patch: Value,
        expected: &Expected,
    ) -> Result<EndpointView, Problem> {
        caller.may(Operation::EndpointWrite)?;
        let before = self.endpoint(caller, id).await?;
        expected.meets(before.version)?;
        let body: EndpointBody = patched(&before.body, patch.clone())?;
        if body.plane_id != before.body.plane_id {
            return Err(Problem::field("plane_id", "an endpoint stays in its plane"));
        }
        body.check()?;
        if let Some(plane) = self.store.any_plane(before.plane).await? {
            self.may_name(caller, &plane, SECRETS, &body.secrets())?;
        }
        let now = self.stage.clock.unix_ms();
        let entry = caller.did(now, "endpoint.change", id, patch);
        let changed = self.store.change(&before, &body, now, &entry).await;
        changed.map_err(|error| expected.lost(error.into()))?;
        self.touched.touch([before.plane]);
        self.get_endpoint(caller, id).await
    }

    /// Removes an endpoint that no enabled flow uses; its ingesters answer 410 from then on.
    pub(crate) async fn remove_endpoint(
        &self,
        caller: &Principal,
        id: EndpointId,
        expected: &Expected,
    ) -> Result<(), Problem> {
        caller.may(Operation::EndpointWrite)?;
        let endpoint = self.endpoint(caller, id).await?;
        expected.meets(endpoint.version)?;
        let now = self.stage.clock.unix_ms();
        let named = json!({ "name": endpoint.body.name });
        let entry = caller.did(now, "endpoint.remove", id, named);
        let pinned = expected.pinned(endpoint.version);
        match self
            .store
            .remove::<EndpointBody>(id, pinned, now, &entry)
            .await?
        {
            Removal::Removed => self.touched.touch([endpoint.plane]),
            Removal::Absent => return Err(Problem::no_such("endpoint", id)),
            Removal::Changed => return Err(expected.lost(Problem::changed("read it again"))),
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
        let named = [(endpoint.plane, endpoint.body.secrets())];
        let warnings = self.secret_warnings(named).await?.pop();
        let warnings = warnings.unwrap_or_default();
        Ok(endpoint_view(endpoint, base.as_deref(), warnings))
    }
}

/// `base` is where the plane's ingester is reached.
fn endpoint_view(
    endpoint: Endpoint,
    base: Option<&str>,
    warnings: Vec<SecretWarningView>,
) -> EndpointView {
    EndpointView {
        warnings,
        id: endpoint.id.to_string(),
        tenant_id: endpoint.tenant.to_string(),
        url: base.map(|base| format!("{}/hooks/{}", base.trim_end_matches('/'), endpoint.id)),
        body: endpoint.body,
        created_at: shown_time(endpoint.created_at),
        updated_at: shown_time(endpoint.updated_at),
        version: endpoint.version,
    }
}
