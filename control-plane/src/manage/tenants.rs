//! Tenants: one's own, and all of them for the operator's people. Also: who is asking.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use zen_proto::ids::TenantId;

use super::lists::PageAsked;
use super::read::{patched, read};
use super::users::{UserBody, checked};
use super::{Listed, shown_time};
use crate::control::Control;
use crate::fields::Faults;
use crate::people::{LinkView, email_taken};
use crate::permissions::{Operation, Role};
use crate::precondition::Expected;
use crate::principal::Principal;
use crate::problem::Problem;
use crate::store::{NewAudit, NewTenant, Tenant, User};

/// What is written about a new tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantBody {
    /// Unique.
    #[schema(min_length = 1, max_length = 100)]
    pub(crate) name: String,
    /// E-mail address of the person who will own it.
    #[schema(format = "email", min_length = 3, max_length = 254)]
    pub(crate) owner_email: String,
    /// Their name.
    #[schema(min_length = 1, max_length = 100)]
    pub(crate) owner_name: String,
}

/// What people change about their tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantSettingsBody {
    #[schema(min_length = 1, max_length = 100)]
    pub(crate) name: String,
    /// Everybody who signs in with a password needs an authenticator app.
    pub(crate) totp_required: bool,
}

/// A tenant as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct TenantView {
    #[schema(value_type = String)]
    pub(crate) id: TenantId,
    pub(crate) name: String,
    /// `operator`, `default` (made at the first start) or `tenant`.
    pub(crate) kind: String,
    /// Everybody who signs in with a password needs an authenticator app.
    pub(crate) totp_required: bool,
    #[schema(format = "date-time")]
    pub(crate) created_at: String,
    /// Counts changes; the entity tag.
    pub(crate) version: u64,
}

/// A new tenant, and its owner's way in.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewTenantView {
    pub(crate) tenant: TenantView,
    /// Shown this once: hand it to the owner.
    pub(crate) sign_in_link: LinkView,
}

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct MeView {
    /// `user` or `key`.
    pub(crate) kind: &'static str,
    /// `usr_…` or `key_…`.
    pub(crate) id: String,
    /// A person's e-mail address, a key's name.
    pub(crate) name: String,
    pub(crate) tenant: TenantView,
    /// `owner`, `admin`, `editor` or `viewer`.
    pub(crate) role: &'static str,
    /// May also manage what belongs to the operator.
    pub(crate) operator: bool,
    /// All that the caller may do.
    pub(crate) operations: Vec<&'static str>,
}

impl TenantView {
    fn of(tenant: Tenant) -> Self {
        Self {
            id: tenant.id,
            name: tenant.name,
            kind: tenant.kind,
            totp_required: tenant.totp_required,
            created_at: shown_time(tenant.created_at),
            version: tenant.version,
        }
    }
}

impl Control {
    /// Who is asking, and what they may do.
    pub(crate) async fn me(&self, caller: &Principal) -> Result<MeView, Problem> {
        let may = Operation::ALL.iter().filter(|op| caller.can(**op));
        Ok(MeView {
            kind: caller.actor.kind.as_str(),
            id: caller.actor.id.clone(),
            name: caller.actor.name.clone(),
            tenant: TenantView::of(self.own_tenant(caller).await?),
            role: caller.role.as_str(),
            operator: caller.operator,
            operations: may.map(|op| op.as_str()).collect(),
        })
    }

    async fn own_tenant(&self, caller: &Principal) -> Result<Tenant, Problem> {
        let found = self.store.tenant(caller.tenant).await?;
        found.ok_or_else(|| Problem::internal("the tenant is gone"))
    }

    /// The caller's tenant.
    pub(crate) async fn get_tenant(&self, caller: &Principal) -> Result<TenantView, Problem> {
        caller.may(Operation::UserRead)?;
        Ok(TenantView::of(self.own_tenant(caller).await?))
    }

    /// Changes the name of the caller's tenant, or what it asks of its people.
    pub(crate) async fn change_tenant(
        &self,
        caller: &Principal,
        patch: Value,
        expected: &Expected,
    ) -> Result<TenantView, Problem> {
        caller.may(Operation::UserWrite)?;
        let tenant = self.own_tenant(caller).await?;
        expected.meets(tenant.version)?;
        let before = TenantSettingsBody {
            name: tenant.name.clone(),
            totp_required: tenant.totp_required,
        };
        let body: TenantSettingsBody = patched(&before, patch.clone())?;
        let mut faults = Faults::default();
        faults.name("name", &body.name);
        faults.result()?;
        let after = Tenant {
            name: body.name,
            totp_required: body.totp_required,
            ..tenant
        };
        let at = self.stage.clock.unix_ms();
        let entry = caller.did(at, "tenant.change", after.id, patch);
        let changed = self.store.change_tenant(&after, &entry).await;
        changed.map_err(|error| expected.lost(error.into()))?;
        self.get_tenant(caller).await
    }

    /// All tenants; for the operator's people.
    pub(crate) async fn list_tenants(
        &self,
        caller: &Principal,
        asked: &PageAsked,
    ) -> Result<Listed<TenantView>, Problem> {
        caller.may(Operation::TenantRead)?;
        let page = self.store.tenants(&asked.wanted::<TenantId>()?).await?;
        Ok(Listed {
            items: page.items.into_iter().map(TenantView::of).collect(),
            next_cursor: page.next,
        })
    }

    /// Makes a tenant and invites its owner; for the operator's people.
    pub(crate) async fn create_tenant(
        &self,
        caller: &Principal,
        body: Value,
    ) -> Result<NewTenantView, Problem> {
        caller.may(Operation::TenantWrite)?;
        let body: TenantBody = read(&body)?;
        let owner = named_owner(&body)?;
        let at = self.stage.clock.unix_ms();
        let tenant = Tenant {
            id: self.stage.id(),
            name: body.name.clone(),
            kind: "tenant".to_owned(),
            totp_required: false,
            created_at: at,
            version: 1,
        };
        let owner = User {
            tenant: tenant.id,
            ..self.new_user(caller, &owner, Role::Owner, at)
        };
        let made = self.make_link(owner.id, true);
        let detail = json!({"name": tenant.name, "owner": body.owner_email});
        let entry = caller.did(at, "tenant.create", tenant.id, detail);
        // Its own log begins with who made it.
        let own = NewAudit {
            tenant: tenant.id,
            claim: None,
            ..entry.clone()
        };
        let view = TenantView::of(tenant.clone());
        let sign_in_link = self.show_link(&made);
        let new = NewTenant {
            tenant,
            owner,
            link: made.kept,
        };
        if self.store.user_by_email(&body.owner_email).await?.is_some() {
            return Err(email_taken(crate::store::StoreError::NameTaken));
        }
        self.store.add_tenant(&new, [&entry, &own]).await?;
        Ok(NewTenantView {
            tenant: view,
            sign_in_link,
        })
    }
}

fn named_owner(body: &TenantBody) -> Result<UserBody, Problem> {
    let mut faults = Faults::default();
    faults.name("name", &body.name);
    faults.name("owner_name", &body.owner_name);
    if let Some(fault) = crate::people::email::fault(&body.owner_email) {
        faults.add("owner_email", fault);
    }
    faults.result()?;
    let owner = UserBody {
        email: body.owner_email.clone(),
        name: body.owner_name.clone(),
        role: Role::Owner.as_str().to_owned(),
        disabled: false,
    };
    checked(&owner)?;
    Ok(owner)
}
