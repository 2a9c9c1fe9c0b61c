//! The audit log: what it tells, and that nothing in it can be changed unseen.

use super::common::{Running, config};
use serde_json::json;
use sqlx::Connection as _;

/// Changes the database behind the control plane's back, whichever it is.
async fn tamper(folder: &std::path::Path, sql: &'static str) {
    sqlx::any::install_default_drivers();
    let url = match config(folder).database.url_file {
        Some(file) => std::fs::read_to_string(file).unwrap().trim().to_owned(),
        None => format!("sqlite://{}", folder.join("control-plane.db").display()),
    };
    let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
    let done = sqlx::query(sql).execute(&mut connection).await.unwrap();
    assert!(done.rows_affected() > 0, "{sql}");
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_changed_removed_or_moved_row_in_the_audit_log_is_found() {
    let table = [
        (
            "UPDATE audit SET subject = 'pl_other' WHERE seq = 3",
            "ENTRY_CHANGED",
            3,
        ),
        (
            "UPDATE audit SET actor_name = 'eve' WHERE seq = 2",
            "ENTRY_CHANGED",
            2,
        ),
        (
            "UPDATE audit SET at = at + 1 WHERE seq = 4",
            "ENTRY_CHANGED",
            4,
        ),
        ("DELETE FROM audit WHERE seq = 2", "ENTRIES_REMOVED", 2),
        ("DELETE FROM audit WHERE seq >= 4", "ENTRIES_CUT_OFF", 4),
        (
            "UPDATE audit SET seq = CASE seq WHEN 2 THEN 1003 WHEN 3 THEN 1002 END WHERE seq IN (2, 3)",
            "ENTRIES_REMOVED",
            2,
        ),
    ];
    for (sql, code, seq) in table {
        let folder = tempfile::tempdir().unwrap();
        let running = Running::start(folder.path()).await;
        for name in ["a", "b", "c", "d", "e"] {
            running.plane(name, "edge").await;
        }
        let whole = running.get("/v1/audit/verify").await;
        assert_eq!(
            (whole["holds"].as_bool(), &whole["fault"]),
            (Some(true), &json!(null))
        );
        let clock = running.clock.clone();
        running.stop().await;
        tamper(folder.path(), sql).await;
        let running = Running::start_with(config(folder.path()), clock).await;
        let checked = running.get("/v1/audit/verify").await;
        assert_eq!(checked["holds"], false, "{sql}");
        let fault = &checked["fault"];
        assert_eq!(
            (fault["code"].as_str(), fault["seq"].as_u64()),
            (Some(code), Some(seq))
        );
        running.stop().await;
    }
}

#[tokio::test]
async fn a_log_cut_off_together_with_the_record_of_its_end_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    for name in ["a", "b", "c"] {
        running.plane(name, "edge").await;
    }
    let kept = running.get("/v1/audit/verify").await["head"].clone();
    let clock = running.clock.clone();
    running.stop().await;
    tamper(folder.path(), "DELETE FROM audit WHERE seq >= 3").await;
    // As somebody would who knows how the record is made, but has not the root identity.
    tamper(
        folder.path(),
        "UPDATE audit_heads SET seq = 2, hash = (SELECT hash FROM audit WHERE seq = 2 \
         AND audit.tenant_id = audit_heads.tenant_id) WHERE tenant_id IN \
         (SELECT tenant_id FROM audit WHERE seq = 2)",
    )
    .await;
    let running = Running::start_with(config(folder.path()), clock).await;
    let checked = running.get("/v1/audit/verify").await;
    assert_eq!(checked["fault"]["code"], "HEAD_CHANGED");
    // And against a hash that was kept elsewhere.
    let (seq, hash) = (
        kept["seq"].as_u64().unwrap(),
        kept["hash"].as_str().unwrap(),
    );
    let path = format!("/v1/audit/verify?seq={seq}&hash={hash}");
    assert_eq!(running.get(&path).await["holds"], false);
    running.stop().await;
}

#[tokio::test]
async fn the_audit_log_is_read_by_time_actor_action_and_subject() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("a", "edge").await;
    running.clock.advance(std::time::Duration::from_secs(100));
    for name in ["b", "c"] {
        running.plane(name, "edge").await;
    }
    let list = async |query: &str| {
        let page = running.get(&format!("/v1/audit?{query}")).await;
        page["items"].as_array().unwrap().clone()
    };
    assert_eq!(list("action=plane.create").await.len(), 3);
    assert_eq!(list(&format!("subject={plane}")).await.len(), 1);
    assert_eq!(list("actor=owner&action=plane.create").await.len(), 3);
    assert_eq!(list("actor=nobody").await.len(), 0);
    let first = list("action=plane.create&limit=1").await[0].clone();
    let at = first["at"].as_str().unwrap().to_owned();
    assert_eq!(list(&format!("from={at}")).await.len(), 2);
    assert_eq!(
        list(&format!("action=plane.create&until={at}")).await.len(),
        1
    );
    // Newest first, page after page, each once.
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = running
            .get(&format!("/v1/audit?limit=2&cursor={cursor}"))
            .await;
        let items = page["items"].as_array().unwrap();
        seen.extend(items.iter().map(|item| item["seq"].as_u64().unwrap()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    let mut expected: Vec<u64> = (1..=seen.len() as u64).collect();
    expected.reverse();
    assert_eq!(seen, expected);
    running.stop().await;
}
