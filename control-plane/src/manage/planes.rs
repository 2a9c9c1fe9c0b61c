//! Planes: registered, looked at, renamed, given a data plane, retired.

mod lock_view;
mod view;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use zen_proto::ids::{IdError, PlaneId};
use zen_proto::query::v1::{RotatePlaneCa, answer, query};

pub(crate) use self::lock_view::LockView;
pub(crate) use self::view::{ComponentView, EventView, PlaneView};
pub(super) use self::view::{Seen, unwell};
use super::in_service;
use super::lists::{Listed, Paging};
use super::read::{patched, read};
use crate::control::Control;
use crate::fields::Faults;
use crate::permissions::Operation;
use crate::plane::{Plane, PlaneKind, Status, UnknownKind, UnknownStatus};
use crate::precondition::Expected;
use crate::principal::Principal;
use crate::problem::Problem;
use crate::store::{EventKind, NewEvent, Page, PlaneChange, Retired};

/// Time for a plane to get a new CA.
const ROTATION: Duration = Duration::from_secs(20);

/// What a person writes about a plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlaneBody {
    #[schema(min_length = 1, max_length = 100)]
    pub(crate) name: String,
    /// `edge` or `data`; never changes.
    #[schema(pattern = "^(edge|data)$")]
    pub(crate) kind: String,
    /// Edge planes; the only data plane, if there is exactly one and none is named.
    #[serde(default)]
    pub(crate) data_plane_id: Option<String>,
}

/// Which planes are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PlanesAsked {
    /// Those with this in their name, in upper or lower case.
    #[param(max_length = 100)]
    pub(crate) name: Option<String>,
    /// The ones with exactly this name.
    #[param(max_length = 100)]
    pub(crate) exact_name: Option<String>,
    /// Those in this state: `never_enrolled`, `connected`, `degraded`, `not_connected`, `retired`.
    #[param(pattern = "^(never_enrolled|connected|degraded|not_connected|retired)?$")]
    pub(crate) status: Option<String>,
    /// `edge` or `data`.
    #[param(pattern = "^(edge|data)?$")]
    pub(crate) kind: Option<String>,
    /// Items of a page at the most.
    #[param(minimum = 1, maximum = 500, default = 50)]
    pub(crate) limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

impl PlanesAsked {
    fn paging(&self) -> Paging<'_> {
        Paging {
            limit: self.limit,
            cursor: self.cursor.as_deref(),
            name: self.name.as_deref(),
            exact_name: self.exact_name.as_deref(),
        }
    }
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
        caller.may(writing(kind))?;
        let tenant = match kind {
            PlaneKind::Edge => caller.tenant,
            PlaneKind::Data => self.operator_tenant,
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
        let entry = caller.did(plane.created_at, "plane.create", plane.id, json!(body));
        self.store.add_plane(&plane, &entry).await?;
        self.touched
            .touch([Some(plane.id), plane.data_plane].into_iter().flatten());
        self.show_plane(plane).await
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
        asked: &PlanesAsked,
    ) -> Result<Listed<PlaneView>, Problem> {
        caller.may(Operation::PlaneRead)?;
        let mut wanted = asked.paging().wanted::<PlaneId>()?;
        let kind: Option<PlaneKind> = given(asked.kind.as_deref())
            .transpose()
            .map_err(|error: UnknownKind| Problem::query(format!("kind: {error}")))?;
        let status: Option<Status> = given(asked.status.as_deref())
            .transpose()
            .map_err(|error: UnknownStatus| Problem::query(format!("status: {error}")))?;
        let scope = self.scope(caller);
        let Some(status) = status else {
            let page = self.store.planes(scope, kind, &wanted).await?;
            let next_cursor = page.next;
            let items = self.judged(scope, page.items).await?;
            let items = self.show_planes(scope, items).await?;
            return Ok(Listed { items, next_cursor });
        };
        // Whether a plane is connected stands in no table: the pages are gone through until there
        // is one plane more than wanted, or none left.
        let whole = wanted.clone();
        wanted.limit = zen_proto::limits::PAGE;
        let mut found = Vec::new();
        while found.len() <= whole.limit as usize {
            let page = self.store.planes(scope, kind, &wanted).await?;
            let judged = self.judged(scope, page.items).await?;
            found.extend(judged.into_iter().filter(|seen| seen.status == status));
            match page.next {
                Some(next) => wanted.after = next,
                None => break,
            }
        }
        let page = Page::cut(found, &whole, |seen| seen.plane.id.to_string());
        Ok(Listed {
            items: self.show_planes(scope, page.items).await?,
            next_cursor: page.next,
        })
    }

    /// One plane, whole.
    pub(crate) async fn get_plane(
        &self,
        caller: &Principal,
        id: PlaneId,
    ) -> Result<PlaneView, Problem> {
        caller.may(Operation::PlaneRead)?;
        let plane = self.managed_plane(caller, id).await?;
        self.show_plane(plane).await
    }

    /// Renames a plane or gives it another data plane.
    pub(crate) async fn change_plane(
        &self,
        caller: &Principal,
        id: PlaneId,
        patch: Value,
        expected: &Expected,
    ) -> Result<PlaneView, Problem> {
        let plane = in_service(self.managed_plane(caller, id).await?)?;
        caller.may(writing(plane.kind))?;
        expected.meets(plane.version)?;
        let before = PlaneBody {
            name: plane.name.clone(),
            kind: plane.kind.to_string(),
            data_plane_id: plane.data_plane.map(|id| id.to_string()),
        };
        let body: PlaneBody = patched(&before, patch.clone())?;
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
        let now = self.stage.clock.unix_ms();
        let entry = caller.did(now, "plane.change", id, patch);
        let changed = self.store.change_plane(&plane, &change, &entry).await;
        changed.map_err(|error| expected.lost(error.into()))?;
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
        expected: &Expected,
    ) -> Result<(), Problem> {
        caller.may(Operation::PlaneRetire)?;
        let plane = self.managed_plane(caller, id).await?;
        if plane.kind == PlaneKind::Data {
            caller.may(Operation::DataPlaneWrite)?;
        }
        expected.meets(plane.version)?;
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
        let entry = caller.did(at, "plane.retire", id, json!({ "name": plane.name }));
        let pinned = expected.pinned(plane.version);
        match self.store.retire_plane(id, pinned, at, &entry).await? {
            Retired::Now => {
                let by = format!("taken out of service by {}", caller.actor.name);
                let event = NewEvent::plain(id, at, EventKind::Retired, by);
                self.store.add_event(&event).await?;
                tracing::info!(plane = %id, "plane retired");
            }
            Retired::Before => {}
            Retired::Changed => return Err(expected.lost(Problem::changed("read it again"))),
        }
        self.live.retire(id);
        let ends = crossing
            .iter()
            .flat_map(|flow| [flow.endpoint_plane, flow.target_plane]);
        self.touched.touch(ends.chain(plane.data_plane));
        Ok(())
    }
}

impl Control {
    /// Has the plane get a new CA for a new key; answers once it was issued.
    pub(crate) async fn rotate_plane_ca(
        &self,
        caller: &Principal,
        id: PlaneId,
    ) -> Result<(), Problem> {
        caller.may(Operation::PlaneWrite)?;
        let plane = in_service(self.managed_plane(caller, id).await?)?;
        caller.may(writing(plane.kind))?;
        let question = query::Question::RotatePlaneCa(RotatePlaneCa {});
        match self.ask_plane(id, question, ROTATION).await? {
            answer::Answer::PlaneCaRotated(_) => {}
            _ => return Err(super::ask::besides()),
        }
        let at = self.stage.clock.unix_ms();
        let entry = caller.did(at, "plane.rotate_ca", id, json!({}));
        Ok(self.store.note(&entry).await?)
    }
}

/// What a query names; an empty word is none.
fn given<T: std::str::FromStr>(text: Option<&str>) -> Option<Result<T, T::Err>> {
    text.filter(|text| !text.is_empty()).map(str::parse)
}

/// What it takes to register or change a plane of this kind.
const fn writing(kind: PlaneKind) -> Operation {
    match kind {
        PlaneKind::Edge => Operation::PlaneWrite,
        PlaneKind::Data => Operation::DataPlaneWrite,
    }
}
