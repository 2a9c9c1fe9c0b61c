//! A control plane in this process over real sockets and files, an API client, and an agent that
//! enrols and talks as a real one does.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails so"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use zen_chassis::{App, Clock, Stage};
use zen_control_plane::{AgentsSettings, Config, ControlPlane, DatabaseSettings, HttpSettings};
use zen_identity::{
    DialOptions, Expect, LiveIdentity, PlaneCa, PrivateKey, Trust, TrustDomain, Usage, channel,
    server_auth_only_client_config, spki, verify, verify_signature,
};
use zen_proto::component::Component;
use zen_proto::enrollment::v1::enrollment_service_client::EnrollmentServiceClient;
use zen_proto::enrollment::v1::{Enrolled, RedeemRequest, Refusal, redeem_response::Outcome};
use zen_proto::limits;
use zen_proto::query::v1::{Answer, Query, answer};
use zen_proto::session::v1::session_service_client::SessionServiceClient;
use zen_proto::session::v1::{
    AgentMessage, Applied, ComponentStatus, ControlMessage, Heartbeat, Hello, agent_message,
    control_message,
};
use zen_proto::snapshot::v1::{SignedSnapshot, Snapshot};
use zen_seal::{Bundle, Identity};

use super::ENGINE;
use crate::Engine;
use crate::postgres_server::postgres;

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running control plane.
pub(crate) struct Running {
    pub(crate) http: std::net::SocketAddr,
    pub(crate) agents: std::net::SocketAddr,
    pub(crate) key: String,
    pub(crate) clock: Clock,
    pub(crate) operator_tenant: String,
    pub(crate) default_tenant: String,
    /// Where it keeps its files.
    pub(crate) state_dir: PathBuf,
    stage: Stage,
    run: tokio::task::JoinHandle<anyhow::Result<()>>,
}

/// Settings with everything in `folder`. What is started there again finds the same database.
pub(crate) fn config(folder: &Path) -> Config {
    let any = "127.0.0.1:0".parse().unwrap();
    Config {
        state_dir: folder.to_owned(),
        database: DatabaseSettings {
            url_file: server_database(folder),
            ..DatabaseSettings::default()
        },
        http: HttpSettings {
            listen: any,
            url: None,
        },
        agents: AgentsSettings {
            listen: any,
            advertise: None,
        },
        heartbeat_lost: Duration::from_secs(15),
        ..Config::default()
    }
}

/// The file with the address of the folder's PostgreSQL database, made the first time; none for
/// SQLite, and where PostgreSQL is not installed.
pub(crate) fn server_database(folder: &Path) -> Option<PathBuf> {
    if ENGINE == Engine::Sqlite {
        return None;
    }
    let file = folder.join("database-url");
    if !file.exists() {
        let database = postgres().unwrap()?;
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(&file, database.url()).unwrap();
    }
    Some(file)
}

/// The folder's database, to look into and to meddle with.
pub(crate) async fn database(folder: &Path) -> sqlx::AnyConnection {
    use sqlx::Connection as _;
    sqlx::any::install_default_drivers();
    let url = match server_database(folder) {
        Some(file) => std::fs::read_to_string(file).unwrap(),
        None => format!("sqlite://{}", folder.join("control-plane.db").display()),
    };
    sqlx::AnyConnection::connect(&url).await.unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's clock starts at the present time"
)]
pub(crate) fn clock() -> Clock {
    Clock::manual(zen_chassis::clock::to_unix_ms(std::time::SystemTime::now()))
}

impl Running {
    pub(crate) async fn start(folder: &Path) -> Self {
        Self::start_with(config(folder), clock()).await
    }

    pub(crate) async fn start_with(config: Config, clock: Clock) -> Self {
        let stage = Stage::detached("control-plane")
            .unwrap()
            .with_clock(clock.clone());
        let state_dir = config.state_dir.clone();
        let app = ControlPlane::bind(config, &stage).await.unwrap();
        // Of several control planes on one database, the first has it.
        let key = std::fs::read_to_string(app.api_key_file()).unwrap_or_default();
        let key = key.trim().to_owned();
        let (http, agents) = (app.http_address(), app.agents_address());
        let operator_tenant = app.operator_tenant().to_string();
        let default_tenant = app.default_tenant().to_string();
        let run = tokio::spawn(app.run(stage.clone()));
        Self {
            http,
            agents,
            key,
            clock,
            operator_tenant,
            default_tenant,
            state_dir,
            stage,
            run,
        }
    }

    /// What `/readyz` shows.
    pub(crate) fn readiness(&self) -> zen_chassis::ready::Readiness {
        self.stage.ready.clone()
    }

    /// Stops it as SIGTERM does.
    pub(crate) async fn stop(self) {
        self.stage.shutdown.cancel();
        self.run.await.unwrap().unwrap();
        self.stage.tasks.finish(PATIENCE).await.unwrap();
    }

    /// One request with the owner's key.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        self.call_as(Some(&self.key), method, path, body).await
    }

    pub(crate) async fn call_as(
        &self,
        key: Option<&str>,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let (status, _, text) = self.raw(key, method, path, "application/json", body).await;
        let value = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap()
        };
        (status, value)
    }

    pub(crate) async fn raw(
        &self,
        key: Option<&str>,
        method: &str,
        path: &str,
        media_type: &str,
        body: String,
    ) -> (u16, http::HeaderMap, String) {
        let bearer = key.map(|key| format!("Bearer {key}"));
        let mut headers = vec![("content-type", media_type)];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        self.exchange(method, path, &headers, body).await
    }

    /// One request with the owner's key and JSON, and more headers.
    pub(crate) async fn sent(
        &self,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
        body: String,
    ) -> (u16, http::HeaderMap, String) {
        let bearer = format!("Bearer {}", self.key);
        let mut headers = vec![("content-type", "application/json")];
        headers.push(("authorization", &bearer));
        headers.extend(more);
        self.exchange(method, path, &headers, body).await
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> (u16, http::HeaderMap, String) {
        let stream = tokio::net::TcpStream::connect(self.http).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let driver = tokio::spawn(connection);
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "control-plane");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(bytes::Bytes::from(body))).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        drop(sender);
        driver.abort();
        (status, headers, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Creates something and answers it.
    pub(crate) async fn create(&self, path: &str, body: Value) -> Value {
        let (status, value) = self.call("POST", path, Some(body)).await;
        assert_eq!(status, 201, "{value}");
        value
    }

    pub(crate) async fn plane(&self, name: &str, kind: &str) -> String {
        text(
            &self
                .create("/v1/planes", json!({"name": name, "kind": kind}))
                .await,
            "id",
        )
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, value) = self.call("GET", path, None).await;
        assert_eq!(status, 200, "{value}");
        value
    }

    /// Reads until what is read satisfies `holds`.
    pub(crate) async fn wait(&self, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                last = self.get(path).await;
                if holds(&last) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let in_time = waited.await.is_ok();
        assert!(in_time, "never came about: {last}");
        last
    }

    /// Issues a bundle and opens it.
    pub(crate) async fn bundle(&self, plane: &str) -> Bundle {
        let issued = self
            .create(&format!("/v1/planes/{plane}/bundles"), json!({}))
            .await;
        let identity = Identity::parse(issued["identity"].as_str().unwrap()).unwrap();
        Bundle::open(issued["bundle"].as_str().unwrap().as_bytes(), &[identity]).unwrap()
    }

    /// Enrols an agent for the plane.
    pub(crate) async fn enrol(&self, plane: &str) -> Agent {
        let bundle = self.bundle(plane).await;
        let mut agent = Agent::new(&bundle, self.clock.clone());
        let enrolled = agent.redeem(&bundle).await.unwrap();
        agent.settle(&enrolled);
        agent
    }
}

pub(crate) fn text(value: &Value, field: &str) -> String {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("no {field} in {value}"))
        .to_owned()
}

/// An agent with its plane CA's key.
pub(crate) struct Agent {
    pub(crate) key: PrivateKey,
    pub(crate) clock: Clock,
    pub(crate) trust: Trust,
    pub(crate) domain: TrustDomain,
    pub(crate) address: String,
    pub(crate) plane: String,
    pub(crate) identity: LiveIdentity,
}

impl Agent {
    pub(crate) fn new(bundle: &Bundle, clock: Clock) -> Self {
        let domain: TrustDomain = bundle.trust_domain.parse().unwrap();
        let trust = Trust::new(domain.clone(), &bundle.trust_bundle_pem, []).unwrap();
        let identity = LiveIdentity::new(clock.time_provider());
        identity.set_trust(trust.clone());
        Self {
            key: PrivateKey::generate().unwrap(),
            clock,
            trust,
            domain,
            address: bundle.control_plane_address.clone(),
            plane: bundle.plane_id.to_string(),
            identity,
        }
    }

    pub(crate) fn enrollment(&self) -> EnrollmentServiceClient<tonic::transport::Channel> {
        let config = server_auth_only_client_config(
            self.trust.clone(),
            Expect::control_plane(),
            self.clock.time_provider(),
        );
        let channel = channel(&self.address, config, DialOptions::default());
        EnrollmentServiceClient::new(channel)
    }

    pub(crate) fn request(&self, bundle: &Bundle) -> RedeemRequest {
        RedeemRequest {
            bundle_id: bundle.bundle_id.to_string(),
            token: bundle.token.expose().to_vec().into(),
            tenant_id: bundle.tenant_id.to_string(),
            plane_id: bundle.plane_id.to_string(),
            csr: self.key.csr("plane").unwrap().into(),
            agent_version: "0.0.0-test".to_owned(),
            agent_time_ms: self.clock.unix_ms(),
        }
    }

    pub(crate) async fn redeem(&self, bundle: &Bundle) -> Result<Enrolled, Refusal> {
        self.ask(self.request(bundle)).await
    }

    pub(crate) async fn ask(&self, request: RedeemRequest) -> Result<Enrolled, Refusal> {
        match self
            .enrollment()
            .redeem(request)
            .await
            .unwrap()
            .into_inner()
            .outcome
            .unwrap()
        {
            Outcome::Enrolled(enrolled) => Ok(enrolled),
            Outcome::Refusal(refusal) => Err(refusal),
        }
    }

    /// Issues its own leaf with the plane CA.
    pub(crate) fn settle(&mut self, enrolled: &Enrolled) {
        let chain = enrolled
            .plane_ca_chain
            .iter()
            .map(|der| der.to_vec().into())
            .collect();
        let ca = PlaneCa::new(self.key.clone(), chain, self.domain.clone()).unwrap();
        let leaf = PrivateKey::generate().unwrap();
        let csr = leaf.csr("agent").unwrap();
        let now = self.clock.now();
        let chain = ca
            .sign_leaf(&csr, Component::Agent, now, limits::LEAF_VALIDITY)
            .unwrap();
        self.identity.set_leaf(chain, &leaf).unwrap();
    }

    /// Opens a session and says hello.
    pub(crate) async fn connect(&self, applied_revision: u64) -> Result<Talk, tonic::Status> {
        let config = self.identity.client_config(Expect::control_plane());
        let channel = channel(&self.address, config, DialOptions::default());
        let (say, outbound) = mpsc::channel(16);
        let hello = Hello {
            version: "0.0.0-test".to_owned(),
            boot_id: "b1".to_owned(),
            applied_revision,
            trusted_roots: Vec::new(),
        };
        say.send(agent(agent_message::Message::Hello(hello)))
            .await
            .unwrap();
        let mut client = SessionServiceClient::new(channel);
        let opened = client.open(ReceiverStream::new(outbound)).await?;
        Ok(Talk {
            say,
            hear: opened.into_inner(),
            applied: applied_revision,
        })
    }
}

pub(crate) fn agent(message: agent_message::Message) -> AgentMessage {
    AgentMessage {
        message: Some(message),
    }
}

/// The agent's side of a session.
pub(crate) struct Talk {
    pub(crate) say: mpsc::Sender<AgentMessage>,
    pub(crate) hear: Streaming<ControlMessage>,
    pub(crate) applied: u64,
}

impl Talk {
    /// The next message, none at the stream's end.
    pub(crate) async fn next(&mut self) -> Option<control_message::Message> {
        let message = tokio::time::timeout(PATIENCE, self.hear.message());
        message.await.expect("nothing came").ok().flatten()?.message
    }

    /// Hears until `pick` takes a message.
    pub(crate) async fn until<T>(
        &mut self,
        pick: impl Fn(control_message::Message) -> Option<T>,
    ) -> T {
        loop {
            let message = self.next().await.expect("the session ended too early");
            if let Some(picked) = pick(message) {
                return picked;
            }
        }
    }

    /// The next whole snapshot, its signature checked as an agent does.
    pub(crate) async fn snapshot(&mut self, by: &Agent) -> Snapshot {
        let mut compressed = Vec::new();
        loop {
            let piece = self
                .until(|message| match message {
                    control_message::Message::Snapshot(piece) => Some(piece),
                    _ => None,
                })
                .await;
            compressed.extend_from_slice(&piece.data);
            if piece.last {
                break;
            }
        }
        let bytes = zstd::bulk::decompress(&compressed, 2 * limits::SNAPSHOT).unwrap();
        let signed: SignedSnapshot = prost::Message::decode(bytes.as_slice()).unwrap();
        let snapshot = verified(&signed, by);
        self.applied = snapshot.revision;
        let applied = Applied {
            revision: snapshot.revision,
        };
        self.say
            .send(agent(agent_message::Message::Applied(applied)))
            .await
            .unwrap();
        snapshot
    }

    pub(crate) async fn heartbeat(&self, by: &Agent, components: Vec<ComponentStatus>) {
        let heartbeat = Heartbeat {
            components,
            agent_time_ms: by.clock.unix_ms(),
            applied_revision: self.applied,
        };
        self.say
            .send(agent(agent_message::Message::Heartbeat(heartbeat)))
            .await
            .unwrap();
    }

    /// The next question.
    pub(crate) async fn question(&mut self) -> Query {
        self.until(|message| match message {
            control_message::Message::Query(query) => Some(query),
            _ => None,
        })
        .await
    }

    pub(crate) async fn answer(&self, query_id: String, answer: answer::Answer) {
        let answer = Answer {
            query_id,
            answer: Some(answer),
        };
        self.say
            .send(agent(agent_message::Message::Answer(answer)))
            .await
            .unwrap();
    }
}

/// The snapshot in it, if the control plane signed it for this plane.
fn verified(signed: &SignedSnapshot, by: &Agent) -> Snapshot {
    let chain: Vec<_> = signed
        .signer
        .iter()
        .map(|der| der.to_vec().into())
        .collect();
    let now = by.clock.time_provider().current_time().unwrap();
    verify(
        &chain,
        Usage::Signer,
        &by.trust,
        &Expect::control_plane(),
        now,
    )
    .unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &signed.snapshot);
    assert_eq!(signed.digest, digest.as_ref());
    let mut bytes = format!("zen snapshot v1\n{}\n", by.plane).into_bytes();
    bytes.extend_from_slice(&signed.revision.to_be_bytes());
    bytes.extend_from_slice(&signed.digest);
    assert!(verify_signature(
        &spki(&chain[0]).unwrap(),
        &bytes,
        &signed.signature
    ));
    let snapshot: Snapshot = prost::Message::decode(signed.snapshot.clone()).unwrap();
    assert_eq!(snapshot.revision, signed.revision);
    assert_eq!(snapshot.plane_id, by.plane);
    snapshot
}

/// A component that is well.
pub(crate) fn component(name: &str, address: &str) -> ComponentStatus {
    ComponentStatus {
        component: name.to_owned(),
        instance: "0".to_owned(),
        version: "0.0.0-test".to_owned(),
        boot_id: "b1".to_owned(),
        ready: true,
        advertised_address: address.to_owned(),
        ..ComponentStatus::default()
    }
}
