//! A secret as the API shows it: what is kept of it, who names it, and what its plane's zen-lock
//! says of it. And what is said where a secret is named.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use utoipa::ToSchema;
use zen_proto::ids::PlaneId;

use crate::control::Control;
use crate::lock::{self, Asked, Lock, State};
use crate::manage::shown_time;
use crate::plane::Report;
use crate::principal::Principal;
use crate::problem::Problem;
use crate::secret::{Secret, key_ids, locked};
use crate::store::{Use, UsedBy};

/// A secret as the API shows it. Nobody here can open it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SecretView {
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    pub(crate) plane_id: String,
    pub(crate) name: String,
    /// The one place where it opens.
    pub(crate) scope: String,
    /// age public keys it is sealed for, as its writer told.
    pub(crate) recipients: Vec<String>,
    /// The ids of these keys, as zen-lock's reports and logs name them.
    pub(crate) key_ids: Vec<String>,
    pub(crate) note: Option<String>,
    /// The sealed text; left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sealed: Option<String>,
    /// `opens`, `unopened` (the code says why), `waiting` (the plane's zen-lock has not been heard
    /// of since), `unknown` (there is no zen-lock, or the plane is not connected).
    pub(crate) state: &'static str,
    /// Why zen-lock cannot open it.
    pub(crate) code: Option<String>,
    /// What to do about the code.
    pub(crate) remedy: Option<&'static str>,
    /// It is not sealed for the newest key of zen-lock; none if that key is not known.
    pub(crate) sealed_to_old_key: Option<bool>,
    /// What names it as `lock:<name>`.
    pub(crate) used_by: Vec<SecretUseView>,
    /// Who stored this version.
    pub(crate) written_by: SecretWriterView,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
    /// Counts what was stored of it; the `ETag`.
    pub(crate) version: u64,
}

/// An endpoint or target that names a secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SecretUseView {
    /// `endpoint` or `target`.
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    pub(crate) name: String,
}

/// Who stored something.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SecretWriterView {
    /// `user`, `key`, or `system` for the plane's zen-lock.
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    pub(crate) name: String,
}

/// That a secret which is named here cannot be had, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct SecretWarningView {
    /// As it is named.
    pub(crate) reference: String,
    /// The secret in it.
    pub(crate) name: String,
    pub(crate) code: String,
    /// What is the matter and what to do.
    pub(crate) detail: String,
}

/// A plane's zen-lock at this moment.
struct Seen {
    /// None without a session.
    lock: Option<Lock>,
    published_revision: u64,
    last_heartbeat_at: u64,
}

impl Control {
    /// One secret, whole.
    pub(super) async fn show_secret(
        &self,
        caller: &Principal,
        secret: Secret,
        sealed: String,
    ) -> Result<SecretView, Problem> {
        let mut shown = self.show_secrets(caller, vec![secret]).await?;
        let shown = shown.pop();
        let shown = shown.ok_or_else(|| Problem::internal("a secret was lost on the way"))?;
        Ok(SecretView {
            sealed: Some(sealed),
            ..shown
        })
    }

    /// Secrets without their sealed texts, in the order that they came in.
    pub(super) async fn show_secrets(
        &self,
        caller: &Principal,
        secrets: Vec<Secret>,
    ) -> Result<Vec<SecretView>, Problem> {
        let planes: BTreeSet<PlaneId> = secrets.iter().map(|secret| secret.plane).collect();
        let planes: Vec<PlaneId> = planes.into_iter().collect();
        let mut seen = BTreeMap::new();
        for plane in &planes {
            seen.insert(*plane, self.see_lock(*plane).await?);
        }
        let users = self.store.secret_users(self.scope(caller), &planes).await?;
        let shown = secrets.into_iter().map(|secret| {
            let key = (secret.plane, secret.name.clone());
            let users = users.get(&key).into_iter().flatten();
            view(secret, users, &seen)
        });
        Ok(shown.collect())
    }

    async fn see_lock(&self, plane: PlaneId) -> Result<Seen, Problem> {
        let heard = self.live.read(plane, |open, report| {
            let lock = lock::of(report).filter(|_| open);
            (lock, report.last_heartbeat_at.unwrap_or(0))
        });
        let (lock, last_heartbeat_at) = heard.unwrap_or_default();
        Ok(Seen {
            published_revision: self.store.published_revision(plane).await?,
            lock,
            last_heartbeat_at,
        })
    }

    /// What has to be said of the secrets that things of these planes name: of each thing, in the
    /// order that they came in.
    pub(in crate::manage) async fn secret_warnings<'a>(
        &self,
        things: impl IntoIterator<Item = (PlaneId, Vec<&'a str>)>,
    ) -> Result<Vec<Vec<SecretWarningView>>, Problem> {
        let things: Vec<_> = things.into_iter().collect();
        let naming = things
            .iter()
            .filter(|(_, named)| named.iter().any(|text| locked(text).is_some()));
        let planes: BTreeSet<PlaneId> = naming.map(|(plane, _)| *plane).collect();
        let planes: Vec<PlaneId> = planes.into_iter().collect();
        let stored = self.store.secret_names(&planes).await?;
        let about = |(plane, named): &(PlaneId, Vec<&str>)| {
            let known = |name: &str| stored.contains(&(*plane, name.to_owned()));
            let said =
                |open: bool, report: &Report| warnings(named, &known, open.then_some(report));
            let said = self.live.read(*plane, said);
            said.unwrap_or_else(|| warnings(named, &known, None))
        };
        Ok(things.iter().map(about).collect())
    }
}

fn view<'a>(
    secret: Secret,
    users: impl Iterator<Item = &'a Use>,
    seen: &BTreeMap<PlaneId, Seen>,
) -> SecretView {
    let (mut state, mut old) = (State::Unknown, None);
    if let Some(seen) = seen.get(&secret.plane)
        && let Some(lock) = &seen.lock
    {
        let asked = Asked {
            name: &secret.name,
            recipients: &secret.recipients,
            updated_at: secret.updated_at,
            published_revision: seen.published_revision,
            last_heartbeat_at: seen.last_heartbeat_at,
        };
        (state, old) = (lock.state(&asked), lock.is_old(&asked));
    }
    let (word, code) = match state {
        State::Opens => ("opens", None),
        State::Unopened(code) => ("unopened", Some(code)),
        State::Waiting => ("waiting", None),
        State::Unknown => ("unknown", None),
    };
    let remedy = code.as_deref().map(lock::remedy);
    SecretView {
        id: secret.id.to_string(),
        tenant_id: secret.tenant.to_string(),
        plane_id: secret.plane.to_string(),
        scope: format!("{}/{}", secret.plane, secret.name),
        name: secret.name,
        key_ids: key_ids(&secret.recipients),
        recipients: secret.recipients,
        note: secret.note,
        sealed: None,
        state: word,
        remedy: remedy.filter(|words| !words.is_empty()),
        code,
        sealed_to_old_key: old,
        used_by: users.map(used).collect(),
        written_by: SecretWriterView {
            kind: secret.writer.kind.as_str(),
            id: secret.writer.id,
            name: secret.writer.name,
        },
        created_at: shown_time(secret.created_at),
        updated_at: shown_time(secret.updated_at),
        version: secret.version,
    }
}

fn used(by: &Use) -> SecretUseView {
    SecretUseView {
        kind: match by.by {
            UsedBy::Endpoint => "endpoint",
            UsedBy::Target => "target",
        },
        id: by.id.clone(),
        name: by.name.clone(),
    }
}

/// What is wrong with secrets that something names; `report` is what the plane says of itself, if
/// it is connected.
fn warnings(
    references: &[&str],
    stored: &dyn Fn(&str) -> bool,
    report: Option<&Report>,
) -> Vec<SecretWarningView> {
    let lock = report.and_then(lock::of);
    let absent = report.is_some_and(lock::is_absent);
    let mut said = Vec::new();
    for reference in references {
        let Some(name) = locked(reference) else {
            continue;
        };
        let refusal = lock.as_ref().and_then(|lock| lock.refusal(name));
        let (code, detail) = match refusal {
            _ if absent => (
                "SECRET_NEEDS_LOCK",
                "the plane runs no zen-lock that could open it: enable zen-lock there, or name a \
                 file (file:<name>)",
            ),
            Some(code) => (code, lock::remedy(code)),
            None if !stored(name) => (
                "SECRET_UNKNOWN",
                "no secret of this name is stored for the plane: seal one, or see that zen-lock has \
                 it from its own folder (sealed_dir)",
            ),
            None => continue,
        };
        let warning = SecretWarningView {
            reference: (*reference).to_owned(),
            name: name.to_owned(),
            code: code.to_owned(),
            detail: detail.to_owned(),
        };
        if !said.contains(&warning) {
            said.push(warning);
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use zen_proto::session::v1::{ComponentStatus, LockStatus, UnopenedSecret};

    use super::*;

    fn report(component: &str, unopened: &[&str]) -> Report {
        let unopened = unopened.iter().map(|name| UnopenedSecret {
            name: (*name).to_owned(),
            code: "SECRET_DAMAGED".to_owned(),
        });
        let status = LockStatus {
            unopened: unopened.collect(),
            ..LockStatus::default()
        };
        let said = ComponentStatus {
            component: component.to_owned(),
            lock: (component == "lock").then_some(status),
            ..ComponentStatus::default()
        };
        Report {
            components: vec![said],
            ..Report::default()
        }
    }

    fn codes(references: &[&str], report: Option<&Report>) -> Vec<String> {
        let stored = |name: &str| name == "kept";
        let said = warnings(references, &stored, report);
        said.into_iter().map(|warning| warning.code).collect()
    }

    #[test]
    fn what_cannot_be_had_is_said_once_with_its_code() {
        assert!(codes(&["file:x", "lock:kept"], None).is_empty());
        assert_eq!(codes(&["lock:x", "lock:x"], None), ["SECRET_UNKNOWN"]);
        let lock = report("lock", &["kept"]);
        assert_eq!(codes(&["lock:kept/a"], Some(&lock)), ["SECRET_DAMAGED"]);
        let none = report("egress", &[]);
        assert_eq!(codes(&["lock:kept"], Some(&none)), ["SECRET_NEEDS_LOCK"]);
        assert!(codes(&["lock:kept"], Some(&Report::default())).is_empty());
    }
}
