//! What a mesh file says, read strictly: an unknown key is a fault with its line, and so is a
//! secret where the name of one belongs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_saphyr::{Location, Spanned};
use zen_chassis::secret::SecretRef;

use super::Noun;

/// Largest mesh file, in bytes.
const FILE: u64 = 16 * 1024 * 1024;

/// One document. `S` is how names are held: with their place when read, plain when written.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Deserialize<'de>"))]
pub(super) struct Document<S> {
    #[serde(default = "Vec::new")]
    pub(super) endpoints: Vec<Endpoint<S>>,
    #[serde(default = "Vec::new")]
    pub(super) targets: Vec<Target<S>>,
    #[serde(default = "Vec::new")]
    pub(super) flows: Vec<Flow<S>>,
}

/// Where a source posts.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Endpoint<S> {
    pub(super) name: S,
    /// Name or id of the plane where it lives.
    pub(super) plane: S,
    pub(super) verification: Verification,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) methods: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) max_body_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) allowed_sources: Vec<String>,
}

/// How it is told that an event comes from its source.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Verification {
    pub(super) scheme: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) secrets: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tolerance_seconds: Option<u32>,
}

/// Where events go.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Target<S> {
    pub(super) name: S,
    /// Name or id of the plane from which it is reached.
    pub(super) plane: S,
    pub(super) url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) timeout_ms: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) max_concurrency: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) signing_secrets: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) auth: Option<Auth>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) allowed_networks: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ca_pem: Option<String>,
}

/// How a delivery proves itself: one of the two, by reference.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Auth {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bearer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    basic: Option<String>,
}

/// From an endpoint to a target.
#[derive(Deserialize, Serialize)]
#[serde(
    deny_unknown_fields,
    bound(deserialize = "S: Deserialize<'de>", serialize = "S: Serialize")
)]
pub(super) struct Flow<S> {
    pub(super) name: S,
    /// Name of the endpoint.
    pub(super) endpoint: S,
    /// Its plane, where several planes have an endpoint of that name.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub(super) endpoint_plane: Option<S>,
    /// Name of the target.
    pub(super) target: S,
    /// Its plane, where several planes have a target of that name.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub(super) target_plane: Option<S>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retry: Option<Retry>,
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub(super) enabled: bool,
}

/// Attempts and pauses.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Retry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    initial_backoff_ms: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_backoff_ms: Option<u32>,
}

const fn yes() -> bool {
    true
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde takes"
)]
const fn is_yes(enabled: &bool) -> bool {
    *enabled
}

const fn none<S>() -> Option<S> {
    None
}

/// The API's members of a noun that a file says, beside names and what names stand for.
pub(super) const fn written(noun: Noun) -> &'static [&'static str] {
    match noun {
        Noun::Endpoint => &[
            "verification",
            "methods",
            "max_body_bytes",
            "allowed_sources",
        ],
        Noun::Target => &[
            "url",
            "timeout_ms",
            "max_concurrency",
            "signing_secrets",
            "auth",
            "allowed_networks",
            "ca_pem",
        ],
        Noun::Flow => &["retry", "enabled"],
    }
}

/// A file and a line of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    file: String,
    line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A name and where it stands.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) place: Place,
}

/// What is wrong with mesh files, each fault with its place.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<(Place, String)>);

impl Faults {
    pub(super) fn add(&mut self, place: &Place, what: impl Into<String>) {
        self.0.push((place.clone(), what.into()));
    }

    /// Fails with all faults in the order of their places.
    pub(super) fn result(mut self) -> anyhow::Result<()> {
        self.0.sort();
        let lines: Vec<_> = self
            .0
            .iter()
            .map(|(place, what)| format!("{place}: {what}"))
            .collect();
        anyhow::ensure!(lines.is_empty(), "{}", lines.join("\n"));
        Ok(())
    }
}

/// All documents of all files, as one.
pub(super) struct Mesh {
    pub(super) endpoints: Vec<Endpoint<Named>>,
    pub(super) targets: Vec<Target<Named>>,
    pub(super) flows: Vec<Flow<Named>>,
}

/// Reads the files; `-` is standard input.
///
/// # Errors
/// Every file that cannot be read, and every fault in what it says.
pub(super) fn read(files: &[PathBuf]) -> anyhow::Result<Mesh> {
    let mut mesh = Mesh {
        endpoints: Vec::new(),
        targets: Vec::new(),
        flows: Vec::new(),
    };
    for path in files {
        let (name, text) = text_of(path)?;
        add(&mut mesh, &name, &text)?;
    }
    let mut faults = Faults::default();
    mesh.check(&mut faults);
    faults.result()?;
    Ok(mesh)
}

fn text_of(path: &Path) -> anyhow::Result<(String, String)> {
    use std::io::Read;
    let (name, source): (String, Box<dyn Read>) = if path == Path::new("-") {
        ("standard input".to_owned(), Box::new(std::io::stdin()))
    } else {
        let name = path.display().to_string();
        let file = std::fs::File::open(path).with_context(|| format!("cannot open {name}"))?;
        (name, Box::new(file))
    };
    let mut text = String::new();
    source
        .take(FILE + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {name}"))?;
    anyhow::ensure!(text.len() as u64 <= FILE, "{name} is larger than 16 MiB");
    Ok((name, text))
}

/// Adds the documents of one file.
fn add(mesh: &mut Mesh, file: &str, text: &str) -> anyhow::Result<()> {
    let documents: Vec<Option<Document<Spanned<String>>>> = serde_saphyr::from_multiple(text)
        .map_err(|error| {
            let line = error.location().map_or(0, |location| location.line());
            let words = error.without_snippet().to_string();
            // The line stands before the words already.
            let words = words
                .rsplit_once(" at line ")
                .map_or(words.as_str(), |(words, _)| words);
            anyhow::anyhow!("{file}:{line}: {words}")
        })?;
    let named = |name: Spanned<String>| {
        let line = if name.referenced == Location::UNKNOWN {
            0
        } else {
            name.referenced.line()
        };
        Named {
            name: name.value,
            place: Place {
                file: file.to_owned(),
                line,
            },
        }
    };
    for document in documents.into_iter().flatten() {
        let Document {
            endpoints,
            targets,
            flows,
        } = document;
        mesh.endpoints
            .extend(endpoints.into_iter().map(|endpoint| endpoint.map(named)));
        mesh.targets
            .extend(targets.into_iter().map(|target| target.map(named)));
        mesh.flows
            .extend(flows.into_iter().map(|flow| flow.map(named)));
    }
    Ok(())
}

impl<S> Endpoint<S> {
    pub(super) fn map<T>(self, of: impl Fn(S) -> T) -> Endpoint<T> {
        Endpoint {
            name: of(self.name),
            plane: of(self.plane),
            verification: self.verification,
            methods: self.methods,
            max_body_bytes: self.max_body_bytes,
            allowed_sources: self.allowed_sources,
        }
    }
}

impl<S> Target<S> {
    pub(super) fn map<T>(self, of: impl Fn(S) -> T) -> Target<T> {
        Target {
            name: of(self.name),
            plane: of(self.plane),
            url: self.url,
            timeout_ms: self.timeout_ms,
            max_concurrency: self.max_concurrency,
            signing_secrets: self.signing_secrets,
            auth: self.auth,
            allowed_networks: self.allowed_networks,
            ca_pem: self.ca_pem,
        }
    }
}

impl<S> Flow<S> {
    pub(super) fn map<T>(self, of: impl Fn(S) -> T) -> Flow<T> {
        Flow {
            name: of(self.name),
            endpoint: of(self.endpoint),
            endpoint_plane: self.endpoint_plane.map(&of),
            target: of(self.target),
            target_plane: self.target_plane.map(of),
            retry: self.retry,
            enabled: self.enabled,
        }
    }
}

impl Mesh {
    /// What can be judged without the control plane; above all that no secret stands where the
    /// name of one belongs, since it must not leave this machine.
    fn check(&self, faults: &mut Faults) {
        for endpoint in &self.endpoints {
            for secret in &endpoint.verification.secrets {
                reference(secret, "verification.secrets", &endpoint.name.place, faults);
            }
        }
        for target in &self.targets {
            let place = &target.name.place;
            for secret in &target.signing_secrets {
                reference(secret, "signing_secrets", place, faults);
            }
            let Some(auth) = &target.auth else { continue };
            if auth.bearer.is_some() == auth.basic.is_some() {
                faults.add(place, "auth: give either bearer or basic");
            }
            for secret in [&auth.bearer, &auth.basic].into_iter().flatten() {
                reference(secret, "auth", place, faults);
            }
        }
        self.refuse_twins(faults);
    }

    /// A thing described twice would be changed back and forth.
    fn refuse_twins(&self, faults: &mut Faults) {
        let mut seen: BTreeMap<(Noun, &str, &str), &Place> = BTreeMap::new();
        let endpoints = self.endpoints.iter();
        let endpoints = endpoints.map(|e| (Noun::Endpoint, e.plane.name.as_str(), &e.name));
        let targets = self.targets.iter();
        let targets = targets.map(|t| (Noun::Target, t.plane.name.as_str(), &t.name));
        let flows = self.flows.iter().map(|f| (Noun::Flow, "", &f.name));
        for (noun, plane, named) in endpoints.chain(targets).chain(flows) {
            let Named { name, place } = named;
            if let Some(first) = seen.insert((noun, plane, name), place) {
                faults.add(place, format!("{noun} {name} stands at {first} already"));
            }
        }
    }
}

/// What is given instead of a reference is not repeated: it may be the secret itself.
fn reference(text: &str, field: &str, place: &Place, faults: &mut Faults) {
    if let Err(error) = text.parse::<SecretRef>() {
        faults.add(place, format!("{field}: {error}"));
    }
}

#[cfg(test)]
pub(super) fn from_text(text: &str) -> anyhow::Result<Mesh> {
    let mut mesh = Mesh {
        endpoints: Vec::new(),
        targets: Vec::new(),
        flows: Vec::new(),
    };
    add(&mut mesh, "mesh.yaml", text)?;
    let mut faults = Faults::default();
    mesh.check(&mut faults);
    faults.result()?;
    Ok(mesh)
}

#[cfg(test)]
#[path = "document/tests.rs"]
mod tests;
