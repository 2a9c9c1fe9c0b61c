//! Tests of what is handed out: run under a shell, and read as YAML.

mod lock;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::LazyLock;

use serde_json::{Value, json};
use zen_proto::ids::Id as _;
use zen_seal::Identity;

use super::*;

const SEALED: &str =
    "-----BEGIN AGE ENCRYPTED FILE-----\nYQ$HOME`id`\n-----END AGE ENCRYPTED FILE-----\n";
const KEY: &str = "AGE-SECRET-KEY-1ABC";
const ROOTS: &str = "-----BEGIN CERTIFICATE-----\nMII+/=\n-----END CERTIFICATE-----\n";

static RECIPIENT: LazyLock<Recipient> = LazyLock::new(|| Identity::generate().recipient());

fn install(kind: PlaneKind, identity: Option<&'static str>) -> Install<'static> {
    Install {
        plane: PlaneId::generate(1, [1; 10]),
        kind,
        tenant: TenantId::generate(1, [2; 10]),
        bundle: SEALED,
        recipient: &RECIPIENT,
        identity,
        expires_at: "2026-11-28T07:00:00Z",
        trust_domain: "zen-mesh.internal",
        roots_pem: ROOTS,
        control_plane: "cp-a.example:8443,cp-b.example:8443",
        repository: "https://zen.example/charts",
        image_registry: None,
    }
}

fn choice(form: Form, parts: &[Part], kind: PlaneKind) -> Choice {
    Choice::new(form, parts.to_vec(), None, kind).unwrap()
}

/// Programs that write down in `calls` what they were called with, and what came in.
fn programs(folder: &Path) {
    let bin = folder.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    for (name, script) in [
        ("zen", "printf '%s\\n' \"$@\" > \"$ZEN_DIR/arguments\""),
        (
            "kubectl",
            "printf 'kubectl\\n' >> \"$ZEN_DIR/calls\"\n\
             printf '%s\\n' \"$@\" >> \"$ZEN_DIR/arguments\"\n\
             case $1 in apply) cat > \"$ZEN_DIR/applied\";; *) printf 'made: by kubectl\\n';; esac\n\
             test ! -e \"$ZEN_DIR/fail\"",
        ),
        (
            "helm",
            "printf 'helm\\n' >> \"$ZEN_DIR/calls\"\n\
             printf '%s\\n' \"$@\" > \"$ZEN_DIR/helm\"\n\
             printf '%s\\n' \"$@\" >> \"$ZEN_DIR/arguments\"",
        ),
    ] {
        let file = bin.join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn run(command: &str, folder: &Path, set: &[(&str, &str)]) -> ExitStatus {
    shell(command, folder, set).status().unwrap()
}

/// A shell that finds nothing but those programs and the system's.
fn shell(command: &str, folder: &Path, set: &[(&str, &str)]) -> Command {
    programs(folder);
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", command])
        .env_clear()
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", folder.join("bin").display()),
        )
        .env("ZEN_DIR", folder)
        .envs(set.iter().copied());
    shell
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn objects(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap()
}

fn kinds(objects: &[Value]) -> Vec<String> {
    let title = |object: &Value| {
        let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
        format!("{}/{}", kind.as_str().unwrap(), name.as_str().unwrap())
    };
    objects.iter().map(title).collect()
}

#[test]
fn the_pasted_command_writes_private_files_and_shows_no_secret_in_its_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let edge_lite = choice(Form::EdgeLite, &[], PlaneKind::Edge);
    let command = install(PlaneKind::Edge, Some(KEY))
        .hand_out(&edge_lite)
        .command;
    for _twice in 0..2 {
        assert!(run(&command, folder.path(), &[]).success());
    }
    assert_eq!(read(folder.path(), "bundle.age"), SEALED);
    assert_eq!(read(folder.path(), "identity.txt"), format!("{KEY}\n"));
    let arguments = read(folder.path(), "arguments");
    assert!(arguments.starts_with("edge\nrun\n--bundle\n"));
    assert!(!arguments.contains("AGE-SECRET"));
    let mode = std::fs::metadata(folder.path().join("identity.txt"))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
}

#[test]
fn without_an_identity_the_command_asks_for_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let edge_lite = choice(Form::EdgeLite, &[], PlaneKind::Edge);
    let command = install(PlaneKind::Edge, None).hand_out(&edge_lite).command;
    let refused = shell(&command, folder.path(), &[]).output().unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains(&RECIPIENT.to_string()), "{said}");
    assert!(said.contains("your own key file"), "{said}");
    for file in ["arguments", "bundle.age"] {
        assert!(!folder.path().join(file).exists(), "{file}");
    }
    let own = ("ZEN_IDENTITY_FILE", "/keys/my own.key");
    assert!(run(&command, folder.path(), &[own]).success());
    let arguments = read(folder.path(), "arguments");
    assert!(
        arguments.contains("\n--identity\n/keys/my own.key\n"),
        "{arguments}"
    );
    assert!(!folder.path().join("identity.txt").exists());
}

#[test]
fn the_command_for_a_cluster_applies_manifests_and_then_installs_the_chart_twice_if_need_be() {
    let folder = tempfile::tempdir().unwrap();
    let parts = [Part::Egress, Part::Ingester];
    let chosen = choice(Form::Kubernetes, &parts, PlaneKind::Edge);
    let install = Install {
        image_registry: Some("mirror.example/it's"),
        ..install(PlaneKind::Edge, Some(KEY))
    };
    let command = install.hand_out(&chosen).command;
    for _twice in 0..2 {
        assert!(run(&command, folder.path(), &[]).success());
    }
    assert_eq!(
        read(folder.path(), "calls"),
        "kubectl\nhelm\nkubectl\nhelm\n"
    );
    let arguments = read(folder.path(), "arguments");
    for secret in ["AGE-SECRET", "BEGIN AGE", "YQ"] {
        assert!(!arguments.contains(secret), "{arguments}");
    }
    let helm = read(folder.path(), "helm");
    let plane = format!("global.planeId={}", install.plane);
    let expected = [
        "upgrade",
        "--install",
        "zen-mesh",
        "zen-edge-plane",
        "--repo",
        "https://zen.example/charts",
        "--version",
        charts_version(),
        "--namespace",
        "zen-mesh",
        "--set",
        r"global.controlPlane.address=cp-a.example:8443\,cp-b.example:8443",
        "--set",
        "global.imageRegistry=mirror.example/it's",
        "--set",
        &plane,
        "--set",
        "zen-egress.enabled=true",
        "--set",
        "zen-ingester.enabled=true",
    ];
    assert_eq!(sorted(&helm), sorted(&expected.join("\n")));
    assert_eq!(&helm.lines().collect::<Vec<_>>()[..10], &expected[..10]);
    let applied = objects(&read(folder.path(), "applied"));
    assert_eq!(
        kinds(&applied),
        [
            "Namespace/zen-mesh",
            "Secret/zen-enrollment-key",
            "Secret/zen-enrollment",
            "ConfigMap/zen-trust-bundle"
        ]
    );
    assert_eq!(
        applied[1]["stringData"],
        json!({ "identity.txt": format!("{KEY}\n") })
    );
    assert_eq!(applied[2]["stringData"], json!({ "bundle.age": SEALED }));
    let annotations = json!({ "zen-mesh.io/plane-id": install.plane.to_string(),
        "zen-mesh.io/expires-at": "2026-11-28T07:00:00Z" });
    assert_eq!(applied[2]["metadata"]["annotations"], annotations);
    let trust = json!({ "roots.pem": ROOTS, "trust-domain": "zen-mesh.internal",
        "tenant-id": install.tenant.to_string(), "plane-id": install.plane.to_string() });
    assert_eq!(applied[3]["data"], trust);
    for object in &applied[1..] {
        assert_eq!(object["metadata"]["namespace"], "zen-mesh");
    }
}

#[test]
fn where_the_manifests_are_refused_nothing_is_installed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("fail"), "").unwrap();
    let chosen = choice(Form::Kubernetes, &[], PlaneKind::Edge);
    let command = install(PlaneKind::Edge, Some(KEY))
        .hand_out(&chosen)
        .command;
    assert!(!run(&command, folder.path(), &[]).success());
    assert_eq!(read(folder.path(), "calls"), "kubectl\n");
}

#[test]
fn with_an_identity_of_ones_own_a_data_planes_command_says_which_secret_must_hold_it() {
    let folder = tempfile::tempdir().unwrap();
    let chosen = choice(Form::Kubernetes, &[], PlaneKind::Data);
    let command = install(PlaneKind::Data, None).hand_out(&chosen).command;
    assert!(command.contains("kubectl create secret generic zen-enrollment-key"));
    let address = ("ZEN_BRIDGE_ADDRESS", "bridge.example:7445");
    assert!(run(&command, folder.path(), &[address]).success());
    assert!(!read(folder.path(), "helm").contains("lock"));
    let applied = objects(&read(folder.path(), "applied"));
    assert!(!kinds(&applied).contains(&"Secret/zen-enrollment-key".to_owned()));
    assert!(kinds(&applied).contains(&"Secret/zen-enrollment".to_owned()));
}

#[test]
fn a_data_plane_wants_the_address_of_its_bridge_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let chosen = choice(Form::Kubernetes, &[], PlaneKind::Data);
    let command = install(PlaneKind::Data, Some(KEY))
        .hand_out(&chosen)
        .command;
    assert!(!run(&command, folder.path(), &[]).success());
    assert!(!folder.path().join("calls").exists());
    let address = ("ZEN_BRIDGE_ADDRESS", "bridge.example:7445");
    assert!(run(&command, folder.path(), &[address]).success());
    let helm = read(folder.path(), "helm");
    assert!(helm.contains("\nzen-data-plane\n"), "{helm}");
    assert!(
        helm.contains("\nzen-bridge.advertise=bridge.example:7445\n"),
        "{helm}"
    );
}

#[test]
fn what_is_committed_opens_nothing_and_the_identity_comes_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let chosen = choice(Form::GitOps, &[Part::Egress], PlaneKind::Edge);
    let own = install(PlaneKind::Edge, Some(KEY));
    let handed = own.hand_out(&chosen);
    let gitops = handed.gitops.unwrap();
    assert!(
        !gitops.manifests.contains("AGE-SECRET"),
        "{}",
        gitops.manifests
    );
    assert!(
        gitops
            .manifests
            .contains("Secret zen-enrollment-key must hold it")
    );
    assert_eq!(
        kinds(&objects(&gitops.manifests)),
        [
            "Namespace/zen-mesh",
            "Secret/zen-enrollment",
            "ConfigMap/zen-trust-bundle"
        ]
    );
    let values: Value = serde_saphyr::from_str(&gitops.values).unwrap();
    let expected = json!({ "global": { "planeId": own.plane.to_string(),
            "controlPlane": { "address": own.control_plane } },
        "zen-egress": { "enabled": true } });
    assert_eq!(values, expected);
    assert!(run(&handed.command, folder.path(), &[]).success());
    assert!(!read(folder.path(), "arguments").contains("AGE-SECRET"));
    assert_eq!(
        kinds(&objects(&read(folder.path(), "applied"))),
        ["Namespace/zen-mesh", "Secret/zen-enrollment-key"]
    );

    let chosen = choice(Form::GitOps, &[], PlaneKind::Data);
    let theirs = install(PlaneKind::Data, None).hand_out(&chosen).command;
    assert!(!run(&theirs, folder.path(), &[]).success());
    let file = ("ZEN_IDENTITY_FILE", "/a file");
    assert!(run(&theirs, folder.path(), &[file]).success());
    assert!(read(folder.path(), "arguments").contains("--from-file=identity.txt=/a file\n"));
    assert_eq!(read(folder.path(), "applied"), "made: by kubectl\n");
}

#[test]
fn whatever_the_contents_say_the_manifests_stay_four_objects_and_the_shell_runs_none_of_it() {
    let hostile = "\nZEN_MANIFESTS\ntouch \"$ZEN_DIR/ran\"\n---\nkind: \"x\"\n\ttab: {\n";
    let folder = tempfile::tempdir().unwrap();
    let chosen = choice(Form::Kubernetes, &[], PlaneKind::Edge);
    let install = Install {
        bundle: hostile,
        identity: Some(hostile),
        expires_at: hostile,
        trust_domain: hostile,
        roots_pem: hostile,
        control_plane: "a'; touch \"$ZEN_DIR/ran\"; 'b:1",
        repository: "$(touch \"$ZEN_DIR/ran\")",
        image_registry: Some("`touch $ZEN_DIR/ran`"),
        ..install(PlaneKind::Edge, None)
    };
    assert!(run(&install.hand_out(&chosen).command, folder.path(), &[]).success());
    assert!(!folder.path().join("ran").exists());
    let applied = objects(&read(folder.path(), "applied"));
    assert_eq!(applied.len(), 4);
    assert_eq!(applied[2]["stringData"]["bundle.age"], hostile);
    assert_eq!(applied[3]["data"]["trust-domain"], hostile);
}

fn sorted(lines: &str) -> Vec<&str> {
    let mut lines: Vec<_> = lines.lines().collect();
    lines.sort_unstable();
    lines
}

const fn charts_version() -> &'static str {
    crate::charts::VERSION
}
