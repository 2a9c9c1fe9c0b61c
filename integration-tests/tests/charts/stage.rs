//! A copy of the charts with their dependencies built, and helm to ask about them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use zen_integration_tests::tools;

use crate::objects::Object;

/// Charts that are installed, parts before those that are made of them.
pub(crate) const CHARTS: [&str; 8] = [
    "zen-agent",
    "zen-ingester",
    "zen-egress",
    "zen-bridge",
    "zen-lock",
    "zen-control-plane",
    "zen-edge-plane",
    "zen-data-plane",
];
/// The release and namespace of everything rendered here.
pub(crate) const RELEASE: &str = "mesh";
pub(crate) const NAMESPACE: &str = "events";
/// A plane to render for.
pub(crate) const PLANE: &str = "pl_01k9vpq1x4f2w8s3t6r7y5z0ab";
/// What a cluster with the Prometheus operator says it has.
const APIS: [&str; 2] = [
    "monitoring.coreos.com/v1/PodMonitor",
    "monitoring.coreos.com/v1/PrometheusRule",
];

/// The charts, ready to be rendered.
pub(crate) struct Stage {
    folder: TempDir,
    helm: PathBuf,
}

/// `deploy` in this repository.
pub(crate) fn deploy() -> PathBuf {
    // checkov looks into no folder with `..` in its name.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join("deploy")
}

/// A program that `cargo xtask setup` installs, or none with a word about it.
pub(crate) fn tool(path: &str) -> Option<PathBuf> {
    let file = tools::target().unwrap().join("tools").join(path);
    tools::have_file(path, &file).unwrap().then_some(file)
}

/// Runs a command and says what it said if it failed.
#[track_caller]
pub(crate) fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        String::from_utf8_lossy(&output.stdout),
        said(&output)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What a command said on its standard error.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

impl Stage {
    /// None where helm is missing.
    pub(crate) fn build() -> Option<Self> {
        let helm = tool("helm/helm")?;
        let folder = TempDir::new().unwrap();
        copy(&deploy().join("charts"), &folder.path().join("charts"));
        let stage = Self { folder, helm };
        for chart in CHARTS {
            succeeds(stage.helm(["dependency", "build"]).arg(stage.chart(chart)));
        }
        Some(stage)
    }

    /// A folder for what a test writes.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A chart with its dependencies.
    pub(crate) fn chart(&self, name: &str) -> PathBuf {
        self.folder.path().join("charts").join(name)
    }

    /// The real helm, with a home of its own.
    pub(crate) fn helm<I: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new(&self.helm);
        let home = self.folder.path().join("home");
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, &home);
        }
        command.env("HOME", &home).args(words);
        command
    }

    /// `helm template`, ready to be given more flags.
    pub(crate) fn template(&self, chart: &str) -> Command {
        let mut command = self.helm(["template", RELEASE]);
        command
            .arg(self.chart(chart))
            .args(["--namespace", NAMESPACE]);
        command
    }

    /// What a chart renders for one file of values, in a cluster with the Prometheus operator.
    #[track_caller]
    pub(crate) fn render(&self, chart: &str, values: &Path) -> String {
        let mut command = self.template(chart);
        for api in APIS {
            command.args(["--api-versions", api]);
        }
        succeeds(command.arg("--values").arg(values))
    }

    /// What a chart renders with `--set` of its least values and these.
    #[track_caller]
    pub(crate) fn set(&self, chart: &str, set: &[&str]) -> Vec<Object> {
        let mut command = self.template(chart);
        for value in least(chart).iter().chain(set) {
            command.args(["--set", value]);
        }
        Object::all(&succeeds(&mut command))
    }

    /// What helm says when it refuses these values beside the least ones.
    #[track_caller]
    pub(crate) fn refusal(&self, chart: &str, set: &[&str]) -> String {
        let mut command = self.template(chart);
        for value in least(chart).iter().chain(set) {
            command.args(["--set", value]);
        }
        let output = command.output().unwrap();
        assert!(!output.status.success(), "{chart} {set:?} was rendered");
        said(&output)
    }
}

/// What a chart must be told.
pub(crate) fn least(chart: &str) -> Vec<&'static str> {
    const PLANE_ID: &str = "global.planeId=pl_01k9vpq1x4f2w8s3t6r7y5z0ab";
    const ADDRESS: &str = "global.controlPlane.address=control.example:8443";
    match chart {
        "zen-agent" | "zen-edge-plane" => vec![PLANE_ID, ADDRESS],
        "zen-data-plane" => vec![
            PLANE_ID,
            ADDRESS,
            "zen-bridge.advertise=bridge.example:7445",
        ],
        "zen-bridge" => vec!["advertise=bridge.example:7445"],
        "zen-control-plane" => vec!["agents.advertise=control.example:8443"],
        _ => Vec::new(),
    }
}

/// Every documented set of values: chart, name, file.
pub(crate) fn cases() -> Vec<(&'static str, String, PathBuf)> {
    let mut cases = Vec::new();
    for chart in CHARTS {
        for file in files(&deploy().join("charts").join(chart).join("ci")) {
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            cases.push((chart, name, file));
        }
    }
    assert!(cases.len() > 20, "{cases:?}");
    cases
}

/// The files of a folder, sorted; none if there is no folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// The committed renderings: chart, name, objects.
pub(crate) fn golden() -> Vec<(&'static str, String, Vec<Object>)> {
    cases()
        .into_iter()
        .map(|(chart, name, _)| {
            let text = fs::read_to_string(golden_file(chart, &name)).unwrap();
            let objects = Object::all(&text);
            (chart, name, objects)
        })
        .collect()
}

/// Where a rendering is committed.
pub(crate) fn golden_file(chart: &str, name: &str) -> PathBuf {
    deploy()
        .join("charts/golden")
        .join(chart)
        .join(format!("{name}.yaml"))
}

/// Only what is of a chart; links become what they lead to.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in files(from) {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            if !path.ends_with("golden") && !path.ends_with("charts") {
                copy(&path, &target);
            }
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
