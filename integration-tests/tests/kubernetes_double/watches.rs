//! Watches: what they tell, where they begin, how they end.

use std::pin::pin;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use zen_integration_tests::eventually::eventually;

use crate::stage::{Stage, map, refused};

const PATIENCE: Duration = Duration::from_secs(20);

/// The next event: its kind and the object's name.
async fn next(
    stream: &mut (impl Stream<Item = kube::Result<WatchEvent<ConfigMap>>> + Unpin),
) -> String {
    let event = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap();
    let name = |map: ConfigMap| map.metadata.name.unwrap();
    match event {
        None => "end".to_owned(),
        Some(Ok(WatchEvent::Added(map))) => format!("added {}", name(map)),
        Some(Ok(WatchEvent::Modified(map))) => format!("modified {}", name(map)),
        Some(Ok(WatchEvent::Deleted(map))) => format!("deleted {}", name(map)),
        Some(Ok(WatchEvent::Bookmark(mark))) => {
            let end = mark
                .metadata
                .annotations
                .contains_key("k8s.io/initial-events-end");
            format!("bookmark {end}")
        }
        Some(Ok(WatchEvent::Error(status))) => format!("error {}", status.code),
        Some(Err(error)) => format!("broken: {error}"),
    }
}

async fn labelled(maps: &Api<ConfigMap>, name: &str, value: &str) {
    let patch = json!({ "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "labels": { "on": value } } });
    let params = PatchParams::apply("test").force();
    maps.patch(name, &params, &Patch::Apply(patch))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_watch_tells_what_comes_into_and_leaves_its_selection() {
    let stage = Stage::start().await;
    let maps = stage.maps().await;
    labelled(&maps, "a", "yes").await;
    let only = WatchParams::default().labels("on=yes").timeout(2);
    let mut stream = pin!(maps.watch(&only, "0").await.unwrap());
    assert_eq!(next(&mut stream).await, "added a");
    labelled(&maps, "b", "no").await;
    labelled(&maps, "b", "yes").await;
    assert_eq!(next(&mut stream).await, "added b");
    labelled(&maps, "a", "no").await;
    assert_eq!(next(&mut stream).await, "deleted a");
    let data = Patch::Merge(json!({ "data": { "k": "v" } }));
    maps.patch("b", &PatchParams::default(), &data)
        .await
        .unwrap();
    assert_eq!(next(&mut stream).await, "modified b");
    maps.delete("b", &DeleteParams::default()).await.unwrap();
    assert_eq!(next(&mut stream).await, "deleted b");
    // The end after `timeoutSeconds`, with a bookmark for the next watch.
    assert_eq!(next(&mut stream).await, "bookmark false");
    assert_eq!(next(&mut stream).await, "end");
}

#[tokio::test]
async fn a_watch_goes_on_from_a_version_and_over_a_restart() {
    let mut stage = Stage::start().await;
    let maps = stage.maps().await;
    let first = maps
        .create(&PostParams::default(), &map("a", "k", "1"))
        .await;
    let version = first.unwrap().metadata.resource_version.unwrap();
    maps.create(&PostParams::default(), &map("b", "k", "1"))
        .await
        .unwrap();
    let params = WatchParams::default().disable_bookmarks();
    let mut stream = pin!(maps.watch(&params, &version).await.unwrap());
    assert_eq!(next(&mut stream).await, "added b");
    stage.server.drop_watches();
    assert_eq!(next(&mut stream).await, "end");
    stage.server.stop().await;
    maps.get("a").await.unwrap_err();
    stage.server.start_again().await.unwrap();
    let mut stream = pin!(maps.watch(&params, &version).await.unwrap());
    assert_eq!(next(&mut stream).await, "added b");
    let future = maps.watch(&params, "999999").await.map(|_| ());
    assert_eq!(refused(future), (504, "Timeout".to_owned()));
}

#[tokio::test]
async fn who_is_behind_a_compaction_is_told_in_either_way() {
    let stage = Stage::start().await;
    let maps = stage.maps().await;
    let made = maps
        .create(&PostParams::default(), &map("a", "k", "1"))
        .await;
    let version = made.unwrap().metadata.resource_version.unwrap();
    let params = WatchParams::default();
    let mut open = pin!(maps.watch(&params, &version).await.unwrap());
    stage.server.compact(false);
    assert_eq!(next(&mut open).await, "end");
    let mut stream = pin!(maps.watch(&params, &version).await.unwrap());
    assert_eq!(next(&mut stream).await, "error 410");
    assert_eq!(next(&mut stream).await, "end");
    stage.server.compact(true);
    let gone = maps.watch(&params, &version).await.map(|_| ());
    assert_eq!(refused(gone), (410, "Expired".to_owned()));
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark_unless_the_server_is_too_old() {
    let stage = Stage::start().await;
    let maps = stage.maps().await;
    maps.create(&PostParams::default(), &map("a", "k", "1"))
        .await
        .unwrap();
    let params = WatchParams::default().initial_events();
    let mut stream = pin!(maps.watch(&params, "0").await.unwrap());
    assert_eq!(next(&mut stream).await, "added a");
    assert_eq!(next(&mut stream).await, "added kube-root-ca.crt");
    assert_eq!(next(&mut stream).await, "bookmark true");
    stage.server.refuse_initial_events(true);
    let refusal = maps.watch(&params, "0").await.map(|_| ());
    assert_eq!(refused(refusal), (422, "Invalid".to_owned()));
}

#[tokio::test]
async fn the_clients_own_watcher_survives_what_servers_do() {
    let mut stage = Stage::start().await;
    let maps = stage.maps().await;
    let config = watcher::Config::default()
        .fields("metadata.name=a")
        .timeout(5);
    let objects = watcher(maps.clone(), config).default_backoff();
    let mut objects = pin!(objects.applied_objects());
    for round in 0..4 {
        let value = round.to_string();
        stage
            .server
            .put(&json!({ "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "a", "namespace": crate::stage::NAMESPACE },
            "data": { "k": value } }))
            .unwrap();
        let seen = async {
            loop {
                // Errors are what the watcher recovers from by itself.
                if let Ok(Some(map)) = objects.try_next().await
                    && map.data.unwrap()["k"] == value
                {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.unwrap();
        match round {
            0 => stage.server.drop_watches(),
            1 => stage.server.compact(false),
            _ => {
                stage.server.stop().await;
                // Told by status, this client's watcher would ask the same again for ever.
                stage.server.compact(false);
                stage.server.start_again().await.unwrap();
            }
        }
    }
    eventually("the server answers", PATIENCE, || async {
        Ok(maps.get("a").await.map(|_| ())?)
    })
    .await
    .unwrap();
}
