//! `zen secret …`: sealed secrets in the control plane. What is not sealed is not sent.

use std::io::{IsTerminal, Read};
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use zen_chassis::files;
use zen_proto::codes::SecretCode;
use zen_proto::limits;

use super::id_of;
use crate::api::{Api, query};
use crate::args::{Format, Secret};
use crate::output::{self, Column};

const SECRETS: &str = "/v1/secrets";
const PLANES: &str = "/v1/planes";
const BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
const END: &str = "-----END AGE ENCRYPTED FILE-----";
const COLUMNS: &[Column] = &[
    ("NAME", "/name"),
    ("ID", "/id"),
    ("PLANE", "/plane_id"),
    ("STATE", "/state"),
    ("CODE", "/code"),
    ("KEYS", "/key_ids"),
    ("VERSION", "/version"),
    ("BY", "/written_by/name"),
    ("STORED", "/updated_at"),
];

/// A sealed secret that shall be stored.
pub(crate) struct Sealed<'a> {
    pub(crate) plane_id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
    /// The keys it is sealed for.
    pub(crate) recipients: &'a [String],
    pub(crate) note: Option<&'a str>,
}

pub(crate) async fn run(verb: Secret, api: &Api, format: Format) -> anyhow::Result<()> {
    match verb {
        Secret::List { plane } => {
            let rows = listed(api, plane.as_deref(), None).await?;
            output::rows(format, &rows, COLUMNS)
        }
        Secret::Show {
            secret,
            plane,
            sealed,
        } => {
            let id = id_by(api, &secret, plane.as_deref()).await?;
            let shown = api.get(&format!("{SECRETS}/{id}")).await?;
            if sealed {
                output::text(shown["sealed"].as_str().unwrap_or_default());
                return Ok(());
            }
            output::one(format, &shown, page)
        }
        Secret::Put {
            name,
            plane,
            recipients,
            note,
            file,
        } => {
            let text = read(file.as_deref())?;
            let plane_id = id_of(api, PLANES, &plane).await?;
            let sealed = Sealed {
                plane_id: &plane_id,
                name: &name,
                text: &text,
                recipients: &recipients,
                note: note.as_deref(),
            };
            let stored = put(api, &sealed).await?;
            output::one(format, &stored, |stored| {
                let (id, version) = (
                    stored["id"].as_str().unwrap_or_default(),
                    &stored["version"],
                );
                format!("secret {name} stored  {id}  version {version}")
            })
        }
        Secret::Delete {
            secret,
            plane,
            force,
        } => {
            let id = id_by(api, &secret, plane.as_deref()).await?;
            let insisting = if force { "?force=true" } else { "" };
            api.delete(&format!("{SECRETS}/{id}{insisting}")).await?;
            output::one(format, &json!({ "id": id }), |_| {
                format!("secret {secret} removed")
            })
        }
    }
}

/// Stores a sealed secret, in the place of the one of its name if there is one. A text that is not
/// sealed does not leave this machine.
///
/// # Errors
/// When it is not sealed, or the control plane refuses.
pub(crate) async fn put(api: &Api, sealed: &Sealed<'_>) -> anyhow::Result<Value> {
    check(sealed.text)?;
    let filter = [
        ("plane_id", Some(sealed.plane_id)),
        ("exact_name", Some(sealed.name)),
    ];
    let present = api.some(SECRETS, &query(&filter), 1).await?;
    let mut body = json!({ "sealed": sealed.text, "recipients": sealed.recipients });
    if let Some(note) = sealed.note {
        body["note"] = note.into();
    }
    if let Some(present) = present.first() {
        let id = present["id"].as_str().context("a secret without an id")?;
        let version = format!("\"{}\"", present["version"]);
        let path = format!("{SECRETS}/{id}");
        return api.patch_if(&path, &body, Some(&version)).await;
    }
    body["plane_id"] = sealed.plane_id.into();
    body["name"] = sealed.name.into();
    api.post(SECRETS, &body).await
}

/// What is no sealed secret must not be sent: it may be the secret itself, or the key to it.
fn check(text: &str) -> anyhow::Result<()> {
    let refuse = |code: SecretCode| anyhow::anyhow!("{code}: nothing was sent; {}", code.remedy());
    let text = text.trim();
    anyhow::ensure!(
        text.starts_with(BEGIN) && !text.to_ascii_uppercase().contains("AGE-SECRET-KEY-"),
        refuse(SecretCode::NotAge)
    );
    anyhow::ensure!(text.ends_with(END), refuse(SecretCode::Truncated));
    anyhow::ensure!(
        text.len() <= limits::SECRET_SEALED,
        refuse(SecretCode::TooLarge)
    );
    Ok(())
}

/// The sealed text of a file or of standard input.
fn read(file: Option<&Path>) -> anyhow::Result<String> {
    let bytes = match file {
        Some(file) => files::read_capped(file, limits::SECRET_SEALED)?,
        None => {
            let stdin = std::io::stdin();
            anyhow::ensure!(
                !stdin.is_terminal(),
                "name the file with the sealed text, or pipe it in; `zen seal` writes it"
            );
            let mut bytes = Vec::new();
            let most = limits::SECRET_SEALED as u64 + 1;
            stdin.lock().take(most).read_to_end(&mut bytes)?;
            bytes
        }
    };
    // Not repeated: it may be a secret.
    String::from_utf8(bytes).map_err(|_| {
        let code = SecretCode::NotAge;
        anyhow::anyhow!("{code}: nothing was sent; {}", code.remedy())
    })
}

/// The secrets of a plane or all, of one name or all.
async fn listed(api: &Api, plane: Option<&str>, name: Option<&str>) -> anyhow::Result<Vec<Value>> {
    let plane = match plane {
        Some(plane) => Some(id_of(api, PLANES, plane).await?),
        None => None,
    };
    let filter = query(&[("plane_id", plane.as_deref()), ("exact_name", name)]);
    api.some(SECRETS, &filter, usize::MAX).await
}

/// The id of the one secret that is called so.
async fn id_by(api: &Api, wanted: &str, plane: Option<&str>) -> anyhow::Result<String> {
    if wanted.starts_with("sec_") {
        return Ok(wanted.to_owned());
    }
    let rows = listed(api, plane, Some(wanted)).await?;
    match rows.as_slice() {
        [] => anyhow::bail!("there is no secret named {wanted:?}"),
        [row] => Ok(row["id"].as_str().unwrap_or_default().to_owned()),
        several => anyhow::bail!(
            "{} planes have a secret named {wanted:?}: add --plane",
            several.len()
        ),
    }
}

fn page(secret: &Value) -> String {
    let text = |key: &str| secret[key].as_str().unwrap_or("-").to_owned();
    let mut lines = vec![
        format!(
            "{}  {}  version {}",
            text("name"),
            text("id"),
            secret["version"]
        ),
        format!("scope      {}", text("scope")),
        format!("state      {}", text("state")),
    ];
    if secret["code"].is_string() {
        lines.push(format!("code       {}  {}", text("code"), text("remedy")));
    }
    if secret["sealed_to_old_key"] == true {
        lines.push("           sealed to an old key of zen-lock".to_owned());
    }
    let listed = |key: &str| secret[key].as_array().cloned().unwrap_or_default();
    for (id, key) in listed("key_ids").iter().zip(listed("recipients")) {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        lines.push(format!("sealed for {}  {}", word(id), word(&key)));
    }
    for user in listed("used_by") {
        let word = |key: &str| user[key].as_str().unwrap_or_default().to_owned();
        lines.push(format!(
            "used by    {} {}  {}",
            word("kind"),
            word("name"),
            word("id")
        ));
    }
    let by = secret["written_by"]["name"].as_str().unwrap_or("-");
    lines.push(format!("stored     {} by {by}", text("updated_at")));
    if secret["note"].is_string() {
        lines.push(format!("note       {}", text("note")));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_sealed_is_not_sent_and_not_repeated() {
        let sealed = format!("{BEGIN}\nYWdl\n{END}\n");
        assert!(check(&sealed).is_ok());
        let large = format!("{BEGIN}\n{}\n{END}", "A".repeat(limits::SECRET_SEALED));
        for (text, code) in [
            ("hunter2".to_owned(), SecretCode::NotAge),
            (format!("hunter2\n{sealed}"), SecretCode::NotAge),
            (
                format!("{sealed}# AGE-SECRET-KEY-1HUNTER2\n{END}"),
                SecretCode::NotAge,
            ),
            (format!("{BEGIN}\nhunter2"), SecretCode::Truncated),
            (large, SecretCode::TooLarge),
        ] {
            let told = check(&text).unwrap_err().to_string();
            assert!(told.starts_with(code.code()), "{told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
}
