//! The very first person: an owner without a name, whose sign-in link is written to a file beside
//! the database. A link that was not used is renewed at each start.

use std::path::Path;

use anyhow::Context as _;
use serde_json::json;
use zen_chassis::chain::Chain;
use zen_chassis::files;

use super::token::BearerToken;
use crate::control::Control;
use crate::permissions::Role;
use crate::principal::{Actor, ActorKind};
use crate::store::{Engine, FirstOwner, NewAudit, User};

/// Largest file that is read.
const FILE: usize = 4 * 1024;

impl Control {
    /// Sees to it that somebody can sign in: the link to the first owner's account, unless they
    /// have been here.
    ///
    /// # Errors
    /// When the file or the database cannot be written.
    pub(crate) async fn first_owner(&self) -> anyhow::Result<Option<String>> {
        let file = &self.people.link_file;
        let waiting = match self.store.nameless_user().await? {
            Some(user) => Some(user),
            None if self.store.has_people().await? => {
                forget(file);
                return Ok(None);
            }
            None => None,
        };
        if waiting.is_some()
            && let Some(token) = kept_token(file)?
            && self
                .link(token.expose())
                .await
                .is_ok_and(|link| link.is_some())
        {
            // The listener's address may be another one today.
            let url = self.link_url(&token);
            write(file, &url)?;
            return Ok(Some(url));
        }
        let at = self.stage.clock.unix_ms();
        if let Some(user) = &waiting
            && self.store.engine() == Engine::Postgres
            && self.store.has_link(user.id, at).await?
        {
            // Another replica gave the link out, and its file holds it.
            return Ok(None);
        }
        let is_new = waiting.is_none();
        let user = waiting.unwrap_or_else(|| self.nobody_yet(at));
        let made = self.make_link(user.id, true);
        let url = self.show_link(&made).url;
        // First the file: a crash between leaves a link that opens nothing, and the next start
        // writes another.
        write(file, &url)?;
        let entry = NewAudit {
            tenant: user.tenant,
            at,
            actor: Actor {
                kind: ActorKind::System,
                id: String::new(),
                name: "control plane".to_owned(),
            },
            action: "user.invite",
            subject: user.id.to_string(),
            detail: json!({"role": user.role.as_str(), "first": true}),
            address: None,
            claim: None,
        };
        if is_new {
            let link = made.kept;
            let first = FirstOwner { user, link };
            if !self.store.add_first_owner(&first, &entry).await? {
                // Another replica was quicker.
                forget(file);
                return Ok(None);
            }
        } else {
            self.store.add_link(&made.kept, &entry).await?;
        }
        tracing::info!(sign_in_link_file = %file.display(), "the first owner has not signed in yet");
        Ok(Some(url))
    }

    fn nobody_yet(&self, at: u64) -> User {
        User {
            id: self.stage.id(),
            tenant: self.default_tenant,
            operator: true,
            email: None,
            name: "Owner".to_owned(),
            role: Role::Owner,
            password: None,
            disabled: false,
            totp: None,
            totp_pending: None,
            totp_step: None,
            created_at: at,
            signed_in_at: None,
            version: 1,
        }
    }
}

fn write(file: &Path, url: &str) -> anyhow::Result<()> {
    let text = format!("{url}\n");
    files::write_durable(file, text.as_bytes(), 0o600).context("state_dir: sign-in-link")
}

fn kept_token(file: &Path) -> anyhow::Result<Option<BearerToken>> {
    let bytes = files::read_if_there(file, FILE).context("state_dir: sign-in-link")?;
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let token = text
        .as_deref()
        .and_then(|text| text.trim().rsplit('/').next());
    Ok(token.and_then(BearerToken::parse))
}

/// Removes the file if the link in it is the one that was used.
pub(super) fn forget_link(file: &Path, token: &str) {
    if let Ok(Some(kept)) = kept_token(file)
        && kept.expose() == token
    {
        forget(file);
    }
}

fn forget(file: &Path) {
    if let Err(error) = files::remove_durable(file)
        && !error.is_not_found()
    {
        tracing::warn!(error = %Chain(&error), "cannot remove the used sign-in link");
    }
}
