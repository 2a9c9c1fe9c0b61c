//! `zen user …`

use anyhow::Context;
use serde_json::{Value, json};

use crate::api::Api;
use crate::args::{Format, User};
use crate::output;

const USERS: &str = "/v1/users";

pub(crate) async fn run(verb: User, api: &Api, format: Format) -> anyhow::Result<()> {
    match verb {
        User::List => output::rows(
            format,
            &api.all(USERS).await?,
            &[
                ("EMAIL", "/email"),
                ("NAME", "/name"),
                ("ID", "/id"),
                ("ROLE", "/role"),
                ("DISABLED", "/disabled"),
            ],
        ),
        User::Invite { email, role, name } => {
            let before = |email: &str| email.split('@').next().unwrap_or_default().to_owned();
            let name = name.unwrap_or_else(|| before(&email));
            let body = json!({ "email": email, "name": name, "role": role.as_str() });
            let invited = api.post(USERS, &body).await?;
            link(format, &invited, &invited["sign_in_link"])
        }
        User::Role { user, role } => {
            let patch = json!({ "role": role.as_str() });
            change(
                api,
                &user,
                &patch,
                format,
                &format!("is {} now", role.as_str()),
            )
            .await
        }
        User::Disable { user } => {
            let patch = json!({ "disabled": true });
            change(api, &user, &patch, format, "is let in no longer").await
        }
        User::Enable { user } => {
            let patch = json!({ "disabled": false });
            change(api, &user, &patch, format, "is let in again").await
        }
        User::SignInLink { user } => {
            let id = id_of(api, &user).await?;
            let path = format!("{USERS}/{id}/sign-in-links");
            let made = api.post(&path, &json!({})).await?;
            link(format, &made, &made)
        }
    }
}

async fn change(
    api: &Api,
    user: &str,
    patch: &Value,
    format: Format,
    news: &str,
) -> anyhow::Result<()> {
    let id = id_of(api, user).await?;
    let changed = api.patch(&format!("{USERS}/{id}"), patch).await?;
    output::one(format, &changed, |_| format!("{user} {news}"))
}

/// The id of the user with this e-mail address, in whatever case, or id.
async fn id_of(api: &Api, user: &str) -> anyhow::Result<String> {
    let users = api.all(USERS).await?;
    let found = users.iter().find(|row| {
        let email = row["email"].as_str().unwrap_or_default();
        row["id"] == user || email.eq_ignore_ascii_case(user)
    });
    let found = found.with_context(|| format!("there is no user {user:?}: see `zen user list`"))?;
    Ok(found["id"].as_str().context("no id")?.to_owned())
}

/// Prints a sign-in link alone, so that it can be piped, and what it is beside it.
fn link(format: Format, answer: &Value, link: &Value) -> anyhow::Result<()> {
    let expires = link["expires_at"].as_str().unwrap_or("soon");
    output::say(&format!(
        "# a sign-in link for one use, until {expires}; whoever has it signs in: send it safely"
    ));
    output::one(format, answer, |_| {
        link["url"].as_str().unwrap_or_default().to_owned()
    })
}
