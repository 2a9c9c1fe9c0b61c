//! An installed edge plane: its files in a folder, its credentials as systemd hands them out, and
//! the process that its unit starts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Blocking, Output, Stdio};

use anyhow::Context;
use tokio::process::{Child, Command};
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::ports::{self, Port};
use zen_integration_tests::tools::binary;
use zen_integration_tests::world::{PATIENCE, Seat};

/// A place on a host where an edge plane is installed.
pub(crate) struct Installed {
    pub(crate) seat: Seat,
    /// `pl_…`
    pub(crate) plane: String,
    /// The folder `StateDirectory=` stands for.
    pub(crate) states: PathBuf,
    /// What `LoadCredential=` hands out.
    pub(crate) credentials: PathBuf,
    pub(crate) ingest: Port,
    pub(crate) admin: Port,
}

impl Installed {
    /// A control plane, a plane, and its bundle as credentials that nobody can delete.
    pub(crate) async fn new() -> anyhow::Result<Self> {
        let seat = Seat::start(&[]).await?;
        let plane = seat.plane("lite", "edge").await?;
        let enrollment = seat.dir.path().join("enrollment");
        seat.bundle(&plane, &enrollment).await?;
        let credentials = seat.dir.path().join("credentials");
        fs::create_dir(&credentials)?;
        for name in ["bundle.age", "identity.txt"] {
            let to = credentials.join(format!("enrollment_{name}"));
            fs::copy(enrollment.join(name), &to)?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o400))?;
        }
        fs::set_permissions(&credentials, fs::Permissions::from_mode(0o500))?;
        let states = seat.dir.path().join("var");
        fs::create_dir(&states)?;
        Ok(Self {
            seat,
            plane,
            states,
            credentials,
            ingest: ports::reserve()?,
            admin: ports::reserve()?,
        })
    }

    /// What `zen edge install` prints for this host.
    pub(crate) fn file(&self, kind: &str) -> anyhow::Result<String> {
        let printed = zen(&[
            "edge",
            "install",
            kind,
            "--print",
            &format!("--ingest={}", self.ingest.address),
            &format!("--admin={}", self.admin.address),
        ])?;
        anyhow::ensure!(printed.status.success(), "{printed:?}");
        Ok(String::from_utf8(printed.stdout)?)
    }

    /// The arguments of the unit's `ExecStart=`, with systemd's specifiers filled in.
    pub(crate) fn arguments(&self) -> anyhow::Result<Vec<String>> {
        let unit = self.file("--systemd")?.replace("\\\n", " ");
        let line = unit
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart="))
            .context("the unit starts nothing")?;
        let filled = line
            .replace("%d", &self.credentials.display().to_string())
            .replace("%S", &self.states.display().to_string());
        Ok(filled
            .split_whitespace()
            .skip(1)
            .map(ToOwned::to_owned)
            .collect())
    }

    /// Starts a program as the unit would, under `wrapper` if there is one.
    pub(crate) fn start(&self, program: &Path, wrapper: &[&str]) -> anyhow::Result<Child> {
        let log = fs::File::create(self.seat.dir.path().join("edge.log"))?;
        let mut words: Vec<_> = wrapper.iter().map(|word| (*word).to_owned()).collect();
        words.push(program.display().to_string());
        words.extend(self.arguments()?);
        Ok(Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?)
    }

    /// Waits until `zen edge health` is content and the control plane sees the plane.
    pub(crate) async fn healthy(&self) -> anyhow::Result<()> {
        let admin = format!("--admin={}", self.admin.address);
        let healthy = eventually("zen edge health is content", PATIENCE, || async {
            let asked = zen(&["edge", "health", &admin])?;
            anyhow::ensure!(asked.status.success(), "{asked:?}");
            Ok(())
        });
        healthy.await.with_context(|| {
            fs::read_to_string(self.seat.dir.path().join("edge.log")).unwrap_or_default()
        })?;
        self.seat.status(&self.plane, "connected").await?;
        Ok(())
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        // So that its folder can be removed.
        let open = fs::Permissions::from_mode(0o700);
        let _opened = fs::set_permissions(&self.credentials, open);
    }
}

/// Runs the built `zen` to its end.
pub(crate) fn zen(words: &[&str]) -> anyhow::Result<Output> {
    Ok(Blocking::new(binary("zen")?)
        .args(words)
        .stdin(Stdio::null())
        .output()?)
}
