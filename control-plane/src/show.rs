//! `zen-control-plane show sign-in-link|api-key`: prints what the first start wrote beside the
//! database. An image without a shell has no other way to hand it over.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use zen_chassis::chain::Chain;
use zen_chassis::config::{self, Sources};
use zen_chassis::files;
use zen_chassis::run::{EXIT_CONFIG, EXIT_USAGE};

use crate::config::Config;

/// Largest file that is read.
const FILE: usize = 4 * 1024;
const USAGE: &str = "zen-control-plane show sign-in-link|api-key [--config FILE]";

/// What is asked for, and where the settings are.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    file: &'static str,
    sources: Option<PathBuf>,
}

/// Runs the command with the words after `show`.
#[must_use]
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command speaks to the terminal"
)]
pub fn show(words: impl Iterator<Item = String>) -> ExitCode {
    let asked = match asked(words) {
        Ok(asked) => asked,
        Err(error) => {
            eprintln!("{error:#}\nUsage: {USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let sources = Sources {
        file: asked.sources,
        set: Vec::new(),
    };
    let config = match config::load::<Config>("control-plane", &sources) {
        Ok((_, config)) => config,
        Err(error) => {
            eprintln!("zen-control-plane: {}", Chain(&error));
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    match read(&config, asked.file) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("zen-control-plane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn asked(mut words: impl Iterator<Item = String>) -> anyhow::Result<Asked> {
    let file = match words.next().as_deref() {
        Some("sign-in-link") => "sign-in-link",
        Some("api-key") => "api-key",
        Some(other) => bail!("{other:?} cannot be shown"),
        None => bail!("show what?"),
    };
    let sources = match words.next().as_deref() {
        Some("--config") => Some(words.next().context("--config names no file")?.into()),
        Some(other) => bail!("{other:?} is not understood"),
        None => None,
    };
    ensure!(words.next().is_none(), "too many words");
    Ok(Asked { file, sources })
}

fn read(config: &Config, file: &str) -> anyhow::Result<String> {
    let path = config.state_dir.join(file);
    let content = files::read_if_there(&path, FILE)?.with_context(|| {
        format!(
            "there is no {}: the first owner has signed in already, or another replica made the \
             first start",
            path.display()
        )
    })?;
    let text = String::from_utf8(content).with_context(|| path.display().to_string())?;
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> impl Iterator<Item = String> {
        text.split_whitespace().map(str::to_owned)
    }

    #[test]
    fn only_what_the_first_start_wrote_is_shown() {
        let asked_for = |text: &str| asked(words(text));
        assert_eq!(
            asked_for("api-key --config /etc/zen/config.yaml").unwrap(),
            Asked {
                file: "api-key",
                sources: Some("/etc/zen/config.yaml".into())
            }
        );
        for wrong in [
            "",
            "root.agekey",
            "../x",
            "api-key --config",
            "api-key extra",
        ] {
            assert!(asked_for(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_link_of_the_first_start_is_shown_until_it_was_used() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            state_dir: folder.path().to_owned(),
            ..Config::default()
        };
        let gone = read(&config, "sign-in-link").unwrap_err();
        assert!(gone.to_string().contains("has signed in already"));
        std::fs::write(folder.path().join("sign-in-link"), "https://x/y\n").unwrap();
        assert_eq!(read(&config, "sign-in-link").unwrap(), "https://x/y");
    }
}
