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
        Target::Delete { target } => {
            let id = id_of(api, TARGETS, &target).await?;
            api.delete(&format!("{TARGETS}/{id}")).await?;
            output::one(format, &json!({ "id": id }), |_| {
                format!("target {target} removed")
            })
        }
    }
}
