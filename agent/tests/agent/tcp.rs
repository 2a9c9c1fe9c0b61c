//! The agent over TCP: who comes in with a certificate, who with a token, and as whom.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use zen_agent::{ReviewError, State, TokenReviewer};
use zen_chassis::neighbour::{Neighbour, NeighbourSettings};
use zen_chassis::net::Address;
use zen_chassis::{Clock, Stage};
use zen_identity::{
    DialOptions, Expect, LiveIdentity, PlaneCa, PrivateKey, Trust, channel,
    server_auth_only_client_config,
};
use zen_proto::agent::v1::agent_service_client::AgentServiceClient;
use zen_proto::agent::v1::{
    AskRequest, CertifyResponse, ReportRequest, ResealRequest, WatchRequest, ask_request,
};
use zen_proto::component::Component;
use zen_proto::ids::{Id as _, PlaneId};
use zen_proto::session::v1::ComponentStatus;

use crate::control_plane::{ControlPlane, DAY};
use crate::neighbours::request;
use crate::rig::{Home, Running};
use crate::session::{enrolled, snapshot};

const LONG: Duration = Duration::from_secs(20);

/// Knows a token of the ingester, which changes; is away, or never answers, for two others.
#[derive(Default)]
struct Reviewer {
    ingesters: Mutex<String>,
    reviewed: Mutex<usize>,
}

impl TokenReviewer for Reviewer {
    fn review<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Component, ReviewError>> {
        Box::pin(async move {
            *self.reviewed.lock() += 1;
            match token {
                "away" => Err(ReviewError::Unavailable("no API server".to_owned())),
                "silence" => std::future::pending().await,
                token if token == *self.ingesters.lock() => Ok(Component::Ingester),
                _ => Err(ReviewError::Refused("nobody's".to_owned())),
            }
        })
    }
}

struct World {
    control: ControlPlane,
    home: Home,
    agent: Running,
    reviewer: Arc<Reviewer>,
}

impl World {
    async fn new() -> Self {
        let control = ControlPlane::start(Clock::system()).await;
        let reviewer = Arc::new(Reviewer::default());
        "first".clone_into(&mut reviewer.ingesters.lock());
        let mut home = Home::new();
        home.config.listen = Address::Tcp("127.0.0.1:0".to_owned());
        home.reviewer = Some(Arc::clone(&reviewer) as _);
        let agent = enrolled(&control, &home).await;
        Self {
            control,
            home,
            agent,
            reviewer,
        }
    }

    fn address(&self) -> String {
        self.agent.address.to_string()
    }

    fn trust(&self) -> Trust {
        let root = &self.control.facts().root;
        Trust::new(root.trust_domain().clone(), &root.cert_pem(), []).unwrap()
    }

    /// As somebody without a certificate.
    fn stranger(&self) -> AgentServiceClient<Channel> {
        let facts = self.control.facts();
        let agent = Expect::component(facts.tenant, facts.plane, Component::Agent);
        let time = self.home.clock.time_provider();
        let config = server_auth_only_client_config(self.trust(), agent, time);
        AgentServiceClient::new(channel(&self.address(), config, DialOptions::default()))
    }

    async fn certify(&self, component: &str, token: &str) -> Result<CertifyResponse, Status> {
        let mut request = Request::new(request(component));
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        let answer = self.stranger().certify(request).await?;
        Ok(answer.into_inner())
    }

    /// With a certificate of this component of this plane.
    fn holder(&self, chain: Vec<Vec<u8>>, key: &PrivateKey) -> AgentServiceClient<Channel> {
        let live = LiveIdentity::new(self.home.clock.time_provider());
        live.set_trust(self.trust());
        let chain = chain.into_iter().map(Into::into).collect();
        live.set_leaf(chain, key).unwrap();
        let facts = self.control.facts();
        let agent = Expect::component(facts.tenant, facts.plane, Component::Agent);
        let config = live.client_config(agent);
        AgentServiceClient::new(channel(&self.address(), config, DialOptions::default()))
    }

    /// A leaf of a component of this plane, or of another under the same root.
    fn leaf_of(
        &self,
        plane: PlaneId,
        component: Component,
        validity: Duration,
        key: &PrivateKey,
    ) -> Vec<Vec<u8>> {
        let facts = self.control.facts();
        let ca_key = PrivateKey::generate().unwrap();
        let csr = ca_key.csr("plane").unwrap();
        let now = self.home.clock.now();
        let signed = facts
            .root
            .sign_plane_ca(&csr, facts.tenant, plane, now, DAY)
            .unwrap();
        let plane_ca = PlaneCa::new(ca_key, signed, facts.root.trust_domain().clone()).unwrap();
        let csr = key.csr(component.as_str()).unwrap();
        let leaf = plane_ca.sign_leaf(&csr, component, now, validity).unwrap();
        leaf.iter().map(|der| der.to_vec()).collect()
    }

    /// What the chart gives an ingester.
    fn neighbour(&self, folder: &std::path::Path, stage: &Stage) -> Neighbour {
        let settings = NeighbourSettings {
            address: self.agent.address.clone(),
            instance: "zen-ingester-0".to_owned(),
            trust_dir: folder.join("trust"),
            token_file: folder.join("token"),
        };
        let state = folder.join("state");
        Neighbour::open(Component::Ingester, &settings, Some(&state), stage).unwrap()
    }

    fn put_trust(&self, folder: &std::path::Path) {
        let facts = self.control.facts();
        let trust = folder.join("trust");
        std::fs::create_dir_all(&trust).unwrap();
        for (name, text) in [
            ("roots.pem", facts.root.cert_pem()),
            ("trust-domain", facts.root.trust_domain().to_string()),
            ("tenant-id", facts.tenant.to_string()),
            ("plane-id", facts.plane.to_string()),
        ] {
            std::fs::write(trust.join(name), text).unwrap();
        }
    }
}

#[tokio::test]
async fn a_first_certificate_is_given_for_a_token_and_only_to_its_component() {
    let world = World::new().await;
    let given = world.certify("ingester", "first").await.unwrap();
    assert!(!given.chain.is_empty());
    for (component, token, code, why) in [
        ("egress", "first", Code::PermissionDenied, "of the ingester"),
        ("ingester", "other", Code::Unauthenticated, "not accepted"),
        ("ingester", "away", Code::Unavailable, "judged now"),
        ("agent", "first", Code::InvalidArgument, "no neighbour"),
    ] {
        let refused = world.certify(component, token).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(why), "{refused}");
        assert!(!refused.message().contains("first"), "{refused}");
    }
    let reviewed = *world.reviewer.reviewed.lock();
    let long = "x".repeat(32 * 1024);
    for token in ["", &*long] {
        let refused = world.certify("ingester", token).await.unwrap_err();
        assert_ne!(refused.code(), Code::Ok);
    }
    let bare = world.stranger().certify(request("ingester")).await;
    assert_eq!(bare.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(*world.reviewer.reviewed.lock(), reviewed, "not even asked");
    world.agent.stop().await;
}

#[tokio::test]
async fn without_a_certificate_nothing_else_is_served() {
    let world = World::new().await;
    let hello = WatchRequest {
        component: "ingester".to_owned(),
        instance: "0".to_owned(),
    };
    let refused = world.stranger().watch(hello).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    let report = ReportRequest {
        status: Some(ComponentStatus {
            component: "ingester".to_owned(),
            instance: "0".to_owned(),
            ..ComponentStatus::default()
        }),
    };
    let refused = world
        .stranger()
        .report(tokio_stream::once(report))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    let secret = ResealRequest::default();
    let refused = world.stranger().reseal(secret).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    world.agent.stop().await;
}

#[tokio::test]
async fn a_certificate_speaks_for_its_own_component_of_this_plane_only() {
    let world = World::new().await;
    let key = PrivateKey::generate().unwrap();
    let mut certify = Request::new(request("ingester"));
    certify.get_mut().csr = key.csr("ingester").unwrap().into();
    let value = "Bearer first".parse().unwrap();
    certify.metadata_mut().insert("authorization", value);
    let given = world.stranger().certify(certify).await.unwrap();
    let chain: Vec<_> = given
        .into_inner()
        .chain
        .iter()
        .map(|der| der.to_vec())
        .collect();
    let mut holder = world.holder(chain, &key);
    holder.certify(request("ingester")).await.unwrap();
    let refused = holder.certify(request("egress")).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    let hello = WatchRequest {
        component: "egress".to_owned(),
        instance: "0".to_owned(),
    };
    let refused = holder.watch(hello).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    let secret = ResealRequest::default();
    let refused = holder.reseal(secret).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");

    // Another plane of the same tenant, under the same root.
    let other = PlaneId::generate(2, [7; 10]);
    let leaf = world.leaf_of(other, Component::Ingester, DAY / 2, &key);
    let mut foreigner = world.holder(leaf, &key);
    assert!(foreigner.certify(request("ingester")).await.is_err());
    world.agent.stop().await;
}

#[tokio::test]
async fn a_stream_ends_with_the_certificate_it_was_let_in_by() {
    let world = World::new().await;
    let plane = world.control.facts().plane;
    let key = PrivateKey::generate().unwrap();
    let leaf = world.leaf_of(plane, Component::Egress, Duration::from_secs(4), &key);
    let mut holder = world.holder(leaf, &key);
    let hello = || WatchRequest {
        component: "egress".to_owned(),
        instance: "0".to_owned(),
    };
    world
        .control
        .publish(&snapshot(&world.control, 1), |_| {})
        .await;
    let mut slices = holder.watch(hello()).await.unwrap().into_inner();
    let first = slices.message().await.unwrap().unwrap();
    assert_eq!(first.snapshot.unwrap().revision, 1);
    let silent = tokio_stream::pending::<ReportRequest>();
    let mut reporting = holder.clone();
    let reporting = tokio::spawn(async move { reporting.report(silent).await });
    let asked = AskRequest {
        message: Some(ask_request::Message::Hello(hello())),
    };
    let said = tokio_stream::StreamExt::chain(tokio_stream::once(asked), tokio_stream::pending());
    let mut questions = holder.ask(said).await.unwrap().into_inner();

    let ended = tokio::time::timeout(LONG, slices.message()).await.unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::Unauthenticated);
    let ended = tokio::time::timeout(LONG, reporting).await.unwrap();
    assert_eq!(ended.unwrap().unwrap_err().code(), Code::Unauthenticated);
    let ended = tokio::time::timeout(LONG, questions.message())
        .await
        .unwrap();
    assert!(ended.is_ok_and(|question| question.is_none()));
    // Nor does the connection, which is still there, bring anything more.
    let refused = holder.watch(hello()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    world.agent.stop().await;
}

#[tokio::test]
async fn an_agent_without_a_reviewer_gives_no_first_certificate() {
    let control = ControlPlane::start(Clock::system()).await;
    let mut home = Home::new();
    home.config.listen = Address::Tcp("127.0.0.1:0".to_owned());
    let agent = enrolled(&control, &home).await;
    let world = World {
        control,
        home,
        agent,
        reviewer: Arc::default(),
    };
    let refused = world.certify("ingester", "first").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("kubernetes"), "{refused}");
    world.agent.stop().await;
}

#[tokio::test]
async fn clients_that_say_nothing_and_reviews_that_never_end_hold_up_nobody() {
    let world = World::new().await;
    let mut silent = Vec::new();
    for _ in 0..32 {
        silent.push(TcpStream::connect(world.address()).await.unwrap());
    }
    let endless: Vec<_> = (0..7)
        .map(|_| world.certify("ingester", "silence"))
        .collect();
    let endless = futures::future::join_all(endless);
    tokio::select! {
        _ = endless => panic!("a review ended"),
        given = world.certify("ingester", "first") => { given.unwrap(); }
    }
    world.agent.stop().await;
}

#[tokio::test]
async fn a_component_gets_certificate_and_configuration_once_its_trust_bundle_is_there() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::detached("ingester").unwrap();
    let neighbour = world.neighbour(folder.path(), &stage);
    let mut started = neighbour.start(|_status| {});
    let mut pending = stage.ready.changes();
    let waits = pending.wait_for(|pending| {
        pending
            .get("identity")
            .is_some_and(|why| why.contains("zen-trust-bundle"))
    });
    tokio::time::timeout(LONG, waits).await.unwrap().unwrap();
    world.put_trust(folder.path());
    std::fs::write(folder.path().join("token"), "first\n").unwrap();
    let sent = snapshot(&world.control, 3);
    world.control.publish(&sent, |_| {}).await;
    let comes = started.slice.wait_for(Option::is_some);
    tokio::time::timeout(LONG, comes).await.unwrap().unwrap();
    let id = started.identity.id().unwrap();
    assert_eq!(id.component(), Some(Component::Ingester));
    assert_eq!(id.plane(), Some(world.control.facts().plane));

    // The token was rotated meanwhile, and the agent is another process with the same plane.
    "second".clone_into(&mut world.reviewer.ingesters.lock());
    std::fs::write(folder.path().join("token"), "second\n").unwrap();
    let listen = world.agent.address.clone();
    let World {
        control,
        mut home,
        agent,
        ..
    } = world;
    agent.stop().await;
    home.config.listen = listen;
    let mut agent = home.start().await;
    agent.reaches(State::Connected).await;
    control.publish(&snapshot(&control, 4), |_| {}).await;
    let comes = started.slice.wait_for(|slice| {
        let slice = slice.as_ref().and_then(|slice| slice.snapshot.as_ref());
        slice.is_some_and(|snapshot| snapshot.revision == 4)
    });
    tokio::time::timeout(LONG, comes).await.unwrap().unwrap();
    stage.shutdown.cancel();
    agent.stop().await;
}
