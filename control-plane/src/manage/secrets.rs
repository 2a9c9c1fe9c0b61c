//! Secrets, as callers manage them: sealed texts are stored and shown, never opened.

mod view;

use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use zen_proto::ids::{PlaneId, SecretId};
use zen_proto::limits;

pub(super) use self::view::SecretWarningView;
pub(crate) use self::view::{SecretUseView, SecretView};
use super::in_service;
use super::lists::{self, Listed, Paging};
use super::read::{patched, read};
use crate::control::Control;
use crate::fields::Faults;
use crate::permissions::Operation;
use crate::plane::{Plane, PlaneKind};
use crate::precondition::Expected;
use crate::principal::Principal;
use crate::problem::Problem;
use crate::secret::{Secret, SecretBody, key_ids, locked};
use crate::store::{Kept, Removal, Revised};

/// Which secrets are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SecretsAsked {
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

impl SecretsAsked {
    fn paging(&self) -> Paging<'_> {
        Paging {
            limit: self.limit,
            cursor: self.cursor.as_deref(),
            name: self.name.as_deref(),
            exact_name: self.exact_name.as_deref(),
        }
    }
}

/// How a secret is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SecretRemovalAsked {
    /// Also if endpoints or targets name it: they do without it then.
    pub(crate) force: Option<bool>,
}

impl Control {
    /// Stores a sealed secret.
    pub(crate) async fn create_secret(
        &self,
        caller: &Principal,
        body: Value,
    ) -> Result<SecretView, Problem> {
        caller.may(Operation::SecretWrite)?;
        let body: SecretBody = read(&body)?;
        let plane = body.plane_id.parse::<PlaneId>();
        let plane =
            plane.map_err(|_| Problem::field("plane_id", "not the id of a plane (pl_…)"))?;
        let sealed = body.check()?;
        let plane = self.plane_of_secret(caller, plane).await?;
        let now = self.stage.clock.unix_ms();
        let secret = Secret {
            id: self.stage.id(),
            tenant: plane.tenant,
            plane: plane.id,
            name: body.name,
            recipients: body.recipients,
            note: body.note,
            version: 1,
            created_at: now,
            updated_at: now,
            writer: caller.actor.clone(),
        };
        let entry = caller.did(now, "secret.create", secret.id, written(&secret));
        let kept = self.store.add_secret(&secret, &sealed.text, &entry).await?;
        has_room(kept)?;
        self.touched.touch([secret.plane]);
        self.show_secret(caller, secret, sealed.text).await
    }

    /// The secrets of the caller's scope, without their sealed texts.
    pub(crate) async fn list_secrets(
        &self,
        caller: &Principal,
        asked: &SecretsAsked,
    ) -> Result<Listed<SecretView>, Problem> {
        caller.may(Operation::SecretRead)?;
        let wanted = asked.paging().wanted::<SecretId>()?;
        let plane: Option<PlaneId> = lists::id("plane_id", asked.plane_id.as_deref())?;
        let scope = self.scope(caller);
        let page = self.store.secrets(scope, plane, &wanted).await?;
        Ok(Listed {
            items: self.show_secrets(caller, page.items).await?,
            next_cursor: page.next,
        })
    }

    /// One secret with its sealed text.
    pub(crate) async fn get_secret(
        &self,
        caller: &Principal,
        id: SecretId,
    ) -> Result<SecretView, Problem> {
        caller.may(Operation::SecretRead)?;
        let (secret, sealed) = self.secret(caller, id).await?;
        self.show_secret(caller, secret, sealed).await
    }

    /// Stores a newly sealed text of a secret, or changes its note. Its name and plane are sealed
    /// in and stay.
    pub(crate) async fn change_secret(
        &self,
        caller: &Principal,
        id: SecretId,
        patch: Value,
        expected: &Expected,
    ) -> Result<SecretView, Problem> {
        caller.may(Operation::SecretWrite)?;
        let (before, text) = self.secret(caller, id).await?;
        expected.meets(before.version)?;
        let anew = patch.get("sealed").is_some();
        let named = patch.get("recipients").is_some();
        let now_there = SecretBody {
            plane_id: before.plane.to_string(),
            name: before.name.clone(),
            sealed: text,
            recipients: before.recipients.clone(),
            note: before.note.clone(),
        };
        let body: SecretBody = patched(&now_there, patch)?;
        let sealed = body.check()?;
        let mut faults = Faults::default();
        let stays = "a secret keeps it: it is sealed in, and opens nowhere else";
        faults.require(body.name == before.name, "name", stays);
        faults.require(body.plane_id == now_there.plane_id, "plane_id", stays);
        faults.require(
            anew == named,
            "recipients",
            "a newly sealed text comes with the keys it is sealed for, and only with them",
        );
        faults.result()?;
        let revised = Revised {
            sealed: anew.then_some(sealed.text),
            recipients: body.recipients,
            note: body.note,
            at: self.stage.clock.unix_ms(),
            writer: caller.actor.clone(),
        };
        let detail = json!({
            "name": before.name, "plane_id": before.plane.to_string(), "sealed_anew": anew,
            "version": before.version + 1, "key_ids": key_ids(&revised.recipients),
        });
        let entry = caller.did(revised.at, "secret.change", id, detail);
        let changed = self.store.change_secret(&before, &revised, &entry).await;
        has_room(changed.map_err(|error| expected.lost(error.into()))?)?;
        self.touched.touch([before.plane]);
        self.get_secret(caller, id).await
    }

    /// Removes a secret that nothing names, or also one that is named if the caller insists.
    pub(crate) async fn remove_secret(
        &self,
        caller: &Principal,
        id: SecretId,
        forced: bool,
        expected: &Expected,
    ) -> Result<(), Problem> {
        caller.may(Operation::SecretWrite)?;
        let (secret, _) = self.secret(caller, id).await?;
        expected.meets(secret.version)?;
        let now = self.stage.clock.unix_ms();
        let detail = json!({
            "name": secret.name, "plane_id": secret.plane.to_string(), "forced": forced,
        });
        let entry = caller.did(now, "secret.remove", id, detail);
        let pinned = expected.pinned(secret.version);
        let removed = self.store.remove_secret(&secret, forced, pinned, &entry);
        match removed.await? {
            Removal::Removed => self.touched.touch([secret.plane]),
            Removal::Absent => return Err(Problem::no_such("secret", id)),
            Removal::Changed => return Err(expected.lost(Problem::changed("read it again"))),
            Removal::InUse(users) => {
                let (name, users) = (secret.name, users.join(", "));
                return Err(Problem::in_use(format!(
                    "lock:{name} is named by {users}; force=true removes it all the same"
                )));
            }
        }
        Ok(())
    }

    /// The plane for which the caller may store a secret: its own, or the operator's for who may.
    /// A data plane that serves many tenants takes none of theirs: it has one zen-lock for all.
    async fn plane_of_secret(&self, caller: &Principal, id: PlaneId) -> Result<Plane, Problem> {
        let found = self.store.plane(self.scope(caller), id).await?;
        let missing = || Problem::field("plane_id", format!("there is no plane {id} of yours"));
        in_service(found.ok_or_else(missing)?)
    }

    /// Refuses a reference to zen-lock on a plane that is somebody else's: its secrets are too, and
    /// whoever could name one could have it sent to a service of their own.
    pub(super) fn may_name(
        &self,
        caller: &Principal,
        plane: &Plane,
        field: &str,
        references: &[&str],
    ) -> Result<(), Problem> {
        let scope = self.scope(caller);
        let own = [scope.tenant, scope.also].contains(&plane.tenant);
        let names = references.iter().any(|text| locked(text).is_some());
        if own || !names || plane.kind == PlaneKind::Edge {
            return Ok(());
        }
        Err(Problem::field(
            field,
            "secrets that zen-lock opens on a data plane are its operator's: use a plane of your own",
        ))
    }

    /// The scope's secret of that id, with its sealed text.
    async fn secret(&self, caller: &Principal, id: SecretId) -> Result<(Secret, String), Problem> {
        let found = self.store.secret(self.scope(caller), id).await?;
        found.ok_or_else(|| Problem::no_such("secret", id))
    }
}

/// What the audit log says of a secret: nothing of its sealed text.
pub(crate) fn written(secret: &Secret) -> Value {
    json!({
        "name": secret.name, "plane_id": secret.plane.to_string(), "version": secret.version,
        "key_ids": key_ids(&secret.recipients),
    })
}

fn has_room(kept: Kept) -> Result<(), Problem> {
    match kept {
        Kept::Stored => Ok(()),
        Kept::TooMany => Err(Problem::full(format!(
            "the plane has {} secrets already",
            limits::SECRETS_PER_PLANE
        ))),
        Kept::TooLarge => Err(Problem::full(format!(
            "the plane's sealed secrets may have {} MiB together",
            limits::SECRETS_PER_PLANE_BYTES / (1024 * 1024)
        ))),
    }
}
