//! Who may do what, and who somebody is.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::TokenReview;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tempfile::TempDir;
use zen_chassis::Clock;
use zen_integration_tests::kubernetes::ApiServer;

use crate::stage::{NAMESPACE, Stage, map, namespace, of, raw, refused};

const AGENT: &str = "system:serviceaccount:zen-mesh:zen-agent";

/// A service account with a Role of these rules; its token.
fn account(server: &ApiServer, rules: &Value) -> String {
    let meta = json!({ "name": "zen-agent", "namespace": NAMESPACE });
    for (version, kind, rest) in [
        ("v1", "ServiceAccount", json!({})),
        (
            "rbac.authorization.k8s.io/v1",
            "Role",
            json!({ "rules": rules }),
        ),
        (
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            json!({ "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role",
                "name": "zen-agent" },
                "subjects": [{ "kind": "ServiceAccount", "name": "zen-agent" }] }),
        ),
    ] {
        let mut object = rest;
        object["apiVersion"] = version.into();
        object["kind"] = kind.into();
        object["metadata"] = meta.clone();
        server.put(&object).unwrap();
    }
    server
        .token(NAMESPACE, "zen-agent", &[], 3600, None)
        .unwrap()
}

#[tokio::test]
async fn rights_are_judged_by_name_and_every_request_is_noted() {
    let stage = Stage::start().await;
    let rules = json!([
        { "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"],
            "verbs": ["get", "list", "watch", "patch", "create"] },
        { "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["mine"],
            "verbs": ["patch"] },
    ]);
    let token = account(&stage.server, &rules);
    let client = stage.client(&token).await;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let forbidden = (403, "Forbidden".to_owned());
    assert_eq!(refused(secrets.get("mine").await).0, 404);
    assert_eq!(refused(secrets.get("other").await), forbidden);
    assert_eq!(
        refused(secrets.list(&ListParams::default()).await),
        forbidden
    );
    let one = ListParams::default().fields("metadata.name=mine");
    secrets.list(&one).await.unwrap();
    // A create has no name to be judged by; an apply has.
    let apply = PatchParams::apply("zen-agent");
    let secret =
        |name: &str| json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name } });
    let created = secrets
        .create(&PostParams::default(), &of(secret("mine")))
        .await;
    assert_eq!(refused(created), forbidden);
    let patch = Patch::Apply(secret("mine"));
    secrets.patch("mine", &apply, &patch).await.unwrap();
    let body = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "mine" } });
    let patch = Patch::Apply(body);
    assert_eq!(
        refused(maps.patch("mine", &apply, &patch).await),
        forbidden,
        "it would create"
    );
    let admin = stage.maps().await;
    admin
        .create(&PostParams::default(), &map("mine", "k", "v"))
        .await
        .unwrap();
    maps.patch("mine", &apply, &patch).await.unwrap();

    let asked = stage.server.asked();
    let asked: Vec<_> = asked
        .iter()
        .filter(|asked| asked.user == AGENT)
        .map(|a| format!("{} {} {:?} {}", a.verb, a.resource, a.name, a.code))
        .collect();
    let expected = [
        "get secrets \"mine\" 404",
        "get secrets \"other\" 403",
        "list secrets \"\" 403",
        "list secrets \"mine\" 200",
        "create secrets \"\" 403",
        "create secrets \"mine\" 201",
        "patch secrets \"mine\" 201",
        "create configmaps \"mine\" 403",
        "patch configmaps \"mine\" 403",
        "patch configmaps \"mine\" 200",
    ];
    assert_eq!(asked, expected);
    assert!(stage.server.asked().is_empty());

    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    for (name, allowed) in [("mine", true), ("other", false)] {
        let body = json!({ "spec": { "resourceAttributes": { "verb": "get",
            "resource": "secrets", "namespace": NAMESPACE, "name": name } } });
        let answer = raw(&client, "POST", path, "application/json", &body).await;
        assert_eq!(answer.body()["status"]["allowed"], allowed, "{name}");
    }
}

#[tokio::test]
async fn strangers_are_told_apart_from_those_without_rights() {
    let stage = Stage::start().await;
    let maps: Api<ConfigMap> = Api::namespaced(stage.client("made-up").await, NAMESPACE);
    assert_eq!(
        refused(maps.get("a").await),
        (401, "Unauthorized".to_owned())
    );
    let somebody = stage.server.user("somebody", &["readers"]);
    let maps: Api<ConfigMap> = Api::namespaced(stage.client(&somebody).await, NAMESPACE);
    assert_eq!(refused(maps.get("a").await).0, 403);
    let role = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": { "name": "read" }, "rules": [{ "apiGroups": ["*"], "resources": ["*"],
        "verbs": ["get"] }] });
    stage.server.put(&role).unwrap();
    let binding = json!({ "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding", "metadata": { "name": "read" },
        "roleRef": { "kind": "ClusterRole", "name": "read" },
        "subjects": [{ "kind": "Group", "name": "readers" }] });
    stage.server.put(&binding).unwrap();
    assert_eq!(refused(maps.get("a").await).0, 404);
}

#[tokio::test]
async fn a_token_holds_for_its_audience_its_time_its_account_and_its_pod() {
    let clock = Clock::manual(1_700_000_000_000);
    let here = IpAddr::from([127, 0, 0, 1]);
    let server = ApiServer::start_at(here, &[], clock.clone()).await.unwrap();
    server.put(&namespace(NAMESPACE)).unwrap();
    let stage = Stage {
        server,
        folder: TempDir::new().unwrap(),
    };
    let server = &stage.server;
    let api = account(server, &json!([]));
    let pod = json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "p", "namespace": NAMESPACE } });
    let uid = server.put(&pod).unwrap()["metadata"]["uid"].clone();
    let uid = uid.as_str().unwrap();
    let token = |seconds| {
        let pod = Some(("p", uid));
        server.token(NAMESPACE, "zen-agent", &["zen-agent"], seconds, pod)
    };
    let (short, long) = (token(600).unwrap(), token(6000).unwrap());
    let reviews: Api<TokenReview> = Api::all(stage.admin().await);
    let review = async |token: &str, audience: &str| {
        let review = of(json!({ "metadata": {}, "spec": { "token": token,
            "audiences": [audience] } }));
        let told = reviews.create(&PostParams::default(), &review).await;
        let told = told.unwrap().status.unwrap();
        let user = told.user.unwrap_or_default();
        if told.authenticated == Some(true) {
            assert_eq!(told.audiences, Some(vec![audience.to_owned()]));
            let pods = &user.extra.as_ref().unwrap()["authentication.kubernetes.io/pod-name"];
            assert_eq!(pods, &["p".to_owned()]);
        }
        user.username.ok_or_else(|| told.error.unwrap_or_default())
    };
    assert_eq!(review(&short, "zen-agent").await.as_deref(), Ok(AGENT));
    let elsewhere = review(&short, "other").await.unwrap_err();
    assert!(elsewhere.contains("audiences"), "{elsewhere}");
    review(&api, "zen-agent").await.unwrap_err();
    review("made-up", "zen-agent").await.unwrap_err();
    // It is not for this server.
    let maps: Api<ConfigMap> = Api::namespaced(stage.client(&short).await, NAMESPACE);
    assert_eq!(refused(maps.get("a").await).0, 401);

    clock.advance(Duration::from_secs(601));
    let expired = review(&short, "zen-agent").await.unwrap_err();
    assert!(expired.contains("expired"), "{expired}");
    assert_eq!(review(&long, "zen-agent").await.as_deref(), Ok(AGENT));
    assert!(server.delete("pods", NAMESPACE, "p"));
    let gone = review(&long, "zen-agent").await.unwrap_err();
    assert!(gone.contains("pod"), "{gone}");

    // As a kubelet asks for one.
    let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/zen-agent/token");
    let body = json!({ "spec": { "audiences": ["x"], "expirationSeconds": 600 } });
    let admin = stage.admin().await;
    let made = raw(&admin, "POST", &path, "application/json", &body).await;
    assert_eq!(made.status(), 201);
    assert_eq!(
        made.body()["status"]["expirationTimestamp"],
        "2023-11-14T22:33:21Z"
    );
}
