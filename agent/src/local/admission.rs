//! Who speaks to the agent, and as which component: by the kernel's word on a socket, by
//! certificate over TCP, and there the very first time by a token that somebody else judges.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Code, Request, Status};
use zen_chassis::chain::Chain;
use zen_identity::{Expect, LiveIdentity, Peer, SpiffeId};
use zen_proto::component::Component;

use super::reviews::Reviews;
use crate::applied::Desk;
use crate::metrics::{FirstContact, Metrics};

/// Longest token that is judged, bytes.
const TOKEN: usize = 16 * 1024;
/// Time for one judgement.
const REVIEW: Duration = Duration::from_secs(10);

/// Says whose token it is. The token is secret: it must not get into a log.
pub trait TokenReviewer: Send + Sync + 'static {
    /// The component that the token was given to.
    fn review<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Component, ReviewError>>;
}

/// Why a token says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    /// It is no token of a component of this plane.
    #[error("the token is not accepted: {0}")]
    Refused(String),
    /// It could not be judged; later it may.
    #[error("the token cannot be judged now: {0}")]
    Unavailable(String),
}

/// As whom somebody calls. In the extensions of each admitted request.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// A process whose user may speak on the socket: any component.
    Local,
    /// The holder of a certificate of this plane.
    Component(Component, Peer),
    /// Somebody over TCP, from this address, who has no certificate yet.
    Stranger(IpAddr),
}

impl Caller {
    /// As whom this was asked.
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let known = request.extensions().get::<Self>().cloned();
        known.ok_or_else(|| Status::internal("nobody was admitted"))
    }

    /// As whom this was asked, if it is somebody known: nothing is read of a stranger's stream.
    pub(crate) fn known<T>(request: &Request<T>) -> Result<Self, Status> {
        match Self::of(request)? {
            Self::Stranger(_) => Err(Status::unauthenticated(
                "only a first certificate is given to one who has none",
            )),
            known => Ok(known),
        }
    }

    /// Whether the caller may speak for this component.
    pub(crate) fn must_be(&self, claimed: Component) -> Result<(), Status> {
        match self {
            Self::Local => Ok(()),
            Self::Component(own, _) if *own == claimed => Ok(()),
            Self::Component(own, _) => Err(Status::permission_denied(format!(
                "the certificate is of the {own}, not of the {claimed}"
            ))),
            Self::Stranger(_) => Err(Status::unauthenticated(format!(
                "nothing says that this is the {claimed}"
            ))),
        }
    }
}

/// Who may speak.
#[derive(Clone)]
pub(crate) struct Admission {
    /// Users that may speak on the socket.
    users: Vec<u32>,
    desk: Desk,
    /// Whom the agent trusts now.
    live: LiveIdentity,
    /// Who judges the tokens of strangers.
    reviewer: Option<Arc<dyn TokenReviewer>>,
    reviews: Reviews,
    metrics: Metrics,
}

impl Admission {
    /// On a socket the agent's own user, root, and those whom the operator allows; over TCP the
    /// components of the plane on the desk.
    pub(crate) fn new(
        own: u32,
        allowed: &[u32],
        desk: Desk,
        live: LiveIdentity,
        metrics: Metrics,
    ) -> Self {
        Self {
            users: [&[own, 0], allowed].concat(),
            desk,
            live,
            reviewer: None,
            reviews: Reviews::default(),
            metrics,
        }
    }

    /// Admits strangers over TCP by the reviewer's word.
    pub(crate) fn set_reviewer(&mut self, reviewer: Arc<dyn TokenReviewer>) {
        self.reviewer = Some(reviewer);
    }

    /// These users and nobody over TCP.
    #[cfg(test)]
    pub(crate) fn of_users(
        users: &[u32],
        desk: Desk,
        live: LiveIdentity,
        metrics: Metrics,
    ) -> Self {
        Self {
            users: users.to_vec(),
            ..Self::new(0, &[], desk, live, metrics)
        }
    }

    /// A process on the socket, by its user.
    pub(crate) fn user(&self, uid: Option<u32>) -> Result<Caller, Status> {
        match uid {
            Some(uid) if self.users.contains(&uid) => Ok(Caller::Local),
            Some(uid) => Err(Status::permission_denied(format!(
                "user id {uid} may not speak to this agent; see its setting allowed_uids"
            ))),
            None => Err(Status::permission_denied(
                "the user id of the peer is not known",
            )),
        }
    }

    fn peer(&self, peer: &Peer) -> Result<Caller, Status> {
        let Some(id) = &peer.id else {
            return Ok(Caller::Stranger(peer.address.ip()));
        };
        // The connection may be older than the certificate's end, or than a revocation.
        self.live
            .check(peer)
            .map_err(|error| no_more(&Chain(&error)))?;
        neighbour_of(&self.desk, id)
            .map(|component| Caller::Component(component, peer.clone()))
            .ok_or_else(|| Status::permission_denied("the certificate is of another plane"))
    }

    /// Whoever may be let in by certificate.
    pub(crate) fn own_components(&self) -> Expect {
        let desk = self.desk.clone();
        Expect::when(move |id| neighbour_of(&desk, id).is_some())
    }

    /// Waits until the caller's certificate does not hold any more: streams outlive handshakes.
    pub(crate) async fn until_unwelcome(&self, caller: &Caller) -> Status {
        match caller {
            Caller::Component(_, peer) => {
                let own = self.own_components();
                no_more(&Chain(&self.live.until_refused(peer, &own).await))
            }
            Caller::Local | Caller::Stranger(_) => std::future::pending().await,
        }
    }

    /// Judges a stranger's claim to be this component by the token it brought.
    pub(crate) async fn first_contact(
        &self,
        claimed: Component,
        from: IpAddr,
        metadata: &MetadataMap,
    ) -> Result<(), Status> {
        let judged = self.by_token(claimed, from, metadata).await;
        let outcome = match &judged {
            Ok(()) => FirstContact::Accepted,
            Err(status) if status.code() == Code::Unavailable => FirstContact::Unavailable,
            Err(_) => FirstContact::Refused,
        };
        if let Err(status) = &judged {
            tracing::warn!(%claimed, %from, reason = status.message(), "first contact refused");
        }
        self.metrics.first_contact(outcome);
        judged
    }

    async fn by_token(
        &self,
        claimed: Component,
        from: IpAddr,
        metadata: &MetadataMap,
    ) -> Result<(), Status> {
        let token = metadata
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .map(str::trim)
            .filter(|token| !token.is_empty() && token.len() <= TOKEN)
            .ok_or_else(|| {
                Status::unauthenticated(
                    "a component without a certificate must bring its service account's token",
                )
            })?;
        let Some(reviewer) = &self.reviewer else {
            return Err(Status::unauthenticated(
                "this agent judges no tokens: it has no `kubernetes` settings; over TCP only \
                 components with a certificate of the plane may speak to it",
            ));
        };
        let place = self.reviews.enter(from).ok_or_else(|| {
            Status::resource_exhausted("too many tokens are being judged; come again")
        })?;
        match tokio::time::timeout(REVIEW, reviewer.review(token)).await {
            Ok(Ok(component)) if component == claimed => Ok(()),
            Ok(Ok(component)) => {
                place.linger().await;
                Err(Status::permission_denied(format!(
                    "the token is of the {component}, not of the {claimed}"
                )))
            }
            Ok(Err(error @ ReviewError::Refused(_))) => {
                place.linger().await;
                Err(Status::unauthenticated(error.to_string()))
            }
            Ok(Err(error @ ReviewError::Unavailable(_))) => {
                Err(Status::unavailable(error.to_string()))
            }
            Err(_) => Err(Status::unavailable("the token was not judged in time")),
        }
    }
}

impl Interceptor for Admission {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let extensions = request.extensions();
        let caller = match extensions.get::<Peer>() {
            Some(peer) => self.peer(peer)?,
            None => {
                let peer = extensions.get::<UdsConnectInfo>();
                let uid = peer.and_then(|info| info.peer_cred.as_ref());
                self.user(uid.map(|cred| cred.uid()))?
            }
        };
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

fn no_more(why: &dyn std::fmt::Display) -> Status {
    Status::unauthenticated(format!(
        "the certificate of this connection does not hold any more: {why}"
    ))
}

/// Which component of the plane on the desk this is; none if it is of another plane, or the agent.
pub(crate) fn neighbour_of(desk: &Desk, id: &SpiffeId) -> Option<Component> {
    let identity = desk.now().identity?;
    let own = id.tenant() == Some(identity.stored.tenant_id)
        && id.plane() == Some(identity.stored.plane_id);
    id.component()
        .filter(|component| own && *component != Component::Agent)
}
