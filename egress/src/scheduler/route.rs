//! What the configuration says about deliveries that wait: which flows may run, and where one that
//! is due goes. Pure.

use std::sync::Arc;

use zen_chassis::clock::millis;
use zen_proto::ids::{FlowId, TargetId};

use super::Rules;
use crate::codes;
use crate::ledger::{Due, Mode};
use crate::targets::{Directory, Flow, Target};

/// What holds for each flow right now. A target that is `held` is not called; `sweep` asks for
/// those that must wait whether their time is over.
pub(super) fn modes(
    directory: &Arc<Directory>,
    rules: &Rules,
    target: TargetId,
    held: bool,
    sweep: bool,
) -> Arc<dyn Fn(FlowId) -> Mode + Send + Sync> {
    let directory = directory.clone();
    let grace_ms = millis(rules.unknown_grace);
    let target_known = directory.target(target).is_some();
    let waits = if sweep { Mode::Expired } else { Mode::Wait };
    Arc::new(move |flow| match directory.flow(flow) {
        _ if !directory.known || held => waits,
        Some(flow) if target_known && flow.enabled => Mode::Run,
        Some(_) if target_known => waits,
        _ => Mode::After(grace_ms),
    })
}

/// Where a delivery that is due goes.
pub(super) enum Route {
    To(Arc<Target>, Arc<Flow>),
    Wait,
    GiveUp(&'static str),
}

/// Judges one delivery by the configuration. It was picked, so what is unknown here has had its
/// time to become known.
pub(super) fn route(directory: &Directory, id: TargetId, due: &Due, now_ms: u64) -> Route {
    if due.expires_at_ms <= now_ms {
        return Route::GiveUp(codes::DELIVERY_EXPIRED);
    }
    let flow = due
        .record
        .flow_id
        .parse()
        .ok()
        .and_then(|flow: FlowId| directory.flow(flow));
    let (Some(target), Some(flow)) = (directory.target(id), flow) else {
        return Route::GiveUp(codes::TARGET_UNKNOWN);
    };
    // The flow may lead elsewhere by now; what was accepted for this target still goes there.
    let tenants = [&target.tenant_id, &flow.tenant_id];
    if tenants
        .iter()
        .any(|tenant| **tenant != due.record.tenant_id)
    {
        return Route::GiveUp(codes::TENANT_MISMATCH);
    }
    if !flow.enabled {
        return Route::Wait;
    }
    Route::To(target.clone(), flow.clone())
}
