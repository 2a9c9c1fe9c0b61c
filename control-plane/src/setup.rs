//! What a start finds or, the first time, makes: the sealed root, the tenants, the owner's key.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zen_chassis::{Stage, files};
use zen_identity::TrustDomain;
use zen_seal::Identity;

use crate::authority::new_root;
use crate::config::Config;
use crate::digest::sha256;
use crate::roots::Stage as RootStage;
use crate::store::{AuditKey, FirstStart, Found, Store};

const API_KEY: &str = "api-key";
/// What an API key starts with.
pub(crate) const KEY_PREFIX: &str = "zen_";

/// The state directory, opened.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) found: Found,
    /// Opens the root key.
    pub(crate) root_identity: Identity,
    /// Where the first start wrote the owner's API key.
    pub(crate) api_key_file: PathBuf,
}

/// Opens the state directory; the first time, fills it.
///
/// # Errors
/// When it cannot be used, or parts of it are missing.
pub(crate) async fn open(
    config: &Config,
    trust_domain: &TrustDomain,
    stage: &Stage,
) -> anyhow::Result<Opened> {
    files::make_private_folder(&config.state_dir).context("state_dir")?;
    let place = config.database.place(&config.state_dir)?;
    let store = Store::open(&place)
        .await
        .with_context(|| format!("cannot open {place}"))?;
    let identity_file = config.root_identity_file();
    let api_key_file = config.state_dir.join(API_KEY);
    if let Some(found) = store.found().await? {
        return began_before(store, found, trust_domain, identity_file, api_key_file);
    }
    let made_here = !identity_file.exists();
    let root_identity = identity(&identity_file)?;
    let store = store.keyed(AuditKey::of(&root_identity));
    let root = new_root(
        trust_domain.clone(),
        stage.clock.now(),
        &root_identity,
        RootStage::Signing,
    )?;
    let key = format!(
        "{KEY_PREFIX}{}",
        URL_SAFE_NO_PAD.encode(stage.random.bytes::<32>())
    );
    // First the file, then the hash of it: a crash between leaves a key worth nothing, which the
    // next start replaces, and never a working key that nobody knows.
    files::write_durable(&api_key_file, format!("{key}\n").as_bytes(), 0o600)?;
    let first = FirstStart {
        root,
        operator_tenant: stage.id(),
        default_tenant: stage.id(),
        key: stage.id(),
        key_sha256: sha256(key.as_bytes()),
        at: stage.clock.unix_ms(),
    };
    let begun = store.begin(&first).await?;
    let Some(found) = store.found().await? else {
        bail!("the first start left nothing behind")
    };
    if !begun {
        // Another control plane made its first start on this database at the same time. What was
        // made here is worth nothing.
        files::remove_durable(&api_key_file)?;
        if made_here {
            files::remove_durable(&identity_file)?;
        }
        return began_before(store, found, trust_domain, identity_file, api_key_file);
    }
    tracing::info!(api_key_file = %api_key_file.display(), "first start: root and owner key made");
    Ok(Opened {
        store,
        found,
        root_identity,
        api_key_file,
    })
}

/// What an earlier start made, or another control plane's.
fn began_before(
    store: Store,
    found: Found,
    trust_domain: &TrustDomain,
    identity_file: PathBuf,
    api_key_file: PathBuf,
) -> anyhow::Result<Opened> {
    for root in &found.roots {
        let made_for = &root.trust_domain;
        ensure!(
            *made_for == trust_domain.to_string(),
            "trust_domain: was {made_for} before"
        );
    }
    let root_identity = Identity::from_file(&identity_file).with_context(|| {
        format!(
            "root_identity_file: {} does not open the root; every control plane on one database \
             needs the file of the first",
            identity_file.display()
        )
    })?;
    Ok(Opened {
        store: store.keyed(AuditKey::of(&root_identity)),
        found,
        root_identity,
        api_key_file,
    })
}

/// The identity in the file, made if there is no such file.
fn identity(file: &Path) -> anyhow::Result<Identity> {
    if file
        .try_exists()
        .with_context(|| format!("root_identity_file: {}", file.display()))?
    {
        return Identity::from_file(file)
            .with_context(|| format!("root_identity_file: {}", file.display()));
    }
    let identity = Identity::generate();
    let text = identity.to_secret_text();
    files::write_durable(file, text.as_bytes(), 0o600).context("root_identity_file")?;
    Ok(identity)
}
