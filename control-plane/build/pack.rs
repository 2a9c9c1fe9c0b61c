//! Charts as packages: what Helm's own `package` makes, with the dependencies inside, and the same
//! bytes whoever builds them and when. Used by the build script, and by the tests of what it made.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use flate2::{Compression, GzBuilder};
use serde_json::Value;

/// What stands for the time of everything: the content tells versions apart, not the clock.
const CREATED: &str = "2026-01-01T00:00:00Z";
/// Folders at the top of a chart that are for its makers. `templates/tests` is `helm test`'s.
const NOT_PACKED: [&str; 4] = ["ci", "golden", "tests", "charts"];

/// One chart, packed.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Installs nothing by itself.
    pub(crate) library: bool,
    /// `Chart.yaml`.
    pub(crate) about: Value,
    /// Hexadecimal SHA-256 of the bytes.
    pub(crate) digest: String,
    pub(crate) bytes: Vec<u8>,
}

impl Package {
    /// `<name>-<version>.tgz`
    pub(crate) fn file(&self) -> String {
        format!("{}-{}.tgz", self.name, self.version)
    }
}

/// Every chart of a folder, by name.
///
/// # Errors
/// Names the chart that cannot be packed.
pub(crate) fn all(charts: &Path) -> anyhow::Result<Vec<Package>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(charts).with_context(|| charts.display().to_string())? {
        let entry = entry?;
        if entry.path().join("Chart.yaml").exists() {
            names.push(text_of(&entry.file_name())?);
        }
    }
    names.sort();
    names
        .iter()
        .map(|name| pack(charts, name).with_context(|| format!("chart {name}")))
        .collect()
}

fn pack(charts: &Path, name: &str) -> anyhow::Result<Package> {
    let about = about(charts, name)?;
    let mut files = BTreeMap::new();
    gather(charts, name, &format!("{name}/"), &mut files)?;
    let bytes = archive(name, &files)?;
    Ok(Package {
        name: name.to_owned(),
        version: word(&about, "version")?,
        library: about["type"] == "library",
        digest: digest(&bytes),
        about,
        bytes,
    })
}

/// `Chart.yaml` of a chart, whose name is its folder's.
fn about(charts: &Path, name: &str) -> anyhow::Result<Value> {
    let file = charts.join(name).join("Chart.yaml");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let about: Value = serde_saphyr::from_str(&text).context("Chart.yaml")?;
    ensure!(word(&about, "name")? == name, "is named otherwise");
    Ok(about)
}

/// The files of a chart and of what it depends on, by their path in the package.
fn gather(
    charts: &Path,
    name: &str,
    prefix: &str,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> anyhow::Result<()> {
    read(&charts.join(name), prefix, &NOT_PACKED, files)?;
    let about = about(charts, name)?;
    for dependency in about["dependencies"].as_array().into_iter().flatten() {
        let (other, repository) = (word(dependency, "name")?, word(dependency, "repository")?);
        ensure!(
            repository == format!("file://../{other}"),
            "{other} comes from {repository}, not from beside it"
        );
        let version = word(&self::about(charts, &other)?, "version")?;
        let asked = word(dependency, "version")?;
        ensure!(
            asked == version,
            "wants {other} {asked}, there is {version}"
        );
        gather(charts, &other, &format!("{prefix}charts/{other}/"), files)?;
    }
    Ok(())
}

/// Reads a folder; links become what they lead to.
fn read(
    folder: &Path,
    prefix: &str,
    without: &[&str],
    files: &mut BTreeMap<String, Vec<u8>>,
) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = text_of(&entry.file_name())?;
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            if !without.contains(&name.as_str()) {
                read(&path, &format!("{prefix}{name}/"), &[], files)?;
            }
        } else {
            let content = fs::read(&path).with_context(|| path.display().to_string())?;
            files.insert(format!("{prefix}{name}"), content);
        }
    }
    Ok(())
}

/// A gzipped tar: `Chart.yaml` first as Helm writes it, the rest by name; nobody's, and of no time.
fn archive(name: &str, files: &BTreeMap<String, Vec<u8>>) -> anyhow::Result<Vec<u8>> {
    let first = format!("{name}/Chart.yaml");
    let rest = files.iter().filter(|(path, _)| **path != first);
    let gzip = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    let mut tar = tar::Builder::new(gzip);
    for (path, content) in files.get_key_value(&first).into_iter().chain(rest) {
        let mut header = tar::Header::new_ustar();
        header.set_size(u64::try_from(content.len())?);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, path, content.as_slice())?;
    }
    Ok(tar.into_inner()?.finish()?)
}

/// The index of a Helm repository that holds the packages beside it; libraries are not listed.
pub(crate) fn index(packages: &[Package]) -> String {
    // Every value is JSON, which is YAML whatever it says.
    let mut text = String::from("apiVersion: v1\nentries:\n");
    for package in packages.iter().filter(|package| !package.library) {
        let own = [
            ("created", Value::from(CREATED)),
            ("digest", Value::from(package.digest.as_str())),
            ("urls", Value::from(vec![package.file()])),
        ];
        let about = package.about.as_object().into_iter().flatten();
        let about = about.map(|(key, value)| (key.as_str(), value.clone()));
        let mut all: Vec<_> = about.chain(own).collect();
        all.sort_by_key(|(key, _)| *key);
        let _written = writeln!(text, "  {}:", Value::from(package.name.as_str()));
        for (place, (key, value)) in all.into_iter().enumerate() {
            let mark = if place == 0 { "-" } else { " " };
            let _written = writeln!(text, "  {mark} {}: {value}", Value::from(key));
        }
    }
    let _written = writeln!(text, "generated: {}", Value::from(CREATED));
    text
}

/// Hexadecimal SHA-256.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
}

/// A string of `Chart.yaml`.
fn word(about: &Value, key: &str) -> anyhow::Result<String> {
    match about[key].as_str() {
        Some(word) if !word.is_empty() => Ok(word.to_owned()),
        _ => bail!("Chart.yaml: {key} is no text"),
    }
}

fn text_of(name: &std::ffi::OsStr) -> anyhow::Result<String> {
    let text = name.to_str().context("a file's name is not UTF-8")?;
    Ok(text.to_owned())
}
