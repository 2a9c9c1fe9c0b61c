//! Where configuration comes from: defaults < `--config` file < `ZEN_<COMPONENT>__…` environment
//! < `--set` flags. Unknown keys are refused. The only reader of the environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::providers::{Data, Env, Format, Serialized};
use figment::value::{Dict, Map};
use figment::{Figment, Metadata, Profile, Provider};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::admin::AdminSettings;
use crate::telemetry::{LogSettings, OtlpSettings};

/// What every process can be told, whichever component it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FrameSettings {
    /// Logging.
    pub log: LogSettings,
    /// Traces.
    pub otlp: OtlpSettings,
    /// The admin listener.
    pub admin: AdminSettings,
    /// Time to finish work under way after SIGTERM; default 30 s.
    #[serde(with = "humantime_serde")]
    pub shutdown_grace: Duration,
}

impl Default for FrameSettings {
    fn default() -> Self {
        Self {
            log: LogSettings::default(),
            otlp: OtlpSettings::default(),
            admin: AdminSettings::default(),
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

const FRAME_KEYS: [&str; 4] = ["log", "otlp", "admin", "shutdown_grace"];

/// What the command line says about configuration.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config FILE`: YAML; it must exist.
    pub file: Option<PathBuf>,
    /// `--set key=value`, later ones win; keys are dotted, values YAML.
    pub set: Vec<String>,
}

/// Configuration that cannot be used. Exit code 78.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key or value is wrong; the text names key and source.
    #[error("configuration: {0}")]
    Value(Box<figment::Error>),
    /// A `--set` that is not `key=value`.
    #[error("--set {0:?} is not key=value")]
    Set(String),
    /// It cannot be printed.
    #[error("configuration cannot be written as YAML: {0}")]
    Dump(String),
}

impl From<figment::Error> for ConfigError {
    fn from(error: figment::Error) -> Self {
        Self::Value(Box::new(error))
    }
}

/// Loads what the frame needs and what the component needs.
///
/// # Errors
/// Names the key and the source that is wrong.
pub fn load<C>(component: &str, sources: &Sources) -> Result<(FrameSettings, C), ConfigError>
where
    C: Serialize + DeserializeOwned + Default,
{
    let all = given(component, sources)?;
    let frame = Figment::from(Serialized::defaults(FrameSettings::default()))
        .merge(Part {
            of: &all,
            frame: true,
        })
        .extract()?;
    let own = Figment::from(Serialized::defaults(C::default()))
        .merge(Part {
            of: &all,
            frame: false,
        })
        .extract()?;
    Ok((frame, own))
}

/// Prints configuration as YAML. It names secrets by file and holds none.
///
/// # Errors
/// When a value has no YAML form.
pub fn dump<C: Serialize>(frame: &FrameSettings, own: &C) -> Result<String, ConfigError> {
    let mut text = String::new();
    for part in [serde_saphyr::to_string(frame), serde_saphyr::to_string(own)] {
        text.push_str(&part.map_err(|e| ConfigError::Dump(e.to_string()))?);
        text.push('\n');
    }
    Ok(text)
}

fn given(component: &str, sources: &Sources) -> Result<Figment, ConfigError> {
    let mut all = Figment::new();
    if let Some(path) = &sources.file {
        all = all.merge(Data::<Yaml>::file_exact(path));
    }
    let prefix = format!("ZEN_{}__", component.to_uppercase().replace('-', "_"));
    all = all.merge(Env::prefixed(&prefix).split("__"));
    for assignment in &sources.set {
        let (key, value) = assignment
            .split_once('=')
            .ok_or_else(|| ConfigError::Set(assignment.clone()))?;
        let value: figment::value::Value = serde_saphyr::from_str(value)
            .unwrap_or_else(|_| figment::value::Value::from(value.to_owned()));
        all = all.merge(Flag(key.trim().to_owned(), value));
    }
    Ok(all)
}

/// YAML for figment.
struct Yaml;

impl Format for Yaml {
    type Error = serde_saphyr::Error;
    const NAME: &'static str = "YAML";

    fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Self::Error> {
        serde_saphyr::from_str(text)
    }
}

/// One `--set`.
struct Flag(String, figment::value::Value);

impl Provider for Flag {
    fn metadata(&self) -> Metadata {
        Metadata::named(format!("--set {}", self.0))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let nested = figment::util::nest(&self.0, self.1.clone());
        Ok(Profile::Default.collect(nested.into_dict().unwrap_or_default()))
    }
}

/// The frame's keys of what was given, or all the others.
struct Part<'a> {
    of: &'a Figment,
    frame: bool,
}

impl Provider for Part<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named("configuration")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut data = self.of.data()?;
        for dict in data.values_mut() {
            dict.retain(|key, _| FRAME_KEYS.contains(&key.as_str()) == self.frame);
        }
        Ok(data)
    }
}

/// The first of these environment variables that says something. They are no settings of ours:
/// only for telling people what other programs go by.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "this module is the reader of the environment"
)]
pub fn first_set<'a>(variables: &[&'a str]) -> Option<(&'a str, String)> {
    variables.iter().find_map(|variable| {
        let value = std::env::var(variable).ok()?;
        (!value.is_empty()).then_some((*variable, value))
    })
}

/// A state directory default: `/var/lib/zen/<component>`.
#[must_use]
pub fn default_state_dir(component: &str) -> PathBuf {
    Path::new("/var/lib/zen").join(component)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize, Default)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        size: u64,
        name: String,
    }

    fn with_file(text: &str, set: &[&str]) -> Result<(FrameSettings, Sample), ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.yaml");
        std::fs::write(&file, text).unwrap();
        let set = set.iter().map(ToString::to_string).collect();
        load(
            "sample",
            &Sources {
                file: Some(file),
                set,
            },
        )
    }

    #[test]
    fn a_flag_beats_the_file_and_the_frame_takes_its_own_keys() {
        let (frame, own) = with_file(
            "size: 3\nname: a\nlog:\n  level: debug\n",
            &["size=4", "admin.listen=127.0.0.1:0", "name=b c"],
        )
        .unwrap();
        assert_eq!(
            own,
            Sample {
                size: 4,
                name: "b c".to_owned()
            }
        );
        assert_eq!(frame.log.level, "debug");
        assert_eq!(frame.admin.listen.unwrap().to_string(), "127.0.0.1:0");
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let error = with_file("sise: 3\n", &[]).unwrap_err().to_string();
        assert!(error.contains("sise"), "{error}");
        let error = with_file("log:\n  lvl: x\n", &[]).unwrap_err().to_string();
        assert!(error.contains("lvl"), "{error}");
    }

    #[test]
    fn a_named_file_must_exist() {
        let sources = Sources {
            file: Some("/nonexistent/zen.yaml".into()),
            set: vec![],
        };
        assert!(load::<Sample>("sample", &sources).is_err());
    }
}
