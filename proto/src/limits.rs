//! Every bound that two ends must agree on, in one place.
//! Sizes are bytes, times are `Duration`s.

use std::time::Duration;

/// Largest webhook body unless an endpoint says otherwise.
pub const BODY_DEFAULT: usize = 1024 * 1024;
/// Largest webhook body an endpoint may be given.
pub const BODY_HARD_CAP: usize = 10 * 1024 * 1024;
/// Largest block of HTTP headers.
pub const HEADER_BLOCK: usize = 32 * 1024;
/// Largest encoded snapshot.
pub const SNAPSHOT: usize = 16 * 1024 * 1024;
/// Largest message of a session.
pub const SESSION_MESSAGE: usize = 4 * 1024 * 1024;
/// Size a snapshot is cut to for the session; well under [`SESSION_MESSAGE`].
pub const SNAPSHOT_CHUNK: usize = 1024 * 1024;
/// Largest message between ingester, bridge and egress: one body at its hard cap, with room.
pub const DELIVERY_MESSAGE: usize = BODY_HARD_CAP + 2 * HEADER_BLOCK + 64 * 1024;
/// Bodies that a batch of deliveries gathers at the most, beyond its first.
pub const DELIVERY_BATCH_BYTES: usize = 1024 * 1024;
/// Deliveries in one batch.
pub const DELIVERY_BATCH: usize = 256;
/// Flows in one plane.
pub const FLOWS_PER_PLANE: usize = 10_000;
/// Time one filter may take.
pub const FILTER_TIME: Duration = Duration::from_millis(50);
/// Life of an enrolment bundle unless asked otherwise.
pub const BUNDLE_TTL: Duration = Duration::from_secs(30 * 60);
/// Shortest life of an enrolment bundle.
pub const BUNDLE_TTL_MIN: Duration = Duration::from_secs(5 * 60);
/// Longest life of an enrolment bundle.
pub const BUNDLE_TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Largest sealed bundle.
pub const BUNDLE: usize = 256 * 1024;
/// Largest sealed secret, armored.
pub const SECRET_SEALED: usize = 256 * 1024;
/// Largest single value of a secret.
pub const SECRET_VALUE: usize = 64 * 1024;
/// All values of a secret together.
pub const SECRET_VALUES: usize = 128 * 1024;
/// Values of one secret.
pub const SECRET_KEYS: usize = 64;
/// Service accounts that one secret names.
pub const SECRET_SERVICE_ACCOUNTS: usize = 64;
/// Recipients that one secret is sealed for.
pub const SECRET_RECIPIENTS: usize = 16;
/// Secrets of one plane in the control plane.
pub const SECRETS_PER_PLANE: usize = 1_000;
/// Sealed secrets of one plane together: they share the snapshot with everything else.
pub const SECRETS_PER_PLANE_BYTES: usize = 4 * 1024 * 1024;
/// Pause between an agent's heartbeats, before ± 20 % of jitter.
pub const HEARTBEAT: Duration = Duration::from_secs(15);
/// A session without a heartbeat for this long is not connected.
pub const HEARTBEAT_LOST: Duration = Duration::from_secs(45);
/// How far an agent's clock may be off before it is told so.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);
/// Validity of a plane CA; renewed at half.
pub const PLANE_CA_VALIDITY: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Validity of a component's leaf; renewed at half.
pub const LEAF_VALIDITY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an accepted delivery is kept on its way.
pub const DELIVERY_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Rows of one page of a list.
pub const PAGE: u32 = 500;
/// Dead letters replayed with one question.
pub const REPLAY_BATCH: u32 = 500;
/// Deliveries a second that a replay adds unless asked otherwise.
pub const REPLAY_RATE: u32 = 50;
/// The fastest replay.
pub const REPLAY_RATE_MAX: u32 = 1_000;
/// Targets that a status lists as not well.
pub const UNWELL_TARGETS: usize = 200;
/// Attempts of a delivery unless its flow says otherwise.
pub const MAX_ATTEMPTS: u32 = 5;
/// First pause between attempts unless a flow says otherwise.
pub const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
/// Longest pause between attempts unless a flow says otherwise.
pub const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// Time for one attempt unless its target says otherwise.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// How far a signed timestamp of a webhook may be off unless an endpoint says otherwise.
pub const SIGNATURE_TOLERANCE: Duration = Duration::from_secs(300);
