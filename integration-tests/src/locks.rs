//! zen-lock in a process of its own, with keys, sealed secrets and somebody who asks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use zen_chassis::net::{Address, local_channel};
use zen_proto::lock::v1::lock_service_client::LockServiceClient;
use zen_proto::lock::v1::{OpenRequest, OpenResponse};
use zen_proto::purpose::Purpose;
use zen_proto::snapshot::v1::Secret;
use zen_seal::{Identity, Realm, Recipient, Scope, ScopedSecret, Values};

use crate::eventually::eventually;
use crate::unit::Unit;

/// Asks a zen-lock.
pub type Client = LockServiceClient<tonic::transport::Channel>;

/// A plane's zen-lock and what it lives on, in a folder.
pub struct Lock {
    /// The process.
    pub unit: Unit,
    /// Its keys, sealed secrets and state.
    pub folder: PathBuf,
    /// The plane, `pl_…`.
    pub plane: String,
    /// Where it is asked.
    pub address: Address,
}

impl Lock {
    /// Prepares a zen-lock beside the agent on this socket, not started, with a first identity
    /// `1` and a folder for sealed secrets.
    ///
    /// # Errors
    /// When its folder or a port cannot be had.
    pub fn new(folder: &Path, agent: &Path, plane: &str) -> anyhow::Result<Self> {
        let address = Address::Unix(folder.join("lock.sock"));
        Self::at(folder, agent, plane, address)
    }

    /// The same at another address.
    ///
    /// # Errors
    /// When its folder or a port cannot be had.
    pub fn at(folder: &Path, agent: &Path, plane: &str, address: Address) -> anyhow::Result<Self> {
        for name in ["identities", "sealed"] {
            std::fs::create_dir_all(folder.join(name))?;
        }
        let path = |name: &str| folder.join(name).display().to_string();
        let settings = vec![
            format!("state_dir={}", path("lock")),
            format!("identities_dir={}", path("identities")),
            format!("sealed_dir={}", path("sealed")),
            format!("agent.address=unix:{}", agent.display()),
            format!("listen={address}"),
        ];
        let lock = Self {
            unit: Unit::new("zen-lock", folder, settings)?,
            folder: folder.to_owned(),
            plane: plane.to_owned(),
            address,
        };
        lock.add_identity("1")?;
        Ok(lock)
    }

    /// Adds a fresh identity under this file name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_identity(&self, name: &str) -> anyhow::Result<Recipient> {
        let identity = Identity::generate();
        let text = identity.to_secret_text();
        zen_chassis::files::write_durable(&self.identity(name), text.as_bytes(), 0o600)?;
        Ok(identity.recipient())
    }

    /// The file of an identity.
    #[must_use]
    pub fn identity(&self, name: &str) -> PathBuf {
        self.folder.join("identities").join(name)
    }

    /// The public half of the identity of this file name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn recipient(&self, name: &str) -> anyhow::Result<Recipient> {
        Ok(Identity::from_file(&self.identity(name))?.recipient())
    }

    /// Seals a secret for this plane under `name`, for the identity `1`.
    ///
    /// # Errors
    /// When it cannot be sealed.
    pub fn sealed(
        &self,
        name: &str,
        purposes: &[Purpose],
        values: &[(&str, &[u8])],
    ) -> anyhow::Result<String> {
        seal(&self.plane, name, purposes, values, &self.recipient("1")?)
    }

    /// The file of a sealed secret.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join("sealed").join(format!("{name}.age"))
    }

    /// Puts a secret into the folder of sealed ones.
    ///
    /// # Errors
    /// When it cannot be sealed or written.
    pub fn put(
        &self,
        name: &str,
        purposes: &[Purpose],
        values: &[(&str, &[u8])],
    ) -> anyhow::Result<()> {
        let sealed = self.sealed(name, purposes, values)?;
        Ok(zen_chassis::files::write_durable(
            &self.file(name),
            sealed.as_bytes(),
            0o600,
        )?)
    }

    /// Somebody of this process's own user who asks on the socket.
    ///
    /// # Errors
    /// When it is asked over TCP.
    pub fn client(&self) -> anyhow::Result<Client> {
        let Address::Unix(socket) = &self.address else {
            anyhow::bail!("over TCP a certificate is needed");
        };
        Ok(LockServiceClient::new(local_channel(socket)?))
    }

    /// The audit log.
    #[must_use]
    pub fn audit(&self) -> PathBuf {
        self.folder.join("lock/audit.jsonl")
    }

    /// What `/debug/state` shows under this name.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn view(&self, name: &str) -> anyhow::Result<serde_json::Value> {
        let (_, text) = self.unit.admin_get("/debug/state").await?;
        let state: serde_json::Value = serde_json::from_slice(&text)?;
        Ok(state["lock"][name].clone())
    }

    /// The value of the series of this name with these labels; 0 if there is none.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> anyhow::Result<f64> {
        let (_, text) = self.unit.admin_get("/metrics").await?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let is_it = |line: &&str| {
            let rest = line.strip_prefix(name).unwrap_or_default();
            (rest.starts_with('{') || rest.starts_with(' '))
                && labels
                    .iter()
                    .all(|(key, value)| rest.contains(&format!("{key}=\"{value}\"")))
        };
        let line = text.lines().find(is_it);
        let value = line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok());
        Ok(value.unwrap_or(0.0))
    }

    /// Waits until a series without labels has this value.
    ///
    /// # Errors
    /// What it has instead.
    pub async fn metric_is(&self, name: &str, wanted: f64) -> anyhow::Result<()> {
        eventually(name, Duration::from_secs(30), || async {
            let is = self.metric(name, &[]).await?;
            anyhow::ensure!((is - wanted).abs() < 0.5, "{is}");
            Ok(())
        })
        .await
    }
}

/// Seals a plane's secret for a recipient.
///
/// # Errors
/// When it cannot be sealed.
pub fn seal(
    plane: &str,
    name: &str,
    purposes: &[Purpose],
    values: &[(&str, &[u8])],
    recipient: &Recipient,
) -> anyhow::Result<String> {
    let values = values
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.to_vec().into()));
    let version: [u8; 16] = zen_chassis::Random::system().bytes();
    let secret = ScopedSecret {
        scope: Scope {
            realm: Realm::Plane(plane.parse().context("plane")?),
            namespace: None,
            name: name.to_owned(),
        },
        service_accounts: Vec::new(),
        purposes: purposes.to_vec(),
        created_at_ms: 1,
        version: hex::encode(version),
        values: values.collect::<Values>(),
    };
    Ok(secret.seal(std::slice::from_ref(recipient), None, 1)?)
}

/// A secret as the control plane stores it; `number` makes its id.
#[must_use]
pub fn stored(number: u64, name: &str, sealed: String) -> Secret {
    use zen_proto::ids::{Id as _, SecretId};
    Secret {
        id: SecretId::generate(number, [9; 10]).to_string(),
        name: name.to_owned(),
        sealed,
        version: 1,
    }
}

/// A question for the only value, or the one named `value`.
#[must_use]
pub fn question(name: &str, purpose: &str) -> OpenRequest {
    OpenRequest {
        name: name.to_owned(),
        purpose: purpose.to_owned(),
        ..OpenRequest::default()
    }
}

/// Asks once; the code of a refusal is its error's text.
///
/// # Errors
/// The code in `zen-code`, or the whole of a refusal without one.
pub async fn open(client: &mut Client, ask: OpenRequest) -> anyhow::Result<OpenResponse> {
    let status = match client.open(ask).await {
        Ok(answer) => return Ok(answer.into_inner()),
        Err(status) => status,
    };
    match status.metadata().get("zen-code") {
        Some(code) => anyhow::bail!("{}", code.to_str()?),
        None => Err(status.into()),
    }
}
