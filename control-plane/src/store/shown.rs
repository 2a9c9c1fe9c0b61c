//! What pages show beside the nouns themselves: names for ids, choices for a form, counts of one
//! flow or endpoint.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, Row as _};
use zen_proto::ids::{PlaneId, TenantId};

use super::{Counts, DbRow, Scope, Store, StoreError, number};

/// Whose name is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameOf {
    Planes,
    Endpoints,
    Targets,
    Flows,
}

impl NameOf {
    /// The table, and whether a row of it may be shown to everybody: data planes serve all tenants.
    const fn condition(self) -> (&'static str, &'static str) {
        match self {
            Self::Planes => ("planes", "(tenant_id IN ($1, $2) OR kind = 'data')"),
            Self::Endpoints => ("endpoints", "tenant_id IN ($1, $2)"),
            Self::Targets => ("targets", "tenant_id IN ($1, $2)"),
            Self::Flows => ("flows", "tenant_id IN ($1, $2)"),
        }
    }
}

/// One choice of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The name of its plane; of a plane, its kind.
    pub(crate) place: String,
}

/// Choices offered at once; who has more narrows them by name.
pub(crate) const CHOICES: i64 = 200;

impl Store {
    /// The names of those ids that lie in the scope. An id that does not is left out.
    pub(crate) async fn names(
        &self,
        scope: Scope,
        of: NameOf,
        ids: &[String],
    ) -> Result<HashMap<String, String>, StoreError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let (table, visible) = of.condition();
        let places: Vec<_> = (0..ids.len()).map(|at| format!("${}", at + 3)).collect();
        // Only numbers of parameters are written into the text.
        let text = format!(
            "SELECT id, name FROM {table} WHERE {visible} AND id IN ({})",
            places.join(", ")
        );
        let query = sqlx::query(AssertSqlSafe(text))
            .bind(scope.tenant.to_string())
            .bind(scope.also.to_string());
        let query = ids.iter().fold(query, |query, id| query.bind(id.clone()));
        let found = query
            .try_map(|row: DbRow| Ok((row.try_get("id")?, row.try_get("name")?)))
            .fetch_all(&self.reader)
            .await?;
        Ok(found.into_iter().collect())
    }

    /// Planes in service in which something can be put, by name: at most [`CHOICES`].
    pub(crate) async fn plane_choices(
        &self,
        scope: Scope,
        part: &str,
    ) -> Result<Vec<Choice>, StoreError> {
        let found = sqlx::query(
            "SELECT id, name, kind AS place FROM planes WHERE retired_at IS NULL \
             AND (tenant_id IN ($1, $2) OR kind = 'data') \
             AND LOWER(name) LIKE $3 ESCAPE '!' ORDER BY name, id LIMIT $4",
        )
        .bind(scope.tenant.to_string())
        .bind(scope.also.to_string())
        .bind(containing(part))
        .bind(CHOICES)
        .try_map(|row: DbRow| choice(&row))
        .fetch_all(&self.reader)
        .await?;
        Ok(found)
    }

    /// Endpoints from which a flow can begin, by name: at most [`CHOICES`].
    pub(crate) async fn endpoint_choices(
        &self,
        tenant: TenantId,
        plane: Option<PlaneId>,
        part: &str,
    ) -> Result<Vec<Choice>, StoreError> {
        let sql = "SELECT n.id, n.name, p.name AS place FROM endpoints n \
             JOIN planes p ON p.id = n.plane_id WHERE n.tenant_id = $1 AND n.removed_at IS NULL \
             AND ($2 = '' OR n.plane_id = $2) \
             AND LOWER(n.name) LIKE $3 ESCAPE '!' ORDER BY n.name, n.id LIMIT $4";
        self.placed_choices(sql, tenant, plane, part).await
    }

    /// Targets in which a flow can end, by name: at most [`CHOICES`].
    pub(crate) async fn target_choices(
        &self,
        tenant: TenantId,
        plane: Option<PlaneId>,
        part: &str,
    ) -> Result<Vec<Choice>, StoreError> {
        let sql = "SELECT n.id, n.name, p.name AS place FROM targets n \
             JOIN planes p ON p.id = n.plane_id WHERE n.tenant_id = $1 AND n.removed_at IS NULL \
             AND ($2 = '' OR n.plane_id = $2) \
             AND LOWER(n.name) LIKE $3 ESCAPE '!' ORDER BY n.name, n.id LIMIT $4";
        self.placed_choices(sql, tenant, plane, part).await
    }

    /// Flows that end in a plane, by name: at most [`CHOICES`].
    pub(crate) async fn flow_choices(
        &self,
        tenant: TenantId,
        plane: Option<PlaneId>,
        part: &str,
    ) -> Result<Vec<Choice>, StoreError> {
        let sql = "SELECT n.id, n.name, p.name AS place FROM flows n \
             JOIN targets t ON t.id = n.target_id JOIN planes p ON p.id = t.plane_id \
             WHERE n.tenant_id = $1 AND ($2 = '' OR t.plane_id = $2) \
             AND LOWER(n.name) LIKE $3 ESCAPE '!' ORDER BY n.name, n.id LIMIT $4";
        self.placed_choices(sql, tenant, plane, part).await
    }

    async fn placed_choices(
        &self,
        sql: &'static str,
        tenant: TenantId,
        plane: Option<PlaneId>,
        part: &str,
    ) -> Result<Vec<Choice>, StoreError> {
        let found = sqlx::query(sql)
            .bind(tenant.to_string())
            .bind(plane.map(|id| id.to_string()).unwrap_or_default())
            .bind(containing(part))
            .bind(CHOICES)
            .try_map(|row: DbRow| choice(&row))
            .fetch_all(&self.reader)
            .await?;
        Ok(found)
    }

    /// What two planes have counted for one flow (its ends' planes, maybe the same), or for one
    /// endpoint: the id that is not asked for is empty.
    pub(crate) async fn counted(
        &self,
        planes: [PlaneId; 2],
        flow_id: &str,
        endpoint_id: &str,
    ) -> Result<Counts, StoreError> {
        let row = sqlx::query(
            "SELECT CAST(COALESCE(SUM(accepted), 0) AS BIGINT) AS accepted, \
             CAST(COALESCE(SUM(refused), 0) AS BIGINT) AS refused, \
             CAST(COALESCE(SUM(dispatched), 0) AS BIGINT) AS dispatched, \
             CAST(COALESCE(SUM(delivered), 0) AS BIGINT) AS delivered, \
             CAST(COALESCE(SUM(failed_attempts), 0) AS BIGINT) AS failed_attempts, \
             CAST(COALESCE(SUM(dead_lettered), 0) AS BIGINT) AS dead_lettered, \
             CAST(COALESCE(SUM(duplicates), 0) AS BIGINT) AS duplicates, \
             CAST(COALESCE(SUM(expired), 0) AS BIGINT) AS expired \
             FROM counters WHERE plane_id IN ($1, $2) AND flow_id = $3 AND endpoint_id = $4",
        )
        .bind(planes[0].to_string())
        .bind(planes[1].to_string())
        .bind(flow_id)
        .bind(endpoint_id)
        .fetch_one(&self.reader)
        .await?;
        Ok(Counts {
            accepted: number(&row, "accepted")?,
            refused: number(&row, "refused")?,
            dispatched: number(&row, "dispatched")?,
            delivered: number(&row, "delivered")?,
            failed_attempts: number(&row, "failed_attempts")?,
            dead_lettered: number(&row, "dead_lettered")?,
            duplicates: number(&row, "duplicates")?,
            expired: number(&row, "expired")?,
        })
    }
}

fn choice(row: &DbRow) -> Result<Choice, sqlx::Error> {
    Ok(Choice {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        place: row.try_get("place")?,
    })
}

/// The pattern that finds a part of a name in any case, with nothing in it taken for a wildcard.
fn containing(part: &str) -> String {
    let mut pattern = String::from("%");
    for character in part.to_lowercase().chars() {
        if matches!(character, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::containing;

    #[test]
    fn nothing_in_a_part_of_a_name_is_a_wildcard() {
        assert_eq!(containing("50%_Of!"), "%50!%!_of!!%");
        assert_eq!(containing(""), "%%");
    }
}
