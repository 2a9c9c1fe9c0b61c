//! Takes deliveries from ingesters and bridges, delivers, retries, dead-letters.
//!
//! The way of a delivery: `receive` (an ingester of this plane) or `uplink` (a bridge) → `intake`
//! → `ledger`, durable, and only now acknowledged → `scheduler`, one lane a target → `attempt`,
//! through `dial` and its `guard` → back into the ledger, delivered, due again, or a dead letter.

mod app;
mod attempt;
mod breaker;
mod codes;
mod config;
mod counters;
mod dial;
mod guard;
mod health;
mod intake;
mod ledger;
mod metrics;
mod probe;
mod questions;
mod receive;
mod replay;
mod scheduler;
mod secrets;
mod targets;
mod uplink;

pub use app::Egress;
pub use config::{Config, Pending, Retention};
pub use guard::{Class, Guard, RefusedAddress};
