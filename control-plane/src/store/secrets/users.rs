//! What names a secret: endpoints and targets hold `lock:<name>` in their bodies.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use sqlx::{AssertSqlSafe, Row as _};
use zen_proto::ids::PlaneId;

use crate::endpoint::EndpointBody;
use crate::secret::locked;
use crate::store::placed::{Noun, placed};
use crate::store::{DbRow, Scope, Store, StoreError, Tx, word};
use crate::target::TargetBody;

/// Endpoints or targets that are read to learn what they name, at the most.
const NAMING: i64 = 10_000;
/// Users named when a removal is refused.
const NAMED: usize = 20;

/// What kind of thing names a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum UsedBy {
    Endpoint,
    Target,
}

/// Something that names a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Use {
    pub(crate) by: UsedBy,
    pub(crate) id: String,
    pub(crate) name: String,
}

impl Store {
    /// What of the scope names secrets of these planes, by plane and secret.
    pub(crate) async fn secret_users(
        &self,
        scope: Scope,
        planes: &[PlaneId],
    ) -> Result<BTreeMap<(PlaneId, String), BTreeSet<Use>>, StoreError> {
        let mut found: BTreeMap<_, BTreeSet<Use>> = BTreeMap::new();
        if planes.is_empty() {
            return Ok(found);
        }
        let mut tx = self.read().await?;
        let mut note = |(plane, secret, used): (PlaneId, String, Use)| {
            found.entry((plane, secret)).or_default().insert(used);
        };
        let (endpoint, target, scope) = (UsedBy::Endpoint, UsedBy::Target, Some(scope));
        naming::<EndpointBody>(&mut tx, endpoint, scope, planes, None, &mut note).await?;
        naming::<TargetBody>(&mut tx, target, scope, planes, None, &mut note).await?;
        Ok(found)
    }

    /// The names of the secrets that are kept for these planes.
    pub(crate) async fn secret_names(
        &self,
        planes: &[PlaneId],
    ) -> Result<BTreeSet<(PlaneId, String)>, StoreError> {
        if planes.is_empty() {
            return Ok(BTreeSet::new());
        }
        let text = format!(
            "SELECT plane_id, name FROM secrets WHERE plane_id IN ({})",
            places(planes.len(), 1)
        );
        let query = sqlx::query(AssertSqlSafe(text));
        let query = planes
            .iter()
            .fold(query, |query, plane| query.bind(plane.to_string()));
        let found = query
            .try_map(|row: DbRow| Ok((word(&row, "plane_id")?, row.try_get("name")?)))
            .fetch_all(&self.reader)
            .await?;
        Ok(found.into_iter().collect())
    }
}

/// Ids of endpoints and targets, whoever has them, that name this secret: some of them.
pub(super) async fn of(tx: &mut Tx, plane: PlaneId, name: &str) -> Result<Vec<String>, StoreError> {
    let mut users = BTreeSet::new();
    let mut note = |(_, _, used): (PlaneId, String, Use)| {
        users.insert(used);
    };
    let (planes, name) = ([plane], Some(name));
    naming::<EndpointBody>(tx, UsedBy::Endpoint, None, &planes, name, &mut note).await?;
    naming::<TargetBody>(tx, UsedBy::Target, None, &planes, name, &mut note).await?;
    Ok(users.into_iter().take(NAMED).map(|used| used.id).collect())
}

/// `$1, $2, …`: numbers of parameters, and nothing else, are written into statements.
fn places(count: usize, first: usize) -> String {
    let places: Vec<_> = (first..first + count).map(|at| format!("${at}")).collect();
    places.join(", ")
}

/// Tells each endpoint or target of these planes, in the scope if there is one, that names a secret
/// (or the one of that name): its plane, the secret's name, and itself.
async fn naming<B: Noun + 'static>(
    tx: &mut Tx,
    by: UsedBy,
    scope: Option<Scope>,
    planes: &[PlaneId],
    only: Option<&str>,
    tell: &mut (dyn FnMut((PlaneId, String, Use)) + Send),
) -> Result<(), StoreError>
where
    <B::Id as FromStr>::Err: 'static,
{
    let scope: Vec<_> = scope.iter().flat_map(|s| [s.tenant, s.also]).collect();
    let whose = scope.first().map_or("", |_| "tenant_id IN ($1, $2) AND ");
    let (table, first) = (B::TABLE, scope.len() + 1);
    let text = format!(
        "SELECT * FROM {table} WHERE {whose}removed_at IS NULL AND plane_id IN ({}) \
         AND spec LIKE ${} ORDER BY id LIMIT {NAMING}",
        places(planes.len(), first),
        first + planes.len(),
    );
    let query = sqlx::query(AssertSqlSafe(text));
    let query = scope.iter().fold(query, |q, id| q.bind(id.to_string()));
    let query = planes.iter().fold(query, |q, id| q.bind(id.to_string()));
    // A secret's name has no character that means something in a pattern. What else the pattern
    // finds, such as a longer name, is left out below.
    let rows = query
        .bind(format!("%\"lock:{}%", only.unwrap_or_default()))
        .try_map(|row: DbRow| placed::<B>(&row))
        .fetch_all(&mut **tx)
        .await?;
    for row in rows {
        let named: BTreeSet<&str> = row.body.secrets().into_iter().filter_map(locked).collect();
        for secret in named {
            if only.is_none_or(|only| only == secret) {
                let used = Use {
                    by,
                    id: row.id.to_string(),
                    name: row.body.name().to_owned(),
                };
                tell((row.plane, secret.to_owned(), used));
            }
        }
    }
    Ok(())
}
