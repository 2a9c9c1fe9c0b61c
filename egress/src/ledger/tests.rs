//! The ledger against a plain map: whatever is accepted, settled and reopened, both agree.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::task::JoinHandle;
use uuid::Uuid;
use zen_proto::ids::{DeliveryId, FlowId};
use zen_proto::query::v1::{Attempt, DeliveryStatus};

use super::*;

struct Deaf;

impl Watcher for Deaf {
    fn waiting(&self, _target: TargetId) {}
    fn committed(&self, _took: Duration) {}
    fn crowded_out(&self, _dead_letters: usize) {}
}

/// A ledger whose writer runs.
struct Open {
    ledger: Ledger,
    writer: JoinHandle<Result<(), LedgerError>>,
}

impl Open {
    async fn new(folder: &Path, options: Options, clock: &Clock) -> Self {
        let (ledger, writer) = loop {
            match Ledger::open(folder, options.clone(), clock.clone()).await {
                Ok(opened) => break opened,
                // A journal that was dropped gives its folder up when its own threads have ended.
                Err(LedgerError::Journal(OpenError::Locked { .. })) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("{error:?}"),
            }
        };
        let runtime = tokio::runtime::Handle::current();
        let writer = tokio::task::spawn_blocking(move || writer.run(&runtime, &Deaf));
        Self { ledger, writer }
    }

    async fn close(self) {
        self.ledger.close().await;
        self.writer.await.unwrap().unwrap();
    }

    async fn due(&self, target: u8, now_ms: u64, mode: Mode) -> Vec<Due> {
        let query = DueQuery {
            target: target_id(target),
            now_ms,
            limit: 1000,
            taken: HashSet::new(),
            mode: Arc::new(move |_| mode),
        };
        self.ledger.due(query).await.unwrap().due
    }

    async fn list(&self, query: ListQuery) -> Vec<String> {
        let mut query = ListQuery { limit: 3, ..query };
        let mut ids = Vec::new();
        loop {
            let page = self.ledger.list(query.clone()).await.unwrap();
            assert!(page.deliveries.len() <= 3);
            ids.extend(page.deliveries.into_iter().map(|record| record.delivery_id));
            if page.next_cursor.is_empty() {
                return ids;
            }
            query.cursor = page.next_cursor;
        }
    }
}

fn target_id(number: u8) -> TargetId {
    TargetId::from(Uuid::from_u128(0x1000 + u128::from(number)))
}

fn delivery_id(number: u8) -> DeliveryId {
    DeliveryId::from(Uuid::from_u128(0x9000 + u128::from(number)))
}

fn incoming(number: u8) -> Incoming {
    Incoming {
        delivery: delivery_id(number),
        flow: FlowId::from(Uuid::from_u128(0x2000 + u128::from(number % 4))),
        target: target_id(number % 3),
        event_id: format!("evt_{number}"),
        tenant_id: if number.is_multiple_of(2) {
            "ten_even"
        } else {
            "ten_odd"
        }
        .to_owned(),
        endpoint_id: "ep".to_owned(),
        expires_at_ms: u64::MAX,
        body: Bytes::from(vec![number; 100 + usize::from(number)]),
        unreadable: None,
    }
}

fn settlement(sequence: u64, number: u32, fate: Fate, at_ms: u64) -> Settlement {
    let attempt = Attempt {
        number,
        started_at_ms: at_ms,
        ..Attempt::default()
    };
    Settlement {
        sequence,
        attempt: Some(attempt),
        fate,
        body: None,
        at_ms,
    }
}

const DEAD: Fate = Fate::DeadLetter {
    code: "TARGET_REJECTED",
    pause: None,
};

fn small() -> Options {
    Options {
        fresh_bytes: 1000,
        segment_bytes: 4096,
        park_behind: 8192,
        ..Options::default()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Accept(Vec<u8>),
    Deliver(u8),
    Retry(u8, u16),
    Bury(u8),
    Advance(u16),
    Reopen,
    /// Without a clean end: handles are dropped where they are.
    Drop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => prop::collection::vec(0_u8..24, 1..6).prop_map(Step::Accept),
        3 => any::<u8>().prop_map(Step::Deliver),
        3 => (any::<u8>(), 1_u16..2000).prop_map(|(which, ms)| Step::Retry(which, ms)),
        2 => any::<u8>().prop_map(Step::Bury),
        2 => (1_u16..1500).prop_map(Step::Advance),
        1 => Just(Step::Reopen),
        1 => Just(Step::Drop),
    ];
    prop::collection::vec(step, 1..40)
}

/// What the plain map knows of one delivery.
#[derive(Clone, Debug)]
struct Model {
    order: usize,
    status: DeliveryStatus,
    due_ms: u64,
    attempts: u32,
}

#[derive(Default)]
struct World {
    all: BTreeMap<u8, Model>,
}

impl World {
    fn due(&self, target: u8, now_ms: u64) -> Vec<(u64, usize, u8)> {
        let mut due: Vec<_> = self
            .all
            .iter()
            .filter(|(number, model)| {
                **number % 3 == target
                    && model.status == DeliveryStatus::Pending
                    && model.due_ms <= now_ms
            })
            .map(|(number, model)| (model.due_ms, model.order, *number))
            .collect();
        due.sort_unstable();
        due
    }

    fn newest_first(&self, wanted: impl Fn(u8, &Model) -> bool) -> Vec<String> {
        let mut rows: Vec<_> = self.all.iter().filter(|(n, m)| wanted(**n, m)).collect();
        rows.sort_unstable_by_key(|(_, model)| std::cmp::Reverse(model.order));
        rows.into_iter()
            .map(|(number, _)| delivery_id(*number).to_string())
            .collect()
    }
}

async fn check(open: &Open, world: &World, now_ms: u64) {
    for target in 0..3 {
        let due: Vec<_> = open.due(target, now_ms, Mode::Run).await;
        let expected = world.due(target, now_ms);
        let ids: Vec<_> = due
            .iter()
            .map(|due| due.record.delivery_id.clone())
            .collect();
        let wanted: Vec<_> = expected
            .iter()
            .map(|(_, _, n)| delivery_id(*n).to_string())
            .collect();
        assert_eq!(ids, wanted, "due of target {target} at {now_ms}");
        for (due, (_, _, number)) in due.iter().zip(expected) {
            assert_eq!(due.record.attempts, world.all[&number].attempts);
            assert_eq!(
                open.ledger.body(due.sequence).await.unwrap(),
                incoming(number).body
            );
        }
        let of_target = ListQuery {
            target_id: target_id(target).to_string(),
            tenant_id: "ten_even".to_owned(),
            ..ListQuery::default()
        };
        let wanted = world.newest_first(|number, _| number % 3 == target && number % 2 == 0);
        assert_eq!(open.list(of_target).await, wanted);
    }
    for status in [
        DeliveryStatus::Pending,
        DeliveryStatus::Delivered,
        DeliveryStatus::DeadLetter,
    ] {
        let query = ListQuery {
            status: Some(status),
            ..ListQuery::default()
        };
        let wanted = world.newest_first(|_, model| model.status == status);
        assert_eq!(open.list(query).await, wanted, "{status:?}");
    }
    assert_eq!(
        open.list(ListQuery::default()).await,
        world.newest_first(|_, _| true)
    );
    let held = *open.ledger.summary().borrow();
    let count = |status| {
        world
            .all
            .values()
            .filter(|model| model.status == status)
            .count() as u64
    };
    assert_eq!(held.pending, count(DeliveryStatus::Pending));
    assert_eq!(held.delivered, count(DeliveryStatus::Delivered));
    assert_eq!(held.dead_letters, count(DeliveryStatus::DeadLetter));
    let bytes = |status| {
        let all = world.all.iter().filter(|(_, model)| model.status == status);
        all.map(|(number, _)| incoming(*number).body.len() as u64)
            .sum::<u64>()
    };
    assert_eq!(held.pending_bytes, bytes(DeliveryStatus::Pending));
    assert_eq!(held.dead_bytes, bytes(DeliveryStatus::DeadLetter));
}

/// Settles the `which`-th of all that is due.
async fn settle(open: &Open, world: &mut World, which: u8, now_ms: u64, fate: Fate) {
    let mut due = Vec::new();
    for target in 0..3 {
        due.extend(open.due(target, now_ms, Mode::Run).await);
    }
    if due.is_empty() {
        return;
    }
    let due = &due[usize::from(which) % due.len()];
    let number = (0..24)
        .find(|n| delivery_id(*n).to_string() == due.record.delivery_id)
        .unwrap();
    let model = world.all.get_mut(&number).unwrap();
    model.attempts += 1;
    match fate {
        Fate::Delivered => model.status = DeliveryStatus::Delivered,
        Fate::Retry { due_ms } => model.due_ms = due_ms,
        Fate::DeadLetter { .. } => model.status = DeliveryStatus::DeadLetter,
    }
    let settled = settlement(due.sequence, model.attempts, fate, now_ms);
    open.ledger.settle(settled).await.unwrap();
}

async fn agree(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(1_000_000);
    let mut open = Open::new(folder.path(), small(), &clock).await;
    let mut world = World::default();
    let mut order = 0;
    for step in steps {
        let now_ms = clock.unix_ms();
        match step {
            Step::Accept(numbers) => {
                let taken = numbers.iter().map(|number| incoming(*number)).collect();
                let answers = open.ledger.accept(taken).await.unwrap();
                for (number, answer) in numbers.iter().zip(answers) {
                    let known = world.all.contains_key(number);
                    assert_eq!(answer == Acceptance::Duplicate, known);
                    world.all.entry(*number).or_insert_with(|| {
                        order += 1;
                        let status = DeliveryStatus::Pending;
                        Model {
                            order,
                            status,
                            due_ms: now_ms,
                            attempts: 0,
                        }
                    });
                }
            }
            Step::Deliver(which) => {
                settle(&open, &mut world, which, now_ms, Fate::Delivered).await;
            }
            Step::Retry(which, ms) => {
                let fate = Fate::Retry {
                    due_ms: now_ms + u64::from(ms),
                };
                settle(&open, &mut world, which, now_ms, fate).await;
            }
            Step::Bury(which) => settle(&open, &mut world, which, now_ms, DEAD).await,
            Step::Advance(ms) => clock.advance(Duration::from_millis(ms.into())),
            Step::Reopen => {
                open.close().await;
                open = Open::new(folder.path(), small(), &clock).await;
            }
            Step::Drop => {
                let Open { ledger, writer } = open;
                drop(ledger);
                writer.await.unwrap().unwrap();
                open = Open::new(folder.path(), small(), &clock).await;
            }
        }
        check(&open, &world, clock.unix_ms()).await;
    }
    open.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn the_ledger_agrees_with_a_plain_map(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(agree(steps));
    }
}

#[tokio::test]
async fn a_settlement_counts_once_and_dead_letters_keep_their_body() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(5_000);
    let open = Open::new(folder.path(), small(), &clock).await;
    open.ledger.accept(vec![incoming(0)]).await.unwrap();
    let due = open.due(0, 5_000, Mode::Run).await;
    let sequence = due[0].sequence;
    open.ledger
        .settle(settlement(sequence, 1, DEAD, 5_000))
        .await
        .unwrap();
    open.ledger
        .settle(settlement(sequence, 2, Fate::Delivered, 5_000))
        .await
        .unwrap();
    let page = open.ledger.list(ListQuery::default()).await.unwrap();
    assert_eq!(page.deliveries[0].status(), DeliveryStatus::DeadLetter);
    assert_eq!(page.deliveries[0].attempts, 1);
    assert_eq!(open.ledger.body(sequence).await.unwrap(), incoming(0).body);
    open.close().await;
}

#[tokio::test]
async fn only_the_newest_attempts_are_kept_and_their_count_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(5_000);
    let open = Open::new(folder.path(), small(), &clock).await;
    open.ledger.accept(vec![incoming(0)]).await.unwrap();
    let sequence = open.due(0, 5_000, Mode::Run).await[0].sequence;
    for number in 1..=30 {
        let fate = Fate::Retry { due_ms: 5_000 };
        open.ledger
            .settle(settlement(sequence, number, fate, 5_000))
            .await
            .unwrap();
    }
    let record = open
        .ledger
        .list(ListQuery::default())
        .await
        .unwrap()
        .deliveries
        .remove(0);
    assert_eq!(record.attempts, 30);
    let numbers: Vec<_> = record
        .history
        .iter()
        .map(|attempt| attempt.number)
        .collect();
    assert_eq!(numbers, (11..=30).collect::<Vec<_>>());
    open.close().await;
}

#[tokio::test]
async fn modes_decide_which_flows_are_picked() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(10_000);
    let open = Open::new(folder.path(), small(), &clock).await;
    let dying = Incoming {
        expires_at_ms: 10_500,
        ..incoming(3)
    };
    open.ledger.accept(vec![incoming(0), dying]).await.unwrap();
    assert_eq!(open.due(0, 10_000, Mode::Run).await.len(), 2);
    assert_eq!(open.due(0, 10_000, Mode::Wait).await.len(), 0);
    assert_eq!(open.due(0, 10_999, Mode::After(1_000)).await.len(), 0);
    assert_eq!(open.due(0, 11_000, Mode::After(1_000)).await.len(), 2);
    assert_eq!(open.due(0, 10_499, Mode::Expired).await.len(), 0);
    assert_eq!(open.due(0, 10_500, Mode::Expired).await.len(), 1);
    open.close().await;
}

#[tokio::test]
async fn what_is_settled_goes_by_age_number_and_bytes_and_its_id_is_free_again() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(5_000);
    let options = Options {
        delivered_records: 2,
        dead_bytes: 250,
        dead_age: Duration::from_secs(60),
        ..small()
    };
    let open = Open::new(folder.path(), options, &clock).await;
    open.ledger
        .accept((0..6).map(incoming).collect())
        .await
        .unwrap();
    for target in 0..3 {
        for due in open.due(target, 5_000, Mode::Run).await {
            let fate = if due.record.tenant_id == "ten_odd" {
                DEAD
            } else {
                Fate::Delivered
            };
            open.ledger
                .settle(settlement(due.sequence, 1, fate, 5_000))
                .await
                .unwrap();
        }
    }
    // Three delivered, of which two stay; dead letters of 101, 103 and 105 bytes, of which two fit.
    let mut summary = open.ledger.summary();
    let wait = Duration::from_secs(20);
    let tidied = summary.wait_for(|held| held.delivered == 2 && held.dead_letters == 2);
    let held = *tokio::time::timeout(wait, tidied).await.unwrap().unwrap();
    assert_eq!(held.dead_bytes, 208);
    clock.advance(Duration::from_secs(61));
    let old = summary.wait_for(|held| held.dead_letters == 0);
    assert_eq!(
        tokio::time::timeout(wait, old)
            .await
            .unwrap()
            .unwrap()
            .dead_bytes,
        0
    );
    let again = open.ledger.accept(vec![incoming(1)]).await.unwrap();
    assert_eq!(again, [Acceptance::Stored]);
    open.close().await;
}

#[tokio::test]
async fn one_that_waits_does_not_hold_the_journal_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(5_000);
    let open = Open::new(folder.path(), small(), &clock).await;
    open.ledger.accept(vec![incoming(0)]).await.unwrap();
    let waiting = open.due(0, 5_000, Mode::Run).await[0].sequence;
    for number in 1..200_u8 {
        let body = Bytes::from(vec![number; 400]);
        let one = Incoming {
            target: target_id(1),
            body,
            ..incoming(number)
        };
        open.ledger.accept(vec![one]).await.unwrap();
        let sequence = open.due(1, 5_000, Mode::Run).await[0].sequence;
        open.ledger
            .settle(settlement(sequence, 1, Fate::Delivered, 5_000))
            .await
            .unwrap();
    }
    let journal = open.ledger.journal.clone();
    let trimmed = async {
        while journal.start().0 < 40_000 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), trimmed)
        .await
        .unwrap();
    assert_eq!(open.ledger.body(waiting).await.unwrap(), incoming(0).body);
    open.ledger
        .settle(settlement(waiting, 1, Fate::Delivered, 5_000))
        .await
        .unwrap();
    assert!(
        open.ledger.body(waiting).await.is_err(),
        "a body was left behind"
    );
    open.close().await;
}

#[tokio::test]
async fn accepting_waits_while_the_ledger_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(5_000);
    let open = Open::new(
        folder.path(),
        Options {
            max_pending: 2,
            ..small()
        },
        &clock,
    )
    .await;
    open.ledger
        .accept(vec![incoming(0), incoming(3)])
        .await
        .unwrap();
    let ledger = open.ledger.clone();
    let waiting = tokio::spawn(async move { ledger.accept(vec![incoming(6)]).await.unwrap() });
    let sequence = open.due(0, 5_000, Mode::Run).await[0].sequence;
    assert!(!waiting.is_finished());
    open.ledger
        .settle(settlement(sequence, 1, Fate::Delivered, 5_000))
        .await
        .unwrap();
    let taken = tokio::time::timeout(Duration::from_secs(10), waiting)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(taken, [Acceptance::Stored]);
    open.close().await;
}

#[tokio::test]
async fn a_parcel_that_cannot_be_read_is_a_dead_letter_with_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(5_000);
    let open = Open::new(folder.path(), small(), &clock).await;
    let parcel = zen_proto::relay::v1::Parcel {
        version: 1,
        delivery_id: delivery_id(1).to_string(),
        tenant_id: "ten_even".to_owned(),
        content: Bytes::from_static(b"\xff\xff\xff"),
        ..zen_proto::relay::v1::Parcel::default()
    };
    let nameless = zen_proto::relay::v1::Parcel {
        delivery_id: String::new(),
        ..parcel.clone()
    };
    let all = vec![
        Incoming::from_parcel(&parcel),
        Incoming::from_parcel(&nameless),
        Incoming::from_parcel(&nameless),
    ];
    let taken = open.ledger.accept(all).await.unwrap();
    assert_eq!(
        taken,
        [
            Acceptance::Stored,
            Acceptance::Stored,
            Acceptance::Duplicate
        ]
    );
    let query = ListQuery {
        status: Some(DeliveryStatus::DeadLetter),
        ..ListQuery::default()
    };
    let page = open.ledger.list(query).await.unwrap();
    assert_eq!(page.deliveries.len(), 2);
    assert!(
        page.deliveries
            .iter()
            .all(|record| record.code == "PARCEL_UNREADABLE")
    );
    assert_eq!(open.ledger.body(1).await.unwrap(), parcel.content);
    open.close().await;
}
