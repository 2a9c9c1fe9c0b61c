//! The two webhooks: pods that ask for a secret are changed so that they find it, or refused with a
//! reason; ZenLocks that could not be opened are refused when they are written. Nothing is stored
//! and nothing is handed out here, so that a dry run is no different.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zen_chassis::chain::Chain;
use zen_proto::codes::SecretCode;

use super::certificates::Shown;
use super::cluster::Cluster;
use super::inject::{Means, Wish};
use super::zenlocks::{self, NotOpened};
use crate::core::Core;

/// A question of the API server and its answer (admission.k8s.io/v1).
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Review {
    api_version: String,
    kind: String,
    #[serde(default, skip_serializing)]
    request: Option<Asked>,
    #[serde(default, skip_deserializing)]
    response: Option<Answer>,
}

#[derive(Deserialize)]
pub(super) struct Asked {
    uid: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    object: Value,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    uid: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Why>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Why {
    code: u16,
    reason: &'static str,
    message: String,
}

/// What a webhook decided.
struct Decision {
    /// `allowed`, `changed`, or the code of the refusal: for metrics.
    outcome: &'static str,
    answer: Answer,
}

/// What both webhooks need.
pub(super) struct Webhooks {
    pub(super) core: Core,
    pub(super) cluster: Cluster,
    pub(super) shown: Shown,
    /// Of the init container; its authority is filled in when it is needed.
    pub(super) image: String,
    pub(super) server: String,
    pub(super) run_as_user: Option<i64>,
}

/// `/mutate-pods`
pub(super) async fn mutate_pods(
    State(webhooks): State<Arc<Webhooks>>,
    Json(review): Json<Review>,
) -> Json<Review> {
    let started = Instant::now();
    answered(&webhooks, "pods", started, review, async |asked| {
        webhooks.pod(asked).await
    })
    .await
}

/// `/validate-zenlocks`
pub(super) async fn validate_zenlocks(
    State(webhooks): State<Arc<Webhooks>>,
    Json(review): Json<Review>,
) -> Json<Review> {
    let started = Instant::now();
    answered(&webhooks, "zenlocks", started, review, async |asked| {
        webhooks.zenlock(asked).await
    })
    .await
}

async fn answered(
    webhooks: &Webhooks,
    webhook: &'static str,
    started: Instant,
    review: Review,
    decide: impl AsyncFnOnce(&Asked) -> Decision,
) -> Json<Review> {
    let Some(asked) = review.request else {
        return Json(Review {
            request: None,
            response: None,
            ..review
        });
    };
    let Decision { outcome, answer } = decide(&asked).await;
    let metrics = &webhooks.core.metrics;
    metrics.admitted(webhook, outcome, started.elapsed());
    let answer = Answer {
        uid: asked.uid,
        ..answer
    };
    Json(Review {
        api_version: review.api_version,
        kind: review.kind,
        request: None,
        response: Some(answer),
    })
}

impl Webhooks {
    async fn pod(&self, asked: &Asked) -> Decision {
        let pod = &asked.object;
        let wish = match Wish::of(pod) {
            Ok(None) => return allowed("allowed"),
            Ok(Some(wish)) => wish,
            Err(unfit) => return unfit_pod(&unfit.to_string()),
        };
        let account = service_account(pod);
        let (namespace, secret) = (&asked.namespace, &wish.secret);
        let opened =
            zenlocks::open_for(&self.core, &self.cluster, namespace, secret, account).await;
        match opened {
            Ok(_wiped) => {}
            Err(NotOpened::Refused(code)) => {
                let about = format!("ZenLock {secret} for service account {account}");
                return refused(code, &about);
            }
            Err(NotOpened::Api(error)) => {
                tracing::warn!(namespace, secret, error = %Chain(&error), "ZenLock not read");
                return unavailable(&format!("ZenLock {secret} could not be read; try again"));
            }
        }
        let Some(ca_pem) = self.shown.ca_pem() else {
            return unavailable("zen-lock has no certificate yet; try again");
        };
        let means = Means {
            image: self.image.clone(),
            server: self.server.clone(),
            ca: STANDARD.encode(ca_pem),
            run_as_user: self.run_as_user,
        };
        match wish.patch(pod, &means) {
            Ok(patch) if patch.is_empty() => allowed("allowed"),
            Ok(patch) => changed(patch.into()),
            Err(unfit) => unfit_pod(&unfit.to_string()),
        }
    }

    async fn zenlock(&self, asked: &Asked) -> Decision {
        let name = asked
            .object
            .pointer("/metadata/name")
            .and_then(Value::as_str);
        let name = name.unwrap_or(&asked.name).to_owned();
        let (core, namespace) = (self.core.clone(), asked.namespace.clone());
        let (object, about) = (asked.object.clone(), format!("ZenLock {name}"));
        let work = move || zenlocks::open(&core, &namespace, &name, &object);
        match self.core.pool.run(work).await {
            Some(Ok(opened)) if opened.secret.service_accounts.is_empty() => {
                let mut decision = allowed("allowed");
                let warning = "the secret names no service account, so that no pod may have it";
                decision.answer.warnings.push(warning.to_owned());
                decision
            }
            Some(Ok(_wiped)) => allowed("allowed"),
            // A zen-lock without keys would otherwise hold up every release.
            Some(Err(code @ SecretCode::NoIdentity)) => {
                let mut decision = allowed("allowed");
                let warning = format!("not checked: {code}, {}", code.remedy());
                decision.answer.warnings.push(warning);
                decision
            }
            Some(Err(code)) => refused(code, &about),
            None => unavailable("zen-lock is busy; try again"),
        }
    }
}

/// As whom a pod runs.
pub(super) fn service_account(pod: &Value) -> &str {
    let named = pod
        .pointer("/spec/serviceAccountName")
        .and_then(Value::as_str);
    named.filter(|name| !name.is_empty()).unwrap_or("default")
}

fn allowed(outcome: &'static str) -> Decision {
    let answer = Answer {
        allowed: true,
        ..Answer::default()
    };
    Decision { outcome, answer }
}

fn changed(patch: Value) -> Decision {
    let mut decision = allowed("changed");
    decision.answer.patch_type = Some("JSONPatch");
    decision.answer.patch = Some(STANDARD.encode(patch.to_string()));
    decision
}

/// The code says everything that may be said.
fn refused(code: SecretCode, about: &str) -> Decision {
    let message = format!("zen-lock: {about}: {code}: {}", code.remedy());
    denied(code.code(), 403, "Forbidden", message)
}

fn unfit_pod(why: &str) -> Decision {
    denied("POD_UNFIT", 422, "Invalid", format!("zen-lock: {why}"))
}

fn unavailable(why: &str) -> Decision {
    let message = format!("zen-lock: {why}");
    denied("UNAVAILABLE", 503, "ServiceUnavailable", message)
}

fn denied(outcome: &'static str, code: u16, reason: &'static str, message: String) -> Decision {
    let why = Why {
        code,
        reason,
        message,
    };
    Decision {
        outcome,
        answer: Answer {
            status: Some(why),
            ..Answer::default()
        },
    }
}
