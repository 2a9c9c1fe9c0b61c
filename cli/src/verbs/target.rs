//! `zen target …`

use serde_json::json;

use super::{id_of, made};
use crate::api::Api;
use crate::args::{Format, Target};
use crate::output;

const TARGETS: &str = "/v1/targets";

pub(crate) async fn run(verb: Target, api: &Api, format: Format) -> anyhow::Result<()> {
    match verb {
        Target::Create {
            name,
            plane,
            url,
            signing_secrets,
        } => {
            let plane_id = id_of(api, "/v1/planes", &plane).await?;
            let body = json!({ "name": name, "plane_id": plane_id, "url": url,
                "signing_secrets": signing_secrets });
            output::one(format, &api.post(TARGETS, &body).await?, made("target"))
        }
        Target::List => output::rows(
            format,
            &api.all(TARGETS).await?,
            &[
                ("NAME", "/name"),
                ("ID", "/id"),
                ("PLANE", "/plane_id"),
                ("URL", "/url"),
            ],
        ),
        Target::Test { target } => {
            let id = id_of(api, TARGETS, &target).await?;
            let path = format!("{TARGETS}/{id}/test");
            let called = api.post(&path, &json!({})).await?;
            output::one(format, &called, |called| {
                let text = |key: &str| called[key].as_str().unwrap_or_default().to_owned();
                let status = called["status"].as_u64();
                let answer = status.map_or_else(|| "no answer".to_owned(), |s| format!("HTTP {s}"));
                let took = &called["duration_ms"];
                let line = format!("{answer} after {took} ms  {}", text("remote_address"));
                format!("{line}  {}  {}", text("code"), text("detail"))
                    .trim_end()
                    .to_owned()
            })
        }
        Target::Delete { target } => {
            let id = id_of(api, TARGETS, &target).await?;
            api.delete(&format!("{TARGETS}/{id}")).await?;
            output::one(format, &json!({ "id": id }), |_| {
                format!("target {target} removed")
            })
        }
    }
}
