//! The verbs that speak to the REST API, one file a noun.

pub(crate) mod api_key;
pub(crate) mod audit;
pub(crate) mod dead_letter;
pub(crate) mod delivery;
pub(crate) mod endpoint;
pub(crate) mod flow;
pub(crate) mod plane;
pub(crate) mod root;
pub(crate) mod secret;
pub(crate) mod target;
pub(crate) mod user;

use serde_json::Value;

use crate::api::Api;

/// The id of the one row of `path` that is called `wanted`.
pub(crate) async fn id_of(api: &Api, path: &str, wanted: &str) -> anyhow::Result<String> {
    let row = api.find(path, wanted).await?;
    row["id"]
        .as_str()
        .map(ToOwned::to_owned)
        .ok_or_else(|| anyhow::anyhow!("{path}: no id"))
}

/// Says in one line what was made.
fn made(noun: &'static str) -> impl FnOnce(&Value) -> String {
    move |row| {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let url = row["url"]
            .as_str()
            .map(|url| format!("  {url}"))
            .unwrap_or_default();
        format!("{noun} {} created  {}{url}", text("name"), text("id"))
    }
}
