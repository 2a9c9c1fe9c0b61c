//! The REST API is what its OpenAPI document says: schemathesis reads the document from a running
//! control plane and tries every operation with good and bad data, alone and one after the other.
#![cfg(test)]

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use zen_integration_tests::tools;
use zen_integration_tests::world::Seat;

/// Seconds for the whole run; a run that is cut short has still tried every operation.
const TIME: &str = "90";
/// Time after which the run is taken for stuck.
const STUCK: Duration = Duration::from_secs(180);
/// What has to hold of every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_schema_conformance,negative_data_rejection";

/// What refuses bad data. A change that is meant for another version is refused before its body is
/// read.
const SETTINGS: &str = "[checks]\nnegative_data_rejection.expected-statuses = \
    [400, 401, 403, 404, 405, 409, 412, 413, 415, 422, 429]\n";

/// The tool: where `cargo xtask setup` puts it, or somewhere on the path.
fn schemathesis() -> anyhow::Result<Option<PathBuf>> {
    let built = tools::binary("zen-control-plane")?;
    let target = built.parent().and_then(std::path::Path::parent);
    let own = target.map(|target| target.join("tools/schemathesis/bin/schemathesis"));
    if let Some(own) = own.filter(|own| own.exists()) {
        return Ok(Some(own));
    }
    let found = tools::have("schemathesis", "python3-venv")?;
    Ok(found.then(|| PathBuf::from("schemathesis")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_running_server_keeps_what_its_document_promises() {
    let Some(tool) = schemathesis().unwrap() else {
        return;
    };
    let seat = Seat::start(&[]).await.unwrap();
    let key = std::fs::read_to_string(seat.dir.path().join("cp/api-key")).unwrap();
    let settings = seat.dir.path().join("schemathesis.toml");
    std::fs::write(settings, SETTINGS).unwrap();
    let document = format!("http://{}/v1/openapi.json", seat.http.address);
    let run = tokio::process::Command::new(tool)
        .args(["run", &document, "--no-color", "--generation-deterministic"])
        .args(["--header", &format!("Authorization: Bearer {}", key.trim())])
        .args(["--phases", "examples,coverage,fuzzing,stateful"])
        .args([
            "--max-time",
            TIME,
            "--max-examples",
            "20",
            "--checks",
            CHECKS,
        ])
        .args(["--continue-on-failure", "--warnings", "off"])
        .current_dir(seat.dir.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let run = tokio::time::timeout(STUCK, run).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{told}");
    assert!(told.contains("Operations:"), "it tried something: {told}");
}
