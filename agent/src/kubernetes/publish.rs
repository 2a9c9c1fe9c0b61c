//! The ConfigMap by which components judge the agent at first contact: kept to what the plane
//! trusts now.

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use zen_chassis::Random;
use zen_chassis::backoff::Backoff;

use super::api::{Api, FIELD_MANAGER, Thing};
use super::fault::{Area, Board};
use super::store::TRUST;
use crate::applied::{Desk, Held};
use crate::identity::StoredIdentity;

/// Keeps the ConfigMap up to date, without end.
pub(crate) async fn keep(api: &Api, desk: &Desk, board: &Board, random: &Random) {
    let mut held = desk.watch();
    let mut published = None;
    loop {
        let wanted = wanted(&held.borrow_and_update());
        board.enrolled(wanted.is_some());
        tokio::select! {
            () = publish(api, wanted.as_ref(), &mut published, board, random) => {
                if held.changed().await.is_err() {
                    return;
                }
            }
            // What was to be published is old already.
            changed = held.changed() => if changed.is_err() { return },
        }
    }
}

/// What components need to know to trust the agent, nothing without an identity.
fn wanted(held: &Held) -> Option<ConfigMap> {
    held.identity
        .as_ref()
        .map(|identity| config_map(&identity.stored))
}

async fn publish(
    api: &Api,
    wanted: Option<&ConfigMap>,
    published: &mut Option<ConfigMap>,
    board: &Board,
    random: &Random,
) {
    if wanted == published.as_ref() {
        return;
    }
    // A plane that is forgotten takes its ConfigMap with it.
    *published = None;
    let Some(wanted) = wanted else {
        return;
    };
    let thing = Thing::config_map(TRUST);
    let mut failed = 0;
    loop {
        let outcome = api.apply::<ConfigMap>(&thing, wanted).await;
        board.note(Area::TrustBundle, &outcome);
        if outcome.is_ok() {
            tracing::debug!("trust bundle published");
            *published = Some(wanted.clone());
            return;
        }
        failed += 1;
        tokio::time::sleep(Backoff::FAR.pause(failed, random.fraction())).await;
    }
}

fn config_map(stored: &StoredIdentity) -> ConfigMap {
    let labels = [
        ("app.kubernetes.io/name", "zen-agent"),
        ("app.kubernetes.io/managed-by", FIELD_MANAGER),
    ];
    let data = [
        ("roots.pem", stored.roots_pem.clone()),
        ("trust-domain", stored.trust_domain.clone()),
        ("tenant-id", stored.tenant_id.to_string()),
        ("plane-id", stored.plane_id.to_string()),
    ];
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(TRUST.to_owned()),
            labels: Some(
                labels
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            ),
            ..ObjectMeta::default()
        },
        data: Some(data.map(|(key, value)| (key.to_owned(), value)).into()),
        ..ConfigMap::default()
    }
}
