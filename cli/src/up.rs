//! `zen up`: control plane, a data plane and an enrolled edge plane in one process on loopback.
//! Nothing is short-cut because it is one process: bundles are issued through the REST API, each
//! agent redeems its own over TLS, and every event takes the real sockets.

mod demo;
mod kept;
mod planes;
mod service;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use zen_chassis::{CancellationToken, Random, files};
use zen_control_plane::ControlPlane;

use crate::api::Api;
use crate::args::{Format, Up};
use crate::context::{PlaneJson, ZenJson};
use crate::edge::plane::Edge;
use crate::embed::{House, absolute, asked_to_stop, socket_folder};
use crate::output;
use kept::Kept;

/// Time for everything to come up and be connected.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn up(options: Up, format: Format) -> anyhow::Result<()> {
    let state_dir = absolute(&options.state_dir)?;
    files::make_private_folder(&state_dir)?;
    let sockets = socket_folder(&state_dir)?;
    let (mut house, admin) =
        House::open(&options.log_level, options.otlp.clone(), options.admin).await?;
    let stop = CancellationToken::new();
    let outcome = tokio::select! {
        outcome = live(&options, &state_dir, &sockets, admin, &mut house, &stop, format) => outcome,
        () = asked_to_stop() => Ok(None),
    };
    stop.cancel();
    let closed = house.close().await;
    let summary = outcome?;
    closed?;
    finish(summary, format)
}

/// Starts everything, then runs the demo or waits to be stopped. The answer is the summary of
/// `--once`.
async fn live(
    options: &Up,
    state_dir: &Path,
    sockets: &Path,
    admin: SocketAddr,
    house: &mut House,
    stop: &CancellationToken,
    format: Format,
) -> anyhow::Result<Option<Value>> {
    let random = Random::system();
    let asked = Kept {
        agents: options.agents,
        bridge: options.bridge,
    };
    let kept = Kept::settle(state_dir, asked)?;
    let (http, api_key_file) = control_plane(options.http, kept, state_dir, house).await?;
    let api = Api::new(&format!("http://{http}"), &api_key_file, None)?;
    let lock_identities = first_identity(state_dir)?;
    let data_id = planes::settle(&api, "data", "data").await?;
    let data = planes::Data {
        ingest: options.ingest,
        bridge: kept.bridge,
        id: &data_id,
        state_dir,
        sockets,
        lock_identities: &lock_identities,
    };
    let data_ingest = data.start(&api, house).await?;
    let edge_id = planes::settle(&api, "edge", "edge").await?;
    let folder = state_dir.join("edge");
    let edge = Edge {
        plane: "edge",
        folder: &folder,
        sockets,
        ingest: options.edge_ingest,
        secrets_dir: folder.join("secrets"),
        lock_identities: Some(lock_identities),
        proxy: None,
    };
    planes::issue(&api, &edge_id, &folder).await?;
    let edge_ingest = edge.start(house).await?;
    house.ready(PATIENCE).await?;
    let zen = ZenJson {
        state_dir: state_dir.to_owned(),
        http: format!("http://{http}"),
        agents: kept.agents.to_string(),
        api_key_file,
        admin: format!("http://{admin}"),
        data_plane: PlaneJson {
            id: data_id,
            ingest: format!("http://{data_ingest}"),
            secrets_dir: state_dir.join("data/secrets"),
        },
        edge_plane: PlaneJson {
            id: edge_id,
            ingest: format!("http://{edge_ingest}"),
            secrets_dir: state_dir.join("edge/secrets"),
        },
        bridge: kept.bridge.to_string(),
    };
    for plane in [&zen.data_plane, &zen.edge_plane] {
        demo::applied(&api, plane).await?;
    }
    let written = serde_json::to_vec_pretty(&zen)?;
    files::write_durable(&state_dir.join("zen.json"), &written, 0o600)?;
    let sign_in = sign_in_link(state_dir)?;
    say_where(&zen, sign_in.as_deref());
    let shown = match options.demo {
        true => Some(demo::run(&api, &zen, &random, stop.clone()).await?),
        false => None,
    };
    if options.once {
        return Ok(Some(json!({ "addresses": zen, "ways": shown })));
    }
    if format != Format::Table {
        output::one(format, &json!({ "addresses": zen, "ways": shown }), |_| {
            String::new()
        })?;
    }
    output::say("\nRunning; stop with Ctrl-C.");
    house.failed().await;
    anyhow::bail!("a component failed; see the log")
}

async fn control_plane(
    http: SocketAddr,
    kept: Kept,
    state_dir: &Path,
    house: &mut House,
) -> anyhow::Result<(SocketAddr, PathBuf)> {
    let mut config = zen_control_plane::Config {
        state_dir: state_dir.join("control-plane"),
        ..zen_control_plane::Config::default()
    };
    config.http.listen = http;
    config.agents.listen = kept.agents;
    house
        .start::<ControlPlane, _>("", config, |app| {
            (app.http_address(), app.api_key_file().to_owned())
        })
        .await
}

/// The identities of the planes' zen-locks; the first is made at the first start.
fn first_identity(state_dir: &Path) -> anyhow::Result<PathBuf> {
    let folder = state_dir.join("lock/identities");
    if !folder.exists() {
        files::make_private_folder(&folder)?;
        let key = zen_seal::Identity::generate().to_secret_text();
        files::write_durable(&folder.join("0001.txt"), key.as_bytes(), 0o600)?;
    }
    Ok(folder)
}

/// The one-time sign-in link, as long as nobody has used it.
fn sign_in_link(state_dir: &Path) -> anyhow::Result<Option<String>> {
    let file = state_dir.join("control-plane/sign-in-link");
    let Some(bytes) = files::read_if_there(&file, 4096)? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes);
    let text = text.with_context(|| format!("{} is damaged", file.display()))?;
    Ok(Some(text.trim().to_owned()))
}

fn say_where(zen: &ZenJson, sign_in: Option<&str>) {
    output::say(&format!("dashboard        {}/", zen.http));
    if let Some(link) = sign_in {
        output::say(&format!("sign in, once    {link}"));
    }
    for line in [
        format!(
            "REST API         {}/v1   key in {}",
            zen.http,
            zen.api_key_file.display()
        ),
        format!("public ingester  {}", zen.data_plane.ingest),
        format!("edge ingester    {}", zen.edge_plane.ingest),
        format!("admin            {}/readyz  /metrics", zen.admin),
        format!("state            {}", zen.state_dir.display()),
        String::new(),
    ] {
        output::say(&line);
    }
}

/// The end of `--once`: a summary, and a failure unless everything was delivered.
fn finish(summary: Option<Value>, format: Format) -> anyhow::Result<()> {
    let Some(mut summary) = summary else {
        return Ok(());
    };
    let count = |key: &str| -> u64 {
        ["public", "local"]
            .iter()
            .filter_map(|way| summary["ways"][way][key].as_u64())
            .sum()
    };
    let (accepted, delivered) = (count("accepted"), count("delivered"));
    let ok = accepted > 0 && accepted == delivered;
    summary["ok"] = ok.into();
    summary["accepted"] = accepted.into();
    summary["delivered"] = delivered.into();
    output::one(format, &summary, |_| {
        format!("{delivered} of {accepted} events delivered")
    })?;
    anyhow::ensure!(ok, "not everything was delivered");
    Ok(())
}
