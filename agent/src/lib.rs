//! Enrols a plane, holds its session, renews its identity, serves the components next to it.
//!
//! A tour: `machine` says which states a plane goes through, `driver` does what each is for;
//! `enrol` makes an identity of a bundle, `session` speaks to the control plane, `local` to the
//! neighbours; `desk` (in `applied`) is where what is in force lies between them. `store` is where
//! things are kept: in a directory, or, in `kubernetes`, in Secrets of whoever holds the lease.
//! `doctor` looks for what stands in the way of all this.

mod agent;
mod applied;
mod bundle;
mod config;
pub mod doctor;
mod driver;
mod enrol;
mod identity;
#[cfg_attr(
    not(feature = "kubernetes"),
    expect(
        dead_code,
        reason = "settings and words stay, so that a wrong use is told"
    )
)]
pub mod kubernetes;
mod local;
mod machine;
mod metrics;
mod outbox;
mod plane;
mod refusal;
mod session;
mod store;

pub use agent::Agent;
pub use config::{Config, EnrollmentConfig, LockConfig};
pub use local::admission::{ReviewError, TokenReviewer};
pub use machine::State;
pub use plane::PlaneState;
pub use refusal::Refusal;
pub use store::{Content, Directory, Entry, Store, StoreError};
