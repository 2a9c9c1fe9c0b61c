//! Every stable code a person may meet in pages, answers and logs: what it means, and what to do.
//! The guide shows them as one table; deliveries, targets and forms show the remedy of one.

use zen_proto::codes::{RefusalCode, SecretCode};

/// Where a code is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// An agent was not let in.
    Enrolment,
    /// An ingester did not take a webhook.
    Intake,
    /// An attempt failed, or a delivery became a dead letter.
    Delivery,
    /// A bridge did not take a parcel.
    Relay,
    /// An agent did not take a snapshot.
    Snapshot,
    /// A secret does not open, or was not taken.
    Secret,
    /// A request to the API or a page was refused.
    Request,
}

impl Family {
    /// In the order of the guide.
    pub(super) const ALL: [Self; 7] = [
        Self::Enrolment,
        Self::Intake,
        Self::Delivery,
        Self::Relay,
        Self::Snapshot,
        Self::Secret,
        Self::Request,
    ];

    /// The heading above its codes.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Enrolment => "Enrolling and connecting a plane",
            Self::Intake => "Taking webhooks in",
            Self::Delivery => "Attempts and dead letters",
            Self::Relay => "Crossing the bridge",
            Self::Snapshot => "Applying configuration",
            Self::Secret => "Sealing and opening secrets",
            Self::Request => "Requests to the API",
        }
    }
}

/// A code with its meaning and remedy, one sentence each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code {
    pub(super) code: &'static str,
    pub(super) family: Family,
    pub(super) meaning: &'static str,
    pub(super) remedy: &'static str,
}

/// The code's meaning and remedy. Where two families share a code, that of `family` goes first.
pub(super) fn explained(family: Family, code: &str) -> Option<Code> {
    let mut found = all().filter(|known| known.code == code);
    let first = found.next();
    let own = first
        .into_iter()
        .chain(found)
        .find(|known| known.family == family);
    own.or(first)
}

/// What to do about a code met on a delivery or a call to a target; empty if it is not known here.
pub(super) fn remedy(code: &str) -> &'static str {
    explained(Family::Delivery, code).map_or("", |known| known.remedy)
}

/// Every code.
pub(super) fn all() -> impl Iterator<Item = Code> {
    let refusals = RefusalCode::ALL.iter().map(|refusal| Code {
        code: refusal.code(),
        family: Family::Enrolment,
        meaning: enrolment(*refusal),
        remedy: refusal.remedy(),
    });
    let rest = TABLE.iter().flat_map(|(family, rows)| {
        rows.iter().map(|[code, meaning, remedy]| Code {
            code,
            family: *family,
            meaning,
            remedy,
        })
    });
    let secrets = SecretCode::ALL.iter().map(|refused| Code {
        code: refused.code(),
        family: Family::Secret,
        meaning: secret(*refused),
        remedy: refused.remedy(),
    });
    refusals.chain(rest).chain(secrets)
}

const fn secret(code: SecretCode) -> &'static str {
    match code {
        SecretCode::Unknown => "there is no secret of this name",
        SecretCode::KeyUnknown => "the secret has no value of this name",
        SecretCode::NotAllowed => {
            "the secret does not allow whoever asked, or not for this purpose"
        }
        SecretCode::CallerUnknown => "whoever asked did not prove who it is",
        SecretCode::WrongRecipient => "it is sealed for a key that zen-lock does not hold",
        SecretCode::ScopeMismatch => "it was sealed for another plane, namespace or name",
        SecretCode::NotAge => "it is no age file",
        SecretCode::Truncated => "the age file ends too soon",
        SecretCode::Damaged => "it was changed after it was sealed",
        SecretCode::Malformed => "it is authentic, and yet no secret that is bound to a place",
        SecretCode::Version => "it is of a format that this zen-lock does not know",
        SecretCode::TooLarge => "it is larger than a secret may be",
        SecretCode::WriterUntrusted => "it is not signed by a writer that zen-lock trusts",
        SecretCode::NoIdentity => "zen-lock holds no identity",
        SecretCode::LockUnreachable => "zen-lock was not reached",
    }
}

const fn enrolment(code: RefusalCode) -> &'static str {
    match code {
        RefusalCode::BundleExpired => "the bundle's time was over, by the control plane's clock",
        RefusalCode::BundleAlreadyUsed => "another key redeemed the bundle before",
        RefusalCode::BundleSuperseded => "a newer bundle of the same plane was issued",
        RefusalCode::BundleUnreadable => "the bundle cannot be opened: wrong key, or damaged",
        RefusalCode::PlaneMismatch => "the bundle is for another plane than the agent's",
        RefusalCode::PlaneRetired => "the plane was taken out of service",
        RefusalCode::ControlPlaneUnreachable => "no connection to the control plane",
        RefusalCode::ControlPlaneUntrusted => "what answers is not the control plane",
        RefusalCode::ClockSkew => "the clocks of agent and control plane are far apart",
    }
}

/// Code, meaning, remedy, by family.
#[rustfmt::skip]
const TABLE: &[(Family, &[[&str; 3]])] = &[
    (Family::Intake, &[
        ["missing_header", "a header that the signature needs is missing", "choose the scheme that the provider really uses; see its documentation of signatures"],
        ["malformed", "the signature cannot be read", "choose the scheme that the provider really uses; a proxy may have changed the header"],
        ["timestamp_outside_window", "the signed time is too far from the ingester's clock", "set the ingester's clock (NTP), or raise the endpoint's tolerance"],
        ["no_match", "the signature does not match any of the endpoint's secrets", "put the provider's current signing secret into the named file; keep the old one beside it while it changes"],
        ["SOURCE_NOT_ALLOWED", "the sender's address is in none of the allowed networks", "add the provider's networks to the endpoint's allowed sources"],
        ["ENDPOINT_UNKNOWN", "there is no such endpoint on this plane", "copy the address from the endpoint's page again; a new one takes a moment to reach the plane"],
        ["ENDPOINT_REMOVED", "the endpoint was removed", "remove the webhook at the provider, or make a new endpoint"],
        ["METHOD_NOT_ALLOWED", "the method is not among those that the endpoint takes", "post, or add the method to the endpoint"],
        ["BODY_TOO_SLOW", "the body did not come in time", "the provider repeats it; if it stays so, look at the network between"],
        ["BODY_TOO_LARGE", "the body is larger than the endpoint takes", "raise the endpoint's largest body, up to 10 MiB"],
        ["BODY_UNREADABLE", "the body could not be read to its end", "the provider repeats it; if it stays so, look at the network between"],
        ["REQUEST_TIMEOUT", "the request took too long", "the provider repeats it; look at the ingester's load"],
        ["NOT_CONFIGURED", "the ingester has not received its configuration yet", "wait until the plane is connected once; the provider repeats"],
        ["ENDPOINT_MISCONFIGURED", "the endpoint's configuration cannot be followed", "open the endpoint and save it again; the ingester's log says what it cannot follow"],
        ["SECRET_UNAVAILABLE", "none of the endpoint's secrets can be read", "put the file into the ingester's secrets directory; it is read again without a restart"],
        ["SECRET_MALFORMED", "a secret is not of the form that the scheme wants", "copy the secret from the provider again, whole, without quotes"],
        ["STOPPING", "the ingester is stopping", "nothing: the provider repeats"],
        ["JOURNAL_FULL", "the ingester's disk space for events is used up", "free space or raise journal.max_size; see why deliveries wait"],
        ["JOURNAL_SLOW", "the ingester's disk does not keep up", "look at the disk; the provider repeats"],
    ]),
    (Family::Delivery, &[
        ["TARGET_ERROR", "the target answered 408, 425, 429 or 5xx", "look at the service's own log at that time; it is tried again by itself"],
        ["TARGET_TIMEOUT", "no answer within the target's time", "make the service answer first and work after, or raise the target's timeout"],
        ["TARGET_UNREACHABLE", "nobody answers at the address, or its name leads nowhere", "see that the service runs, and that the plane's egress can reach its name and port"],
        ["TARGET_TLS_FAILED", "the TLS handshake with the target failed", "renew the service's certificate, or give the target the private CA that signed it"],
        ["TARGET_CONNECTION_LOST", "the connection broke before an answer came", "look for restarts of the service or of a proxy before it; it is tried again by itself"],
        ["TARGET_INVALID", "the target's configuration cannot be used", "open the target and correct its address or CA"],
        ["TARGET_ADDRESS_REFUSED", "the target's name leads to an address that may not be called", "add the network to the target's allowed networks; metadata and link-local addresses are never called"],
        ["TARGET_REJECTED", "the target answered 4xx: the same again would get the same answer", "see what the service refuses, correct it, then replay"],
        ["TARGET_REDIRECTED", "the target answered 3xx; redirects are not followed", "give the target the address it redirects to, then replay"],
        ["TARGET_GONE", "the target answered 410: it wants no further deliveries", "change the target (it rests until then), or disable its flows"],
        ["TARGET_UNKNOWN", "the plane's configuration knows no such target or flow", "if it was removed on purpose, nothing; otherwise make it again and post anew"],
        ["RETRIES_EXHAUSTED", "every attempt that the flow allows has failed", "see the last attempt's code, mend that, then replay"],
        ["DELIVERY_EXPIRED", "its time was over before it was delivered", "see why the plane or its target was away so long; raise the retention if that is normal"],
        ["DELIVERY_INVALID", "what came from the ingester can never be delivered", "bring ingester and egress to the same version"],
        ["TENANT_MISMATCH", "target or flow belong to another tenant than the event", "this is refused for safety; tell the operator of the data plane"],
        ["PARCEL_UNREADABLE", "what came over the bridge cannot be read", "bring ingester and egress to the same version"],
        ["BODY_UNREADABLE", "the body cannot be read from the disk any more", "check the egress's disk; the event has to be sent again by its source"],
        ["SECRET_UNREADABLE", "a secret that the target needs cannot be had", "put the file into the egress's secrets directory; it is read again without a restart"],
    ]),
    (Family::Relay, &[
        ["PLANE_UNKNOWN", "the bridge does not serve this plane, or not yet", "see that the plane names this data plane; it is tried again by itself"],
        ["PARCEL_EXPIRED", "its time was over when it came", "see why it waited so long at the ingester"],
        ["LANE_FULL", "the plane's lane holds all it may", "bring the plane back; it is tried again by itself"],
        ["LANE_CLOSING", "the lane is being closed", "nothing: it is tried again by itself"],
        ["PARCEL_INVALID", "unknown version, malformed ids, or too large", "bring ingester and bridge to the same version"],
        ["COMPONENT_REFUSED", "a component of this kind may not speak to the bridge", "see which certificate the caller holds"],
    ]),
    (Family::Snapshot, &[
        ["SNAPSHOT_DIGEST", "what came is not what was signed", "nothing: it is sent again; if it stays so, look for a proxy between"],
        ["SNAPSHOT_MALFORMED", "the snapshot cannot be read", "bring agent and control plane to neighbouring versions"],
        ["SNAPSHOT_NOT_STORED", "the agent could not write it down", "free space on the agent's disk"],
        ["SNAPSHOT_OTHER_PLANE", "the snapshot is for another plane", "this is refused for safety; tell the operator of the control plane"],
        ["SNAPSHOT_SIGNATURE", "the signature does not hold", "this is refused for safety; look for a proxy that changes traffic"],
        ["SNAPSHOT_SIGNER", "it was signed by somebody who may not", "this is refused for safety; tell the operator of the control plane"],
        ["SNAPSHOT_STALE", "it is older than the one in force", "was the control plane's database set back? publish once more by changing something"],
        ["SNAPSHOT_TOO_LARGE", "it is larger than 16 MiB", "spread the flows over several planes"],
        ["SNAPSHOT_VERSION", "it is of a form that the agent does not know", "update the agent"],
    ]),
    (Family::Secret, &[
        ["SECRET_NEEDS_LOCK", "a secret is named as lock:<name>, and the plane runs no zen-lock", "enable zen-lock in the plane, or name a file (file:<name>)"],
        ["SECRET_IDENTITY_SENT", "what was sent is the key that opens secrets", "take another key into use, seal for that, and retire this one: it has left its machine"],
    ]),
    (Family::Request, &[
        ["UNAUTHENTICATED", "no key or session, or one that is not known", "send `Authorization: Bearer zen_…`, or sign in"],
        ["FORBIDDEN", "your role or the key's scopes do not allow this", "ask an owner of the tenant for the role, or use another key"],
        ["NOT_FOUND", "there is none, or it belongs to somebody else", "look at the list; it may have been removed"],
        ["QUERY_INVALID", "a parameter of the address is wrong", "see the detail, and the operation in this guide"],
        ["JSON_MALFORMED", "the body is not JSON", "see the detail for line and column"],
        ["MEDIA_TYPE_UNSUPPORTED", "the body is of another type", "send `content-type: application/json`"],
        ["VALIDATION_FAILED", "fields of the body have faults", "`errors` names every field and what is expected there"],
        ["NAME_TAKEN", "another one has this name", "choose another name"],
        ["IN_USE", "something else uses it", "the detail names what; disable or remove that first"],
        ["REMOVED", "it was removed", "make a new one"],
        ["PLANES_NOT_JOINED", "no data plane joins the planes of endpoint and target", "give the edge plane a data plane, or choose a target in the endpoint's own plane"],
        ["LIMIT_REACHED", "there are as many as there may be", "remove what is not used any more"],
        ["CHANGED_MEANWHILE", "it was changed by somebody else while you changed it", "look at it as it is now, and repeat the change"],
        ["PRECONDITION_FAILED", "`If-Match` names a version that is not the present one", "read it again and repeat the change"],
        ["IDEMPOTENCY_CONFLICT", "the `Idempotency-Key` was used with another body", "use a new key for a new request"],
        ["IDEMPOTENCY_IN_PROGRESS", "the first request with this `Idempotency-Key` is still under way", "repeat it a little later"],
        ["PLANE_NOT_CONNECTED", "the plane has no session, so it cannot be asked", "see the plane's page; it goes on delivering meanwhile"],
        ["PLANE_BUSY", "too many questions wait for the plane", "ask again in some seconds"],
        ["COMPONENT_ABSENT", "the plane runs no component that could answer", "start zen-egress (deliveries) or zen-ingester (endpoints) on the plane"],
        ["QUERY_TIMEOUT", "the plane did not answer in time", "ask again; narrow the list if it is long"],
        ["QUERY_FAILED", "the plane could not answer", "see the detail, and the component's log"],
        ["DATABASE_UNAVAILABLE", "the control plane's database does not answer", "look at the database; planes go on delivering, and this recovers by itself"],
        ["STORAGE_FULL", "the control plane's disk is full", "free space; nothing was half-written"],
        ["INTERNAL", "the control plane failed", "look at its log with the request's id"],
    ]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_said_once_a_family_with_meaning_and_remedy() {
        let mut seen = std::collections::HashSet::new();
        for Code {
            code,
            family,
            meaning,
            remedy,
        } in all()
        {
            assert!(seen.insert((code, family.title())), "{code} twice");
            assert!(!meaning.is_empty() && !remedy.is_empty(), "{code}");
            assert!(!meaning.ends_with('.') && !remedy.ends_with('.'), "{code}");
        }
    }

    #[test]
    fn a_code_that_two_families_share_is_explained_by_the_one_that_is_asked() {
        let found = |family| explained(family, "BODY_UNREADABLE").map(|code| code.family);
        assert_eq!(found(Family::Delivery), Some(Family::Delivery));
        assert_eq!(found(Family::Intake), Some(Family::Intake));
        assert_eq!(found(Family::Relay), Some(Family::Intake));
        assert_eq!(explained(Family::Relay, "NO_SUCH_CODE"), None);
    }
}
