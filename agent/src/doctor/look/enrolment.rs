//! What the agent has of its enrolment: an identity from before, or a bundle to redeem. The bundle
//! is opened, and nothing of it is sent.
#![cfg_attr(
    not(feature = "kubernetes"),
    expect(unused_imports, reason = "what asks a cluster is left out")
)]

use std::path::Path;
use std::time::SystemTime;

use k8s_openapi::api::core::v1::Secret;
use zen_chassis::chain::Chain;
use zen_chassis::clock::from_unix_ms;
use zen_chassis::files;
use zen_identity::Trust;
use zen_proto::ids::PlaneId;
use zen_seal::{Bundle, Identity};
use zeroize::Zeroizing;

use super::cluster::Cluster;
use crate::doctor::plan::Enrolment;
use crate::identity;
use crate::kubernetes::KubernetesConfig;
use crate::kubernetes::api::{Api, Thing};
use crate::kubernetes::store::{IDENTITY, content_of};
use crate::store::{Content, Entry};

/// What there is.
pub(crate) struct Kept {
    pub(crate) held: Held,
    pub(crate) bundle: Sealed,
    /// The roots to judge a control plane by.
    pub(crate) trust: Option<Trust>,
    /// Where the control plane is said to be.
    pub(crate) address: Option<String>,
}

/// The identity of an enrolled plane.
pub(crate) enum Held {
    None,
    Plane(PlaneId),
    Unreadable(String),
    /// It could not be looked at.
    Unknown(String),
}

/// The bundle of a plane that is to be enrolled.
pub(crate) enum Sealed {
    /// Neither half is there, where it was looked for.
    Missing(String),
    /// One half is missing: which.
    Half(String),
    /// The identity is missing: where it was looked for.
    Keyless(String),
    /// It is whole, and zen-lock's to open.
    ForLock,
    Unreadable(String),
    Open {
        plane: PlaneId,
        expires: SystemTime,
    },
    /// It could not be looked at.
    Unknown(String),
}

type Read = Result<Option<Content>, String>;

/// Looks at both; one may lack its identity if `lock` opens it.
pub(crate) async fn look(place: &Enrolment, lock: bool, cluster: Option<&Cluster>) -> Kept {
    let mut kept = looked(place, cluster).await;
    kept.bundle = match kept.bundle {
        Sealed::Keyless(_) if lock => Sealed::ForLock,
        Sealed::Keyless(place) => Sealed::Half(place),
        other => other,
    };
    kept
}

async fn looked(place: &Enrolment, cluster: Option<&Cluster>) -> Kept {
    match (place, cluster) {
        (
            Enrolment::Files {
                held,
                bundle,
                identity,
            },
            _,
        ) => {
            let name = |path: Option<&Path>| {
                path.map_or_else(
                    || "no file is named".to_owned(),
                    |p| p.display().to_string(),
                )
            };
            let halves = [(bundle, Entry::Bundle), (identity, Entry::BundleIdentity)]
                .map(|(path, entry)| (name(path.as_deref()), read(path.as_deref(), entry)));
            kept(read(held.as_deref(), Entry::Identity), halves)
        }
        #[cfg(feature = "kubernetes")]
        (Enrolment::Cluster(settings), Some(Ok(api))) => in_cluster(settings, api).await,
        #[cfg(not(feature = "kubernetes"))]
        (Enrolment::Cluster(_), Some(Ok(_))) => unknown("there is no cluster"),
        (Enrolment::Cluster(_), Some(Err(error))) => unknown(error),
        (Enrolment::Cluster(_), None) => unknown("there is no cluster"),
    }
}

fn unknown(why: &str) -> Kept {
    Kept {
        held: Held::None,
        bundle: Sealed::Unknown(why.to_owned()),
        trust: None,
        address: None,
    }
}

fn read(path: Option<&Path>, entry: Entry) -> Read {
    let Some(path) = path else { return Ok(None) };
    files::read_if_there(path, entry.limit())
        .map(|content| content.map(Zeroizing::new))
        .map_err(|error| Chain(&error).to_string())
}

#[cfg(feature = "kubernetes")]
async fn in_cluster(settings: &KubernetesConfig, api: &Api) -> Kept {
    let held = api.get::<Secret>(&Thing::secret(IDENTITY)).await;
    let held = held
        .map(|secret| secret.and_then(|secret| content_of(secret, "identity.json")))
        .map_err(|fault| fault.to_string());
    let half = async |name: &str, key: &str| {
        let found = api.find_secret(name).await;
        let content = found
            .map(|secret| secret.and_then(|secret| content_of(secret, key)))
            .map_err(|fault| fault.to_string());
        (format!("Secret {name}"), content)
    };
    let bundle = half(&settings.bundle_secret, "bundle.age").await;
    let key = half(&settings.bundle_key_secret, "identity.txt").await;
    kept(held, [bundle, key])
}

/// What the contents come to: bundle first, then its key.
fn kept(held: Read, halves: [(String, Read); 2]) -> Kept {
    let (held, identity) = match held.map(|held| held.map(|c| identity::of_content(&c))) {
        Ok(None) => (Held::None, None),
        Ok(Some(Ok(identity))) => (Held::Plane(identity.stored.plane_id), Some(identity)),
        Ok(Some(Err(error))) => (Held::Unreadable(Chain(&error).to_string()), None),
        Err(error) => (Held::Unknown(error), None),
    };
    let (sealed, bundle) = open(halves);
    let trust = identity
        .as_ref()
        .map(|identity| identity.trust.clone())
        .or_else(|| trust(bundle.as_ref()?));
    let address = identity
        .map(|identity| identity.stored.session_address)
        .or_else(|| Some(bundle?.control_plane_address));
    Kept {
        held,
        bundle: sealed,
        trust,
        address,
    }
}

fn trust(bundle: &Bundle) -> Option<Trust> {
    Trust::new(
        bundle.trust_domain.parse().ok()?,
        &bundle.trust_bundle_pem,
        [],
    )
    .ok()
}

fn open(halves: [(String, Read); 2]) -> (Sealed, Option<Bundle>) {
    let [(bundle_place, bundle), (key_place, key)] = halves;
    let (bundle, key) = match (bundle, key) {
        (Err(error), _) | (_, Err(error)) => return (Sealed::Unknown(error), None),
        (Ok(None), Ok(None)) => return (Sealed::Missing(bundle_place), None),
        (Ok(None), Ok(Some(_))) => return (Sealed::Half(bundle_place), None),
        (Ok(Some(_)), Ok(None)) => return (Sealed::Keyless(key_place), None),
        (Ok(Some(bundle)), Ok(Some(key))) => (bundle, key),
    };
    let opened = std::str::from_utf8(&key)
        .map_err(|_| "the bundle's identity is not text".to_owned())
        .and_then(|text| {
            Identity::parse(text)
                .map_err(|error| format!("the bundle's identity: {}", Chain(&error)))
        })
        .and_then(|key| Bundle::open(&bundle, &[key]).map_err(|e| Chain(&e).to_string()));
    match opened {
        Ok(bundle) => {
            let sealed = Sealed::Open {
                plane: bundle.plane_id,
                expires: from_unix_ms(bundle.expires_at_ms),
            };
            (sealed, Some(bundle))
        }
        Err(error) => (Sealed::Unreadable(error), None),
    }
}
