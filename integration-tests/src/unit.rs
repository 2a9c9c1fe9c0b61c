//! One component in a process of its own: started, killed without warning, asked to stop,
//! started again on the same directory and ports.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use http::{Method, StatusCode};
use tokio::process::{Child, Command};

use crate::api::Api;
use crate::eventually::eventually;
use crate::ports::{self, Port};
use crate::tools;

/// A component's process, running or not.
pub struct Unit {
    /// The binary's name, such as `zen-agent`.
    pub binary: &'static str,
    /// Where everything it logs goes.
    pub log: PathBuf,
    /// Its admin listener.
    pub admin: Port,
    settings: Vec<String>,
    /// A command to run it under, such as strace with its arguments.
    wrapper: Vec<String>,
    child: Option<Child>,
}

impl Unit {
    /// Prepares a process; `settings` are `key=value`.
    ///
    /// # Errors
    /// When no port is free.
    pub fn new(binary: &'static str, folder: &Path, settings: Vec<String>) -> anyhow::Result<Self> {
        let admin = ports::reserve()?;
        let log = folder.join(format!("{binary}-{}.log", admin.address.port()));
        Ok(Self {
            binary,
            log,
            admin,
            settings,
            wrapper: Vec::new(),
            child: None,
        })
    }

    /// Adds or overrides a setting for the next start.
    pub fn set(&mut self, key: &str, value: impl std::fmt::Display) {
        self.settings.push(format!("{key}={value}"));
    }

    /// Runs the next start under another command.
    pub fn run_under(&mut self, wrapper: Vec<String>) {
        self.wrapper = wrapper;
    }

    /// Starts the process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let path = tools::binary(self.binary)?;
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let mut command = match self.wrapper.split_first() {
            None => Command::new(path),
            Some((wrapper, arguments)) => {
                let mut command = Command::new(wrapper);
                command.args(arguments).arg(path);
                command
            }
        };
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command.args(["--set", &format!("admin.listen={}", self.admin.address)]);
        command.args(["--set", "log.format=json"]);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary))?;
        self.child = Some(child);
        Ok(())
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// SIGTERM, then waits for the end.
    ///
    /// # Errors
    /// When it does not end within 40 s.
    pub async fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        let mut child = self.child.take().context("not running")?;
        let raw = i32::try_from(child.id().context("ended already")?)?;
        let pid = rustix::process::Pid::from_raw(raw).context("no process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let ended = tokio::time::timeout(Duration::from_secs(40), child.wait());
        Ok(ended
            .await
            .with_context(|| format!("{} did not stop", self.binary))??)
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    /// When it does not within `patience`.
    pub async fn ended(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let child = self.child.as_mut().context("not running")?;
        Ok(tokio::time::timeout(patience, child.wait()).await??)
    }

    /// What `/readyz` says: nothing when it is ready.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn pending(&self) -> anyhow::Result<Option<String>> {
        let (status, text) = self.admin_get("/readyz").await?;
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok((status != StatusCode::OK).then_some(text))
    }

    /// GET on the admin listener.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn admin_get(&self, path: &str) -> anyhow::Result<(StatusCode, bytes::Bytes)> {
        let api = Api::new(format!("http://{}", self.admin.address), "");
        let answer = api.call(Method::GET, path, None);
        tokio::time::timeout(Duration::from_secs(5), answer)
            .await
            .context("no answer")?
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// What is pending, with the end of its log.
    pub async fn ready(&self) -> anyhow::Result<()> {
        eventually(
            &format!("{} is ready", self.binary),
            Duration::from_secs(60),
            || async {
                match self.pending().await? {
                    None => Ok(()),
                    Some(pending) => anyhow::bail!("{pending}"),
                }
            },
        )
        .await
        .with_context(|| self.log_tail())
    }

    /// Waits until `/readyz` has `text` in what is pending.
    ///
    /// # Errors
    /// What it says instead.
    pub async fn pending_with(&self, text: &str) -> anyhow::Result<String> {
        let what = format!("{} is pending with {text}", self.binary);
        eventually(&what, Duration::from_secs(60), || async {
            match self.pending().await? {
                Some(pending) if pending.contains(text) => Ok(pending),
                other => anyhow::bail!("{other:?}"),
            }
        })
        .await
        .with_context(|| self.log_tail())
    }

    /// Everything it logged.
    #[must_use]
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        let text = self.log_text();
        let lines: Vec<_> = text.lines().rev().take(25).collect();
        format!(
            "end of {}:\n{}",
            self.log.display(),
            Vec::from_iter(lines.into_iter().rev()).join("\n")
        )
    }
}
