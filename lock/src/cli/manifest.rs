//! A ZenLock as text that people keep in Git.

use zen_seal::Scope;

/// The manifest of a sealed secret.
pub(super) fn manifest(scope: &Scope, sealed: &str) -> String {
    let namespace = scope.namespace.as_deref().unwrap_or("default");
    let name = &scope.name;
    let mut text = format!(
        "apiVersion: security.zen-mesh.io/v1\nkind: ZenLock\nmetadata:\n  name: {name}\n  \
         namespace: {namespace}\nspec:\n  sealed: |\n"
    );
    for line in sealed.trim_end().lines() {
        text.push_str("    ");
        text.push_str(line);
        text.push('\n');
    }
    text
}
