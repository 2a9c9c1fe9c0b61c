//! Pods that may have a secret, and how they come to it.

use serde_json::{Value, json};

use super::stage::{OWN, Stage, pod, pods_of};

fn password(values: &std::collections::BTreeMap<String, Vec<u8>>) -> &[u8] {
    values["password"].as_slice()
}

/// The names of such pods are generated after admission: nothing may rest on them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_of_deployments_and_jobs_have_their_own_secret_each() {
    let stage = Stage::start().await;
    stage.put("shop", "one", &["api"], "first");
    stage.put("shop", "two", &["web"], "second value");
    let one = stage.asking("shop", "api", "one").await.unwrap();
    let two = stage.asking("shop", "web", "two").await.unwrap();
    assert!(one.text("/metadata/name").starts_with("job-"));
    // An init container ends when the values are there: nothing keeps a Job alive, and a sandbox that
    // is made anew is served again.
    assert_eq!(password(&stage.run(&one).unwrap()), b"first");
    assert_eq!(password(&stage.run(&two).unwrap()), b"second value");
    assert_eq!(password(&stage.run(&one).unwrap()), b"first");
    let seen = &one.object["spec"]["containers"][0]["volumeMounts"][0];
    assert_eq!(seen["mountPath"], "/zen-lock/secrets");
    assert_eq!(seen["readOnly"], true);
    let volume = &one.object["spec"]["volumes"][0]["emptyDir"];
    assert_eq!(volume["medium"], "Memory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_updated_secret_is_what_the_next_pod_sees() {
    let stage = Stage::start().await;
    stage.put("shop", "db", &["api"], "old");
    let before = stage.asking("shop", "api", "db").await.unwrap();
    assert_eq!(password(&stage.run(&before).unwrap()), b"old");
    stage.put("shop", "db", &["api"], "newer");
    let after = stage.asking("shop", "api", "db").await.unwrap();
    assert_eq!(password(&stage.run(&after).unwrap()), b"newer");
    // Whom it names is asked anew, too.
    stage.put("shop", "db", &["web"], "for another");
    let refused = stage.asking("shop", "api", "db").await.err().unwrap();
    assert!(refused.contains("SECRET_NOT_ALLOWED"), "{refused}");
    let refused = stage.run(&after).unwrap_err();
    assert!(refused.contains("SECRET_NOT_ALLOWED"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_value_is_in_any_object_and_no_secret_is_made() {
    let stage = Stage::start().await;
    stage.put("shop", "db", &["api"], "canary-3141592653");
    let pod = stage.asking("shop", "api", "db").await.unwrap();
    let got = stage.run(&pod).unwrap();
    assert_eq!(password(&got), b"canary-3141592653");
    stage.condition("shop", "db", "True", "Opened").await;
    let secrets = stage.server.list("secrets", "");
    let names: Vec<_> = secrets
        .iter()
        .map(|s| s["metadata"]["name"].clone())
        .collect();
    assert_eq!(names, ["zen-lock-authority"]);
    for kind in ["pods", "zenlocks", "configmaps", "secrets", "events"] {
        for object in stage.server.list(kind, "") {
            let text = object.to_string();
            assert!(!text.contains("canary-3141592653"), "{kind}");
            // In base64.
            assert!(!text.contains("Y2FuYXJ5LTMxNDE1"), "{kind}");
        }
    }
    assert!(!stage.lock.log_text().contains("canary-3141592653"));
}

/// What the chart grants is all it has: the API server of the test judges by the chart's own roles.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zen_lock_uses_the_rights_of_its_chart_and_can_read_no_secret_of_another() {
    let stage = Stage::start().await;
    let secret = json!({ "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": "theirs", "namespace": "shop" }, "data": {} });
    stage.server.put(&secret).unwrap();
    let mut own = secret;
    own["metadata"]["namespace"] = OWN.into();
    stage.server.put(&own).unwrap();
    stage.put("shop", "db", &["api"], "x");
    stage.condition("shop", "db", "True", "Opened").await;
    let pod = stage.asking("shop", "api", "db").await.unwrap();
    stage.run(&pod).unwrap();
    let user = format!("system:serviceaccount:{OWN}:zen-lock");
    let asked = stage.server.asked();
    let asked: Vec<_> = asked.iter().filter(|asked| asked.user == user).collect();
    assert!(asked.len() > 10, "{asked:?}");
    for one in &asked {
        assert_ne!(one.code, 403, "{one:?}");
        assert!(
            one.resource != "secrets" || one.name == "zen-lock-authority",
            "{one:?}"
        );
    }
    // Whoever has its token has no more.
    for path in [
        "/api/v1/namespaces/shop/secrets/theirs",
        "/api/v1/namespaces/shop/secrets",
        "/api/v1/namespaces/events/secrets/theirs",
        "/api/v1/namespaces/events/secrets",
        "/api/v1/secrets",
    ] {
        assert_eq!(stage.answered_to_zen_lock(path).await, 403, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_is_answered_the_same_and_changes_nothing() {
    let stage = Stage::start().await;
    stage.put("shop", "db", &["api"], "x");
    let path = format!("{}?dryRun=All", pods_of("shop"));
    let asking = pod("api", json!({ "zen-lock/inject": "db" }));
    let shown = stage.create(&path, &asking).await.unwrap();
    assert_eq!(shown["spec"]["initContainers"][0]["name"], "zen-lock-fetch");
    assert!(stage.server.list("pods", "").is_empty());
    let none = pod("web", json!({ "zen-lock/inject": "db" }));
    assert!(stage.create(&path, &none).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_does_not_ask_is_left_as_it_is() {
    let stage = Stage::start().await;
    let pod = stage.pod("shop", "api", json!({})).await.unwrap();
    assert_eq!(pod.object["spec"]["initContainers"], Value::Null);
    assert_eq!(pod.object["spec"]["volumes"], Value::Null);
}
