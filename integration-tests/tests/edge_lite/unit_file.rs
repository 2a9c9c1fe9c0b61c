//! The files themselves: what systemd and compose say to them, and that every flag is known.

use std::process::Command;

use serde_json::Value;
use zen_integration_tests::tools::{binary, have};

use super::installed::{Installed, zen};

/// Most exposure that is allowed, by systemd's own measure (10 is worst).
const EXPOSURE: f32 = 2.0;

#[test]
fn systemd_finds_the_unit_hardened_and_without_fault() {
    if !have("systemd-analyze", "systemd").unwrap() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let to = format!("--to={}", folder.path().display());
    let program = format!("--binary={}", binary("zen").unwrap().display());
    let written = zen(&["edge", "install", "--systemd", &to, &program]).unwrap();
    assert!(written.status.success(), "{written:?}");
    let unit = folder.path().join("zen-edge.service");
    let judged = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--no-pager"])
        .arg(&unit)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&judged.stdout);
    let exposure: f32 = text
        .lines()
        .find_map(|line| line.split_once("Overall exposure level for zen-edge.service: "))
        .and_then(|(_, rest)| rest.split(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no exposure told: {judged:?}"));
    assert!(exposure <= EXPOSURE, "{text}");
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&unit)
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&verified.stderr);
    assert!(!complaints.contains("zen-edge"), "{complaints}");
}

#[test]
fn compose_understands_the_file_and_the_container_may_do_nothing_else() {
    if !have("docker-compose", "docker-compose").unwrap() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let to = format!("--to={}", folder.path().display());
    let written = zen(&["edge", "install", "--compose", &to]).unwrap();
    assert!(written.status.success(), "{written:?}");
    let read = Command::new("docker-compose")
        .arg("-f")
        .arg(folder.path().join("compose.yaml"))
        .arg("config")
        .output()
        .unwrap();
    assert!(read.status.success(), "{read:?}");
    let config: Value = serde_saphyr::from_str(&String::from_utf8_lossy(&read.stdout)).unwrap();
    let edge = &config["services"]["edge"];
    assert_eq!(edge["read_only"], true);
    assert_eq!(edge["cap_drop"], serde_json::json!(["ALL"]));
    assert_eq!(
        edge["security_opt"],
        serde_json::json!(["no-new-privileges:true"])
    );
    assert_eq!(edge["user"], "65532:65532");
    assert_eq!(edge["secrets"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_flags_of_unit_and_compose_file_run_an_edge_plane() {
    let host = Installed::new().await.unwrap();
    let mut edge = host.start(&binary("zen").unwrap(), &[]).unwrap();
    host.healthy().await.unwrap();
    edge.kill().await.unwrap();
    // The same plane by the compose file's words, on the state of before.
    let text = host.file("--compose").unwrap();
    let compose: Value = serde_saphyr::from_str(&text).unwrap();
    let words = |value: &Value| -> Vec<String> {
        let words = value.as_array().unwrap().iter();
        words
            .map(|word| {
                let word = word.as_str().unwrap();
                let credential = host.credentials.join("enrollment_");
                word.replace("/run/secrets/", &credential.display().to_string())
                    .replace(
                        "/var/lib/zen/edge",
                        &host.states.join("zen-edge").display().to_string(),
                    )
                    .replace("0.0.0.0:8080", &host.ingest.address.to_string())
            })
            .collect()
    };
    let service = &compose["services"]["edge"];
    let mut edge = tokio::process::Command::new(binary("zen").unwrap())
        .args(words(&service["command"]))
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    host.healthy().await.unwrap();
    let test = words(&service["healthcheck"]["test"]);
    assert_eq!(test[..2], ["CMD", "/zen"]);
    let asked: Vec<_> = test[2..].iter().map(String::as_str).collect();
    assert!(zen(&asked).unwrap().status.success());
    edge.kill().await.unwrap();
    let asked = zen(&asked).unwrap();
    assert_eq!(asked.status.code(), Some(1), "{asked:?}");
}
