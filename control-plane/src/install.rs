//! The command a person pastes to enrol a plane. Nothing secret stands in an argument: bundle and
//! identity come in here-documents and land in files that only their owner reads.

use zen_proto::ids::PlaneId;

/// What the command needs.
pub(crate) struct Install<'a> {
    pub(crate) plane: PlaneId,
    /// Armored age.
    pub(crate) bundle: &'a str,
    /// The identity that opens it; none if somebody else holds it.
    pub(crate) identity: Option<&'a str>,
}

/// The command for Edge Lite: one paste into a shell, safe to run twice.
pub(crate) fn edge_lite(install: &Install<'_>) -> String {
    let Install {
        plane,
        bundle,
        identity,
    } = install;
    let mut lines = vec![
        "(".to_owned(),
        "set -e".to_owned(),
        "umask 077".to_owned(),
        format!("dir=\"${{ZEN_DIR:-$HOME/.zen/{plane}}}\""),
        "mkdir -p \"$dir\"".to_owned(),
        "cat > \"$dir/bundle.age\" <<'ZEN_BUNDLE'".to_owned(),
        bundle.trim_end().to_owned(),
        "ZEN_BUNDLE".to_owned(),
    ];
    let identity_file = match identity {
        Some(identity) => {
            lines.push("cat > \"$dir/identity.txt\" <<'ZEN_IDENTITY'".to_owned());
            lines.push(identity.trim_end().to_owned());
            lines.push("ZEN_IDENTITY".to_owned());
            "\"$dir/identity.txt\""
        }
        None => "\"${ZEN_IDENTITY_FILE:?set it to the file of the age identity}\"",
    };
    lines.push(format!(
        "exec zen edge run --bundle \"$dir/bundle.age\" --identity {identity_file} \
         --state-dir \"$dir/state\""
    ));
    lines.push(")".to_owned());
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use zen_proto::ids::Id as _;

    use super::*;

    const SEALED: &str =
        "-----BEGIN AGE ENCRYPTED FILE-----\nYQ$HOME`id`\n-----END AGE ENCRYPTED FILE-----\n";

    /// Runs the command with a `zen` that writes its arguments down, and answers the folder.
    fn run(command: &str, folder: &std::path::Path) -> std::process::ExitStatus {
        use std::os::unix::fs::PermissionsExt;
        let bin = folder.join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        let zen = bin.join("zen");
        std::fs::write(
            &zen,
            "#!/bin/sh\nprintf '%s\\n' \"$@\" > \"$ZEN_DIR/arguments\"\n",
        )
        .unwrap();
        std::fs::set_permissions(&zen, std::fs::Permissions::from_mode(0o755)).unwrap();
        Command::new("/bin/sh")
            .args(["-c", command])
            .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
            .env("ZEN_DIR", folder)
            .env_remove("ZEN_IDENTITY_FILE")
            .status()
            .unwrap()
    }

    #[test]
    fn the_pasted_command_writes_private_files_and_shows_no_secret_in_its_arguments() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let plane = PlaneId::generate(1, [1; 10]);
        let install = Install {
            plane,
            bundle: SEALED,
            identity: Some("AGE-SECRET-KEY-1ABC"),
        };
        for _twice in 0..2 {
            assert!(run(&edge_lite(&install), folder.path()).success());
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("bundle.age"), SEALED);
        assert_eq!(read("identity.txt"), "AGE-SECRET-KEY-1ABC\n");
        assert!(read("arguments").starts_with("edge\nrun\n--bundle\n"));
        assert!(!read("arguments").contains("AGE-SECRET"));
        let mode = std::fs::metadata(folder.path().join("identity.txt"))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }

    #[test]
    fn without_an_identity_the_command_asks_for_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let install = Install {
            plane: PlaneId::generate(1, [1; 10]),
            bundle: SEALED,
            identity: None,
        };
        assert!(!run(&edge_lite(&install), folder.path()).success());
        assert!(!folder.path().join("arguments").exists());
    }
}
