//! Every command that docs/secrets.md shows, run as it stands there.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use zen_integration_tests::tools::binary;
use zen_integration_tests::world::Seat;

use super::stage::{Stage, ok, told};

/// The blocks of a page that are marked as shell.
fn blocks(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once("\n```sh\n") {
        let (block, after) = after.split_once("\n```").unwrap();
        found.push(block.to_owned());
        rest = after;
    }
    found
}

#[tokio::test]
async fn every_command_of_the_page_on_secrets_works_as_it_stands() {
    let seat = Seat::start(&[]).await.unwrap();
    seat.plane("private", "edge").await.unwrap();
    let stage = Stage::new();
    std::fs::create_dir(stage.path(".zen")).unwrap();
    let plane = json!({ "id": "", "ingest": "", "secrets_dir": "" });
    let context = json!({
        "state_dir": "", "http": format!("http://{}", seat.http.address), "agents": "",
        "api_key_file": seat.dir.path().join("cp/api-key"), "admin": "", "bridge": "",
        "data_plane": plane, "edge_plane": plane,
    });
    stage.write(".zen/zen.json", context.to_string().as_bytes());
    stage.write("token.txt", b"hunter2\n");
    stage.write(
        "ca.pem",
        b"-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n",
    );
    ok(stage.lock("keygen --out old.key", ""));
    let key = zen_seal::Identity::from_file(&stage.path("old.key")).unwrap();
    let sealed = zen_seal::close(b"hunter2", &[key.recipient()]).unwrap();
    let sealed = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(sealed)
    };
    let old = json!({
        "apiVersion": "security.kube-zen.io/v1alpha1", "kind": "ZenLock",
        "metadata": { "name": "database", "namespace": "shop" },
        "spec": { "encryptedData": { "password": sealed } },
    });
    stage.write("old.yaml", old.to_string().as_bytes());
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/secrets.md");
    let page = std::fs::read_to_string(page).unwrap();
    let programs = binary("zen").unwrap();
    let path = format!("{}:/usr/bin:/bin", programs.parent().unwrap().display());
    let blocks = blocks(&page);
    assert!(blocks.len() >= 7, "{} blocks", blocks.len());
    for block in blocks {
        let mut shell = Command::new("sh");
        let ran = stage.run(shell.args(["-e", "-c", &block]).env("PATH", &path), "");
        assert!(ran.status.success(), "{block}\n{}", told(&ran));
        assert!(!told(&ran).contains("hunter2"), "{block}\n{}", told(&ran));
    }
    assert_eq!(stage.read("password.txt"), "hunter2");
    let stored = seat.api.get("/v1/secrets").await.unwrap();
    assert_eq!(stored["items"][0]["name"], "github");
}
