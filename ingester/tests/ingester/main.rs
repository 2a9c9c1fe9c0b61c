//! The ingester over real sockets and files, with an agent, an egress and a bridge beside it that behave.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod agent;
mod bridge;
mod dispatch;
mod egress;
mod harness;
mod intake;
mod repeats;
mod room;
mod secrets;
mod signed;
mod tcp;
mod tls;
mod trials;
