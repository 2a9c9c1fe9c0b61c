//! Stable codes of what can go wrong with a delivery, as operators see them.

/// A delivery that can never be taken: told to the ingester that sent it.
pub(crate) const DELIVERY_INVALID: &str = "DELIVERY_INVALID";
/// A parcel of a bridge that cannot be read: kept as a dead letter.
pub(crate) const PARCEL_UNREADABLE: &str = "PARCEL_UNREADABLE";
/// Its time was over before it was delivered.
pub(crate) const DELIVERY_EXPIRED: &str = "DELIVERY_EXPIRED";
/// Every attempt that the flow allows has failed.
pub(crate) const RETRIES_EXHAUSTED: &str = "RETRIES_EXHAUSTED";
/// The configuration knows no such target or flow, and had time to.
pub(crate) const TARGET_UNKNOWN: &str = "TARGET_UNKNOWN";
/// The target or the flow belongs to another tenant than the event.
pub(crate) const TENANT_MISMATCH: &str = "TENANT_MISMATCH";
/// The body cannot be read from the disk any more.
pub(crate) const BODY_UNREADABLE: &str = "BODY_UNREADABLE";
/// The target's configuration cannot be used.
pub(crate) const TARGET_INVALID: &str = "TARGET_INVALID";
/// The target's name leads to an address that may not be called.
pub(crate) const TARGET_ADDRESS_REFUSED: &str = "TARGET_ADDRESS_REFUSED";
/// Nobody answers at the target's address, or its name leads nowhere.
pub(crate) const TARGET_UNREACHABLE: &str = "TARGET_UNREACHABLE";
/// The TLS handshake with the target failed.
pub(crate) const TARGET_TLS_FAILED: &str = "TARGET_TLS_FAILED";
/// The connection broke before an answer came.
pub(crate) const TARGET_CONNECTION_LOST: &str = "TARGET_CONNECTION_LOST";
/// No answer within the target's time.
pub(crate) const TARGET_TIMEOUT: &str = "TARGET_TIMEOUT";
/// The target answered 408, 425, 429 or 5xx.
pub(crate) const TARGET_ERROR: &str = "TARGET_ERROR";
/// The target answered 4xx: the same again would get the same answer.
pub(crate) const TARGET_REJECTED: &str = "TARGET_REJECTED";
/// The target answered 3xx; redirects are not followed.
pub(crate) const TARGET_REDIRECTED: &str = "TARGET_REDIRECTED";
/// The target answered 410: it wants no further deliveries.
pub(crate) const TARGET_GONE: &str = "TARGET_GONE";
/// A secret that the target needs can be had and is not of the form that its use needs; one that
/// cannot be had brings its own code.
pub(crate) const SECRET_MALFORMED: &str = "SECRET_MALFORMED";

/// Every code a dead letter can carry: the closed set of a metric's label.
pub(crate) const DEAD_LETTER: [&str; 10] = [
    PARCEL_UNREADABLE,
    DELIVERY_EXPIRED,
    RETRIES_EXHAUSTED,
    TARGET_UNKNOWN,
    TENANT_MISMATCH,
    BODY_UNREADABLE,
    TARGET_ADDRESS_REFUSED,
    TARGET_REJECTED,
    TARGET_REDIRECTED,
    TARGET_GONE,
];
