//! Targets, as callers manage them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use zen_proto::ids::{PlaneId, TargetId};

use super::health::HealthView;
use super::lists::{Listed, Paging};
use super::read::{patched, read};
use super::secrets::SecretWarningView;
use super::{lists, shown_time};
use crate::control::Control;
use crate::permissions::Operation;
use crate::precondition::Expected;
use crate::principal::Principal;
use crate::problem::Problem;
use crate::store::{Noun as _, Placed, Removal};
use crate::target::{Target, TargetAuth, TargetBody};

/// A target as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TargetView {
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    #[serde(flatten)]
    pub(crate) body: TargetBody,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
    /// As its plane last said.
    pub(crate) health: HealthView,
    /// Secrets that it names and that cannot be had, as far as is known.
    pub(crate) warnings: Vec<SecretWarningView>,
    /// Counts the changes that people made; the `ETag`.
    pub(crate) version: u64,
}

/// Which targets are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TargetsAsked {
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

/// The field that names secrets, for what is wrong with them.
fn secrets_of(body: &TargetBody) -> &'static str {
    match body.auth {
        Some(TargetAuth::Bearer(_)) => "auth.bearer",
        Some(TargetAuth::Basic(_)) => "auth.basic",
        None => "signing_secrets",
    }
}

impl TargetsAsked {
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
    /// Makes a target.
    pub(crate) async fn create_target(
        &self,
        caller: &Principal,
        body: Value,
    ) -> Result<TargetView, Problem> {
        caller.may(Operation::TargetWrite)?;
        let body: TargetBody = read(&body)?;
        body.check()?;
        let plane = self.usable_plane(caller, &body.plane_id).await?;
        self.may_name(caller, &plane, secrets_of(&body), &body.secrets())?;
        let now = self.stage.clock.unix_ms();
        let target = Placed {
            id: self.stage.id(),
            tenant: caller.tenant,
            plane: plane.id,
            body,
            created_at: now,
            updated_at: now,
            removed_at: None,
            version: 1,
        };
        let written = json!(&target.body);
        let entry = caller.did(now, "target.create", target.id, written);
        self.store.add(&target, &entry).await?;
        self.touched.touch([plane.id]);
        self.show_target(target).await
    }

    /// The caller's targets.
    pub(crate) async fn list_targets(
        &self,
        caller: &Principal,
        asked: &TargetsAsked,
    ) -> Result<Listed<TargetView>, Problem> {
        caller.may(Operation::TargetRead)?;
        let wanted = asked.paging().wanted::<TargetId>()?;
        let plane: Option<PlaneId> = lists::id("plane_id", asked.plane_id.as_deref())?;
        let page = self
            .store
            .list::<TargetBody>(caller.tenant, plane, &wanted)
            .await?;
        let named = page.items.iter().map(|t| (t.plane, t.body.secrets()));
        let warnings = self.secret_warnings(named).await?;
        let items = page.items.into_iter().zip(warnings);
        Ok(Listed {
            items: items.map(|(t, said)| self.view_target(t, said)).collect(),
            next_cursor: page.next,
        })
    }

    /// One target.
    pub(crate) async fn get_target(
        &self,
        caller: &Principal,
        id: TargetId,
    ) -> Result<TargetView, Problem> {
        caller.may(Operation::TargetRead)?;
        let target = self.target(caller, id).await?;
        self.show_target(target).await
    }

    /// Changes a target.
    pub(crate) async fn change_target(
        &self,
        caller: &Principal,
        id: TargetId,
        patch: Value,
        expected: &Expected,
    ) -> Result<TargetView, Problem> {
        caller.may(Operation::TargetWrite)?;
        let before = self.target(caller, id).await?;
        expected.meets(before.version)?;
        let body: TargetBody = patched(&before.body, patch.clone())?;
        if body.plane_id != before.body.plane_id {
            return Err(Problem::field("plane_id", "a target stays in its plane"));
        }
        body.check()?;
        if let Some(plane) = self.store.any_plane(before.plane).await? {
            self.may_name(caller, &plane, secrets_of(&body), &body.secrets())?;
        }
        let now = self.stage.clock.unix_ms();
        let entry = caller.did(now, "target.change", id, patch);
        let changed = self.store.change(&before, &body, now, &entry).await;
        changed.map_err(|error| expected.lost(error.into()))?;
        self.touched.touch([before.plane]);
        self.get_target(caller, id).await
    }

    /// Removes a target that no enabled flow uses.
    pub(crate) async fn remove_target(
        &self,
        caller: &Principal,
        id: TargetId,
        expected: &Expected,
    ) -> Result<(), Problem> {
        caller.may(Operation::TargetWrite)?;
        let target = self.target(caller, id).await?;
        expected.meets(target.version)?;
        let now = self.stage.clock.unix_ms();
        let named = json!({ "name": target.body.name });
        let entry = caller.did(now, "target.remove", id, named);
        let pinned = expected.pinned(target.version);
        match self
            .store
            .remove::<TargetBody>(id, pinned, now, &entry)
            .await?
        {
            Removal::Removed => self.touched.touch([target.plane]),
            Removal::Absent => return Err(Problem::no_such("target", id)),
            Removal::Changed => return Err(expected.lost(Problem::changed("read it again"))),
            Removal::InUse(flows) => {
                let flows = flows.join(", ");
                return Err(Problem::in_use(format!("enabled flows end here: {flows}")));
            }
        }
        Ok(())
    }

    async fn show_target(&self, target: Target) -> Result<TargetView, Problem> {
        let named = [(target.plane, target.body.secrets())];
        let warnings = self.secret_warnings(named).await?.pop();
        Ok(self.view_target(target, warnings.unwrap_or_default()))
    }

    fn view_target(&self, target: Target, warnings: Vec<SecretWarningView>) -> TargetView {
        TargetView {
            warnings,
            health: self.target_health(target.plane, target.id),
            id: target.id.to_string(),
            tenant_id: target.tenant.to_string(),
            body: target.body,
            created_at: shown_time(target.created_at),
            updated_at: shown_time(target.updated_at),
            version: target.version,
        }
    }

    /// The caller's target of that id, unless it was removed.
    pub(super) async fn target(&self, caller: &Principal, id: TargetId) -> Result<Target, Problem> {
        let found = self.store.find::<TargetBody>(caller.tenant, id).await?;
        let found = found.filter(|target| target.removed_at.is_none());
        found.ok_or_else(|| Problem::no_such("target", id))
    }
}
