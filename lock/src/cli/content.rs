//! From a command line to a sealed secret: the same for `zen-lock encrypt` and `zen seal`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use zen_chassis::{Clock, Random, files};
use zen_proto::purpose::Purpose;
use zen_seal::{Realm, Recipient, Scope, ScopedSecret, WriterKey};
use zeroize::Zeroizing;

use super::keys::RecipientArgs;
use super::values::ValueArgs;

const WRITER_FILE: usize = 4096;

/// What is sealed, where it may be used, for whom.
#[derive(Args, Clone, Debug)]
pub struct Content {
    /// Name of the secret: what stands after `lock:`, or the name of its ZenLock.
    #[arg(long)]
    name: String,
    /// Kubernetes namespace, for a secret of pods. Without it, it is one of the plane's components.
    #[arg(long)]
    namespace: Option<String>,
    /// A service account of the namespace whose pods may have it; may be repeated. None: no pod.
    #[arg(long = "service-account", value_name = "NAME", requires = "namespace")]
    service_accounts: Vec<String>,
    /// What the plane may use it for: webhook-verification, target-auth, target-signing; may be
    /// repeated. None: nothing.
    #[arg(long = "purpose", value_name = "PURPOSE", conflicts_with = "namespace")]
    purposes: Vec<Purpose>,
    #[command(flatten)]
    recipients: RecipientArgs,
    #[command(flatten)]
    values: ValueArgs,
    /// File with a writer's key (zen-lock keygen --writer): signs the secret.
    #[arg(long, value_name = "FILE")]
    writer_key: Option<PathBuf>,
}

/// A sealed secret, and what its envelope says in clear.
pub struct Sealed {
    /// Armored age.
    pub text: String,
    /// Where it opens.
    pub scope: Scope,
    /// Whom it is sealed for.
    pub recipients: Vec<Recipient>,
}

impl Content {
    /// Reads the values and seals them for a realm, for the recipients named on the command line
    /// and those `known` from elsewhere.
    ///
    /// # Errors
    /// When a source cannot be read, a name is none, or a limit is passed; no value is quoted.
    pub fn seal(
        &self,
        realm: Realm,
        known: &[Recipient],
        clock: &Clock,
        random: &Random,
    ) -> anyhow::Result<Sealed> {
        let recipients = self.recipients.read_with(known)?;
        let writer = self.writer()?;
        let scope = Scope {
            realm,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        };
        scope.check()?;
        let now_ms = clock.unix_ms();
        let secret = ScopedSecret {
            scope: scope.clone(),
            service_accounts: self.service_accounts.clone(),
            purposes: self.purposes.clone(),
            created_at_ms: now_ms,
            version: hex::encode(random.bytes::<16>()),
            values: self.values.read()?,
        };
        Ok(Sealed {
            text: secret.seal(&recipients, writer.as_ref(), now_ms)?,
            scope,
            recipients,
        })
    }

    /// Whether nobody could use what is sealed, which is seldom meant.
    #[must_use]
    pub const fn is_for_nobody(&self) -> bool {
        self.service_accounts.is_empty() && self.purposes.is_empty()
    }

    fn writer(&self) -> anyhow::Result<Option<WriterKey>> {
        let Some(path) = &self.writer_key else {
            return Ok(None);
        };
        let bytes = Zeroizing::new(files::read_capped(path, WRITER_FILE)?);
        let text = std::str::from_utf8(&bytes).context("--writer-key is not text")?;
        let key = WriterKey::parse(text).context("--writer-key")?;
        Ok(Some(key))
    }
}
