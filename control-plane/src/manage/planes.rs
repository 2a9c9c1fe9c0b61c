//! Planes: registered, looked at, renamed, given a data plane, retired.

mod view;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use zen_proto::ids::{IdError, PlaneId};

use self::view::PlaneView;
use super::read::{patched, read};
use super::{Listed, in_service};
use crate::control::Control;
use crate::fields::Faults;
use crate::plane::{Plane, PlaneKind};
use crate::problem::Problem;
use crate::store::{EventKind, NewEvent, PlaneChange, Principal, Wanted};

/// What a person writes about a plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlaneBody {
    pub(crate) name: String,
    /// `edge` or `data`; never changes.
    pub(crate) kind: String,
    /// Edge planes; the only data plane, if there is exactly one and none is named.
    #[serde(default)]
    pub(crate) data_plane_id: Option<String>,
}

impl Control {
    /// Registers a plane.
    pub(crate) async fn create_plane(
        &self,
        caller: &Principal,
        body: Value,
    ) -> Result<PlaneView, Problem> {
        let body: PlaneBody = read(&body)?;
        let mut faults = Faults::default();
        faults.name("name", &body.name);
        let kind: Option<PlaneKind> = faults.id("kind", &body.kind);
        faults.result()?;
        let kind = kind.unwrap_or(PlaneKind::Edge);
        let tenant = match kind {
            PlaneKind::Edge => caller.tenant,
            PlaneKind::Data if caller.operator => self.operator_tenant,
            PlaneKind::Data => {
                return Err(Problem::forbidden(
                    "only the operator registers data planes",
                ));
            }
        };
        let plane = Plane {
            id: self.stage.id(),
            tenant,
            name: body.name.clone(),
            kind,
            data_plane: self
                .data_plane_of(kind, body.data_plane_id.as_deref(), true)
                .await?,
            created_at: self.stage.clock.unix_ms(),
            enrolled_at: None,
            retired_at: None,
            version: 1,
            last_heartbeat_at: None,
            agent_version: None,
            applied_revision: 0,
            recoveries: 0,
        };
        self.store.add_plane(&plane).await?;
        self.touched
            .touch([Some(plane.id), plane.data_plane].into_iter().flatten());
        self.show_plane(plane, true).await
    }

    /// The data plane that was named, checked; or the only one, if none was named and one is
    /// looked for.
    async fn data_plane_of(
        &self,
        kind: PlaneKind,
        named: Option<&str>,
        look: bool,
    ) -> Result<Option<PlaneId>, Problem> {
        let wrong = |detail: String| Problem::field("data_plane_id", detail);
        match (kind, named) {
            (PlaneKind::Data, Some(_)) => Err(wrong("a data plane names no other".to_owned())),
            (PlaneKind::Data, None) => Ok(None),
            (PlaneKind::Edge, None) if look => {
                let all = self.store.some_data_planes().await?;
                Ok(match all.as_slice() {
                    [only] => Some(*only),
                    _ => None,
                })
            }
            (PlaneKind::Edge, None) => Ok(None),
            (PlaneKind::Edge, Some(text)) => {
                let id: PlaneId = text.parse().map_err(|e: IdError| wrong(e.to_string()))?;
                let found = self.store.any_plane(id).await?;
                let usable = |plane: &Plane| plane.kind == PlaneKind::Data && !plane.is_retired();
                let found = found.filter(usable);
                found
                    .map(|plane| Some(plane.id))
                    .ok_or_else(|| wrong(format!("no data plane {id}")))
            }
        }
    }

    /// The planes of the caller's scope, without timeline and counters.
    pub(crate) async fn list_planes(
        &self,
        caller: &Principal,
        wanted: &Wanted,
    ) -> Result<Listed<PlaneView>, Problem> {
        let page = self.store.planes(self.scope(caller), wanted).await?;
        let mut items = Vec::with_capacity(page.items.len());
        for plane in page.items {
            items.push(self.show_plane(plane, false).await?);
        }
        Ok(Listed {
            items,
            next_cursor: page.next,
        })
    }

    /// One plane, whole.
    pub(crate) async fn get_plane(
        &self,
        caller: &Principal,
        id: PlaneId,
    ) -> Result<PlaneView, Problem> {
        let plane = self.managed_plane(caller, id).await?;
        self.show_plane(plane, true).await
    }

    /// Renames a plane or gives it another data plane.
    pub(crate) async fn change_plane(
        &self,
        caller: &Principal,
        id: PlaneId,
        patch: Value,
    ) -> Result<PlaneView, Problem> {
        let plane = in_service(self.managed_plane(caller, id).await?)?;
        let before = PlaneBody {
            name: plane.name.clone(),
            kind: plane.kind.to_string(),
            data_plane_id: plane.data_plane.map(|id| id.to_string()),
        };
        let body: PlaneBody = patched(&before, patch)?;
        let mut faults = Faults::default();
        faults.name("name", &body.name);
        faults.require(body.kind == before.kind, "kind", "a plane keeps its kind");
        faults.result()?;
        let named = body.data_plane_id.as_deref();
        let data_plane = self.data_plane_of(plane.kind, named, false).await?;
        if data_plane != plane.data_plane {
            self.refuse_if_crossed(&plane).await?;
        }
        let change = PlaneChange {
            name: body.name,
            data_plane,
        };
        self.store.change_plane(&plane, &change).await?;
        let concerned = [Some(plane.id), plane.data_plane, data_plane];
        self.touched.touch(concerned.into_iter().flatten());
        self.get_plane(caller, id).await
    }

    /// A plane with flows to or from others keeps its data plane: they would have no way any more.
    async fn refuse_if_crossed(&self, plane: &Plane) -> Result<(), Problem> {
        if plane.data_plane.is_none() {
            return Ok(());
        }
        let crossing = self.store.crossing_flows(plane.id).await?;
        let ids: Vec<_> = crossing
            .iter()
            .take(20)
            .map(|flow| flow.id.to_string())
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        Err(Problem::in_use(format!(
            "enabled flows use the data plane: {}",
            ids.join(", ")
        )))
    }

    /// Takes a plane out of service for good. One that is out already stays so.
    pub(crate) async fn retire_plane(
        &self,
        caller: &Principal,
        id: PlaneId,
    ) -> Result<(), Problem> {
        let plane = self.managed_plane(caller, id).await?;
        let using = self.store.planes_using(id).await?;
        let served: Vec<_> = using.iter().filter(|p| !p.is_retired()).take(20).collect();
        if !served.is_empty() {
            let ids: Vec<_> = served.iter().map(|plane| plane.id.to_string()).collect();
            return Err(Problem::in_use(format!(
                "edge planes use it: {}",
                ids.join(", ")
            )));
        }
        let crossing = self.store.crossing_flows(id).await?;
        let at = self.stage.clock.unix_ms();
        if self.store.retire_plane(id, at).await? {
            let event = NewEvent::plain(id, at, EventKind::Retired, "taken out of service");
            self.store.add_event(&event).await?;
            tracing::info!(plane = %id, "plane retired");
        }
        self.live.retire(id);
        let ends = crossing
            .iter()
            .flat_map(|flow| [flow.endpoint_plane, flow.target_plane]);
        self.touched.touch(ends.chain(plane.data_plane));
        Ok(())
    }
}
