//! Where the plane's components ask. Who it is → whether it may ask for this purpose → find → open
//! → whether the secret allows it → written down → handed out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};
use zen_chassis::CancellationToken;
use zen_chassis::chain::Chain;
use zen_chassis::net::Listener;
use zen_identity::{AcceptOptions, ClientAuth, Expect, LiveIdentity, Peer, Usage, accept};
use zen_proto::codes::SecretCode;
use zen_proto::component::Component;
use zen_proto::lock::v1::lock_service_server::{LockService, LockServiceServer};
use zen_proto::lock::v1::{OpenRequest, OpenResponse};
use zen_proto::purpose::Purpose;
use zen_seal::{Scope, SecretValue};

use crate::audit::Opening;
use crate::core::Core;
use crate::opener::{Asker, allowed};
use crate::refusal;
use crate::sources::Sources;

/// Largest question.
const MESSAGE: usize = 8 * 1024;
/// Questions of one connection at once, and connections over TCP.
const CALLS: u32 = 128;
const CONNECTIONS: usize = 512;
/// Pause between pings that find out whether the other side is still there, and time to answer.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);
/// Time for open connections to end after shutdown; what was asked is answered long before.
const GOODBYE: Duration = Duration::from_secs(5);
/// The purpose in metrics of a question whose purpose is none.
const NO_PURPOSE: &str = "unknown";

/// Who may ask.
#[derive(Clone)]
pub(crate) struct Admission {
    /// Users that may ask on a socket.
    users: Arc<[u32]>,
    /// By which certificates are judged; none where there is no plane.
    identity: Option<LiveIdentity>,
}

/// Who asks.
struct Caller {
    /// As the audit names it.
    who: String,
    /// Over TCP, the component that its certificate names.
    component: Option<Component>,
}

impl Admission {
    /// On a socket this process's own user, root, and those whom the operator allows; over TCP the
    /// ingester and the egress of the same plane.
    pub(crate) fn new(own: u32, allowed: &[u32], identity: Option<LiveIdentity>) -> Self {
        Self {
            users: [&[own, 0], allowed].concat().into(),
            identity,
        }
    }

    /// The caller, or in whose name it came in vain.
    fn admit<T>(&self, request: &Request<T>) -> Result<Caller, String> {
        if let Some(peer) = request.extensions().get::<Peer>() {
            return self.by_certificate(peer);
        }
        let peer = request.extensions().get::<UdsConnectInfo>();
        let uid = peer.and_then(|info| info.peer_cred.as_ref());
        let Some(uid) = uid.map(|cred| cred.uid()) else {
            return Err("uid:?".to_owned());
        };
        let who = format!("uid:{uid}");
        match self.users.contains(&uid) {
            true => Ok(Caller {
                who,
                component: None,
            }),
            false => Err(who),
        }
    }

    fn by_certificate(&self, peer: &Peer) -> Result<Caller, String> {
        let named = peer.id.as_ref().map(ToString::to_string);
        let who = named.unwrap_or_else(|| peer.address.ip().to_string());
        let Some(identity) = &self.identity else {
            return Err(who);
        };
        // The connection may be older than the end of its certificate, or than this plane.
        match identity.verify(&peer.chain, Usage::Client, &askers(identity)) {
            Ok(id) => Ok(Caller {
                who,
                component: id.component(),
            }),
            Err(error) => {
                tracing::warn!(who, why = %Chain(&error), "a certificate does not hold any more");
                Err(who)
            }
        }
    }
}

/// The components that have a use for secrets.
fn askers(identity: &LiveIdentity) -> Expect {
    let askers = [Component::Ingester, Component::Egress].map(|asker| identity.neighbour(asker));
    Expect::when(move |id| askers.iter().any(|asker| asker.admits(id)))
}

/// Answers components. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) core: Core,
    pub(crate) sources: Sources,
    pub(crate) admission: Admission,
}

impl Desk {
    /// Serves until `shutdown`; then answers what was asked and ends.
    pub(crate) async fn serve(
        self,
        listener: Listener,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let late = async {
            shutdown.cancelled().await;
            tokio::time::sleep(GOODBYE).await;
        };
        tokio::select! {
            served = self.serve_on(listener, shutdown.clone()) => served,
            () = late => {
                tracing::warn!("connections of components were still open at the end");
                Ok(())
            }
        }
    }

    async fn serve_on(self, listener: Listener, stop: CancellationToken) -> anyhow::Result<()> {
        let stop = stop.cancelled_owned();
        let identity = self.admission.identity.clone();
        let metrics = self.core.metrics.clone();
        let service = LockServiceServer::new(self).max_decoding_message_size(MESSAGE);
        let server = Server::builder()
            .max_concurrent_streams(CALLS)
            .http2_keepalive_interval(Some(PING))
            .http2_keepalive_timeout(Some(PONG))
            .add_service(service);
        match (listener, identity) {
            (Listener::Unix(listener), _) => {
                let connections = UnixListenerStream::new(listener);
                server
                    .serve_with_incoming_shutdown(connections, stop)
                    .await?;
            }
            (Listener::Tcp(listener), Some(identity)) => {
                let tls = identity.server_config(askers(&identity), ClientAuth::Required)?;
                let options = AcceptOptions {
                    max_connections: CONNECTIONS,
                    on_refused: Some(Arc::new(move |code| metrics.handshake_refused(code))),
                    ..AcceptOptions::default()
                };
                let connections = accept(listener, tls, options);
                server
                    .serve_with_incoming_shutdown(connections, stop)
                    .await?;
            }
            (Listener::Tcp(_), None) => anyhow::bail!("there is no certificate to show over TCP"),
        }
        Ok(())
    }

    /// Decides and writes down. Blocking.
    fn answer(
        &self,
        caller: &Result<Caller, String>,
        ask: &OpenRequest,
    ) -> (&'static str, Result<OpenResponse, SecretCode>) {
        let mut opening = Opening {
            at_ms: self.core.clock.unix_ms(),
            what: self.scope(&ask.name),
            purpose: ask.purpose.clone(),
            ..Opening::default()
        };
        let decided = match caller {
            Ok(caller) => {
                opening.who.clone_from(&caller.who);
                self.decide(caller, ask, &mut opening)
            }
            Err(who) => {
                opening.who.clone_from(who);
                Err(SecretCode::CallerUnknown)
            }
        };
        let outcome = match &decided {
            Ok(answer) if answer.value.is_empty() => "unchanged",
            Ok(_) => "opened",
            Err(code) => code.code(),
        };
        outcome.clone_into(&mut opening.outcome);
        match self.core.note(opening) {
            Ok(()) => (outcome, decided),
            Err(code) => (code.code(), Err(code)),
        }
    }

    fn decide(
        &self,
        caller: &Caller,
        ask: &OpenRequest,
        opening: &mut Opening,
    ) -> Result<OpenResponse, SecretCode> {
        let purpose: Purpose = ask
            .purpose
            .parse()
            .map_err(|_unknown| SecretCode::NotAllowed)?;
        // Over TCP a component asks for what it is there for. On a socket the purpose decides.
        if caller
            .component
            .is_some_and(|component| component != purpose.component())
        {
            return Err(SecretCode::NotAllowed);
        }
        let realms = self.core.realms.borrow().clone();
        // Without a configuration nothing can be said of any secret.
        let realm = realms.first().ok_or(SecretCode::LockUnreachable)?;
        let scope = Scope {
            realm: realm.clone(),
            namespace: None,
            name: ask.name.clone(),
        };
        // What is no name names no file.
        scope.check().map_err(|_no_name| SecretCode::Unknown)?;
        let sealed = self.sources.find(&ask.name)?;
        let opened = self.core.opener.open(&sealed, &realms, None, &ask.name)?;
        opening.key_id.clone_from(&opened.opened_with);
        opening.version.clone_from(&opened.secret.version);
        allowed(&opened, Asker::Component(purpose))?;
        let key = Some(ask.key.as_str()).filter(|key| !key.is_empty());
        let value = opened.secret.value(key).ok_or(SecretCode::KeyUnknown)?;
        let known = ask.known_version == opened.secret.version;
        Ok(OpenResponse {
            value: match known {
                true => Bytes::new(),
                false => Bytes::from_owner(Handed(value.clone())),
            },
            version: opened.secret.version.clone(),
            key_id: opened.opened_with.clone(),
        })
    }

    /// The name as the audit has it: with the realm in front, as far as that is known.
    fn scope(&self, name: &str) -> String {
        match self.core.realms.borrow().first() {
            Some(realm) => format!("{realm}/{name}"),
            None => name.to_owned(),
        }
    }
}

/// A value on its way out, wiped once it was written.
struct Handed(SecretValue);

impl AsRef<[u8]> for Handed {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

#[tonic::async_trait]
impl LockService for Desk {
    async fn open(&self, request: Request<OpenRequest>) -> Result<Response<OpenResponse>, Status> {
        let started = Instant::now();
        let caller = self.admission.admit(&request);
        let ask = request.into_inner();
        let purpose = ask.purpose.parse().map_or(NO_PURPOSE, Purpose::as_str);
        let desk = self.clone();
        let work = move || desk.answer(&caller, &ask);
        let answered = self.core.pool.run(work).await;
        let (outcome, answer) = answered.unwrap_or_else(|| {
            let crowded = SecretCode::LockUnreachable;
            (crowded.code(), Err(crowded))
        });
        self.core.metrics.asked(purpose, outcome, started.elapsed());
        answer.map(Response::new).map_err(refusal::status)
    }
}

#[cfg(test)]
#[path = "desk/tests.rs"]
mod tests;
