//! The control plane as people and agents meet it: over real sockets, with real files and real TLS;
//! every test on SQLite and on PostgreSQL.
#![expect(
    clippy::unwrap_used,
    reason = "what helpers of tests come upon fails the test"
)]
#![expect(clippy::duplicate_mod, reason = "every test runs on both engines")]

/// What keeps the control plane's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Sqlite,
    Postgres,
}

#[path = "../../integration-tests/src/postgres.rs"]
#[expect(unreachable_pub, reason = "shared with the tests of the whole product")]
mod postgres_server;

#[path = "control_plane"]
mod sqlite {
    pub(crate) const ENGINE: crate::Engine = crate::Engine::Sqlite;

    mod api;
    mod audit;
    mod browser;
    mod common;
    mod dashboard;
    mod enrolment;
    mod lists;
    mod lost;
    mod oidc;
    mod pages;
    mod people;
    mod permissions;
    mod rest;
    mod secret_pages;
    mod secrets;
    mod session;
    mod trials;
}

#[path = "control_plane"]
mod postgres {
    pub(crate) const ENGINE: crate::Engine = crate::Engine::Postgres;

    mod api;
    mod audit;
    mod browser;
    mod common;
    mod dashboard;
    mod enrolment;
    mod lists;
    mod lost;
    mod oidc;
    mod pages;
    mod people;
    mod permissions;
    mod replicas;
    mod rest;
    mod secret_pages;
    mod secrets;
    mod secured;
    mod session;
    mod trials;
}
