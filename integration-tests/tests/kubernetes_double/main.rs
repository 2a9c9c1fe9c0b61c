//! The API server of the tests is itself tested: by the client library that the agent uses, and by
//! the real kubectl and helm.
#![cfg(test)]

mod applied;
mod faults;
mod objects;
mod rights;
mod stage;
mod tools;
mod watches;
