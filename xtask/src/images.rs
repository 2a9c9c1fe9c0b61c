//! `cargo xtask images`: static binaries of the `dist` profile, and from each an image of the one
//! recipe in `deploy/images`. What comes out is the same, digest and all, whoever builds it from
//! the same commit: no time, no path of this machine, roots from a pinned crate.
//!
//! `target/images/<name>.tar` is for `docker load`, `ctr images import` and the tests;
//! `target/images/values.yaml` pins the charts to the digests.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::shell;

/// Every image; each is named after its binary.
const IMAGES: [&str; 7] = [
    "zen-agent",
    "zen-ingester",
    "zen-egress",
    "zen-lock",
    "zen-bridge",
    "zen-control-plane",
    "zen",
];
/// Explicit, so that build scripts and macros are not linked statically as well.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Largest image, bytes as stored.
const LARGEST: u64 = 20_000_000;

struct Built {
    name: &'static str,
    digest: String,
    size: u64,
    /// As a registry keeps it.
    compressed: u64,
}

pub(crate) fn run() -> anyhow::Result<()> {
    anyhow::ensure!(
        shell::works(&["buildah", "--version"]),
        "buildah is missing: apt-get install buildah, or `cargo xtask setup`"
    );
    let root = root()?;
    let target = target(&root);
    let out = target.join("images");
    let context = out.join("context");
    binaries(&root, &target)?;
    lay_out(&context, &target)?;
    let revision = revision();
    let mut built = Vec::new();
    for name in IMAGES {
        built.push(image(name, &root, &context, &out, &revision)?);
    }
    fs::write(out.join("values.yaml"), values(&built))?;
    println!("\n{}", table(&built));
    let large: Vec<_> = built
        .iter()
        .filter(|image| image.size > LARGEST)
        .map(|image| image.name)
        .collect();
    anyhow::ensure!(
        large.is_empty(),
        "larger than {} MB: {}",
        LARGEST / 1_000_000,
        large.join(", ")
    );
    Ok(())
}

/// Static binaries that name no path of this machine.
fn binaries(root: &Path, target: &Path) -> anyhow::Result<()> {
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")))
        .context("no cargo home")?;
    let flags = [
        "-Ctarget-feature=+crt-static".to_owned(),
        format!("--remap-path-prefix={}=/cargo", cargo_home.display()),
        format!("--remap-path-prefix={}=/zen", root.display()),
    ];
    let c_flags = format!(
        "-ffile-prefix-map={}=/cargo -ffile-prefix-map={}=/zen/target",
        cargo_home.display(),
        target.display()
    );
    let environment = [
        ("CARGO_ENCODED_RUSTFLAGS", &*flags.join("\u{1f}")),
        ("CFLAGS", &c_flags),
    ];
    let build = ["cargo", "build", "--profile", "dist", "--target", TARGET];
    // `zen` without `zen up` and without clusters: its image is for Edge Lite. Built by itself, or
    // its parts would be made as the others want them.
    let edge_lite = ["--no-default-features", "--package", "zen"];
    shell::run(&[&build[..], &edge_lite].concat(), &environment)?;
    let mut words = build.to_vec();
    for name in IMAGES.into_iter().filter(|name| *name != "zen") {
        words.extend(["--package", name]);
    }
    shell::run(&words, &environment)
}

/// What the recipe copies.
fn lay_out(context: &Path, target: &Path) -> anyhow::Result<()> {
    if context.exists() {
        fs::remove_dir_all(context)?;
    }
    let certs = context.join("root/etc/ssl/certs");
    for folder in [
        &certs,
        &context.join("root/var/lib/zen"),
        &context.join("root/run/zen"),
    ] {
        fs::create_dir_all(folder)?;
    }
    let bundle = certs.join("ca-certificates.crt");
    fs::write(&bundle, public_roots())?;
    fs::set_permissions(&bundle, fs::Permissions::from_mode(0o644))?;
    for name in IMAGES {
        let binary = target.join(TARGET).join("dist").join(name);
        let copy = context.join(name);
        fs::copy(&binary, &copy).with_context(|| format!("no {}", binary.display()))?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// The web's roots as PEM, of the version in Cargo.lock.
fn public_roots() -> String {
    let mut text = String::new();
    for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = BASE64.encode(root);
        for line in encoded.as_bytes().chunks(64) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

/// Builds one target of the recipe and saves it.
fn image(
    name: &'static str,
    root: &Path,
    context: &Path,
    out: &Path,
    revision: &str,
) -> anyhow::Result<Built> {
    let tag = format!("zen-mesh/{name}:{VERSION}");
    let recipe = text(&root.join("deploy/images/Dockerfile"))?;
    let context = text(context)?;
    let version = format!("VERSION={VERSION}");
    let revision = format!("REVISION={revision}");
    let how = [
        "bud",
        "--quiet",
        "--isolation",
        "chroot",
        "--no-cache",
        "--timestamp",
        "0",
        "--build-arg",
        &version,
        "--build-arg",
        &revision,
        "--target",
        name,
        "--file",
        &recipe,
    ];
    shell::run(
        &[&["buildah"], &how[..], &["--tag", &tag, &context]].concat(),
        &[],
    )?;
    // For the test that builds it again.
    fs::write(out.join(format!("{name}.arguments")), how.join("\n"))?;
    let archive = out.join(format!("{name}.tar"));
    let layout = out.join(format!("{name}.oci"));
    let digest_file = out.join(format!("{name}.digest"));
    remove(&archive)?;
    remove(&layout)?;
    let save = format!("docker-archive:{}:{tag}", text(&archive)?);
    shell::run(&["buildah", "push", "--quiet", &tag, &save], &[])?;
    let oci = format!("oci:{}:{VERSION}", text(&layout)?);
    let digest_path = text(&digest_file)?;
    let push = [
        "buildah",
        "push",
        "--quiet",
        "--digestfile",
        &digest_path,
        &tag,
        &oci,
    ];
    shell::run(&push, &[])?;
    Ok(Built {
        name,
        digest: fs::read_to_string(&digest_file)?.trim().to_owned(),
        size: fs::metadata(&archive)?.len(),
        compressed: size(&layout)?,
    })
}

fn values(built: &[Built]) -> String {
    let mut text = "# Images by digest, for `helm --values`.\n".to_owned();
    for image in built {
        // Writing to a string cannot fail.
        let _written = write!(
            text,
            "{}:\n  image:\n    digest: {}\n",
            image.name, image.digest
        );
    }
    text
}

fn table(built: &[Built]) -> String {
    let mut text = format!("{:<18} {:>8} {:>10}  digest\n", "image", "MB", "compressed");
    for image in built {
        // Writing to a string cannot fail.
        let _written = writeln!(
            text,
            "{:<18} {:>8} {:>10}  {}",
            image.name,
            megabytes(image.size),
            megabytes(image.compressed),
            image.digest
        );
    }
    text
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{}", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}

/// The commit this is, or what stands for one that is not known.
fn revision() -> String {
    let output = Command::new("git").args(["rev-parse", "HEAD"]).output();
    output
        .ok()
        .filter(|output| output.status.success())
        .map_or_else(
            || "unknown".to_owned(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
}

fn root() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    Ok(root.context("no root")?.to_owned())
}

/// Where cargo builds: beside this program.
fn target(root: &Path) -> PathBuf {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(|own| own.ancestors().nth(2));
    beside.map_or_else(|| root.join("target"), ToOwned::to_owned)
}

fn text(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().context("a path is no text")?;
    Ok(text.to_owned())
}

/// Takes away what an earlier run left.
fn remove(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        fs::remove_dir_all(path)?;
    } else if path.exists() {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Bytes of all files below.
fn size(folder: &Path) -> anyhow::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        sum += match entry.metadata()? {
            metadata if metadata.is_dir() => size(&entry.path())?,
            metadata => metadata.len(),
        };
    }
    Ok(sum)
}
