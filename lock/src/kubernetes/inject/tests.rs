//! What is put into a pod, and which pods are refused.

use super::*;

fn means() -> Means {
    Means {
        image: "zen-lock:1".to_owned(),
        server: "zen-lock.zen-mesh.svc:7447".to_owned(),
        ca: "Y2E=".to_owned(),
        run_as_user: Some(65532),
    }
}

fn pod(annotations: Value) -> Value {
    json!({
        "metadata": { "generateName": "api-", "annotations": annotations },
        "spec": { "containers": [{ "name": "api" }, { "name": "side", "volumeMounts": [
            { "name": "data", "mountPath": "/data" },
        ] }] },
    })
}

fn asking() -> Value {
    pod(json!({ "zen-lock/inject": "db" }))
}

/// The pod with the patch carried out: only `add` is ever used.
fn patched(pod: &Value, patch: &[Value]) -> Value {
    let mut pod = pod.clone();
    for step in patch {
        assert_eq!(step["op"], "add");
        let (list, key) = step["path"].as_str().unwrap().rsplit_once('/').unwrap();
        let parent = pod.pointer_mut(list).unwrap();
        let value = step["value"].clone();
        match parent {
            Value::Array(items) if key == "-" => items.push(value),
            Value::Array(items) => items.insert(key.parse().unwrap(), value),
            parent => parent[key] = value,
        }
    }
    pod
}

fn granted(pod: &Value) -> Value {
    let wish = Wish::of(pod).unwrap().unwrap();
    patched(pod, &wish.patch(pod, &means()).unwrap())
}

fn refused(annotations: Value) -> Unfit {
    Wish::of(&pod(annotations)).unwrap_err()
}

#[test]
fn a_pod_that_does_not_ask_is_left_alone() {
    assert_eq!(Wish::of(&pod(json!({}))).unwrap(), None);
    assert_eq!(Wish::of(&json!({ "metadata": {} })).unwrap(), None);
}

#[test]
fn every_container_sees_the_values_and_the_first_to_run_fetches_them() {
    let mut pod = asking();
    pod["spec"]["initContainers"] = json!([{ "name": "migrate" }]);
    pod["spec"]["volumes"] = json!([{ "name": "data", "emptyDir": {} }]);
    let new = granted(&pod);
    let first = &new["spec"]["initContainers"][0];
    assert_eq!(first["name"], CONTAINER);
    assert_eq!(new["spec"]["initContainers"][1]["name"], "migrate");
    let mounts = new["spec"]["containers"].as_array().unwrap().iter();
    let mounts = mounts.chain([&new["spec"]["initContainers"][1]]);
    for container in mounts {
        let own = container["volumeMounts"]
            .as_array()
            .unwrap()
            .last()
            .unwrap();
        assert_eq!(own["mountPath"], "/zen-lock/secrets");
        assert_eq!(own["readOnly"], true);
    }
    let volumes = new["spec"]["volumes"].as_array().unwrap();
    assert_eq!(volumes.len(), 3);
    assert_eq!(volumes[1]["emptyDir"]["medium"], "Memory");
    // The token is for the init container alone, and for zen-lock alone.
    let token = &volumes[2]["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!(token["audience"], "zen-lock");
    let text = new["spec"]["containers"].to_string();
    assert!(!text.contains("zen-lock-token"));
}

#[test]
fn asked_again_nothing_is_added_twice_and_a_new_container_is_served() {
    let once = granted(&asking());
    let wish = Wish::of(&once).unwrap().unwrap();
    assert_eq!(wish.patch(&once, &means()).unwrap(), Vec::<Value>::new());
    let mut more = once.clone();
    let containers = more["spec"]["containers"].as_array_mut().unwrap();
    containers.push(json!({ "name": "mesh" }));
    let patch = wish.patch(&more, &means()).unwrap();
    assert_eq!(patch.len(), 1);
    assert_eq!(patch[0]["path"], "/spec/containers/2/volumeMounts");
}

#[test]
fn the_init_container_keeps_the_restricted_standard_whatever_the_pod_is() {
    let security =
        |pod: &Value| granted(pod)["spec"]["initContainers"][0]["securityContext"].clone();
    let plain = security(&asking());
    assert_eq!(plain["runAsNonRoot"], true);
    assert_eq!(plain["allowPrivilegeEscalation"], false);
    assert_eq!(plain["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(plain["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(plain["runAsUser"], 65532);
    let mut other = asking();
    other["spec"]["securityContext"] = json!({ "runAsUser": 1000 });
    assert_eq!(security(&other)["runAsUser"], Value::Null);
    other["spec"]["securityContext"] = json!({ "runAsUser": 0 });
    assert_eq!(security(&other)["runAsUser"], 65532);
}

#[test]
fn a_mount_path_is_taken_or_refused_with_its_reason() {
    let at = |path: &str| json!({ "zen-lock/inject": "db", "zen-lock/mount-path": path });
    for good in [
        "/etc/config",
        "/etc/egress-tls",
        "/app/secrets",
        "/var/run/secrets/db",
        "/run/db",
    ] {
        let new = granted(&pod(at(good)));
        let mounts = new["spec"]["containers"][0]["volumeMounts"].clone();
        assert_eq!(mounts[0]["mountPath"], good);
    }
    for bad in [
        "",
        "secrets",
        "/",
        "/etc",
        "/usr/bin",
        "/proc/1",
        "/sys/x",
        "/dev/shm",
        "/a/../etc",
        "/a//b",
        "/a/",
        "/a:b",
        "/var/run/secrets/kubernetes.io/serviceaccount",
        "/var/run/secrets/zen-lock",
    ] {
        assert!(matches!(refused(at(bad)), Unfit::Path { .. }), "{bad:?}");
    }
    assert!(matches!(
        refused(at(&format!("/{}", "a".repeat(1024)))),
        Unfit::Path { .. }
    ));
}

#[test]
fn values_in_the_environment_are_refused_and_the_way_out_is_named() {
    let with = |word: &str| json!({ "zen-lock/inject": "db", "zen-lock/inject-env": word });
    let refusal = refused(with("true"));
    assert_eq!(refusal, Unfit::Environment);
    assert!(refusal.to_string().contains("/zen-lock/secrets/<key>"));
    assert!(matches!(refused(with("yes")), Unfit::EnvironmentWord(_)));
    assert!(Wish::of(&pod(with("false"))).unwrap().is_some());
}

#[test]
fn what_would_pass_for_ours_is_refused() {
    for name in ["", "A", "../x", "a/b", "-a", "a_b"] {
        assert!(matches!(
            refused(json!({ "zen-lock/inject": name })),
            Unfit::Name(_)
        ));
    }
    let wish = Wish::of(&asking()).unwrap().unwrap();
    let mut taken = asking();
    taken["spec"]["containers"][0]["name"] = CONTAINER.into();
    assert_eq!(
        wish.patch(&taken, &means()),
        Err(Unfit::NameTaken(CONTAINER))
    );
    let mut taken = asking();
    taken["spec"]["volumes"] = json!([{ "name": SECRETS, "hostPath": { "path": "/tmp" } }]);
    assert_eq!(wish.patch(&taken, &means()), Err(Unfit::NameTaken(SECRETS)));
    // A pod that brings an init container of our name, and volumes that keep what is written.
    let mut forged = granted(&asking());
    forged["spec"]["volumes"][0] = json!({ "name": SECRETS, "emptyDir": {} });
    assert_eq!(
        wish.patch(&forged, &means()),
        Err(Unfit::NameTaken(SECRETS))
    );
    let mut taken = asking();
    taken["spec"]["containers"][0]["volumeMounts"] =
        json!([{ "name": "x", "mountPath": "/zen-lock/secrets/" }]);
    assert!(matches!(
        wish.patch(&taken, &means()),
        Err(Unfit::PathTaken { .. })
    ));
}
