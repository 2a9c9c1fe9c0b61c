//! What `zen apply` and `zen export` can be told.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
pub(crate) struct Apply {
    /// A mesh file, `-` for standard input; may be repeated. A file may hold several documents.
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Remove whatever lives in this plane (name or id) and is in none of the files; may be
    /// repeated. Without it nothing is removed.
    #[arg(long, value_name = "PLANE")]
    pub(crate) prune: Vec<String>,
    /// Do not ask.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Show what would be done, and do nothing.
    #[arg(long, conflicts_with = "yes")]
    pub(crate) plan_only: bool,
    /// With --plan-only: exit code 2 if there is something to do.
    #[arg(long, requires = "plan_only")]
    pub(crate) exit_code: bool,
}

#[derive(Args)]
pub(crate) struct Export {
    /// Only what lives in this plane (name or id), and flows that begin there; may be repeated.
    #[arg(long = "plane", value_name = "PLANE")]
    pub(crate) planes: Vec<String>,
}
