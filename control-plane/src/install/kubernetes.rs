//! The command for a cluster: one paste into a shell, safe to run twice. Manifests come first, in a
//! quoted here-document: the shell looks into none of it, and no argument holds a secret.

use super::manifests::{self, IDENTITY};
use super::{Choice, Install, RELEASE, lock, shell, values};
use crate::charts;
use crate::plane::PlaneKind;

/// What a data plane's bridge must be told, asked for before anything is done.
const ADDRESS: &str =
    "${ZEN_BRIDGE_ADDRESS:?set it to the host:port under which other planes dial the bridge}";

pub(super) fn command(install: &Install<'_>, choice: &Choice) -> String {
    let data = install.kind == PlaneKind::Data;
    let address = data.then(|| asks(ADDRESS));
    let mut helm = format!(
        "helm upgrade --install {RELEASE} {} --repo {} --version {} --namespace {}",
        install.chart(),
        shell::word(install.repository),
        charts::VERSION,
        shell::word(&choice.namespace)
    );
    for value in values::arguments(install, choice) {
        helm.push_str(&format!(" \\\n  --set {value}"));
    }
    if data {
        helm.push_str(&format!(" \\\n  --set \"zen-bridge.advertise={ADDRESS}\""));
    }
    let manifests = apply(&manifests::applied(install, choice));
    let asked = address.into_iter().chain(identities(install, choice));
    subshell(asked.chain([manifests, helm]))
}

/// Brings the identity alone, for who commits the rest. Where zen-lock opens the bundle there is none to
/// bring: then it only looks whether zen-lock has its own.
pub(super) fn identity_command(install: &Install<'_>, choice: &Choice) -> String {
    let namespace = choice.namespace.as_str();
    let asked = identities(install, choice).into_iter();
    if install.lock_opens() {
        return subshell(asked);
    }
    if let Some(identity) = install.identity {
        let identity = apply(&manifests::identity_alone(identity, namespace));
        return subshell(asked.chain([identity]));
    }
    subshell([
        asks("${ZEN_IDENTITY_FILE:?set it to the file of the age identity}"),
        format!(
            "kubectl create secret generic {IDENTITY} --namespace {} \
             --from-file=identity.txt=\"$ZEN_IDENTITY_FILE\" --dry-run=client -o yaml | kubectl apply -f -",
            shell::word(namespace)
        ),
    ])
}

/// Asks for zen-lock's identities where there is a zen-lock.
fn identities(install: &Install<'_>, choice: &Choice) -> Option<String> {
    let has_lock = install.has_lock(choice);
    has_lock.then(|| lock::asked(install, choice))
}

/// Ends the command with a word about it if a variable is not set.
fn asks(variable: &str) -> String {
    format!(": \"{variable}\"")
}

fn apply(manifests: &str) -> String {
    format!("kubectl apply -f - <<'ZEN_MANIFESTS'\n{manifests}ZEN_MANIFESTS")
}

/// Stops at the first failure, and leaves the shell as it was.
fn subshell(lines: impl IntoIterator<Item = String>) -> String {
    let lines = lines.into_iter().map(|line| line + "\n");
    format!("(\nset -e\n{})\n", lines.collect::<String>())
}
