//! One attempt, from the ledger back to the ledger:
//! body → request (headers, signature, authorization) → guarded call → outcome → verdict → what
//! the ledger shall record.

mod headers;
mod retry_after;
mod sign;
mod test_call;
mod verdict;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use bytes::Bytes;
use http::header::{HeaderValue, RETRY_AFTER};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::connect::HttpInfo;
use prost::Message;
use tracing::{Instrument, Span};
use zen_chassis::chain::Chain;
use zen_chassis::clock::millis;
use zen_chassis::{Clock, Random, trace_context};
use zen_proto::delivery::v1::{Delivery, Event};
use zen_proto::purpose::Purpose;
use zen_proto::query::v1::Attempt;
use zen_proto::snapshot::v1::target_auth;
use zeroize::Zeroizing;

use crate::codes;
use crate::dial::{DialError, TargetClient};
use crate::ledger::{Due, Fate, Ledger, Settlement};
use crate::metrics::Metrics;
use crate::secrets::Secrets;
use crate::targets::{Flow, Reach, Target};
use headers::Added;
use sign::SigningKey;
use verdict::{Circumstances, Failure, Outcome, Verdict};

pub(crate) use verdict::RetryRule;

/// Bytes of an answer's body that are read, so that its connection can be used again.
const ANSWER_BODY: usize = 4 * 1024;
/// A secret that can be had and is not of the form that its use needs.
const MALFORMED: Failure = Failure::Secret(codes::SECRET_MALFORMED);

/// What every attempt needs.
pub(crate) struct Courier {
    pub(crate) ledger: Ledger,
    pub(crate) secrets: Secrets,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) metrics: Metrics,
}

/// One attempt that is about to be made.
pub(crate) struct Job {
    pub(crate) due: Due,
    pub(crate) target: Arc<Target>,
    pub(crate) flow: Arc<Flow>,
    /// The target's connections, or why there can be none.
    pub(crate) client: Result<TargetClient, String>,
}

/// What came of an attempt.
pub(crate) struct Attempted {
    pub(crate) settlement: Settlement,
    /// Whether the target was there; nothing if the attempt did not find out.
    pub(crate) reached: Option<bool>,
}

impl Courier {
    /// Makes one attempt.
    pub(crate) async fn attempt(&self, job: &Job) -> Attempted {
        let number = job.due.record.attempts.saturating_add(1);
        let span = tracing::info_span!(
            "attempt",
            delivery = %job.due.record.delivery_id,
            target = %job.target.id,
            number,
        );
        let started_at_ms = self.clock.unix_ms();
        let started = Instant::now();
        let (outcome, body) = self.deliver(job, number, &span).await;
        let verdict = verdict::judge(&outcome);
        let took = started.elapsed();
        self.metrics.attempted(verdict == Verdict::Delivered, took);
        let (status, detail) = match outcome {
            Outcome::Answered { status, .. } => (status, String::new()),
            Outcome::Failed { ref detail, .. } => (0, detail.clone()),
        };
        let attempt = Attempt {
            number,
            started_at_ms,
            duration_ms: u32::try_from(millis(took)).unwrap_or(u32::MAX),
            status: status.into(),
            code: verdict.code().to_owned(),
            detail,
        };
        let at_ms = self.clock.unix_ms();
        let circumstances = Circumstances {
            attempts: number.saturating_sub(job.due.attempts_before),
            now_ms: at_ms,
            expires_at_ms: job.due.expires_at_ms,
            fraction: self.random.fraction(),
            fingerprint: job.target.fingerprint,
        };
        let fate = verdict::fate(verdict, job.flow.retry, circumstances);
        tell(&span, &attempt, &fate);
        let settlement = Settlement {
            sequence: job.due.sequence,
            attempt: Some(attempt),
            fate,
            body,
            at_ms,
        };
        Attempted {
            settlement,
            reached: outcome.reached(),
        }
    }

    /// From the ledger to the outcome. Gives the body back if it was read.
    async fn deliver(&self, job: &Job, number: u32, span: &Span) -> (Outcome, Option<Bytes>) {
        let body = match self.ledger.body(job.due.sequence).await {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(error = %Chain(&error), "body of a delivery lost");
                return (failed(Failure::Body, &error), None);
            }
        };
        let event = match Delivery::decode(body.clone()).map(|delivery| delivery.event) {
            Ok(event) => event.unwrap_or_default(),
            Err(error) => return (failed(Failure::Body, &error), Some(body)),
        };
        let outcome = match self.request(job, &event, number, span) {
            // Not before: a span that was entered takes no other parent.
            Ok((client, request)) => {
                let limit = job.target.timeout;
                let called = self.call(client, request, limit);
                called.instrument(span.clone()).await.outcome
            }
            Err(outcome) => outcome,
        };
        (outcome, Some(body))
    }

    /// Composes the request.
    fn request<'j>(
        &self,
        job: &'j Job,
        event: &Event,
        number: u32,
        span: &Span,
    ) -> Result<(&'j TargetClient, Request<Full<Bytes>>), Outcome> {
        let client = job.client.as_ref().map_err(|why| invalid(why))?;
        // The first attempt belongs to the trace of its event; a later one only points to it.
        if number == 1 {
            trace_context::continue_from(span, &event.traceparent);
        } else {
            trace_context::link_to(span, &event.traceparent);
        }
        let traceparent = trace_context::outgoing(span, &event.traceparent);
        let delivery_id = &job.due.record.delivery_id;
        let request = self.compose(&job.target, event, delivery_id, number, &traceparent)?;
        Ok((client, request))
    }

    /// The request that brings an event to a target: the one way there is, for a delivery and for
    /// a test.
    fn compose(
        &self,
        target: &Target,
        event: &Event,
        delivery_id: &str,
        number: u32,
        traceparent: &str,
    ) -> Result<Request<Full<Bytes>>, Outcome> {
        let Reach { uri, .. } = target.reach.as_ref().map_err(|why| invalid(why))?;
        let now_ms = self.clock.unix_ms();
        let added = Added {
            delivery_id,
            event_id: &event.event_id,
            attempt: number,
            traceparent,
            signature: self.signature(target, delivery_id, &event.body, now_ms)?,
            authorization: self.authorization(target, now_ms)?,
        };
        let mut request = Request::new(Full::new(event.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers::compose(event, added);
        Ok(request)
    }

    /// The timestamp and signatures of a target that has signing secrets.
    fn signature(
        &self,
        target: &Target,
        id: &str,
        body: &[u8],
        now_ms: u64,
    ) -> Result<Option<(u64, String)>, Outcome> {
        if target.signing_secrets.is_empty() {
            return Ok(None);
        }
        let mut keys = Vec::with_capacity(target.signing_secrets.len());
        for reference in &target.signing_secrets {
            let secret = self
                .secrets
                .get(reference, Purpose::TargetSigning, now_ms)
                .map_err(|e| failed(Failure::Secret(e.code()), &e))?;
            keys.push(SigningKey::parse(&secret).map_err(|e| failed(MALFORMED, &e))?);
        }
        let timestamp = now_ms / 1000;
        Ok(Some((
            timestamp,
            sign::signature(&keys, id, timestamp, body),
        )))
    }

    /// The value of `Authorization` that a target wants.
    fn authorization(&self, target: &Target, now_ms: u64) -> Result<Option<HeaderValue>, Outcome> {
        let Some(kind) = target.auth.as_ref().and_then(|auth| auth.kind.as_ref()) else {
            return Ok(None);
        };
        let (scheme, reference) = match kind {
            target_auth::Kind::Bearer(reference) => ("Bearer ", reference),
            target_auth::Kind::Basic(reference) => ("Basic ", reference),
        };
        let secret = self
            .secrets
            .get(reference, Purpose::TargetAuth, now_ms)
            .map_err(|e| failed(Failure::Secret(e.code()), &e))?;
        let mut text = Zeroizing::new(scheme.as_bytes().to_vec());
        match kind {
            target_auth::Kind::Bearer(_) => text.extend_from_slice(secret.expose()),
            target_auth::Kind::Basic(_) => {
                let encoded = base64::engine::general_purpose::STANDARD.encode(secret.expose());
                text.extend_from_slice(Zeroizing::new(encoded).as_bytes());
            }
        }
        let mut value = HeaderValue::from_bytes(&text).map_err(|e| failed(MALFORMED, &e))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// The call itself, within `limit`.
    async fn call(
        &self,
        client: &TargetClient,
        request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> Called {
        let exchange = async {
            let answer = client.request(request).await.map_err(|e| classify(&e))?;
            let status = answer.status().as_u16();
            let info = answer.extensions().get::<HttpInfo>();
            let remote = info.map(HttpInfo::remote_addr);
            let now_ms = self.clock.unix_ms();
            let retry_after = answer
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok())
                .and_then(|value| retry_after::parse(value, now_ms));
            Ok((
                Outcome::Answered {
                    status,
                    retry_after,
                },
                remote,
                answer.into_body(),
            ))
        };
        let deadline = tokio::time::Instant::now() + limit;
        match tokio::time::timeout_at(deadline, exchange).await {
            Ok(Ok((outcome, remote, body))) => {
                // What it says beyond its status decides nothing.
                let _read = tokio::time::timeout_at(deadline, drain(body)).await;
                Called { outcome, remote }
            }
            Ok(Err(outcome)) => Called::unanswered(outcome),
            Err(_) => Called::unanswered(Outcome::Failed {
                failure: Failure::Timeout,
                detail: format!("no answer within {} ms", limit.as_millis()),
            }),
        }
    }
}

/// What came of a call.
struct Called {
    outcome: Outcome,
    /// Who answered.
    remote: Option<SocketAddr>,
}

impl Called {
    const fn unanswered(outcome: Outcome) -> Self {
        Self {
            outcome,
            remote: None,
        }
    }
}

/// Reads the start of an answer's body and drops it.
async fn drain(mut body: hyper::body::Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > ANSWER_BODY {
            return;
        }
    }
}

fn invalid(why: &str) -> Outcome {
    Outcome::Failed {
        failure: Failure::TargetInvalid,
        detail: why.to_owned(),
    }
}

fn failed(failure: Failure, error: &(dyn Error + 'static)) -> Outcome {
    Outcome::Failed {
        failure,
        detail: Chain(error).to_string(),
    }
}

/// Finds among the sources of a client's error why there was no answer.
fn classify(error: &hyper_util::client::legacy::Error) -> Outcome {
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = next {
        if let Some(dial) = cause.downcast_ref::<DialError>() {
            return failed(undialled(dial), dial);
        }
        next = cause.source();
    }
    // What else fails while connecting is the handshake.
    let failure = if error.is_connect() {
        Failure::Tls
    } else {
        Failure::ConnectionLost
    };
    failed(failure, error)
}

/// The stable code of a connection that did not come about.
pub(crate) fn code_of(error: &(dyn Error + Send + Sync + 'static)) -> &'static str {
    let failure = error
        .downcast_ref::<DialError>()
        .map_or(Failure::Tls, undialled);
    let detail = String::new();
    verdict::judge(&Outcome::Failed { failure, detail }).code()
}

/// Why there is no connection, as a failure of the attempt.
const fn undialled(error: &DialError) -> Failure {
    match error {
        DialError::Refused(_) => Failure::AddressRefused,
        DialError::NoHost => Failure::TargetInvalid,
        DialError::Resolve(_) | DialError::Connect(_) => Failure::Unreachable,
    }
}

fn tell(span: &Span, attempt: &Attempt, fate: &Fate) {
    let _entered = span.enter();
    let Attempt {
        status,
        code,
        detail,
        ..
    } = attempt;
    match fate {
        Fate::Delivered => tracing::debug!(status, "delivered"),
        Fate::Retry { due_ms } => tracing::info!(status, code, detail, due_ms, "attempt failed"),
        Fate::DeadLetter { code: dead, pause } => {
            tracing::warn!(
                status,
                code,
                detail,
                dead,
                paused = pause.is_some(),
                "dead letter"
            );
        }
    }
}

/// What the ledger records of a delivery that is given up without an attempt.
pub(crate) fn given_up(due: &Due, code: &'static str, now_ms: u64) -> Settlement {
    debug_assert!(
        codes::DEAD_LETTER.contains(&code),
        "{code} is no code of a dead letter"
    );
    Settlement {
        sequence: due.sequence,
        attempt: None,
        fate: Fate::DeadLetter { code, pause: None },
        body: None,
        at_ms: now_ms,
    }
}
