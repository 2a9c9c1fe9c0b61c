//! Each refusal of a redemption stands on the plane's page: code, remedy, who tried and when.

use std::time::Duration;

use serde_json::{Value, json};
use zen_identity::{
    DialOptions, Expect, PrivateKey, Trust, channel, server_auth_only_client_config,
};
use zen_integration_tests::browser;
use zen_proto::codes::RefusalCode;
use zen_proto::enrollment::v1::enrollment_service_client::EnrollmentServiceClient;
use zen_proto::enrollment::v1::{RedeemRequest, redeem_response::Outcome};
use zen_proto::limits;
use zen_seal::{Bundle, Identity};

use crate::set::Set;

impl Set {
    async fn bundle(&self, plane: &str) -> Bundle {
        let path = format!("/v1/planes/{plane}/bundles");
        let body = json!({ "ttl_seconds": 300 });
        let issued: Value = self.api.post(&path, &body).await.unwrap();
        let identity = Identity::parse(issued["identity"].as_str().unwrap()).unwrap();
        Bundle::open(issued["bundle"].as_str().unwrap().as_bytes(), &[identity]).unwrap()
    }

    /// Redeems with a key of its own; `change` bends what an honest agent would ask.
    async fn redeem(
        &self,
        bundle: &Bundle,
        change: impl FnOnce(&mut RedeemRequest),
    ) -> Option<String> {
        let domain = bundle.trust_domain.parse().unwrap();
        let trust = Trust::new(domain, &bundle.trust_bundle_pem, []).unwrap();
        let config = server_auth_only_client_config(
            trust,
            Expect::control_plane(),
            self.clock.time_provider(),
        );
        let options = DialOptions::default();
        let channel = channel(&bundle.control_plane_address, config, options);
        let mut request = RedeemRequest {
            bundle_id: bundle.bundle_id.to_string(),
            token: bundle.token.expose().to_vec().into(),
            tenant_id: bundle.tenant_id.to_string(),
            plane_id: bundle.plane_id.to_string(),
            csr: PrivateKey::generate().unwrap().csr("plane").unwrap().into(),
            agent_version: "0.0.0-test".to_owned(),
            agent_time_ms: self.clock.unix_ms(),
        };
        change(&mut request);
        let mut client = EnrollmentServiceClient::new(channel);
        let answer = client.redeem(request).await.unwrap().into_inner();
        match answer.outcome.unwrap() {
            Outcome::Enrolled(_) => None,
            Outcome::Refusal(refusal) => Some(refusal.code),
        }
    }

    /// The plane's page says what was refused, to whom and when, and what to do.
    async fn shows(&self, plane: &str, code: RefusalCode) {
        self.visit.open(&format!("/planes/{plane}")).await;
        let browser = &self.visit.browser;
        browser.sees(code.code()).await.unwrap();
        browser.sees(code.remedy()).await.unwrap();
        let told = browser.ask(TOLD, json!([code.code()])).await.unwrap();
        let told = told.to_string();
        assert!(told.contains("127.0.0.1"), "{code}: who tried? {told}");
        assert!(told.contains("<time"), "{code}: when? {told}");
        browser.accessible().await.unwrap();
        browser.picture(&format!("refusal-{code}")).await.unwrap();
    }
}

/// The part of the page that tells of a code: the innermost banner or entry with it.
const TOLD: &str = "
    const all = [...document.querySelectorAll('[role=alert], .banner, li, tr')];
    return all.filter((part) => part.textContent.includes(arguments[0]))
        .map((part) => part.outerHTML);
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refused_redemption_is_shown_with_its_remedy_and_who_tried() {
    if !browser::available().unwrap() {
        return;
    }
    let set = Set::start("refusals").await;

    let plane = set.plane("used-twice").await;
    let bundle = set.bundle(&plane).await;
    assert_eq!(set.redeem(&bundle, |_| {}).await, None);
    let code = RefusalCode::BundleAlreadyUsed;
    refuses(&set, &bundle, code, |_| {}).await;
    set.shows(&plane, code).await;

    let plane = set.plane("superseded").await;
    let bundle = set.bundle(&plane).await;
    set.bundle(&plane).await;
    let code = RefusalCode::BundleSuperseded;
    refuses(&set, &bundle, code, |_| {}).await;
    set.shows(&plane, code).await;

    let plane = set.plane("mixed-up").await;
    let other = set.plane("other").await;
    let bundle = set.bundle(&plane).await;
    let code = RefusalCode::PlaneMismatch;
    refuses(&set, &bundle, code, |request| request.plane_id = other).await;
    set.shows(&plane, code).await;

    let plane = set.plane("wrong-clock").await;
    let bundle = set.bundle(&plane).await;
    let skew = u64::try_from(limits::CLOCK_SKEW.as_millis()).unwrap();
    let code = RefusalCode::ClockSkew;
    refuses(&set, &bundle, code, |request| {
        request.agent_time_ms += 2 * skew
    })
    .await;
    set.shows(&plane, code).await;

    let plane = set.plane("retired").await;
    let bundle = set.bundle(&plane).await;
    let path = format!("/v1/planes/{plane}");
    set.api.delete(&path).await.unwrap();
    let code = RefusalCode::PlaneRetired;
    refuses(&set, &bundle, code, |_| {}).await;
    set.shows(&plane, code).await;

    let plane = set.plane("late").await;
    let bundle = set.bundle(&plane).await;
    set.clock.advance(Duration::from_secs(301));
    let code = RefusalCode::BundleExpired;
    refuses(&set, &bundle, code, |_| {}).await;
    set.shows(&plane, code).await;

    set.visit.browser.content(&[]).await.unwrap();
    set.stop().await;
}

async fn refuses(
    set: &Set,
    bundle: &Bundle,
    code: RefusalCode,
    change: impl FnOnce(&mut RedeemRequest),
) {
    let answer = set.redeem(bundle, change).await;
    assert_eq!(answer.as_deref(), Some(code.code()));
}
