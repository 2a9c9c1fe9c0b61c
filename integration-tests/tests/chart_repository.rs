//! The charts that a running control plane serves, asked for with the real helm, and the install command
//! it hands out, run with the real helm in it.
#![cfg(test)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use zen_integration_tests::tools;
use zen_integration_tests::world::Seat;

/// Charts that are installed, parts before those that are made of them, with the least values.
const CHARTS: [(&str, &[&str]); 8] = [
    ("zen-agent", &[PLANE, ADDRESS]),
    ("zen-ingester", &[]),
    ("zen-egress", &[]),
    ("zen-bridge", &["advertise=bridge.example:7445"]),
    ("zen-lock", &["image.repository=example/zen-lock"]),
    (
        "zen-control-plane",
        &["agents.advertise=control.example:8443"],
    ),
    (
        "zen-edge-plane",
        &[
            PLANE,
            ADDRESS,
            "zen-ingester.enabled=true",
            "zen-egress.enabled=true",
        ],
    ),
    (
        "zen-data-plane",
        &[PLANE, ADDRESS, "zen-bridge.advertise=bridge.example:7445"],
    ),
];
const PLANE: &str = "global.planeId=pl_01k9vpq1x4f2w8s3t6r7y5z0ab";
const ADDRESS: &str = "global.controlPlane.address=control.example:8443";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A control plane, and helm with a home of its own.
struct Stage {
    seat: Seat,
    helm: PathBuf,
}

impl Stage {
    /// None where helm is missing.
    async fn start() -> Option<Self> {
        let helm = tools::target().unwrap().join("tools/helm/helm");
        if !tools::have_file("helm", &helm).unwrap() {
            return None;
        }
        let seat = Seat::start(&[]).await.unwrap();
        Some(Self { seat, helm })
    }

    fn folder(&self) -> &Path {
        self.seat.dir.path()
    }

    fn repository(&self) -> String {
        format!("http://{}/charts", self.seat.http.address)
    }

    fn at_home(&self, mut command: Command) -> Command {
        let home = self.folder().join("home");
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, &home);
        }
        command.env("HOME", &home);
        command
    }

    /// What helm says.
    #[track_caller]
    fn helm<I: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = I>) -> String {
        let mut command = self.at_home(Command::new(&self.helm));
        succeeds(command.args(words))
    }

    /// The charts' source with their dependencies, built by helm.
    fn source(&self) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let copy = self.folder().join("source");
        let mut copying = Command::new("cp");
        copying
            .arg("-rL")
            .arg(root.join("deploy/charts"))
            .arg(&copy);
        succeeds(&mut copying);
        for (chart, _) in CHARTS {
            let chart = copy.join(chart);
            self.helm([
                OsStr::new("dependency"),
                OsStr::new("build"),
                chart.as_os_str(),
            ]);
        }
        copy
    }
}

#[track_caller]
fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let done = output.status.success();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(done, "{command:?}: {shown}\n{said}");
    shown
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm_installs_from_the_control_plane_what_the_source_says() {
    let Some(stage) = Stage::start().await else {
        return;
    };
    let (source, url) = (stage.source(), stage.repository());
    let (_, index) = fetch(&stage.seat, "index.yaml").await;
    let index: Value = serde_saphyr::from_slice(&index).unwrap();
    let pulled = stage.folder().join("pulled");
    fs::create_dir(&pulled).unwrap();
    for (chart, set) in CHARTS {
        let from = ["--repo", &url, "--version", VERSION];
        let values = stage.helm([&["show", "values", chart][..], &from].concat());
        let written = fs::read_to_string(source.join(chart).join("values.yaml")).unwrap();
        assert_eq!(values.trim_end(), written.trim_end(), "{chart}");

        let into = ["--destination", pulled.to_str().unwrap()];
        stage.helm([&["pull", chart][..], &from, &into].concat());
        let package = fs::read(pulled.join(format!("{chart}-{VERSION}.tgz"))).unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &package);
        let entry = &index["entries"][chart][0];
        assert_eq!(entry["digest"], hex::encode(digest), "{chart}");

        let set: Vec<_> = set.iter().flat_map(|value| ["--set", value]).collect();
        let template = ["template", "mesh", chart, "--namespace", "events"];
        let served = stage.helm([&template[..], &from, &set].concat());
        let folder = source.join(chart);
        let template = [
            "template",
            "mesh",
            folder.to_str().unwrap(),
            "--namespace",
            "events",
        ];
        let local = stage.helm([&template[..], &set].concat());
        assert!(served.contains("kind: "), "{chart}: {served}");
        assert_eq!(served, local, "{chart}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_install_command_renders_the_chart_from_the_control_planes_own_address() {
    let Some(stage) = Stage::start().await else {
        return;
    };
    let plane = stage.seat.plane("shop", "edge").await.unwrap();
    let bundles = format!("/v1/planes/{plane}/bundles");
    // For a key of its own, which only its zen-lock has.
    let own = zen_seal::Identity::generate().recipient().to_string();
    let parts = json!(["egress", "ingester"]);
    let body = json!({ "components": parts, "namespace": "shop", "recipient": own });
    let issued = stage.seat.api.post(&bundles, &body).await.unwrap();
    let command = issued["install_command"].as_str().unwrap();
    let bin = stage.folder().join("bin");
    fs::create_dir(&bin).unwrap();
    let rendered = stage.folder().join("rendered.yaml");
    let applied = stage.folder().join("applied.yaml");
    // `helm upgrade --install` as `helm template`: the same arguments, and no cluster.
    let helm = format!(
        "shift 2; exec {} template \"$@\" > {}",
        stage.helm.display(),
        rendered.display()
    );
    let kubectl = format!("test $1 != apply || cat > {}", applied.display());
    for (name, script) in [("helm", helm), ("kubectl", kubectl)] {
        let file = bin.join(name);
        fs::write(&file, format!("#!/bin/sh\nset -e\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut shell = stage.at_home(Command::new("/bin/sh"));
    let path = format!("{}:/usr/bin:/bin", bin.display());
    succeeds(shell.args(["-c", command]).env("PATH", path));
    let rendered = fs::read_to_string(rendered).unwrap();
    for part in [
        plane.as_str(),
        stage.seat.agents.address.to_string().as_str(),
        "namespace: shop",
        "name: zen-agent",
        "name: zen-egress",
        "name: zen-ingester",
        "secretName: zen-lock-identities",
        "address: zen-lock-enrollment.shop.svc:7447",
    ] {
        assert!(rendered.contains(part), "{part}: {rendered}");
    }
    let applied = fs::read_to_string(applied).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&applied).unwrap();
    assert_eq!(objects.len(), 3, "{applied}");

    // What a GitOps controller is given renders the same.
    let body =
        json!({ "form": "gitops", "components": parts, "namespace": "shop", "recipient": own });
    let issued = stage.seat.api.post(&bundles, &body).await.unwrap();
    let values = stage.folder().join("values.yaml");
    fs::write(&values, issued["values"].as_str().unwrap()).unwrap();
    let from_values = stage.helm([
        "template",
        "zen-mesh",
        "zen-edge-plane",
        "--repo",
        &stage.repository(),
        "--version",
        VERSION,
        "--namespace",
        "shop",
        "--values",
        values.to_str().unwrap(),
    ]);
    assert_eq!(from_values, rendered);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn charts_are_served_to_whoever_asks() {
    let seat = Seat::start(&[]).await.unwrap();
    let file = format!("zen-edge-plane-{VERSION}.tgz");
    let (status, package) = fetch(&seat, &file).await;
    assert_eq!(status, 200);
    assert_eq!(package[..2], [0x1f, 0x8b]);
    let (status, _) = fetch(&seat, "zen-common-0.1.0.tgz").await;
    assert_eq!(status, 404);
}

/// A file of the repository, without any key.
async fn fetch(seat: &Seat, file: &str) -> (u16, Vec<u8>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(seat.http.address)
        .await
        .unwrap();
    let request = format!("GET /charts/{file} HTTP/1.0\r\nHost: zen\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer[end + 4..].to_vec())
}
