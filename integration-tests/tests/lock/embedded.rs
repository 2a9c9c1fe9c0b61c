//! zen-lock inside `zen up`: an identity from the first start on, secrets in a folder.

use std::path::Path;
use std::process::Stdio;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::process::Command;
use zen_integration_tests::api::Api;
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::locks::seal;
use zen_integration_tests::source::{Scheme, Source};
use zen_integration_tests::tools::binary;
use zen_proto::purpose::Purpose;
use zen_seal::Identity;

use crate::plane::{HOOK, LONG};

fn json_of(path: &Path) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

#[tokio::test]
async fn zen_up_opens_secrets_that_were_sealed_for_its_edge_plane() {
    let dir = tempfile::Builder::new().prefix("zen").tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let mut command = Command::new(binary("zen").unwrap());
    command.arg("up").arg("--state-dir").arg(dir.path());
    for flag in ["--http", "--ingest", "--edge-ingest", "--admin"] {
        command.args([flag, "127.0.0.1:0"]);
    }
    let quiet = command.stdin(Stdio::null()).stderr(Stdio::null());
    let _up = quiet.kill_on_drop(true).spawn().unwrap();
    let zen = eventually("zen.json is written", LONG, || async {
        json_of(&path("zen.json"))
    })
    .await
    .unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let plane = text(&zen["edge_plane"]["id"]);
    let identity = Identity::from_file(&path("lock/identities/0001.txt")).unwrap();
    let purposes = [Purpose::WebhookVerification];
    let values = [("value", HOOK)];
    let sealed = seal(&plane, "hook", &purposes, &values, &identity.recipient());
    std::fs::write(path("edge/sealed/hook.age"), sealed.unwrap()).unwrap();
    let key = std::fs::read_to_string(text(&zen["api_key_file"])).unwrap();
    let api = Api::new(text(&zen["http"]), key.trim());
    let body = json!({ "plane_id": plane, "name": "hook",
        "verification": { "scheme": "github", "secrets": ["lock:hook"] } });
    let endpoint = api.post("/v1/endpoints", &body).await.unwrap();
    let ingest = text(&zen["edge_plane"]["ingest"]);
    let url = format!("{ingest}/hooks/{}", text(&endpoint["id"]));
    let source = Source::new(&url, Scheme::Github(HOOK.to_vec()));
    source
        .post_until_accepted("one", Bytes::new(), LONG)
        .await
        .unwrap();
    let forged = Source::new(&url, Scheme::Github(b"other".to_vec()));
    let refused = forged.post("two", Bytes::new()).await.unwrap_err();
    assert!(refused.to_string().starts_with("401"), "{refused}");
    // The plane's page knows the key to seal for.
    eventually("the plane reports its recipient", LONG, || async {
        let shown = api.get(&format!("/v1/planes/{plane}")).await?;
        let components = shown["components"].as_array().cloned().unwrap_or_default();
        let lock = components
            .iter()
            .any(|c| c["component"] == "lock" && c["ready"] == true);
        anyhow::ensure!(lock, "{shown}");
        Ok(())
    })
    .await
    .unwrap();
}
