//! The frame around one component in its own process, each step once and in this order: flags →
//! configuration → telemetry → bind → run → drain → flush. Exit codes: 0 done, 1 failed, 64 wrong
//! flags, 78 wrong configuration.

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::admin::Admin;
use crate::chain::Chain;
use crate::config::{self, FrameSettings, Sources};
use crate::metrics::Registries;
use crate::net;
use crate::stage::Stage;
use crate::telemetry::Telemetry;

/// Wrong flags (sysexits.h EX_USAGE).
pub const EXIT_USAGE: u8 = 64;
/// Wrong configuration (sysexits.h EX_CONFIG).
pub const EXIT_CONFIG: u8 = 78;

/// A component that can run in a process of its own or beside others.
pub trait App: Sized + Send + 'static {
    /// What an operator may set; `deny_unknown_fields`, a default for every key.
    type Config: Serialize + DeserializeOwned + Default + Send;

    /// The component's one word.
    const COMPONENT: &'static str;

    /// Worker threads; none means one a core.
    const THREADS: Option<usize> = None;

    /// Checks the configuration, opens what is on disk, binds every socket, starts nothing.
    fn bind(
        config: Self::Config,
        stage: &Stage,
    ) -> impl Future<Output = anyhow::Result<Self>> + Send;

    /// Runs until the stage's shutdown, then drains. Tasks given to the stage are joined by the
    /// caller.
    fn run(self, stage: Stage) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// What a subcommand does with the component's settings and its own arguments.
type Action<C> = Box<dyn FnOnce(C, ArgMatches) -> BoxFuture<'static, ExitCode>>;

/// Something else that a component's binary does with the component's settings, in place of
/// running it.
pub struct Subcommand<C> {
    command: Command,
    action: Action<C>,
}

impl<C> Subcommand<C> {
    /// `command` is its name, arguments and help; `--config` and `--set` are added.
    #[must_use]
    pub fn new(
        command: Command,
        action: impl FnOnce(C, ArgMatches) -> BoxFuture<'static, ExitCode> + 'static,
    ) -> Self {
        Self {
            command,
            action: Box::new(action),
        }
    }
}

/// The `main` of a component's binary.
#[must_use]
pub fn main<A: App>() -> ExitCode {
    main_with::<A>(Vec::new())
}

/// The `main` of a component's binary that does other things too.
#[must_use]
pub fn main_with<A: App>(mut others: Vec<Subcommand<A::Config>>) -> ExitCode {
    match flags::<A>(&others, std::env::args_os()) {
        Ok((flags, asked)) => {
            let action = asked.and_then(|(name, matches)| {
                let place = others.iter().position(|o| o.command.get_name() == name)?;
                Some((others.swap_remove(place).action, matches))
            });
            start::<A>(&flags, action)
        }
        Err(error) => {
            // Nothing is left to do if the terminal is gone.
            let _printed = error.print();
            if error.use_stderr() {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::SUCCESS
            }
        }
    }
}

/// A crash writes no core file, in which secrets would lie in clear.
pub fn no_core_files() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // A limit may always be lowered; where it is not, the system's own setting holds.
    let _lowered = setrlimit(Resource::Core, none);
}

struct Flags {
    sources: Sources,
    dump: bool,
}

/// The name of a subcommand, and what was said to it.
type Asked = Option<(String, ArgMatches)>;

fn flags<A: App>(
    others: &[Subcommand<A::Config>],
    arguments: impl Iterator<Item = OsString>,
) -> Result<(Flags, Asked), clap::Error> {
    let prefix = A::COMPONENT.to_uppercase().replace('-', "_");
    let matches = Command::new(A::COMPONENT)
        .bin_name(format!("zen-{}", A::COMPONENT))
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(format!(
            "Settings: defaults < --config file < ZEN_{prefix}__KEY environment < --set key=value."
        ))
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(clap::value_parser!(std::path::PathBuf))
                .global(true)
                .help("YAML file with settings; it must exist"),
        )
        .arg(
            Arg::new("set")
                .long("set")
                .value_name("KEY=VALUE")
                .action(ArgAction::Append)
                .global(true)
                .help("one setting, keys dotted; may be repeated"),
        )
        .arg(
            Arg::new("dump-config")
                .long("dump-config")
                .action(ArgAction::SetTrue)
                .help("print the settings in force and end"),
        )
        .subcommands(others.iter().map(|other| other.command.clone()))
        .try_get_matches_from(arguments)?;
    let asked = matches
        .subcommand()
        .map(|(name, matches)| (name.to_owned(), matches.clone()));
    let flags = Flags {
        sources: Sources {
            file: matches.get_one("config").cloned(),
            set: matches
                .get_many("set")
                .unwrap_or_default()
                .cloned()
                .collect(),
        },
        dump: matches.get_flag("dump-config"),
    };
    Ok((flags, asked))
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "before there is a log"
)]
fn start<A: App>(flags: &Flags, action: Option<(Action<A::Config>, ArgMatches)>) -> ExitCode {
    no_core_files();
    let loaded = config::load::<A::Config>(A::COMPONENT, &flags.sources);
    let (frame, own) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("zen-{}: {}", A::COMPONENT, Chain(&error));
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if flags.dump {
        return match config::dump(&frame, &own) {
            Ok(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("zen-{}: {error}", A::COMPONENT);
                ExitCode::from(EXIT_CONFIG)
            }
        };
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = A::THREADS {
        builder.worker_threads(threads);
    }
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("zen-{}: cannot start threads: {error}", A::COMPONENT);
            return ExitCode::FAILURE;
        }
    };
    let code = match action {
        Some((action, matches)) => runtime.block_on(action(own, matches)),
        None => runtime.block_on(run::<A>(frame, own)),
    };
    // A second signal or a spent grace must not wait for threads that do not end.
    runtime.shutdown_background();
    code
}

#[expect(clippy::print_stderr, reason = "before there is a log")]
async fn run<A: App>(frame: FrameSettings, own: A::Config) -> ExitCode {
    let telemetry = match Telemetry::start(A::COMPONENT, &frame.log, &frame.otlp) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("zen-{}: {}", A::COMPONENT, Chain(&error));
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let outcome = serve::<A>(&frame, own, &telemetry).await;
    let code = match &outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %Chain(error.as_ref()), "ended with a failure");
            ExitCode::FAILURE
        }
    };
    telemetry.flush().await;
    code
}

async fn serve<A: App>(
    frame: &FrameSettings,
    own: A::Config,
    telemetry: &Telemetry,
) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let admin = Admin::new(Registries::default(), telemetry.level.clone());
    let stage = Stage::new(A::COMPONENT, &[], &admin, &stop)?;
    // Until everything is bound, "ready" would be a lie: no condition has been registered yet.
    let starting = stage.ready.condition("start", "starting");
    let admin_stop = CancellationToken::new();
    let admin_task = match frame.admin.listen {
        Some(address) => {
            let (listener, bound) = net::bind_tcp("admin.listen", address).await?;
            tracing::info!(address = %bound, "admin listener bound");
            Some(tokio::spawn(admin.serve(listener, admin_stop.clone())))
        }
        None => None,
    };
    let app = A::bind(own, &stage).await?;
    starting.ready();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "started");
    let impatient = CancellationToken::new();
    let signals = tokio::spawn(watch_signals(stage.shutdown.clone(), impatient.clone())?);
    let drained = async {
        let outcome = app.run(stage.clone()).await;
        stage.shutdown.cancel();
        stage.tasks.finish(frame.shutdown_grace).await.and(outcome)
    };
    let late = async {
        stage.shutdown.cancelled().await;
        tokio::time::sleep(frame.shutdown_grace).await;
    };
    let outcome = tokio::select! {
        outcome = drained => outcome,
        () = impatient.cancelled() => Err(anyhow::anyhow!("a second signal cut the drain short")),
        () = late => Err(anyhow::anyhow!("not drained within {} s", frame.shutdown_grace.as_secs())),
    };
    signals.abort();
    admin_stop.cancel();
    if let Some(task) = admin_task {
        // It only serves pages; its end needs no report.
        let _ended = task.await;
    }
    tracing::info!("stopped");
    outcome
}

/// First SIGTERM or SIGINT: drain. Second: end at once.
fn watch_signals(
    shutdown: CancellationToken,
    impatient: CancellationToken,
) -> std::io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        for token in [shutdown, impatient] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("asked to stop");
            token.cancel();
        }
    })
}
