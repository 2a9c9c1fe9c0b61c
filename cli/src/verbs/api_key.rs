//! `zen api-key …`

use serde_json::json;
use zen_chassis::files;

use super::id_of;
use crate::api::Api;
use crate::args::{ApiKey, Format};
use crate::output;

const KEYS: &str = "/v1/api-keys";

pub(crate) async fn run(verb: ApiKey, api: &Api, format: Format) -> anyhow::Result<()> {
    match verb {
        ApiKey::List => output::rows(
            format,
            &api.all(KEYS).await?,
            &[
                ("NAME", "/name"),
                ("ID", "/id"),
                ("ROLE", "/role"),
                ("SCOPES", "/scopes"),
                ("LAST USED", "/last_used_at"),
                ("EXPIRES", "/expires_at"),
            ],
        ),
        ApiKey::Create {
            name,
            role,
            scopes,
            expires_at,
            write_to,
        } => {
            let mut body = json!({ "name": name, "role": role.as_str() });
            if !scopes.is_empty() {
                body["scopes"] = scopes.into();
            }
            if let Some(at) = expires_at {
                body["expires_at"] = at.into();
            }
            let mut made = api.post(KEYS, &body).await?;
            if let Some(file) = write_to {
                let key = made["key"].as_str().unwrap_or_default();
                files::write_durable(&file, format!("{key}\n").as_bytes(), 0o600)?;
                made["key"] = file.display().to_string().into();
                output::say(&format!("# the key is in {}", file.display()));
            } else {
                output::say("# this is shown once: keep it now");
            }
            output::one(format, &made, |made| {
                made["key"].as_str().unwrap_or_default().to_owned()
            })
        }
        ApiKey::Revoke { key } => {
            let id = id_of(api, KEYS, &key).await?;
            api.delete(&format!("{KEYS}/{id}")).await?;
            output::one(format, &json!({ "id": id }), |_| {
                format!("key {key} revoked")
            })
        }
    }
}
