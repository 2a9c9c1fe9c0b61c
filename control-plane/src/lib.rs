//! REST API, bundles, certificate authority, sessions, desired configuration.
//!
//! Agents come in through `enrollment` (once) and `session` (always), people through `rest`.
//! What people change lies in `store`; `publisher` turns it, by the pure rules of `desired`,
//! into each plane's snapshot and wakes the plane's session. `manage` is what a caller can do,
//! `enrollment::judge` who may enrol. Several control planes on one database meet in `replicas`.

mod app;
mod authority;
mod charts;
mod config;
mod control;
mod dashboard;
mod desired;
mod digest;
mod endpoint;
mod enrollment;
mod fields;
mod flow;
mod housekeeping;
mod install;
mod limiter;
mod live;
mod lock;
mod manage;
mod metrics;
mod people;
mod permissions;
mod plane;
mod precondition;
mod principal;
mod problem;
mod publisher;
mod replicas;
mod rest;
mod roots;
mod secret;
mod session;
mod setup;
mod show;
mod store;
mod target;

pub use app::ControlPlane;
pub use config::{
    AgentsSettings, Config, DatabaseSettings, DatabaseTls, HttpSettings, InstallSettings,
    OidcSettings, PostgresSettings,
};
pub use show::show;
