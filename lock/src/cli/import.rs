//! `zen-lock import`: ZenLocks of `security.kube-zen.io/v1alpha1`, whose values were sealed one by
//! one and bound to no place, become secrets bound to theirs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde::Deserialize;
use zen_chassis::{Clock, Random, files};
use zen_proto::ids::PlaneId;
use zen_proto::limits;
use zen_seal::{Identity, Realm, Scope, ScopedSecret, Values, open};

use super::files::LARGEST;
use super::keys::{IdentityArgs, RecipientArgs};
use super::manifest::manifest;
use super::terminal::{print, say};

const OLD: &str = "security.kube-zen.io/v1alpha1";

/// Turn ZenLocks of security.kube-zen.io/v1alpha1 into ones of security.zen-mesh.io/v1.
///
/// Opens with --identity, seals for --recipient. Service accounts of other namespaces than the
/// object's own cannot be taken over, and an empty list, which once meant everybody, means nobody:
/// name those who may have it with --service-account.
#[derive(Args)]
pub(super) struct Import {
    /// The plane that may open it.
    #[arg(
        long,
        value_name = "pl_…",
        required_unless_present = "cluster",
        conflicts_with = "cluster"
    )]
    plane: Option<PlaneId>,
    /// The cluster that may open it, by the name its zen-lock was given (setting `cluster`).
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Namespace of objects that do not say theirs.
    #[arg(long, default_value = "default")]
    namespace: String,
    /// A service account whose pods may have it, where the object names none; may be repeated.
    #[arg(long = "service-account", value_name = "NAME")]
    service_accounts: Vec<String>,
    #[command(flatten)]
    identities: IdentityArgs,
    #[command(flatten)]
    recipients: RecipientArgs,
    /// File to write the manifests to; default standard output.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Files with old manifests.
    #[arg(value_name = "FILE", required = true)]
    manifests: Vec<PathBuf>,
}

/// An old object, as far as it is taken over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldZenLock {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: OldSpec,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    namespace: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OldSpec {
    encrypted_data: BTreeMap<String, String>,
    #[serde(default)]
    allowed_subjects: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    kind: String,
    name: String,
    namespace: Option<String>,
}

pub(super) fn run(asked: Import) -> anyhow::Result<ExitCode> {
    let realm = match (asked.plane, &asked.cluster) {
        (Some(plane), _) => Realm::Plane(plane),
        (None, Some(name)) => Realm::Cluster(name.clone()),
        (None, None) => anyhow::bail!("give --plane or --cluster"),
    };
    let (identities, recipients) = (asked.identities.read()?, asked.recipients.read()?);
    let (clock, random) = (Clock::system(), Random::system());
    let mut written = Vec::new();
    for path in &asked.manifests {
        let text = files::read_capped(path, LARGEST)?;
        let text =
            String::from_utf8(text).with_context(|| format!("{}: not text", path.display()))?;
        let objects: Vec<OldZenLock> = serde_saphyr::from_multiple(&text)
            .with_context(|| format!("{}: not a ZenLock of {OLD}", path.display()))?;
        for object in objects {
            let name = object.metadata.name.clone();
            let secret = taken_over(object, &asked, realm.clone(), &identities, &clock, &random)
                .with_context(|| format!("{}: {name}", path.display()))?;
            if secret.service_accounts.is_empty() {
                say(&format!(
                    "{name}: names nobody, so that no pod may have it: --service-account"
                ));
            }
            let sealed = secret.seal(&recipients, None, clock.unix_ms())?;
            written.push(manifest(&secret.scope, &sealed));
        }
    }
    let all = written.join("---\n");
    match &asked.out {
        Some(path) => files::write_durable(path, all.as_bytes(), 0o644)?,
        None => print(all.as_bytes())?,
    }
    say(&format!("{} taken over", written.len()));
    Ok(ExitCode::SUCCESS)
}

fn taken_over(
    old: OldZenLock,
    asked: &Import,
    realm: Realm,
    identities: &[Identity],
    clock: &Clock,
    random: &Random,
) -> anyhow::Result<ScopedSecret> {
    ensure!(
        old.api_version == OLD && old.kind == "ZenLock",
        "it is a {} of {}, not a ZenLock of {OLD}",
        old.kind,
        old.api_version
    );
    let namespace = old
        .metadata
        .namespace
        .unwrap_or_else(|| asked.namespace.clone());
    let mut values = Values::new();
    for (key, encoded) in old.spec.encrypted_data {
        let sealed = STANDARD.decode(encoded.trim());
        let sealed = sealed.with_context(|| format!("encryptedData.{key} is not base64"))?;
        let mut value = open(&sealed, identities, limits::SECRET_VALUE)
            .with_context(|| format!("encryptedData.{key} does not open"))?;
        values.insert(key, std::mem::take(&mut *value).into());
    }
    let mut service_accounts = Vec::new();
    for subject in old.spec.allowed_subjects {
        ensure!(
            subject.kind == "ServiceAccount",
            "allowedSubjects: kind {:?}",
            subject.kind
        );
        let elsewhere = subject.namespace.filter(|other| *other != namespace);
        ensure!(
            elsewhere.is_none(),
            "allowedSubjects: {} is of another namespace; make a ZenLock in that one",
            subject.name
        );
        service_accounts.push(subject.name);
    }
    if service_accounts.is_empty() {
        service_accounts.clone_from(&asked.service_accounts);
    }
    let scope = Scope {
        realm,
        namespace: Some(namespace),
        name: old.metadata.name,
    };
    scope.check()?;
    Ok(ScopedSecret {
        scope,
        service_accounts,
        purposes: Vec::new(),
        created_at_ms: clock.unix_ms(),
        version: hex::encode(random.bytes::<16>()),
        values,
    })
}
