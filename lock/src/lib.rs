//! zen-lock: opens secrets that were sealed for its keys, for those whom the secrets allow.
//!
//! A secret comes as age ciphertext from the agent's slice, a folder or a ZenLock resource; it is
//! opened in memory when somebody asks, checked against the place it was found in, and handed to
//! who may have it. Nothing opened is ever stored.

mod audit;
pub mod cli;
mod keyring;
mod opener;
