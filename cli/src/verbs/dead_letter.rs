//! `zen dead-letter …`: asked of the plane itself, through its session.

use serde_json::{Value, json};

use super::{delivery, id_of};
use crate::api::Api;
use crate::args::{DeadLetters, Format, Replay};
use crate::output;

pub(crate) async fn run(verb: DeadLetters, api: &Api, format: Format) -> anyhow::Result<()> {
    match verb {
        DeadLetters::List(wanted) => delivery::list("/v1/dead-letters", wanted, api, format).await,
        DeadLetters::Replay(wanted) => {
            let replayed = api.post("/v1/replays", &body(wanted, api).await?).await?;
            output::one(format, &replayed, told)
        }
    }
}

async fn body(wanted: Replay, api: &Api) -> anyhow::Result<Value> {
    let plane_id = id_of(api, "/v1/planes", &wanted.plane).await?;
    let mut body = json!({ "plane_id": plane_id, "dry_run": wanted.dry_run,
        "rate_per_second": wanted.rate });
    if wanted.all {
        body["filter"] = json!({ "flow_id": wanted.flow, "target_id": wanted.target,
            "code": wanted.code, "dead_since": wanted.since, "dead_until": wanted.until });
    } else {
        body["delivery_ids"] = json!(wanted.deliveries);
    }
    Ok(body)
}

fn told(replayed: &Value) -> String {
    let (matched, done, left) = (
        &replayed["matched"],
        &replayed["replayed"],
        &replayed["remaining"],
    );
    if replayed["dry_run"] == true {
        return format!("{matched} dead letters would be replayed");
    }
    if left == 0 {
        return format!("{done} of {matched} dead letters replayed");
    }
    format!("{done} of {matched} dead letters replayed, {left} left: run it again for those")
}
