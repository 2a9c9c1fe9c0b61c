//! `zen delivery …`: asked of the plane itself, through its session.

use serde_json::Value;

use super::id_of;
use crate::api::Api;
use crate::args::{Deliveries, DeliveryList, Format};
use crate::output;

pub(crate) async fn run(verb: Deliveries, api: &Api, format: Format) -> anyhow::Result<()> {
    match verb {
        Deliveries::List(wanted) => list("/v1/deliveries", wanted, api, format).await,
        Deliveries::Show { delivery, plane } => {
            let plane_id = id_of(api, "/v1/planes", &plane).await?;
            let path = format!("/v1/deliveries/{delivery}?plane_id={plane_id}");
            output::one(format, &api.get(&path).await?, page)
        }
    }
}

/// Lists what `path` has, page by page.
pub(super) async fn list(
    path: &str,
    wanted: DeliveryList,
    api: &Api,
    format: Format,
) -> anyhow::Result<()> {
    let DeliveryList {
        plane,
        flow,
        target,
        status,
        limit,
    } = wanted;
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

/// One delivery, its attempts below.
fn page(delivery: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let keys = [
        "status",
        "code",
        "event_id",
        "flow_id",
        "target_id",
        "accepted_at",
        "next_attempt_at",
        "settled_at",
        "attempts",
        "replays",
    ];
    let mut lines = vec![text(&delivery["id"])];
    lines.extend(keys.map(|key| format!("{key:<16} {}", text(&delivery[key]))));
    for attempt in delivery["history"].as_array().into_iter().flatten() {
        let of = |key: &str| text(&attempt[key]);
        lines.push(format!(
            "attempt {:<8} {}  {} ms  {}  {}  {}",
            of("number"),
            of("started_at"),
            of("duration_ms"),
            of("status"),
            of("code"),
            of("detail"),
        ));
    }
    lines.join("\n")
}
