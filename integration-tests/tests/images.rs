//! The container images as `cargo xtask images` built them: what is in them and what is not.
#![cfg(test)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use zen_integration_tests::tools;

const IMAGES: [&str; 7] = [
    "zen-agent",
    "zen-ingester",
    "zen-egress",
    "zen-lock",
    "zen-bridge",
    "zen-control-plane",
    "zen",
];
/// Largest image, bytes as stored.
const LARGEST: u64 = 20_000_000;
/// What any image holds beside its binary; folders end in a slash.
const COMMON: [&str; 9] = [
    "etc/",
    "etc/ssl/",
    "etc/ssl/certs/",
    "etc/ssl/certs/ca-certificates.crt",
    "run/",
    "run/zen/",
    "var/",
    "var/lib/",
    "var/lib/zen/",
];

fn folder() -> PathBuf {
    tools::target().unwrap().join("images")
}

/// The archive of an image, unless images were not built.
fn archive(name: &str) -> Option<PathBuf> {
    let archive = folder().join(format!("{name}.tar"));
    let there = tools::have_file("an image (cargo xtask images)", &archive).unwrap();
    there.then_some(archive)
}

/// The archive's files by name.
fn files(archive: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut tar = tar::Archive::new(File::open(archive).unwrap());
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        files.insert(name, content);
    }
    files
}

/// Path, owner and mode of all that the layers hold.
fn held(files: &BTreeMap<String, Vec<u8>>, layers: &Value) -> BTreeMap<String, (u64, u32)> {
    let mut held = BTreeMap::new();
    for layer in layers.as_array().unwrap() {
        let mut tar = tar::Archive::new(&*files[layer.as_str().unwrap()]);
        for entry in tar.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            let name = entry.path().unwrap().to_str().unwrap().to_owned();
            let slash = if header.entry_type().is_dir() && !name.ends_with('/') {
                "/"
            } else {
                ""
            };
            let owner = header.uid().unwrap();
            held.insert(format!("{name}{slash}"), (owner, header.mode().unwrap()));
        }
    }
    held
}

#[test]
fn an_image_holds_its_binary_and_roots_and_no_shell_and_is_nobodys() {
    for name in IMAGES {
        let Some(archive) = archive(name) else { return };
        let size = std::fs::metadata(&archive).unwrap().len();
        assert!(size < LARGEST, "{name}: {size} bytes");
        let files = files(&archive);
        let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let config: Value =
            serde_json::from_slice(&files[manifest[0]["Config"].as_str().unwrap()]).unwrap();
        let config = &config["config"];
        assert_eq!(config["User"], "65532:65532", "{name}");
        assert_eq!(
            config["Entrypoint"],
            serde_json::json!([format!("/{name}")])
        );
        let labels = &config["Labels"];
        assert_eq!(labels["org.opencontainers.image.title"], name);
        assert_eq!(
            labels["org.opencontainers.image.version"],
            env!("CARGO_PKG_VERSION")
        );
        for label in ["revision", "licenses", "description", "vendor"] {
            let value = &labels[format!("org.opencontainers.image.{label}")];
            assert!(
                value.as_str().is_some_and(|value| !value.is_empty()),
                "{name}: {label}"
            );
        }
        let held = held(&files, &manifest[0]["Layers"]);
        let mut expected: Vec<_> = COMMON.to_vec();
        expected.push(name);
        expected.sort_unstable();
        assert_eq!(held.keys().collect::<Vec<_>>(), expected, "{name}");
        for (path, (owner, mode)) in &held {
            // Folders above the user's own are made for it.
            let own = path.starts_with("var/") || path.starts_with("run/");
            assert_eq!(
                *owner,
                if own { 65_532 } else { 0 },
                "{name}: owner of {path}"
            );
            assert_eq!(mode & 0o7022, 0, "{name}: mode of {path}: {mode:o}");
        }
    }
}

#[test]
fn the_binary_in_an_image_is_static_and_names_no_path_of_the_builder() {
    let home = std::env::home_dir().unwrap();
    let home = home.to_str().unwrap();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let here = here.to_str().unwrap();
    for name in IMAGES {
        if archive(name).is_none() {
            return;
        }
        let binary = folder().join("context").join(name);
        let content = std::fs::read(&binary).unwrap();
        assert!(!wants_interpreter(&content), "{name} is not static");
        let content = String::from_utf8_lossy(&content);
        for path in [home, here] {
            assert!(
                !content.contains(&format!("{path}/")),
                "{name} names {path}"
            );
        }
        let output = Command::new(&binary).arg("--version").output().unwrap();
        assert!(output.status.success(), "{name}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(env!("CARGO_PKG_VERSION")), "{name}: {text}");
    }
}

/// Whether an ELF file of 64 bits (elf(5)) has a program header PT_INTERP: a dynamic linker's name.
fn wants_interpreter(elf: &[u8]) -> bool {
    let number = |at: usize, bytes: usize| {
        let field = elf[at..at + bytes].iter().rev();
        field.fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    assert_eq!(elf[..5], *b"\x7fELF\x02");
    let (first, size, count) = (number(0x20, 8), number(0x36, 2), number(0x38, 2));
    assert!(count > 0);
    (0..count).any(|index| number(first + index * size, 4) == 3)
}

#[test]
fn an_image_built_again_has_the_same_digest() {
    let Some(_archive) = archive("zen-bridge") else {
        return;
    };
    if !tools::have("buildah", "buildah").unwrap() {
        return;
    }
    let before = std::fs::read_to_string(folder().join("zen-bridge.digest")).unwrap();
    let arguments = std::fs::read_to_string(folder().join("zen-bridge.arguments")).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let digest = scratch.path().join("digest");
    let tag = "zen-mesh/zen-bridge:again";
    let mut words: Vec<_> = arguments.lines().collect();
    words.extend(["--tag", tag]);
    let context = folder().join("context");
    words.extend(context.to_str());
    let built = Command::new("buildah").args(&words).output().unwrap();
    assert!(built.status.success(), "{built:?}");
    let to = format!("oci:{}:again", scratch.path().join("oci").display());
    let pushed = Command::new("buildah")
        .args(["push", "--quiet", "--digestfile"])
        .arg(&digest)
        .args([tag, &to])
        .output()
        .unwrap();
    assert!(pushed.status.success(), "{pushed:?}");
    let after = std::fs::read_to_string(digest).unwrap();
    assert_eq!(before.trim(), after.trim());
}
