//! The kinds this server knows, as discovery tells of them.

/// One kind of object.
#[derive(Debug)]
pub(super) struct Kind {
    /// Empty for the core group.
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    /// In plural, as in paths.
    pub(super) resource: &'static str,
    pub(super) short: &'static [&'static str],
    pub(super) namespaced: bool,
    /// Whether it has a status of its own, and a generation that counts changes of the rest.
    pub(super) status: bool,
    /// Whether it is only ever asked, never kept.
    pub(super) question: bool,
}

impl Kind {
    /// `v1`, or `apps/v1`.
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Two groups show the same Events: they are kept once.
    pub(super) fn stored_group(&self) -> &'static str {
        if self.is_new_event() { "" } else { self.group }
    }

    /// Whether this is an Event in its newer form.
    pub(super) fn is_new_event(&self) -> bool {
        self.group == "events.k8s.io"
    }

    /// `secrets`, or `deployments.apps`, as messages say it.
    pub(super) fn full_name(&self) -> String {
        if self.group.is_empty() {
            self.resource.to_owned()
        } else {
            format!("{}.{}", self.resource, self.group)
        }
    }

    /// The name of one in lower case.
    pub(super) fn singular(&self) -> String {
        self.kind.to_lowercase()
    }
}

const fn plain(group: &'static str, kind: &'static str, resource: &'static str) -> Kind {
    Kind {
        group,
        version: "v1",
        kind,
        resource,
        short: &[],
        namespaced: true,
        status: false,
        question: false,
    }
}

const fn core(
    kind: &'static str,
    resource: &'static str,
    short: &'static [&'static str],
    status: bool,
) -> Kind {
    Kind {
        short,
        status,
        ..plain("", kind, resource)
    }
}

const fn with_status(group: &'static str, kind: &'static str, resource: &'static str) -> Kind {
    Kind {
        status: true,
        ..plain(group, kind, resource)
    }
}

const fn of_the_cluster(kind: Kind) -> Kind {
    Kind {
        namespaced: false,
        ..kind
    }
}

const fn question(group: &'static str, kind: &'static str, resource: &'static str) -> Kind {
    Kind {
        namespaced: false,
        question: true,
        ..plain(group, kind, resource)
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";
const NETWORKING: &str = "networking.k8s.io";

/// All of them.
pub(super) static KINDS: &[Kind] = &[
    of_the_cluster(core("Namespace", "namespaces", &["ns"], true)),
    of_the_cluster(core("Node", "nodes", &["no"], true)),
    core("Secret", "secrets", &[], false),
    core("ConfigMap", "configmaps", &["cm"], false),
    core("ServiceAccount", "serviceaccounts", &["sa"], false),
    core("Pod", "pods", &["po"], true),
    core("Service", "services", &["svc"], true),
    core("Endpoints", "endpoints", &["ep"], false),
    core("Event", "events", &["ev"], false),
    core("LimitRange", "limitranges", &["limits"], false),
    core("ResourceQuota", "resourcequotas", &["quota"], true),
    core(
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        &["pvc"],
        true,
    ),
    core(
        "ReplicationController",
        "replicationcontrollers",
        &["rc"],
        true,
    ),
    plain("events.k8s.io", "Event", "events"),
    plain("coordination.k8s.io", "Lease", "leases"),
    plain("discovery.k8s.io", "EndpointSlice", "endpointslices"),
    plain(RBAC, "Role", "roles"),
    plain(RBAC, "RoleBinding", "rolebindings"),
    of_the_cluster(plain(RBAC, "ClusterRole", "clusterroles")),
    of_the_cluster(plain(RBAC, "ClusterRoleBinding", "clusterrolebindings")),
    with_status("apps", "Deployment", "deployments"),
    with_status("apps", "StatefulSet", "statefulsets"),
    with_status("apps", "DaemonSet", "daemonsets"),
    with_status("apps", "ReplicaSet", "replicasets"),
    with_status("batch", "Job", "jobs"),
    with_status("batch", "CronJob", "cronjobs"),
    plain(NETWORKING, "NetworkPolicy", "networkpolicies"),
    with_status(NETWORKING, "Ingress", "ingresses"),
    with_status("policy", "PodDisruptionBudget", "poddisruptionbudgets"),
    of_the_cluster(with_status(
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        "customresourcedefinitions",
    )),
    of_the_cluster(plain(
        ADMISSION,
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
    )),
    of_the_cluster(plain(
        ADMISSION,
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
    )),
    Kind {
        short: &["zl"],
        ..with_status("security.zen-mesh.io", "ZenLock", "zenlocks")
    },
    question("authentication.k8s.io", "TokenReview", "tokenreviews"),
    question(
        "authorization.k8s.io",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
    ),
];

/// The kind behind a path.
pub(super) fn find(group: &str, version: &str, resource: &str) -> Option<&'static Kind> {
    KINDS
        .iter()
        .find(|kind| kind.group == group && kind.version == version && kind.resource == resource)
}

/// The kind of an object's `apiVersion` and `kind`.
pub(super) fn of(api_version: &str, name: &str) -> Option<&'static Kind> {
    KINDS
        .iter()
        .find(|kind| kind.kind == name && kind.api_version() == api_version)
}

/// The kind of a resource, where its group need not be told.
pub(super) fn by_resource(resource: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.resource == resource)
}

/// All groups but the core's, once each.
pub(super) fn groups() -> Vec<&'static str> {
    let mut groups: Vec<_> = KINDS.iter().map(|kind| kind.group).collect();
    groups.retain(|group| !group.is_empty());
    groups.sort_unstable();
    groups.dedup();
    groups
}
