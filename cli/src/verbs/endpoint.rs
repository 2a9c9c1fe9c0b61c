//! `zen endpoint …`

use serde_json::json;

use super::{id_of, made};
use crate::api::Api;
use crate::args::{Endpoint, Format};
use crate::output;

const ENDPOINTS: &str = "/v1/endpoints";

pub(crate) async fn run(verb: Endpoint, api: &Api, format: Format) -> anyhow::Result<()> {
    match verb {
        Endpoint::Create {
            name,
            plane,
            scheme,
            secrets,
        } => {
            let plane_id = id_of(api, "/v1/planes", &plane).await?;
            let verification = json!({ "scheme": scheme, "secrets": secrets });
            let body = json!({ "name": name, "plane_id": plane_id, "verification": verification });
            output::one(format, &api.post(ENDPOINTS, &body).await?, made("endpoint"))
        }
        Endpoint::List => output::rows(
            format,
            &api.all(ENDPOINTS).await?,
            &[
                ("NAME", "/name"),
                ("ID", "/id"),
                ("SCHEME", "/verification/scheme"),
                ("PLANE", "/plane_id"),
                ("URL", "/url"),
            ],
        ),
        Endpoint::Test { endpoint } => {
            let id = id_of(api, ENDPOINTS, &endpoint).await?;
            let path = format!("{ENDPOINTS}/{id}/test");
            let sent = api.post(&path, &json!({})).await?;
            output::one(format, &sent, |sent| match sent["event_id"].as_str() {
                Some(event) => format!("event {event} accepted"),
                None => {
                    let text = |key: &str| sent[key].as_str().unwrap_or_default().to_owned();
                    format!("refused  {}  {}", text("code"), text("detail"))
                }
            })
        }
        Endpoint::Delete { endpoint } => {
            let id = id_of(api, ENDPOINTS, &endpoint).await?;
            api.delete(&format!("{ENDPOINTS}/{id}")).await?;
            output::one(format, &json!({ "id": id }), |_| {
                format!("endpoint {endpoint} removed")
            })
        }
    }
}
