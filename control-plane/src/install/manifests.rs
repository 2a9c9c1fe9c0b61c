//! What lies in the cluster before the chart: namespace, the bundle, the identity that opens it, and the
//! roots, so that components need not wait for the agent to publish them.

use super::yaml::{block, scalar};
use super::{Choice, Install, RELEASE, lock};
use crate::charts;

/// The Secret of the bundle.
const BUNDLE: &str = "zen-enrollment";
/// The Secret of the identity.
pub(super) const IDENTITY: &str = "zen-enrollment-key";

/// All of it, for `kubectl apply`. Without an identity of ours there is none in it; where no zen-lock
/// opens the bundle, a comment says where theirs belongs.
pub(super) fn applied(install: &Install<'_>, choice: &Choice) -> String {
    let namespace = choice.namespace.as_str();
    // The bundle comes after the identity: whoever sees it finds what opens it.
    let opens = match install.identity {
        Some(identity) => Some(identity_secret(identity, namespace)),
        None if install.lock_opens() => None,
        None => Some(bring(namespace, "Only your own identity opens the bundle.")),
    };
    let first = [Some(self::namespace(namespace)), opens];
    let rest = [bundle(install, namespace), trust(install, namespace)];
    let all: Vec<_> = first.into_iter().flatten().chain(rest).collect();
    documents(&all)
}

/// Namespace and identity alone.
pub(super) fn identity_alone(identity: &str, namespace: &str) -> String {
    documents(&[
        self::namespace(namespace),
        identity_secret(identity, namespace),
    ])
}

/// What may be committed: all but the identity.
pub(super) fn committed(install: &Install<'_>, choice: &Choice) -> String {
    let Install {
        plane,
        repository,
        expires_at,
        ..
    } = install;
    let (chart, version) = (install.chart(), charts::VERSION);
    let namespace = choice.namespace.as_str();
    let mut comes_first = String::new();
    if !install.lock_opens() {
        let why = "The identity that opens the bundle is not in here.";
        comes_first.push_str(&bring(namespace, why));
    }
    if install.has_lock(choice) {
        comes_first.push_str(&lock::first(install, choice));
    }
    let head = format!(
        "# Plane {plane}. Nothing in this file opens the bundle; the bundle is good until {expires_at}.\n\
         # Let your controller apply this file, and install the chart {chart} {version} of the Helm\n\
         # repository {repository} as release {RELEASE}, with the values that come with it.\n\
         # Once the agent has redeemed the bundle it deletes it from the cluster, and the identity\n\
         # that was brought for it: remove the Secret {BUNDLE} from the repository then, or the\n\
         # controller brings it back for nothing.\n{comes_first}"
    );
    let rest = documents(&[
        self::namespace(namespace),
        bundle(install, namespace),
        trust(install, namespace),
    ]);
    format!("{head}---\n{rest}")
}

/// Says which Secret must hold the identity.
fn bring(namespace: &str, why: &str) -> String {
    format!(
        "# {why} The Secret {IDENTITY} must hold it\n\
         # under the key identity.txt:\n\
         #   kubectl create secret generic {IDENTITY} --namespace {namespace} \
         --from-file=identity.txt=<file>\n"
    )
}

fn namespace(name: &str) -> String {
    let name = scalar(name);
    format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n")
}

fn identity_secret(identity: &str, namespace: &str) -> String {
    let head = object("Secret", IDENTITY, namespace, "");
    let identity = block(identity, 2);
    format!("{head}type: Opaque\nstringData:\n  identity.txt: {identity}\n")
}

fn bundle(install: &Install<'_>, namespace: &str) -> String {
    let annotations = format!(
        "  annotations:\n    zen-mesh.io/plane-id: {}\n    zen-mesh.io/expires-at: {}\n",
        scalar(&install.plane.to_string()),
        scalar(install.expires_at)
    );
    let head = object("Secret", BUNDLE, namespace, &annotations);
    let bundle = block(install.bundle, 2);
    format!("{head}type: Opaque\nstringData:\n  bundle.age: {bundle}\n")
}

fn trust(install: &Install<'_>, namespace: &str) -> String {
    let head = object("ConfigMap", "zen-trust-bundle", namespace, "");
    format!(
        "{head}data:\n  trust-domain: {}\n  tenant-id: {}\n  plane-id: {}\n  roots.pem: {}\n",
        scalar(install.trust_domain),
        scalar(&install.tenant.to_string()),
        scalar(&install.plane.to_string()),
        block(install.roots_pem, 2)
    )
}

fn object(kind: &str, name: &str, namespace: &str, annotations: &str) -> String {
    format!(
        "apiVersion: v1\nkind: {kind}\nmetadata:\n  name: {name}\n  namespace: {}\n  labels:\n    \
         app.kubernetes.io/part-of: zen-mesh\n{annotations}",
        scalar(namespace)
    )
}

fn documents(all: &[String]) -> String {
    all.join("---\n")
}
