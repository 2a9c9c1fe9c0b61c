//! What helm tells after an installation.

use crate::stage::{NAMESPACE, PLANE, RELEASE, Stage, least, succeeds};

fn notes(stage: &Stage, chart: &str, set: &[&str]) -> String {
    let mut command = stage.helm(["install", RELEASE]);
    command
        .arg(stage.chart(chart))
        .args(["--namespace", NAMESPACE, "--dry-run=client"]);
    for value in least(chart).iter().chain(set) {
        command.args(["--set", value]);
    }
    let said = succeeds(&mut command);
    said.split_once("\nNOTES:\n").unwrap().1.to_owned()
}

#[test]
fn notes_say_what_to_do_next_and_what_uninstalling_leaves() {
    let Some(stage) = Stage::build() else { return };
    let said = notes(&stage, "zen-edge-plane", &["zen-egress.enabled=true"]);
    for words in [
        PLANE,
        "control.example:8443",
        "kubectl logs -n events -l app=zen-agent --tail=20",
        "Wait for Connected",
        "-c doctor",
        "helm test -n events mesh --logs",
        "What `helm uninstall` leaves",
        "kubectl delete -n events secret,configmap -l app.kubernetes.io/managed-by=zen-agent",
        "kubectl delete -n events pvc -l app.kubernetes.io/instance=mesh",
        "--set zen-ingester.enabled=true",
    ] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    assert!(!said.contains("--set zen-egress.enabled=true"), "{said}");
    let said = notes(&stage, "zen-data-plane", &[]);
    assert!(
        said.contains("dial the bridge at bridge.example:7445"),
        "{said}"
    );
    let said = notes(&stage, "zen-control-plane", &[]);
    let link = "kubectl exec -n events zen-control-plane-0 -- /zen-control-plane show sign-in-link";
    assert!(said.contains(link), "{said}");
    assert!(said.contains("Set http.url"), "{said}");
    for chart in [
        "zen-agent",
        "zen-ingester",
        "zen-egress",
        "zen-bridge",
        "zen-lock",
    ] {
        let said = notes(&stage, chart, &[]);
        let leaves = said.contains("What `helm uninstall` leaves");
        assert!(leaves, "{chart}: {said}");
    }
}
