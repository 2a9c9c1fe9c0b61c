//! Where values come from: files, standard input, a hidden question, the manifest of a Kubernetes
//! Secret. Never an argument or the environment, which other processes and shell histories see.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde::Deserialize;
use zen_chassis::files;
use zen_proto::limits;
use zen_seal::{SecretValue, Values};
use zeroize::Zeroizing;

use super::terminal::{ask_hidden, is_person};

/// The key of a value that was given without one.
const VALUE: &str = "value";

/// Where values come from.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ValueArgs {
    /// A value from a file, `-` for standard input; may be repeated. Without KEY the key is `value`.
    /// A single line's end is not part of the value.
    #[arg(long, value_name = "[KEY=]FILE")]
    from_file: Vec<String>,
    /// A value that is asked for at the terminal and not shown; may be repeated.
    #[arg(long, value_name = "KEY")]
    prompt: Vec<String>,
    /// Every value of a Kubernetes Secret's manifest, `-` for standard input.
    #[arg(long, value_name = "FILE")]
    from_secret: Option<PathBuf>,
}

/// The manifest of a Secret, as far as it matters here.
#[derive(Deserialize)]
struct SecretManifest {
    kind: String,
    #[serde(default)]
    data: BTreeMap<String, String>,
    #[serde(default, rename = "stringData")]
    string_data: BTreeMap<String, String>,
}

impl ValueArgs {
    /// Reads them all. With no source named: standard input, or a question if a person sits there.
    pub(super) fn read(&self) -> anyhow::Result<Values> {
        let mut values = Values::new();
        let mut add = |key: &str, value: SecretValue| {
            let known = values.insert(key.to_owned(), value).is_some();
            ensure!(!known, "the value {key:?} is given twice");
            Ok(())
        };
        if self.from_file.is_empty() && self.prompt.is_empty() && self.from_secret.is_none() {
            let value = if is_person() {
                take(ask_hidden("value")?)
            } else {
                from_file(Path::new("-"))?
            };
            add(VALUE, value)?;
        }
        for source in &self.from_file {
            let (key, file) = source.split_once('=').unwrap_or((VALUE, source));
            add(key, from_file(Path::new(file))?)?;
        }
        for key in &self.prompt {
            add(key, take(ask_hidden(key)?))?;
        }
        if let Some(file) = &self.from_secret {
            let text = read(file, 4 * limits::SECRET_VALUES)?;
            for (key, value) in from_manifest(&text)? {
                add(&key, value)?;
            }
        }
        Ok(values)
    }
}

fn from_manifest(text: &[u8]) -> anyhow::Result<Vec<(String, SecretValue)>> {
    // serde's words may quote a value, so they are not passed on.
    let manifest: SecretManifest = serde_saphyr::from_slice(text)
        .map_err(|_| anyhow::anyhow!("--from-secret: this is not the manifest of a Secret"))?;
    ensure!(
        manifest.kind == "Secret",
        "--from-secret: its kind is not Secret"
    );
    let mut values = Vec::new();
    for (key, encoded) in manifest.data {
        let encoded = Zeroizing::new(encoded);
        let bytes = STANDARD.decode(encoded.trim());
        let bytes = bytes.with_context(|| format!("--from-secret: data.{key} is not base64"))?;
        values.push((key, bytes.into()));
    }
    for (key, text) in manifest.string_data {
        values.retain(|(known, _)| *known != key);
        values.push((key, text.into_bytes().into()));
    }
    Ok(values)
}

fn from_file(path: &Path) -> anyhow::Result<SecretValue> {
    let value = take(read(path, limits::SECRET_VALUE)?);
    ensure!(
        !value.expose().is_empty(),
        "{}: the value is empty",
        path.display()
    );
    Ok(value)
}

/// The bytes of a file or of standard input, at most `limit`.
pub(super) fn read(path: &Path, limit: usize) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    if path != Path::new("-") {
        return Ok(Zeroizing::new(files::read_capped(path, limit)?));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 2));
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    std::io::stdin()
        .lock()
        .take(most)
        .read_to_end(&mut bytes)
        .context("standard input")?;
    ensure!(
        bytes.len() <= limit,
        "standard input is larger than {limit} bytes"
    );
    Ok(bytes)
}

/// Without the end of a single line, which editors and `echo` add.
fn take(mut bytes: Zeroizing<Vec<u8>>) -> SecretValue {
    if bytes.iter().filter(|&&b| b == b'\n').count() == 1 && bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    std::mem::take(&mut *bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_lines_end_is_not_part_of_a_value() {
        let taken = |text: &[u8]| take(Zeroizing::new(text.to_vec())).expose().to_vec();
        assert_eq!(taken(b"hunter2\n"), b"hunter2");
        assert_eq!(taken(b"hunter2\r\n"), b"hunter2");
        assert_eq!(taken(b"-----BEGIN\nkey\n"), b"-----BEGIN\nkey\n");
    }

    #[test]
    fn a_manifests_values_are_taken_and_its_text_is_not_quoted() {
        let text = b"kind: Secret\ndata: {a: aHVudGVy, b: eA==}\nstringData: {b: two}\n";
        let values = from_manifest(text).unwrap();
        let shown: Vec<_> = values
            .iter()
            .map(|(key, value)| (key.as_str(), value.expose()))
            .collect();
        assert_eq!(shown, [("a", &b"hunter"[..]), ("b", b"two")]);
        for wrong in [
            "kind: ConfigMap\ndata: {}",
            "kind: Secret\ndata: hunter2",
            "hunter2",
        ] {
            let error = from_manifest(wrong.as_bytes()).err().unwrap();
            assert!(!format!("{error:#}").contains("hunter2"));
        }
    }
}
