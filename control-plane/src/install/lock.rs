//! zen-lock in what is handed out. Its identities are the operator's: none comes from here, so they must
//! lie in the cluster before, and the command looks whether they do before it changes anything.

use super::manifests::IDENTITY;
use super::{Choice, Install, shell};

/// The Secret with zen-lock's identities, a key each; the chart's default.
const IDENTITIES: &str = "zen-lock-identities";

/// What comes first, as comments: all of it is text that is known to be plain.
pub(super) fn first(install: &Install<'_>, choice: &Choice) -> String {
    let namespace = choice.namespace.as_str();
    let whose = if install.lock_opens() {
        format!(
            "# The bundle is sealed for {}:\n\
             # nobody but the plane's zen-lock opens it. The first time, before all else, the Secret\n\
             # {IDENTITIES} must hold the identity of that key, as `zen-lock keygen` wrote it:\n",
            install.recipient
        )
    } else {
        format!(
            "# zen-lock opens secrets with identities that only you have. The first time, before all\n\
             # else, the Secret {IDENTITIES} must hold one, as `zen-lock keygen` wrote it:\n"
        )
    };
    format!(
        "{whose}#   kubectl create namespace {namespace}\n\
         #   kubectl create secret generic {IDENTITIES} --namespace {namespace} --from-file=<file>\n"
    )
}

/// Ends the command, and says what to do first, where the identities are missing. The comments stand in
/// a quoted here-document, for not every shell that one pastes into knows comments.
pub(super) fn asked(install: &Install<'_>, choice: &Choice) -> String {
    let namespace = shell::word(&choice.namespace);
    let asked = format!(
        "kubectl get secret {IDENTITIES} --namespace {namespace} -o name || {{\n\
         cat >&2 <<'ZEN_FIRST'\n{}ZEN_FIRST\nexit 1\n}}",
        first(install, choice)
    );
    if !install.lock_opens() {
        return asked;
    }
    // Of an earlier bundle, perhaps: the agent would try it on this one, in place of asking.
    let stale = "--ignore-not-found";
    format!("{asked}\nkubectl delete secret {IDENTITY} --namespace {namespace} {stale}")
}
