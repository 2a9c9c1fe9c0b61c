//! `zen seal …`: what can be said.

use std::path::PathBuf;

use clap::Args;

/// Seal a secret for a plane. Values are read from files, standard input or a hidden question, never
/// from arguments.
#[derive(Args)]
pub(crate) struct Seal {
    /// The plane that may open it: its id, or its name if a control plane can be asked.
    #[arg(long, value_name = "PLANE")]
    pub(crate) plane: String,
    #[command(flatten)]
    pub(crate) content: zen_lock::cli::Content,
    /// Seal for the keys that the control plane shows for the plane's zen-lock. Whoever controls the
    /// control plane could show other keys: compare them with `zen-lock pubkey`.
    #[arg(long)]
    pub(crate) recipients_of_plane: bool,
    /// Store it in the control plane, which cannot open it; a new version if the name is taken.
    #[arg(long)]
    pub(crate) put: bool,
    /// File to write to; default standard output, unless it is stored.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}
