//! Network policies: nobody dials in to an edge plane, and whatever it must reach is reachable, a
//! control plane outside the cluster above all.

use std::net::IpAddr;

use serde_json::Value;

use crate::objects::{Object, list, selects};
use crate::stage::{NAMESPACE, Stage, golden};

/// A host outside the cluster.
const OUTSIDE: [&str; 2] = ["203.0.113.9", "2001:db8::9"];

/// The policy of one component in a rendering.
fn policy<'a>(objects: &'a [Object], component: &str) -> &'a Object {
    objects
        .iter()
        .find(|object| object.kind() == "NetworkPolicy" && object.name() == component)
        .unwrap_or_else(|| panic!("{component} has no policy"))
}

/// Whether a policy lets its pods reach a host that is no pod.
fn reaches(policy: &Object, host: &str, port: u16, protocol: &str) -> bool {
    let host: IpAddr = host.parse().unwrap();
    list(policy.at("/spec/egress")).iter().any(|rule| {
        let ports = list(&rule["ports"]);
        let port_fits = ports.is_empty()
            || ports
                .iter()
                .any(|allowed| allowed["port"] == port && allowed["protocol"] == protocol);
        let peers = list(&rule["to"]);
        let host_fits = peers.is_empty() || peers.iter().any(|peer| is_in_block(peer, host));
        port_fits && host_fits
    })
}

fn is_in_block(peer: &Value, host: IpAddr) -> bool {
    let block = &peer["ipBlock"];
    let Some(network) = block["cidr"].as_str() else {
        return false;
    };
    let excepted = list(&block["except"])
        .iter()
        .any(|network| contains(network.as_str().unwrap(), host));
    contains(network, host) && !excepted
}

fn contains(network: &str, host: IpAddr) -> bool {
    let (base, length) = network.split_once('/').unwrap();
    let length: u32 = length.parse().unwrap();
    let (base, host, bits) = match (base.parse().unwrap(), host) {
        (IpAddr::V4(base), IpAddr::V4(host)) => {
            (u128::from(base.to_bits()), u128::from(host.to_bits()), 32)
        }
        (IpAddr::V6(base), IpAddr::V6(host)) => (base.to_bits(), host.to_bits(), 128),
        _ => return false,
    };
    (base ^ host).checked_shr(bits - length).unwrap_or(0) == 0
}

#[test]
fn nobody_outside_the_cluster_dials_in_to_an_edge_plane() {
    for (chart, name, objects) in golden() {
        if chart != "zen-edge-plane" {
            continue;
        }
        for workload in &objects {
            let Some(labels) = workload.pod_labels() else {
                continue;
            };
            if workload.is_test() {
                continue;
            }
            let policies: Vec<_> = objects
                .iter()
                .filter(|object| object.kind() == "NetworkPolicy")
                .filter(|policy| selects(policy.at("/spec/podSelector"), &labels))
                .collect();
            assert_eq!(policies.len(), 1, "{name}: {}", workload.title());
            let types = policies[0].at("/spec/policyTypes");
            assert_eq!(*types, serde_json::json!(["Ingress", "Egress"]));
            for rule in list(policies[0].at("/spec/ingress")) {
                let from = list(&rule["from"]);
                // The API server is no pod. Who asks there proves it by certificate or token.
                let webhooks = serde_json::json!([{ "port": "webhooks", "protocol": "TCP" }]);
                if workload.name() == "zen-lock" && rule["ports"] == webhooks {
                    continue;
                }
                assert!(!from.is_empty(), "{name}: {rule} lets everybody in");
                assert!(
                    !list(&rule["ports"]).is_empty(),
                    "{name}: {rule} opens every port"
                );
                for peer in from {
                    assert!(peer["ipBlock"].is_null(), "{name}: {peer} is outside");
                }
            }
        }
        for object in &objects {
            assert_ne!(object.kind(), "Ingress", "{name}");
            if object.kind() == "Service" {
                assert_eq!(object.text("/spec/type"), "ClusterIP", "{name}");
            }
        }
    }
}

#[test]
fn only_the_planes_own_components_reach_agent_and_egress() {
    let Some(stage) = Stage::build() else { return };
    let set = ["zen-ingester.enabled=true", "zen-egress.enabled=true"];
    let objects = stage.set("zen-edge-plane", &set);
    let admitted = |to: &str, from: &str| {
        let from = objects
            .iter()
            .find(|object| object.name() == from && object.pod().is_some())
            .unwrap();
        list(policy(&objects, to).at("/spec/ingress"))
            .iter()
            .filter(|rule| rule["ports"][0]["port"] != "admin")
            .flat_map(|rule| list(&rule["from"]))
            // A selector of pods without one of namespaces is of the policy's own.
            .filter(|peer| peer["namespaceSelector"].is_null())
            .any(|peer| selects(&peer["podSelector"], &from.pod_labels().unwrap()))
    };
    assert!(admitted("zen-agent", "zen-ingester"));
    assert!(admitted("zen-agent", "zen-egress"));
    assert!(admitted("zen-egress", "zen-ingester"));
    assert!(!admitted("zen-egress", "zen-agent"));
    assert!(!admitted("zen-agent", "zen-agent"));
}

#[test]
fn a_control_plane_outside_the_cluster_is_reached() {
    let Some(stage) = Stage::build() else { return };
    let objects = stage.set("zen-edge-plane", &[]);
    let agent = policy(&objects, "zen-agent");
    for host in OUTSIDE {
        assert!(reaches(agent, host, 8443, "TCP"), "{host}");
        assert!(!reaches(agent, host, 22, "TCP"), "{host}");
        assert!(reaches(agent, host, 53, "UDP"), "{host}");
        assert!(reaches(agent, host, 6443, "TCP"), "{host}");
    }
    // Several addresses, each with its port; networks that it may be in.
    let set = [
        "controlPlane.address=a.example:8443\\,[2001:db8::1]:9443",
        "networkPolicy.controlPlaneCidrs={203.0.113.0/24}",
        "networkPolicy.kubernetesApiCidrs={10.96.0.1/32}",
    ];
    let objects = stage.set("zen-agent", &set);
    let agent = policy(&objects, "zen-agent");
    for port in [8443, 9443] {
        assert!(reaches(agent, "203.0.113.9", port, "TCP"), "{port}");
        assert!(!reaches(agent, "198.51.100.9", port, "TCP"), "{port}");
    }
    assert!(reaches(agent, "10.96.0.1", 443, "TCP"));
    assert!(!reaches(agent, "198.51.100.9", 443, "TCP"));
}

#[test]
fn a_proxy_on_the_way_to_the_control_plane_is_reached() {
    let Some(stage) = Stage::build() else { return };
    let objects = stage.set("zen-agent", &["proxy=http://proxy.example:3128"]);
    let agent = policy(&objects, "zen-agent");
    for port in [3128, 8443] {
        assert!(reaches(agent, "203.0.113.9", port, "TCP"), "{port}");
    }
    let config = objects
        .iter()
        .find(|object| object.name() == "zen-agent-config")
        .unwrap();
    let config = config.text("/data/config.yaml");
    assert!(
        config.contains("proxy: http://proxy.example:3128"),
        "{config}"
    );
}

#[test]
fn deliveries_go_anywhere_but_to_the_clouds_metadata() {
    let Some(stage) = Stage::build() else { return };
    let objects = stage.set("zen-egress", &[]);
    let egress = policy(&objects, "zen-egress");
    for host in ["10.1.2.3", "203.0.113.9", "fd00::1"] {
        assert!(reaches(egress, host, 5000, "TCP"), "{host}");
    }
    for host in ["169.254.169.254", "fe80::1"] {
        assert!(!reaches(egress, host, 80, "TCP"), "{host}");
    }
    let objects = stage.set("zen-ingester", &[]);
    let ingester = policy(&objects, "zen-ingester");
    assert!(reaches(ingester, "203.0.113.9", 7445, "TCP"), "a bridge");
    assert!(!reaches(ingester, "203.0.113.9", 443, "TCP"));
}

#[test]
fn the_parts_find_each_other_by_name() {
    let Some(stage) = Stage::build() else { return };
    let config = |objects: &[Object], name: &str| {
        let config = objects
            .iter()
            .find(|object| object.kind() == "ConfigMap" && object.name() == name)
            .unwrap();
        let text = config.text("/data/config.yaml").to_owned();
        serde_saphyr::from_str::<Value>(&text).unwrap()
    };
    let set = ["zen-ingester.enabled=true", "zen-egress.enabled=true"];
    let objects = stage.set("zen-edge-plane", &set);
    let reached = |address: &str, service: &str| {
        let (name, port) = address.split_once(&format!(".{NAMESPACE}.svc:")).unwrap();
        assert_eq!(name, service);
        let service = objects
            .iter()
            .find(|object| object.kind() == "Service" && object.name() == name)
            .unwrap();
        assert_eq!(service.at("/spec/ports/0/port").to_string(), port);
    };
    let ingester = config(&objects, "zen-ingester-config");
    reached(ingester["agent"]["address"].as_str().unwrap(), "zen-agent");
    reached(ingester["egress"].as_str().unwrap(), "zen-egress");
    let egress = config(&objects, "zen-egress-config");
    reached(egress["agent"]["address"].as_str().unwrap(), "zen-agent");
    // Without an egress in the plane, the ingester is told that there is none.
    let alone = stage.set("zen-edge-plane", &["zen-ingester.enabled=true"]);
    assert!(config(&alone, "zen-ingester-config")["egress"].is_null());
    // Components must find the agent before it is ready: they wait for it to enrol.
    let agent = objects
        .iter()
        .find(|object| object.kind() == "Service" && object.name() == "zen-agent")
        .unwrap();
    assert_eq!(*agent.at("/spec/publishNotReadyAddresses"), true);
}
