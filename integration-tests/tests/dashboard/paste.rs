//! The install command, pasted into a shell as a person does it, with the built `zen` in its path.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use zen_integration_tests::ports::{self, Port};
use zen_integration_tests::tools::binary;

/// A shell in which the command was pasted; Edge Lite lives in it.
pub(crate) struct Shell {
    folder: PathBuf,
    /// Where its ingester listens.
    pub(crate) ingest: Port,
    edge: Option<Child>,
}

impl Shell {
    /// A shell whose home is `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        let ingest = ports::reserve().unwrap();
        let bin = folder.join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        // The default ports may be taken by another test; everything else is as pasted.
        let zen = binary("zen").unwrap();
        let script = format!(
            "#!/bin/sh\nexec {} \"$@\" --ingest {} --admin 127.0.0.1:0\n",
            zen.display(),
            ingest.address
        );
        let path = bin.join("zen");
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            folder: folder.to_owned(),
            ingest,
            edge: None,
        }
    }

    /// Pastes the command; what it prints lands in `edge.log`.
    pub(crate) fn paste(&mut self, command: &str) {
        let log = std::fs::File::create(self.folder.join("edge.log")).unwrap();
        let path = format!("{}:/usr/bin:/bin", self.folder.join("bin").display());
        let child = Command::new("/bin/sh")
            .args(["-c", command])
            .env("PATH", path)
            .env("HOME", &self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Some shells stay as the parent of what the command becomes.
            .process_group(0)
            .spawn()
            .unwrap();
        self.edge = Some(child);
    }

    /// `kill -9` for the shell and for Edge Lite in it.
    pub(crate) async fn kill(&mut self) {
        self.strike();
        self.edge.take().unwrap().wait().await.unwrap();
    }

    fn strike(&self) {
        let id = self.edge.as_ref().and_then(Child::id);
        let id = id.and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ended = kill_process_group(group, Signal::KILL);
        }
    }

    /// What it printed.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("edge.log")).unwrap_or_default()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.strike();
    }
}
