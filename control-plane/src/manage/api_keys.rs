//! API keys: made, listed, revoked. A key never makes one that may more than itself.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;
use zen_proto::ids::KeyId;

use super::lists::PageAsked;
use super::read::read;
use super::{Listed, shown_time};
use crate::control::Control;
use crate::digest::sha256;
use crate::fields::Faults;
use crate::people::token::BearerToken;
use crate::permissions::{Operation, Role, allows};
use crate::precondition::Expected;
use crate::principal::Principal;
use crate::problem::Problem;
use crate::setup::KEY_PREFIX;
use crate::store::ApiKey;

/// What is written about a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiKeyBody {
    /// What it is for.
    #[schema(min_length = 1, max_length = 100)]
    pub(crate) name: String,
    /// `owner`, `admin`, `editor` or `viewer`; not stronger than the caller's.
    pub(crate) role: String,
    /// The only operations it may do, such as `target.read`; all of its role if left out.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub(crate) scopes: Option<Vec<String>>,
    /// When it ends; never if left out.
    #[serde(default)]
    #[schema(format = "date-time")]
    pub(crate) expires_at: Option<String>,
    /// May also manage what belongs to the operator, if the caller may.
    #[serde(default)]
    pub(crate) operator: bool,
}

/// A key as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ApiKeyView {
    #[schema(value_type = String)]
    pub(crate) id: KeyId,
    pub(crate) name: String,
    /// `owner`, `admin`, `editor` or `viewer`.
    pub(crate) role: &'static str,
    /// The only operations it may do; none means all of its role.
    pub(crate) scopes: Option<Vec<&'static str>>,
    /// May also manage what belongs to the operator.
    pub(crate) operator: bool,
    /// Who made it; empty for the key of the first start.
    pub(crate) created_by: String,
    #[schema(format = "date-time")]
    pub(crate) created_at: String,
    #[schema(format = "date-time")]
    pub(crate) expires_at: Option<String>,
    /// To the minute; none if it was never used.
    #[schema(format = "date-time")]
    pub(crate) last_used_at: Option<String>,
}

/// A new key.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewApiKeyView {
    #[serde(flatten)]
    pub(crate) api_key: ApiKeyView,
    /// The key itself, shown this once.
    pub(crate) key: String,
}

impl ApiKeyView {
    fn of(key: ApiKey) -> Self {
        let words = |scopes: Vec<Operation>| scopes.into_iter().map(Operation::as_str).collect();
        Self {
            id: key.id,
            name: key.name,
            role: key.role.as_str(),
            scopes: key.scopes.map(words),
            operator: key.operator,
            created_by: key.created_by,
            created_at: shown_time(key.created_at),
            expires_at: key.expires_at.map(shown_time),
            last_used_at: key.last_used_at.map(shown_time),
        }
    }
}

impl Control {
    /// The keys of the caller's tenant.
    pub(crate) async fn list_api_keys(
        &self,
        caller: &Principal,
        asked: &PageAsked,
    ) -> Result<Listed<ApiKeyView>, Problem> {
        caller.may(Operation::KeyRead)?;
        let page = self
            .store
            .api_keys(caller.tenant, &asked.wanted::<KeyId>()?)
            .await?;
        Ok(Listed {
            items: page.items.into_iter().map(ApiKeyView::of).collect(),
            next_cursor: page.next,
        })
    }

    /// Makes a key.
    pub(crate) async fn create_api_key(
        &self,
        caller: &Principal,
        body: Value,
    ) -> Result<NewApiKeyView, Problem> {
        caller.may(Operation::KeyWrite)?;
        let body: ApiKeyBody = read(&body)?;
        let at = self.stage.clock.unix_ms();
        let new = self.new_key(caller, &body, at)?;
        refuse_stronger(caller, &new)?;
        let token = BearerToken::generate(&self.stage.random);
        let key = format!("{KEY_PREFIX}{}", token.expose());
        let detail = json!({"name": new.name, "role": new.role.as_str(), "scopes": body.scopes,
            "expires_at": body.expires_at, "operator": new.operator});
        let entry = caller.did(at, "api_key.create", new.id, detail);
        let kept = sha256(key.as_bytes());
        self.store.add_api_key(&new, &kept, &entry).await?;
        Ok(NewApiKeyView {
            api_key: ApiKeyView::of(new),
            key,
        })
    }

    fn new_key(&self, caller: &Principal, body: &ApiKeyBody, at: u64) -> Result<ApiKey, Problem> {
        let mut faults = Faults::default();
        faults.name("name", &body.name);
        let role: Option<Role> = faults.id("role", &body.role);
        let scopes = body.scopes.as_ref().map(|words| {
            faults.entries("scopes", words.len());
            let read = |(place, word): (usize, &String)| {
                faults.id::<Operation>(&format!("scopes.{place}"), word)
            };
            words.iter().enumerate().filter_map(read).collect()
        });
        let expires_at = body.expires_at.as_deref().and_then(|text| {
            let time = unix_ms(text).filter(|time| *time > at);
            faults.require(
                time.is_some(),
                "expires_at",
                "a time to come, such as 2030-01-31T12:00:00Z",
            );
            time
        });
        faults.result()?;
        Ok(ApiKey {
            id: self.stage.id(),
            tenant: caller.tenant,
            name: body.name.clone(),
            operator: body.operator,
            role: role.unwrap_or(Role::Viewer),
            scopes,
            created_by: caller.actor.name.clone(),
            created_at: at,
            expires_at,
            last_used_at: None,
        })
    }

    /// Revokes a key: from then on it is worth nothing.
    pub(crate) async fn revoke_api_key(
        &self,
        caller: &Principal,
        id: KeyId,
        expected: &Expected,
    ) -> Result<(), Problem> {
        caller.may(Operation::KeyWrite)?;
        // A key never changes.
        expected.meets(1)?;
        let at = self.stage.clock.unix_ms();
        let entry = caller.did(at, "api_key.revoke", id, json!({}));
        let tenant = caller.tenant;
        if !self.store.revoke_api_key(tenant, id, at, &entry).await? {
            return Err(Problem::no_such("API key", id));
        }
        Ok(())
    }
}

/// Refuses a key that could do what the caller cannot.
fn refuse_stronger(caller: &Principal, new: &ApiKey) -> Result<(), Problem> {
    let given = |operation: &Operation| {
        let scopes = new.scopes.as_deref();
        allows(new.role, *operation)
            && scopes.is_none_or(|scopes| scopes.contains(operation))
            && (new.operator || !operation.of_operator())
    };
    let mut all = Operation::ALL.iter();
    if let Some(more) = all.find(|operation| given(operation) && !caller.can(**operation)) {
        return Err(Problem::forbidden(format!(
            "the key could do {more}, which you may not"
        )));
    }
    // A key without scopes gets what later versions add to its role; one with scopes does not.
    let endless = new.scopes.is_none() && caller.scopes.is_some();
    if new.role > caller.role || (new.operator && !caller.operator) || endless {
        return Err(Problem::forbidden("the key would be stronger than you are"));
    }
    Ok(())
}

/// Unix milliseconds of an RFC 3339 time.
pub(super) fn unix_ms(text: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let milliseconds = time.unix_timestamp_nanos() / 1_000_000;
    u64::try_from(milliseconds)
        .ok()
        .filter(|ms| i64::try_from(*ms).is_ok())
}
