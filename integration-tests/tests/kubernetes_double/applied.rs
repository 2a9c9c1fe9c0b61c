//! Patches and server-side apply, over the wire.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::stage::{NAMESPACE, Stage, map, of, raw, refused, status};

fn applied(data: &Value) -> Patch<Value> {
    Patch::Apply(json!({ "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "a" }, "data": data }))
}

#[tokio::test]
async fn an_apply_creates_merges_and_removes_what_its_manager_omits() {
    let stage = Stage::start().await;
    let maps = stage.maps().await;
    let (one, two) = (PatchParams::apply("one"), PatchParams::apply("two"));
    let first = applied(&json!({ "x": "1", "y": "2" }));
    let made = maps.patch("a", &one, &first).await.unwrap();
    let same = maps.patch("a", &one, &first).await.unwrap();
    assert_eq!(
        same.metadata.resource_version,
        made.metadata.resource_version
    );
    maps.patch("a", &two, &applied(&json!({ "z": "3" })))
        .await
        .unwrap();
    let theirs = applied(&json!({ "z": "3", "x": "9" }));
    let clash = status(maps.patch("a", &two, &theirs).await);
    assert_eq!((clash.code, clash.reason.as_str()), (409, "Conflict"));
    let causes = clash.details.unwrap().causes;
    assert_eq!(causes[0].reason, "FieldManagerConflict");
    assert_eq!(causes[0].field, ".data.x");
    let forced = two.clone().force();
    maps.patch("a", &forced, &theirs).await.unwrap();
    let left = maps.patch("a", &one, &applied(&json!({}))).await.unwrap();
    let data = left.data.unwrap();
    assert_eq!(json!(data), json!({ "x": "9", "z": "3" }));
    let managers = left.metadata.managed_fields.unwrap();
    let of = |name: &str| {
        let mut found = managers.iter();
        let found = found.find(|one| one.manager.as_deref() == Some(name));
        json!(found.unwrap().fields_v1)
    };
    assert_eq!(of("two"), json!({ "f:data": { "f:x": {}, "f:z": {} } }));
    assert_eq!(of("one"), json!({ "f:data": {} }));
}

#[tokio::test]
async fn an_apply_must_say_who_and_of_which_kind_and_may_name_a_version() {
    let stage = Stage::start().await;
    let client = stage.admin().await;
    let maps = stage.maps().await;
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/a");
    let media = "application/apply-patch+yaml";
    let body = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" } });
    let answer = raw(&client, "PATCH", &path, media, &body).await;
    assert_eq!(answer.status(), 422);
    let named = format!("{path}?fieldManager=one");
    let answer = raw(
        &client,
        "PATCH",
        &named,
        media,
        &json!({ "kind": "Secret" }),
    )
    .await;
    assert_eq!(answer.status(), 400);
    let answer = raw(&client, "PATCH", &path, "application/strange", &body).await;
    assert_eq!(answer.status(), 415);

    let made = maps
        .create(&PostParams::default(), &map("a", "k", "1"))
        .await;
    let version = made.unwrap().metadata.resource_version;
    let one = PatchParams::apply("one").force();
    let with = |version: &Option<String>, value: &str| {
        Patch::Apply(json!({ "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "a", "resourceVersion": version }, "data": { "k": value } }))
    };
    maps.patch("a", &one, &with(&version, "2")).await.unwrap();
    let stale = maps.patch("a", &one, &with(&version, "3")).await;
    assert_eq!(refused(stale), (409, "Conflict".to_owned()));
}

#[tokio::test]
async fn every_patch_does_what_its_kind_says() {
    let stage = Stage::start().await;
    let deployments: Api<Deployment> = Api::namespaced(stage.admin().await, NAMESPACE);
    let container = |name: &str| json!({ "name": name, "image": "i:1" });
    let made = of(json!({ "metadata": { "name": "d" }, "spec": {
        "selector": { "matchLabels": { "app": "d" } },
        "template": { "spec": { "containers": [container("a"), container("b")] } } } }));
    let made = deployments
        .create(&PostParams::default(), &made)
        .await
        .unwrap();
    assert_eq!(made.metadata.generation, Some(1));
    let plain = PatchParams::default();
    let newer = json!({ "spec": { "template": { "spec": {
        "containers": [{ "name": "b", "image": "i:2" }] } } } });
    let both = deployments
        .patch("d", &plain, &Patch::Strategic(&newer))
        .await
        .unwrap();
    assert_eq!(both.metadata.generation, Some(2));
    let containers = both.spec.unwrap().template.spec.unwrap().containers;
    assert_eq!(containers.len(), 2);
    assert_eq!(containers[1].image.as_deref(), Some("i:2"));
    let one = deployments.patch("d", &plain, &Patch::Merge(&newer)).await;
    let containers = one.unwrap().spec.unwrap().template.spec.unwrap().containers;
    assert_eq!(containers.len(), 1);

    let told = json!({ "status": { "readyReplicas": 1 }, "spec": { "replicas": 7 } });
    let told = deployments
        .patch_status("d", &plain, &Patch::Merge(&told))
        .await
        .unwrap();
    assert_eq!(told.spec.unwrap().replicas, None);
    assert_eq!(told.metadata.generation, Some(3));
    let kept = Patch::Merge(json!({ "status": null, "spec": { "paused": true } }));
    let kept = deployments.patch("d", &plain, &kept).await.unwrap();
    assert_eq!(kept.status.unwrap().ready_replicas, Some(1));
}

#[tokio::test]
async fn a_lease_is_not_taken_without_its_version() {
    let stage = Stage::start().await;
    let leases: Api<Lease> = Api::namespaced(stage.admin().await, NAMESPACE);
    let post = PostParams::default();
    let mut lease: Lease = of(json!({ "metadata": { "name": "l" },
        "spec": { "holderIdentity": "one" } }));
    leases.create(&post, &lease).await.unwrap();
    assert_eq!(refused(leases.replace("l", &post, &lease).await).0, 422);
    lease = leases.get("l").await.unwrap();
    leases.replace("l", &post, &lease).await.unwrap();
}
