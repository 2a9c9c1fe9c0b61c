//! Who speaks to the agent, and as which component: by the kernel's word on a socket, by
//! certificate over TCP, and there the very first time by a token that somebody else judges.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Status};
use zen_chassis::chain::Chain;
use zen_identity::{LiveIdentity, Peer, SpiffeId};
use zen_proto::component::Component;

use crate::applied::Desk;

/// Longest token that is judged, bytes.
const TOKEN: usize = 16 * 1024;
/// Tokens judged at the same time; a component that finds no room comes again.
const REVIEWS: usize = 16;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A process whose user may speak on the socket: any component.
    Local,
    /// The holder of a certificate of this plane.
    Component(Component),
    /// Somebody over TCP who has no certificate yet.
    Stranger,
}

impl Caller {
    /// As whom this was asked.
    pub(crate) fn of<T>(request: &Request<T>) -> Self {
        let known = request.extensions().get::<Self>();
        known.copied().unwrap_or(Self::Stranger)
    }

    /// Whether the caller may speak for this component.
    pub(crate) fn must_be(self, claimed: Component) -> Result<(), Status> {
        match self {
            Self::Local => Ok(()),
            Self::Component(own) if own == claimed => Ok(()),
            Self::Component(own) => Err(Status::permission_denied(format!(
                "the certificate is of the {own}, not of the {claimed}"
            ))),
            Self::Stranger => Err(Status::unauthenticated(
                "only a first certificate is given to one who has none",
            )),
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
    reviews: Arc<Semaphore>,
}

impl Admission {
    /// On a socket the agent's own user, root, and those whom the operator allows; over TCP the
    /// components of the plane on the desk.
    pub(crate) fn new(own: u32, allowed: &[u32], desk: Desk, live: LiveIdentity) -> Self {
        Self {
            users: [&[own, 0], allowed].concat(),
            desk,
            live,
            reviewer: None,
            reviews: Arc::new(Semaphore::new(REVIEWS)),
        }
    }

    /// Admits strangers over TCP by the reviewer's word.
    pub(crate) fn set_reviewer(&mut self, reviewer: Arc<dyn TokenReviewer>) {
        self.reviewer = Some(reviewer);
    }

    /// These users and nobody over TCP.
    #[cfg(test)]
    pub(crate) fn of_users(users: &[u32], desk: Desk, live: LiveIdentity) -> Self {
        Self {
            users: users.to_vec(),
            ..Self::new(0, &[], desk, live)
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
            return Ok(Caller::Stranger);
        };
        // The connection may be older than the certificate's end, or than a revocation.
        self.live.check(peer).map_err(|error| {
            Status::unauthenticated(format!(
                "the certificate of this connection does not hold any more: {}",
                Chain(&error)
            ))
        })?;
        neighbour_of(&self.desk, id)
            .map(Caller::Component)
            .ok_or_else(|| Status::permission_denied("the certificate is of another plane"))
    }

    /// Judges a stranger's claim to be this component by the token it brought.
    pub(crate) async fn first_contact(
        &self,
        claimed: Component,
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
        let _place = self.reviews.try_acquire().map_err(|_none_free| {
            Status::resource_exhausted("too many tokens are being judged; come again")
        })?;
        let judged = tokio::time::timeout(REVIEW, reviewer.review(token)).await;
        match judged {
            Ok(Ok(component)) if component == claimed => Ok(()),
            Ok(Ok(component)) => Err(Status::permission_denied(format!(
                "the token is of the {component}, not of the {claimed}"
            ))),
            Ok(Err(error @ ReviewError::Refused(_))) => {
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

/// Which component of the plane on the desk this is; none if it is of another plane, or the agent.
pub(crate) fn neighbour_of(desk: &Desk, id: &SpiffeId) -> Option<Component> {
    let identity = desk.now().identity?;
    let own = id.tenant() == Some(identity.stored.tenant_id)
        && id.plane() == Some(identity.stored.plane_id);
    id.component()
        .filter(|component| own && *component != Component::Agent)
}
