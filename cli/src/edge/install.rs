//! `zen edge install`: the files of `deploy/edge-lite`, with the given paths in them. A file that
//! somebody changed is not written over: its last line says what it was when it was written.

use std::fmt::Write as _;
use std::path::Path;

use zen_chassis::files;

use crate::args::EdgeInstall;
use crate::output;

const UNIT: &str = include_str!("../../../deploy/edge-lite/zen-edge.service");
const COMPOSE: &str = include_str!("../../../deploy/edge-lite/compose.yaml");
/// The beginning of the last line; a digest of all before it follows.
const MARK: &str = "# written by `zen edge install`, unchanged as long as it is ";
/// Largest file that is looked at.
const FILE: usize = 1024 * 1024;

pub(crate) fn run(options: &EdgeInstall) -> anyhow::Result<()> {
    let (name, text) = if options.compose {
        ("compose.yaml", compose(options)?)
    } else {
        ("zen-edge.service", unit(options)?)
    };
    let Some(folder) = &options.to else {
        output::text(&text);
        return Ok(());
    };
    let path = folder.join(name);
    let marked = marked(&text);
    let before = files::read_if_there(&path, FILE)?;
    if let Some(before) = &before {
        if before == marked.as_bytes() {
            output::say(&format!("{} is as it should be", path.display()));
            return Ok(());
        }
        anyhow::ensure!(
            options.force || is_ours(before),
            "{} was changed since it was written; look at it, and use --force to write over it",
            path.display()
        );
    }
    files::write_durable(&path, marked.as_bytes(), 0o644)?;
    output::say(&next(options, &path, before.is_some()));
    Ok(())
}

fn unit(options: &EdgeInstall) -> anyhow::Result<String> {
    let mut text = UNIT.to_owned();
    replace(&mut text, "/etc/zen-edge/enrollment", &options.enrollment)?;
    replace(&mut text, "/usr/local/bin/zen", &options.binary)?;
    replace(&mut text, "127.0.0.1:8083", &options.ingest.to_string())?;
    let mut admin = options.admin.to_string();
    if let Some(proxy) = &options.proxy {
        admin.push_str(&format!(" \\\n    --proxy {}", plain(&proxy.to_string())?));
    }
    swap(&mut text, "127.0.0.1:9601", &admin)?;
    Ok(text)
}

fn compose(options: &EdgeInstall) -> anyhow::Result<String> {
    let mut text = COMPOSE.to_owned();
    replace(&mut text, "/etc/zen-edge/enrollment", &options.enrollment)?;
    replace(&mut text, "zen-mesh/zen:0.1.0", &options.image)?;
    replace(&mut text, "127.0.0.1:8083", &options.ingest.to_string())?;
    if let Some(proxy) = &options.proxy {
        let last = "--admin=127.0.0.1:9601\n";
        let more = format!("{last}      - --proxy={}\n", plain(&proxy.to_string())?);
        swap(&mut text, last, &more)?;
    }
    replace(&mut text, "127.0.0.1:9601", &options.admin.to_string())?;
    Ok(text)
}

fn replace(text: &mut String, default: &str, given: &str) -> anyhow::Result<()> {
    let given = plain(given)?.to_owned();
    swap(text, default, &given)
}

fn swap(text: &mut String, default: &str, given: &str) -> anyhow::Result<()> {
    anyhow::ensure!(text.contains(default), "the file lacks {default}");
    *text = text.replace(default, given);
    Ok(())
}

/// What means nothing else to systemd or YAML.
fn plain(text: &str) -> anyhow::Result<&str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._:@[]-".contains(c);
    anyhow::ensure!(
        !text.is_empty() && text.chars().all(is_plain),
        "{text:?}: only letters, digits and / . _ : @ - [ ] may stand here"
    );
    Ok(text)
}

fn digest(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    hex::encode(digest.as_ref())
}

fn marked(text: &str) -> String {
    format!("{text}{MARK}{}\n", digest(text))
}

/// Whether nobody changed it since it was written.
fn is_ours(content: &[u8]) -> bool {
    let Ok(content) = std::str::from_utf8(content) else {
        return false;
    };
    content
        .rsplit_once(MARK)
        .is_some_and(|(text, said)| said.trim_end() == digest(text))
}

fn next(options: &EdgeInstall, path: &Path, again: bool) -> String {
    let mut text = format!("wrote {}\n", path.display());
    let enrollment = &options.enrollment;
    // Writing to a string does not fail.
    let _written = if options.compose {
        write!(
            text,
            "next:  chown 65532 {enrollment}/bundle.age {enrollment}/identity.txt\n\
             \x20      docker compose -f {} up -d",
            path.display()
        )
    } else {
        let verb = if again { "restart" } else { "enable --now" };
        write!(
            text,
            "next:  put bundle.age and identity.txt into {enrollment} (mode 0600)\n\
             \x20      systemctl daemon-reload && systemctl {verb} zen-edge"
        )
    };
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command, Edge};

    fn options(words: &[&str]) -> EdgeInstall {
        let all = ["zen", "edge", "install"].iter().chain(words);
        match Cli::try_parse_from(all).unwrap().command {
            Command::Edge(Edge::Install(options)) => options,
            _ => panic!("another command"),
        }
    }

    #[test]
    fn without_options_the_files_are_those_of_the_repository() {
        assert_eq!(unit(&options(&[])).unwrap(), UNIT);
        assert_eq!(compose(&options(&["--compose"])).unwrap(), COMPOSE);
    }

    #[test]
    fn what_is_given_stands_in_the_files_and_nothing_else_can() {
        let given = options(&[
            "--enrollment=/srv/e",
            "--binary=/opt/zen",
            "--image=registry.example/zen@sha256:ab",
            "--ingest=0.0.0.0:80",
            "--admin=127.0.0.1:99",
            "--proxy=http://proxy:3128",
        ]);
        let text = unit(&given).unwrap();
        for part in [
            "LoadCredential=enrollment:/srv/e\n",
            "ExecStart=/opt/zen edge run",
            "--ingest 0.0.0.0:80 \\\n",
            "--admin 127.0.0.1:99 \\\n    --proxy http://proxy:3128\n",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let text = compose(&given).unwrap();
        for part in [
            "file: /srv/e/bundle.age\n",
            "image: registry.example/zen@sha256:ab\n",
            "- 0.0.0.0:80:8080\n",
            "- --admin=127.0.0.1:99\n      - --proxy=http://proxy:3128\n",
            "\"--admin=127.0.0.1:99\"]",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        for wrong in ["/a b", "/a\nb", "/a%n", "$HOME", "a\"b", ""] {
            let option = format!("--enrollment={wrong}");
            assert!(unit(&options(&[&option])).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_file_that_somebody_changed_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let to = format!("--to={}", folder.path().display());
        let path = folder.path().join("zen-edge.service");
        run(&options(&[&to])).unwrap();
        run(&options(&[&to])).unwrap();
        // Other options, or another version: the file is still nobody's.
        run(&options(&[&to, "--ingest=0.0.0.0:80"])).unwrap();
        let mut text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("0.0.0.0:80"));
        text.insert_str(0, "# mine\n");
        std::fs::write(&path, &text).unwrap();
        assert!(run(&options(&[&to])).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        run(&options(&[&to, "--force"])).unwrap();
        assert_ne!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
