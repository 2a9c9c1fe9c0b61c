//! `zen doctor`: the agent's checks, for a person at a terminal. Exit code 1 if one failed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use zen_agent::doctor::{self, Enrolment, Plan};
use zen_chassis::Clock;

use crate::args::{Doctor, Format};
use crate::context::Connection;
use crate::output;

pub(crate) async fn run(
    options: Doctor,
    connection: &Connection,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let plan = plan(options, connection)?;
    let report = Box::pin(doctor::examine(&plan)).await;
    output::one(format, &report.json(), |_| {
        report.table().trim_end().to_owned()
    })?;
    Ok(match report.failed() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

fn plan(options: Doctor, connection: &Connection) -> anyhow::Result<Plan> {
    let said_nothing =
        options.control_plane.is_none() && options.bundle.is_none() && options.state_dir.is_none();
    let (state_dir, control_plane) = if said_nothing {
        let up = connection.zen_json()?;
        (Some(up.state_dir.join("edge")), Some(up.agents))
    } else {
        (options.state_dir, options.control_plane)
    };
    let agent = state_dir.as_deref().map(agent_of);
    let beside = |name: &str| agent.as_ref().map(|agent| agent.join(name));
    Ok(Plan {
        control_plane,
        proxy: options.proxy,
        environment: doctor::environment(),
        enrolment: Enrolment::Files {
            held: beside("identity.json"),
            bundle: options.bundle.or_else(|| beside("enrollment/bundle.age")),
            identity: options
                .identity
                .or_else(|| beside("enrollment/identity.txt")),
        },
        lock: false,
        storage: state_dir,
        plane_id: None,
        clock: Clock::system(),
        patience: Duration::from_secs(options.timeout),
    })
}

/// Edge Lite keeps the agent's state in a folder of its own.
fn agent_of(state_dir: &Path) -> PathBuf {
    let inside = state_dir.join("agent");
    if inside.is_dir() {
        inside
    } else {
        state_dir.to_owned()
    }
}
