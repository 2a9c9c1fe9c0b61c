//! The doctor before each fault, with real parts: the exact table that people see.

mod api_server;
mod golden;
mod roads;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use zen_agent::doctor::{Enrolment, Outcome, Plan, ProxyOfEnvironment, Report, examine};
use zen_agent::kubernetes::KubernetesConfig;
use zen_agent::{Config, State};
use zen_chassis::{Clock, Random};
use zen_identity::Trust;
use zen_proto::ids::{Id as _, PlaneId};

use crate::control_plane::{ControlPlane, DAY, Issued};
use crate::rig::Home;
use api_server::{ApiServer, kubeconfig};
use roads::{BlackHole, closed_port, interceptor, proxy};

/// A host before its plane is enrolled, and the control plane that issued the bundle.
struct Ward {
    control_plane: ControlPlane,
    folder: tempfile::TempDir,
    plan: Plan,
}

impl Ward {
    async fn new() -> Self {
        Self::with(ControlPlane::start(Clock::system()).await)
    }

    fn with(control_plane: ControlPlane) -> Self {
        // In memory: how fast this machine's disk is, is not what is tested.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let config = Config {
            state_dir: folder.path().join("state"),
            ..Config::default()
        };
        let mut plan = Plan::of(&config, Clock::system());
        plan.patience = Duration::from_secs(2);
        let ward = Self {
            control_plane,
            folder,
            plan,
        };
        ward.put(&ward.control_plane.issue());
        ward
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, issued: &Issued) {
        std::fs::create_dir_all(self.path("state/enrollment")).unwrap();
        std::fs::write(self.path("state/enrollment/bundle.age"), &issued.bundle).unwrap();
        std::fs::write(self.path("state/enrollment/identity.txt"), &issued.identity).unwrap();
    }

    fn address(&self) -> String {
        self.control_plane.facts().address.clone()
    }

    async fn examined(&self, golden: &str, names: &[(&str, &str)]) -> Report {
        let report = Box::pin(examine(&self.plan)).await;
        let (address, plane) = (self.address(), self.control_plane.facts().plane.to_string());
        let folder = self.folder.path().display().to_string();
        let root = &self.control_plane.facts().root;
        let root = zen_identity::chain_from_pem(&root.cert_pem()).unwrap();
        let root = zen_identity::issuer(&root[0]).unwrap();
        let mut all = names.to_vec();
        all.extend([
            (address.as_str(), "CONTROL-PLANE:8443"),
            (plane.as_str(), "pl_PLANE"),
            (folder.as_str(), "/DIR"),
            (root.as_str(), "CN=zen.test root"),
        ]);
        golden::compare(golden, &report, &all);
        report
    }
}

fn named(value: String) -> Option<ProxyOfEnvironment> {
    Some(ProxyOfEnvironment {
        variable: "HTTPS_PROXY".to_owned(),
        value,
        exempt: "localhost".to_owned(),
    })
}

#[tokio::test]
async fn all_is_well_before_enrolling() {
    let ward = Ward::new().await;
    let report = ward.examined("well", &[]).await;
    assert!(!report.failed());
    // Nothing was redeemed: the bundle is still there, and the agent enrols with it.
    assert_eq!(report.json()["ok"], true);
    assert!(ward.path("state/enrollment/bundle.age").exists());
    assert_eq!(ward.control_plane.times_certified(), 0);
}

#[tokio::test]
async fn an_enrolled_plane_needs_no_bundle() {
    let mut ward = Ward::new().await;
    let home = Home::new();
    home.put(&ward.control_plane.issue());
    let mut agent = home.start().await;
    agent.reaches(State::Connected).await;
    agent.stop().await;
    ward.plan.enrolment = Plan::of(&home.config, Clock::system()).enrolment;
    ward.examined("enrolled", &[]).await;
    // A damaged identity is told, and nothing of it.
    std::fs::write(home.path("identity.json"), "{\"version\": \"secret\"").unwrap();
    let report = ward.examined("identity-damaged", &[]).await;
    assert!(!report.table().contains("secret"));
}

#[tokio::test]
async fn a_name_that_nobody_knows() {
    let mut ward = Ward::new().await;
    ward.plan.control_plane = Some("control-plane.invalid:8443".to_owned());
    ward.examined("dns-failed", &[]).await;
}

#[tokio::test]
async fn what_is_no_address() {
    let mut ward = Ward::new().await;
    ward.plan.control_plane = Some("https://control-plane.invalid".to_owned());
    ward.examined("address-invalid", &[]).await;
    ward.plan.control_plane = None;
    ward.plan.enrolment = Enrolment::Files {
        held: None,
        bundle: None,
        identity: None,
    };
    ward.examined("address-missing", &[]).await;
}

#[tokio::test]
async fn a_port_where_nobody_listens() {
    let mut ward = Ward::new().await;
    let closed = closed_port().await.to_string();
    ward.plan.control_plane = Some(closed.clone());
    let names = [(closed.as_str(), "CLOSED:8443")];
    ward.examined("tcp-refused", &names).await;
}

#[tokio::test]
async fn a_host_that_answers_nothing() {
    let mut ward = Ward::new().await;
    let hole = BlackHole::dig().await;
    let address = hole.address.to_string();
    ward.plan.control_plane = Some(address.clone());
    let begun = std::time::Instant::now();
    let names = [(address.as_str(), "BLACK-HOLE:8443")];
    ward.examined("tcp-timeout", &names).await;
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_proxy_that_opens_tls_is_recognised_and_its_issuer_named() {
    let mut ward = Ward::new().await;
    let root = &ward.control_plane.facts().root;
    let roots = Trust::new(root.trust_domain().clone(), &root.cert_pem(), []).unwrap();
    let address = interceptor(&ward.address(), roots).await.to_string();
    ward.plan.control_plane = Some(address.clone());
    let names = [(address.as_str(), "INTERCEPTOR:8443")];
    ward.examined("tls-intercepted", &names).await;
}

#[tokio::test]
async fn what_answers_without_tls() {
    let mut ward = Ward::new().await;
    // A proxy answers in plain HTTP, or hangs up.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let text = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            let _sent = tokio::io::AsyncWriteExt::write_all(&mut socket, text).await;
        }
    });
    ward.plan.control_plane = Some(address.clone());
    let names = [(address.as_str(), "PLAIN:8443")];
    ward.examined("tls-failed", &names).await;
}

#[tokio::test]
async fn another_control_plane_than_the_bundles() {
    let mut ward = Ward::new().await;
    let other = ControlPlane::start(Clock::system()).await;
    let address = other.facts().address.clone();
    ward.plan.control_plane = Some(address.clone());
    let issuer = zen_identity::chain_from_pem(&other.facts().root.cert_pem()).unwrap();
    let issuer = zen_identity::issuer(&issuer[0]).unwrap();
    let names = [
        (address.as_str(), "OTHER:8443"),
        (issuer.as_str(), "OTHER ROOT"),
    ];
    ward.examined("control-plane-untrusted", &names).await;
    // With nothing to judge by, that is said.
    ward.plan.enrolment = Enrolment::Files {
        held: None,
        bundle: None,
        identity: None,
    };
    ward.examined("tls-unverified", &names).await;
}

#[tokio::test]
async fn a_control_plane_whose_certificate_is_over() {
    let past = -i64::try_from(DAY.as_millis()).unwrap();
    let ward = Ward::with(ControlPlane::start(Clock::shifted(past)).await);
    let report = Box::pin(examine(&ward.plan)).await;
    let tls = report.rows().iter().find(|row| row.check == "tls").unwrap();
    let at = tls.detail.rsplit(' ').next().unwrap();
    // The bundle was issued a day ago too.
    let names = [(at, "YESTERDAY")];
    ward.examined("certificate-expired", &names).await;
}

#[tokio::test]
async fn a_clock_that_is_off() {
    let mut ward = Ward::new().await;
    ward.plan.clock = Clock::shifted(10 * 60 * 1_000);
    let names = [("599 s", "600 s"), ("601 s", "600 s")];
    ward.examined("clock-skew", &names).await;
    // So far off that the certificate seems over: the bundle is judged by the server's clock.
    ward.plan.clock = Clock::shifted(i64::try_from(DAY.as_millis()).unwrap());
    let names = [("86399 s", "86400 s"), ("86401 s", "86400 s")];
    ward.examined("clock-skew-of-a-day", &names).await;
}

#[tokio::test]
async fn only_a_proxy_leads_there() {
    let mut ward = Ward::new().await;
    let address = ward.address();
    let way = proxy(&[("cp.invalid:8443", &address)]).await.to_string();
    ward.plan.control_plane = Some("cp.invalid:8443".to_owned());
    ward.plan.environment = named(format!("http://{way}/"));
    let names = [(way.as_str(), "PROXY:3128")];
    ward.examined("proxy-required", &names).await;
    // One with a password cannot be used, and the password is not repeated.
    ward.plan.environment = named(format!("http://user:hunter2@{way}"));
    let report = ward.examined("proxy-with-password", &names).await;
    assert!(!report.table().contains("hunter2"));
    ward.plan.environment = named(way.clone());
    // Set up to use it, all is well.
    ward.plan.proxy = Some(format!("http://{way}").parse().unwrap());
    ward.examined("proxy-used", &names).await;
    // It does not lead everywhere.
    ward.plan.control_plane = Some("elsewhere.invalid:8443".to_owned());
    ward.examined("proxy-failed", &names).await;
    ward.plan.proxy = None;
    ward.examined("proxy-no-help", &names).await;
}

#[tokio::test]
async fn a_proxy_that_the_agent_ignores() {
    let mut ward = Ward::new().await;
    let way = proxy(&[]).await.to_string();
    ward.plan.environment = named(way.clone());
    let names = [(way.as_str(), "PROXY:3128")];
    let report = ward.examined("proxy-ignored", &names).await;
    assert!(!report.failed());
}

#[tokio::test]
async fn bundles_that_are_no_good() {
    let mut ward = Ward::new().await;
    let expired = |bundle: &mut zen_seal::Bundle| {
        bundle.issued_at_ms -= 3_600_000;
        bundle.expires_at_ms -= 3_600_000;
    };
    ward.put(&ward.control_plane.issue_with(expired));
    ward.examined("bundle-expired", &[]).await;
    let good = ward.control_plane.issue();
    let wrong = ward.control_plane.issue();
    ward.put(&Issued {
        identity: wrong.identity,
        ..good
    });
    ward.examined("bundle-of-another-key", &[]).await;
    ward.put(&ward.control_plane.issue());
    let file = ward.path("state/enrollment/bundle.age");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, &text[..text.len() / 2]).unwrap();
    ward.examined("bundle-damaged", &[]).await;
    ward.put(&ward.control_plane.issue());
    let other = PlaneId::generate(1, Random::system().bytes());
    ward.plan.plane_id = Some(other);
    let other = other.to_string();
    ward.examined("plane-mismatch", &[(&other, "pl_OTHER")])
        .await;
    ward.plan.plane_id = None;
    std::fs::remove_file(ward.path("state/enrollment/identity.txt")).unwrap();
    ward.examined("bundle-half", &[]).await;
    ward.plan.lock = true;
    let report = ward.examined("bundle-for-zen-lock", &[]).await;
    assert!(!report.failed(), "zen-lock opens it");
    ward.plan.lock = false;
    std::fs::remove_file(&file).unwrap();
    let report = ward.examined("bundle-missing", &[]).await;
    assert!(!report.failed(), "an agent may wait for its bundle");
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_written() {
    let mut ward = Ward::new().await;
    std::fs::write(ward.path("file"), "").unwrap();
    ward.plan.storage = Some(ward.path("file/state"));
    ward.examined("storage-unwritable", &[]).await;
}

#[tokio::test]
async fn in_a_cluster_every_right_is_asked_for() {
    let mut ward = Ward::new().await;
    let issued = ward.control_plane.issue();
    let server = |denied: &[&'static str]| ApiServer {
        secrets: HashMap::from([
            (
                ("zen-enrollment", "bundle.age"),
                issued.bundle.clone().into_bytes(),
            ),
            (
                ("zen-enrollment-key", "identity.txt"),
                issued.identity.clone().into_bytes(),
            ),
        ]),
        denied: denied.to_vec(),
        no_reviews: false,
    };
    let within = |file: PathBuf| {
        let kubernetes = KubernetesConfig {
            kubeconfig: Some(file),
            ..KubernetesConfig::default()
        };
        let config = Config {
            kubernetes: Some(kubernetes),
            ..Config::default()
        };
        let mut plan = Plan::of(&config, Clock::system());
        plan.patience = Duration::from_secs(2);
        plan
    };
    ward.plan = within(server(&[]).start(ward.folder.path()).await);
    let report = ward.examined("rbac-granted", &[]).await;
    assert!(!report.failed());
    let denied = [
        "delete secrets zen-enrollment",
        "create tokenreviews",
        "update leases zen-agent",
        "patch configmaps zen-trust-bundle",
        "get secrets zen-agent-snapshot-0",
        "get secrets zen-agent-snapshot-1",
        "get secrets zen-agent-snapshot-2",
    ];
    ward.plan = within(server(&denied).start(ward.folder.path()).await);
    ward.examined("rbac-denied", &[]).await;
    let mut mute = server(&[]);
    mute.no_reviews = true;
    ward.plan = within(mute.start(ward.folder.path()).await);
    let report = ward.examined("rbac-unknown", &[]).await;
    assert!(!report.failed());
    let closed = closed_port().await.to_string();
    ward.plan = within(kubeconfig(ward.folder.path(), &closed));
    ward.plan.control_plane = Some(ward.address());
    ward.examined("kubernetes-unreachable", &[(&closed, "CLOSED:6443")])
        .await;
}

#[tokio::test]
async fn every_check_is_made_even_if_all_before_it_failed() {
    let mut ward = Ward::new().await;
    ward.plan.control_plane = Some("control-plane.invalid:8443,also.invalid:1".to_owned());
    std::fs::write(ward.path("state/enrollment/bundle.age"), "no bundle").unwrap();
    let report = Box::pin(examine(&ward.plan)).await;
    let checks: Vec<_> = report.rows().iter().map(|row| row.check).collect();
    let way = ["dns", "tcp", "proxy", "tls", "clock"];
    let rest = ["bundle", "storage", "rbac"];
    assert_eq!(checks, [&way[..], &way, &rest].concat());
    for row in report.rows() {
        assert_eq!(row.code.is_some(), row.outcome == Outcome::Fail, "{row:?}");
    }
}

#[tokio::test]
async fn an_agent_enrols_and_connects_through_its_proxy() {
    let control_plane = ControlPlane::start(Clock::system()).await;
    let way = proxy(&[("cp.invalid:8443", &control_plane.facts().address)]).await;
    let mut home = Home::new();
    home.put(&control_plane.issue_with(|bundle| {
        bundle.control_plane_address = "cp.invalid:8443".to_owned();
    }));
    home.config.proxy = Some(format!("http://{way}").parse().unwrap());
    let mut agent = home.start().await;
    agent.reaches(State::Connected).await;
    agent.stop().await;
}
