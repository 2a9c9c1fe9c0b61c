//! A database that goes away, comes back, is full, or belongs to a later version.

use std::time::Duration;

use super::common::{PATIENCE, Running, clock, config, database, text};
use crate::Engine;
use crate::postgres_server::Server;
use serde_json::json;
use zen_chassis::{App, Stage};
use zen_control_plane::{Config, ControlPlane, DatabaseSettings};

#[tokio::test]
async fn a_database_of_a_later_version_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    Running::start(folder.path()).await.stop().await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9000, 'later', true, $1, 1)",
    )
    .bind(vec![0_u8; 48])
    .execute(&mut database(folder.path()).await)
    .await
    .unwrap();
    let stage = Stage::detached("control-plane").unwrap();
    let error = ControlPlane::bind(config(folder.path()), &stage).await;
    let error = format!("{:#}", error.err().unwrap());
    assert!(error.contains("start a later version"), "{error}");
    assert!(error.contains("9000"), "{error}");
}

#[tokio::test]
async fn a_lost_database_costs_a_503_and_no_session_and_heals_by_itself() {
    if super::ENGINE == Engine::Sqlite {
        // Its file is in this process: there is no server to lose.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server_folder = folder.path().join("server");
    let Some(server) = Server::own(&server_folder).unwrap() else {
        return;
    };
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let file = folder.path().join("database-url");
    std::fs::write(&file, server.database().unwrap().url()).unwrap();
    let settings = Config {
        database: DatabaseSettings {
            url_file: Some(file),
            ..DatabaseSettings::default()
        },
        heartbeat_lost: Duration::from_secs(60),
        ..config(&state)
    };
    let running = Running::start_with(settings, clock()).await;
    let plane = running.plane("edge", "edge").await;
    let by = running.enrol(&plane).await;
    let mut talk = by.connect(0).await.unwrap();
    talk.snapshot(&by).await;

    server.stop().unwrap();
    let body = json!({"plane_id": plane, "name": "in", "verification": {"scheme": "none"}});
    let (status, headers, answer) = running
        .raw(
            Some(&running.key),
            "POST",
            "/v1/endpoints",
            "application/json",
            body.to_string(),
        )
        .await;
    assert_eq!(status, 503, "{answer}");
    assert!(answer.contains("DATABASE_UNAVAILABLE"), "{answer}");
    assert!(headers.contains_key("retry-after"));
    let unready = running.readiness();
    let waited = tokio::time::timeout(PATIENCE, async {
        let mut changes = unready.changes();
        let lost = |pending: &std::collections::BTreeMap<String, String>| {
            pending
                .get("database")
                .is_some_and(|why| why.contains("DATABASE_UNAVAILABLE"))
        };
        changes.wait_for(lost).await.unwrap();
    });
    assert!(waited.await.is_ok(), "readiness never said so");
    talk.heartbeat(&by, Vec::new()).await;

    server.start().unwrap();
    tokio::time::timeout(PATIENCE, unready.wait())
        .await
        .unwrap();
    let listed = running.get("/v1/endpoints").await;
    assert_eq!(listed["items"], json!([]), "nothing half-written");
    running.create("/v1/endpoints", body).await;
    let told = talk.snapshot(&by).await;
    assert_eq!(told.endpoints.len(), 1, "over the session from before");
    running.stop().await;
}

#[tokio::test]
async fn a_full_disk_costs_a_507_and_heals_by_itself() {
    if super::ENGINE == Engine::Postgres {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        return;
    };
    let running = Running::start(&disk.0).await;
    let plane = running.plane("edge", "edge").await;
    let filler = disk.0.join("filler");
    fill(&filler);
    let mut refused = None;
    for number in 0..200 {
        let body = json!({
            "plane_id": plane, "name": format!("in-{number}"), "verification": {"scheme": "none"},
        });
        let (status, answer) = running.call("POST", "/v1/endpoints", Some(body)).await;
        if status != 201 {
            refused = Some((number, status, answer));
            break;
        }
    }
    let (made, status, answer) = refused.expect("the disk never was full");
    assert_eq!(
        (status, text(&answer, "code").as_str()),
        (507, "STORAGE_FULL")
    );
    std::fs::remove_file(&filler).unwrap();
    let mut seen = 0;
    let mut cursor = String::new();
    loop {
        let page = running
            .get(&format!("/v1/endpoints?limit=100{cursor}"))
            .await;
        seen += page["items"].as_array().unwrap().len();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(
        seen, made,
        "what was answered 201 is there, and nothing else"
    );
    let body = json!({"plane_id": plane, "name": "after", "verification": {"scheme": "none"}});
    running.create("/v1/endpoints", body).await;
    running.stop().await;
}

/// A disk of a few megabytes; none, said aloud, where this user may not mount.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    #[expect(clippy::print_stderr, reason = "tests speak to people")]
    fn mount(folder: &std::path::Path) -> Option<Self> {
        let disk = folder.join("disk");
        std::fs::create_dir(&disk).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"])
            .arg(&disk)
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(disk));
        }
        eprintln!("SKIPPED: only root can mount a small disk");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
    }
}

/// Takes what is left of the disk but for a little.
fn fill(file: &std::path::Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(file).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    let written = file.metadata().unwrap().len();
    file.set_len(written.saturating_sub(64 * 1024)).unwrap();
}
