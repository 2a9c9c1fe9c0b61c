//! Bad days on command.

use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::stage::{NAMESPACE, Stage, map, raw, refused};

#[tokio::test]
async fn requests_are_throttled_as_often_as_told_and_only_those_of_the_one_meant() {
    let stage = Stage::start().await;
    let (server, admin) = (&stage.server, stage.admin().await);
    let other = server.user("other", &["system:masters"]);
    let other = stage.client(&other).await;
    server.only(Some("other"));
    server.throttle(2, 7);
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    let get = async |client| raw(client, "GET", &path, "", &json!(null)).await;
    assert_eq!(get(&admin).await.status(), 200);
    for _ in 0..2 {
        let answer = get(&other).await;
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.headers()["retry-after"], "7");
        assert_eq!(answer.body()["reason"], "TooManyRequests");
        assert_eq!(answer.body()["details"]["retryAfterSeconds"], 7);
    }
    assert_eq!(get(&other).await.status(), 200);
    server.weather(Some((503, None)));
    assert_eq!(get(&other).await.status(), 503);
    server.weather(None);
    let pause = Duration::from_millis(300);
    server.delay(Some(pause));
    let start = Instant::now();
    get(&other).await;
    assert!(start.elapsed() >= pause);
}

#[tokio::test]
async fn the_next_write_meets_a_conflict() {
    let stage = Stage::start().await;
    let maps = stage.maps().await;
    maps.create(&PostParams::default(), &map("a", "k", "1"))
        .await
        .unwrap();
    stage.server.conflict(1);
    let patch = Patch::Merge(json!({ "data": { "k": "2" } }));
    let plain = PatchParams::default();
    let conflict = (409, "Conflict".to_owned());
    assert_eq!(refused(maps.patch("a", &plain, &patch).await), conflict);
    maps.patch("a", &plain, &patch).await.unwrap();
}

#[tokio::test]
async fn a_stopped_server_refuses_connections_and_keeps_what_it_had() {
    let mut stage = Stage::start().await;
    let maps = stage.maps().await;
    let made = maps
        .create(&PostParams::default(), &map("a", "k", "1"))
        .await
        .unwrap();
    stage.server.stop().await;
    let refused = tokio::net::TcpStream::connect(stage.server.address()).await;
    assert!(refused.is_err());
    stage.server.start_again().await.unwrap();
    assert_eq!(maps.get("a").await.unwrap(), made);
}
