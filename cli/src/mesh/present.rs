//! What the control plane has now.

use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::Value;

use super::{Key, Noun};
use crate::api::Api;

/// A plane in service.
#[derive(Clone, Debug)]
pub(super) struct Plane {
    pub(super) id: String,
    pub(super) name: String,
}

/// One endpoint, target or flow as the API shows it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) row: Value,
}

impl Row {
    /// A member that is text.
    pub(super) fn text(&self, member: &str) -> &str {
        self.row[member].as_str().unwrap_or_default()
    }
}

/// Planes, endpoints, targets and flows, read once.
#[derive(Debug, Default)]
pub(super) struct Present {
    pub(super) planes: Vec<Plane>,
    pub(super) rows: BTreeMap<Key, Row>,
}

impl Present {
    /// Reads everything.
    ///
    /// # Errors
    /// When the API refuses.
    pub(super) async fn read(api: &Api) -> anyhow::Result<Self> {
        let mut present = Self::default();
        for plane in api.all("/v1/planes").await? {
            let member = |name: &str| plane[name].as_str().map(ToOwned::to_owned);
            if member("status").as_deref() == Some("retired") {
                continue;
            }
            present.planes.push(Plane {
                id: member("id").context("a plane without an id")?,
                name: member("name").context("a plane without a name")?,
            });
        }
        for noun in Noun::ALL {
            for row in api.all(noun.path()).await? {
                present.add(noun, row)?;
            }
        }
        Ok(present)
    }

    /// Adds one row of a list.
    pub(super) fn add(&mut self, noun: Noun, row: Value) -> anyhow::Result<()> {
        let member = |name: &str| row[name].as_str().map(ToOwned::to_owned);
        let id = member("id").with_context(|| format!("{noun} without an id"))?;
        let plane = match noun {
            Noun::Flow => None,
            Noun::Endpoint | Noun::Target => member("plane_id"),
        };
        let key = Key {
            noun,
            plane,
            name: member("name").with_context(|| format!("{noun} without a name"))?,
        };
        self.rows.insert(key, Row { id, row });
        Ok(())
    }

    /// The id of the plane that is called so, by name or id.
    ///
    /// # Errors
    /// What to write instead.
    pub(super) fn plane_id(&self, called: &str) -> Result<String, String> {
        let mut found = self
            .planes
            .iter()
            .filter(|plane| plane.id == called || plane.name == called);
        match (found.next(), found.next()) {
            (Some(plane), None) => Ok(plane.id.clone()),
            (None, _) => Err(format!(
                "there is no plane {called} in service: `zen plane list` shows them"
            )),
            (Some(_), Some(_)) => Err(format!(
                "several planes are called {called}: write the id instead"
            )),
        }
    }

    /// How a plane is called in a file: its name, or the id where the name is not enough.
    pub(super) fn plane_called<'a>(&'a self, id: &'a str) -> &'a str {
        let Some(plane) = self.planes.iter().find(|plane| plane.id == id) else {
            return id;
        };
        let same = |other: &&Plane| other.name == plane.name;
        if self.planes.iter().filter(same).count() == 1 {
            &plane.name
        } else {
            id
        }
    }

    /// The key of the row with this id.
    pub(super) fn key_of(&self, noun: Noun, id: &str) -> Option<&Key> {
        let found = self.rows.iter();
        let mut found = found.filter(|(key, row)| key.noun == noun && row.id == id);
        found.next().map(|(key, _)| key)
    }
}
