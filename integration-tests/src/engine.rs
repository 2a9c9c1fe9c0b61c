//! A container engine of the test's own: Debian's dockerd in a folder of its own, without a word
//! to the machine's firewall, ended with the test.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::eventually::eventually;
use crate::tools;

/// Time for the engine to come up, and to go with all its containers.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running engine.
pub struct Engine {
    folder: TempDir,
    daemon: Child,
}

/// A network of the engine; the host has the address `.1` in it.
#[derive(Clone, Debug)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// The host's address in it.
    pub gateway: IpAddr,
    /// Another address of the host in it.
    pub other: IpAddr,
}

impl Engine {
    /// Starts one, or says what is missing.
    ///
    /// # Errors
    /// When it does not come up; under `CI=true` also when a tool is missing.
    pub async fn start() -> anyhow::Result<Option<Self>> {
        for (tool, package) in [("dockerd", "docker.io"), ("iptables", "iptables")] {
            if !tools::have(tool, package)? {
                return Ok(None);
            }
        }
        let folder = tempfile::Builder::new().prefix("zen-engine").tempdir()?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        let daemon = Command::new("dockerd")
            .args(["--iptables=false", "--ip6tables=false", "--ip-masq=false"])
            .args(["--bridge=none", "--storage-driver=overlay2"])
            .args(["--data-root", &path("data"), "--exec-root", &path("exec")])
            .args(["--pidfile", &path("pid")])
            .args(["--host", &format!("unix://{}", path("docker.sock"))])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("dockerd")?;
        let engine = Self { folder, daemon };
        eventually("the engine answers", PATIENCE, || async {
            engine.docker(&["info"]).map(|_info| ())
        })
        .await
        .with_context(|| engine.log())?;
        Ok(Some(engine))
    }

    /// What the engine says of itself.
    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A folder that goes with the engine.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs the engine's client; the answer is what it prints.
    ///
    /// # Errors
    /// What the client says.
    pub fn docker(&self, words: &[&str]) -> anyhow::Result<String> {
        let socket = self.folder.path().join("docker.sock");
        let output = Command::new("docker")
            .arg("--host")
            .arg(format!("unix://{}", socket.display()))
            .args(words)
            .stdin(Stdio::null())
            .output()
            .context("docker")?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "docker {words:?}: {said}");
        // Containers log to their standard error.
        Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &said)
    }

    /// Loads an image that `cargo xtask images` built; false where it was not built.
    ///
    /// # Errors
    /// Under `CI=true` when it was not built, or when it cannot be loaded.
    pub fn load(&self, name: &str) -> anyhow::Result<bool> {
        let archive = image(name)?;
        if !tools::have_file("an image (cargo xtask images)", &archive)? {
            return Ok(false);
        }
        let archive = archive.to_str().context("the target folder is no text")?;
        self.docker(&["load", "--input", archive])?;
        Ok(true)
    }

    /// A network without a way out of this machine: `10.213.<number>.0/24`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn network(&self, name: &str, number: u8) -> anyhow::Result<Network> {
        let subnet = format!("10.213.{number}.0/24");
        let bridge = format!("zen-test-{number}");
        // One that a killed run left behind would take the packets of this one.
        let _stale = Command::new("ip")
            .args(["link", "delete", &bridge])
            .output();
        let option = format!("com.docker.network.bridge.name={bridge}");
        let internal = ["network", "create", "--internal", "--opt", &option];
        self.docker(&[&internal[..], &["--subnet", &subnet, name]].concat())?;
        let other = IpAddr::from([10, 213, number, 253]);
        let added = Command::new("ip")
            .args(["address", "add", &format!("{other}/24"), "dev", &bridge])
            .output()?;
        let said = String::from_utf8_lossy(&added.stderr);
        anyhow::ensure!(added.status.success(), "ip address add: {said}");
        Ok(Network {
            name: name.to_owned(),
            gateway: IpAddr::from([10, 213, number, 1]),
            other,
        })
    }

    /// A container's address in a network.
    ///
    /// # Errors
    /// When it is not in it.
    pub fn address(&self, container: &str, network: &Network) -> anyhow::Result<IpAddr> {
        let format = format!(
            "{{{{(index .NetworkSettings.Networks \"{}\").IPAddress}}}}",
            network.name
        );
        let text = self.docker(&["inspect", "--format", &format, container])?;
        text.trim()
            .parse()
            .with_context(|| format!("{container} is not in {}: {text}", network.name))
    }

    /// Runs a program of this machine in the network namespace of a container.
    ///
    /// # Errors
    /// When the container does not run, or the program fails: what it says.
    pub fn inside(&self, container: &str, words: &[&str]) -> anyhow::Result<String> {
        let pid = self.docker(&["inspect", "--format", "{{.State.Pid}}", container])?;
        let output = Command::new("nsenter")
            .arg(format!("--net=/proc/{}/ns/net", pid.trim()))
            .args(words)
            .stdin(Stdio::null())
            .output()
            .context("nsenter")?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(
            output.status.success(),
            "{words:?} in {container}: {}{said}",
            output.status
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The interface of a container that is in this network.
    ///
    /// # Errors
    /// When there is none.
    pub fn interface(&self, container: &str, network: &Network) -> anyhow::Result<String> {
        let address = format!(" {}/", self.address(container, network)?);
        let all = self.inside(container, &["ip", "-oneline", "-4", "address"])?;
        let line = all.lines().find(|line| line.contains(&address));
        let name = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(name.context("no interface")?.to_owned())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Containers and networks first: a bridge outlives its engine.
        if let Ok(all) = self.docker(&["ps", "--all", "--quiet"]) {
            for container in all.split_whitespace() {
                let _gone = self.docker(&["rm", "--force", "--volumes", container]);
            }
        }
        let _gone = self.docker(&["network", "prune", "--force"]);
        // The folder can go only after it.
        if let Ok(pid) = i32::try_from(self.daemon.id())
            && let Some(pid) = Pid::from_raw(pid)
        {
            let _asked = kill_process(pid, Signal::TERM);
        }
        let _ended = self.daemon.wait();
    }
}

/// Where `cargo xtask images` puts an image.
fn image(name: &str) -> anyhow::Result<PathBuf> {
    Ok(tools::target()?.join("images").join(format!("{name}.tar")))
}
