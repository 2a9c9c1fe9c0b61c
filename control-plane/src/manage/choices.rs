//! What forms and lists need beside the nouns themselves: names for ids, choices to pick from, and
//! what was counted of one flow or endpoint.

use std::collections::{BTreeSet, HashMap};

use zen_proto::ids::PlaneId;

use super::{FlowView, read_id};
use crate::control::Control;
use crate::permissions::Operation;
use crate::principal::Principal;
use crate::problem::Problem;
use crate::store::{Choice, Counts, NameOf};

/// Names by id, as far as the caller may know them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(HashMap<String, String>);

impl Names {
    /// With what is chosen already among the choices, whatever its name.
    pub(crate) fn put_first(&self, choices: &mut Vec<Choice>, chosen: &str) {
        let known = choices.iter().any(|choice| choice.id == chosen);
        if let Some(name) = self.0.get(chosen).filter(|_| !known) {
            let choice = Choice {
                id: chosen.to_owned(),
                name: name.clone(),
                place: String::new(),
            };
            choices.insert(0, choice);
        }
    }

    /// The name, or the id itself if it is of something that was removed.
    pub(crate) fn of<'a>(&'a self, id: &'a str) -> &'a str {
        self.0.get(id).map_or(id, String::as_str)
    }
}

/// A plane that can be asked or built upon.
#[derive(Clone, Debug)]
pub(crate) struct PlaneChoice {
    pub(crate) choice: Choice,
    /// Whether it has a session at this moment.
    pub(crate) connected: bool,
}

impl Control {
    /// The names of those ids that the caller may see.
    pub(crate) async fn names<'a>(
        &self,
        caller: &Principal,
        of: NameOf,
        ids: impl IntoIterator<Item = &'a str>,
    ) -> Result<Names, Problem> {
        caller.may(match of {
            NameOf::Planes => Operation::PlaneRead,
            NameOf::Endpoints => Operation::EndpointRead,
            NameOf::Targets => Operation::TargetRead,
            NameOf::Flows => Operation::FlowRead,
        })?;
        let ids: BTreeSet<String> = ids.into_iter().map(str::to_owned).collect();
        let ids: Vec<String> = ids.into_iter().collect();
        let names = self.store.names(self.scope(caller), of, &ids).await?;
        Ok(Names(names))
    }

    /// Planes in service whose name contains `part`, the first by name.
    pub(crate) async fn plane_choices(
        &self,
        caller: &Principal,
        part: &str,
    ) -> Result<Vec<PlaneChoice>, Problem> {
        caller.may(Operation::PlaneRead)?;
        let found = self.store.plane_choices(self.scope(caller), part).await?;
        let choices = found.into_iter().map(|choice| PlaneChoice {
            connected: choice
                .id
                .parse()
                .is_ok_and(|id| self.live.look(id).is_some_and(|(open, _)| open)),
            choice,
        });
        Ok(choices.collect())
    }

    /// Endpoints whose name contains `part`, the first by name.
    pub(crate) async fn endpoint_choices(
        &self,
        caller: &Principal,
        part: &str,
    ) -> Result<Vec<Choice>, Problem> {
        caller.may(Operation::EndpointRead)?;
        let found = self.store.endpoint_choices(caller.tenant, None, part);
        Ok(found.await?)
    }

    /// Targets whose name contains `part`, of one plane or all, the first by name.
    pub(crate) async fn target_choices(
        &self,
        caller: &Principal,
        plane: Option<PlaneId>,
        part: &str,
    ) -> Result<Vec<Choice>, Problem> {
        caller.may(Operation::TargetRead)?;
        let found = self.store.target_choices(caller.tenant, plane, part);
        Ok(found.await?)
    }

    /// Flows that end in a plane, the first by name.
    pub(crate) async fn flow_choices(
        &self,
        caller: &Principal,
        plane: Option<PlaneId>,
    ) -> Result<Vec<Choice>, Problem> {
        caller.may(Operation::FlowRead)?;
        let found = self.store.flow_choices(caller.tenant, plane, "");
        Ok(found.await?)
    }

    /// What was counted of one flow, by the planes of its two ends.
    pub(crate) async fn flow_counts(
        &self,
        caller: &Principal,
        flow: &FlowView,
    ) -> Result<Counts, Problem> {
        caller.may(Operation::FlowRead)?;
        let planes = [
            read_id(&flow.endpoint_plane_id)?,
            read_id(&flow.target_plane_id)?,
        ];
        Ok(self.store.counted(planes, &flow.id, "").await?)
    }

    /// What the ingesters of its plane counted of one endpoint.
    pub(crate) async fn endpoint_counts(
        &self,
        caller: &Principal,
        plane_id: &str,
        endpoint_id: &str,
    ) -> Result<Counts, Problem> {
        caller.may(Operation::EndpointRead)?;
        let plane: PlaneId = read_id(plane_id)?;
        Ok(self.store.counted([plane, plane], "", endpoint_id).await?)
    }
}
