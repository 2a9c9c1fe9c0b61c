//! Secrets that zen-lock sealed again, on their way to the control plane: from the local service to
//! whichever session is up. Nothing waits here for a session.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;
use zen_proto::ids::SecretId;
use zen_proto::limits;
use zen_proto::session::v1::Resealed;

/// Secrets on their way at once.
const QUEUE: usize = 8;
/// Time for one to be handed on.
const HANDED_ON: Duration = Duration::from_secs(10);

/// A secret, and whom to tell that the session has taken it.
pub(crate) struct Parcel {
    pub(crate) resealed: Resealed,
    pub(crate) taken: oneshot::Sender<()>,
}

/// Where secrets are handed in. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Outbox(Arc<Mutex<Option<mpsc::Sender<Parcel>>>>);

/// What a session takes out of the outbox; its end closes it.
pub(crate) struct Collection {
    outbox: Outbox,
    parcels: mpsc::Receiver<Parcel>,
}

impl Outbox {
    /// Collects for a session that is up; another that still does gets nothing more.
    pub(crate) fn collect(&self) -> Collection {
        let (sender, parcels) = mpsc::channel(QUEUE);
        *self.0.lock() = Some(sender);
        Collection {
            outbox: self.clone(),
            parcels,
        }
    }

    /// Hands one in and waits until the session has taken it.
    ///
    /// # Errors
    /// What it cannot be, or that there is no session.
    pub(crate) async fn hand_in(&self, resealed: Resealed) -> Result<(), Status> {
        check(&resealed)?;
        let session = self.0.lock().clone();
        let away = || Status::unavailable("there is no session with the control plane now");
        let session = session.ok_or_else(away)?;
        let (taken, told) = oneshot::channel();
        let handing = async {
            let parcel = Parcel { resealed, taken };
            session.send(parcel).await.map_err(|_ended| away())?;
            told.await.map_err(|_ended| away())
        };
        let handed = tokio::time::timeout(HANDED_ON, handing).await;
        handed.map_err(|_late| Status::unavailable("the session takes nothing now"))?
    }
}

impl Collection {
    /// The next one.
    pub(crate) async fn next(&mut self) -> Parcel {
        match self.parcels.recv().await {
            Some(parcel) => parcel,
            // Another session collects.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        self.parcels.close();
        let mut collected = self.outbox.0.lock();
        // Not that of a session that came after.
        if collected.as_ref().is_some_and(mpsc::Sender::is_closed) {
            *collected = None;
        }
    }
}

fn check(resealed: &Resealed) -> Result<(), Status> {
    let refuse = |what: &str| Err(Status::invalid_argument(what.to_owned()));
    if resealed.secret_id.parse::<SecretId>().is_err() {
        return refuse("secret_id is no id of a secret");
    }
    if resealed.sealed.is_empty() || resealed.sealed.len() > limits::SECRET_SEALED {
        return refuse("the sealed secret is empty or too large");
    }
    match resealed.recipients.len() {
        1..=limits::SECRET_RECIPIENTS => Ok(()),
        _ => refuse("recipients: one to sixteen"),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn resealed() -> Resealed {
        Resealed {
            secret_id: "sec_01k3ec0000e008000000000001".to_owned(),
            version: 1,
            sealed: "x".to_owned(),
            recipients: vec!["age1x".to_owned()],
        }
    }

    #[tokio::test]
    async fn without_a_session_it_is_said_so_and_nothing_waits() {
        let outbox = Outbox::default();
        let refused = outbox.hand_in(resealed()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        let first = outbox.collect();
        let mut second = outbox.collect();
        // The end of a session before changes nothing for the one that is up.
        drop(first);
        let (handed, parcel) = tokio::join!(outbox.hand_in(resealed()), async {
            let parcel = second.next().await;
            parcel.taken.send(()).unwrap();
            parcel.resealed
        });
        assert!(handed.is_ok() && parcel == resealed());
        let waiting = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.hand_in(resealed()).await }
        });
        let lost = second.next().await;
        drop((lost, second));
        let refused = waiting.await.unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(outbox.hand_in(resealed()).await.is_err());
    }

    #[tokio::test]
    async fn what_is_no_secret_is_not_handed_on() {
        let outbox = Outbox::default();
        let _collected = outbox.collect();
        let wrong: [fn(&mut Resealed); 4] = [
            |r| r.secret_id = "x".to_owned(),
            |r| r.sealed = String::new(),
            |r| r.sealed = "x".repeat(limits::SECRET_SEALED + 1),
            |r| r.recipients = vec!["age1x".to_owned(); 17],
        ];
        for change in wrong {
            let mut resealed = resealed();
            change(&mut resealed);
            let refused = outbox.hand_in(resealed).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
        }
    }
}
