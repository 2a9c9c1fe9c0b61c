//! A component and its agent over TCP: what it waits for, how it proves itself, and how it goes on
//! when files, tokens, certificates and agents change under it.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status, Streaming};
use zen_identity::{
    AcceptOptions, ClientAuth, Expect, Peer, PlaneCa, PrivateKey, RootCa, Trust, accept,
};
use zen_proto::agent::v1::agent_service_server::{AgentService, AgentServiceServer};
use zen_proto::agent::v1::{
    AskRequest, CertifyRequest, CertifyResponse, ReportRequest, ReportResponse, ResealRequest,
    ResealResponse, WatchRequest,
};
use zen_proto::ids::{Id as _, PlaneId, TenantId};

use super::*;
use crate::clock::Clock;

const LONG: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_secs(86_400);
const DOMAIN: &str = "zen.test";

/// A plane under the root.
struct Plane {
    tenant: TenantId,
    id: PlaneId,
    ca: PlaneCa,
}

impl Plane {
    fn new(root: &RootCa, number: u8) -> Self {
        let tenant = TenantId::generate(1, [1; 10]);
        let id = PlaneId::generate(1, [number; 10]);
        let key = PrivateKey::generate().unwrap();
        let csr = key.csr("plane").unwrap();
        let now = Clock::system().now();
        let chain = root.sign_plane_ca(&csr, tenant, id, now, DAY).unwrap();
        let ca = PlaneCa::new(key, chain, DOMAIN.parse().unwrap()).unwrap();
        Self { tenant, id, ca }
    }

    fn slice(&self, root: &RootCa, revision: u64) -> Slice {
        Slice {
            snapshot: Some(Snapshot {
                version: 1,
                revision,
                tenant_id: self.tenant.to_string(),
                plane_id: self.id.to_string(),
                ..Snapshot::default()
            }),
            trust_domain: DOMAIN.to_owned(),
            trust_bundle_pem: root.cert_pem(),
            ..Slice::default()
        }
    }
}

/// What an agent knows and has done.
struct Desk {
    root: RootCa,
    plane: Mutex<Arc<Plane>>,
    token: Mutex<String>,
    /// How long its certificates last.
    validity: Mutex<Duration>,
    slice: watch::Sender<Slice>,
    by_token: watch::Sender<u32>,
    by_certificate: watch::Sender<u32>,
}

/// An agent on TCP.
#[derive(Clone)]
struct Agent {
    desk: Arc<Desk>,
    live: LiveIdentity,
    address: String,
    _task: Arc<JoinSet<()>>,
}

impl Agent {
    /// Listens; shows no certificate before it is enrolled.
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let clock = Clock::system();
        let domain = DOMAIN.parse().unwrap();
        let root = RootCa::generate(domain, clock.now(), DAY).unwrap();
        let live = LiveIdentity::new(clock.time_provider());
        let plane = Plane::new(&root, 1);
        let slice = plane.slice(&root, 1);
        let desk = Arc::new(Desk {
            root,
            plane: Mutex::new(Arc::new(plane)),
            token: Mutex::new("first".to_owned()),
            validity: Mutex::new(DAY),
            slice: watch::Sender::new(slice),
            by_token: watch::Sender::new(0),
            by_certificate: watch::Sender::new(0),
        });
        let seen = Arc::clone(&desk);
        let own = Expect::when(move |id| id.plane() == Some(seen.plane().id));
        let tls = live.server_config(own, ClientAuth::Optional).unwrap();
        let connections = accept(listener, tls, AcceptOptions::default());
        let service = AgentServiceServer::new(Service(Arc::clone(&desk)));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve_with_incoming(connections).await.unwrap();
        });
        Self {
            desk,
            live,
            address,
            _task: Arc::new(task),
        }
    }

    /// Becomes the agent of a plane.
    fn enrol(&self, number: u8) {
        let plane = Arc::new(Plane::new(&self.desk.root, number));
        let key = PrivateKey::generate().unwrap();
        let csr = key.csr("agent").unwrap();
        let now = Clock::system().now();
        let chain = plane
            .ca
            .sign_leaf(&csr, Component::Agent, now, DAY)
            .unwrap();
        let slice = plane.slice(&self.desk.root, u64::from(number));
        *self.desk.plane.lock().unwrap() = plane;
        let roots = self.desk.root.cert_pem();
        let trust = Trust::new(DOMAIN.parse().unwrap(), &roots, []).unwrap();
        self.live.set_trust(trust);
        self.live.set_leaf(chain, &key).unwrap();
        self.desk.slice.send_replace(slice);
    }
}

impl Desk {
    fn plane(&self) -> Arc<Plane> {
        self.plane.lock().unwrap().clone()
    }
}

struct Service(Arc<Desk>);

type Down<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    /// Whether the caller has a certificate of the plane as it is now.
    fn known<T>(&self, request: &Request<T>) -> Result<bool, Status> {
        let id = request.extensions().get::<Peer>().unwrap().id.as_ref();
        match id.map(|id| id.plane() == Some(self.0.plane().id)) {
            Some(false) => Err(Status::permission_denied("another plane")),
            known => Ok(known.is_some()),
        }
    }

    fn must_be_known<T>(&self, request: &Request<T>) -> Result<(), Status> {
        match self.known(request)? {
            true => Ok(()),
            false => Err(Status::unauthenticated("no certificate")),
        }
    }
}

#[tonic::async_trait]
impl AgentService for Service {
    type WatchStream = Down<Slice>;
    type AskStream = Down<Query>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.must_be_known(&request)?;
        // As an agent that starts over does when its plane is another one.
        let plane = self.0.plane().id.to_string();
        let slices = WatchStream::new(self.0.slice.subscribe()).map(move |slice| {
            match slice.snapshot.as_ref().is_some_and(|s| s.plane_id == plane) {
                true => Ok(slice),
                false => Err(Status::unauthenticated("another plane")),
            }
        });
        Ok(Response::new(slices.boxed()))
    }

    async fn certify(
        &self,
        request: Request<CertifyRequest>,
    ) -> Result<Response<CertifyResponse>, Status> {
        let desk = &self.0;
        let token = request.metadata().get("authorization");
        let right = format!("Bearer {}", desk.token.lock().unwrap());
        if self.known(&request)? {
            desk.by_certificate.send_modify(|count| *count += 1);
        } else if token.is_some_and(|token| *token == right) {
            desk.by_token.send_modify(|count| *count += 1);
        } else {
            return Err(Status::unauthenticated("the token is nobody's"));
        }
        let validity = *desk.validity.lock().unwrap();
        let csr = &request.get_ref().csr;
        let now = Clock::system().now();
        let plane = desk.plane();
        let chain = plane.ca.sign_leaf(csr, Component::Egress, now, validity);
        Ok(Response::new(CertifyResponse {
            chain: chain.unwrap().iter().map(|d| d.to_vec().into()).collect(),
            trust_bundle_pem: desk.root.cert_pem(),
            trust_domain: DOMAIN.to_owned(),
            revoked_plane_ids: Vec::new(),
        }))
    }

    async fn report(
        &self,
        request: Request<Streaming<ReportRequest>>,
    ) -> Result<Response<ReportResponse>, Status> {
        self.must_be_known(&request)?;
        let mut reports = request.into_inner();
        while reports.message().await?.is_some() {}
        Ok(Response::new(ReportResponse {}))
    }

    async fn ask(
        &self,
        request: Request<Streaming<AskRequest>>,
    ) -> Result<Response<Self::AskStream>, Status> {
        self.must_be_known(&request)?;
        Ok(Response::new(futures::stream::pending().boxed()))
    }

    async fn reseal(
        &self,
        _request: Request<ResealRequest>,
    ) -> Result<Response<ResealResponse>, Status> {
        Err(Status::unimplemented("no secret is sealed again here"))
    }
}

/// A component's folder, and the component.
struct Home {
    folder: tempfile::TempDir,
    stage: Stage,
    started: Option<Started>,
}

impl Home {
    /// A component that looks for its agent at this address.
    fn start(address: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stage = Stage::detached("egress").unwrap();
        let mut home = Self {
            folder,
            stage,
            started: None,
        };
        home.started = Some(home.open(address).start(|_status| {}));
        home
    }

    fn open(&self, address: &str) -> Neighbour {
        let settings = NeighbourSettings {
            address: Address::Tcp(address.to_owned()),
            instance: "zen-egress-0".to_owned(),
            trust_dir: self.path("trust"),
            token_file: self.path("token"),
        };
        let state = self.path("state");
        Neighbour::open(Component::Egress, &settings, Some(&state), &self.stage).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts the trust bundle there as kubelet does: a new folder, and a link that is swapped.
    fn put_trust(&self, root: &RootCa, plane: &Plane) {
        let trust = self.path("trust");
        std::fs::create_dir_all(&trust).unwrap();
        let data = tempfile::Builder::new().prefix("..").tempdir_in(&trust);
        let data = data.unwrap().keep();
        for (name, text) in [
            ("roots.pem", root.cert_pem()),
            ("trust-domain", DOMAIN.to_owned()),
            ("tenant-id", plane.tenant.to_string()),
            ("plane-id", plane.id.to_string()),
        ] {
            std::fs::write(data.join(name), text).unwrap();
            let link = trust.join(name);
            if !link.is_symlink() {
                std::os::unix::fs::symlink(Path::new("..data").join(name), link).unwrap();
            }
        }
        let new = trust.join("..data_tmp");
        std::os::unix::fs::symlink(data.file_name().unwrap(), &new).unwrap();
        std::fs::rename(new, trust.join("..data")).unwrap();
    }

    fn put_token(&self, text: &str) {
        std::fs::write(self.path("token"), text).unwrap();
    }

    /// Waits until `/readyz` says this of the identity.
    async fn waits(&self, for_what: &str) {
        let mut pending = self.stage.ready.changes();
        let said = pending.wait_for(|pending| {
            pending
                .get("identity")
                .is_some_and(|why| why.starts_with(for_what))
        });
        let said = tokio::time::timeout(LONG, said).await.is_ok();
        assert!(said, "not {for_what}: {:?}", self.stage.ready.pending());
    }

    async fn is_ready(&self) {
        let ready = tokio::time::timeout(LONG, self.stage.ready.wait()).await;
        assert!(ready.is_ok(), "{:?}", self.stage.ready.pending());
    }

    async fn has_slice(&mut self, revision: u64) {
        let slices = &mut self.started.as_mut().unwrap().slice;
        let comes = slices.wait_for(|slice| {
            Neighbour::snapshot(slice).is_some_and(|snapshot| snapshot.revision == revision)
        });
        let came = tokio::time::timeout(LONG, comes).await.is_ok();
        assert!(came, "no revision {revision}");
    }

    fn identity(&self) -> &LiveIdentity {
        &self.started.as_ref().unwrap().identity
    }

    async fn stop(self) {
        self.stage.shutdown.cancel();
        self.stage.tasks.finish(LONG).await.unwrap();
    }
}

async fn reaches(count: &watch::Sender<u32>, wanted: u32) {
    let mut count = count.subscribe();
    let reached = tokio::time::timeout(LONG, count.wait_for(|count| *count >= wanted));
    assert!(reached.await.is_ok(), "{} of {wanted}", *count.borrow());
}

#[tokio::test]
async fn readiness_says_what_a_first_contact_waits_for() {
    let agent = Agent::start().await;
    let mut home = Home::start(&agent.address);
    let roots = home.path("trust/roots.pem").display().to_string();
    home.waits(&format!("waiting for {roots} (ConfigMap zen-trust-bundle)"))
        .await;
    // Of another plane at first, by some mistake.
    let (right, wrong) = (agent.desk.plane(), Plane::new(&agent.desk.root, 9));
    home.put_trust(&agent.desk.root, &wrong);
    let token = home.path("token").display().to_string();
    home.waits(&format!("waiting for {token} (service account token)"))
        .await;
    home.put_token(" \n");
    home.waits(&format!("{token} holds no token")).await;
    home.put_token("old\n");
    let at = format!("the agent at {}", agent.address);
    home.waits(&format!("waiting for {at} to be enrolled"))
        .await;
    agent.enrol(1);
    home.waits(&format!(
        "{at} is not the one that the trust bundle names (UNEXPECTED_PEER)"
    ))
    .await;
    home.put_trust(&agent.desk.root, &right);
    home.waits(&format!("refused by {at}: the token is nobody's"))
        .await;
    assert!(home.identity().leaf().is_none());
    home.put_token("first\n");
    home.is_ready().await;
    home.has_slice(1).await;
    assert_eq!(home.identity().id().unwrap().plane(), Some(right.id));
    home.stop().await;
}

#[tokio::test]
async fn an_agent_that_is_away_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let agent = Agent::start().await;
    let home = Home::start(&address);
    home.put_trust(&agent.desk.root, &agent.desk.plane());
    home.put_token("first");
    home.waits(&format!("waiting for the agent at {address}: "))
        .await;
    home.stop().await;
}

#[tokio::test]
async fn a_certificate_is_renewed_by_certificate_and_without_token() {
    let agent = Agent::start().await;
    agent.enrol(1);
    *agent.desk.validity.lock().unwrap() = Duration::from_secs(4);
    let mut home = Home::start(&agent.address);
    home.put_trust(&agent.desk.root, &agent.desk.plane());
    home.put_token("first");
    home.is_ready().await;
    home.has_slice(1).await;
    std::fs::remove_file(home.path("token")).unwrap();
    reaches(&agent.desk.by_certificate, 2).await;
    assert_eq!(*agent.desk.by_token.borrow(), 1);
    home.stop().await;
}

#[tokio::test]
async fn a_component_follows_its_agent_to_another_plane_by_its_token() {
    let agent = Agent::start().await;
    agent.enrol(1);
    let mut home = Home::start(&agent.address);
    home.put_trust(&agent.desk.root, &agent.desk.plane());
    home.put_token("first");
    home.has_slice(1).await;
    // The certificate is good for a day; the agent takes it no more, and the token was rotated.
    "second".clone_into(&mut agent.desk.token.lock().unwrap());
    agent.enrol(2);
    home.put_trust(&agent.desk.root, &agent.desk.plane());
    home.put_token("second");
    home.has_slice(2).await;
    let plane = agent.desk.plane().id;
    assert_eq!(home.identity().id().unwrap().plane(), Some(plane));
    assert_eq!(*agent.desk.by_token.borrow(), 2);
    home.stop().await;
}

#[tokio::test]
async fn with_a_configuration_from_before_a_component_starts_without_its_agent() {
    let agent = Agent::start().await;
    agent.enrol(1);
    let mut home = Home::start(&agent.address);
    home.put_trust(&agent.desk.root, &agent.desk.plane());
    home.put_token("first");
    home.has_slice(1).await;
    let Home {
        folder,
        stage,
        started,
    } = home;
    drop(started);
    stage.shutdown.cancel();
    stage.tasks.finish(LONG).await.unwrap();

    let again = Home {
        folder,
        stage: Stage::detached("egress").unwrap(),
        started: None,
    };
    let mut neighbour = again.open("127.0.0.1:1");
    assert!(again.stage.ready.is_ready());
    assert!(Neighbour::snapshot(&neighbour.slice.borrow()).is_some());
    // One that others speak to by its certificate is not.
    neighbour.require_identity();
    assert!(!again.stage.ready.is_ready());
}
