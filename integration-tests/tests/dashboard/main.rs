//! The dashboard as people meet it: a real browser, a real control plane, real agents.
#![cfg(test)]

mod journey;
mod keyboard;
mod looks;
mod paste;
mod refusals;
mod secrets;
mod set;
mod sign_in;
mod up;
mod visit;
mod without_scripts;
