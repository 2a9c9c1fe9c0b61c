//! What the plane's zen-lock sealed again: taken if the plane has the secret and nobody stored
//! another version meanwhile. Whatever is not taken is logged and forgotten; zen-lock sees in the
//! next snapshot what is in force.

use serde_json::json;
use zen_chassis::chain::Chain;
use zen_proto::ids::SecretId;
use zen_proto::session::v1::Resealed;

use super::Talk;
use crate::principal::{Actor, ActorKind};
use crate::secret::{self, key_ids};
use crate::store::{Kept, NewAudit, Resealing, StoreError};

impl Talk {
    /// Takes one secret, or says in the log why not.
    pub(super) async fn hear_resealed(&self, said: Resealed) {
        let plane = self.plane.id;
        let id = said.secret_id.parse::<SecretId>();
        let taken = match &id {
            Ok(id) => self.take(*id, &said).await,
            Err(_) => Err("its id is none"),
        };
        match taken {
            Ok(version) => {
                self.control.metrics.resealed("taken");
                let secret = &said.secret_id;
                tracing::info!(%plane, %secret, version, "secret sealed to another key");
                self.control.touched.touch([plane]);
            }
            Err(reason) => {
                self.control.metrics.resealed("refused");
                // What is no id is not repeated.
                let secret = id.map(|id| id.to_string()).unwrap_or_default();
                tracing::warn!(%plane, %secret, reason, "a secret sealed again is not taken");
            }
        }
    }

    /// Keeps it; the answer is its new version.
    async fn take(&self, id: SecretId, said: &Resealed) -> Result<u64, &'static str> {
        let plane = self.plane.id;
        let store = &self.control.store;
        let failed = |error: StoreError| {
            tracing::warn!(%plane, error = %Chain(&error), "a secret cannot be kept");
            "the database failed"
        };
        let found = store.secret_of_plane(plane, id).await.map_err(failed)?;
        let present = found.ok_or("the plane has no such secret")?;
        let other = "another version is in store";
        if present.version != said.version {
            return Err(other);
        }
        let sealed = secret::sealed(&said.sealed).map_err(|_| "it is no sealed secret")?;
        secret::check_recipients(&said.recipients, sealed.keys)
            .map_err(|_| "its recipients do not fit")?;
        let at = self.control.stage.clock.unix_ms();
        let writer = Actor {
            kind: ActorKind::System,
            id: String::new(),
            name: format!("zen-lock of {}", self.plane.name),
        };
        let version = said.version + 1;
        let detail = json!({
            "name": present.name, "plane_id": plane.to_string(), "version": version,
            "key_ids": key_ids(&said.recipients),
        });
        let entry = NewAudit {
            tenant: present.tenant,
            at,
            actor: writer.clone(),
            action: "secret.reseal",
            subject: id.to_string(),
            detail,
            address: Some(self.peer.address.ip()),
            claim: None,
        };
        let new = Resealing {
            plane,
            id,
            version: said.version,
            sealed: sealed.text,
            recipients: said.recipients.clone(),
            at,
            writer,
        };
        match store.reseal_secret(&new, &entry).await {
            Ok(Kept::Stored) => Ok(version),
            Ok(Kept::TooMany | Kept::TooLarge) => Err("the plane has no room for it"),
            Err(StoreError::Changed) => Err(other),
            Err(error) => Err(failed(error)),
        }
    }
}
