//! The control plane as people and agents meet it: over real sockets, with real files and real TLS.
#![expect(
    clippy::unwrap_used,
    reason = "what helpers of tests come upon fails the test"
)]

#[path = "control_plane/api.rs"]
mod api;
#[path = "control_plane/common.rs"]
mod common;
#[path = "control_plane/enrolment.rs"]
mod enrolment;
#[path = "control_plane/session.rs"]
mod session;
