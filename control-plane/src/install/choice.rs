//! What a person chooses of an installation.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::fields::Faults;
use crate::plane::PlaneKind;

/// The namespace unless another is chosen.
const NAMESPACE: &str = "zen-mesh";

/// How the plane is installed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
pub(crate) enum Form {
    /// A command for a shell with kubectl and Helm.
    #[default]
    #[serde(rename = "kubernetes")]
    Kubernetes,
    /// A command for a machine without Kubernetes; edge planes only.
    #[serde(rename = "edge_lite")]
    EdgeLite,
    /// Manifests and values to commit, without the identity that opens the bundle.
    #[serde(rename = "gitops")]
    GitOps,
}

/// A part of an edge plane beside its agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// Takes webhooks in the plane.
    Ingester,
    /// Delivers to services of the plane.
    Egress,
    /// Opens secrets in the plane, with identities that only its operator has.
    Lock,
}

impl Part {
    /// Its chart.
    pub(super) const fn chart(self) -> &'static str {
        match self {
            Self::Ingester => "zen-ingester",
            Self::Egress => "zen-egress",
            Self::Lock => "zen-lock",
        }
    }
}

/// What was chosen, and fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(super) form: Form,
    /// Each once, in order.
    pub(super) parts: Vec<Part>,
    /// A DNS label.
    pub(super) namespace: String,
}

impl Choice {
    /// Judges what was chosen for a plane of this kind.
    ///
    /// # Errors
    /// Names every field that does not fit.
    pub(crate) fn new(
        form: Form,
        mut parts: Vec<Part>,
        namespace: Option<String>,
        kind: PlaneKind,
    ) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let cluster = form != Form::EdgeLite;
        faults.require(
            cluster || kind == PlaneKind::Edge,
            "form",
            "Edge Lite is for edge planes: a data plane runs on Kubernetes",
        );
        faults.require(
            parts.is_empty() || cluster,
            "components",
            "Edge Lite always has ingester and egress, and zen-lock where its identities lie: leave them out",
        );
        faults.require(
            parts.is_empty() || kind == PlaneKind::Edge,
            "components",
            "a data plane always has all its components: leave them out",
        );
        faults.require(
            namespace.is_none() || cluster,
            "namespace",
            "Edge Lite knows no namespaces: leave it out",
        );
        let namespace = namespace.unwrap_or_else(|| NAMESPACE.to_owned());
        faults.require(
            is_label(&namespace),
            "namespace",
            "1 to 63 small letters, digits and hyphens, no hyphen at an end",
        );
        faults.result()?;
        parts.sort_unstable();
        parts.dedup();
        Ok(Self {
            form,
            parts,
            namespace,
        })
    }
}

/// RFC 1123, as Kubernetes wants namespaces.
fn is_label(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(fits)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_label_and_nothing_else() {
        let edge = |namespace: &str| {
            let namespace = Some(namespace.to_owned());
            Choice::new(Form::Kubernetes, Vec::new(), namespace, PlaneKind::Edge)
        };
        let longest = "a".repeat(63);
        for fits in ["zen-mesh", "a", "1", longest.as_str()] {
            assert!(edge(fits).is_ok(), "{fits}");
        }
        let too_long = "a".repeat(64);
        for unfit in [
            "",
            "-a",
            "a-",
            "A",
            "a.b",
            "a b",
            "$(id)",
            "é",
            too_long.as_str(),
        ] {
            assert!(edge(unfit).is_err(), "{unfit}");
        }
    }

    #[test]
    fn what_a_form_or_a_plane_does_not_have_is_refused() {
        let all = || vec![Part::Lock, Part::Egress, Part::Ingester, Part::Egress];
        let given = || Some("shop".to_owned());
        let (edge, data) = (PlaneKind::Edge, PlaneKind::Data);
        let taken = Choice::new(Form::GitOps, all(), None, edge).unwrap();
        assert_eq!(taken.parts, [Part::Ingester, Part::Egress, Part::Lock]);
        assert_eq!(taken.namespace, "zen-mesh");
        assert!(Choice::new(Form::Kubernetes, Vec::new(), given(), data).is_ok());
        assert!(Choice::new(Form::EdgeLite, Vec::new(), None, edge).is_ok());
        let refused = [
            (Choice::new(Form::EdgeLite, Vec::new(), None, data), "form"),
            (Choice::new(Form::EdgeLite, all(), None, edge), "components"),
            (
                Choice::new(Form::Kubernetes, all(), None, data),
                "components",
            ),
            (
                Choice::new(Form::EdgeLite, Vec::new(), given(), edge),
                "namespace",
            ),
        ];
        for (judged, field) in refused {
            assert_eq!(judged.unwrap_err().into_vec()[0].field, field);
        }
    }
}
