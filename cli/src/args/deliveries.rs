//! `zen delivery …` and `zen dead-letter …`: what can be said.

use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(crate) enum Deliveries {
    /// List them, newest first.
    List(DeliveryList),
    /// Show one with its attempts.
    Show {
        /// Its id.
        delivery: String,
        /// The plane to ask, by name or id.
        #[arg(long)]
        plane: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum DeadLetters {
    /// List them, newest first.
    List(DeliveryList),
    /// Let dead letters wait for delivery again: those named, or with --all those that the filter
    /// selects.
    Replay(Replay),
}

#[derive(Args)]
pub(crate) struct DeliveryList {
    /// The plane to ask, by name or id.
    #[arg(long)]
    pub(crate) plane: String,
    /// Only those of this flow (id).
    #[arg(long)]
    pub(crate) flow: Option<String>,
    /// Only those of this target (id).
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// Only those in this state: pending, delivered, dead_letter.
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// How many at the most.
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: u32,
}

#[derive(Args)]
pub(crate) struct Replay {
    /// These dead letters (ids).
    #[arg(required_unless_present = "all")]
    pub(crate) deliveries: Vec<String>,
    /// The plane that has them, by name or id.
    #[arg(long)]
    pub(crate) plane: String,
    /// All that the other options select.
    #[arg(long, conflicts_with = "deliveries")]
    pub(crate) all: bool,
    /// Only those of this flow (id).
    #[arg(long, requires = "all")]
    pub(crate) flow: Option<String>,
    /// Only those of this target (id).
    #[arg(long, requires = "all")]
    pub(crate) target: Option<String>,
    /// Only those that died of this code.
    #[arg(long, requires = "all")]
    pub(crate) code: Option<String>,
    /// Only those that died at this time or later (RFC 3339).
    #[arg(long, value_name = "TIME", requires = "all")]
    pub(crate) since: Option<String>,
    /// Only those that died before this time (RFC 3339).
    #[arg(long, value_name = "TIME", requires = "all")]
    pub(crate) until: Option<String>,
    /// Only count.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Deliveries a second (1 to 1,000).
    #[arg(long, value_name = "PER SECOND", default_value_t = 50)]
    pub(crate) rate: u32,
}
