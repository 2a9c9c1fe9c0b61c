//! Takes webhooks in: route, verify, dedupe, write durably, answer; then hands deliveries on.
//!
//! One webhook is followed down `intake`: it arrives, is routed to its endpoint, its signature is
//! verified on the raw bytes, a repeat is recognised, and the event is in the journal, synced, before
//! the answer says so. From there `dispatch` follows the journal on two roads, to the egress of
//! this plane and to a bridge, and moves each road's cursor only past what the other side has
//! made durable. What both work by comes from the agent's slice: see `configure`.

mod app;
mod config;
mod configure;
mod counters;
mod dedupe;
mod dispatch;
mod intake;
mod metrics;
mod plan;
mod questions;
mod routing;
mod status;
mod store;
mod verify;

pub use app::Ingester;
pub use config::{Config, Durability, JournalSettings, TlsSettings};
