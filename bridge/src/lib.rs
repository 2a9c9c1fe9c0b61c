//! Relays deliveries from the data plane to egresses that dialled out.
//!
//! The way of a parcel: an ingester publishes it (`publish`), it is checked (`parcel`) against the
//! planes this bridge serves (`served`), appended to the destination's lane (`lane`) and only then
//! acknowledged. The lane's keeper (`lane::keeper`) reads it back, decides by its book
//! (`lane::book`) which attached egress gets it, hands it to that attachment (`attach`), and settles
//! it when the egress says that it is in its ledger. The bridge reads route, size and expiry,
//! never the content.

mod app;
mod attach;
mod config;
mod lane;
mod lanes;
mod metrics;
mod parcel;
mod publish;
mod served;
mod service;

pub use app::Bridge;
pub use config::{Config, LaneSettings};
