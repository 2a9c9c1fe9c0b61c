//! `zen edge run`: Edge Lite, an edge plane without Kubernetes. The bundle is handed to the agent
//! by file; once the plane is enrolled it is not needed again.

pub(crate) mod plane;

use std::path::Path;
use std::time::Duration;

use zen_chassis::files;

use crate::args::EdgeRun;
use crate::embed::{House, absolute, asked_to_stop, socket_folder};
use crate::output;
use plane::Edge;

/// Largest bundle or identity file.
const FILE: usize = 1024 * 1024;
/// As long as it takes a person to bring a good bundle.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

pub(crate) async fn run(options: EdgeRun) -> anyhow::Result<()> {
    let state_dir = absolute(&options.state_dir)?;
    files::make_private_folder(&state_dir)?;
    let sockets = socket_folder(&state_dir)?;
    if let (Some(bundle), Some(identity)) = (&options.bundle, &options.identity) {
        hand_over(bundle, identity, &state_dir.join("agent/enrollment"))?;
    }
    let (mut house, admin) =
        House::open(&options.log_level, options.otlp.clone(), options.admin).await?;
    let secrets_dir = match &options.secrets_dir {
        Some(folder) => absolute(folder)?,
        None => state_dir.join("secrets"),
    };
    let edge = Edge {
        plane: "edge",
        folder: &state_dir,
        sockets: &sockets,
        ingest: options.ingest,
        secrets_dir,
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

/// Copies bundle and identity to where the agent looks for them; the agent deletes its copies
/// when it has redeemed the bundle.
fn hand_over(bundle: &Path, identity: &Path, folder: &Path) -> anyhow::Result<()> {
    files::make_private_folder(folder)?;
    let identity = files::read_capped(identity, FILE)?;
    let bundle = files::read_capped(bundle, FILE)?;
    files::write_durable(&folder.join("identity.txt"), &identity, 0o600)?;
    files::write_durable(&folder.join("bundle.age"), &bundle, 0o600)?;
    Ok(())
}
