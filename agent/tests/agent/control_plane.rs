//! A control plane as far as an agent sees one, over real TLS: it remembers bundles, binds keys,
//! signs, pushes, and misbehaves on request.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use futures::Stream;
use parking_lot::Mutex;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use zen_chassis::{CancellationToken, Clock, Random};
use zen_identity::{
    AcceptOptions, ClientAuth, Expect, LiveIdentity, Peer, PrivateKey, RootCa, Trust, accept,
    csr_public_key_sha256, csr_spki, verify_signature,
};
use zen_proto::component::Component;
use zen_proto::enrollment::v1::enrollment_service_server::{
    EnrollmentService, EnrollmentServiceServer,
};
use zen_proto::enrollment::v1::redeem_response::Outcome;
use zen_proto::enrollment::v1::{Enrolled, RecoverRequest, RedeemRequest, RedeemResponse, Refusal};
use zen_proto::ids::{BundleId, Id as _, PlaneId, TenantId};
use zen_proto::session::v1::agent_message::Message as Up;
use zen_proto::session::v1::control_message::Message as Down;
use zen_proto::session::v1::session_service_server::{SessionService, SessionServiceServer};
use zen_proto::session::v1::{AgentMessage, ControlMessage, PlaneCa, SnapshotChunk, Welcome};
use zen_proto::snapshot::v1::{SignedSnapshot, Snapshot};
use zen_seal::{BUNDLE_VERSION, Bundle, Identity, PlaneKind, Token, token_matches};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Clones are the same control plane.
#[derive(Clone)]
pub(crate) struct ControlPlane(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) address: String,
    pub(crate) root: RootCa,
    pub(crate) tenant: TenantId,
    pub(crate) plane: PlaneId,
    clock: Clock,
    random: Random,
    live: LiveIdentity,
    stop: CancellationToken,
    changed: Notify,
    inner: Mutex<Inner>,
}

struct Inner {
    bundles: HashMap<String, KnownBundle>,
    /// Public keys that were given a plane CA, in this order.
    certified: Vec<[u8; 32]>,
    /// SubjectPublicKeyInfo of each of them.
    known_keys: Vec<Vec<u8>>,
    recovered: usize,
    /// Replies that are lost after everything was done.
    lose_replies: usize,
    refuse_redeem: Option<&'static str>,
    refuse_session: Option<&'static str>,
    plane_ca_validity: Duration,
    session: Option<mpsc::Sender<Result<ControlMessage, Status>>>,
    sessions: usize,
    heard: Vec<Up>,
}

struct KnownBundle {
    token_sha256: [u8; 32],
    bound_to: Option<[u8; 32]>,
}

/// A bundle as an operator holds it.
pub(crate) struct Issued {
    pub(crate) bundle: String,
    pub(crate) identity: String,
    pub(crate) id: BundleId,
}

impl ControlPlane {
    /// Starts one on a free port.
    pub(crate) async fn start(clock: Clock) -> Self {
        let random = Random::system();
        let root = RootCa::generate("zen.test".parse().unwrap(), clock.now(), 365 * DAY).unwrap();
        Self::start_with(clock, root, PlaneId::generate(1, random.bytes())).await
    }

    /// Starts one with a root and a plane that exist.
    pub(crate) async fn start_with(clock: Clock, root: RootCa, plane: PlaneId) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let random = Random::system();
        let live = LiveIdentity::new(clock.time_provider());
        let trust = Trust::new(root.trust_domain().clone(), &root.cert_pem(), []).unwrap();
        live.set_trust(trust);
        let key = PrivateKey::generate().unwrap();
        // Short enough to be seen as over, or not begun, by a clock that is a day off.
        let chain = root
            .issue_control_plane(&key, &[], clock.now(), DAY / 2)
            .unwrap();
        live.set_leaf(chain, &key).unwrap();
        let new = Self(Arc::new(Shared {
            address: listener.local_addr().unwrap().to_string(),
            tenant: TenantId::generate(1, random.bytes()),
            plane,
            root,
            clock,
            random,
            live,
            stop: CancellationToken::new(),
            changed: Notify::new(),
            inner: Mutex::new(Inner {
                bundles: HashMap::new(),
                certified: Vec::new(),
                known_keys: Vec::new(),
                recovered: 0,
                lose_replies: 0,
                refuse_redeem: None,
                refuse_session: None,
                plane_ca_validity: 30 * DAY,
                session: None,
                sessions: 0,
                heard: Vec::new(),
            }),
        }));
        tokio::spawn(new.clone().serve(listener));
        new
    }

    async fn serve(self, listener: TcpListener) {
        let expect = Expect::any_component(&[Component::Agent]);
        let config = self
            .0
            .live
            .server_config(expect, ClientAuth::Optional)
            .unwrap();
        let stop = self.0.stop.clone();
        let serving = Server::builder()
            .add_service(EnrollmentServiceServer::new(self.clone()))
            .add_service(SessionServiceServer::new(self))
            .serve_with_incoming(accept(listener, config, AcceptOptions::default()));
        // Gone is gone: connections are cut, not drained.
        tokio::select! {
            () = stop.cancelled() => {}
            outcome = serving => outcome.unwrap(),
        }
    }

    /// Gone, with every connection.
    pub(crate) fn vanish(&self) {
        self.0.stop.cancel();
        self.0.inner.lock().session = None;
    }

    pub(crate) fn facts(&self) -> &Shared {
        &self.0
    }

    /// A bundle for this plane.
    pub(crate) fn issue(&self) -> Issued {
        self.issue_with(|_| {})
    }

    /// A bundle with something changed about it.
    pub(crate) fn issue_with(&self, change: impl FnOnce(&mut Bundle)) -> Issued {
        let shared = &self.0;
        let token = Token::new(shared.random.bytes());
        let now = shared.clock.unix_ms();
        let mut bundle = Bundle {
            version: BUNDLE_VERSION,
            bundle_id: BundleId::generate(now, shared.random.bytes()),
            tenant_id: shared.tenant,
            plane_id: shared.plane,
            kind: PlaneKind::Edge,
            control_plane_address: shared.address.clone(),
            trust_domain: "zen.test".to_owned(),
            trust_bundle_pem: shared.root.cert_pem(),
            token: token.clone(),
            issued_at_ms: now,
            expires_at_ms: now + 30 * 60 * 1_000,
        };
        change(&mut bundle);
        let known = KnownBundle {
            token_sha256: token.sha256(),
            bound_to: None,
        };
        shared
            .inner
            .lock()
            .bundles
            .insert(bundle.bundle_id.to_string(), known);
        let identity = Identity::generate();
        Issued {
            id: bundle.bundle_id,
            bundle: bundle.seal(&[identity.recipient()]).unwrap(),
            identity: identity.to_secret_text().to_string(),
        }
    }

    pub(crate) fn lose_replies(&self, count: usize) {
        self.0.inner.lock().lose_replies = count;
    }

    pub(crate) fn refuse_redeem(&self, code: Option<&'static str>) {
        self.0.inner.lock().refuse_redeem = code;
    }

    pub(crate) fn refuse_session(&self, code: Option<&'static str>) {
        self.0.inner.lock().refuse_session = code;
    }

    /// Until the first renewal; from then on they are good for long.
    pub(crate) fn issue_plane_cas_for(&self, validity: Duration) {
        self.0.inner.lock().plane_ca_validity = validity;
    }

    /// Keys that were given a plane CA, each once.
    pub(crate) fn distinct_keys(&self) -> usize {
        let mut keys = self.0.inner.lock().certified.clone();
        keys.sort_unstable();
        keys.dedup();
        keys.len()
    }

    /// Answers to redemptions, recoveries and renewals that were made.
    pub(crate) fn times_certified(&self) -> usize {
        self.0.inner.lock().certified.len()
    }

    pub(crate) fn times_recovered(&self) -> usize {
        self.0.inner.lock().recovered
    }

    pub(crate) fn sessions(&self) -> usize {
        self.0.inner.lock().sessions
    }

    /// Waits until something that was heard gives an answer.
    pub(crate) async fn heard<T>(&self, what: &str, mut pick: impl FnMut(&Up) -> Option<T>) -> T {
        let wait = async {
            loop {
                let changed = self.0.changed.notified();
                let found = self.0.inner.lock().heard.iter().rev().find_map(&mut pick);
                if let Some(found) = found {
                    return found;
                }
                // A message between look and wait is seen at the next one, soon enough.
                let _again = tokio::time::timeout(Duration::from_millis(50), changed).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .unwrap_or_else(|_| panic!("never heard: {what}"))
    }

    /// Forgets what was heard so far.
    pub(crate) fn forget_heard(&self) {
        self.0.inner.lock().heard.clear();
    }

    /// Sends down the open session.
    pub(crate) async fn push(&self, message: Down) {
        let session = self
            .0
            .inner
            .lock()
            .session
            .clone()
            .expect("a session is open");
        session
            .send(Ok(ControlMessage {
                message: Some(message),
            }))
            .await
            .unwrap();
    }

    /// Publishes a snapshot in chunks, signed, perhaps changed after that.
    pub(crate) async fn publish(
        &self,
        snapshot: &Snapshot,
        tamper: impl FnOnce(&mut SignedSnapshot),
    ) {
        let mut signed = self.sign(snapshot);
        tamper(&mut signed);
        let compressed = zstd::encode_all(&*signed.encode_to_vec(), 3).unwrap();
        let pieces: Vec<_> = compressed.chunks(64).collect();
        for (index, piece) in pieces.iter().enumerate() {
            self.push(Down::Snapshot(SnapshotChunk {
                revision: signed.revision,
                index: u32::try_from(index).unwrap(),
                last: index + 1 == pieces.len(),
                data: piece.to_vec().into(),
            }))
            .await;
        }
    }

    /// An encoded snapshot that nobody signed.
    pub(crate) fn sign_nothing(&self, snapshot: &Snapshot) -> bytes::Bytes {
        snapshot.encode_to_vec().into()
    }

    /// Trusts the plane's certificates no more.
    pub(crate) fn revoke(&self) {
        let (root, plane) = (&self.0.root, self.0.plane);
        let trust = Trust::new(root.trust_domain().clone(), &root.cert_pem(), [plane]).unwrap();
        self.0.live.set_trust(trust);
    }

    /// Ends the open session, as a proxy in between may.
    pub(crate) fn hang_up(&self) {
        let session = self.0.inner.lock().session.take();
        if let Some(session) = session {
            let lost = Err(Status::unavailable("hung up"));
            session.try_send(lost).unwrap();
        }
    }

    fn sign(&self, snapshot: &Snapshot) -> SignedSnapshot {
        let leaf = self.0.live.leaf().unwrap();
        let encoded = snapshot.encode_to_vec();
        let hash = digest(&SHA256, &encoded);
        let mut message = format!("zen snapshot v1\n{}\n", self.0.plane).into_bytes();
        message.extend_from_slice(&snapshot.revision.to_be_bytes());
        message.extend_from_slice(hash.as_ref());
        SignedSnapshot {
            revision: snapshot.revision,
            digest: hash.as_ref().to_vec().into(),
            signature: leaf.sign(&message).unwrap().into(),
            signer: leaf.chain().iter().map(|der| der.to_vec().into()).collect(),
            snapshot: encoded.into(),
        }
    }

    fn certify(&self, inner: &mut Inner, csr: &[u8]) -> Vec<bytes::Bytes> {
        inner.certified.push(csr_public_key_sha256(csr).unwrap());
        inner.known_keys.push(csr_spki(csr).unwrap());
        let shared = &self.0;
        let (tenant, plane, now) = (shared.tenant, shared.plane, shared.clock.now());
        let chain = shared
            .root
            .sign_plane_ca(csr, tenant, plane, now, inner.plane_ca_validity)
            .unwrap();
        chain.iter().map(|der| der.to_vec().into()).collect()
    }

    fn enrolled(&self, inner: &mut Inner, csr: &[u8]) -> RedeemResponse {
        let enrolled = Enrolled {
            plane_ca_chain: self.certify(inner, csr),
            trust_bundle_pem: self.0.root.cert_pem(),
            trust_domain: "zen.test".to_owned(),
            session_address: String::new(),
            server_time_ms: self.0.clock.unix_ms(),
        };
        RedeemResponse {
            outcome: Some(Outcome::Enrolled(enrolled)),
        }
    }
}

fn refusal(code: &str) -> RedeemResponse {
    let refusal = Refusal {
        code: code.to_owned(),
        detail: format!("told by the test: {code}"),
        server_time_ms: 1,
    };
    RedeemResponse {
        outcome: Some(Outcome::Refusal(refusal)),
    }
}

#[tonic::async_trait]
impl EnrollmentService for ControlPlane {
    async fn redeem(
        &self,
        request: Request<RedeemRequest>,
    ) -> Result<Response<RedeemResponse>, Status> {
        let request = request.into_inner();
        let mut inner = self.0.inner.lock();
        if let Some(code) = inner.refuse_redeem {
            return Ok(Response::new(refusal(code)));
        }
        let key = csr_public_key_sha256(&request.csr)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let Some(bundle) = inner.bundles.get_mut(&request.bundle_id) else {
            return Ok(Response::new(refusal("BUNDLE_SUPERSEDED")));
        };
        if !token_matches(&request.token, &bundle.token_sha256) {
            return Err(Status::permission_denied("wrong token"));
        }
        if *bundle.bound_to.get_or_insert(key) != key {
            return Ok(Response::new(refusal("BUNDLE_ALREADY_USED")));
        }
        let response = self.enrolled(&mut inner, &request.csr);
        if inner.lose_replies > 0 {
            inner.lose_replies -= 1;
            return Err(Status::unavailable("the reply was lost"));
        }
        Ok(Response::new(response))
    }

    async fn recover(
        &self,
        request: Request<RecoverRequest>,
    ) -> Result<Response<RedeemResponse>, Status> {
        let request = request.into_inner();
        let mut inner = self.0.inner.lock();
        let mut signed = format!("zen recover v1\n{}\n", request.plane_id).into_bytes();
        signed.extend_from_slice(&request.agent_time_ms.to_be_bytes());
        let asking = csr_spki(&request.csr).unwrap();
        // The key in use and its successor are current, no other.
        let current = inner
            .known_keys
            .iter()
            .rev()
            .take(2)
            .any(|known| *known == asking);
        if !current || !verify_signature(&asking, &signed, &request.proof) {
            return Err(Status::permission_denied("not the known key"));
        }
        inner.recovered += 1;
        let response = self.enrolled(&mut inner, &request.csr);
        Ok(Response::new(response))
    }
}

#[tonic::async_trait]
impl SessionService for ControlPlane {
    type OpenStream = Pin<Box<dyn Stream<Item = Result<ControlMessage, Status>> + Send>>;

    async fn open(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::OpenStream>, Status> {
        let peer = request
            .extensions()
            .get::<Peer>()
            .and_then(|peer| peer.id.clone());
        if peer.and_then(|id| id.plane()) != Some(self.0.plane) {
            return Err(Status::unauthenticated("not an agent of this plane"));
        }
        let (down, queue) = mpsc::channel(64);
        {
            let mut inner = self.0.inner.lock();
            if let Some(code) = inner.refuse_session {
                return Err(Status::permission_denied(format!(
                    "{code}: told by the test"
                )));
            }
            inner.session = Some(down.clone());
            inner.sessions += 1;
        }
        let welcome = Welcome {
            server_time_ms: self.0.clock.unix_ms(),
            heartbeat_interval_ms: 200,
            control_plane_version: "test".to_owned(),
            ..Welcome::default()
        };
        let first = ControlMessage {
            message: Some(Down::Welcome(welcome)),
        };
        down.send(Ok(first)).await.unwrap();
        tokio::spawn(self.clone().listen(request.into_inner(), down));
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }
}

impl ControlPlane {
    async fn listen(
        self,
        mut up: Streaming<AgentMessage>,
        down: mpsc::Sender<Result<ControlMessage, Status>>,
    ) {
        loop {
            let message = tokio::select! {
                message = up.message() => message,
                () = self.0.stop.cancelled() => return,
            };
            let Ok(Some(AgentMessage {
                message: Some(message),
            })) = message
            else {
                return;
            };
            if let Up::PlaneCaRequest(request) = &message {
                let chain = {
                    let mut inner = self.0.inner.lock();
                    inner.plane_ca_validity = 30 * DAY;
                    self.certify(&mut inner, &request.csr)
                };
                let answer = PlaneCa {
                    chain,
                    refusal: String::new(),
                };
                let message = Some(Down::PlaneCa(answer));
                if down.send(Ok(ControlMessage { message })).await.is_err() {
                    return;
                }
            }
            self.0.inner.lock().heard.push(message);
            self.0.changed.notify_waiters();
        }
    }
}
