//! The README's first command, as a script uses it.
#![cfg(test)]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::tools::binary;

const LONG: Duration = Duration::from_secs(120);

fn zen_up(state_dir: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(binary("zen").unwrap());
    command.arg("up").arg("--state-dir").arg(state_dir);
    for flag in ["--http", "--ingest", "--edge-ingest", "--admin"] {
        command.args([flag, "127.0.0.1:0"]);
    }
    command.args(more).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a verb of the CLI against a running `zen up` and reads its JSON.
async fn zen(state_dir: &Path, words: &[&str]) -> Value {
    let output = Command::new(binary("zen").unwrap())
        .args(words)
        .args(["-o", "json", "--context"])
        .arg(state_dir.join("zen.json"))
        .output()
        .await
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "zen {words:?}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn one_command_enrols_a_plane_and_delivers_both_ways() {
    let dir = tempfile::Builder::new().prefix("zen").tempdir().unwrap();
    // Twice: the second start finds everything enrolled and configured.
    for start in ["first", "second"] {
        let run = zen_up(dir.path(), &["--demo", "--once", "-o", "json"]).output();
        let output = tokio::time::timeout(LONG, run).await.unwrap().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{start} start: {stderr}");
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["ok"], true, "{summary}");
        for way in ["public", "local"] {
            let way = &summary["ways"][way];
            assert!(way["accepted"].as_u64().unwrap() > 0, "{summary}");
            assert_eq!(way["accepted"], way["delivered"], "{summary}");
        }
        assert!(stderr.contains("curl"), "no curl line to try: {stderr}");
    }
    let written: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("zen.json")).unwrap()).unwrap();
    let key = Path::new(written["api_key_file"].as_str().unwrap());
    assert!(key.exists(), "{written}");
}

#[tokio::test]
async fn every_verb_of_the_command_line_works_against_a_running_product() {
    let dir = tempfile::Builder::new().prefix("zen").tempdir().unwrap();
    let mut up = zen_up(dir.path(), &[])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("zen.json is written", LONG, || async {
        anyhow::ensure!(dir.path().join("zen.json").exists(), "not yet");
        Ok(())
    })
    .await
    .unwrap();
    let planes = zen(dir.path(), &["plane", "list"]).await;
    assert_eq!(planes.as_array().unwrap().len(), 2, "{planes}");
    let plane = zen(dir.path(), &["plane", "create", "shop"]).await;
    assert_eq!(plane["status"], "never_enrolled", "{plane}");
    let forms: [(&[&str], &str); 3] = [
        (
            &["--egress", "--namespace", "shop"],
            "helm upgrade --install",
        ),
        (&["--gitops", "--ingester", "--lock"], "zen-enrollment-key"),
        (&["--edge-lite"], "zen edge run"),
    ];
    let mut issued = Value::Null;
    for (flags, part) in forms {
        let verb = [&["plane", "install-command", "shop"], flags].concat();
        issued = zen(dir.path(), &verb).await;
        let command = issued["install_command"].as_str().unwrap();
        assert!(command.contains(part), "{issued}");
    }
    let again = zen(dir.path(), &["plane", "regenerate", "shop", "--ttl", "5"]).await;
    assert_ne!(issued["bundle_id"], again["bundle_id"]);
    zen(dir.path(), &["plane", "retire", "shop"]).await;
    let shown = zen(dir.path(), &["plane", "show", "shop"]).await;
    assert_eq!(shown["status"], "retired", "{shown}");

    let endpoint = zen(dir.path(), &["endpoint", "create", "in", "--plane", "edge"]).await;
    assert!(
        endpoint["url"].as_str().unwrap().contains("/hooks/ep_"),
        "{endpoint}"
    );
    let url = "http://127.0.0.1:9/";
    zen(
        dir.path(),
        &["target", "create", "out", "--plane", "edge", "--url", url],
    )
    .await;
    zen(
        dir.path(),
        &["flow", "create", "f", "--endpoint", "in", "--target", "out"],
    )
    .await;
    for noun in ["endpoint", "target", "flow"] {
        let rows = zen(dir.path(), &[noun, "list"]).await;
        assert_eq!(rows.as_array().unwrap().len(), 1, "{noun}: {rows}");
    }
    for noun in ["delivery", "dead-letter"] {
        let rows = zen(dir.path(), &[noun, "list", "--plane", "edge"]).await;
        assert_eq!(rows.as_array().unwrap().len(), 0, "{noun}: {rows}");
    }
    zen(dir.path(), &["flow", "delete", "f"]).await;
    zen(dir.path(), &["target", "delete", "out"]).await;
    zen(dir.path(), &["endpoint", "delete", "in"]).await;

    let raw = i32::try_from(up.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(raw).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = tokio::time::timeout(LONG, up.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(status.success(), "SIGTERM must end in 0: {status:?}");
}

#[tokio::test]
async fn edge_lite_enrols_with_the_files_of_a_bundle_and_says_why_when_it_cannot() {
    let dir = tempfile::Builder::new().prefix("zen").tempdir().unwrap();
    let _up = zen_up(dir.path(), &[])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("zen.json is written", LONG, || async {
        anyhow::ensure!(dir.path().join("zen.json").exists(), "not yet");
        Ok(())
    })
    .await
    .unwrap();
    zen(dir.path(), &["plane", "create", "lite"]).await;
    let files = dir.path().join("files");
    let to = files.to_str().unwrap().to_owned();
    zen(
        dir.path(),
        &["plane", "install-command", "lite", "--write-to", &to],
    )
    .await;
    let log = dir.path().join("lite.log");
    let run = |name: &str| {
        let mut command = Command::new(binary("zen").unwrap());
        command.args([
            "edge",
            "run",
            "--ingest",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ]);
        command.arg("--bundle").arg(files.join("bundle.age"));
        command.arg("--identity").arg(files.join("identity.txt"));
        command.arg("--state-dir").arg(dir.path().join(name));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        command.stderr(std::fs::File::create(&log).unwrap());
        command.spawn().unwrap()
    };
    let _edge = run("lite");
    eventually("the plane is connected", LONG, || async {
        let shown = zen(dir.path(), &["plane", "show", "lite"]).await;
        anyhow::ensure!(shown["status"] == "connected", "{shown}");
        Ok(())
    })
    .await
    .unwrap();
    // The same files on another machine: refused, and the terminal says what to do.
    let _thief = run("thief");
    eventually("the refusal is printed", LONG, || async {
        let text = std::fs::read_to_string(&log)?;
        let remedy = zen_proto::codes::RefusalCode::BundleAlreadyUsed.remedy();
        anyhow::ensure!(
            text.contains("BUNDLE_ALREADY_USED") && text.contains(remedy),
            "{text}"
        );
        Ok(())
    })
    .await
    .unwrap();
    let shown = zen(dir.path(), &["plane", "show", "lite"]).await;
    assert!(
        shown["alerts"].to_string().contains("BUNDLE_ALREADY_USED"),
        "{shown}"
    );
}
