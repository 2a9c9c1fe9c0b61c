//! A probe: how this egress reaches the bridges it attaches to and the targets it calls. Targets
//! are resolved, guarded and connected to as for a delivery; no request is sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream;
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use zen_chassis::chain::Chain;
use zen_proto::query::v1::{Hop, Probed};

use crate::codes;
use crate::dial;
use crate::scheduler::{Shared, targets_tls};
use crate::targets::Target;
use crate::uplink::{Bridges, Link};

/// Connections under way at once.
const AT_ONCE: usize = 32;
/// Time for one of them.
const ONE: Duration = Duration::from_secs(5);
/// Time for all of them.
const ALL: Duration = Duration::from_secs(8);
/// Targets probed at the most.
const TARGETS: usize = 500;
/// The probe's time was over before this hop had its turn, or its answer.
const PROBE_TIMEOUT: &str = "PROBE_TIMEOUT";
/// Nobody answers at the bridge's address.
const BRIDGE_UNREACHABLE: &str = "BRIDGE_UNREACHABLE";
/// The bridge's address answers, and this egress is not attached.
const BRIDGE_NOT_ATTACHED: &str = "BRIDGE_NOT_ATTACHED";

/// Every hop from this egress; targets of one tenant only, or of all if it is empty.
pub(crate) async fn probe(shared: &Arc<Shared>, bridges: &Bridges, tenant_id: &str) -> Probed {
    let from = format!("egress/{}", shared.instance);
    let until = tokio::time::Instant::now() + ALL;
    let mut hops: Vec<BoxFuture<'static, Hop>> = Vec::new();
    for (address, link) in bridges.all() {
        let hop = Hop {
            from: from.clone(),
            to: "bridge".to_owned(),
            address,
            since_ms: link.since_ms,
            ..Hop::default()
        };
        let probing = Box::pin(to_bridge(hop.clone(), link));
        hops.push(Box::pin(within(hop, probing, until)));
    }
    let directory = shared.directory.borrow().clone();
    for target in directory.targets_of(tenant_id).into_iter().take(TARGETS) {
        let trouble = shared.health.of(target.id);
        let uri = target.reach.as_ref().ok().map(|reach| &reach.uri);
        let authority = uri.and_then(|uri| uri.authority());
        let hop = Hop {
            from: from.clone(),
            to: "target".to_owned(),
            target_id: target.id.to_string(),
            address: authority.map(ToString::to_string).unwrap_or_default(),
            since_ms: trouble.map_or(0, |trouble| trouble.since_ms),
            ..Hop::default()
        };
        let probing = Box::pin(to_target(shared.clone(), target.clone(), hop.clone()));
        hops.push(Box::pin(within(hop, probing, until)));
    }
    Probed {
        hops: stream::iter(hops).buffered(AT_ONCE).collect().await,
    }
}

/// A hop in its time; without an answer by then it still is listed.
async fn within(hop: Hop, probing: BoxFuture<'static, Hop>, until: tokio::time::Instant) -> Hop {
    timeout_at(until, probing).await.unwrap_or_else(|_| Hop {
        code: PROBE_TIMEOUT.to_owned(),
        detail: format!("not everything was reached within {} s", ALL.as_secs()),
        ..hop
    })
}

async fn to_bridge(hop: Hop, link: Link) -> Hop {
    let began = Instant::now();
    let connected = tokio::time::timeout(ONE, TcpStream::connect(&*hop.address)).await;
    let (code, detail) = match (connected, link.apart) {
        (Ok(Ok(_)), None) => ("", String::new()),
        (Ok(Ok(_)), Some(why)) => (BRIDGE_NOT_ATTACHED, why),
        (Ok(Err(error)), _) => (BRIDGE_UNREACHABLE, error.to_string()),
        (Err(_), _) => (BRIDGE_UNREACHABLE, no_answer()),
    };
    finished(hop, began, code, detail)
}

async fn to_target(shared: Arc<Shared>, target: Arc<Target>, hop: Hop) -> Hop {
    let began = Instant::now();
    let reach = match &target.reach {
        Ok(reach) => reach,
        Err(why) => return finished(hop, began, codes::TARGET_INVALID, why.clone()),
    };
    let tls = match targets_tls(&target, &shared) {
        Ok(tls) => tls,
        Err(why) => return finished(hop, began, codes::TARGET_INVALID, why),
    };
    let connector = dial::Connector {
        guard: shared.guard.clone(),
        allowed: reach.allowed_networks.clone(),
    };
    let dialled = dial::once(connector, tls, reach.uri.clone());
    match tokio::time::timeout(ONE, dialled).await {
        Ok(Ok(())) => finished(hop, began, "", String::new()),
        Ok(Err(error)) => {
            let code = crate::attempt::code_of(error.as_ref());
            let detail = error.downcast_ref::<dial::DialError>().map_or_else(
                || Chain(error.as_ref()).to_string(),
                |dial| Chain(dial).to_string(),
            );
            finished(hop, began, code, detail)
        }
        Err(_) => finished(hop, began, codes::TARGET_TIMEOUT, no_answer()),
    }
}

fn finished(hop: Hop, began: Instant, code: &str, detail: String) -> Hop {
    let rtt_us = if code.is_empty() || code == BRIDGE_NOT_ATTACHED {
        u32::try_from(began.elapsed().as_micros())
            .unwrap_or(u32::MAX)
            .max(1)
    } else {
        0
    };
    Hop {
        rtt_us,
        code: code.to_owned(),
        detail,
        ..hop
    }
}

fn no_answer() -> String {
    format!("no connection within {} s", ONE.as_secs())
}
