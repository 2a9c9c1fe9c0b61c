//! Questions to one instance, to several, and to nobody.

use zen_proto::query::v1::{
    DeadLetterFilter, DeliveryPage, DeliveryRecord, GetDelivery, Hop, ListDeliveries, Ping, Probe,
    Replay, Replayed, TestAccepted, TestCall, TestCalled, TestEvent,
};

use super::pages::CURSOR;
use super::*;

fn query(limit: u32, cursor: &str) -> Query {
    let list = ListDeliveries {
        limit,
        cursor: cursor.to_owned(),
        ..ListDeliveries::default()
    };
    Query {
        query_id: "q".to_owned(),
        timeout_ms: 2_000,
        question: Some(Question::ListDeliveries(list)),
    }
}

/// An egress that holds deliveries accepted at these times, and pages through them, newest first.
fn egress(router: &Router, instance: &str, mut times: Vec<u64>) {
    times.sort_unstable_by_key(|time| std::cmp::Reverse(*time));
    let (place, mut questions) = router.enter(Component::Egress, instance).unwrap();
    tokio::spawn(async move {
        while let Some(query) = questions.recv().await {
            let Some(Question::ListDeliveries(list)) = query.question else {
                continue;
            };
            let from: usize = list.cursor.parse().unwrap_or(0);
            let to = times.len().min(from + list.limit as usize);
            let record = |time: &u64| DeliveryRecord {
                accepted_at_ms: *time,
                ..Default::default()
            };
            let page = DeliveryPage {
                deliveries: times[from..to].iter().map(record).collect(),
                next_cursor: if to < times.len() {
                    to.to_string()
                } else {
                    String::new()
                },
            };
            let answer = Some(answer::Answer::Deliveries(page));
            place.answer(Answer {
                query_id: query.query_id,
                answer,
            });
        }
    });
}

fn page(answer: Answer) -> (Vec<u64>, String) {
    match answer.answer {
        Some(answer::Answer::Deliveries(page)) => (
            page.deliveries.iter().map(|d| d.accepted_at_ms).collect(),
            page.next_cursor,
        ),
        other => panic!("{other:?}"),
    }
}

fn code(answer: &Answer) -> &str {
    match &answer.answer {
        Some(answer::Answer::Error(error)) => &error.code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn pages_of_several_instances_lose_and_repeat_nothing() {
    let router = Router::default();
    egress(&router, "0", (0..25).map(|n| n * 2).collect());
    egress(&router, "1", (0..7).map(|n| n * 2 + 1).collect());
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for _ in 0..20 {
        let (mut times, next) = page(router.ask(query(10, &cursor)).await);
        assert!(
            times.is_sorted_by(|a, b| a >= b),
            "{times:?} is not newest first"
        );
        assert!(times.len() <= 10);
        seen.append(&mut times);
        cursor = next;
        if cursor.is_empty() {
            break;
        }
    }
    seen.sort_unstable();
    let mut all: Vec<u64> = (0..25)
        .map(|n| n * 2)
        .chain((0..7).map(|n| n * 2 + 1))
        .collect();
    all.sort_unstable();
    assert_eq!(seen, all);
}

#[tokio::test]
async fn with_no_egress_the_component_is_absent() {
    let router = Router::default();
    assert_eq!(code(&router.ask(query(10, "")).await), "COMPONENT_ABSENT");
    let (place, questions) = router.enter(Component::Egress, "0").unwrap();
    drop((place, questions));
    assert_eq!(code(&router.ask(query(10, "")).await), "COMPONENT_ABSENT");
}

#[tokio::test]
async fn an_egress_that_does_not_answer_is_named_in_time() {
    let router = Router::default();
    let (_place, _questions) = router.enter(Component::Egress, "0").unwrap();
    let short = Query {
        timeout_ms: 20,
        ..query(10, "")
    };
    assert_eq!(code(&router.ask(short).await), "QUERY_TIMEOUT");
}

#[tokio::test]
async fn an_egress_that_leaves_ends_the_wait_at_once() {
    let router = Router::default();
    let (place, mut questions) = router.enter(Component::Egress, "0").unwrap();
    let asking = router.clone();
    let asked = tokio::spawn(async move { asking.ask(query(10, "")).await });
    questions.recv().await.unwrap();
    drop(place);
    assert_eq!(code(&asked.await.unwrap()), "COMPONENT_ABSENT");
}

#[tokio::test]
async fn a_made_up_cursor_is_refused() {
    let router = Router::default();
    egress(&router, "0", vec![1]);
    for cursor in ["7", "zz", "7b7d7d", &"0".repeat(CURSOR + 1)] {
        assert_eq!(
            code(&router.ask(query(10, cursor)).await),
            "QUERY_INVALID",
            "{cursor:.10}"
        );
    }
}

#[tokio::test]
async fn a_new_connection_takes_the_place_of_the_one_before() {
    let router = Router::default();
    let (old, mut old_questions) = router.enter(Component::Egress, "0").unwrap();
    egress(&router, "0", vec![5]);
    drop(old);
    assert_eq!(page(router.ask(query(10, "")).await).0, [5]);
    assert!(old_questions.recv().await.is_none());
}

/// An instance that answers each question by `make`.
fn answering(
    router: &Router,
    component: Component,
    instance: &str,
    make: impl Fn(Question) -> answer::Answer + Send + 'static,
) {
    let (place, mut questions) = router.enter(component, instance).unwrap();
    tokio::spawn(async move {
        while let Some(query) = questions.recv().await {
            let answer = query.question.map(&make);
            let query_id = query.query_id;
            place.answer(Answer { query_id, answer });
        }
    });
}

fn asked(question: Question) -> Query {
    Query {
        question: Some(question),
        ..query(0, "")
    }
}

fn unknown() -> answer::Answer {
    answer::Answer::Error(error("DELIVERY_UNKNOWN", "not here"))
}

#[tokio::test]
async fn a_delivery_is_found_with_whichever_egress_has_it() {
    let router = Router::default();
    answering(&router, Component::Egress, "0", |_| unknown());
    answering(&router, Component::Egress, "1", |question| {
        let Question::GetDelivery(asked) = question else {
            return unknown();
        };
        if asked.delivery_id != "dlv_1" {
            return unknown();
        }
        answer::Answer::Delivery(DeliveryRecord {
            delivery_id: asked.delivery_id,
            ..DeliveryRecord::default()
        })
    });
    let get = |id: &str| {
        asked(Question::GetDelivery(GetDelivery {
            delivery_id: id.to_owned(),
            ..GetDelivery::default()
        }))
    };
    match router.ask(get("dlv_1")).await.answer.unwrap() {
        answer::Answer::Delivery(record) => assert_eq!(record.delivery_id, "dlv_1"),
        other => panic!("{other:?}"),
    }
    assert_eq!(code(&router.ask(get("dlv_2")).await), "DELIVERY_UNKNOWN");
}

#[tokio::test]
async fn an_egress_that_fails_is_not_taken_for_one_that_does_not_know() {
    let router = Router::default();
    answering(&router, Component::Egress, "0", |_| unknown());
    answering(&router, Component::Egress, "1", |_| {
        answer::Answer::Error(error("QUERY_FAILED", "disk"))
    });
    let get = asked(Question::GetDelivery(GetDelivery::default()));
    assert_eq!(code(&router.ask(get).await), "QUERY_FAILED");
}

/// Replays `limit` of so many with each question, and tells where it is.
fn replaying(router: &Router, instance: &str, dead: u64) {
    answering(router, Component::Egress, instance, move |question| {
        let Question::Replay(replay) = question else {
            return unknown();
        };
        assert_eq!(replay.rate_per_second, 20);
        let done: u64 = replay.cursor.parse().unwrap_or(0);
        let replayed = u64::from(replay.limit).min(dead - done);
        let remaining = dead - done - replayed;
        let next_cursor = match remaining {
            0 => String::new(),
            _ => (done + replayed).to_string(),
        };
        answer::Answer::Replayed(Replayed {
            matched: dead - done,
            replayed,
            remaining,
            next_cursor,
        })
    });
}

#[tokio::test]
async fn several_egresses_share_a_replay_and_its_rate_until_none_has_any_left() {
    let router = Router::default();
    replaying(&router, "0", 25);
    replaying(&router, "1", 4);
    let mut cursor = String::new();
    let mut replayed = 0;
    for round in 0..10 {
        // Alone in the end, an instance has the whole rate: the test's egress would refuse it.
        let rate = if round == 0 { 40 } else { 20 };
        let question = asked(Question::Replay(Replay {
            filter: Some(DeadLetterFilter::default()),
            rate_per_second: rate,
            limit: 10,
            cursor: cursor.clone(),
            ..Replay::default()
        }));
        let answer::Answer::Replayed(total) = router.ask(question).await.answer.unwrap() else {
            panic!("no counts")
        };
        if round == 0 {
            assert_eq!(
                (total.matched, total.replayed, total.remaining),
                (29, 9, 20)
            );
        }
        replayed += total.replayed;
        cursor = total.next_cursor;
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(replayed, 29);
}

#[tokio::test]
async fn a_test_call_goes_to_one_egress_and_a_test_event_to_one_ingester() {
    let router = Router::default();
    for instance in ["0", "1"] {
        answering(
            &router,
            Component::Egress,
            instance,
            |question| match question {
                Question::TestCall(_) => answer::Answer::TestCalled(TestCalled {
                    status: 204,
                    ..TestCalled::default()
                }),
                other => panic!("{other:?}"),
            },
        );
    }
    let event = || asked(Question::TestEvent(TestEvent::default()));
    assert_eq!(code(&router.ask(event()).await), "COMPONENT_ABSENT");
    answering(
        &router,
        Component::Ingester,
        "0",
        |question| match question {
            Question::TestEvent(_) => answer::Answer::TestAccepted(TestAccepted::default()),
            other => panic!("{other:?}"),
        },
    );
    let call = asked(Question::TestCall(TestCall::default()));
    assert!(matches!(
        router.ask(call).await.answer.unwrap(),
        answer::Answer::TestCalled(called) if called.status == 204
    ));
    assert!(matches!(
        router.ask(event()).await.answer.unwrap(),
        answer::Answer::TestAccepted(_)
    ));
}

#[tokio::test]
async fn a_probe_gathers_every_hop_and_names_who_could_not_tell() {
    let router = Router::default();
    let hop = |from: &'static str| {
        move |_: Question| {
            let hop = Hop {
                from: from.to_owned(),
                ..Hop::default()
            };
            answer::Answer::Probed(Probed { hops: vec![hop] })
        }
    };
    answering(&router, Component::Ingester, "0", hop("ingester/0"));
    answering(&router, Component::Egress, "0", hop("egress/0"));
    answering(&router, Component::Egress, "1", |_| {
        answer::Answer::Error(error("QUERY_FAILED", "disk"))
    });
    answering(&router, Component::Egress, "old", |_| {
        answer::Answer::Error(error("QUERY_INVALID", "what is a probe"))
    });
    let probe = asked(Question::Probe(Probe::default()));
    let answer::Answer::Probed(probed) = router.ask(probe).await.answer.unwrap() else {
        panic!("no hops")
    };
    let told: Vec<_> = probed.hops.iter().map(|h| (&*h.from, &*h.code)).collect();
    assert_eq!(
        told,
        [
            ("ingester/0", ""),
            ("egress/0", ""),
            ("agent", "QUERY_FAILED")
        ]
    );
    assert_eq!(probed.hops[2].address, "egress/1");
}

#[tokio::test]
async fn a_ping_is_answered_by_the_agent_itself() {
    let answer = Router::default().ask(asked(Question::Ping(Ping {}))).await;
    assert!(matches!(answer.answer.unwrap(), answer::Answer::Pong(_)));
}
