//! What enters the ledger, what it keeps of it, and what an attempt makes of it.

use bytes::Bytes;
use prost::Message;
use uuid::Uuid;
use zen_proto::delivery::v1::{Delivery, Refused};
use zen_proto::ids::{DeliveryId, FlowId, TargetId};
use zen_proto::limits;
use zen_proto::query::v1::{Attempt, DeliveryRecord, DeliveryStatus};
use zen_proto::relay::v1::{Parcel, Sealing};

use super::{LedgerError, Pause};
use crate::codes;

/// The newest attempts that a record keeps.
const HISTORY: usize = 20;
/// Characters of a detail that a record keeps.
const DETAIL: usize = 200;
/// Longest id of a kind that is only repeated, not looked up.
const FOREIGN_ID: usize = 64;

/// A delivery on its way into the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    pub(crate) delivery: DeliveryId,
    pub(crate) flow: FlowId,
    pub(crate) target: TargetId,
    pub(crate) event_id: String,
    pub(crate) tenant_id: String,
    pub(crate) endpoint_id: String,
    /// Unix milliseconds.
    pub(crate) expires_at_ms: u64,
    /// The encoded delivery; of an unreadable one, whatever came.
    pub(crate) body: Bytes,
    /// Why it can never be attempted: it becomes a dead letter at once.
    pub(crate) unreadable: Option<String>,
}

impl Incoming {
    /// A delivery as an ingester of the same plane hands it over.
    ///
    /// # Errors
    /// What the sender is told: it can never be taken.
    pub(crate) fn from_delivery(delivery: &Delivery) -> Result<Self, Refused> {
        let body = Bytes::from(delivery.encode_to_vec());
        Self::read(delivery, body).map_err(|detail| Refused {
            delivery_id: clip(&delivery.delivery_id, FOREIGN_ID),
            code: codes::DELIVERY_INVALID.to_owned(),
            detail,
        })
    }

    /// A delivery as a bridge hands it over. One that cannot be read is kept as a dead letter: the
    /// bridge forgets what is acknowledged, so this is the last place that knows of it.
    pub(crate) fn from_parcel(parcel: &Parcel) -> Self {
        Self::open(parcel).unwrap_or_else(|why| Self::stub(parcel, why))
    }

    fn open(parcel: &Parcel) -> Result<Self, String> {
        if parcel.version != 1 {
            return Err(format!(
                "parcel version {} is not known here",
                parcel.version
            ));
        }
        if parcel.sealing != Sealing::None as i32 {
            return Err(format!("sealing {} is not known here", parcel.sealing));
        }
        let delivery = Delivery::decode(parcel.content.clone())
            .map_err(|_| "the content is no delivery".to_owned())?;
        if delivery.delivery_id != parcel.delivery_id {
            return Err("the content is another delivery than the parcel names".to_owned());
        }
        Self::read(&delivery, parcel.content.clone())
    }

    fn stub(parcel: &Parcel, why: String) -> Self {
        // A parcel whose id is no id gets one of its own, the same at each repetition.
        let delivery = parcel.delivery_id.parse().unwrap_or_else(|_| {
            let mut seen = parcel.delivery_id.clone().into_bytes();
            seen.push(0);
            seen.extend_from_slice(&parcel.content);
            DeliveryId::from(Uuid::from_u128(digest128(&seen)))
        });
        let too_long = parcel.content.len() > limits::DELIVERY_MESSAGE;
        Self {
            delivery,
            flow: FlowId::from(Uuid::nil()),
            target: TargetId::from(Uuid::nil()),
            event_id: String::new(),
            tenant_id: clip(&parcel.tenant_id, FOREIGN_ID),
            endpoint_id: String::new(),
            expires_at_ms: parcel.expires_at_ms,
            body: if too_long {
                Bytes::new()
            } else {
                parcel.content.clone()
            },
            unreadable: Some(why),
        }
    }

    fn read(delivery: &Delivery, body: Bytes) -> Result<Self, String> {
        if delivery.version != 1 {
            return Err(format!(
                "delivery version {} is not known here",
                delivery.version
            ));
        }
        if body.len() > limits::DELIVERY_MESSAGE {
            return Err(format!(
                "{} bytes are more than a delivery may have",
                body.len()
            ));
        }
        let event = delivery.event.as_ref().ok_or("there is no event in it")?;
        if event.version != 1 {
            return Err(format!("event version {} is not known here", event.version));
        }
        for foreign in [&event.event_id, &event.tenant_id, &event.endpoint_id] {
            if foreign.len() > FOREIGN_ID {
                return Err("an id is too long".to_owned());
            }
        }
        Ok(Self {
            delivery: delivery
                .delivery_id
                .parse()
                .map_err(|e| format!("delivery_id: {e}"))?,
            flow: delivery
                .flow_id
                .parse()
                .map_err(|e| format!("flow_id: {e}"))?,
            target: delivery
                .target_id
                .parse()
                .map_err(|e| format!("target_id: {e}"))?,
            event_id: event.event_id.clone(),
            tenant_id: event.tenant_id.clone(),
            endpoint_id: event.endpoint_id.clone(),
            expires_at_ms: delivery.expires_at_ms,
            body,
            unreadable: None,
        })
    }
}

/// What an attempt, or the lack of one, made of a waiting delivery.
#[derive(Clone, Debug)]
pub(crate) struct Settlement {
    /// Which delivery.
    pub(crate) sequence: u64,
    /// The attempt that was made, if one was.
    pub(crate) attempt: Option<Attempt>,
    /// What follows.
    pub(crate) fate: Fate,
    /// Its encoded delivery, if at hand: a dead letter keeps it.
    pub(crate) body: Option<Bytes>,
    /// Now, Unix milliseconds.
    pub(crate) at_ms: u64,
}

/// What follows from an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The target has it.
    Delivered,
    /// Another attempt at this time, Unix milliseconds.
    Retry { due_ms: u64 },
    /// No further attempt.
    DeadLetter {
        /// Stable code.
        code: &'static str,
        /// The target shall not be called any more as it is configured now.
        pause: Option<Pause>,
    },
}

/// One row of the deliveries table.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Stored {
    /// What lists show.
    #[prost(message, required, tag = "1")]
    pub(super) shown: DeliveryRecord,
    /// Unix milliseconds.
    #[prost(uint64, tag = "2")]
    pub(super) expires_at_ms: u64,
    /// Attempts made before its last replay: the retry policy does not count them.
    #[prost(uint32, tag = "3")]
    pub(super) attempts_before: u32,
}

impl Stored {
    pub(super) fn new(incoming: &Incoming, now_ms: u64) -> Self {
        let mut shown = DeliveryRecord {
            delivery_id: incoming.delivery.to_string(),
            event_id: incoming.event_id.clone(),
            flow_id: incoming.flow.to_string(),
            target_id: incoming.target.to_string(),
            tenant_id: incoming.tenant_id.clone(),
            endpoint_id: incoming.endpoint_id.clone(),
            status: DeliveryStatus::Pending as i32,
            accepted_at_ms: now_ms,
            next_attempt_at_ms: now_ms,
            body_bytes: incoming.body.len() as u64,
            ..DeliveryRecord::default()
        };
        if let Some(why) = &incoming.unreadable {
            shown.status = DeliveryStatus::DeadLetter as i32;
            shown.settled_at_ms = now_ms;
            shown.next_attempt_at_ms = 0;
            codes::PARCEL_UNREADABLE.clone_into(&mut shown.code);
            // Not an attempt; the one place of a record where a reason in words fits.
            shown.history.push(Attempt {
                started_at_ms: now_ms,
                code: codes::PARCEL_UNREADABLE.to_owned(),
                detail: clip(why, DETAIL),
                ..Attempt::default()
            });
        }
        Self {
            shown,
            expires_at_ms: incoming.expires_at_ms,
            attempts_before: 0,
        }
    }

    /// A dead letter that waits again, due at `due_ms`, with at least `retention_ms` from then.
    pub(super) fn revive(&mut self, due_ms: u64, now_ms: u64, retention_ms: u64) {
        self.attempts_before = self.shown.attempts;
        self.expires_at_ms = self.expires_at_ms.max(due_ms.saturating_add(retention_ms));
        let shown = &mut self.shown;
        shown.status = DeliveryStatus::Pending as i32;
        shown.settled_at_ms = 0;
        shown.next_attempt_at_ms = due_ms;
        shown.code = String::new();
        shown.replays = shown.replays.saturating_add(1);
        shown.replayed_at_ms = now_ms;
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, LedgerError> {
        Self::decode(bytes).map_err(|_| LedgerError::Damaged("a record cannot be decoded"))
    }

    pub(super) fn is_pending(&self) -> bool {
        self.shown.status == DeliveryStatus::Pending as i32
    }

    /// Target, flow and delivery id as keys.
    pub(super) fn keys(&self) -> Result<Keys, LedgerError> {
        let damaged = LedgerError::Damaged("a record holds an id that is none");
        let keys = || -> Result<Keys, zen_proto::ids::IdError> {
            Ok(Keys {
                target: self.shown.target_id.parse::<TargetId>()?.uuid().as_u128(),
                flow: self.shown.flow_id.parse::<FlowId>()?.uuid().as_u128(),
                delivery: self
                    .shown
                    .delivery_id
                    .parse::<DeliveryId>()?
                    .uuid()
                    .as_u128(),
            })
        };
        keys().map_err(|_| damaged)
    }

    /// Notes an attempt, the newest last.
    pub(super) fn note(&mut self, attempt: &Attempt) {
        self.shown.attempts = attempt.number;
        let mut attempt = attempt.clone();
        attempt.detail = clip(&attempt.detail, DETAIL);
        self.shown.history.push(attempt);
        let surplus = self.shown.history.len().saturating_sub(HISTORY);
        self.shown.history.drain(..surplus);
    }
}

/// The keys of a record.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    pub(super) target: u128,
    pub(super) flow: u128,
    pub(super) delivery: u128,
}

/// The target behind a key.
pub(super) fn target_of(key: u128) -> TargetId {
    TargetId::from(Uuid::from_u128(key))
}

/// The flow behind a key.
pub(super) fn flow_of(key: u128) -> FlowId {
    FlowId::from(Uuid::from_u128(key))
}

fn clip(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

/// The first half of a SHA-256.
fn digest128(bytes: &[u8]) -> u128 {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .take(16)
        .fold(0, |value, byte| (value << 8) | u128::from(*byte))
}
