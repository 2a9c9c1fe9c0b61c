//! The way of an accepted event out of the ingester. Two independent [`road`]s follow the journal, each with a
//! cursor of its own: read a batch → for each event the flows of its endpoint on this road → deliveries
//! ([`load`]) → sent on a long-lived stream, several batches under way → acknowledged ([`window`]) → the cursor
//! moves, only past what the other side has made durable. A stream that breaks is opened again and everything
//! not acknowledged is sent again; ids are derived, so that a repeat is known as one.

mod bridge;
mod carrier;
mod delivery_id;
mod egress;
mod load;
mod parked;
mod road;
mod window;

pub(crate) use bridge::ToBridge;
pub(crate) use egress::ToEgress;
pub(crate) use road::{RoadContext, travel};
