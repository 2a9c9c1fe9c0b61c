//! Every right that zen-lock uses; the chart grants these and no others.

/// A right on the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Whether it reaches beyond zen-lock's own namespace.
    pub cluster: bool,
    /// API group; empty for the core.
    pub group: &'static str,
    /// Resource, with its subresource.
    pub resource: &'static str,
    /// Name of the one object; empty for all of them. `*` is the webhook configurations' name.
    pub name: &'static str,
    /// Verbs.
    pub verbs: &'static [&'static str],
}

const fn own(resource: &'static str, name: &'static str, verbs: &'static [&'static str]) -> Right {
    Right {
        cluster: false,
        group: "",
        resource,
        name,
        verbs,
    }
}

const fn whole(
    group: &'static str,
    resource: &'static str,
    name: &'static str,
    verbs: &'static [&'static str],
) -> Right {
    Right {
        cluster: true,
        group,
        resource,
        name,
        verbs,
    }
}

/// All of them. Nothing lets it read a Secret but its own authority, in its own namespace.
#[must_use]
pub fn rights() -> Vec<Right> {
    const ADMISSION: &str = "admissionregistration.k8s.io";
    const ZENLOCKS: &str = "security.zen-mesh.io";
    vec![
        own("secrets", "zen-lock-authority", &["create", "get", "patch"]),
        own("configmaps", "zen-lock-ca", &["create", "get", "patch"]),
        whole(ZENLOCKS, "zenlocks", "", &["get", "list", "patch", "watch"]),
        whole(ZENLOCKS, "zenlocks/status", "", &["patch"]),
        whole("", "pods", "", &["get"]),
        whole("authentication.k8s.io", "tokenreviews", "", &["create"]),
        whole(
            ADMISSION,
            "mutatingwebhookconfigurations",
            "*",
            &["get", "patch"],
        ),
        whole(
            ADMISSION,
            "validatingwebhookconfigurations",
            "*",
            &["get", "patch"],
        ),
    ]
}
