//! zen-lock in a Kubernetes cluster: secrets in ZenLock resources, handed to the pods that they name.
//!
//! A tour: a pod that asks for a secret comes by `admission`, which changes it as `inject` says; its
//! init container (`fetch`) asks `pods` with its token, and `zenlocks` finds and opens what it asks
//! for. `serve` is the listener of both, with certificates that `authority` makes and `certificates`
//! keeps. `controller` writes on every ZenLock how it is, and seals it again for a new key.
//! `cluster` asks the API server, `rights` lists all that is asked for.

mod admission;
mod authority;
mod certificates;
mod cluster;
mod controller;
pub(crate) mod fetch;
mod inject;
mod pods;
mod rights;
mod serve;
mod settings;
mod zenlocks;

use anyhow::Context;
use tokio::net::TcpListener;
use zen_chassis::ready::Condition;
use zen_chassis::{Stage, net};

use self::admission::Webhooks;
use self::certificates::{Keeper, Shown};
use self::cluster::Cluster;
use self::controller::Controller;
use self::pods::Pods;
use crate::core::Core;

pub use self::rights::{Right, rights};
pub use self::settings::KubernetesConfig;

/// zen-lock's side of the cluster, bound and not yet running.
pub(crate) struct Kubernetes {
    settings: KubernetesConfig,
    cluster: Cluster,
    listener: TcpListener,
    /// Known before anything runs, so that there is no moment of readiness without it.
    certified: Condition,
}

impl Kubernetes {
    /// Binds the listener and reads how to reach the API server.
    ///
    /// # Errors
    /// When the address is taken, or there is no such configuration.
    pub(crate) async fn bind(settings: KubernetesConfig, stage: &Stage) -> anyhow::Result<Self> {
        let cluster = Cluster::open(&settings).await?;
        let (listener, bound) = net::bind_tcp("kubernetes.listen", settings.listen).await?;
        tracing::info!(address = %bound, "listening for the API server and for pods");
        Ok(Self {
            settings,
            cluster,
            listener,
            certified: stage
                .ready
                .condition("certificates", "no certificate for webhooks yet"),
        })
    }

    /// Starts everything that belongs to it.
    pub(crate) fn start(self, core: &Core, stage: &Stage) {
        let Self {
            settings,
            cluster,
            listener,
            certified,
        } = self;
        let shown = Shown::default();
        let keeper = Keeper::new(&cluster, &shown, &settings, stage, certified);
        let server = format!(
            "{}.{}.svc:{}",
            settings.service, cluster.namespace, settings.port
        );
        let webhooks = Webhooks {
            core: core.clone(),
            cluster: cluster.clone(),
            shown: shown.clone(),
            image: settings.image,
            server,
            run_as_user: settings.run_as_user,
        };
        let pods = Pods {
            core: core.clone(),
            cluster: cluster.clone(),
            agent: settings.agent_service_account,
        };
        let tasks = &stage.tasks;
        tasks.spawn("certificates", keeper.keep(stage.clone()));
        let controller = Controller::new(core, &cluster, stage);
        tasks.spawn("controller", controller.keep(stage.clone()));
        let stop = stage.shutdown.clone();
        tasks.spawn("webhooks", async move {
            serve::serve(listener, shown, webhooks, pods, stop)
                .await
                .context("the API server and pods are no longer served")
        });
    }
}
