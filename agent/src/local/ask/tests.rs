//! Questions to one instance, to several, and to nobody.

use zen_proto::query::v1::{DeliveryRecord, ListDeliveries};

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
