//! Servers and clients over real sockets, while leaf, trust and time change under them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zen_proto::component::Component;
use zen_proto::limits::LEAF_VALIDITY;

use super::*;
use crate::testing::{StillTime, World, YEAR, domain, start};
use crate::{AcceptOptions, RootCa, TlsConnection, accept};

const PATIENCE: Duration = Duration::from_secs(20);

/// A server that tells each client who it took it for, and then echoes.
struct Echo {
    address: SocketAddr,
    peers: mpsc::Receiver<Peer>,
    refused: mpsc::Receiver<&'static str>,
    _tasks: JoinSet<()>,
}

impl Echo {
    async fn start(config: Arc<rustls::ServerConfig>, mut options: AcceptOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (peer_sender, peers) = mpsc::channel(64);
        let (refused_sender, refused) = mpsc::channel(64);
        options.on_refused = Some(Arc::new(move |code| {
            let _full = refused_sender.try_send(code);
        }));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = accept(listener, config, options);
            let mut echoes = JoinSet::new();
            while let Some(connection) = connections.next().await {
                let connection = connection.unwrap();
                peer_sender.try_send(connection.peer().clone()).unwrap();
                echoes.spawn(echo(connection));
            }
        });
        Self {
            address,
            peers,
            refused,
            _tasks: tasks,
        }
    }

    async fn peer(&mut self) -> Peer {
        tokio::time::timeout(PATIENCE, self.peers.recv())
            .await
            .unwrap()
            .unwrap()
    }

    async fn refusal(&mut self) -> &'static str {
        tokio::time::timeout(PATIENCE, self.refused.recv())
            .await
            .unwrap()
            .unwrap()
    }
}

async fn echo(mut connection: TlsConnection) {
    let id = connection
        .peer()
        .id
        .as_ref()
        .map_or_else(|| "nobody".to_owned(), ToString::to_string);
    let _gone = connection.write_all(format!("{id}\n").as_bytes()).await;
    let (mut read, mut write) = tokio::io::split(connection);
    let _gone = tokio::io::copy(&mut read, &mut write).await;
}

struct Client {
    stream: BufReader<TlsStream<TcpStream>>,
    taken_for: String,
}

impl Client {
    async fn dial(address: SocketAddr, config: Arc<rustls::ClientConfig>) -> io::Result<Self> {
        let dial = async {
            let socket = TcpStream::connect(address).await?;
            let name = rustls_pki_types::ServerName::from(address.ip());
            let stream = TlsConnector::from(config).connect(name, socket).await?;
            let mut stream = BufReader::new(stream);
            let mut taken_for = String::new();
            if stream.read_line(&mut taken_for).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(Self {
                stream,
                taken_for: taken_for.trim().to_owned(),
            })
        };
        tokio::time::timeout(PATIENCE, dial).await.unwrap()
    }

    async fn echoes(&mut self) -> bool {
        let mut back = [0; 5];
        self.stream.write_all(b"hello").await.is_ok()
            && self.stream.read_exact(&mut back).await.is_ok()
            && &back == b"hello"
    }

    fn server_key(&self) -> [u8; 32] {
        let chain = self
            .stream
            .get_ref()
            .get_ref()
            .1
            .peer_certificates()
            .unwrap();
        crate::public_key_sha256(&chain[0]).unwrap()
    }
}

/// The code of a handshake that this client refused.
fn code(outcome: io::Result<Client>) -> crate::DialFailure {
    crate::dial_failure(&outcome.err().unwrap())
}

struct Stage {
    world: World,
    time: Arc<StillTime>,
    server: LiveIdentity,
    client: LiveIdentity,
}

impl Stage {
    fn new() -> Self {
        let (world, time) = (World::new(), StillTime::new());
        let server = world.live(&time, Some(world.leaf(Component::Bridge)));
        let client = world.live(&time, Some(world.leaf(Component::Egress)));
        Self {
            world,
            time,
            server,
            client,
        }
    }

    async fn serve(&self, clients: ClientAuth) -> Echo {
        let expect = self.world.expect(Component::Egress);
        let config = self.server.server_config(expect, clients).unwrap();
        Echo::start(config, AcceptOptions::default()).await
    }

    fn to_server(&self) -> Arc<rustls::ClientConfig> {
        self.client
            .client_config(self.world.expect(Component::Bridge))
    }
}

#[tokio::test]
async fn both_sides_know_each_other_with_the_hybrid_group_and_without_resumption() {
    let stage = Stage::new();
    let mut echo = stage.serve(ClientAuth::Required).await;
    let config = stage.to_server();
    for _ in 0..2 {
        let mut client = Client::dial(echo.address, config.clone()).await.unwrap();
        assert!(client.echoes().await);
        assert_eq!(client.taken_for, stage.client.id().unwrap().to_string());
        let session = client.stream.get_ref().get_ref().1;
        assert_eq!(session.handshake_kind(), Some(rustls::HandshakeKind::Full));
        let group = session.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
        let peer = echo.peer().await;
        assert_eq!(peer.id, stage.client.id());
        assert_eq!(peer.not_after, Some(start() + LEAF_VALIDITY));
        assert_eq!(stage.server.check(&peer), Ok(()));
    }
}

#[tokio::test]
async fn a_new_leaf_is_seen_by_the_next_handshake_while_open_streams_live_on() {
    let stage = Stage::new();
    let mut echo = stage.serve(ClientAuth::Required).await;
    let config = stage.to_server();
    let mut before = Client::dial(echo.address, config.clone()).await.unwrap();
    let first_peer = echo.peer().await;

    let (server_chain, server_key) = stage.world.leaf(Component::Bridge);
    stage.server.set_leaf(server_chain, &server_key).unwrap();
    let (client_chain, client_key) = stage.world.leaf(Component::Egress);
    stage
        .client
        .set_leaf(client_chain.clone(), &client_key)
        .unwrap();

    assert!(before.echoes().await);
    assert_ne!(before.server_key(), server_key.public_key_sha256());
    let after = Client::dial(echo.address, config).await.unwrap();
    assert_eq!(after.server_key(), server_key.public_key_sha256());
    let second_peer = echo.peer().await;
    assert_ne!(first_peer.chain, second_peer.chain);
    assert_eq!(*second_peer.chain, *client_chain);
    assert!(before.echoes().await);
}

#[tokio::test]
async fn a_root_taken_away_is_refused_from_the_next_handshake_on() {
    let stage = Stage::new();
    let mut echo = stage.serve(ClientAuth::Required).await;
    let config = stage.to_server();
    let mut open = Client::dial(echo.address, config.clone()).await.unwrap();
    let peer = echo.peer().await;
    assert_eq!(stage.server.check(&peer), Ok(()));

    let other = RootCa::generate(domain(), start(), YEAR).unwrap();
    let trust = Trust::new(domain(), &other.cert_pem(), []).unwrap();
    stage.server.set_trust(trust.clone());
    assert!(Client::dial(echo.address, config.clone()).await.is_err());
    assert_eq!(echo.refusal().await, "UNKNOWN_ISSUER");
    assert_eq!(stage.server.check(&peer), Err(VerifyError::UnknownIssuer));
    assert!(
        open.echoes().await,
        "whoever checks the peer ends its connection, nobody else does"
    );

    stage.client.set_trust(trust);
    let refused = code(Client::dial(echo.address, config).await);
    assert_eq!(refused, crate::DialFailure::Untrusted("UNKNOWN_ISSUER"));
}

#[tokio::test]
async fn a_revoked_plane_is_out_at_once_and_back_when_it_is_not() {
    let stage = Stage::new();
    let mut echo = stage.serve(ClientAuth::Required).await;
    let roots = stage.world.root.cert_pem();
    stage
        .server
        .set_trust(Trust::new(domain(), &roots, [stage.world.plane]).unwrap());
    assert!(Client::dial(echo.address, stage.to_server()).await.is_err());
    assert_eq!(echo.refusal().await, "PLANE_REVOKED");
    stage.server.set_trust(stage.world.trust());
    assert!(Client::dial(echo.address, stage.to_server()).await.is_ok());
}

#[tokio::test]
async fn the_time_handed_in_is_the_one_that_counts() {
    let stage = Stage::new();
    let mut echo = stage.serve(ClientAuth::Required).await;
    let config = stage.to_server();
    assert!(Client::dial(echo.address, config.clone()).await.is_ok());
    let peer = echo.peer().await;
    stage.time.advance(LEAF_VALIDITY + Duration::from_secs(1));
    assert_eq!(
        code(Client::dial(echo.address, config).await),
        crate::DialFailure::ClockSkew
    );
    assert_eq!(
        stage.server.check(&peer).unwrap_err().code(),
        "CERTIFICATE_EXPIRED"
    );
}

#[tokio::test]
async fn a_client_without_a_certificate_gets_in_only_where_it_may() {
    let stage = Stage::new();
    let bare = server_auth_only_client_config(
        stage.world.trust(),
        stage.world.expect(Component::Bridge),
        stage.time.clone(),
    );
    let mut strict = stage.serve(ClientAuth::Required).await;
    assert!(Client::dial(strict.address, bare.clone()).await.is_err());
    assert_eq!(strict.refusal().await, "CERTIFICATE_MISSING");

    let mut open = stage.serve(ClientAuth::Optional).await;
    let client = Client::dial(open.address, bare).await.unwrap();
    assert_eq!(client.taken_for, "nobody");
    let peer = open.peer().await;
    assert_eq!(
        (peer.id.clone(), peer.not_after, peer.chain.len()),
        (None, None, 0)
    );
    assert_eq!(stage.server.check(&peer), Ok(()));
    // Who shows a certificate is judged by it all the same.
    let (chain, key) = stage.world.leaf(Component::Ingester);
    stage.client.set_leaf(chain, &key).unwrap();
    assert!(Client::dial(open.address, stage.to_server()).await.is_err());
    assert_eq!(open.refusal().await, "UNEXPECTED_PEER");
}

#[tokio::test]
async fn a_server_started_before_its_enrolment_works_as_soon_as_it_has_a_leaf() {
    let (world, time) = (World::new(), StillTime::new());
    let server = LiveIdentity::new(time.clone());
    let client = world.live(&time, Some(world.leaf(Component::Egress)));
    let mut changed = server.changed();
    let expect = world.expect(Component::Egress);
    let config = server.server_config(expect, ClientAuth::Required).unwrap();
    let mut echo = Echo::start(config, AcceptOptions::default()).await;
    let to_server = client.client_config(world.expect(Component::Bridge));
    assert!(Client::dial(echo.address, to_server.clone()).await.is_err());
    assert_eq!(echo.refusal().await, "TLS_FAILED");
    assert!(!server.has_leaf() && !changed.has_changed().unwrap());

    let (chain, key) = world.leaf(Component::Bridge);
    server.set_leaf(chain, &key).unwrap();
    assert!(Client::dial(echo.address, to_server.clone()).await.is_err());
    assert_eq!(echo.refusal().await, "NO_TRUST");
    server.set_trust(world.trust());
    assert_eq!(*changed.borrow_and_update(), 2);
    assert!(Client::dial(echo.address, to_server).await.is_ok());
}

#[tokio::test]
async fn half_a_rotation_is_refused_and_the_leaf_before_stays() {
    let stage = Stage::new();
    let before = stage.server.leaf().unwrap();
    let (chain, _key) = stage.world.leaf(Component::Bridge);
    let (_chain, other_key) = stage.world.leaf(Component::Bridge);
    let refused = stage.server.set_leaf(chain, &other_key);
    assert!(matches!(refused, Err(LeafError::KeyMismatch)));
    assert!(matches!(
        stage.server.set_leaf(vec![], &other_key),
        Err(LeafError::Chain(_))
    ));
    assert!(Arc::ptr_eq(&before, &stage.server.leaf().unwrap()));
}

#[tokio::test]
async fn a_document_signed_by_the_leaf_is_verified_by_the_same_rule() {
    let stage = Stage::new();
    let leaf = stage.client.leaf().unwrap();
    let signature = leaf.sign(b"document").unwrap();
    let expect = stage.world.expect(Component::Egress);
    let signer = stage
        .server
        .verify(leaf.chain(), Usage::Signer, &expect)
        .unwrap();
    assert_eq!(&signer, leaf.id());
    let spki = crate::spki(&leaf.chain()[0]).unwrap();
    assert!(crate::verify_signature(&spki, b"document", &signature));
}

#[tokio::test]
async fn clients_that_say_nothing_hold_up_nobody() {
    let stage = Stage::new();
    let expect = stage.world.expect(Component::Egress);
    let config = stage
        .server
        .server_config(expect, ClientAuth::Required)
        .unwrap();
    let options = AcceptOptions {
        max_handshakes: 2,
        ..AcceptOptions::default()
    };
    let mut echo = Echo::start(config, options).await;
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(TcpStream::connect(echo.address).await.unwrap());
    }
    let mut client = Client::dial(echo.address, stage.to_server()).await.unwrap();
    assert!(client.echoes().await);
    assert_eq!(echo.refusal().await, "HANDSHAKE_CROWDED_OUT");
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_ended() {
    let stage = Stage::new();
    let expect = stage.world.expect(Component::Egress);
    let config = stage
        .server
        .server_config(expect, ClientAuth::Required)
        .unwrap();
    let handshake_timeout = Duration::from_millis(20);
    let options = AcceptOptions {
        handshake_timeout,
        ..AcceptOptions::default()
    };
    let mut echo = Echo::start(config, options).await;
    let mut silent = TcpStream::connect(echo.address).await.unwrap();
    assert_eq!(echo.refusal().await, "HANDSHAKE_TIMEOUT");
    let read = tokio::time::timeout(PATIENCE, silent.read(&mut [0; 8]))
        .await
        .unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "the socket is closed");
}

#[tokio::test]
async fn bad_clients_are_refused_and_the_next_one_is_served() {
    let stage = Stage::new();
    let mut echo = stage.serve(ClientAuth::Required).await;
    let mut http = TcpStream::connect(echo.address).await.unwrap();
    http.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(echo.refusal().await, "NOT_TLS");
    drop(TcpStream::connect(echo.address).await.unwrap());
    assert_eq!(echo.refusal().await, "DISCONNECTED");
    assert!(Client::dial(echo.address, stage.to_server()).await.is_ok());
}

#[tokio::test]
async fn beyond_the_bound_a_client_waits_for_a_place() {
    let stage = Stage::new();
    let expect = stage.world.expect(Component::Egress);
    let config = stage
        .server
        .server_config(expect, ClientAuth::Required)
        .unwrap();
    let options = AcceptOptions {
        max_connections: 1,
        ..AcceptOptions::default()
    };
    let mut echo = Echo::start(config, options).await;
    let first = Client::dial(echo.address, stage.to_server()).await.unwrap();
    let _first = echo.peer().await;
    let mut second = std::pin::pin!(Client::dial(echo.address, stage.to_server()));
    let early = tokio::time::timeout(Duration::from_millis(100), &mut second).await;
    assert!(early.is_err() && echo.peers.is_empty());
    drop(first);
    assert!(second.await.is_ok());
}

#[tokio::test]
async fn a_peer_is_judged_again_when_trust_changes_and_when_its_leaf_ends() {
    let (world, time) = (World::new(), StillTime::new());
    let server = world.live(&time, Some(world.leaf(Component::Egress)));
    let expect = world.expect(Component::Ingester);
    let config = server
        .server_config(expect.clone(), ClientAuth::Optional)
        .unwrap();
    let mut echo = Echo::start(config, AcceptOptions::default()).await;
    let client = world.live(&time, Some(world.leaf(Component::Ingester)));
    let config = client.client_config(world.expect(Component::Egress));
    let _client = Client::dial(echo.address, config).await.unwrap();
    let peer = echo.peer().await;

    let still = |server: &LiveIdentity, expect: &Expect| {
        let (server, expect, peer) = (server.clone(), expect.clone(), peer.clone());
        async move { server.until_refused(&peer, &expect).await }
    };
    let refused = still(&server, &world.expect(Component::Agent)).await;
    assert!(matches!(refused, VerifyError::UnexpectedPeer { .. }));

    let mut waiting = Box::pin(still(&server, &expect));
    assert!(futures::poll!(&mut waiting).is_pending());
    let trust = Trust::new(domain(), &world.root.cert_pem(), [world.plane]).unwrap();
    server.set_trust(trust);
    let refused = tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    assert!(matches!(refused, VerifyError::PlaneRevoked { .. }));

    server.set_trust(world.trust());
    time.advance(LEAF_VALIDITY - Duration::from_secs(1));
    let mut waiting = Box::pin(still(&server, &expect));
    assert!(futures::poll!(&mut waiting).is_pending());
    time.advance(Duration::from_secs(2));
    let refused = tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    assert!(matches!(refused, VerifyError::Expired { .. }));
}
