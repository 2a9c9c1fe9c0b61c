//! `zen delivery …` and `zen dead-letter …`: asked of the plane itself, through its session.

use super::id_of;
use crate::api::Api;
use crate::args::{Deliveries, Format};
use crate::output;

pub(crate) async fn run(
    path: &str,
    verb: Deliveries,
    api: &Api,
    format: Format,
) -> anyhow::Result<()> {
    let Deliveries::List {
        plane,
        flow,
        target,
        status,
        limit,
    } = verb;
    let plane_id = id_of(api, "/v1/planes", &plane).await?;
    let mut rows = Vec::new();
    let mut cursor = None;
    while rows.len() < limit as usize {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("plane_id", &plane_id);
        query.append_pair("limit", &(limit as usize - rows.len()).min(500).to_string());
        let optional = [
            ("flow_id", &flow),
            ("target_id", &target),
            ("status", &status),
        ];
        for (key, value) in optional.into_iter().chain([("cursor", &cursor)]) {
            if let Some(value) = value {
                query.append_pair(key, value);
            }
        }
        let page = api.get(&format!("{path}?{}", query.finish())).await?;
        rows.extend(page["items"].as_array().cloned().unwrap_or_default());
        cursor = page["next_cursor"]
            .as_str()
            .filter(|c| !c.is_empty())
            .map(ToOwned::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    output::rows(
        format,
        &rows,
        &[
            ("DELIVERY", "/id"),
            ("EVENT", "/event_id"),
            ("STATUS", "/status"),
            ("ATTEMPTS", "/attempts"),
            ("CODE", "/code"),
            ("ACCEPTED", "/accepted_at"),
            ("TARGET", "/target_id"),
        ],
    )
}
