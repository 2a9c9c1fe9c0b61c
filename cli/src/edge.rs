//! `zen edge`: Edge Lite, an edge plane without Kubernetes, and what keeps it running.

mod enrolment;
pub(crate) mod health;
pub(crate) mod install;
pub(crate) mod plane;

use std::time::Duration;

use zen_chassis::files;

use crate::args::EdgeRun;
use crate::embed::{House, absolute, asked_to_stop, socket_folder};
use crate::output;
use plane::Edge;

/// As long as it takes a person to bring a good bundle.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

pub(crate) async fn run(options: EdgeRun) -> anyhow::Result<()> {
    let state_dir = absolute(&options.state_dir)?;
    files::make_private_folder(&state_dir)?;
    let sockets = socket_folder(&state_dir)?;
    if let (Some(bundle), Some(identity)) = (&options.bundle, &options.identity) {
        enrolment::hand_over(bundle, identity, &state_dir.join("agent"))?;
    }
    let (mut house, admin) =
        House::open(&options.log_level, options.otlp.clone(), options.admin).await?;
    let secrets_dir = match &options.secrets_dir {
        Some(folder) => absolute(folder)?,
        None => state_dir.join("secrets"),
    };
    let lock_identities = match &options.lock_identities {
        Some(folder) => Some(absolute(folder)?),
        None => Some(state_dir.join("lock/identities")).filter(|folder| folder.exists()),
    };
    let edge = Edge {
        plane: "edge",
        folder: &state_dir,
        sockets: &sockets,
        ingest: options.ingest,
        secrets_dir,
        lock_identities,
        proxy: options.proxy,
    };
    let live = async {
        let ingest = edge.start(&mut house).await?;
        output::say(&format!("ingester  http://{ingest}"));
        output::say(&format!("admin     http://{admin}/readyz"));
        // A refused agent stays up and says why on /readyz: there is no limit to wait for.
        house.ready(FOREVER).await?;
        output::say("ready");
        house.failed().await;
        anyhow::bail!("a component failed; see the log")
    };
    let outcome = tokio::select! {
        outcome = live => outcome,
        () = asked_to_stop() => Ok(()),
    };
    house.close().await.and(outcome)
}
