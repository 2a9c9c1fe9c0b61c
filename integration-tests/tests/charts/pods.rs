//! Every pod of every chart: Pod Security `restricted`, what else hardens it, and that whatever
//! selects or names it finds it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::objects::{Container, Object, labels, list, selects};
use crate::stage::golden;

/// The volumes that Pod Security `restricted` allows.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

fn each_pod(mut check: impl FnMut(&str, &Object, &Value)) {
    let mut pods = 0;
    for (chart, name, objects) in golden() {
        for object in &objects {
            if let Some(pod) = object.pod() {
                pods += 1;
                check(&format!("{chart}/{name}: {}", object.title()), object, pod);
            }
        }
    }
    assert!(pods > 40, "{pods}");
}

/// https://kubernetes.io/docs/concepts/security/pod-security-standards/, each control.
#[test]
fn every_pod_is_restricted() {
    each_pod(|title, object, pod| {
        let spec = &pod["spec"];
        for host in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(spec[host].is_null(), "{title}: {host}");
        }
        for volume in list(&spec["volumes"]) {
            let kinds: Vec<_> = volume.as_object().unwrap().keys().collect();
            let kind = kinds.iter().find(|key| key.as_str() != "name").unwrap();
            assert!(VOLUMES.contains(&kind.as_str()), "{title}: {kind}");
        }
        let pod_security = &spec["securityContext"];
        assert_eq!(pod_security["runAsNonRoot"], true, "{title}");
        assert_ne!(pod_security["runAsUser"], 0, "{title}");
        assert_eq!(
            pod_security["seccompProfile"]["type"], "RuntimeDefault",
            "{title}"
        );
        assert!(pod_security["sysctls"].is_null(), "{title}");
        for container in object.containers() {
            restricted(&format!("{title}: {}", container.name()), container);
        }
    });
}

fn restricted(title: &str, container: Container<'_>) {
    let security = &container.0["securityContext"];
    assert_eq!(security["allowPrivilegeEscalation"], false, "{title}");
    assert_eq!(
        security["capabilities"]["drop"],
        serde_json::json!(["ALL"]),
        "{title}"
    );
    assert!(security["capabilities"]["add"].is_null(), "{title}");
    assert!(security["privileged"].is_null(), "{title}");
    assert!(security["procMount"].is_null(), "{title}");
    assert_eq!(security["runAsNonRoot"], true, "{title}");
    assert_eq!(
        security["seccompProfile"]["type"], "RuntimeDefault",
        "{title}"
    );
    // Beyond the standard.
    assert_eq!(security["readOnlyRootFilesystem"], true, "{title}");
    for port in list(&container.0["ports"]) {
        assert!(port["hostPort"].is_null(), "{title}");
        assert!(port["containerPort"].as_u64().unwrap() > 1023, "{title}");
    }
}

#[test]
fn every_pod_is_given_no_more_than_it_uses() {
    each_pod(|title, object, pod| {
        let spec = &pod["spec"];
        assert_eq!(spec["automountServiceAccountToken"], false, "{title}");
        assert_eq!(spec["enableServiceLinks"], false, "{title}");
        for container in object.containers() {
            let resources = &container.0["resources"];
            for amount in ["/requests/cpu", "/requests/memory", "/limits/memory"] {
                assert!(resources.pointer(amount).is_some(), "{title}: {amount}");
            }
            // No shell: whatever runs is the image's own program.
            assert!(container.0["command"].is_null(), "{title}");
        }
        // The token of the Kubernetes API is for the agent and zen-lock alone.
        let api = list(&spec["volumes"])
            .iter()
            .any(|volume| volume["name"] == "kubernetes-api");
        let asks = |object: &Object| {
            let agent = object.name().starts_with("zen-agent");
            // A zen-lock for the plane's components alone has no use for it.
            agent || object.name() == "zen-lock" && !title.starts_with("zen-lock/components")
        };
        assert_eq!(api, asks(object), "{title}");
    });
}

#[test]
fn every_pod_that_serves_has_its_probes_and_time_to_drain() {
    each_pod(|title, object, pod| {
        if object.is_test() {
            return;
        }
        let container = object.containers().into_iter().last().unwrap();
        let probes = [
            ("startupProbe", "/livez"),
            ("livenessProbe", "/livez"),
            ("readinessProbe", "/readyz"),
        ];
        for (probe, path) in probes {
            let get = &container.0[probe]["httpGet"];
            assert_eq!(
                (&get["path"], &get["port"]),
                (&path.into(), &"admin".into()),
                "{title}"
            );
        }
        let admin = list(&container.0["ports"])
            .iter()
            .find(|port| port["name"] == "admin");
        assert_eq!(admin.unwrap()["containerPort"], 9600, "{title}");
        let grace = pod["spec"]["terminationGracePeriodSeconds"].as_u64();
        assert!(grace.unwrap() > 30, "{title}");
        let checksum = &pod["metadata"]["annotations"]["checksum/config"];
        assert_eq!(checksum.as_str().unwrap().len(), 64, "{title}");
    });
}

/// Volumes that are mounted are there, and none is there that nobody mounts.
#[test]
fn every_mount_has_its_volume() {
    each_pod(|title, object, pod| {
        let claims = list(object.at("/spec/volumeClaimTemplates"))
            .iter()
            .map(|claim| claim["metadata"]["name"].as_str().unwrap());
        let there: BTreeSet<_> = list(&pod["spec"]["volumes"])
            .iter()
            .map(|volume| volume["name"].as_str().unwrap())
            .chain(claims)
            .collect();
        let mounted: BTreeSet<_> = object
            .containers()
            .iter()
            .flat_map(|container| list(&container.0["volumeMounts"]))
            .map(|mount| mount["name"].as_str().unwrap())
            .collect();
        assert_eq!(there, mounted, "{title}");
    });
}

#[test]
fn labels_are_the_standard_ones_and_app() {
    for (chart, name, objects) in golden() {
        for object in objects.iter().filter(|object| !object.is_test()) {
            let title = format!("{chart}/{name}: {}", object.title());
            let has = object.labels();
            for key in [
                "name",
                "instance",
                "version",
                "component",
                "part-of",
                "managed-by",
            ] {
                let key = format!("app.kubernetes.io/{key}");
                assert!(has.contains_key(&key), "{title}: {key}");
            }
            assert!(has["helm.sh/chart"].ends_with("-0.1.0"), "{title}");
            assert_eq!(has["app"], has["app.kubernetes.io/name"], "{title}");
            let Some(pods) = object.pod_labels() else {
                continue;
            };
            // `kubectl logs -l app=zen-agent` finds it.
            assert_eq!(pods["app"], object.name(), "{title}");
            let selector: BTreeSet<_> = labels(object.at("/spec/selector/matchLabels"))
                .into_keys()
                .collect();
            let fixed = ["component", "instance", "name"]
                .map(|key| format!("app.kubernetes.io/{key}"))
                .into();
            assert_eq!(selector, fixed, "{title}: a selector can never be changed");
        }
    }
}

#[test]
fn whatever_selects_pods_finds_them_and_nobody_elses() {
    for (chart, name, objects) in golden() {
        let workloads: Vec<_> = objects
            .iter()
            .filter(|object| object.pod().is_some())
            .collect();
        for object in &objects {
            let title = format!("{chart}/{name}: {}", object.title());
            let selector = match object.kind() {
                "Service" => serde_json::json!({"matchLabels": object.at("/spec/selector")}),
                "NetworkPolicy" => object.at("/spec/podSelector").clone(),
                "Deployment" | "StatefulSet" | "PodDisruptionBudget" | "PodMonitor" => {
                    object.at("/spec/selector").clone()
                }
                _ => continue,
            };
            let found: Vec<_> = workloads
                .iter()
                .filter(|workload| selects(&selector, &workload.pod_labels().unwrap()))
                .collect();
            let names: Vec<_> = found.iter().map(|found| found.name()).collect();
            assert_eq!(names, [object.labels()["app"].as_str()], "{title}");
            ports_are_there(&title, object, found[0]);
            if object.kind() == "PodDisruptionBudget" {
                assert!(
                    found[0].at("/spec/replicas").as_u64().unwrap() > 1,
                    "{title}"
                );
            }
        }
        for workload in workloads.iter().filter(|object| !object.is_test()) {
            let replicas = workload.at("/spec/replicas").as_u64().unwrap();
            let budgeted = objects.iter().any(|object| {
                object.kind() == "PodDisruptionBudget" && object.name() == workload.name()
            });
            assert_eq!(
                budgeted,
                replicas > 1,
                "{chart}/{name}: {}",
                workload.title()
            );
            let spread = workload.pod().unwrap()["spec"]["topologySpreadConstraints"].is_array();
            assert!(
                spread || replicas == 1,
                "{chart}/{name}: {}",
                workload.title()
            );
        }
    }
}

/// Ports that are named are ports of the pod.
fn ports_are_there(title: &str, object: &Object, workload: &Object) {
    let containers = workload.containers();
    let named: BTreeSet<_> = containers
        .iter()
        .flat_map(|container| list(&container.0["ports"]))
        .map(|port| port["name"].as_str().unwrap())
        .collect();
    let wanted: Vec<_> = match object.kind() {
        "Service" => list(object.at("/spec/ports"))
            .iter()
            .map(|port| &port["targetPort"])
            .collect(),
        "PodMonitor" => list(object.at("/spec/podMetricsEndpoints"))
            .iter()
            .map(|endpoint| &endpoint["port"])
            .collect(),
        "NetworkPolicy" => list(object.at("/spec/ingress"))
            .iter()
            .flat_map(|rule| list(&rule["ports"]))
            .map(|port| &port["port"])
            .collect(),
        _ => Vec::new(),
    };
    for port in wanted {
        assert!(named.contains(port.as_str().unwrap()), "{title}: {port}");
    }
}

/// What is durable lies on a volume that outlives the release, one for each replica.
#[test]
fn what_is_durable_lies_on_volumes_that_stay() {
    for (chart, name, objects) in golden() {
        for object in &objects {
            let title = format!("{chart}/{name}: {}", object.title());
            let durable = ["zen-ingester", "zen-egress", "zen-bridge"].contains(&object.name());
            if durable && object.kind() == "Deployment" {
                panic!("{title} must be a StatefulSet");
            }
            if object.kind() != "StatefulSet" {
                continue;
            }
            let policy = object.at("/spec/persistentVolumeClaimRetentionPolicy");
            assert_eq!(policy["whenDeleted"], "Retain", "{title}");
            assert_eq!(policy["whenScaled"], "Retain", "{title}");
            let folder = object.name().trim_start_matches("zen-");
            let mounts = object.containers();
            let state = list(&mounts[0].0["volumeMounts"])
                .iter()
                .find(|mount| mount["name"] == "state")
                .unwrap();
            assert_eq!(
                state["mountPath"],
                format!("/var/lib/zen/{folder}"),
                "{title}"
            );
            assert!(state["readOnly"].is_null(), "{title}");
        }
    }
}
