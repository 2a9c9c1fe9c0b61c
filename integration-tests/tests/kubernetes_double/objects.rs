//! Objects, their versions, and what may not be written.

use k8s_openapi::api::core::v1::{ConfigMap, Event, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;

use crate::stage::{NAMESPACE, Stage, map, of, raw, refused};

#[tokio::test]
async fn an_object_is_created_once_updated_by_version_and_deleted_under_preconditions() {
    let stage = Stage::start().await;
    let maps = stage.maps().await;
    let post = PostParams::default();
    let made = maps.create(&post, &map("a", "k", "1")).await.unwrap();
    let meta = &made.metadata;
    assert!(meta.uid.is_some() && meta.creation_timestamp.is_some());
    assert_eq!(
        refused(maps.create(&post, &map("a", "k", "1")).await),
        (409, "AlreadyExists".to_owned())
    );
    let mut newer = made.clone();
    newer.data = map("a", "k", "2").data;
    let newer = maps.replace("a", &post, &newer).await.unwrap();
    assert_ne!(newer.metadata.resource_version, meta.resource_version);
    assert_eq!(newer.metadata.uid, meta.uid);
    assert_eq!(
        refused(maps.replace("a", &post, &made).await),
        (409, "Conflict".to_owned())
    );
    // The same again is no new version.
    let same = maps.replace("a", &post, &newer).await.unwrap();
    assert_eq!(
        same.metadata.resource_version,
        newer.metadata.resource_version
    );

    let stale = DeleteParams::default().preconditions(Preconditions {
        uid: None,
        resource_version: meta.resource_version.clone(),
    });
    assert_eq!(
        refused(maps.delete("a", &stale).await),
        (409, "Conflict".to_owned())
    );
    let dry = DeleteParams::default().dry_run();
    maps.delete("a", &dry).await.unwrap();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    for gone in [
        refused(maps.get("a").await),
        refused(maps.delete("a", &DeleteParams::default()).await),
        refused(maps.replace("a", &post, &newer).await),
    ] {
        assert_eq!(gone, (404, "NotFound".to_owned()));
    }
}

#[tokio::test]
async fn what_has_finalizers_goes_when_the_last_is_removed() {
    let stage = Stage::start().await;
    let maps = stage.maps().await;
    let mut held = map("a", "k", "1");
    held.metadata.finalizers = Some(vec!["example/held".to_owned()]);
    maps.create(&PostParams::default(), &held).await.unwrap();
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let held = maps.get("a").await.unwrap();
    assert!(held.metadata.deletion_timestamp.is_some());
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    maps.patch("a", &PatchParams::default(), &free)
        .await
        .unwrap();
    assert_eq!(refused(maps.get("a").await).0, 404);
}

#[tokio::test]
async fn names_are_generated_and_checked_and_a_namespace_must_be_there() {
    let stage = Stage::start().await;
    let maps = stage.maps().await;
    let post = PostParams::default();
    let unnamed: ConfigMap = of(json!({ "metadata": { "generateName": "made-" } }));
    let one = maps.create(&post, &unnamed).await.unwrap();
    let other = maps.create(&post, &unnamed).await.unwrap();
    let (one, other) = (one.metadata.name.unwrap(), other.metadata.name.unwrap());
    assert!(one.starts_with("made-") && one != other, "{one} {other}");
    for wrong in ["Upper", "under_score", "-dash", ""] {
        let (code, reason) = refused(maps.create(&post, &map(wrong, "k", "v")).await);
        assert_eq!((code, reason.as_str()), (422, "Invalid"), "{wrong:?}");
    }
    let nowhere: Api<ConfigMap> = Api::namespaced(stage.admin().await, "nowhere");
    assert_eq!(
        refused(nowhere.create(&post, &map("a", "k", "v")).await),
        (404, "NotFound".to_owned())
    );
}

#[tokio::test]
async fn a_secret_takes_plain_text_keeps_its_type_and_has_a_largest_size() {
    let stage = Stage::start().await;
    let secrets = stage.secrets().await;
    let post = PostParams::default();
    let plain: Secret = of(json!({ "metadata": { "name": "s" }, "stringData": { "a": "text" } }));
    let made = secrets.create(&post, &plain).await.unwrap();
    assert_eq!(made.data.unwrap()["a"].0, b"text");
    assert_eq!(made.type_.as_deref(), Some("Opaque"));
    assert!(made.string_data.is_none());
    let other = Patch::Merge(json!({ "type": "kubernetes.io/tls" }));
    let patched = secrets.patch("s", &PatchParams::default(), &other).await;
    assert_eq!(refused(patched).0, 422);

    let of_size = |size: usize| -> Secret {
        of(json!({ "metadata": { "name": format!("s{size}") },
            "stringData": { "a": "x".repeat(size) } }))
    };
    secrets.create(&post, &of_size(1_048_576)).await.unwrap();
    let large = secrets.create(&post, &of_size(1_048_577)).await;
    assert_eq!(refused(large), (422, "Invalid".to_owned()));
    let client = stage.admin().await;
    let path = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
    let body = json!({ "metadata": { "name": "x" }, "data": { "a": "%" } });
    let answer = raw(&client, "POST", &path, "application/json", &body).await;
    assert_eq!(answer.status(), 400);

    let fixed = json!({ "metadata": { "name": "f" }, "immutable": true,
        "stringData": { "a": "1" } });
    secrets.create(&post, &of(fixed)).await.unwrap();
    let change = Patch::Merge(json!({ "stringData": { "a": "2" } }));
    let changed = secrets.patch("f", &PatchParams::default(), &change).await;
    assert_eq!(refused(changed).0, 422);
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let stage = Stage::start().await;
    let maps = stage.maps().await;
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    maps.create(&dry, &map("a", "k", "1")).await.unwrap();
    assert_eq!(refused(maps.get("a").await).0, 404);
}

#[tokio::test]
async fn lists_select_and_are_read_page_by_page_as_they_were() {
    let stage = Stage::start().await;
    let maps = stage.maps().await;
    let post = PostParams::default();
    for number in 0..5 {
        let mut one = map(&format!("m{number}"), "k", "v");
        let parity = if number % 2 == 0 { "even" } else { "odd" };
        one.metadata.labels = Some([("parity".to_owned(), parity.to_owned())].into());
        maps.create(&post, &one).await.unwrap();
    }
    let names = |list: kube::core::ObjectList<ConfigMap>| -> Vec<String> {
        list.items
            .into_iter()
            .map(|one| one.metadata.name.unwrap())
            .collect()
    };
    let even = ListParams::default().labels("parity in (even)");
    assert_eq!(names(maps.list(&even).await.unwrap()), ["m0", "m2", "m4"]);
    let one = ListParams::default().fields("metadata.name=m3");
    assert_eq!(names(maps.list(&one).await.unwrap()), ["m3"]);
    let wrong = ListParams::default().fields("data.k=v");
    assert_eq!(refused(maps.list(&wrong).await).0, 400);

    let page = ListParams::default().labels("parity").limit(2);
    let first = maps.list(&page).await.unwrap();
    let token = first.metadata.continue_.clone().unwrap();
    assert_eq!(first.metadata.remaining_item_count, Some(3));
    // What comes between is not seen.
    maps.delete("m4", &DeleteParams::default()).await.unwrap();
    let next = page.clone().continue_token(&token);
    let second = maps.list(&next).await.unwrap();
    assert_eq!(names(first), ["m0", "m1"]);
    let last = page.continue_token(second.metadata.continue_.as_ref().unwrap());
    assert_eq!(names(second), ["m2", "m3"]);
    assert_eq!(names(maps.list(&last).await.unwrap()), ["m4"]);
    stage.server.compact(false);
    assert_eq!(refused(maps.list(&next).await), (410, "Expired".to_owned()));
}

#[tokio::test]
async fn an_event_is_the_same_in_both_groups_and_must_say_who_reports() {
    let stage = Stage::start().await;
    let client = stage.admin().await;
    let path = format!("/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events");
    let mut event = json!({ "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": { "generateName": "e-" }, "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "example/agent", "reportingInstance": "agent-0",
        "action": "Enrol", "reason": "Enrolled", "type": "Normal", "note": "it is in",
        "regarding": { "kind": "Pod", "namespace": NAMESPACE, "name": "agent-0" } });
    let answer = raw(&client, "POST", &path, "application/json", &event).await;
    assert_eq!(answer.status(), 201, "{:?}", answer.body());
    assert_eq!(answer.body()["note"], "it is in");
    let events: Api<Event> = Api::namespaced(client.clone(), NAMESPACE);
    let about = ListParams::default().fields("involvedObject.name=agent-0");
    let listed = events.list(&about).await.unwrap();
    assert_eq!(listed.items[0].message.as_deref(), Some("it is in"));
    event["action"] = "".into();
    let answer = raw(&client, "POST", &path, "application/json", &event).await;
    assert_eq!(answer.status(), 422, "{:?}", answer.body());
    event["regarding"]["namespace"] = "other".into();
    let answer = raw(&client, "POST", &path, "application/json", &event).await;
    assert_eq!(answer.status(), 422, "{:?}", answer.body());
}
