//! zen-lock in a cluster, as its chart installs it: the real process with the rights that the chart
//! grants, against an API server that asks its webhooks.
#![cfg(test)]

mod bundle;
mod denied;
mod documented;
mod keys;
mod pods;
mod stage;
mod webhooks;
