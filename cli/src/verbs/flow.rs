//! `zen flow …`

use serde_json::json;

use super::{id_of, made};
use crate::api::Api;
use crate::args::{Flow, Format};
use crate::output;

const FLOWS: &str = "/v1/flows";

pub(crate) async fn run(verb: Flow, api: &Api, format: Format) -> anyhow::Result<()> {
    match verb {
        Flow::Create {
            name,
            endpoint,
            target,
            max_attempts,
        } => {
            let endpoint_id = id_of(api, "/v1/endpoints", &endpoint).await?;
            let target_id = id_of(api, "/v1/targets", &target).await?;
            let mut body =
                json!({ "name": name, "endpoint_id": endpoint_id, "target_id": target_id });
            if let Some(attempts) = max_attempts {
                body["retry"] = json!({ "max_attempts": attempts });
            }
            output::one(format, &api.post(FLOWS, &body).await?, made("flow"))
        }
        Flow::List => output::rows(
            format,
            &api.all(FLOWS).await?,
            &[
                ("NAME", "/name"),
                ("ID", "/id"),
                ("ENDPOINT", "/endpoint_id"),
                ("TARGET", "/target_id"),
                ("ENABLED", "/enabled"),
            ],
        ),
        Flow::Delete { flow } => {
            let id = id_of(api, FLOWS, &flow).await?;
            api.delete(&format!("{FLOWS}/{id}")).await?;
            output::one(format, &json!({ "id": id }), |_| {
                format!("flow {flow} removed")
            })
        }
    }
}
