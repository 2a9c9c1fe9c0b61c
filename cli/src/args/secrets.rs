//! What `zen secret` can be told.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Secret {
    /// List sealed secrets: whether they open, and what they are sealed for.
    List {
        /// Only those of this plane, by name or id.
        #[arg(long)]
        plane: Option<String>,
    },
    /// Show one secret: its keys, who names it, whether it opens.
    Show {
        /// Name or id.
        secret: String,
        /// The plane, where several have one of this name.
        #[arg(long)]
        plane: Option<String>,
        /// Print the sealed text instead, as it was stored.
        #[arg(long)]
        sealed: bool,
    },
    /// Store what `zen seal` wrote; where there is one of this name, in its place.
    Put {
        /// Its name, as it was sealed: what stands after `lock:`.
        name: String,
        /// The plane it is sealed for, by name or id.
        #[arg(long)]
        plane: String,
        /// A key that it is sealed for (age1…); repeated for each.
        #[arg(long = "recipient", value_name = "AGE1…", required = true)]
        recipients: Vec<String>,
        /// For people; nothing secret.
        #[arg(long)]
        note: Option<String>,
        /// File with the sealed text; standard input if none is named.
        file: Option<PathBuf>,
    },
    /// Remove a secret with its sealed text.
    Delete {
        /// Name or id.
        secret: String,
        /// The plane, where several have one of this name.
        #[arg(long)]
        plane: Option<String>,
        /// Also if endpoints or targets name it.
        #[arg(long)]
        force: bool,
    },
}
