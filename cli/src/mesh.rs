//! A mesh file: endpoints, targets and flows as a person keeps them in Git. Planes are named, ids
//! never appear, secrets stand by reference. `zen apply` makes the control plane agree with it,
//! `zen export` writes it.

pub(crate) mod apply;
mod document;
pub(crate) mod export;
mod plan;
mod present;
mod show;

use std::fmt;

/// The three nouns of a mesh, in the order in which they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Noun {
    Endpoint,
    Target,
    Flow,
}

impl Noun {
    const ALL: [Self; 3] = [Self::Endpoint, Self::Target, Self::Flow];

    /// The word for one of them.
    const fn word(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Target => "target",
            Self::Flow => "flow",
        }
    }

    /// Where the API keeps them.
    const fn path(self) -> &'static str {
        match self {
            Self::Endpoint => "/v1/endpoints",
            Self::Target => "/v1/targets",
            Self::Flow => "/v1/flows",
        }
    }
}

impl fmt::Display for Noun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What tells one thing from another. A flow lives in no one plane: its name is enough.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    noun: Noun,
    /// Id of the plane where an endpoint or target lives.
    plane: Option<String>,
    name: String,
}
