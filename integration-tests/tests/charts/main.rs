//! The Helm charts, judged by the real helm and kubectl, the schemas of Kubernetes, checkov,
//! promtool, and the binaries that read what the charts write.
#![cfg(test)]

mod accounts;
mod checkov;
mod configuration;
mod golden;
mod monitoring;
mod network;
mod notes;
mod objects;
mod package;
mod pods;
mod refusals;
mod rights;
mod stage;
mod values;
