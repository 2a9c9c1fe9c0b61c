//! What can be said of roots.

use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Root {
    /// List the roots that are trusted, with the planes that each one's next step waits for.
    List,
    /// Begin a rotation: a new root is announced to every plane, and signs nothing yet.
    Rotate {
        /// Wait until every plane has acknowledged it, then let it sign.
        #[arg(long)]
        wait: bool,
    },
    /// Let an announced root sign, once every plane has acknowledged it.
    Sign {
        /// Its id (SHA-256 of its certificate), or the beginning of it.
        root: String,
        /// Do not wait for this plane, which is not connected: it will have to enrol anew. May be
        /// given several times.
        #[arg(long, value_name = "PLANE_ID")]
        without: Vec<String>,
    },
    /// Remove a root from what is trusted, once no certificate of a plane leads to it.
    Retire {
        /// Its id (SHA-256 of its certificate), or the beginning of it.
        root: String,
        /// Do not wait for this plane, which is not connected: it will have to enrol anew. May be
        /// given several times.
        #[arg(long, value_name = "PLANE_ID")]
        without: Vec<String>,
    },
}
