//! Several components in one process, each on its own stage, stopped in the reverse order of
//! their start. They talk to each other over the same sockets as in processes of their own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tracing::Instrument;
use zen_chassis::admin::Admin;
use zen_chassis::metrics::Registries;
use zen_chassis::telemetry::{LogFormat, LogSettings, OtlpSettings, Telemetry};
use zen_chassis::{App, CancellationToken, Stage, net};

/// Time each component has to drain.
const GRACE: Duration = Duration::from_secs(15);

/// The components that run in this process.
pub(crate) struct House {
    admin: Admin,
    telemetry: Telemetry,
    stop_admin: CancellationToken,
    running: Vec<Running>,
}

struct Running {
    stage: Stage,
    task: JoinHandle<anyhow::Result<()>>,
}

impl House {
    /// Starts telemetry and the admin listener; the answer's address is where it listens.
    pub(crate) async fn open(
        log_level: &str,
        otlp: Option<String>,
        admin: SocketAddr,
    ) -> anyhow::Result<(Self, SocketAddr)> {
        let log = LogSettings {
            level: log_level.to_owned(),
            format: LogFormat::Auto,
        };
        let otlp = OtlpSettings {
            endpoint: otlp,
            ..OtlpSettings::default()
        };
        let telemetry = Telemetry::start("up", &log, &otlp)?;
        let shown = Admin::new(Registries::default(), telemetry.level.clone());
        let (listener, bound) = net::bind_tcp("--admin", admin).await?;
        let stop_admin = CancellationToken::new();
        // Owned by its token; it only serves pages.
        drop(tokio::spawn(
            shown.clone().serve(listener, stop_admin.clone()),
        ));
        let house = Self {
            admin: shown,
            telemetry,
            stop_admin,
            running: Vec::new(),
        };
        Ok((house, bound))
    }

    /// Binds a component, looks at it, and runs it. `plane` labels its metrics and log lines.
    pub(crate) async fn start<A: App, T>(
        &mut self,
        plane: &str,
        config: A::Config,
        look: impl FnOnce(&A) -> T,
    ) -> anyhow::Result<T> {
        let name = if plane.is_empty() {
            A::COMPONENT.to_owned()
        } else {
            format!("{plane}/{}", A::COMPONENT)
        };
        let span = tracing::info_span!("component", plane, component = A::COMPONENT);
        let apart = CancellationToken::new();
        let stage = Stage::new(&name, &[("plane", plane)], &self.admin, &apart)?;
        let app = A::bind(config, &stage)
            .instrument(span.clone())
            .await
            .with_context(|| format!("cannot start {name}"))?;
        let seen = look(&app);
        let task = tokio::spawn(app.run(stage.clone()).instrument(span));
        self.running.push(Running { stage, task });
        Ok(seen)
    }

    /// Waits until every component says it is ready.
    ///
    /// # Errors
    /// After `patience`: what is still pending.
    pub(crate) async fn ready(&self, patience: Duration) -> anyhow::Result<()> {
        let all = async {
            for running in &self.running {
                running.stage.ready.wait().await;
            }
        };
        tokio::select! {
            () = all => return Ok(()),
            () = self.failed() => anyhow::bail!("a component failed; see the log"),
            () = tokio::time::sleep(patience) => {}
        }
        let pending = self.running.iter().flat_map(|running| {
            let name = &running.stage.name;
            let conditions = running.stage.ready.pending();
            conditions
                .into_iter()
                .map(move |(what, why)| format!("{name}: {what}: {why}"))
        });
        anyhow::bail!(
            "not ready after {} s: {}",
            patience.as_secs(),
            Vec::from_iter(pending).join("; ")
        )
    }

    /// Resolves when a component stopped by itself.
    pub(crate) async fn failed(&self) {
        let ends = self
            .running
            .iter()
            .map(|r| Box::pin(r.stage.shutdown.cancelled()));
        futures::future::select_all(ends).await;
    }

    /// Drains and stops everything, last started first.
    ///
    /// # Errors
    /// The first failure of a component.
    pub(crate) async fn close(mut self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        while let Some(Running { stage, task }) = self.running.pop() {
            stage.shutdown.cancel();
            let ended = match tokio::time::timeout(GRACE, task).await {
                Ok(Ok(ended)) => ended,
                Ok(Err(panic)) => Err(anyhow::Error::new(panic).context("a component panicked")),
                Err(_) => Err(anyhow::anyhow!("not drained within {} s", GRACE.as_secs())),
            };
            let ended = stage
                .tasks
                .finish(GRACE)
                .await
                .and(ended)
                .context(stage.name.clone());
            outcome = outcome.and(ended);
        }
        self.stop_admin.cancel();
        self.telemetry.flush().await;
        outcome
    }
}

/// The folder for this state directory's Unix sockets. Their paths may only be some 100 bytes
/// long (unix(7)), so a deep state directory gets a short folder beside it in the temporary
/// directory.
pub(crate) fn socket_folder(state_dir: &Path) -> anyhow::Result<PathBuf> {
    let inside = state_dir.join("run");
    if inside.as_os_str().len() <= 80 {
        zen_chassis::files::make_private_folder(&inside)?;
        return Ok(inside);
    }
    let digest = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        state_dir.as_os_str().as_encoded_bytes(),
    );
    let short = std::env::temp_dir().join(format!("zen-{}", hex::encode(&digest.as_ref()[..6])));
    zen_chassis::files::make_private_folder(&short)?;
    Ok(short)
}

/// Resolves at SIGTERM or Ctrl-C.
pub(crate) async fn asked_to_stop() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// The path from the root on.
pub(crate) fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} has no absolute path", path.display()))
}
