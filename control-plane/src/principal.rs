//! Who asks: a person or an API key, with what it may do and the trace it leaves in the audit log.

use std::net::IpAddr;

use serde_json::Value;
use zen_proto::ids::TenantId;

use crate::permissions::{Operation, Role, allows};
use crate::problem::Problem;
use crate::store::{Claim, NewAudit, Scope};

/// What kind of actor did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ActorKind {
    /// A person, signed in.
    User,
    /// An API key.
    Key,
    /// The control plane itself.
    System,
}

impl ActorKind {
    /// The one word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Key => "key",
            Self::System => "system",
        }
    }
}

/// Who did something, as the audit log names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Actor {
    pub(crate) kind: ActorKind,
    /// `usr_…` or `key_…`; empty for the system.
    pub(crate) id: String,
    /// A person's e-mail address, a key's name.
    pub(crate) name: String,
}

/// Who asks, once it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Principal {
    pub(crate) tenant: TenantId,
    /// May also manage what belongs to the operator.
    pub(crate) operator: bool,
    pub(crate) role: Role,
    /// The only operations an API key was made for; none means all of its role.
    pub(crate) scopes: Option<Vec<Operation>>,
    pub(crate) actor: Actor,
    /// Where it asks from, if that is known.
    pub(crate) address: Option<IpAddr>,
    /// The request that it makes, if that may be repeated (`Idempotency-Key`).
    pub(crate) claim: Option<Claim>,
}

impl Principal {
    /// Refuses what the caller may not do. Every operation asks here, and nothing decides elsewhere.
    ///
    /// # Errors
    /// `FORBIDDEN`, with the role or scope that is missing.
    pub(crate) fn may(&self, operation: Operation) -> Result<(), Problem> {
        if self.can(operation) {
            return Ok(());
        }
        Err(Problem::forbidden(
            if operation.of_operator() && !self.operator {
                format!("{operation} is for the operator's people")
            } else {
                format!(
                    "{} ({}) may not {operation}",
                    self.actor.kind.as_str(),
                    self.role
                )
            },
        ))
    }

    /// Whether the caller may: for what pages offer.
    pub(crate) fn can(&self, operation: Operation) -> bool {
        let scopes = self.scopes.as_deref();
        allows(self.role, operation)
            && scopes.is_none_or(|scopes| scopes.contains(&operation))
            && (self.operator || !operation.of_operator())
    }

    /// What the caller may see and change.
    pub(crate) const fn scope(&self, operator_tenant: TenantId) -> Scope {
        let also = if self.operator {
            operator_tenant
        } else {
            self.tenant
        };
        Scope {
            tenant: self.tenant,
            also,
        }
    }

    /// The audit log's entry for what the caller does, kept together with the change itself.
    ///
    /// `at` is Unix milliseconds, `action` a word such as `plane.create`, `subject` the id of what
    /// is changed. `detail` holds no secrets.
    pub(crate) fn did(
        &self,
        at: u64,
        action: &'static str,
        subject: impl std::fmt::Display,
        detail: Value,
    ) -> NewAudit {
        NewAudit {
            tenant: self.tenant,
            at,
            actor: self.actor.clone(),
            action,
            subject: subject.to_string(),
            detail,
            address: self.address,
            claim: self.claim.clone(),
        }
    }
}
