//! The doctor of both binaries, as people and init containers start it.
#![cfg(test)]

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::ports;
use zen_integration_tests::tools::{binary, have};
use zen_integration_tests::world::Seat;

const LONG: Duration = Duration::from_secs(120);

/// Runs a command line whose last part is one of the built binaries.
async fn run(wrapper: &[&str], name: &str, words: &[&str]) -> Output {
    let path = binary(name).unwrap();
    let mut command = match wrapper.split_first() {
        None => Command::new(path),
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(path);
            command
        }
    };
    // What this machine goes through is not what is tested.
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(variable);
    }
    let ended = command.args(words).stdin(Stdio::null()).output();
    tokio::time::timeout(LONG, ended).await.unwrap().unwrap()
}

fn row<'a>(report: &'a Value, check: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|row| row["check"] == check).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {output:?}"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn the_doctor_tells_of_a_bundle_and_leaves_it_as_it_was() {
    let seat = Seat::start(&[]).await.unwrap();
    let plane = seat.plane("lite", "edge").await.unwrap();
    let folder = seat.dir.path().join("files");
    seat.bundle(&plane, &folder).await.unwrap();
    let state = seat.dir.path().join("state");
    let bundle = folder.join("bundle.age");
    let identity = folder.join("identity.txt");
    let words = [
        "doctor",
        "--bundle",
        text(&bundle),
        "--identity",
        text(&identity),
        "--state-dir",
        text(&state),
    ];
    let table = run(&[], "zen", &words).await;
    assert!(table.status.success(), "{table:?}");
    assert!(String::from_utf8_lossy(&table.stdout).starts_with("CHECK    RESULT"));
    let report = json(&run(&[], "zen", &[&words[..], &["-o", "json"]].concat()).await);
    assert_eq!(report["ok"], true, "{report}");
    for check in ["dns", "tcp", "proxy", "tls", "clock", "bundle"] {
        assert_eq!(row(&report, check)["result"], "ok", "{report}");
    }
    // Not redeemed, and nothing is left behind.
    assert!(bundle.exists() && identity.exists() && !state.exists());
    let shown = seat.show(&plane).await.unwrap();
    assert_eq!(shown["status"], "never_enrolled", "{shown}");

    // The agent's own, with the agent's settings; the agent enrols after it all the same.
    let home = seat.dir.path().join("home");
    let mut agent = seat.agent(&home).unwrap();
    seat.bundle(&plane, &home.join("agent/enrollment"))
        .await
        .unwrap();
    let setting = format!("state_dir={}", home.join("agent").display());
    let words = ["doctor", "--set", &setting, "--strict", "-o", "json"];
    let output = run(&[], "zen-agent", &words).await;
    assert!(output.status.success(), "{output:?}");
    agent.start().unwrap();
    seat.status(&plane, "connected").await.unwrap();
    let report = json(&run(&[], "zen-agent", &words).await);
    let told = row(&report, "bundle")["detail"].as_str().unwrap();
    assert!(told.contains("is enrolled"), "{report}");
}

#[tokio::test]
async fn an_init_container_only_tells_unless_it_is_strict() {
    let closed = ports::reserve().unwrap();
    let address = closed.address.to_string();
    let folder = tempfile::tempdir().unwrap();
    let state = format!("state_dir={}", folder.path().join("state").display());
    let words = ["doctor", "--set", &state, "--control-plane", &address];
    let output = run(&[], "zen-agent", &words).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("TCP_REFUSED"));
    let strict = run(&[], "zen-agent", &[&words[..], &["--strict"]].concat()).await;
    assert_eq!(strict.status.code(), Some(1), "{strict:?}");
    assert!(!strict.stdout.is_empty());
    let wrong = run(&[], "zen-agent", &["doctor", "--set", "nothing=1"]).await;
    assert_eq!(wrong.status.code(), Some(78), "{wrong:?}");
    let wrong = run(&[], "zen-agent", &["doctor", "--nothing"]).await;
    assert_eq!(wrong.status.code(), Some(64), "{wrong:?}");
    let output = run(&[], "zen", &["doctor", "--control-plane", &address]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[tokio::test]
async fn without_options_the_doctor_looks_at_the_running_zen_up() {
    let dir = tempfile::Builder::new().prefix("zen").tempdir().unwrap();
    let mut up = Command::new(binary("zen").unwrap());
    up.arg("up").arg("--state-dir").arg(dir.path());
    for flag in ["--http", "--ingest", "--edge-ingest", "--admin"] {
        up.args([flag, "127.0.0.1:0"]);
    }
    let silent = up
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _up = silent.kill_on_drop(true).spawn().unwrap();
    let context = dir.path().join("zen.json");
    eventually("zen.json is written", LONG, || async {
        anyhow::ensure!(context.exists(), "not yet");
        Ok(())
    })
    .await
    .unwrap();
    let words = ["doctor", "--context", text(&context), "-o", "json"];
    let output = run(&[], "zen", &words).await;
    assert!(output.status.success(), "{output:?}");
    let report = json(&output);
    for check in ["tls", "clock", "bundle"] {
        assert_eq!(row(&report, check)["result"], "ok", "{report}");
    }
    let nothing = dir.path().join("nothing.json");
    let output = run(&[], "zen", &["doctor", "--context", text(&nothing)]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--control-plane"), "{said}");
}

#[tokio::test]
async fn a_slow_disk_and_a_folder_for_reading_only_are_told() {
    if !have("strace", "strace").unwrap() || !have("unshare", "util-linux").unwrap() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let words = ["doctor", "--state-dir", text(folder.path()), "-o", "json"];
    // Every sync takes 60 ms longer than this disk takes for it.
    let slow = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=fdatasync",
        "-e",
        "inject=fdatasync:delay_exit=60000",
    ];
    let report = json(&run(&slow, "zen", &words).await);
    let told = row(&report, "storage");
    assert_eq!(told["code"], "STORAGE_SLOW", "{report}");
    assert_eq!(told["result"], "warn", "{report}");
    let mount = "mount -t tmpfs -o ro none \"$1\" && shift && exec \"$@\"";
    let read_only = [
        "unshare",
        "-m",
        "sh",
        "-c",
        mount,
        "sh",
        text(folder.path()),
    ];
    let output = run(&read_only, "zen", &words).await;
    let report = json(&output);
    let told = row(&report, "storage");
    assert_eq!(told["code"], "STORAGE_UNWRITABLE", "{report}");
    assert!(
        told["detail"].as_str().unwrap().contains("Read-only"),
        "{report}"
    );
    assert_eq!(output.status.code(), Some(1), "{report}");
}
