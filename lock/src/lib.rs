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
mod kubernetes;
mod metrics;
mod opener;
mod refusal;
mod reseal;
mod sources;
mod status;

pub use app::Lock;
pub use audit::{AuditError, End, check as check_audit};
pub use config::{AuditSettings, Config};
pub use kubernetes::{KubernetesConfig, Right, rights};
