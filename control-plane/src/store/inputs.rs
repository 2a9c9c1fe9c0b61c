//! All rows that one plane's snapshot is made of, read in one go so that they belong together.

use sqlx::Row as _;
use zen_proto::component::Component;
use zen_proto::ids::PlaneId;

use super::flows::{flow, joined};
use super::placed::{Noun, placed};
use super::planes::plane;
use super::secrets::sealed;
use super::{DbRow, Store, StoreError, Tx, hash, number};
use crate::desired::Inputs;
use crate::endpoint::EndpointBody;
use crate::plane::Plane;
use crate::target::TargetBody;

/// What was last published to a plane.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Last {
    /// 0 if nothing was.
    pub(crate) revision: u64,
    pub(crate) content_sha256: Option<[u8; 32]>,
}

impl Store {
    /// What the plane's snapshot is made of, and what was published of it; nothing if there is no
    /// such plane. Both are of one moment: whoever publishes on top of what was read here has
    /// missed nothing that another control plane published before.
    pub(crate) async fn inputs(&self, id: PlaneId) -> Result<Option<(Inputs, Last)>, StoreError> {
        let mut tx = self.read().await?;
        let Some(own) = find_plane(&mut tx, id).await? else {
            return Ok(None);
        };
        let text = id.to_string();
        let endpoints = sqlx::query(EndpointBody::SQL.in_plane)
            .bind(&text)
            .try_map(|row: DbRow| placed(&row))
            .fetch_all(&mut *tx)
            .await?;
        let targets = sqlx::query(TargetBody::SQL.in_plane)
            .bind(&text)
            .try_map(|row: DbRow| placed(&row))
            .fetch_all(&mut *tx)
            .await?;
        let flows = sqlx::query(joined!("WHERE e.plane_id = $1 OR t.plane_id = $1"))
            .bind(&text)
            .try_map(|row: DbRow| flow(&row))
            .fetch_all(&mut *tx)
            .await?;
        let served = sqlx::query("SELECT * FROM planes WHERE data_plane_id = $1")
            .bind(&text)
            .try_map(|row: DbRow| plane(&row))
            .fetch_all(&mut *tx)
            .await?;
        let secrets =
            sqlx::query("SELECT id, name, sealed, version FROM secrets WHERE plane_id = $1")
                .bind(&text)
                .try_map(|row: DbRow| sealed(&row))
                .fetch_all(&mut *tx)
                .await?;
        let mut data_plane = None;
        let mut bridges = Vec::new();
        if let Some(bridged_by) = own.bridged_by() {
            data_plane = find_plane(&mut tx, bridged_by).await?;
            bridges =
                sqlx::query("SELECT address FROM addresses WHERE plane_id = $1 AND component = $2")
                    .bind(bridged_by.to_string())
                    .bind(Component::Bridge.as_str())
                    .try_map(|row: DbRow| row.try_get("address"))
                    .fetch_all(&mut *tx)
                    .await?;
        }
        let last = last_published(&mut tx, id).await?;
        let inputs = Inputs {
            plane: own,
            endpoints,
            targets,
            flows,
            served,
            data_plane,
            bridges,
            secrets,
        };
        Ok(Some((inputs, last)))
    }
}

async fn last_published(tx: &mut Tx, id: PlaneId) -> Result<Last, StoreError> {
    let found = sqlx::query("SELECT revision, content_sha256 FROM snapshots WHERE plane_id = $1")
        .bind(id.to_string())
        .try_map(|row: DbRow| {
            Ok(Last {
                revision: number(&row, "revision")?,
                content_sha256: Some(hash(&row, "content_sha256")?),
            })
        })
        .fetch_optional(&mut **tx)
        .await?;
    Ok(found.unwrap_or_default())
}

async fn find_plane(tx: &mut Tx, id: PlaneId) -> Result<Option<Plane>, StoreError> {
    let found = sqlx::query("SELECT * FROM planes WHERE id = $1")
        .bind(id.to_string())
        .try_map(|row: DbRow| plane(&row))
        .fetch_optional(&mut **tx)
        .await?;
    Ok(found)
}
