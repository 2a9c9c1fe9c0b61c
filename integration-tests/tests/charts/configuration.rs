//! The configuration that the charts write is taken by the binaries that read it, and holds no secret.

use std::fs;
use std::process::Command;

use tempfile::TempDir;
use zen_integration_tests::tools;

use crate::objects::Object;
use crate::stage::golden;

/// Puts in where a cluster's API is, as Kubernetes itself does.
fn expanded(value: &str) -> String {
    let host = if value.contains("/128") {
        "fd00::1"
    } else {
        "10.96.0.1"
    };
    value.replace("$(KUBERNETES_SERVICE_HOST)", host)
}

#[test]
fn every_rendered_configuration_is_taken_by_its_binary() {
    let folder = TempDir::new().unwrap();
    let mut refused = Vec::new();
    let mut taken = 0;
    for (chart, name, objects) in golden() {
        for workload in objects.iter().filter(|object| runs(object)) {
            let binary = workload.name();
            let Some(config) = config_of(&objects, binary) else {
                panic!("{chart}/{name}: {binary} has no configuration");
            };
            let file = folder.path().join("config.yaml");
            fs::write(&file, config).unwrap();
            let mut command = Command::new(tools::binary(binary).unwrap());
            command.env_clear().arg("--config").arg(&file);
            let container = workload.containers().into_iter().last().unwrap();
            for (key, value) in container.environment() {
                command.env(key, expanded(value));
            }
            for key in fields(&container) {
                command.env(key, "events-0");
            }
            let output = command.arg("--dump-config").output().unwrap();
            if output.status.success() {
                taken += 1;
                let dump = String::from_utf8(output.stdout).unwrap();
                says_what_the_chart_means(workload, &container, &dump);
            } else {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                refused.push(format!("{chart}/{name}: {binary}: {said}"));
            }
        }
    }
    assert!(refused.is_empty(), "{refused:#?}");
    assert!(taken > 25, "{taken}");
}

/// The workloads whose binary is part of the product.
fn runs(object: &Object) -> bool {
    object.pod().is_some() && !object.is_test()
}

fn config_of<'a>(objects: &'a [Object], component: &str) -> Option<&'a str> {
    let name = format!("{component}-config");
    objects
        .iter()
        .find(|object| object.kind() == "ConfigMap" && object.name() == name)?
        .at("/data/config.yaml")
        .as_str()
}

/// Variables that Kubernetes fills from the pod.
fn fields<'a>(container: &crate::objects::Container<'a>) -> Vec<&'a str> {
    crate::objects::list(&container.0["env"])
        .iter()
        .filter(|entry| entry["valueFrom"]["fieldRef"].is_object())
        .filter_map(|entry| entry["name"].as_str())
        .collect()
}

/// What only the whole of file and environment shows.
fn says_what_the_chart_means(
    workload: &Object,
    container: &crate::objects::Container<'_>,
    dump: &str,
) {
    let title = workload.title();
    let has = |text: &str| assert!(dump.contains(text), "{title}: no {text:?} in {dump}");
    assert!(
        dump.contains("listen: 0.0.0.0:9600") || dump.contains("[::]:9600"),
        "{title}: {dump}"
    );
    // A zen-lock without a plane has no agent.
    let alone = dump.contains("\nagent: null");
    if !alone && workload.name() != "zen-control-plane" && workload.name() != "zen-agent" {
        has("instance: events-0");
        has("trust_dir: /etc/zen/trust");
        has("token_file: /var/run/secrets/zen/token");
    }
    let environment = container.environment();
    if let Some((_, value)) = environment
        .iter()
        .find(|(key, _)| *key == "ZEN_EGRESS__DENIED_NETWORKS")
    {
        for network in expanded(value).trim_matches(['[', ']']).split(", ") {
            has(&format!("- {network}"));
        }
    }
}

/// Every Secret is named, never spelled out: no Secret is rendered at all, and nothing that looks
/// like one stands in a ConfigMap, an argument or a variable.
#[test]
fn no_secret_is_rendered() {
    for (chart, name, objects) in golden() {
        for object in &objects {
            let title = format!("{chart}/{name}: {}", object.title());
            assert_ne!(object.kind(), "Secret", "{title}");
            // The definition of ZenLock says how a sealed secret begins.
            if object.kind() == "CustomResourceDefinition" {
                continue;
            }
            let text = object.0.to_string();
            for sign in [
                "AGE-SECRET-KEY-",
                "BEGIN AGE ENCRYPTED",
                "PRIVATE KEY",
                "postgres://",
                "Bearer ",
            ] {
                assert!(!text.contains(sign), "{title} holds {sign:?}");
            }
            for container in object.containers() {
                assert!(
                    !container.0.to_string().contains("secretKeyRef"),
                    "{title}: a secret in the environment"
                );
                assert!(container.0["envFrom"].is_null(), "{title}");
            }
        }
    }
}
