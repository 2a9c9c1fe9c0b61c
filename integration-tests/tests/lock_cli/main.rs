//! `zen-lock` and `zen seal` at a terminal: beside Debian's `age`, as the documentation says, and
//! what they refuse.

#![cfg(test)]

mod age;
mod documented;
mod refused;
mod stage;
