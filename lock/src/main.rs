//! Entry point of zen-lock.

fn main() {}
