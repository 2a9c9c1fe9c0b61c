//! Lists of ten thousand: every item comes once, whatever is added meanwhile, and names are found.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use zen_proto::ids::{EndpointId, FlowId, Id, PlaneId, TargetId};

use super::common::{Running, database, text};

/// How many of each there are.
const MANY: usize = 10_000;
/// Longest time for one page: generous for a busy machine, far below what a query for each item
/// would take.
const PAGE_TIME: Duration = Duration::from_secs(2);

/// Ids as they would have been given at this place in time.
fn id<I: Id + std::fmt::Display>(place: usize) -> String {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&(place as u64).to_be_bytes());
    I::generate(1_600_000_000_000 + place as u64, random).to_string()
}

/// Fills the tables directly, many rows at a time: what is tested is reading.
async fn fill(folder: &std::path::Path, tenant: &str) {
    let mut database = database(folder).await;
    let quoted = |value: &Value| match value {
        Value::String(text) => format!("'{text}'"),
        other => format!("'{other}'"),
    };
    let places: Vec<usize> = (0..MANY).collect();
    for places in places.chunks(500) {
        for (into, row) in TABLES {
            let rows = places.iter().map(|place| {
                let values: Vec<String> = row(*place, tenant).iter().map(quoted).collect();
                format!("({})", values.join(", "))
            });
            let rows: Vec<String> = rows.collect();
            let sql = format!("INSERT INTO {into} VALUES {}", rows.join(", "));
            let sql = sqlx::AssertSqlSafe(sql);
            sqlx::raw_sql(sql).execute(&mut database).await.unwrap();
        }
    }
}

type Row = fn(usize, &str) -> Vec<Value>;

const TABLES: [(&str, Row); 4] = [
    (
        "planes (id, tenant_id, name, kind, created_at, version, applied_revision, recoveries)",
        |place, tenant| {
            let name = format!("Plane {place} 100%");
            let start = [
                json!(id::<PlaneId>(place)),
                json!(tenant),
                json!(name),
                json!("edge"),
            ];
            let rest = [json!(1), json!(1), json!(0), json!(0)];
            start.into_iter().chain(rest).collect()
        },
    ),
    (
        "endpoints (id, tenant_id, plane_id, name, spec, created_at, updated_at, version)",
        |place, tenant| {
            let body = json!({
                "plane_id": id::<PlaneId>(place), "name": format!("in-{place}"),
                "verification": {"scheme": "none"},
            });
            placed(json!(id::<EndpointId>(place)), tenant, body)
        },
    ),
    (
        "targets (id, tenant_id, plane_id, name, spec, created_at, updated_at, version)",
        |place, tenant| {
            let body = json!({
                "plane_id": id::<PlaneId>(place), "name": format!("out_{place}"),
                "url": "http://x.internal/",
            });
            placed(json!(id::<TargetId>(place)), tenant, body)
        },
    ),
    (
        "flows (id, tenant_id, endpoint_id, target_id, name, enabled, spec, created_at, \
         updated_at, version)",
        |place, tenant| {
            let body = json!({
                "name": format!("flow-{place}"), "endpoint_id": id::<EndpointId>(place),
                "target_id": id::<TargetId>(place),
            });
            let start = [json!(id::<FlowId>(place)), json!(tenant)];
            let ends = [body["endpoint_id"].clone(), body["target_id"].clone()];
            let rest = [
                body["name"].clone(),
                json!("1"),
                body,
                json!(1),
                json!(1),
                json!(1),
            ];
            start.into_iter().chain(ends).chain(rest).collect()
        },
    ),
];

fn placed(id: Value, tenant: &str, body: Value) -> Vec<Value> {
    let start = [
        id,
        json!(tenant),
        body["plane_id"].clone(),
        body["name"].clone(),
    ];
    start
        .into_iter()
        .chain([body, json!(1), json!(1), json!(1)])
        .collect()
}

/// Goes through all pages while `meanwhile` is added after the first.
async fn walk(running: &Running, path: &str, meanwhile: (&str, Value)) -> Vec<String> {
    let mut ids = Vec::new();
    let mut cursor = None;
    loop {
        let next = cursor.map(|cursor: String| format!("&cursor={cursor}"));
        let page = format!("{path}?limit=500{}", next.unwrap_or_default());
        let began = Instant::now();
        let page = running.get(&page).await;
        assert!(began.elapsed() < PAGE_TIME, "{path}: {:?}", began.elapsed());
        if ids.is_empty() {
            running.create(meanwhile.0, meanwhile.1.clone()).await;
        }
        let items = page["items"].as_array().unwrap();
        ids.extend(items.iter().map(|item| text(item, "id")));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return ids,
        }
    }
}

#[tokio::test]
async fn ten_thousand_of_each_are_paged_through_once_each_while_others_are_added() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    fill(folder.path(), &running.default_tenant).await;
    let plane = id::<PlaneId>(0);
    let endpoint = json!({"plane_id": plane, "name": "new", "verification": {"scheme": "none"}});
    let target = json!({"plane_id": plane, "name": "new", "url": "http://x.internal/"});
    let flow = json!({
        "name": "new", "endpoint_id": id::<EndpointId>(0), "target_id": id::<TargetId>(0),
    });
    for (path, body) in [
        ("/v1/planes", json!({"name": "new", "kind": "edge"})),
        ("/v1/endpoints", endpoint),
        ("/v1/targets", target),
        ("/v1/flows", flow),
    ] {
        let ids = walk(&running, path, (path, body)).await;
        let different: HashSet<&String> = ids.iter().collect();
        assert_eq!((ids.len(), different.len()), (MANY + 1, MANY + 1), "{path}");
        assert!(ids.is_sorted(), "{path}");
    }
    for (path, found) in [
        ("/v1/planes?name=PLANE%2077", 111),
        ("/v1/planes?name=00%25", 10_000),
        ("/v1/planes?name=%5F", 0),
        ("/v1/planes?exact_name=Plane%2077%20100%25", 1),
        ("/v1/planes?exact_name=plane%2077%20100%25", 0),
        ("/v1/planes?status=never_enrolled", 10_001),
        ("/v1/planes?status=connected", 0),
        ("/v1/planes?kind=data", 0),
        ("/v1/endpoints?name=IN-999", 11),
        ("/v1/targets?name=out_1234", 1),
        ("/v1/targets?name=t%5C1", 0),
        ("/v1/flows?exact_name=flow-5", 1),
    ] {
        let began = Instant::now();
        let page = running.get(&format!("{path}&limit=500")).await;
        assert!(began.elapsed() < PAGE_TIME, "{path}: {:?}", began.elapsed());
        let items = page["items"].as_array().unwrap().len();
        assert_eq!(items, found.min(500), "{path}");
        assert_eq!(page["next_cursor"].is_string(), found > 500, "{path}");
    }
    for (path, more) in [("/v1/endpoints", 2), ("/v1/targets", 2), ("/v1/flows", 2)] {
        let page = running.get(&format!("{path}?plane_id={plane}")).await;
        assert_eq!(page["items"].as_array().unwrap().len(), more, "{path}");
    }
    let overview = running.get("/v1/overview").await;
    assert_eq!(overview["planes"]["never_enrolled"], MANY + 1);
    running.stop().await;
}
