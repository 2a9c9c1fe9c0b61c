//! What zen-lock alone hands to its agent: secrets that it sealed again.

use tonic::Status;
use zen_proto::agent::v1::ResealRequest;
use zen_proto::session::v1::Resealed;

use super::agent::Agent;

/// The way up for secrets that were sealed again. Clones are the same way.
#[derive(Clone)]
pub struct Upward(pub(super) Agent);

impl Upward {
    /// Hands one to the control plane, which may be away: then it is to be tried again later.
    ///
    /// # Errors
    /// The agent's answer; `Unavailable` when there is no session, or no agent.
    pub async fn hand_in(&self, resealed: Resealed) -> Result<(), Status> {
        self.0.open().await;
        let request = ResealRequest {
            secret: Some(resealed),
        };
        self.0.client().reseal(request).await.map(|_taken| ())
    }
}
