//! A road over a simulated disk, to an other side made of channels.

use std::time::Duration;

use tokio::sync::mpsc;
use zen_chassis::Stage;
use zen_journal::sim::SimDisk;
use zen_journal::{Journal, Options};
use zen_proto::delivery::v1::Delivery;
use zen_proto::snapshot::v1::Snapshot;

use super::super::carrier::{Answer, Carrier, Failure, Line};
use super::super::load::tests::{endpoint, record};
use super::*;
use crate::counters::Counters;

/// Takes everything at once and shows it to the test.
struct Taker(mpsc::Sender<Delivery>);

struct TakerLine {
    taken: mpsc::Sender<Delivery>,
    answers: (mpsc::Sender<u64>, mpsc::Receiver<u64>),
}

impl Carrier for Taker {
    const ROAD: Road = Road::Bridge;
    type Line = TakerLine;

    async fn open(&mut self, _plan: &Plan) -> Result<TakerLine, Failure> {
        Ok(TakerLine {
            taken: self.0.clone(),
            answers: mpsc::channel(64),
        })
    }

    fn suits(&self, _plan: &Plan) -> bool {
        true
    }
}

impl Line for TakerLine {
    fn send(&mut self, sequence: u64, deliveries: Vec<Delivery>) -> Result<(), Failure> {
        for delivery in deliveries {
            self.taken.try_send(delivery).unwrap();
        }
        Failure::sent(Road::Bridge, self.answers.0.try_send(sequence))
    }

    async fn answer(&mut self) -> Result<Answer, Failure> {
        let sequence = self.answers.1.recv().await.unwrap();
        Ok(Answer {
            sequence,
            refused: Vec::new(),
        })
    }
}

#[tokio::test]
async fn damaged_records_are_passed_and_all_others_carried() {
    let now = Clock::system().unix_ms();
    let disk = SimDisk::new(3);
    let open = || Journal::open_on(Arc::new(disk.clone()), "/j", Options::default());
    let (journal, _) = open().await.unwrap();
    let mut positions = Vec::new();
    for n in 0..5 {
        positions.push(journal.append(record(n, 100, now).payload).await.unwrap());
    }
    journal.close().await;
    drop(journal);
    // Behind the two headers of the only segment stand the frames; a bit of the third's payload turns.
    let names = zen_journal::Disk::list(&disk, std::path::Path::new("/j")).unwrap();
    let log = names.iter().find(|name| name.ends_with(".log")).unwrap();
    let offset = 64 + positions[2].0 + 40;
    disk.damage(&std::path::Path::new("/j").join(log), offset, 0x10);

    let (journal, recovery) = open().await.unwrap();
    assert_eq!(recovery.corruptions.len(), 1);
    let stage = Stage::detached("road").unwrap();
    let cursor = journal.cursor("bridge").await.unwrap();
    let progress = Progress::new(Road::Bridge, cursor.position());
    let (taken, mut seen) = mpsc::channel(64);
    let flow = zen_proto::snapshot::v1::Flow {
        id: "flw_00000000000000000000000000".to_owned(),
        endpoint_id: endpoint(),
        enabled: true,
        target_plane_id: "there".to_owned(),
        ..Default::default()
    };
    let snapshot = Snapshot {
        flows: vec![flow],
        ..Snapshot::default()
    };
    let (plan, _) = Plan::new(&snapshot, &Counters::default());
    let (_plans, plan) = watch::channel(Some(Arc::new(plan)));
    let stop = CancellationToken::new();
    let context = RoadContext {
        journal: journal.clone(),
        plan,
        progress: progress.clone(),
        metrics: Metrics::new(&stage.meter),
        clock: stage.clock.clone(),
        random: stage.random.clone(),
        stop: stop.clone(),
    };
    let road = tokio::spawn(travel(context, cursor, Taker(taken)));
    let mut ids = std::collections::HashSet::new();
    for _ in 0..4 {
        let one = tokio::time::timeout(Duration::from_secs(10), seen.recv())
            .await
            .unwrap();
        let event = one.unwrap().event.unwrap();
        ids.insert(event.event_id);
    }
    assert_eq!(ids.len(), 4);
    stop.cancel();
    road.await.unwrap();
    assert_eq!(progress.lag_bytes(journal.end()), 0);
    // The cursor was committed at the end.
    assert_eq!(
        journal.cursor("bridge").await.unwrap().position(),
        journal.end()
    );
}
