//! A small world for this crate's tests: a root, a plane, and a time that tests move.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustls::time_provider::TimeProvider;
use rustls_pki_types::{CertificateDer, UnixTime};
use zen_proto::component::Component;
use zen_proto::ids::{Id as _, PlaneId, TenantId};
use zen_proto::limits::{LEAF_VALIDITY, PLANE_CA_VALIDITY};

use crate::{Expect, LiveIdentity, PlaneCa, PrivateKey, RootCa, Trust, TrustDomain};

pub(crate) const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const START: u64 = 1_790_000_000;

pub(crate) fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(START)
}

pub(crate) fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

pub(crate) fn domain() -> TrustDomain {
    TrustDomain::parse("zen.example").unwrap()
}

/// A time that stands still until it is set.
#[derive(Debug)]
pub(crate) struct StillTime(AtomicU64);

impl StillTime {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(START)))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

impl TimeProvider for StillTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(
            self.0.load(Ordering::SeqCst),
        )))
    }
}

/// A leaf's chain with its key.
pub(crate) type Held = (Vec<CertificateDer<'static>>, PrivateKey);

/// One root, one plane.
pub(crate) struct World {
    pub(crate) root: RootCa,
    pub(crate) tenant: TenantId,
    pub(crate) plane: PlaneId,
    pub(crate) plane_ca: PlaneCa,
}

impl World {
    pub(crate) fn new() -> Self {
        let root = RootCa::generate(domain(), start(), YEAR).unwrap();
        let tenant = TenantId::generate(1, [1; 10]);
        let plane = PlaneId::generate(1, [2; 10]);
        let plane_ca = Self::authority(&root, tenant, plane);
        Self {
            root,
            tenant,
            plane,
            plane_ca,
        }
    }

    pub(crate) fn authority(root: &RootCa, tenant: TenantId, plane: PlaneId) -> PlaneCa {
        let key = PrivateKey::generate().unwrap();
        let csr = key.csr("plane").unwrap();
        let chain = root
            .sign_plane_ca(&csr, tenant, plane, start(), PLANE_CA_VALIDITY)
            .unwrap();
        PlaneCa::new(key, chain, domain()).unwrap()
    }

    pub(crate) fn leaf(&self, component: Component) -> Held {
        let key = PrivateKey::generate().unwrap();
        let csr = key.csr("leaf").unwrap();
        (
            self.plane_ca
                .sign_leaf(&csr, component, start(), LEAF_VALIDITY)
                .unwrap(),
            key,
        )
    }

    pub(crate) fn control_plane(&self) -> Held {
        let key = PrivateKey::generate().unwrap();
        let names = [
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "[::1]".to_owned(),
        ];
        (
            self.root
                .issue_control_plane(&key, &names, start(), LEAF_VALIDITY)
                .unwrap(),
            key,
        )
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::new(domain(), &self.root.cert_pem(), []).unwrap()
    }

    pub(crate) fn expect(&self, component: Component) -> Expect {
        Expect::component(self.tenant, self.plane, component)
    }

    pub(crate) fn live(&self, time: &Arc<StillTime>, held: Option<Held>) -> LiveIdentity {
        let identity = LiveIdentity::new(time.clone());
        identity.set_trust(self.trust());
        if let Some((chain, key)) = held {
            identity.set_leaf(chain, &key).unwrap();
        }
        identity
    }
}
