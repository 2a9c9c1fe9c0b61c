//! The command for Edge Lite: one paste into a shell, safe to run twice. The files it writes are read
//! by nobody but their owner. Of a key of one's own the agent gets a copy: it deletes what it has used.

use super::Install;

pub(super) fn command(install: &Install<'_>) -> String {
    let mut lines = vec!["(".to_owned(), "set -e".to_owned(), "umask 077".to_owned()];
    if install.identity.is_none() {
        let recipient = install.recipient;
        // Nothing in here may be what a shell replaces, or ends the word.
        lines.push(format!(
            ": \"${{ZEN_IDENTITY_FILE:?set it to your own key file, the identity of {recipient}: nothing \
             else opens the bundle. The agent gets a copy, and your file stays}}\""
        ));
    }
    lines.extend([
        format!("dir=\"${{ZEN_DIR:-$HOME/.zen/{}}}\"", install.plane),
        "mkdir -p \"$dir\"".to_owned(),
        "cat > \"$dir/bundle.age\" <<'ZEN_BUNDLE'".to_owned(),
        install.bundle.trim_end().to_owned(),
        "ZEN_BUNDLE".to_owned(),
    ]);
    let identity_file = match install.identity {
        Some(identity) => {
            lines.push("cat > \"$dir/identity.txt\" <<'ZEN_IDENTITY'".to_owned());
            lines.push(identity.trim_end().to_owned());
            lines.push("ZEN_IDENTITY".to_owned());
            "\"$dir/identity.txt\""
        }
        None => "\"$ZEN_IDENTITY_FILE\"",
    };
    lines.push(format!(
        "exec zen edge run --bundle \"$dir/bundle.age\" --identity {identity_file} \
         --state-dir \"$dir/state\""
    ));
    lines.push(")".to_owned());
    lines.push(String::new());
    lines.join("\n")
}
