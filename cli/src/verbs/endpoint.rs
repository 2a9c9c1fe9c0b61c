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
        Endpoint::Delete { endpoint } => {
            let id = id_of(api, ENDPOINTS, &endpoint).await?;
            api.delete(&format!("{ENDPOINTS}/{id}")).await?;
            output::one(format, &json!({ "id": id }), |_| {
                format!("endpoint {endpoint} removed")
            })
        }
    }
}
