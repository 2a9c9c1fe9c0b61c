//! `zen-lock encrypt`: seals a secret, as an age file or as the manifest of a ZenLock.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use zen_chassis::{Clock, Random, files};
use zen_proto::ids::PlaneId;
use zen_seal::Realm;

use super::content::Content;
use super::manifest::manifest;
use super::terminal::{print, say};

/// Seal a secret, so that only the zen-lock of one plane or cluster can open it, in one place.
///
/// Values are read from files, standard input or a hidden question, never from arguments.
#[derive(Args)]
pub(super) struct Encrypt {
    /// The plane that may open it.
    #[arg(
        long,
        value_name = "pl_…",
        required_unless_present = "cluster",
        conflicts_with = "cluster"
    )]
    plane: Option<PlaneId>,
    /// The cluster that may open it, by the name its zen-lock was given (setting `cluster`).
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    #[command(flatten)]
    content: Content,
    /// Write the manifest of a ZenLock in place of the bare age file.
    #[arg(long, requires = "namespace")]
    manifest: bool,
    /// File to write to; default standard output.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(asked: Encrypt) -> anyhow::Result<ExitCode> {
    let realm = match (asked.plane, asked.cluster) {
        (Some(plane), _) => Realm::Plane(plane),
        (None, Some(name)) => Realm::Cluster(name),
        (None, None) => anyhow::bail!("give --plane or --cluster"),
    };
    if asked.content.is_for_nobody() {
        say("nobody may use this secret: no --service-account and no --purpose is given");
    }
    let sealed = asked
        .content
        .seal(realm, &[], &Clock::system(), &Random::system())?;
    let text = if asked.manifest {
        manifest(&sealed.scope, &sealed.text)
    } else {
        sealed.text
    };
    match &asked.out {
        Some(path) => {
            files::write_durable(path, text.as_bytes(), 0o644)?;
            say(&format!("{} sealed into {}", sealed.scope, path.display()));
        }
        None => print(text.as_bytes()).context("the sealed secret cannot be printed")?,
    }
    Ok(ExitCode::SUCCESS)
}
