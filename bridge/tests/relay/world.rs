//! Roots, planes, certificates, and a bridge that runs among them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;
use tonic::transport::Channel;
use zen_bridge::{Bridge, Config};
use zen_chassis::admin::Admin;
use zen_chassis::metrics::Registries;
use zen_chassis::net::Address;
use zen_chassis::telemetry::LogLevel;
use zen_chassis::{App, CancellationToken, Clock, Random, Stage};
use zen_identity::{
    DialOptions, Expect, LiveIdentity, PlaneCa, PrivateKey, RootCa, Trust, TrustDomain, channel,
};
use zen_proto::agent::v1::Slice;
use zen_proto::component::Component;
use zen_proto::ids::{Id as _, PlaneId, TenantId};
use zen_proto::relay::v1::relay_service_client::RelayServiceClient;
use zen_proto::snapshot::v1::{PlaneKind, ServedPlane, Snapshot};

use crate::agent::FakeAgent;

const DAY: Duration = Duration::from_secs(86_400);

/// Everything around a bridge.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) agent: FakeAgent,
    pub(crate) data: Plane,
    root: RootCa,
    random: Random,
    folder: tempfile::TempDir,
}

/// A plane with its authority.
#[derive(Clone)]
pub(crate) struct Plane {
    pub(crate) tenant: TenantId,
    pub(crate) id: PlaneId,
    ca: PlaneCa,
}

/// A bridge at work.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stage: Stage,
    work: JoinHandle<anyhow::Result<()>>,
    registries: Registries,
}

impl World {
    /// A data plane whose bridge serves nobody yet, on the machine's clock.
    pub(crate) fn new() -> Self {
        Self::at(Clock::system())
    }

    /// The same on another clock.
    pub(crate) fn at(clock: Clock) -> Self {
        let random = Random::system();
        let domain = TrustDomain::parse("zen.test").unwrap();
        let root = RootCa::generate(domain, clock.now(), 100 * DAY).unwrap();
        let data = plane_of(&root, &random, &clock, new_id(&random));
        let slice = Slice {
            snapshot: Some(Snapshot {
                version: 1,
                revision: 1,
                tenant_id: data.tenant.to_string(),
                plane_id: data.id.to_string(),
                kind: PlaneKind::Data.into(),
                ..Snapshot::default()
            }),
            trust_domain: "zen.test".to_owned(),
            trust_bundle_pem: root.cert_pem(),
            ..Slice::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("agent.sock");
        let agent = FakeAgent::serve(&socket, slice, data.ca.clone(), clock.clone());
        Self {
            clock,
            agent,
            data,
            root,
            random,
            folder,
        }
    }

    /// A new tenant.
    pub(crate) fn tenant(&self) -> TenantId {
        new_id(&self.random)
    }

    /// A new edge plane of the tenant, served by the bridge from now on.
    pub(crate) fn served_plane(&self, tenant: TenantId) -> Plane {
        let plane = self.strange_plane(tenant);
        self.serve(&plane, true);
        plane
    }

    /// A new edge plane that the bridge does not know.
    pub(crate) fn strange_plane(&self, tenant: TenantId) -> Plane {
        plane_of(&self.root, &self.random, &self.clock, tenant)
    }

    /// Serves the plane from now on, or no more.
    pub(crate) fn serve(&self, plane: &Plane, served: bool) {
        let (plane_id, tenant_id) = (plane.id.to_string(), plane.tenant.to_string());
        self.agent.reconfigure(|slice| {
            let snapshot = slice.snapshot.as_mut().unwrap();
            snapshot.revision += 1;
            snapshot
                .served_planes
                .retain(|entry| entry.plane_id != plane_id);
            if served {
                snapshot.served_planes.push(ServedPlane {
                    plane_id,
                    tenant_id,
                });
            }
        });
    }

    /// Revokes the plane.
    pub(crate) fn revoke(&self, plane: &Plane) {
        let plane_id = plane.id.to_string();
        self.agent.reconfigure(|slice| {
            slice
                .snapshot
                .as_mut()
                .unwrap()
                .revoked_plane_ids
                .push(plane_id);
        });
    }

    /// A delivery id that no other has.
    pub(crate) fn new_id<I: zen_proto::ids::Id>(&self) -> I {
        new_id(&self.random)
    }

    /// Where the bridge keeps the plane's lane.
    pub(crate) fn lane(&self, plane: &Plane) -> PathBuf {
        self.state_dir().join("lanes").join(plane.id.to_string())
    }

    fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The settings of this world's bridge.
    pub(crate) fn config(&self) -> Config {
        let mut config = Config {
            state_dir: self.state_dir(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            ..Config::default()
        };
        config.agent.address = Address::Unix(self.socket().to_owned());
        config
    }

    fn socket(&self) -> PathBuf {
        Path::new(self.folder.path()).join("agent.sock")
    }

    /// Starts the bridge and waits until it has applied the configuration as it is now.
    pub(crate) async fn start(&self, config: Config) -> Running {
        let registries = Registries::default();
        let admin = Admin::new(registries.clone(), LogLevel::fixed());
        let stage = Stage::new("bridge", &[], &admin, &CancellationToken::new())
            .unwrap()
            .with_clock(self.clock.clone());
        let bridge = Bridge::bind(config, &stage).await.unwrap();
        let address = bridge.address();
        let work = tokio::spawn(bridge.run(stage.clone()));
        tokio::time::timeout(Duration::from_secs(20), stage.ready.wait())
            .await
            .unwrap();
        let running = Running {
            address,
            stage,
            work,
            registries,
        };
        self.applied().await;
        running
    }

    /// Waits until the bridge has applied the configuration as it is now.
    pub(crate) async fn applied(&self) {
        let revision = self
            .agent
            .slice
            .borrow()
            .snapshot
            .as_ref()
            .unwrap()
            .revision;
        self.agent
            .reported(|status| status.applied_revision == revision)
            .await;
    }

    /// What one of the plane's components shows and trusts.
    pub(crate) fn component(&self, plane: &Plane, component: Component) -> LiveIdentity {
        let identity = LiveIdentity::new(self.clock.time_provider());
        let domain = TrustDomain::parse("zen.test").unwrap();
        identity.set_trust(Trust::new(domain, &self.root.cert_pem(), []).unwrap());
        let key = PrivateKey::generate().unwrap();
        let csr = key.csr(component.as_str()).unwrap();
        let chain = plane
            .ca
            .sign_leaf(&csr, component, self.clock.now(), DAY)
            .unwrap();
        identity.set_leaf(chain, &key).unwrap();
        identity
    }

    /// Settings of a bridge whose agent is in another container, with what is mounted for that.
    pub(crate) async fn config_over_tcp(&self) -> Config {
        let live = self.component(&self.data, Component::Agent);
        let mut config = self.config();
        let address = self.agent.serve_tcp(&live, "projected").await;
        config.agent.address = Address::Tcp(address);
        config.agent.trust_dir = self.folder.path().join("trust");
        config.agent.token_file = self.folder.path().join("token");
        std::fs::write(&config.agent.token_file, "projected\n").unwrap();
        std::fs::create_dir(&config.agent.trust_dir).unwrap();
        for (name, text) in [
            ("roots.pem", self.root.cert_pem()),
            ("trust-domain", "zen.test".to_owned()),
            ("tenant-id", self.data.tenant.to_string()),
            ("plane-id", self.data.id.to_string()),
        ] {
            std::fs::write(config.agent.trust_dir.join(name), text).unwrap();
        }
        config
    }

    /// A client of the bridge with the certificate of one of the plane's components.
    pub(crate) fn client(
        &self,
        running: &Running,
        plane: &Plane,
        component: Component,
    ) -> RelayServiceClient<Channel> {
        let identity = self.component(plane, component);
        let expect = Expect::component(self.data.tenant, self.data.id, Component::Bridge);
        let tls = identity.client_config(expect);
        RelayServiceClient::new(channel(
            &running.address.to_string(),
            tls,
            DialOptions::default(),
        ))
    }
}

impl Running {
    /// Asks the bridge to end, and waits until it has.
    pub(crate) async fn stop(self) {
        self.stage.shutdown.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(20), self.work).await;
        ended.expect("the bridge ends in time").unwrap().unwrap();
        self.stage
            .tasks
            .finish(Duration::from_secs(5))
            .await
            .unwrap();
    }

    /// The metrics as they are scraped.
    pub(crate) fn metrics(&self) -> String {
        self.registries.scrape().unwrap()
    }
}

fn new_id<I: zen_proto::ids::Id>(random: &Random) -> I {
    I::generate(Clock::system().unix_ms(), random.bytes())
}

fn plane_of(root: &RootCa, random: &Random, clock: &Clock, tenant: TenantId) -> Plane {
    let id = PlaneId::generate(clock.unix_ms(), random.bytes());
    let key = PrivateKey::generate().unwrap();
    let csr = key.csr("plane").unwrap();
    let chain = root
        .sign_plane_ca(&csr, tenant, id, clock.now(), 30 * DAY)
        .unwrap();
    let ca = PlaneCa::new(key, chain, root.trust_domain().clone()).unwrap();
    Plane { tenant, id, ca }
}
