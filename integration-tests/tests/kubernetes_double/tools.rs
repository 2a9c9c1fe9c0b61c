//! The real kubectl and helm, as people call them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use zen_integration_tests::tools;

use crate::stage::{NAMESPACE, Stage};

const MANIFESTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata:
  name: shop
---
apiVersion: v1
kind: Secret
metadata:
  name: zen-enrollment
  namespace: shop
  annotations:
    zen-mesh.io/plane-id: pl_x
type: Opaque
data:
  bundle.age: c2VhbGVk
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: zen-trust-bundle
  namespace: shop
data:
  roots.pem: none
"#;

/// Both tools with a home of their own.
struct Tools<'a> {
    stage: &'a Stage,
    folder: PathBuf,
    kubeconfig: PathBuf,
}

impl<'a> Tools<'a> {
    fn new(stage: &'a Stage) -> Option<Self> {
        let folder = tools::target().unwrap().join("tools/helm");
        for tool in ["kubectl", "helm"] {
            if !tools::have_file(tool, &folder.join(tool)).unwrap() {
                return None;
            }
        }
        let kubeconfig = stage.kubeconfig("admin", stage.server.admin());
        Some(Self {
            stage,
            folder,
            kubeconfig,
        })
    }

    fn run(&self, tool: &str, words: &[&str], input: &str) -> Output {
        let home = self.stage.folder.path().join("home");
        let mut command = Command::new(self.folder.join(tool));
        command.args(words).env("KUBECONFIG", &self.kubeconfig);
        for variable in [
            "HOME",
            "HELM_CACHE_HOME",
            "HELM_CONFIG_HOME",
            "HELM_DATA_HOME",
        ] {
            command.env(variable, &home);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        pipe.write_all(input.as_bytes()).unwrap();
        drop(pipe);
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    fn says(&self, tool: &str, words: &[&str], input: &str) -> String {
        let output = self.run(tool, words, input);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{tool} {words:?}: {said}");
        assert_eq!(said, "", "{tool} {words:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_applies_twice_shows_and_deletes() {
    let stage = Stage::start().await;
    let Some(tools) = Tools::new(&stage) else {
        return;
    };
    let kubectl = |words: &[&str], input: &str| tools.says("kubectl", words, input);
    let apply = ["apply", "-f", "-"];
    let first = kubectl(&apply, MANIFESTS);
    let expected = "namespace/shop created\nsecret/zen-enrollment created\n\
                    configmap/zen-trust-bundle created\n";
    assert_eq!(first, expected);
    let again = kubectl(&apply, MANIFESTS);
    assert_eq!(again, expected.replace("created", "unchanged"));
    let changed = MANIFESTS
        .replace("c2VhbGVk", "YW5ldw==")
        .replace("none", "new");
    let changed = kubectl(&apply, &changed);
    let expected = "namespace/shop unchanged\nsecret/zen-enrollment configured\n\
                    configmap/zen-trust-bundle configured\n";
    assert_eq!(changed, expected);

    let path = "jsonpath={.data.bundle\\.age} {.type}";
    let shown = kubectl(
        &["get", "secret", "zen-enrollment", "-n", "shop", "-o", path],
        "",
    );
    assert_eq!(shown, "YW5ldw== Opaque");
    let listed = kubectl(&["get", "cm,sa", "-n", "shop", "-o", "name"], "");
    assert_eq!(
        listed,
        "configmap/kube-root-ca.crt\nconfigmap/zen-trust-bundle\nserviceaccount/default\n"
    );
    let server_side = ["apply", "--server-side", "--field-manager=other", "-f", "-"];
    let output = tools.run(
        "kubectl",
        &server_side,
        &MANIFESTS.replace("none", "theirs"),
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("conflict with \"kubectl"), "{said}");
    let forced = [&server_side[..], &["--force-conflicts"]].concat();
    kubectl(&forced, &MANIFESTS.replace("none", "theirs"));
    let can = kubectl(&["auth", "can-i", "delete", "secrets", "-n", "shop"], "");
    assert_eq!(can, "yes\n");
    let gone = kubectl(&["delete", "secret", "zen-enrollment", "-n", "shop"], "");
    assert!(gone.contains("\"zen-enrollment\" deleted"), "{gone}");
    let missing = tools.run(
        "kubectl",
        &["get", "secret", "zen-enrollment", "-n", "shop"],
        "",
    );
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(said.contains("(NotFound)"), "{said}");
    kubectl(&["delete", "namespace", "shop"], "");
    assert!(stage.server.list("configmaps", "shop").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm_installs_upgrades_and_uninstalls_the_edge_plane() {
    let stage = Stage::start().await;
    let Some(tools) = Tools::new(&stage) else {
        return;
    };
    let helm = |words: &[&str]| tools.says("helm", words, "");
    let chart = edge_plane(&stage, &tools);
    let chart = chart.to_str().unwrap();
    let install = [
        "upgrade",
        "--install",
        "zen-mesh",
        chart,
        "--namespace",
        NAMESPACE,
        "--set",
        "global.planeId=pl_01k9vpq1x4f2w8s3t6r7y5z0ab",
        "--set",
        "global.controlPlane.address=control.example:8443",
        "--set",
        "zen-egress.enabled=true",
    ];
    let first = helm(&install);
    assert!(first.contains("STATUS: deployed"), "{first}");
    let server = &stage.server;
    assert!(server.get("deployments", NAMESPACE, "zen-agent").is_some());
    assert!(
        server
            .get("statefulsets", NAMESPACE, "zen-egress")
            .is_some()
    );
    let before = server.get("deployments", NAMESPACE, "zen-agent").unwrap();

    let again = helm(&install);
    assert!(again.contains("REVISION: 2"), "{again}");
    let after = server.get("deployments", NAMESPACE, "zen-agent").unwrap();
    assert_eq!(
        before["metadata"]["generation"],
        after["metadata"]["generation"]
    );
    let words = [&install[..], &["--set", "zen-ingester.enabled=true"]].concat();
    helm(&words);
    assert!(
        server
            .get("statefulsets", NAMESPACE, "zen-ingester")
            .is_some()
    );
    let words = [&install[..], &["--set", "zen-egress.enabled=false"]].concat();
    helm(&words);
    // What the new values do not have goes.
    assert!(
        server
            .get("statefulsets", NAMESPACE, "zen-egress")
            .is_none()
    );
    let listed = helm(&["list", "--namespace", NAMESPACE, "--short"]);
    assert_eq!(listed, "zen-mesh\n");

    helm(&["uninstall", "zen-mesh", "--namespace", NAMESPACE]);
    for resource in [
        "deployments",
        "statefulsets",
        "services",
        "roles",
        "networkpolicies",
    ] {
        assert!(server.list(resource, NAMESPACE).is_empty(), "{resource}");
    }
    assert!(server.list("clusterroles", "").is_empty());
}

/// A copy of the umbrella chart with its dependencies built.
fn edge_plane(stage: &Stage, tools: &Tools<'_>) -> PathBuf {
    let charts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/charts");
    let copy = stage.folder.path().join("charts");
    let copied = Command::new("cp")
        .arg("-rL")
        .arg(charts)
        .arg(&copy)
        .status();
    assert!(copied.unwrap().success());
    let parts = ["zen-agent", "zen-ingester", "zen-egress", "zen-lock"];
    for part in parts.iter().chain(&["zen-edge-plane"]) {
        let part = copy.join(part);
        let words = ["dependency", "build", part.to_str().unwrap()];
        tools.run("helm", &words, "");
    }
    copy.join("zen-edge-plane")
}
