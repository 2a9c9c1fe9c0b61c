//! The bridge over real sockets: mutual TLS on TCP for ingesters and egresses, a Unix socket for
//! the agent, files for the lanes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail the test"
)]

mod admission;
mod agent;
mod delivery;
mod keeping;
mod peers;
mod world;
