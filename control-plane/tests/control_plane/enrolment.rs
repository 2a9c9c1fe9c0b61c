//! Enrolment over real TLS: every refusal, repeats, restarts, and what the plane's page tells.

use std::time::Duration;

use super::common::{Agent, Running, clock, config, text};
use serde_json::{Value, json};
use zen_proto::enrollment::v1::RedeemRequest;
use zen_proto::enrollment::v1::{RecoverRequest, redeem_response::Outcome};
use zen_seal::Bundle;

fn codes(plane: &Value) -> Vec<String> {
    let timeline = plane["timeline"].as_array().unwrap();
    timeline
        .iter()
        .filter_map(|event| event["code"].as_str())
        .map(str::to_owned)
        .collect()
}

fn kinds(plane: &Value) -> Vec<String> {
    plane["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| text(event, "kind"))
        .collect()
}

#[tokio::test]
async fn nothing_at_rest_shows_the_root_key_and_the_api_key_is_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let key = running.key.clone();
    assert!(key.starts_with("zen_") && key.len() == 47, "{key}");
    running.stop().await;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let content = match std::fs::read(&path) {
            Ok(content) => content,
            // SQLite takes its -wal and -shm away when its last connection has closed.
            Err(gone) if gone.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => panic!("{}: {error}", path.display()),
        };
        let shows = |needle: &[u8]| content.windows(needle.len()).any(|window| window == needle);
        assert!(!shows(b"PRIVATE KEY"), "{}", path.display());
        let is_key_file = path.file_name().unwrap() == "api-key";
        assert_eq!(shows(key.as_bytes()), is_key_file, "{}", path.display());
        if is_key_file
            || path
                .extension()
                .is_some_and(|extension| extension == "agekey")
        {
            let mode = path.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        }
    }
}

#[tokio::test]
async fn without_the_identity_of_the_root_the_control_plane_does_not_start() {
    use zen_chassis::{App, Stage};
    let folder = tempfile::tempdir().unwrap();
    Running::start(folder.path()).await.stop().await;
    std::fs::remove_file(folder.path().join("root.agekey")).unwrap();
    let stage = Stage::detached("control-plane").unwrap();
    let error = zen_control_plane::ControlPlane::bind(config(folder.path()), &stage).await;
    let error = format!("{:#}", error.err().unwrap());
    assert!(error.contains("root_identity_file"), "{error}");
}

#[tokio::test]
async fn the_trust_domain_does_not_change_after_the_first_start() {
    use zen_chassis::{App, Stage};
    let folder = tempfile::tempdir().unwrap();
    Running::start(folder.path()).await.stop().await;
    let settings = zen_control_plane::Config {
        trust_domain: "another.example".to_owned(),
        ..config(folder.path())
    };
    let stage = Stage::detached("control-plane").unwrap();
    let error = zen_control_plane::ControlPlane::bind(settings, &stage).await;
    let error = format!("{:#}", error.err().unwrap());
    assert!(error.contains("trust_domain"), "{error}");
}

#[tokio::test]
async fn every_fault_of_a_redemption_is_refused_by_its_code_and_consumes_nothing() {
    type Fault = fn(&mut RedeemRequest);
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("faults", "edge").await;
    let bundle = running.bundle(&plane).await;
    let agent = Agent::new(&bundle, running.clock.clone());
    let table: [(&str, Fault); 6] = [
        ("BUNDLE_UNREADABLE", |r| {
            r.bundle_id = "bnd_nonsense".to_owned()
        }),
        ("BUNDLE_UNREADABLE", |r| {
            r.bundle_id = format!("bnd_{}", "0".repeat(26))
        }),
        ("BUNDLE_UNREADABLE", |r| r.token = vec![0; 32].into()),
        ("PLANE_MISMATCH", |r| {
            r.plane_id = format!("pl_{}", "0".repeat(26))
        }),
        ("PLANE_MISMATCH", |r| {
            r.tenant_id = format!("ten_{}", "0".repeat(26))
        }),
        ("CLOCK_SKEW", |r| r.agent_time_ms -= 6 * 60 * 1000),
    ];
    for (code, fault) in table {
        let mut request = agent.request(&bundle);
        fault(&mut request);
        assert_eq!(agent.ask(request).await.unwrap_err().code, code);
    }
    agent
        .redeem(&bundle)
        .await
        .expect("the bundle is still good");
    let shown = running.get(&format!("/v1/planes/{plane}")).await;
    assert_eq!(codes(&shown), ["PLANE_MISMATCH", "CLOCK_SKEW"]);
    assert_eq!(shown["timeline"][1]["times"], 2);
    running.stop().await;
}

#[tokio::test]
async fn a_bundle_expires_by_the_servers_clock() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("late", "edge").await;
    let bundle = running.bundle(&plane).await;
    running.clock.advance(Duration::from_secs(30 * 60));
    let agent = Agent::new(&bundle, running.clock.clone());
    assert_eq!(
        agent.redeem(&bundle).await.unwrap_err().code,
        "BUNDLE_EXPIRED"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_retired_plane_does_not_enrol() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("old", "edge").await;
    let bundle = running.bundle(&plane).await;
    assert_eq!(
        running
            .call("DELETE", &format!("/v1/planes/{plane}"), None)
            .await
            .0,
        204
    );
    assert_eq!(
        running
            .call("DELETE", &format!("/v1/planes/{plane}"), None)
            .await
            .0,
        204
    );
    let agent = Agent::new(&bundle, running.clock.clone());
    assert_eq!(
        agent.redeem(&bundle).await.unwrap_err().code,
        "PLANE_RETIRED"
    );
    let shown = running.get(&format!("/v1/planes/{plane}")).await;
    assert_eq!(shown["status"], "retired");
    let path = format!("/v1/planes/{plane}/bundles");
    let (status, problem) = running.call("POST", &path, Some(json!({}))).await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (409, Some("PLANE_RETIRED"))
    );
    running.stop().await;
}

#[tokio::test]
async fn regenerating_supersedes_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("twice", "edge").await;
    let older = running.bundle(&plane).await;
    let newer = running.bundle(&plane).await;
    let agent = Agent::new(&older, running.clock.clone());
    assert_eq!(
        agent.redeem(&older).await.unwrap_err().code,
        "BUNDLE_SUPERSEDED"
    );
    agent.redeem(&newer).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn the_same_key_gets_the_same_chain_after_expiry_regeneration_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock();
    let running = Running::start_with(config(folder.path()), clock.clone()).await;
    let plane = running.plane("repeats", "edge").await;
    let bundle = running.bundle(&plane).await;
    let mut agent = Agent::new(&bundle, clock.clone());
    let first = agent.redeem(&bundle).await.unwrap();
    assert_eq!(agent.redeem(&bundle).await.unwrap(), first);
    running.bundle(&plane).await;
    clock.advance(Duration::from_secs(60 * 60));
    running.stop().await;

    let running = Running::start_with(config(folder.path()), clock).await;
    agent.address = running.agents.to_string();
    let again = agent.redeem(&bundle).await.unwrap();
    assert_eq!(again.plane_ca_chain, first.plane_ca_chain);
    assert_eq!(again.trust_bundle_pem, first.trust_bundle_pem);
    let shown = running.get(&format!("/v1/planes/{plane}")).await;
    assert_eq!(
        kinds(&shown)
            .iter()
            .filter(|kind| *kind == "bundle_redeemed")
            .count(),
        1
    );
    running.stop().await;
}

#[tokio::test]
async fn another_key_is_refused_and_stands_on_the_planes_page_as_an_alert() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("stolen", "edge").await;
    let bundle = running.bundle(&plane).await;
    Agent::new(&bundle, running.clock.clone())
        .redeem(&bundle)
        .await
        .unwrap();
    let thief = Agent::new(&bundle, running.clock.clone());
    assert_eq!(
        thief.redeem(&bundle).await.unwrap_err().code,
        "BUNDLE_ALREADY_USED"
    );
    let shown = running.get(&format!("/v1/planes/{plane}")).await;
    let alert = &shown["alerts"][0];
    assert_eq!(alert["code"], "BUNDLE_ALREADY_USED");
    let fingerprint = format!("sha256:{}", hex::encode(thief.key.public_key_sha256()));
    assert_eq!(text(alert, "key_fingerprint"), fingerprint);
    assert!(text(alert, "remote_address").starts_with("127.0.0.1:"));
    assert_eq!(
        kinds(&shown),
        [
            "bundle_issued",
            "bundle_redeemed",
            "certificate_issued",
            "refused"
        ]
    );
    running.stop().await;
}

#[tokio::test]
async fn two_keys_at_the_same_moment_and_exactly_one_enrols() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("race", "edge").await;
    let bundle = running.bundle(&plane).await;
    let agents: Vec<_> = (0..8)
        .map(|_| Agent::new(&bundle, running.clock.clone()))
        .collect();
    let outcomes =
        futures::future::join_all(agents.iter().map(|agent| agent.redeem(&bundle))).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let refused = outcomes.into_iter().filter_map(Result::err);
    assert!(
        refused
            .map(|refusal| refusal.code)
            .all(|code| code == "BUNDLE_ALREADY_USED")
    );
    running.stop().await;
}

#[tokio::test]
async fn a_bundle_for_a_recipient_opens_for_nobody_else_and_shows_no_identity() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    let plane = running.plane("zero", "edge").await;
    let identity = zen_seal::Identity::generate();
    let bundle_for = identity.recipient().to_string();
    let body = json!({"ttl_seconds": 600, "recipient": bundle_for});
    let issued = running
        .create(&format!("/v1/planes/{plane}/bundles"), body)
        .await;
    assert!(issued.get("identity").is_none());
    let sealed = text(&issued, "bundle");
    assert!(text(&issued, "install_command").contains(sealed.lines().nth(1).unwrap()));
    let bundle = Bundle::open(sealed.as_bytes(), &[identity]).unwrap();
    assert_eq!(bundle.expires_at_ms - bundle.issued_at_ms, 600_000);
    assert_eq!(bundle.control_plane_address, running.agents.to_string());
    let command = text(&issued, "install_command");
    assert!(command.contains(&bundle_for), "{command}");
    assert!(command.contains("--set zen-agent.enrollment.lock.enabled=true"));
    assert!(!command.contains("name: zen-enrollment-key"), "{command}");
    running.stop().await;
}

#[tokio::test]
async fn a_plane_is_installed_on_kubernetes_unless_another_form_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.http.url = Some("https://zen.example/mesh/".to_owned());
    config.install.image_registry = Some("mirror.example/zen".to_owned());
    let running = Running::start_with(config, clock()).await;
    let edge = running.plane("edge", "edge").await;
    let bundles = format!("/v1/planes/{edge}/bundles");
    let issued = running.create(&bundles, json!({})).await;
    let command = text(&issued, "install_command");
    for part in [
        "kubectl apply -f - <<'ZEN_MANIFESTS'",
        "helm upgrade --install zen-mesh zen-edge-plane --repo https://zen.example/mesh/charts ",
        "--namespace zen-mesh",
        "--set global.imageRegistry=mirror.example/zen",
        &format!("--set global.controlPlane.address={}", running.agents),
        &text(&issued, "identity"),
    ] {
        assert!(command.contains(part), "{part}: {command}");
    }
    assert!(issued.get("manifests").is_none());
    let body = json!({ "form": "gitops", "components": ["egress", "lock"], "namespace": "shop" });
    let issued = running.create(&bundles, body).await;
    assert!(text(&issued, "values").contains("zen-lock:\n  enabled: true"));
    let identity = text(&issued, "identity");
    assert!(!text(&issued, "manifests").contains(&identity));
    assert!(!text(&issued, "values").contains(&identity));
    assert!(text(&issued, "install_command").contains(&identity));
    let issued = running
        .create(&bundles, json!({ "form": "edge_lite" }))
        .await;
    assert!(text(&issued, "install_command").contains("zen edge run"));

    let data = running.plane("data", "data").await;
    let data = format!("/v1/planes/{data}/bundles");
    for (path, body, field) in [
        (&bundles, json!({ "form": "helm" }), "form"),
        (
            &bundles,
            json!({ "components": ["bridge"] }),
            "components.0",
        ),
        (&bundles, json!({ "namespace": "Shop" }), "namespace"),
        (
            &bundles,
            json!({ "form": "edge_lite", "components": ["egress"] }),
            "components",
        ),
        (&data, json!({ "form": "edge_lite" }), "form"),
        (&data, json!({ "components": ["egress"] }), "components"),
    ] {
        let (status, problem) = running.call("POST", path, Some(body)).await;
        assert_eq!(status, 422, "{problem}");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    running.stop().await;
}

fn recovery(agent: &Agent) -> RecoverRequest {
    let at = agent.clock.unix_ms();
    let mut signed = format!("zen recover v1\n{}\n", agent.plane).into_bytes();
    signed.extend_from_slice(&at.to_be_bytes());
    RecoverRequest {
        plane_id: agent.plane.clone(),
        csr: agent.key.csr("plane").unwrap().into(),
        agent_time_ms: at,
        proof: agent.key.sign(&signed).unwrap().into(),
    }
}

#[tokio::test]
async fn a_known_key_recovers_a_counted_number_of_times_and_a_stranger_never() {
    let folder = tempfile::tempdir().unwrap();
    let settings = zen_control_plane::Config {
        recovery_budget: 2,
        ..config(folder.path())
    };
    let running = Running::start_with(settings, clock()).await;
    let plane = running.plane("asleep", "edge").await;
    let agent = running.enrol(&plane).await;
    let ask = async |agent: &Agent| {
        let answer = agent
            .enrollment()
            .recover(recovery(agent))
            .await
            .unwrap()
            .into_inner();
        match answer.outcome.unwrap() {
            Outcome::Enrolled(enrolled) => Ok(enrolled),
            Outcome::Refusal(refusal) => Err(refusal.code),
        }
    };
    for _ in 0..2 {
        assert_eq!(ask(&agent).await.unwrap().plane_ca_chain.len(), 1);
    }
    assert_eq!(ask(&agent).await.unwrap_err(), "BUNDLE_ALREADY_USED");
    let stranger = Agent {
        key: zen_identity::PrivateKey::generate().unwrap(),
        ..agent
    };
    assert_eq!(ask(&stranger).await.unwrap_err(), "BUNDLE_ALREADY_USED");
    let shown = running.get(&format!("/v1/planes/{plane}")).await;
    let refused: Vec<_> = codes(&shown);
    assert_eq!(
        refused,
        ["BUNDLE_ALREADY_USED"],
        "a stranger writes nothing"
    );
    running.stop().await;
}
