//! Room for judging tokens: little of it, and no address may have all. A refused token costs its
//! address a pause, so that guessing is slow and the API server is not asked without end.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// Tokens judged at the same time; a component that finds no room comes again.
const MOST: usize = 16;
/// Of them from one address.
const FROM_ONE: usize = 8;
/// How long a refused token keeps a place of its address.
const PAUSE: Duration = Duration::from_millis(250);

/// The room. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Reviews(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    judged: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Reviews {
    /// A place for a token from this address, if there is one.
    pub(crate) fn enter(&self, from: IpAddr) -> Option<Place> {
        let mut taken = self.0.lock();
        let own = taken.by_address.get(&from).copied().unwrap_or_default();
        if taken.judged >= MOST || own >= FROM_ONE {
            return None;
        }
        taken.judged += 1;
        taken.by_address.insert(from, own + 1);
        Some(Place {
            room: self.clone(),
            from,
            judging: true,
        })
    }
}

/// One token's place; given back when it is dropped.
pub(crate) struct Place {
    room: Reviews,
    from: IpAddr,
    judging: bool,
}

impl Place {
    /// Makes room for tokens of others, and keeps its address waiting.
    pub(crate) async fn linger(mut self) {
        self.judged();
        tokio::time::sleep(PAUSE).await;
    }

    fn judged(&mut self) {
        if std::mem::take(&mut self.judging) {
            self.room.0.lock().judged -= 1;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.judged();
        let mut taken = self.room.0.lock();
        if let Some(own) = taken.by_address.get_mut(&self.from) {
            *own -= 1;
            if *own == 0 {
                taken.by_address.remove(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_address_has_all_the_room_and_a_refusal_costs_only_its_own() {
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let room = Reviews::default();
        let mut held: Vec<_> = std::iter::from_fn(|| room.enter(one)).collect();
        assert_eq!(held.len(), FROM_ONE);
        let others: Vec<_> = std::iter::from_fn(|| room.enter(other)).collect();
        assert_eq!(others.len(), MOST - FROM_ONE);
        let third = IpAddr::from([192, 0, 2, 3]);
        assert!(room.enter(third).is_none());

        // Refused: the place is the third's now, and not the first's for a while.
        let lingering = tokio::spawn(held.pop().unwrap().linger());
        tokio::task::yield_now().await;
        assert!(room.enter(one).is_none());
        drop(room.enter(third).unwrap());
        lingering.await.unwrap();
        drop(room.enter(one).unwrap());
        drop((held, others));
        assert!(room.0.lock().by_address.is_empty());
        assert_eq!(room.0.lock().judged, 0);
    }
}
