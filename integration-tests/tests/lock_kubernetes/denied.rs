//! Who does not get a secret, what is said then, and that it is counted.

use serde_json::json;

use super::stage::{Stage, manifest, put_identity, seal, zenlocks_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zenlock_that_was_copied_does_not_open_elsewhere() {
    let stage = Stage::start().await;
    stage.put("shop", "db", &["api"], "x");
    let sealed = stage.server.get("zenlocks", "shop", "db").unwrap();
    let sealed = sealed["spec"]["sealed"].as_str().unwrap().to_owned();
    // Refused when it is written, as by a person …
    for (namespace, name) in [("other", "db"), ("shop", "db2")] {
        let copy = manifest(namespace, name, &sealed);
        let refused = stage.create(&zenlocks_of(namespace), &copy).await;
        let refused = refused.unwrap_err();
        assert!(refused.contains("SECRET_SCOPE_MISMATCH"), "{refused}");
        // … and when it is there all the same.
        stage.server.put(&copy).unwrap();
        let refused = stage.asking(namespace, "api", name).await.err().unwrap();
        assert!(refused.contains("SECRET_SCOPE_MISMATCH"), "{refused}");
        stage
            .condition(namespace, name, "False", "SECRET_SCOPE_MISMATCH")
            .await;
    }
    let labels = ["outcome=\"SECRET_SCOPE_MISMATCH\"", "webhook=\"pods\""];
    assert_eq!(
        stage.metric("zen_lock_admissions_total", &labels).await,
        2.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zenlock_that_names_nobody_is_for_nobody() {
    let stage = Stage::start().await;
    stage.put("shop", "db", &[], "x");
    let refused = stage.asking("shop", "api", "db").await.err().unwrap();
    assert!(refused.contains("SECRET_NOT_ALLOWED"), "{refused}");
    let object = stage.condition("shop", "db", "True", "Opened").await;
    let said = object.pointer("/status/conditions/0/message").unwrap();
    assert!(
        said.as_str().unwrap().contains("no pod may have it"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_wrong_zenlock_is_refused_with_its_code() {
    let stage = Stage::start().await;
    let good = seal(&stage.recipient(), "shop", "db", &["api"], "x");
    let stranger = zen_seal::Identity::generate().recipient();
    let mut lines: Vec<&str> = good.lines().collect();
    let last = lines.len() - 2;
    lines.swap(last - 1, last - 2);
    for (sealed, code) in [
        (
            seal(&stranger, "shop", "db", &["api"], "x"),
            "SECRET_WRONG_RECIPIENT",
        ),
        (good[..good.len() / 2].to_owned(), "SECRET_TRUNCATED"),
        ("password: hunter2".to_owned(), "SECRET_NOT_AGE"),
        ("a".repeat(300 * 1024), "SECRET_TOO_LARGE"),
    ] {
        let object = manifest("shop", "db", &sealed);
        let refused = stage
            .create(&zenlocks_of("shop"), &object)
            .await
            .unwrap_err();
        assert!(refused.contains(code), "{code}: {refused}");
        assert!(!refused.contains("hunter2"), "{refused}");
        stage.server.put(&object).unwrap();
        stage.condition("shop", "db", "False", code).await;
        let refused = stage.asking("shop", "api", "db").await.err().unwrap();
        assert!(refused.contains(code), "{code}: {refused}");
    }
    let refused = stage.asking("shop", "api", "nothing").await.err().unwrap();
    assert!(refused.contains("SECRET_UNKNOWN"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_pod_may_not_ask_is_refused_with_what_to_do_instead() {
    let stage = Stage::start().await;
    stage.put("shop", "db", &["api"], "x");
    for (annotation, value, said) in [
        ("zen-lock/inject-env", "true", "read the value from"),
        ("zen-lock/mount-path", "/usr/bin", "zen-lock/mount-path"),
        (
            "zen-lock/mount-path",
            "secrets",
            "does not begin with a slash",
        ),
        ("zen-lock/inject", "../db", "is not the name of a ZenLock"),
    ] {
        let mut annotations = json!({ "zen-lock/inject": "db" });
        annotations[annotation] = value.into();
        let refused = stage.pod("shop", "api", annotations).await.err().unwrap();
        assert!(refused.contains(said), "{annotation}={value}: {refused}");
    }
    let annotations = json!({ "zen-lock/inject": "db", "zen-lock/mount-path": "/etc/config" });
    let pod = stage.pod("shop", "api", annotations).await.unwrap();
    let mount = &pod.object["spec"]["containers"][0]["volumeMounts"][0];
    assert_eq!(mount["mountPath"], "/etc/config");
    assert_eq!(stage.run(&pod).unwrap()["password"], b"x");
}

/// Everything about the caller is judged again when the value is fetched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_good_for_its_own_pod_and_what_that_pod_asked_for() {
    let stage = Stage::start().await;
    stage.put("shop", "db", &["api"], "x");
    stage.put("shop", "mail", &["api"], "y");
    let pod = stage.asking("shop", "api", "db").await.unwrap();
    let (name, uid) = (pod.text("/metadata/name"), pod.text("/metadata/uid"));
    let token = |account: &str, audience: &str, bound: Option<(&str, &str)>| {
        stage
            .server
            .token("shop", account, &[audience], 600, bound)
            .unwrap()
    };
    let refused = |token: &str| stage.fetch(&pod, token).unwrap_err();
    let own = Some((name, uid));
    for wrong in [
        "no-token".to_owned(),
        // For somebody else, of another account, of no pod.
        token("api", "zen-agent", own),
        token("web", "zen-lock", own),
        token("api", "zen-lock", None),
    ] {
        let said = refused(&wrong);
        assert!(said.contains("SECRET_CALLER_UNKNOWN"), "{said}");
    }
    // A pod of the same account that asked for another secret, or for none.
    let other = stage.asking("shop", "api", "mail").await.unwrap();
    let (name, uid) = (other.text("/metadata/name"), other.text("/metadata/uid"));
    let said = refused(&token("api", "zen-lock", Some((name, uid))));
    assert!(said.contains("SECRET_NOT_ALLOWED"), "{said}");
    // A pod that is gone.
    let good = token("api", "zen-lock", own);
    assert!(
        stage
            .server
            .delete("pods", "shop", pod.text("/metadata/name"))
    );
    let said = refused(&good);
    assert!(said.contains("SECRET_CALLER_UNKNOWN"), "{said}");
    let labels = ["outcome=\"SECRET_CALLER_UNKNOWN\"", "purpose=\"pod\""];
    assert_eq!(stage.metric("zen_lock_opens_total", &labels).await, 5.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zen_lock_without_its_key_says_so_and_holds_up_no_release() {
    let stage = Stage::start().await;
    let sealed = stage.zenlock("shop", "db", &["api"], "x");
    // Another key in the place of the one.
    put_identity(&stage.identities(), "1.key");
    stage.server.put(&sealed).unwrap();
    stage
        .condition("shop", "db", "False", "SECRET_WRONG_RECIPIENT")
        .await;
}
