//! A crash at every step of enrolment and renewal: the next start always ends enrolled, with one
//! identity.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Notify;
use zen_agent::{Content, Directory, Entry, State, Store, StoreError};
use zen_chassis::Clock;

use crate::control_plane::ControlPlane;
use crate::rig::{Home, eventually};

/// What happens to the n-th change.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Blow {
    /// The power goes before it is made.
    CutBefore,
    /// The power goes when it is made, before anybody hears of it.
    CutAfter,
    /// It fails, and the agent lives on.
    Fails,
}

/// A directory that meets one blow.
struct Struck {
    inner: Directory,
    changes: Arc<AtomicUsize>,
    at: usize,
    blow: Blow,
    met: Arc<Notify>,
}

impl Struck {
    async fn change(
        &self,
        change: BoxFuture<'_, Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        if self.changes.fetch_add(1, Ordering::SeqCst) != self.at {
            return change.await;
        }
        if self.blow == Blow::CutAfter {
            change.await?;
        }
        self.met.notify_one();
        match self.blow {
            Blow::CutBefore | Blow::CutAfter => std::future::pending().await,
            Blow::Fails => Err(StoreError("no space left on the disk".into())),
        }
    }
}

impl Store for Struck {
    fn read(&self, entry: Entry) -> BoxFuture<'_, Result<Option<Content>, StoreError>> {
        self.inner.read(entry)
    }

    fn write(&self, entry: Entry, content: Content) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.change(self.inner.write(entry, content)))
    }

    fn remove(&self, entry: Entry) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.change(self.inner.remove(entry)))
    }
}

/// Enrols with a blow at that change; whether it was met.
async fn enrol_with(blow: Blow, at: usize) -> bool {
    let control = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    let issued = control.issue();
    home.put(&issued);
    let met = Arc::new(Notify::new());
    let store = Struck {
        inner: home.directory(),
        changes: Arc::default(),
        at,
        blow,
        met: Arc::clone(&met),
    };
    let mut first = home.start_with(Arc::new(store)).await;
    let was_met = tokio::select! {
        biased;
        () = met.notified() => true,
        () = first.reaches(State::Connected) => false,
    };
    if blow == Blow::Fails {
        first.reaches(State::Connected).await;
    }
    first.stop().await;

    let mut second = home.start().await;
    second.reaches(State::Connected).await;
    let case = format!("{blow:?} at change {at}");
    let tidy = home.is_tidy().await;
    assert!(tidy, "{case}: left behind {:?}", home.leftovers());
    let stored = home.stored_identity().unwrap();
    assert_eq!(stored["bundle_id"], issued.id.to_string(), "{case}");
    assert_eq!(control.distinct_keys(), 1, "{case}");
    second.stop().await;
    control.vanish();
    was_met
}

#[tokio::test]
async fn a_blow_at_any_change_ends_enrolled_with_one_identity() {
    for blow in [Blow::CutBefore, Blow::CutAfter, Blow::Fails] {
        let mut met = 0;
        while enrol_with(blow, met).await {
            met += 1;
        }
        // The key, the identity, two halves of the bundle, the key again.
        assert_eq!(met, 5, "changes that can meet a {blow:?}");
    }
}

/// The changes of an enrolment, as the test above counts them.
const ENROLMENT: usize = 5;

/// Enrols with a certificate that is to be renewed at once, with a cut at that change of the
/// renewal; whether it was met.
async fn renew_with(blow: Blow, at: usize) -> bool {
    let control = ControlPlane::start(Clock::system()).await;
    // Certificates begin five minutes ago: this one is past its half at once.
    control.issue_plane_cas_for(Duration::from_secs(60));
    let home = Home::new();
    home.put(&control.issue());
    let met = Arc::new(Notify::new());
    let changes = Arc::new(AtomicUsize::new(0));
    let store = Struck {
        inner: home.directory(),
        changes: Arc::clone(&changes),
        at: ENROLMENT + at,
        blow,
        met: Arc::clone(&met),
    };
    let first = home.start_with(Arc::new(store)).await;
    tokio::select! {
        () = met.notified() => {}
        () = eventually("renewed", || control.distinct_keys() == 2 && home.leftovers().is_empty()) => {}
    }
    first.stop().await;
    // Counted as a change begins: what a cut after the last one leaves is seen before the cut is.
    let was_met = changes.load(Ordering::SeqCst) > ENROLMENT + at;

    let mut second = home.start().await;
    second.reaches(State::Connected).await;
    let case = format!("{blow:?} at change {at}");
    eventually(&case, || {
        control.distinct_keys() == 2 && home.leftovers().is_empty()
    })
    .await;
    second.stop().await;

    // What is stored is what the control plane certified last.
    let mut third = home.start().await;
    third.reaches(State::Connected).await;
    assert_eq!(control.distinct_keys(), 2, "{case}");
    third.stop().await;
    control.vanish();
    was_met
}

#[tokio::test]
async fn a_crash_at_any_change_of_a_renewal_loses_nothing_and_makes_one_new_key() {
    for blow in [Blow::CutBefore, Blow::CutAfter] {
        let mut met = 0;
        while renew_with(blow, met).await {
            met += 1;
        }
        // The key, the identity, the key again.
        assert_eq!(met, 3, "changes that can meet a {blow:?}");
    }
}
