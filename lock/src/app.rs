//! zen-lock as a component: what it opens and binds, which tasks it runs, how it ends.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use zen_chassis::neighbour::{Neighbour, Question, Started};
use zen_chassis::net::{Address, Listener};
use zen_chassis::ready::Condition;
use zen_chassis::{App, Stage, files};
use zen_proto::agent::v1::Slice;
use zen_proto::codes::SecretCode;
use zen_proto::component::Component;
use zen_proto::query::v1::{QueryError, answer};
use zen_seal::Realm;

use crate::audit::Audit;
use crate::config::Config;
use crate::core::{Core, Pool};
use crate::desk::{Admission, Desk};
use crate::keyring::{Keyring, KeyringKeeper};
#[cfg(feature = "kubernetes")]
use crate::kubernetes::Kubernetes;
use crate::metrics::{Levels, Metrics};
use crate::opener::Opener;
use crate::reseal::Resealer;
use crate::sources::Sources;
use crate::status::{Survey, Surveyor};

/// File of the audit log.
const AUDIT: &str = "audit.jsonl";

/// zen-lock, bound and not yet running.
pub struct Lock {
    neighbour: Option<Neighbour>,
    listener: Listener,
    local_address: Address,
    core: Core,
    keeper: KeyringKeeper,
    realms: watch::Sender<Vec<Realm>>,
    cluster: Option<Realm>,
    sources: Sources,
    admission: Admission,
    #[cfg(feature = "kubernetes")]
    kubernetes: Option<Kubernetes>,
    /// Whether there are keys. Known before anything runs, so that there is no moment of readiness
    /// without it.
    held: Condition,
}

impl Lock {
    /// Where components ask: with the port that was taken, if any would do.
    #[must_use]
    pub const fn local_address(&self) -> &Address {
        &self.local_address
    }
}

impl App for Lock {
    type Config = Config;

    const COMPONENT: &'static str = "lock";

    async fn bind(config: Config, stage: &Stage) -> anyhow::Result<Self> {
        config.check()?;
        files::make_private_folder(&config.state_dir).context("state_dir")?;
        let mut neighbour = config
            .agent
            .as_ref()
            .map(|agent| Neighbour::open(Component::Lock, agent, Some(&config.state_dir), stage))
            .transpose()?;
        if let (Some(neighbour), Address::Tcp(_)) = (&mut neighbour, &config.listen) {
            // Without one, no component gets past the handshake.
            neighbour.require_identity();
        }
        let audit = open_audit(&config).await?;
        let (keyring, keeper) = Keyring::open(
            config.identities_dir.clone(),
            config.active_identity.clone(),
        );
        let (listener, local_address) = listen(&config).await?;
        let cluster = config.cluster_realm()?;
        #[cfg(feature = "kubernetes")]
        let kubernetes = match config.kubernetes.clone() {
            Some(settings) => Some(Kubernetes::bind(settings, stage).await?),
            None => None,
        };
        let slice = neighbour.as_ref().map(|neighbour| neighbour.slice.clone());
        let now = slice.as_ref().and_then(|slice| slice.borrow().clone());
        let (realms_in, realms) = watch::channel(realms_of(&now, cluster.as_ref()));
        let core = Core {
            opener: Opener::new(keyring, config.writers),
            audit,
            metrics: Metrics::new(&stage.meter),
            realms,
            clock: stage.clock.clone(),
            pool: Pool::new(),
        };
        let identity = neighbour
            .as_ref()
            .map(|neighbour| neighbour.identity.clone());
        let own = rustix::process::geteuid().as_raw();
        Ok(Self {
            sources: Sources::new(config.sealed_dir, slice),
            admission: Admission::new(own, &config.allowed_uids, identity),
            neighbour,
            listener,
            local_address,
            core,
            keeper,
            realms: realms_in,
            cluster,
            #[cfg(feature = "kubernetes")]
            kubernetes,
            held: stage.ready.condition("identities", "not looked yet"),
        })
    }

    async fn run(self, stage: Stage) -> anyhow::Result<()> {
        let Self {
            neighbour,
            listener,
            local_address: _,
            core,
            keeper,
            realms,
            cluster,
            sources,
            admission,
            #[cfg(feature = "kubernetes")]
            kubernetes,
            held,
        } = self;
        let (surveyor, survey) = Surveyor::new(core.clone(), sources.clone());
        let keyring = core.opener.keyring().clone();
        let identity = neighbour
            .as_ref()
            .map(|neighbour| neighbour.identity.clone());
        Metrics::observe(&stage.meter, identity, levels(&keyring, &survey));
        show(&stage, &core, &survey);

        let tasks = &stage.tasks;
        tasks.spawn("identities", keeper.keep(stage.shutdown.clone()));
        tasks.spawn("keys", keep_said(keyring.clone(), held, stage.clone()));
        tasks.spawn("secrets", surveyor.keep(stage.shutdown.clone()));
        if let Some(neighbour) = neighbour {
            let resealer = Resealer {
                core: core.clone(),
                sources: sources.clone(),
                survey: survey.clone(),
                upward: neighbour.upward(),
                stage: stage.clone(),
            };
            tasks.spawn("re-sealing", resealer.keep());
            let status = move |status: &mut zen_proto::session::v1::ComponentStatus| {
                let recipients = keyring.now().recipients();
                status.lock = Some(survey.borrow().to_wire(&recipients));
            };
            let Started {
                slice, questions, ..
            } = neighbour.start(status);
            tasks.spawn("realms", follow(slice, realms, cluster, stage.clone()));
            tasks.spawn("questions", answer_questions(questions, stage.clone()));
        }
        #[cfg(feature = "kubernetes")]
        if let Some(kubernetes) = kubernetes {
            kubernetes.start(&core, &stage);
        }
        let desk = Desk {
            core,
            sources,
            admission,
        };
        let served = desk.serve(listener, stage.shutdown.clone()).await;
        let asked = stage.shutdown.is_cancelled();
        stage.shutdown.cancel();
        served.context("components are no longer served")?;
        anyhow::ensure!(asked, "the service ended before shutdown");
        Ok(())
    }
}

/// Checks the whole chain, which takes a moment.
async fn open_audit(config: &Config) -> anyhow::Result<Audit> {
    let path = config.state_dir.join(AUDIT);
    let max_bytes = config.audit.max_size.as_u64();
    let open = {
        let path = path.clone();
        move || Audit::open(&path, max_bytes)
    };
    let opened = tokio::task::spawn_blocking(open).await?;
    opened.with_context(|| {
        format!(
            "{}: keep it, it is evidence; a new log is begun where there is none",
            path.display()
        )
    })
}

/// Binds what components knock at.
async fn listen(config: &Config) -> anyhow::Result<(Listener, Address)> {
    let (listener, address) = Listener::bind("listen", &config.listen).await?;
    if let Address::Unix(path) = &address
        && !config.allowed_uids.is_empty()
    {
        // Others must be able to knock; who they are is judged by the kernel's word.
        open_to_others(path)?;
    }
    tracing::info!(%address, "listening for components");
    Ok((listener, address))
}

fn open_to_others(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
        .with_context(|| format!("cannot open {} to allowed_uids", path.display()))
}

/// Whose secrets open here.
fn realms_of(slice: &Option<Arc<Slice>>, cluster: Option<&Realm>) -> Vec<Realm> {
    let plane = Neighbour::snapshot(slice).and_then(|snapshot| snapshot.plane_id.parse().ok());
    let plane = plane.map(Realm::Plane);
    plane.into_iter().chain(cluster.cloned()).collect()
}

/// Keeps the realms as the slices say.
async fn follow(
    mut slices: watch::Receiver<Option<Arc<Slice>>>,
    realms: watch::Sender<Vec<Realm>>,
    cluster: Option<Realm>,
    stage: Stage,
) -> anyhow::Result<()> {
    loop {
        let now = realms_of(&slices.borrow_and_update(), cluster.as_ref());
        realms.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
        tokio::select! {
            changed = slices.changed() => if changed.is_err() {
                // Nothing more comes; what is known stays in force until the end.
                stage.shutdown.cancelled().await;
                return Ok(());
            },
            () = stage.shutdown.cancelled() => return Ok(()),
        }
    }
}

/// Says on `/readyz` whether there are keys.
async fn keep_said(keyring: Keyring, held: Condition, stage: Stage) -> anyhow::Result<()> {
    let mut changes = keyring.watch();
    loop {
        let none = changes.borrow_and_update().all().is_empty();
        if none {
            let code = SecretCode::NoIdentity;
            held.not_ready(format!("{code}: {}", code.remedy()));
        } else {
            held.ready();
        }
        tokio::select! {
            Ok(()) = changes.changed() => {}
            () = stage.shutdown.cancelled() => return Ok(()),
        }
    }
}

/// zen-lock knows nothing of deliveries.
async fn answer_questions(
    mut questions: mpsc::Receiver<Question>,
    stage: Stage,
) -> anyhow::Result<()> {
    while let Some(Some(question)) = stage.shutdown.run_until_cancelled(questions.recv()).await {
        let error = QueryError {
            code: "QUERY_INVALID".to_owned(),
            detail: "zen-lock answers no questions; ask the plane's egress".to_owned(),
        };
        // Whoever asked may have given up.
        let _heard = question.reply.send(answer::Answer::Error(error));
    }
    stage.shutdown.cancelled().await;
    Ok(())
}

fn levels(keyring: &Keyring, survey: &watch::Receiver<Arc<Survey>>) -> Levels {
    let keyring = keyring.clone();
    let count = |of: fn(&Survey) -> usize| {
        let survey = survey.clone();
        Box::new(move || of(&survey.borrow()) as u64)
    };
    Levels {
        identities: Box::new(move || keyring.now().all().len() as u64),
        opens: count(|survey| survey.entries.len() - survey.unopened().count()),
        unopened: count(|survey| survey.unopened().count()),
        to_reseal: count(|survey| survey.to_reseal().count()),
    }
}

fn show(stage: &Stage, core: &Core, survey: &watch::Receiver<Arc<Survey>>) {
    let (keyring, realms) = (core.opener.keyring().clone(), core.realms.clone());
    stage.views.add("keys", move || {
        let key = |recipient: &zen_seal::Recipient| {
            json!({ "key_id": recipient.key_id(), "recipient": recipient.to_string() })
        };
        let recipients = keyring.now().recipients();
        let realms: Vec<_> = realms.borrow().iter().map(ToString::to_string).collect();
        json!({
            "active": recipients.first().map(key),
            "older": recipients.iter().skip(1).map(key).collect::<Vec<_>>(),
            "realms": realms,
        })
    });
    let survey = survey.clone();
    stage.views.add("secrets", move || survey.borrow().view());
}
