//! A call to a target because somebody wants to see it answer: the request, its signature, its
//! authorization and the guard are those of a delivery; only the event is made here, and nothing
//! is kept.

use std::time::{Duration, Instant};

use http::HeaderValue;
use serde_json::json;
use zen_chassis::clock::millis;
use zen_proto::delivery::v1::{Event, Header};
use zen_proto::ids::{DeliveryId, EventId, Id};
use zen_proto::query::v1::TestCalled;

use super::verdict::{self, Outcome};
use super::{Called, Courier, invalid};
use crate::dial::TargetClient;
use crate::targets::Target;

/// A person waits no longer than this, whatever the target's own time is.
const LONGEST: Duration = Duration::from_secs(15);
/// Tells a test from a delivery.
const MARK: &str = "x-zen-test";

impl Courier {
    /// Calls the target once.
    pub(crate) async fn test(
        &self,
        target: &Target,
        client: Result<TargetClient, String>,
    ) -> TestCalled {
        let started = Instant::now();
        let called = match self.test_request(target, client) {
            Ok((client, mut request)) => {
                request
                    .headers_mut()
                    .insert(MARK, HeaderValue::from_static("1"));
                self.call(&client, request, target.timeout.min(LONGEST))
                    .await
            }
            Err(outcome) => Called::unanswered(outcome),
        };
        let duration_ms = u32::try_from(millis(started.elapsed())).unwrap_or(u32::MAX);
        let code = verdict::judge(&called.outcome).code().to_owned();
        let (status, detail) = match called.outcome {
            Outcome::Answered { status, .. } => (status.into(), String::new()),
            Outcome::Failed { detail, .. } => (0, detail),
        };
        TestCalled {
            status,
            code,
            detail,
            duration_ms,
            remote_address: called.remote.map(|at| at.to_string()).unwrap_or_default(),
        }
    }

    fn test_request(
        &self,
        target: &Target,
        client: Result<TargetClient, String>,
    ) -> Result<
        (
            TargetClient,
            http::Request<http_body_util::Full<bytes::Bytes>>,
        ),
        Outcome,
    > {
        let client = client.map_err(|why| invalid(&why))?;
        let now_ms = self.clock.unix_ms();
        let event_id = EventId::generate(now_ms, self.random.bytes()).to_string();
        let delivery_id = DeliveryId::generate(now_ms, self.random.bytes()).to_string();
        let body = json!({
            "type": "zen.test",
            "id": event_id,
            "timestamp_ms": now_ms,
            "data": { "target_id": target.id.to_string() },
        });
        let event = Event {
            version: 1,
            event_id,
            tenant_id: target.tenant_id.clone(),
            accepted_at_ms: now_ms,
            headers: vec![Header {
                name: "content-type".to_owned(),
                value: "application/json".into(),
            }],
            body: body.to_string().into(),
            ..Event::default()
        };
        let request = self.compose(target, &event, &delivery_id, 1, "")?;
        Ok((client, request))
    }
}
