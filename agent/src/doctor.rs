//! Looks for what stands between an agent and its work, and says how to mend it: the way to the
//! control plane, clocks, bundle, disk, rights. Nothing is redeemed or changed.
//!
//! A tour: `plan` says what is looked at, `look` goes and finds out, `judge` makes a row of each
//! finding and does nothing else, `code` holds every code with its one fix, `report` is the table.
//! `command` is what `zen-agent doctor` adds to the agent's binary.

mod code;
mod command;
mod judge;
mod look;
mod plan;
mod report;

pub use self::code::Code;
pub use self::command::subcommand;
pub use self::plan::{Enrolment, Plan, ProxyOfEnvironment};
pub use self::report::{Outcome, Report, Row};

use self::look::network::Way;
use self::look::{cluster, enrolment, network, storage};

/// Most addresses of a control plane that are tried.
const ADDRESSES: usize = 4;

/// The proxy that this process's environment names, if it does.
#[must_use]
pub fn environment() -> Option<ProxyOfEnvironment> {
    let (variable, value) =
        zen_chassis::config::first_set(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])?;
    let exempt = zen_chassis::config::first_set(&["NO_PROXY", "no_proxy"]);
    Some(ProxyOfEnvironment {
        variable: variable.to_owned(),
        value,
        exempt: exempt.map(|(_, value)| value).unwrap_or_default(),
    })
}

/// Makes every check; one that depends on another that failed is skipped with that reason.
pub async fn examine(plan: &Plan) -> Report {
    let cluster = cluster::open(&plan.enrolment).await;
    let kept = enrolment::look(&plan.enrolment, plan.lock, cluster.as_ref()).await;
    let (ways, disk, rights) = tokio::join!(
        ways(plan, &kept),
        storage::look(plan.storage.as_deref()),
        cluster::rights(&plan.enrolment, cluster.as_ref()),
    );
    let now = plan.clock.now();
    let mut rows = Vec::new();
    let mut server_time = None;
    if ways.is_empty() {
        rows.extend(judge::no_address());
    }
    for way in &ways {
        let judged = judge::way(way, kept.trust.as_ref(), now);
        server_time = server_time.or(judged.server_time);
        rows.extend(judged.rows);
    }
    rows.push(judge::bundle(
        &kept,
        plan.plane_id,
        server_time.unwrap_or(now),
    ));
    rows.push(judge::storage(&disk));
    rows.push(judge::rights(&rights));
    Report::new(rows)
}

async fn ways(plan: &Plan, kept: &enrolment::Kept) -> Vec<Way> {
    let addresses = plan.control_plane.as_ref().or(kept.address.as_ref());
    let looks = addresses
        .iter()
        .flat_map(|addresses| addresses.split(','))
        .take(ADDRESSES)
        .map(|address| network::look(address.trim(), plan));
    futures::future::join_all(looks).await
}
