//! zen-lock: opens secrets that were sealed for its keys, for those whom the secrets allow.
//!
//! A secret comes as age ciphertext from the agent's slice, a folder or a ZenLock resource; it is
//! opened in memory when somebody asks, checked against the place it was found in, and handed to
//! who may have it. Nothing opened is ever stored.

mod app;
mod audit;
pub mod cli;
mod config;
mod core;
mod desk;
mod keyring;
#[cfg(feature = "kubernetes")]
mod kubernetes;
#[cfg_attr(
    not(feature = "kubernetes"),
    expect(dead_code, reason = "a part of it is for pods alone")
)]
mod metrics;
#[cfg_attr(
    not(feature = "kubernetes"),
    expect(dead_code, reason = "a part of it is for pods alone")
)]
mod opener;
mod refusal;
mod reseal;
mod sources;
mod status;

pub use app::Lock;
pub use audit::{AuditError, End, check as check_audit};
pub use config::{AuditSettings, Config};
#[cfg(feature = "kubernetes")]
pub use kubernetes::{KubernetesConfig, Right, rights};
