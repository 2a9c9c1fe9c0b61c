//! What cannot work is refused when a chart is rendered, with a sentence that says what to set; what
//! is mistyped is refused by the schema of the values.

use crate::stage::Stage;

type Case<'a> = (&'a str, &'a [&'a str], &'a str);

/// Chart, values beside the least ones, and a part of what is said.
const IMPOSSIBLE: [Case<'static>; 23] = [
    ("zen-agent", &["global.planeId="], "set global.planeId=pl_"),
    (
        "zen-edge-plane",
        &["global.planeId="],
        "set global.planeId=pl_",
    ),
    (
        "zen-data-plane",
        &["global.planeId="],
        "set global.planeId=pl_",
    ),
    (
        "zen-edge-plane",
        &["global.controlPlane.address="],
        "set global.controlPlane.address=host:8443",
    ),
    (
        "zen-edge-plane",
        &["zen-bridge.enabled=true"],
        "zen-bridge never runs in an edge plane",
    ),
    (
        "zen-edge-plane",
        &[
            "zen-ingester.enabled=true",
            "zen-ingester.settings.journal.durability=memory",
        ],
        "set zen-ingester.settings.journal.durability=fsync",
    ),
    (
        "zen-ingester",
        &["settings.journal.durability=memory"],
        "set settings.journal.durability=fsync",
    ),
    ("zen-egress", &["replicas=2"], "set replicas=1"),
    (
        "zen-edge-plane",
        &["zen-egress.enabled=true", "zen-egress.replicas=2"],
        "set zen-egress.replicas=1",
    ),
    ("zen-agent", &["replicas=2"], "set replicas=1"),
    ("zen-bridge", &["replicas=2"], "set replicas=1"),
    ("zen-bridge", &["advertise="], "set advertise=host:7445"),
    (
        "zen-data-plane",
        &["zen-bridge.advertise="],
        "set zen-bridge.advertise=host:7445",
    ),
    (
        "zen-ingester",
        &["persistence.enabled=false"],
        "leave persistence.enabled=true",
    ),
    (
        "zen-edge-plane",
        &[
            "zen-egress.enabled=true",
            "zen-egress.persistence.enabled=false",
        ],
        "leave zen-egress.persistence.enabled=true",
    ),
    (
        "zen-egress",
        &["caBundle.existingSecret=a", "caBundle.existingConfigMap=b"],
        "set only one of caBundle.existingConfigMap and caBundle.existingSecret",
    ),
    (
        "zen-egress",
        &["terminationGracePeriodSeconds=30"],
        "set terminationGracePeriodSeconds above settings.shutdown_grace (30s)",
    ),
    (
        "zen-edge-plane",
        &["zen-lock.enabled=true", "zen-lock.agent.enabled=false"],
        "set zen-lock.cluster",
    ),
    (
        "zen-lock",
        &["agent.enabled=false", "cluster=a", "pods.enabled=false"],
        "set agent.enabled=true or pods.enabled=true",
    ),
    (
        "zen-control-plane",
        &["agents.advertise="],
        "set agents.advertise=host:8443",
    ),
    (
        "zen-control-plane",
        &["replicas=2"],
        "set database.existingSecret to a Secret with the URL of a PostgreSQL database, or replicas=1",
    ),
    (
        "zen-control-plane",
        &["database.existingSecret=db"],
        "set rootIdentity.existingSecret",
    ),
    (
        "zen-control-plane",
        &["ingress.enabled=true"],
        "set ingress.host",
    ),
];

#[test]
fn what_cannot_work_is_refused_with_what_to_set() {
    let Some(stage) = Stage::build() else { return };
    for (chart, set, sentence) in IMPOSSIBLE {
        let said = stage.refusal(chart, set);
        assert!(said.contains(sentence), "{chart} {set:?}: {said}");
    }
}

/// The same, refused by the schema.
const MISTYPED: [Case<'static>; 27] = [
    (
        "zen-lock",
        &["identities.existingSecret="],
        "/identities/existingSecret",
    ),
    (
        "zen-lock",
        &["pods.timeoutSeconds=60"],
        "/pods/timeoutSeconds",
    ),
    ("zen-agent", &["global.planeId=plane-1"], "/global/planeId"),
    (
        "zen-agent",
        &["planeId=pl_01K9VPQ1X4F2W8S3T6R7Y5Z0AB"],
        "/planeId",
    ),
    (
        "zen-agent",
        &["planeId=pl_81k9vpq1x4f2w8s3t6r7y5z0ab"],
        "/planeId",
    ),
    (
        "zen-edge-plane",
        &["global.controlPlane.address=https://control.example"],
        "/global/controlPlane/address",
    ),
    (
        "zen-edge-plane",
        &["global.controlPlane.adress=x:1"],
        "additional properties 'adress' not allowed",
    ),
    (
        "zen-edge-plane",
        &["ingester.enabled=true"],
        "additional properties 'ingester'",
    ),
    (
        "zen-edge-plane",
        &["zen-agent.doctr.enabled=false"],
        "additional properties 'doctr'",
    ),
    (
        "zen-edge-plane",
        &[
            "zen-ingester.enabled=true",
            "zen-ingester.settings.journal.max=1",
        ],
        "additional properties 'max'",
    ),
    (
        "zen-ingester",
        &["settings.journal.durability=maybe"],
        "/settings/journal/durability",
    ),
    (
        "zen-ingester",
        &["settings.journal.max_size=lots"],
        "/settings/journal/max_size",
    ),
    (
        "zen-ingester",
        &["settings.listen=0.0.0.0:1"],
        "additional properties 'listen'",
    ),
    (
        "zen-ingester",
        &["settings.shutdown_grace=1m"],
        "/settings/shutdown_grace",
    ),
    ("zen-ingester", &["replicas=0"], "/replicas"),
    ("zen-ingester", &["service.type=External"], "/service/type"),
    ("zen-ingester", &["publicUrl=hooks.example"], "/publicUrl"),
    (
        "zen-ingester",
        &["image.pullPolicy=Sometimes"],
        "/image/pullPolicy",
    ),
    ("zen-ingester", &["image.digest=latest"], "/image/digest"),
    (
        "zen-ingester",
        &["egress.address=egress"],
        "/egress/address",
    ),
    (
        "zen-egress",
        &["deniedNetworks[0]=ten"],
        "/deniedNetworks/0",
    ),
    (
        "zen-egress",
        &["settings.retention.dead_letters=forever"],
        "/settings/retention",
    ),
    (
        "zen-egress",
        &["denyKubernetesApi.prefixLength=8"],
        "/denyKubernetesApi/prefixLength",
    ),
    ("zen-bridge", &["persistence.size=big"], "/persistence/size"),
    (
        "zen-control-plane",
        &["oidc.defaultRole=root"],
        "/oidc/defaultRole",
    ),
    ("zen-control-plane", &["http.url=mesh.example"], "/http/url"),
    ("zen-bridge", &["listenAddress=localhost"], "/listenAddress"),
];

#[test]
fn a_mistyped_value_is_refused_by_its_name() {
    let Some(stage) = Stage::build() else { return };
    for (chart, set, place) in MISTYPED {
        let said = stage.refusal(chart, set);
        assert!(said.contains(place), "{chart} {set:?}: {said}");
        assert!(
            said.contains("values don't meet"),
            "{chart} {set:?}: {said}"
        );
    }
}
