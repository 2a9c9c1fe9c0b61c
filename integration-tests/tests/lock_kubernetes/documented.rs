//! What docs/zen-lock-on-kubernetes.md says, done as it stands there.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::tools::binary;
use zen_integration_tests::world::PATIENCE;

use super::stage::{CLUSTER, Stage, pods_of, zenlocks_of};

const PASSWORD: &[u8] = b"correct horse battery staple";

fn page() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/zen-lock-on-kubernetes.md");
    fs::read_to_string(file).unwrap()
}

/// The blocks of a language, in their order.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let begin = format!("```{language}\n");
    let parts = page.split(&begin).skip(1);
    parts
        .map(|part| part.split("```").next().unwrap().to_owned())
        .collect()
}

/// Runs a command of zen-lock in a folder; its output may go to a file.
fn run(line: &str, folder: &Path) {
    let (words, file) = match line.split_once(" > ") {
        Some((words, file)) => (words, Some(file)),
        None => (line, None),
    };
    let mut words = words.split_whitespace();
    assert_eq!(words.next(), Some("zen-lock"));
    let mut command = Command::new(binary("zen-lock").unwrap());
    let output = command.args(words).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {said}");
    if let Some(file) = file {
        fs::write(folder.join(file), output.stdout).unwrap();
    }
}

fn commands(page: &str) -> Vec<String> {
    let all = blocks(page, "sh").concat();
    let lines = all.lines().filter(|line| line.starts_with("zen-lock "));
    lines.map(ToOwned::to_owned).collect()
}

/// The pod that a controller makes of a workload's template.
fn pod_of(workload: &Value) -> Value {
    let template = &workload["spec"]["template"];
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": template["metadata"], "spec": template["spec"],
    });
    let name = workload["metadata"]["name"].as_str().unwrap();
    pod["metadata"]["generateName"] = format!("{name}-").into();
    pod
}

async fn holds_keys(stage: &Stage, count: f64) {
    eventually("zen-lock holds the keys", PATIENCE, || async {
        let held = stage.metric("zen_lock_identities", &[]).await;
        anyhow::ensure!((held - count).abs() < 0.5, "{held}");
        Ok(())
    })
    .await
    .unwrap();
}

/// What `kubectl create secret … --from-file` and the kubelet do with the identities.
fn mount_keys(stage: &Stage, folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "key") {
            fs::copy(&path, stage.identities().join(path.file_name().unwrap())).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_and_manifest_of_the_page_works_as_it_stands_there() {
    let page = page();
    let stage = Stage::start().await;
    let work = tempfile::TempDir::new().unwrap();
    let folder = work.path();
    fs::write(folder.join("password.txt"), PASSWORD).unwrap();
    fs::write(folder.join("ca.pem"), "a certificate").unwrap();
    let mut manifests = Vec::new();
    for block in blocks(&page, "yaml") {
        let value: Value = serde_saphyr::from_str(&block).unwrap();
        if block.starts_with("# values.yaml") {
            // They are those that this cluster's zen-lock was installed with.
            let installed = "../deploy/charts/zen-lock/ci/pods.yaml";
            let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join(installed);
            let installed = fs::read_to_string(installed).unwrap();
            let installed: Value = serde_saphyr::from_str(&installed).unwrap();
            assert_eq!(value, installed);
            assert_eq!(value["cluster"], CLUSTER);
        } else {
            manifests.push(value);
        }
    }
    let (spaces, workloads): (Vec<_>, Vec<_>) = manifests
        .into_iter()
        .partition(|object| object["kind"] == "Namespace");
    for namespace in &spaces {
        stage.server.put(namespace).unwrap();
    }
    let commands = commands(&page);
    let (seals, rest): (Vec<_>, Vec<_>) = commands
        .iter()
        .partition(|line| line.starts_with("zen-lock encrypt "));
    assert!(rest.len() >= 3 && seals.len() == 1, "{commands:?}");
    // All but the last command come before the sealing; the last makes the key of the next year.
    let (later, first) = rest.split_last().unwrap();
    for line in first {
        run(line, folder);
    }
    mount_keys(&stage, folder);
    holds_keys(&stage, 2.0).await;
    run(seals[0], folder);
    let sealed = fs::read_to_string(folder.join("database.yaml")).unwrap();
    let zenlock: Value = serde_saphyr::from_str(&sealed).unwrap();
    let made = stage.create(&zenlocks_of("shop"), &zenlock).await;
    made.unwrap();
    stage.condition("shop", "database", "True", "Opened").await;

    assert_eq!(workloads.len(), 2);
    for workload in &workloads {
        admitted_and_served(&stage, workload).await;
    }
    // Another key, and the same pods.
    run(later, folder);
    mount_keys(&stage, folder);
    holds_keys(&stage, 3.0).await;
    for workload in &workloads {
        admitted_and_served(&stage, workload).await;
    }
}

async fn admitted_and_served(stage: &Stage, workload: &Value) {
    let what = &workload["kind"];
    stage.server.put(workload).unwrap();
    let namespace = workload["metadata"]["namespace"].as_str().unwrap();
    let asked = pod_of(workload);
    let annotations = asked["metadata"]["annotations"].clone();
    let path = annotations["zen-lock/mount-path"].as_str();
    let path = path.unwrap_or("/zen-lock/secrets");
    let pod = stage.create(&pods_of(namespace), &asked).await.unwrap();
    let inits = pod["spec"]["initContainers"].as_array().unwrap();
    assert_eq!(inits[0]["name"], "zen-lock-fetch", "{what}");
    let containers = pod["spec"]["containers"].as_array().unwrap();
    for container in inits.iter().skip(1).chain(containers) {
        let mounts = container["volumeMounts"].as_array().unwrap();
        let mount = mounts.iter().find(|m| m["name"] == "zen-lock-secrets");
        let mount = mount.unwrap_or_else(|| panic!("{what}: {container}"));
        assert_eq!(mount["mountPath"], path, "{what}");
        assert_eq!(mount["readOnly"], true, "{what}");
        // The page names files that are there.
        let named = format!("{path}/password");
        assert!(container.to_string().contains(&named), "{what}");
    }
    let account = asked["spec"]["serviceAccountName"].as_str().unwrap();
    let pod = stage.pod(namespace, account, annotations).await.unwrap();
    let values = stage.run(&pod).unwrap();
    assert_eq!(values["password"], PASSWORD, "{what}");
    assert_eq!(values["ca.pem"], b"a certificate", "{what}");
}
