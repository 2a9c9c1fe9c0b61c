//! What a person pastes or commits to enrol a plane, in three forms: a command for a cluster, a command
//! for a machine without one (Edge Lite), manifests for a GitOps repository. Nothing secret stands in
//! an argument: bundle and identity come in quoted here-documents. Where somebody else holds the identity,
//! none is handed out: zen-lock opens an edge plane's bundle, in a cluster.

mod address;
mod choice;
mod edge_lite;
mod kubernetes;
mod lock;
mod manifests;
mod shell;
mod values;
mod yaml;

#[cfg(test)]
mod tests;

use zen_proto::ids::{PlaneId, TenantId};
use zen_seal::Recipient;

use crate::plane::PlaneKind;

pub(crate) use address::repository;
pub(crate) use choice::{Choice, Form, Part};

/// The release that the command installs, in any namespace.
const RELEASE: &str = "zen-mesh";

/// What is known of the plane and of this control plane. Holds secrets: no `Debug`.
pub(crate) struct Install<'a> {
    pub(crate) plane: PlaneId,
    pub(crate) kind: PlaneKind,
    pub(crate) tenant: TenantId,
    /// Armored age.
    pub(crate) bundle: &'a str,
    /// Whom it is sealed for.
    pub(crate) recipient: &'a Recipient,
    /// The identity that opens it; none if somebody else holds it.
    pub(crate) identity: Option<&'a str>,
    /// RFC 3339.
    pub(crate) expires_at: &'a str,
    pub(crate) trust_domain: &'a str,
    pub(crate) roots_pem: &'a str,
    /// `host:port` that agents dial; several, with commas between them.
    pub(crate) control_plane: &'a str,
    /// URL of the Helm repository.
    pub(crate) repository: &'a str,
    /// A mirror of the images.
    pub(crate) image_registry: Option<&'a str>,
}

/// What is handed out. Holds secrets: no `Debug`.
pub(crate) struct Handed {
    /// To paste into a shell; in the GitOps form it brings the identity, and nothing else, or looks
    /// whether it is there.
    pub(crate) command: String,
    /// To commit, in the GitOps form.
    pub(crate) gitops: Option<GitOps>,
}

/// What a GitOps repository gets: nothing in it opens the bundle.
pub(crate) struct GitOps {
    pub(crate) manifests: String,
    pub(crate) values: String,
}

impl Install<'_> {
    /// The plane's installation as it was chosen.
    pub(crate) fn hand_out(&self, choice: &Choice) -> Handed {
        match choice.form {
            Form::Kubernetes => Handed {
                command: kubernetes::command(self, choice),
                gitops: None,
            },
            Form::EdgeLite => Handed {
                command: edge_lite::command(self),
                gitops: None,
            },
            Form::GitOps => Handed {
                command: kubernetes::identity_command(self, choice),
                gitops: Some(GitOps {
                    manifests: manifests::committed(self, choice),
                    values: values::file(self, choice),
                }),
            },
        }
    }

    /// Whether the plane's zen-lock opens the bundle: its key is somebody else's. Data planes have no
    /// zen-lock.
    const fn lock_opens(&self) -> bool {
        self.identity.is_none() && matches!(self.kind, PlaneKind::Edge)
    }

    /// Whether zen-lock is installed.
    fn has_lock(&self, choice: &Choice) -> bool {
        self.lock_opens() || choice.parts.contains(&Part::Lock)
    }

    /// The chart of such a plane.
    const fn chart(&self) -> &'static str {
        match self.kind {
            PlaneKind::Edge => "zen-edge-plane",
            PlaneKind::Data => "zen-data-plane",
        }
    }
}
