//! What every binary of Zen Mesh stands on. A component is an [`App`]: it binds with its own
//! configuration and a [`Stage`], and runs until the stage asks it to stop.
//! [`main`] is the frame around one component in its own process; `zen` hands out several stages
//! in one process. Nothing here is a process global but the log subscriber.

pub mod admin;
pub mod backoff;
pub mod chain;
pub mod clock;
pub mod config;
pub mod files;
pub mod metrics;
pub mod neighbour;
pub mod net;
pub mod random;
pub mod ready;
pub mod run;
pub mod secret;
pub mod stage;
pub mod tasks;
pub mod telemetry;
pub mod trace_context;

pub use clock::Clock;
pub use random::Random;
pub use run::{App, main};
pub use stage::Stage;
pub use tokio_util::sync::CancellationToken;
