//! Targets, as callers manage them.

use serde::Serialize;
use serde_json::Value;
use zen_proto::ids::{PlaneId, TargetId};

use super::read::{patched, read};
use super::{Listed, shown_time};
use crate::control::Control;
use crate::problem::Problem;
use crate::store::{Placed, Principal, Removal, Wanted};
use crate::target::{Target, TargetBody};

/// A target as the API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct TargetView {
    id: String,
    tenant_id: String,
    #[serde(flatten)]
    body: TargetBody,
    created_at: String,
    updated_at: String,
}

impl From<Target> for TargetView {
    fn from(target: Target) -> Self {
        Self {
            id: target.id.to_string(),
            tenant_id: target.tenant.to_string(),
            body: target.body,
            created_at: shown_time(target.created_at),
            updated_at: shown_time(target.updated_at),
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
        let body: TargetBody = read(&body)?;
        body.check()?;
        let plane = self.usable_plane(caller, &body.plane_id).await?;
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
        self.store.add(&target).await?;
        self.touched.touch([plane.id]);
        Ok(target.into())
    }

    /// The caller's targets, of one plane or all.
    pub(crate) async fn list_targets(
        &self,
        caller: &Principal,
        plane: Option<PlaneId>,
        wanted: &Wanted,
    ) -> Result<Listed<TargetView>, Problem> {
        let page = self
            .store
            .list::<TargetBody>(caller.tenant, plane, wanted)
            .await?;
        let items = page.items.into_iter().map(TargetView::from).collect();
        Ok(Listed {
            items,
            next_cursor: page.next,
        })
    }

    /// One target.
    pub(crate) async fn get_target(
        &self,
        caller: &Principal,
        id: TargetId,
    ) -> Result<TargetView, Problem> {
        self.target(caller, id).await.map(TargetView::from)
    }

    /// Changes a target.
    pub(crate) async fn change_target(
        &self,
        caller: &Principal,
        id: TargetId,
        patch: Value,
    ) -> Result<TargetView, Problem> {
        let before = self.target(caller, id).await?;
        let body: TargetBody = patched(&before.body, patch)?;
        if body.plane_id != before.body.plane_id {
            return Err(Problem::field("plane_id", "a target stays in its plane"));
        }
        body.check()?;
        self.store
            .change(&before, &body, self.stage.clock.unix_ms())
            .await?;
        self.touched.touch([before.plane]);
        self.get_target(caller, id).await
    }

    /// Removes a target that no enabled flow uses.
    pub(crate) async fn remove_target(
        &self,
        caller: &Principal,
        id: TargetId,
    ) -> Result<(), Problem> {
        let target = self.target(caller, id).await?;
        match self
            .store
            .remove::<TargetBody>(id, self.stage.clock.unix_ms())
            .await?
        {
            Removal::Removed => self.touched.touch([target.plane]),
            Removal::Absent => return Err(Problem::no_such("target", id)),
            Removal::InUse(flows) => {
                let flows = flows.join(", ");
                return Err(Problem::in_use(format!("enabled flows end here: {flows}")));
            }
        }
        Ok(())
    }

    /// The caller's target of that id, unless it was removed.
    pub(super) async fn target(&self, caller: &Principal, id: TargetId) -> Result<Target, Problem> {
        let found = self.store.find::<TargetBody>(caller.tenant, id).await?;
        let found = found.filter(|target| target.removed_at.is_none());
        found.ok_or_else(|| Problem::no_such("target", id))
    }
}
