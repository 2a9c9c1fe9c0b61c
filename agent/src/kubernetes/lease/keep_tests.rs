//! Keepers against a played API server, in paused time: what is renewed, given up, taken over, and
//! that no two act at once, whatever goes wrong.

use std::sync::Arc;

use parking_lot::Mutex;
use proptest::prelude::*;
use zen_chassis::ready::Readiness;

use super::*;
use crate::kubernetes::herald::Herald;
use crate::kubernetes::play::{Luck, Server};

const DURATION: Duration = Duration::from_secs(15);

fn keeper(server: &Server, me: &str, ready: &Readiness) -> Keeper {
    let seed = u64::from(me.as_bytes()[0]);
    let board = Board::new(ready.condition("kubernetes", ""), Herald::silent());
    Keeper::new(
        &server.api(seed),
        me.to_owned(),
        DURATION,
        // Clocks that stand still, and differ by years.
        (
            Clock::manual(seed * 1_000_000_000_000),
            Random::seeded(seed),
        ),
        board,
        ready.condition("lease", "waiting"),
    )
}

async fn held(server: &Server, me: &str) -> (Keeper, Readiness) {
    let ready = Readiness::default();
    let mut keeper = keeper(server, me, &ready);
    keeper.acquire().await;
    assert!(ready.is_ready());
    (keeper, ready)
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_at_a_third_of_its_time() {
    let server = Server::new();
    let (mut keeper, _) = held(&server, "a").await;
    server.requests();
    let _kept = tokio::time::timeout(Duration::from_secs(61), keeper.keep())
        .await
        .unwrap_err();
    let puts = server.requests();
    assert!(puts.iter().all(|r| r == "PUT leases/zen-agent"), "{puts:?}");
    assert!((11..=12).contains(&puts.len()), "{}", puts.len());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_renewed_ends_before_another_can_take_it() {
    for luck in [
        Luck::Refused,
        Luck::Silence,
        Luck::Status(500),
        Luck::Status(403),
    ] {
        let server = Server::new();
        let (mut keeper, ready) = held(&server, "a").await;
        let begun = Instant::now();
        server.fate(move |_, _| luck);
        let ended = keeper.keep().await;
        assert!(
            matches!(ended, Ended::RanOut(Some(_))),
            "{luck:?} {ended:?}"
        );
        assert!(
            begun.elapsed() < DURATION - Duration::from_secs(2),
            "{luck:?}"
        );
        assert!(begun.elapsed() > DURATION / 2, "{luck:?}");
        assert!(ready.pending()[0].1.starts_with("KUBERNETES_API_"));
        // No busy loop meanwhile.
        assert!(server.requests().len() < 20);
        server.fate(|_, _| Luck::Good);
        keeper.acquire().await;
        assert!(ready.is_ready());
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_of_the_api_server_costs_no_lease() {
    let server = Server::new();
    let (mut keeper, _) = held(&server, "a").await;
    let from = Instant::now() + Duration::from_secs(4);
    server.fate(move |_, _| match Instant::now() {
        now if now > from && now < from + Duration::from_secs(5) => Luck::Refused,
        _ => Luck::Good,
    });
    tokio::time::timeout(Duration::from_secs(60), keeper.keep())
        .await
        .unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn another_waits_says_for_whom_and_takes_over_after_the_end() {
    let server = Server::new();
    let (first, _) = held(&server, "a").await;
    drop(first);
    let ready = Readiness::default();
    let mut second = keeper(&server, "b", &ready);
    let begun = Instant::now();
    let looked = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        ready.pending().remove(0).1
    };
    let ((), line) = tokio::join!(second.acquire(), looked);
    assert!(line.contains("held by a;"), "{line}");
    let waited = begun.elapsed();
    assert!(waited >= DURATION, "{waited:?}");
    assert!(waited < DURATION + Duration::from_secs(4), "{waited:?}");
    let lease = server.object("leases/zen-agent").unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "b");
    assert_eq!(lease["spec"]["leaseTransitions"], 2);
}

#[tokio::test(start_paused = true)]
async fn what_others_wrote_on_the_lease_stays() {
    let server = Server::new();
    let (mut keeper, _) = held(&server, "a").await;
    server.edit("leases/zen-agent", |lease| {
        lease["metadata"]["labels"] = serde_json::json!({ "team": "x" });
    });
    tokio::time::timeout(Duration::from_secs(30), keeper.keep())
        .await
        .unwrap_err();
    keeper.release().await;
    let lease = server.object("leases/zen-agent").unwrap();
    assert_eq!(lease["metadata"]["labels"]["team"], "x", "{lease}");
    assert!(lease["spec"]["holderIdentity"].is_null());
}

#[tokio::test(start_paused = true)]
async fn a_lease_given_back_is_taken_at_once() {
    let server = Server::new();
    let (mut first, _) = held(&server, "a").await;
    first.release().await;
    let lease = server.object("leases/zen-agent").unwrap();
    assert!(lease["spec"]["holderIdentity"].is_null(), "{lease}");
    let begun = Instant::now();
    held(&server, "b").await;
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_same_pod_started_again_does_not_wait_for_itself() {
    let server = Server::new();
    drop(held(&server, "a").await);
    let begun = Instant::now();
    held(&server, "a").await;
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_holder_whose_lease_another_took_stops() {
    let server = Server::new();
    let (mut keeper, ready) = held(&server, "a").await;
    server.edit("leases/zen-agent", |lease| {
        lease["spec"]["holderIdentity"] = "b".into();
    });
    let ended = keeper.keep().await;
    assert_eq!(ended, Ended::Taken("b".to_owned()));
    assert!(ready.pending()[0].1.contains("held by b"));
    // And gives back nothing that is another's.
    server.requests();
    keeper.release().await;
    assert!(server.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_removed_is_made_again() {
    let server = Server::new();
    let (mut keeper, _) = held(&server, "a").await;
    server.remove("leases/zen-agent");
    tokio::time::timeout(Duration::from_secs(30), keeper.keep())
        .await
        .unwrap_err();
    let lease = server.object("leases/zen-agent").unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "a");
}

/// Who acts, since when; and the longest time that nobody did.
#[derive(Default)]
struct Witness {
    acting: Vec<String>,
    wrong: Option<String>,
    terms: u32,
}

async fn live(server: Server, me: &'static str, witness: Arc<Mutex<Witness>>) {
    let ready = Readiness::default();
    let mut keeper = keeper(&server, me, &ready);
    loop {
        keeper.acquire().await;
        {
            let mut seen = witness.lock();
            seen.acting.push(me.to_owned());
            seen.terms += 1;
            if seen.acting.len() > 1 {
                seen.wrong = Some(format!("{:?} at once", seen.acting));
            }
        }
        keeper.keep().await;
        witness.lock().acting.retain(|who| who != me);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Three agents, each with an API server that at times is away, silent, slow to be believed or
    /// loses answers: never two at once, and somebody acts again once all is well.
    #[test]
    fn never_two_act_at_once_whatever_the_network_does(seed in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time().start_paused(true).build().unwrap();
        let (wrong, terms, acting) = runtime.block_on(async {
            let server = Server::new();
            let witness = Arc::new(Mutex::new(Witness::default()));
            let (random, begun) = (Random::seeded(seed), Instant::now());
            let mut weather = (begun, Luck::Good);
            server.fate(move |_, _| {
                let now = Instant::now();
                if now - begun > Duration::from_secs(1200) {
                    return Luck::Good;
                }
                if now > weather.0 {
                    let pick = [Luck::Good, Luck::LostAnswer, Luck::Refused, Luck::Silence,
                        Luck::Status(503), Luck::Good];
                    let at = (random.bytes::<1>()[0] as usize) % pick.len();
                    weather = (now + random.jitter(Duration::from_secs(12), 0.9), pick[at]);
                }
                // Not the same for everybody.
                if random.fraction() < 0.3 { Luck::Good } else { weather.1 }
            });
            let agents = async {
                tokio::join!(
                    live(server.clone(), "a", Arc::clone(&witness)),
                    live(server.clone(), "b", Arc::clone(&witness)),
                    live(server.clone(), "c", Arc::clone(&witness)),
                )
            };
            let _end = tokio::time::timeout(Duration::from_secs(1260), agents).await;
            let seen = witness.lock();
            (seen.wrong.clone(), seen.terms, seen.acting.len())
        });
        prop_assert_eq!(wrong, None);
        prop_assert!(terms > 0);
        prop_assert_eq!(acting, 1);
    }
}
