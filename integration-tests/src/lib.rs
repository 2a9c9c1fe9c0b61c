//! The whole product over real sockets: built binaries in their own processes, killed and
//! restarted at will, with a private service at the far end. Shared by tests and benchmarks.

pub mod api;
pub mod browser;
pub mod cluster;
pub mod collector;
pub mod engine;
pub mod eventually;
pub mod fake_agent;
pub mod kubelet;
pub mod kubernetes;
pub mod locks;
pub mod ports;
pub mod postgres;
pub mod service;
pub mod sign;
pub mod source;
pub mod tools;
pub mod unit;
pub mod verbs;
pub mod wire;
pub mod world;
