//! A channel to a real server, and what is told of each way in which there is none.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use futures::future::{Ready, ready};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::{Service, ServiceExt as _};
use zen_proto::component::Component;
use zen_proto::limits::LEAF_VALIDITY;

use super::*;
use crate::testing::{StillTime, World};
use crate::{AcceptOptions, ClientAuth, Expect, LiveIdentity, Peer, accept};

/// Answers each call with the caller's id in a header.
#[derive(Clone)]
struct WhoAmI;

impl NamedService for WhoAmI {
    const NAME: &'static str = "test.WhoAmI";
}

impl Service<http::Request<Body>> for WhoAmI {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let peer = request.extensions().get::<Peer>().unwrap();
        let id = peer
            .id
            .as_ref()
            .map_or_else(|| "nobody".to_owned(), ToString::to_string);
        let response = http::Response::builder().header("id", id);
        ready(Ok(response.body(Body::empty()).unwrap()))
    }
}

struct Stage {
    world: World,
    time: Arc<StillTime>,
    server: LiveIdentity,
    client: LiveIdentity,
    _tasks: JoinSet<()>,
    address: SocketAddr,
}

impl Stage {
    async fn new() -> Self {
        let (world, time) = (World::new(), StillTime::new());
        let server = world.live(&time, Some(world.control_plane()));
        let client = world.live(&time, Some(world.leaf(Component::Agent)));
        let expect = world.expect(Component::Agent);
        let config = server.server_config(expect, ClientAuth::Optional).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = accept(listener, config, AcceptOptions::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let server = tonic::transport::Server::builder().add_service(WhoAmI);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        Self {
            world,
            time,
            server,
            client,
            _tasks: tasks,
            address,
        }
    }

    async fn call(&self, expect: Expect) -> Result<String, DialFailure> {
        call(&self.address.to_string(), self.client.client_config(expect)).await
    }
}

fn soon() -> DialOptions {
    DialOptions {
        connect_timeout: Duration::from_secs(5),
        ..DialOptions::default()
    }
}

async fn call(address: &str, config: Arc<ClientConfig>) -> Result<String, DialFailure> {
    ask(channel(address, config, soon())).await
}

async fn ask(mut channel: Channel) -> Result<String, DialFailure> {
    let request = http::Request::post("http://x/test.WhoAmI/Ask")
        .body(Body::empty())
        .unwrap();
    let answer = async { channel.ready().await?.call(request).await };
    match tokio::time::timeout(Duration::from_secs(20), answer)
        .await
        .unwrap()
    {
        Ok(response) => Ok(response.headers()["id"].to_str().unwrap().to_owned()),
        // As a caller of a generated client sees it.
        Err(error) => Err(dial_failure(&tonic::Status::from_error(Box::new(error)))),
    }
}

#[tokio::test]
async fn a_call_reaches_the_server_and_carries_the_callers_id() {
    let stage = Stage::new().await;
    let id = stage.client.id().unwrap().to_string();
    assert_eq!(stage.call(Expect::control_plane()).await, Ok(id.clone()));
    let named = format!("localhost:{}", stage.address.port());
    let config = stage.client.client_config(Expect::control_plane());
    assert_eq!(call(&named, config).await, Ok(id));
}

#[tokio::test]
async fn of_several_addresses_the_one_that_answers_is_taken() {
    let stage = Stage::new().await;
    let id = stage.client.id().unwrap().to_string();
    // A port that was free a moment ago, and one where nobody ever says a word.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = free.local_addr().unwrap();
    drop(free);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().unwrap();
    let all = format!("{refused}, {silent},{}", stage.address);
    let config = stage.client.client_config(Expect::control_plane());
    assert_eq!(call(&all, config.clone()).await, Ok(id));
    let none = format!("{refused},{refused}");
    assert_eq!(call(&none, config).await, Err(DialFailure::Unreachable));
}

#[tokio::test]
async fn a_call_without_a_certificate_arrives_as_nobodys() {
    let stage = Stage::new().await;
    let trust = stage.world.trust();
    let config =
        crate::server_auth_only_client_config(trust, Expect::control_plane(), stage.time.clone());
    assert_eq!(
        call(&stage.address.to_string(), config).await,
        Ok("nobody".to_owned())
    );
}

#[tokio::test]
async fn who_is_not_the_expected_server_is_untrusted_with_the_reason() {
    let stage = Stage::new().await;
    let expect = stage.world.expect(Component::Bridge);
    assert_eq!(
        stage.call(expect).await,
        Err(DialFailure::Untrusted("UNEXPECTED_PEER"))
    );
    stage.client.set_trust(World::new().trust());
    let refused = stage.call(Expect::control_plane()).await;
    assert_eq!(refused, Err(DialFailure::Untrusted("UNKNOWN_ISSUER")));
}

#[tokio::test]
async fn a_certificate_out_of_its_time_speaks_of_clocks() {
    let stage = Stage::new().await;
    stage.time.advance(LEAF_VALIDITY * 2);
    assert_eq!(
        stage.call(Expect::control_plane()).await,
        Err(DialFailure::ClockSkew)
    );
}

#[tokio::test]
async fn a_client_that_the_server_refuses_learns_it() {
    let stage = Stage::new().await;
    let (chain, key) = stage.world.leaf(Component::Lock);
    stage.client.set_leaf(chain, &key).unwrap();
    for _ in 0..10 {
        let refused = stage.call(Expect::control_plane()).await;
        assert_eq!(refused, Err(DialFailure::RefusedByPeer));
    }
}

#[tokio::test]
async fn one_channel_recovers_when_the_server_becomes_believable() {
    let stage = Stage::new().await;
    let config = stage.client.client_config(Expect::control_plane());
    let channel = channel(&stage.address.to_string(), config, soon());
    let elsewhere = World::new();
    stage.client.set_trust(elsewhere.trust());
    assert!(ask(channel.clone()).await.is_err());
    stage.client.set_trust(stage.world.trust());
    assert!(ask(channel).await.is_ok());
    assert!(stage.server.has_leaf());
}

#[tokio::test]
async fn where_nobody_answers_is_unreachable() {
    let stage = Stage::new().await;
    let config = || stage.client.client_config(Expect::control_plane());
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    assert_eq!(
        call(&free.to_string(), config()).await,
        Err(DialFailure::Unreachable)
    );
    // Accepted by the kernel, answered by nobody.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let options = DialOptions {
        connect_timeout: Duration::from_millis(50),
        ..soon()
    };
    let outcome = ask(channel(&address, config(), options)).await;
    assert_eq!(outcome, Err(DialFailure::Unreachable));
    for wrong in [
        "",
        "host",
        "https://host:1",
        "host:0",
        "a b:1",
        "u@host:1",
        "[::1",
    ] {
        assert_eq!(
            call(wrong, config()).await,
            Err(DialFailure::Unreachable),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn what_answers_without_tls_is_untrusted() {
    let stage = Stage::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut proxy = JoinSet::new();
    proxy.spawn(async move {
        while let Ok((mut socket, _address)) = listener.accept().await {
            socket
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .await
                .unwrap();
        }
    });
    let config = stage.client.client_config(Expect::control_plane());
    assert_eq!(
        call(&address, config).await,
        Err(DialFailure::Untrusted("NOT_TLS"))
    );
}

#[tokio::test]
async fn an_ipv6_address_is_dialled_in_brackets() {
    assert!(Place::parse("[::1]:7443").is_ok_and(|place| place.port == 7443));
    assert!(Place::parse("::1:7443").is_err());
}

/// A proxy: leads one connection after the other to where CONNECT says, or answers with `refusal`.
async fn proxy(refusal: Option<&'static str>, tasks: &mut JoinSet<()>) -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        while let Ok((mut near, _address)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(near.read_u8().await.unwrap());
            }
            if let Some(answer) = refusal {
                near.write_all(answer.as_bytes()).await.unwrap();
                continue;
            }
            let head = String::from_utf8(head).unwrap();
            let to = head.split(' ').nth(1).unwrap();
            let mut far = TcpStream::connect(to).await.unwrap();
            near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                .await
                .unwrap();
            tokio::spawn(async move {
                let _ended = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    format!("http://{address}").parse().unwrap()
}

fn through(proxy: Proxy) -> DialOptions {
    DialOptions {
        proxy: Some(proxy),
        ..soon()
    }
}

#[tokio::test]
async fn a_proxy_leads_to_the_server_and_the_server_is_judged_as_ever() {
    let stage = Stage::new().await;
    let mut tasks = JoinSet::new();
    let way = through(proxy(None, &mut tasks).await);
    let (address, id) = (stage.address.to_string(), stage.client.id().unwrap());
    let config = stage.client.client_config(Expect::control_plane());
    let answer = ask(channel(&address, config, way.clone())).await;
    assert_eq!(answer, Ok(id.to_string()));
    let config = stage
        .client
        .client_config(stage.world.expect(Component::Bridge));
    let refused = ask(channel(&address, config, way)).await;
    assert_eq!(refused, Err(DialFailure::Untrusted("UNEXPECTED_PEER")));
}

#[tokio::test]
async fn a_proxy_that_does_not_lead_on_is_told() {
    let stage = Stage::new().await;
    let mut tasks = JoinSet::new();
    for answer in [
        "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
    ] {
        let way = through(proxy(Some(answer), &mut tasks).await);
        let config = stage.client.client_config(Expect::control_plane());
        let refused = ask(channel(&stage.address.to_string(), config, way.clone())).await;
        assert_eq!(refused, Err(DialFailure::Unreachable));
        let told = way.proxy.unwrap().connect("far.example:443").await;
        match told {
            Err(ConnectError::Refused(line)) => {
                assert_eq!(line, "407 Proxy Authentication Required");
            }
            other => assert!(matches!(other, Err(ConnectError::NotHttp))),
        }
    }
}

#[test]
fn a_proxy_is_an_http_address_and_nothing_secret() {
    for good in ["http://proxy.example:3128", "http://[::1]:3128"] {
        assert_eq!(good.parse::<Proxy>().unwrap().to_string(), good);
    }
    assert!("http://proxy.example:3128/".parse::<Proxy>().is_ok());
    for wrong in [
        "proxy:3128",
        "https://proxy:3128",
        "http://proxy",
        "http://u:hunter2@proxy:3128",
        "http://proxy:3128/path",
    ] {
        let error = wrong.parse::<Proxy>().unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{wrong}");
    }
}
