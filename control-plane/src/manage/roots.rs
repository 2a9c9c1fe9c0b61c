//! Roots: their rotation, step by step, for the operator's people.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use zen_chassis::chain::Chain;
use zen_chassis::clock::to_unix_ms;
use zen_identity::{chain_from_pem, not_after};
use zen_proto::ids::PlaneId;

use super::read::read;
use super::shown_time;
use crate::control::Control;
use crate::digest::sha256;
use crate::permissions::Operation;
use crate::principal::Principal;
use crate::problem::Problem;
use crate::roots::{Stage, StepError};
use crate::store::{PlaneRoots, RootStep, StoredRoot};

/// What a plane says counts once it has said so for this long, milliseconds: the components of an
/// agent that was just started come one after the other.
const SETTLED: u64 = 5_000;
/// A bundle issued this long after a root was announced, milliseconds, may come from another
/// control plane that did not know of it yet.
const LAG: u64 = 5_000;
/// Planes named in a refusal at the most.
const NAMED: usize = 20;

/// Names a root: SHA-256 of its certificate, in hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RootId([u8; 32]);

impl fmt::Display for RootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for RootId {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest)?;
        Ok(Self(digest))
    }
}

/// A plane that a step waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct RootPlaneView {
    #[schema(value_type = String)]
    pub(crate) id: PlaneId,
    pub(crate) name: String,
    /// It has a session now.
    pub(crate) connected: bool,
    /// Why the step waits for it.
    pub(crate) why: &'static str,
}

/// A root as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct RootView {
    /// SHA-256 of its certificate, in hex.
    pub(crate) id: String,
    /// `announced`, `signing` or `retiring`.
    pub(crate) stage: &'static str,
    #[schema(format = "date-time")]
    pub(crate) created_at: String,
    #[schema(format = "date-time")]
    pub(crate) not_after: String,
    /// Planes all of whose components trust it.
    pub(crate) acknowledged: u64,
    /// Planes that enrolled, or may yet by a bundle that is out.
    pub(crate) planes: u64,
    /// Planes that the next step waits for: of an announced root, to sign; of a retiring one, to be
    /// removed.
    pub(crate) waits_for: Vec<RootPlaneView>,
}

/// All roots, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct RootsView {
    pub(crate) items: Vec<RootView>,
}

/// What a promotion may pass over.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RootSignBody {
    /// Ids of planes that are not connected and shall not be waited for: they enrol anew.
    #[serde(default)]
    #[schema(max_items = 10000)]
    pub(crate) without: Vec<String>,
}

/// What a removal may pass over.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RootRemoveAsked {
    /// Ids of planes, commas between, that are not connected and shall not be waited for: they
    /// enrol anew.
    pub(crate) without: Option<String>,
}

impl Control {
    /// Takes up the roots as they are stored now.
    pub(crate) async fn look_at_roots(&self) {
        let stored = match self.store.roots().await {
            Ok(stored) => stored,
            Err(error) => {
                return tracing::debug!(error = %Chain(&error), "cannot read the roots");
            }
        };
        match self.authority.take(&stored, self.stage.clock.now()) {
            Ok(true) => {
                let signs = hex::encode(self.authority.signs_sha256());
                tracing::info!(roots = stored.len(), signs, "roots changed");
            }
            Ok(false) => {}
            Err(error) => tracing::error!(error = %Chain(&error), "the roots cannot be used"),
        }
    }

    /// Every root, and what its next step waits for.
    pub(crate) async fn list_roots(&self, caller: &Principal) -> Result<RootsView, Problem> {
        caller.may(Operation::RootManage)?;
        let now = self.stage.clock.unix_ms();
        let (roots, planes) = (
            self.store.roots().await?,
            self.store.plane_roots(now).await?,
        );
        let views = roots.iter().map(|root| self.view(root, &roots, &planes));
        Ok(RootsView {
            items: views.collect::<Result<_, _>>()?,
        })
    }

    /// Announces a new root.
    pub(crate) async fn begin_root(&self, caller: &Principal) -> Result<RootView, Problem> {
        caller.may(Operation::RootManage)?;
        let new = self.authority.successor(self.stage.clock.now());
        let new = new.map_err(|error| Problem::internal(Chain(&error).to_string()))?;
        let id = RootId(digest(&new)?);
        let at = self.stage.clock.unix_ms();
        let entry = caller.did(at, "root.begin", id, json!({}));
        stepped(self.store.announce_root(&new, &entry).await?)?;
        self.shown_root(id).await
    }

    /// Lets an announced root sign, once every plane trusts it.
    pub(crate) async fn sign_root(
        &self,
        caller: &Principal,
        id: RootId,
        body: Value,
    ) -> Result<RootView, Problem> {
        caller.may(Operation::RootManage)?;
        let RootSignBody { without } = read(&body)?;
        let root = self.a_root(id).await?;
        if root.stage != Stage::Announced {
            return Err(step_problem(StepError::NotAnnounced));
        }
        self.nobody_is_left_behind(&root, &without).await?;
        let at = self.stage.clock.unix_ms();
        let entry = caller.did(at, "root.sign", id, json!({ "without": without }));
        stepped(self.store.promote_root(root.id, &entry).await?)?;
        self.shown_root(id).await
    }

    /// Removes a root that signs no more, once nothing leads to it; or one that never signed.
    pub(crate) async fn remove_root(
        &self,
        caller: &Principal,
        id: RootId,
        asked: &RootRemoveAsked,
    ) -> Result<(), Problem> {
        caller.may(Operation::RootManage)?;
        let without = asked.without.as_deref().unwrap_or_default().split(',');
        let without: Vec<_> = without
            .filter(|id| !id.is_empty())
            .map(str::to_owned)
            .collect();
        let root = self.a_root(id).await?;
        match root.stage {
            Stage::Signing => return Err(step_problem(StepError::Signs)),
            Stage::Announced => {}
            Stage::Retiring => self.nobody_is_left_behind(&root, &without).await?,
        }
        let at = self.stage.clock.unix_ms();
        let entry = caller.did(at, "root.retire", id, json!({ "without": without }));
        stepped(self.store.remove_root(root.id, &entry).await?)?;
        self.look_at_roots().await;
        Ok(())
    }

    async fn a_root(&self, id: RootId) -> Result<StoredRoot, Problem> {
        for root in self.store.roots().await? {
            if digest(&root)? == id.0 {
                return Ok(root);
            }
        }
        Err(Problem::no_such("root", id))
    }

    async fn shown_root(&self, id: RootId) -> Result<RootView, Problem> {
        self.look_at_roots().await;
        let now = self.stage.clock.unix_ms();
        let (roots, planes) = (
            self.store.roots().await?,
            self.store.plane_roots(now).await?,
        );
        self.view(&self.a_root(id).await?, &roots, &planes)
    }

    /// Refuses a step for which a plane is not ready, unless that plane is away and named.
    async fn nobody_is_left_behind(
        &self,
        root: &StoredRoot,
        without: &[String],
    ) -> Result<(), Problem> {
        let now = self.stage.clock.unix_ms();
        let (roots, planes) = (
            self.store.roots().await?,
            self.store.plane_roots(now).await?,
        );
        let without: BTreeSet<&str> = without.iter().map(String::as_str).collect();
        let mut waits = self.waits_for(root, &roots, &planes)?;
        waits.retain(|plane| plane.connected || !without.contains(&*plane.id.to_string()));
        if waits.is_empty() {
            return Ok(());
        }
        let named = waits.iter().take(NAMED);
        let named = named.map(|plane| format!("{} {} ({})", plane.id, plane.name, plane.why));
        let named: Vec<_> = named.collect();
        let count = waits.len();
        let detail = format!(
            "{count} planes are not ready: {}; wait for them, or name those that are not connected \
             in `without`: they will have to enrol anew",
            named.join(", ")
        );
        Err(Problem::root_awaited(detail))
    }

    fn view(
        &self,
        root: &StoredRoot,
        roots: &[StoredRoot],
        planes: &[PlaneRoots],
    ) -> Result<RootView, Problem> {
        let digest = digest(root)?;
        let certificate = chain_from_pem(&root.certificate_pem).ok();
        let end = certificate.and_then(|chain| not_after(chain.first()?).ok());
        let acknowledged = planes.iter().filter(|plane| plane.said.holds(&digest));
        Ok(RootView {
            id: hex::encode(digest),
            stage: root.stage.as_str(),
            created_at: shown_time(root.created_at),
            not_after: shown_time(end.map_or(0, to_unix_ms)),
            acknowledged: u64::try_from(acknowledged.count()).unwrap_or(u64::MAX),
            planes: u64::try_from(planes.len()).unwrap_or(u64::MAX),
            waits_for: self.waits_for(root, roots, planes)?,
        })
    }

    /// The planes that a root's next step waits for, with the reason.
    fn waits_for(
        &self,
        root: &StoredRoot,
        roots: &[StoredRoot],
        planes: &[PlaneRoots],
    ) -> Result<Vec<RootPlaneView>, Problem> {
        let own = digest(root)?;
        let signs = roots.iter().find(|root| root.stage == Stage::Signing);
        let signs = signs.map_or(Ok(own), digest)?;
        let now = self.stage.clock.unix_ms();
        let mut waits = Vec::new();
        for plane in planes {
            let why = match root.stage {
                Stage::Signing => None,
                Stage::Announced => unready_to_sign(plane, &own, root.created_at, now),
                Stage::Retiring => unready_to_remove(plane, &signs, now),
            };
            if let Some(why) = why {
                let open = self.live.read(plane.id, |open, _| open);
                waits.push(RootPlaneView {
                    id: plane.id,
                    name: plane.name.clone(),
                    connected: open.unwrap_or(false),
                    why,
                });
            }
        }
        Ok(waits)
    }
}

/// Why the root cannot sign yet, for one plane.
fn unready_to_sign(
    plane: &PlaneRoots,
    root: &[u8; 32],
    announced_at: u64,
    now: u64,
) -> Option<&'static str> {
    // What redeems a bundle knows no other root than those in it.
    let early = |at: u64| at < announced_at.saturating_add(LAG);
    if plane.bundle_at.is_some_and(early) {
        return Some("a bundle from before is out");
    }
    (plane.enrolled && !(plane.said.holds(root) && is_settled(plane, now)))
        .then_some("it has not acknowledged the root")
}

/// Why no root but the one that signs can be trusted yet, for one plane.
fn unready_to_remove(plane: &PlaneRoots, signs: &[u8; 32], now: u64) -> Option<&'static str> {
    if !plane.enrolled {
        return None;
    }
    if !(plane.said.holds(signs) && is_settled(plane, now)) {
        return Some("it has not acknowledged the root that signs");
    }
    (!plane.said.uses_only(signs)).then_some("its certificates lead to another root")
}

fn is_settled(plane: &PlaneRoots, now: u64) -> bool {
    let since = plane.since;
    since.is_some_and(|since| now.saturating_sub(since) >= SETTLED)
}

fn digest(root: &StoredRoot) -> Result<[u8; 32], Problem> {
    let chain = chain_from_pem(&root.certificate_pem);
    let chain = chain.map_err(|error| Problem::internal(error.to_string()))?;
    chain
        .first()
        .map(|der| sha256(der))
        .ok_or_else(|| Problem::internal("a root has no certificate"))
}

fn stepped(step: RootStep) -> Result<(), Problem> {
    step.map_err(step_problem)
}

fn step_problem(refused: StepError) -> Problem {
    match refused {
        StepError::UnderWay => Problem::root_under_way(refused.to_string()),
        StepError::Full => Problem::full(refused.to_string()),
        StepError::Unknown => Problem::not_found(refused.to_string()),
        StepError::NotAnnounced | StepError::Signs => Problem::root_stage(refused.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use zen_proto::ids::Id as _;

    use super::*;
    use crate::roots::Said;

    const OLD: [u8; 32] = [1; 32];
    const NEW: [u8; 32] = [2; 32];

    fn plane(held: &[[u8; 32]], used: &[[u8; 32]]) -> PlaneRoots {
        PlaneRoots {
            id: PlaneId::generate(0, [0; 10]),
            name: "p".to_owned(),
            said: Said {
                held: held.to_vec(),
                used: used.to_vec(),
            },
            since: Some(0),
            enrolled: true,
            bundle_at: None,
        }
    }

    #[test]
    fn a_root_waits_for_every_plane_that_has_not_said_for_a_while_that_it_trusts_it() {
        let at = SETTLED;
        assert_eq!(
            unready_to_sign(&plane(&[OLD, NEW], &[OLD]), &NEW, 0, at),
            None
        );
        assert!(unready_to_sign(&plane(&[OLD], &[OLD]), &NEW, 0, at).is_some());
        let hasty = unready_to_sign(&plane(&[OLD, NEW], &[OLD]), &NEW, 0, at - 1);
        assert!(hasty.is_some());
        let never = PlaneRoots {
            since: None,
            ..plane(&[], &[])
        };
        assert!(unready_to_sign(&never, &NEW, 0, at).is_some());
    }

    #[test]
    fn a_bundle_from_before_keeps_a_root_from_signing_and_a_later_one_does_not() {
        let with = |bundle_at| PlaneRoots {
            enrolled: false,
            bundle_at: Some(bundle_at),
            ..plane(&[], &[])
        };
        let why = unready_to_sign(&with(10), &NEW, 20, 100_000);
        assert_eq!(why, Some("a bundle from before is out"));
        assert_eq!(unready_to_sign(&with(20 + LAG), &NEW, 20, 100_000), None);
    }

    #[test]
    fn an_old_root_stays_while_anything_leads_to_it() {
        let at = SETTLED;
        assert_eq!(
            unready_to_remove(&plane(&[OLD, NEW], &[NEW]), &NEW, at),
            None
        );
        assert!(unready_to_remove(&plane(&[OLD, NEW], &[OLD, NEW]), &NEW, at).is_some());
        assert!(unready_to_remove(&plane(&[OLD], &[OLD]), &NEW, at).is_some());
        assert!(unready_to_remove(&plane(&[OLD, NEW], &[]), &NEW, at).is_some());
    }
}
