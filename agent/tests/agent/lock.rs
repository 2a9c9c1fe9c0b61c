//! Bundles that zen-lock alone can open: the agent has them opened, over TLS, with its token.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};
use zen_agent::{LockConfig, State};
use zen_chassis::Clock;
use zen_identity::{AcceptOptions, accept};
use zen_proto::codes::{RefusalCode, SecretCode};
use zen_proto::limits;
use zen_proto::lock::v1::pod_service_server::{PodService, PodServiceServer};
use zen_proto::lock::v1::{FetchRequest, FetchResponse, OpenBundleRequest, OpenBundleResponse};
use zen_seal::Identity;

use crate::control_plane::ControlPlane;
use crate::rig::{Home, Running, eventually};

const TOKEN: &str = "the-agents-token";

/// Opens bundles for who shows the token.
#[derive(Clone)]
struct Lock {
    key: Arc<Identity>,
    asked: Arc<Mutex<usize>>,
    refuses: Arc<Mutex<Option<SecretCode>>>,
}

fn refusal(code: SecretCode) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert("zen-code", code.code().parse().unwrap());
    Status::with_metadata(Code::FailedPrecondition, code.remedy(), metadata)
}

#[tonic::async_trait]
impl PodService for Lock {
    async fn fetch(&self, _: Request<FetchRequest>) -> Result<Response<FetchResponse>, Status> {
        Err(Status::unimplemented("no pod asks here"))
    }

    async fn open_bundle(
        &self,
        request: Request<OpenBundleRequest>,
    ) -> Result<Response<OpenBundleResponse>, Status> {
        *self.asked.lock() += 1;
        if let Some(code) = *self.refuses.lock() {
            return Err(refusal(code));
        }
        let shown = request.metadata().get("authorization");
        if shown.and_then(|value| value.to_str().ok()) != Some(&format!("Bearer {TOKEN}")) {
            return Err(refusal(SecretCode::NotAllowed));
        }
        let sealed = request.into_inner().sealed;
        let opened = zen_seal::open(&sealed, std::slice::from_ref(&self.key), limits::BUNDLE)
            .map_err(|_| refusal(SecretCode::Malformed))?;
        let bundle = Bytes::copy_from_slice(&opened);
        Ok(Response::new(OpenBundleResponse { bundle }))
    }
}

/// An agent that is told of a zen-lock, and that zen-lock, which listens when told so.
struct World {
    control: ControlPlane,
    home: Home,
    lock: Lock,
    tls: Arc<ServerConfig>,
    port: u16,
    serving: Option<JoinHandle<()>>,
}

impl World {
    async fn new() -> Self {
        let control = ControlPlane::start(Clock::system()).await;
        let mut home = Home::new();
        let own = rcgen::generate_simple_self_signed(vec!["zen-lock.zen-mesh.svc".to_owned()]);
        let own = own.unwrap();
        let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let probe = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = probe.local_addr().unwrap().port();
        std::fs::create_dir_all(home.path("enrollment")).unwrap();
        std::fs::write(home.path("enrollment/ca.pem"), own.cert.pem()).unwrap();
        std::fs::write(home.path("enrollment/token"), format!("{TOKEN}\n")).unwrap();
        home.config.enrollment.lock = Some(LockConfig {
            address: format!("127.0.0.1:{port}"),
            server_name: Some("zen-lock.zen-mesh.svc".to_owned()),
            ca_file: home.path("enrollment/ca.pem"),
            token_file: home.path("enrollment/token"),
        });
        let lock = Lock {
            key: Arc::new(Identity::generate()),
            asked: Arc::default(),
            refuses: Arc::default(),
        };
        Self {
            control,
            home,
            lock,
            tls: Arc::new(config),
            port,
            serving: None,
        }
    }

    async fn serve(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        let accepted = accept(listener, Arc::clone(&self.tls), AcceptOptions::default());
        let service = PodServiceServer::new(self.lock.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        self.serving = Some(tokio::spawn(async move {
            server.serve_with_incoming(accepted).await.unwrap();
        }));
    }

    /// Puts a bundle there that was sealed for zen-lock, and no key.
    fn put_sealed_for_lock(&self) {
        let issued = self.control.issue();
        let key = Identity::parse(&issued.identity).unwrap();
        let plain = zen_seal::open(issued.bundle.as_bytes(), &[key], limits::BUNDLE).unwrap();
        let sealed = zen_seal::close(&plain, &[self.lock.key.recipient()]).unwrap();
        std::fs::write(self.home.path("enrollment/bundle.age"), sealed).unwrap();
    }
}

/// What `/readyz` says about enrolment.
async fn says(agent: &Running, words: &str) {
    let mut changes = agent.stage.ready.changes();
    let wait = changes.wait_for(|pending| {
        let line = pending.get("enrollment");
        line.is_some_and(|line| line.contains(words))
    });
    let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
    assert!(
        waited.is_ok(),
        "{words} never: {:?}",
        agent.stage.ready.pending()
    );
}

#[tokio::test]
async fn a_bundle_without_a_key_waits_for_zen_lock_and_is_opened_by_it() {
    let mut world = World::new().await;
    let mut agent = world.home.start().await;
    agent.reaches(State::WaitingForBundle).await;
    world.put_sealed_for_lock();
    says(&agent, SecretCode::LockUnreachable.code()).await;
    world.serve().await;
    agent.reaches(State::Connected).await;
    assert!(agent.stage.ready.is_ready());
    eventually("the bundle is removed", || {
        world.home.leftovers().is_empty()
    })
    .await;
    agent.stop().await;
    // It is not asked for a plane that is enrolled.
    let asked = *world.lock.asked.lock();
    let mut agent = world.home.start().await;
    agent.reaches(State::Connected).await;
    assert_eq!(*world.lock.asked.lock(), asked);
    agent.stop().await;
}

#[tokio::test]
async fn what_zen_lock_refuses_is_told_with_its_code_and_a_new_bundle_leads_out_of_it() {
    let mut world = World::new().await;
    world.serve().await;
    *world.lock.refuses.lock() = Some(SecretCode::NotAllowed);
    world.put_sealed_for_lock();
    let mut agent = world.home.start().await;
    agent.shows(RefusalCode::BundleUnreadable).await;
    says(&agent, SecretCode::NotAllowed.code()).await;
    // One that comes with its key needs nobody.
    world.home.put(&world.control.issue());
    agent.reaches(State::Connected).await;
    assert_eq!(*world.lock.asked.lock(), 1);
    agent.stop().await;
}

#[tokio::test]
async fn who_is_not_of_zen_locks_authority_gets_no_token() {
    let mut world = World::new().await;
    let other = rcgen::generate_simple_self_signed(vec!["zen-lock.zen-mesh.svc".to_owned()]);
    let other = other.unwrap().cert.pem();
    let right = std::fs::read(world.home.path("enrollment/ca.pem")).unwrap();
    std::fs::write(world.home.path("enrollment/ca.pem"), other).unwrap();
    world.serve().await;
    world.put_sealed_for_lock();
    let mut agent = world.home.start().await;
    says(&agent, SecretCode::LockUnreachable.code()).await;
    assert_eq!(*world.lock.asked.lock(), 0);
    // Its authority is published anew, and read without a restart.
    std::fs::write(world.home.path("enrollment/ca.pem"), right).unwrap();
    agent.reaches(State::Connected).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_bundle_taken_away_while_it_waits_is_waited_for_again() {
    let world = World::new().await;
    world.put_sealed_for_lock();
    let mut agent = world.home.start().await;
    says(&agent, SecretCode::LockUnreachable.code()).await;
    std::fs::remove_file(world.home.path("enrollment/bundle.age")).unwrap();
    agent.reaches(State::WaitingForBundle).await;
    agent.stop().await;
}
