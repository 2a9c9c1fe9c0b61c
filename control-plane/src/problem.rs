//! What went wrong with a request, as RFC 9457 wants it told: one type for every layer below the
//! handlers, with stable codes.

use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use zen_chassis::chain::Chain;

use crate::fields::{Fault, Faults};
use crate::live::AskError;
use crate::store::{StoreError, Trouble};

/// Seconds after which a caller may try again, unless a problem knows better.
const TRY_AGAIN: u32 = 2;

/// A refusal or failure as the caller is told (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The answer's status.
    pub(crate) status: StatusCode,
    /// Stable, UPPER_SNAKE.
    pub(crate) code: &'static str,
    /// The same for every problem of the code.
    pub(crate) title: &'static str,
    /// What is the matter this time.
    pub(crate) detail: String,
    /// Names the request: `urn:zen-mesh:request:` and the id that the answer's `x-request-id` has.
    pub(crate) instance: Option<Box<str>>,
    /// Faults of single fields.
    pub(crate) errors: Vec<Fault>,
    /// Seconds after which to try again, for `Retry-After`.
    pub(crate) retry_after: Option<u32>,
}

/// A problem as it is written; `type` is `urn:zen-mesh:problem:` and the code.
#[derive(Serialize)]
struct Told<'a> {
    r#type: String,
    status: u16,
    code: &'static str,
    title: &'static str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    errors: &'a [Fault],
}

impl Serialize for Problem {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let told = Told {
            r#type: format!("urn:zen-mesh:problem:{}", self.code),
            status: self.status.as_u16(),
            code: self.code,
            title: self.title,
            detail: &self.detail,
            instance: self.instance.as_deref(),
            errors: &self.errors,
        };
        told.serialize(to)
    }
}

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $status:ident, $code:literal, $title:literal;)*) => {
        impl Problem {
            $($(#[$doc])* pub(crate) fn $name(detail: impl Into<String>) -> Self {
                let status = StatusCode::$status;
                let waits = [
                    StatusCode::TOO_MANY_REQUESTS,
                    StatusCode::SERVICE_UNAVAILABLE,
                    StatusCode::INSUFFICIENT_STORAGE,
                ];
                Self {
                    status,
                    code: $code,
                    title: $title,
                    detail: detail.into(),
                    instance: None,
                    errors: Vec::new(),
                    retry_after: waits.contains(&status).then_some(TRY_AGAIN),
                }
            })*

            /// Every code with its status and title, for the documentation.
            pub(crate) const CODES: &'static [(&'static str, StatusCode, &'static str)] =
                &[$(($code, StatusCode::$status, $title),)*];
        }
    };
}

problems! {
    /// The e-mail address, password, code or link does not let anybody in.
    sign_in_wrong = FORBIDDEN, "SIGN_IN_FAILED", "You are not signed in";
    /// No key, or one that nobody holds.
    unauthenticated = UNAUTHORIZED, "UNAUTHENTICATED", "A valid API key is required";
    /// The key may not do this.
    forbidden = FORBIDDEN, "FORBIDDEN", "The API key may not do this";
    /// The page that sent it is another site's.
    cross_site = FORBIDDEN, "CROSS_SITE", "The request came from another site";
    /// Too many passwords are being checked.
    sign_in_busy = SERVICE_UNAVAILABLE, "SIGN_IN_BUSY", "Too many people are signing in";
    /// Too many tries.
    too_many = TOO_MANY_REQUESTS, "TOO_MANY_TRIES", "Too many tries";
    /// Somebody has the address.
    email_taken = CONFLICT, "EMAIL_TAKEN", "The e-mail address is taken";
    /// Nobody would be left who decides about people.
    last_owner = CONFLICT, "LAST_OWNER", "A tenant keeps an owner";
    /// There is none, or it is somebody else's.
    not_found = NOT_FOUND, "NOT_FOUND", "There is no such thing";
    /// The path is there, the method is not.
    method = METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "The method is not allowed here";
    /// A query parameter is wrong.
    query = BAD_REQUEST, "QUERY_INVALID", "A query parameter is invalid";
    /// A header is wrong.
    header = BAD_REQUEST, "HEADER_INVALID", "A header is invalid";
    /// The body is no JSON.
    json = BAD_REQUEST, "JSON_MALFORMED", "The body is not valid JSON";
    /// The body is of another type.
    media_type = UNSUPPORTED_MEDIA_TYPE, "MEDIA_TYPE_UNSUPPORTED", "The body must be application/json";
    /// The body is too large.
    too_large = PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", "The body is too large";
    /// The body did not come in time.
    too_slow = REQUEST_TIMEOUT, "REQUEST_TIMEOUT", "The request took too long";
    /// The body has faults.
    invalid = UNPROCESSABLE_ENTITY, "VALIDATION_FAILED", "The body has faults";
    /// What was sent as a sealed secret is no age file.
    secret_not_age = UNPROCESSABLE_ENTITY, "SECRET_NOT_AGE", "This is no sealed secret";
    /// What was sent is the key that opens secrets.
    secret_identity = UNPROCESSABLE_ENTITY, "SECRET_IDENTITY_SENT", "This is a key that opens secrets";
    /// The sealed text ends too soon.
    secret_truncated = UNPROCESSABLE_ENTITY, "SECRET_TRUNCATED", "The sealed secret is cut short";
    /// The sealed text was changed.
    secret_damaged = UNPROCESSABLE_ENTITY, "SECRET_DAMAGED", "The sealed secret is damaged";
    /// The sealed text is too large.
    secret_too_large = UNPROCESSABLE_ENTITY, "SECRET_TOO_LARGE", "The sealed secret is too large";
    /// The name is taken.
    name_taken = CONFLICT, "NAME_TAKEN", "The name is taken";
    /// It was changed meanwhile.
    changed = CONFLICT, "CHANGED_MEANWHILE", "It was changed meanwhile";
    /// It is at another version than the change is meant for.
    precondition = PRECONDITION_FAILED, "PRECONDITION_FAILED", "It is at another version";
    /// The key was used for another request.
    other_request = CONFLICT, "IDEMPOTENCY_CONFLICT", "The Idempotency-Key was used for another request";
    /// The first request with the key is not done.
    in_progress = CONFLICT, "IDEMPOTENCY_IN_PROGRESS", "The first request with this Idempotency-Key is under way";
    /// The first request with the key was carried out, its answer was lost.
    answer_lost = CONFLICT, "IDEMPOTENCY_ANSWER_LOST", "It was done already, but its answer is lost";
    /// Too many keys are remembered.
    too_many_keys = TOO_MANY_REQUESTS, "IDEMPOTENCY_KEYS_FULL", "Too many Idempotency-Keys are remembered";
    /// Something else uses it.
    in_use = CONFLICT, "IN_USE", "It is in use";
    /// It was removed.
    removed = CONFLICT, "REMOVED", "It was removed";
    /// The plane was retired.
    retired = CONFLICT, "PLANE_RETIRED", "The plane was retired";
    /// There is no way from one plane to the other.
    not_joined = CONFLICT, "PLANES_NOT_JOINED", "No data plane joins the two planes";
    /// There are as many as there may be.
    full = CONFLICT, "LIMIT_REACHED", "A limit is reached";
    /// A rotation is under way.
    root_under_way = CONFLICT, "ROOT_ROTATION_UNDER_WAY", "A root is announced already";
    /// The root is at another stage.
    root_stage = CONFLICT, "ROOT_STAGE", "The root's stage does not allow this";
    /// Planes would be left behind.
    root_awaited = CONFLICT, "ROOT_NOT_ACKNOWLEDGED", "Planes are not ready for this";
    /// The plane has no session.
    not_connected = CONFLICT, "PLANE_NOT_CONNECTED", "The plane is not connected";
    /// Too many questions wait for the plane.
    busy = SERVICE_UNAVAILABLE, "PLANE_BUSY", "Too many questions are waiting for the plane";
    /// The plane runs no component that could answer.
    absent = SERVICE_UNAVAILABLE, "COMPONENT_ABSENT", "The plane runs no component that could answer";
    /// The plane did not answer in time.
    query_timeout = GATEWAY_TIMEOUT, "QUERY_TIMEOUT", "The plane did not answer in time";
    /// The plane answered that it cannot.
    query_failed = BAD_GATEWAY, "QUERY_FAILED", "The plane could not answer";
    /// The database does not answer.
    database_unavailable = SERVICE_UNAVAILABLE, "DATABASE_UNAVAILABLE", "The database does not answer";
    /// The database has no room left.
    storage_full = INSUFFICIENT_STORAGE, "STORAGE_FULL", "The database has no room left";
    /// Our fault.
    internal = INTERNAL_SERVER_ERROR, "INTERNAL", "The control plane failed";
}

impl Problem {
    /// One field of the body is wrong.
    pub(crate) fn field(field: &str, detail: impl Into<String>) -> Self {
        let mut faults = Faults::default();
        faults.add(field, detail);
        faults.into()
    }

    /// The database failed under a request, which has changed nothing.
    fn of_trouble(error: &StoreError) -> Self {
        match error.trouble() {
            Trouble::Text => {
                return Self::invalid("a text must not contain the character U+0000");
            }
            Trouble::Unavailable | Trouble::Full | Trouble::Other => {
                tracing::error!(error = %Chain(error), "the store failed under a request");
            }
        }
        match error.trouble() {
            Trouble::Unavailable => Self::database_unavailable(
                "nothing was changed; agents stay connected and events flow on; try again soon",
            ),
            Trouble::Full => Self::storage_full(
                "nothing was changed; make room where the database lies, then try again",
            ),
            Trouble::Text | Trouble::Other => Self::internal("the store failed"),
        }
    }

    /// Seconds after which the caller may try again.
    pub(crate) fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(u32::try_from(seconds).unwrap_or(u32::MAX));
        self
    }

    /// The same, said of one request.
    pub(crate) fn of_request(mut self, id: &str) -> Self {
        self.instance = Some(Self::instance_of(id).into());
        self
    }

    /// How a problem names a request.
    pub(crate) fn instance_of(id: &str) -> String {
        format!("urn:zen-mesh:request:{id}")
    }

    /// There is no `noun` of this id for the caller.
    pub(crate) fn no_such(noun: &str, id: impl std::fmt::Display) -> Self {
        Self::not_found(format!("there is no {noun} {id}"))
    }
}

impl From<Faults> for Problem {
    fn from(faults: Faults) -> Self {
        let errors = faults.into_vec();
        let detail = errors
            .iter()
            .map(|fault| format!("{}: {}", fault.field, fault.detail))
            .collect::<Vec<_>>()
            .join("; ");
        Self {
            errors,
            ..Self::invalid(detail)
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NameTaken => Self {
                errors: vec![Fault {
                    field: "name".to_owned(),
                    detail: "taken".to_owned(),
                }],
                ..Self::name_taken("another one has this name")
            },
            StoreError::Changed => Self::changed("read it again and repeat the change"),
            error => Self::of_trouble(&error),
        }
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        match error {
            AskError::NotConnected => Self::not_connected(error.to_string()),
            AskError::Busy => Self::busy(error.to_string()),
            AskError::Timeout => Self::query_timeout(error.to_string()),
        }
    }
}

impl axum::response::IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let json = HeaderValue::from_static("application/problem+json");
        let mut response = (self.status, [(header::CONTENT_TYPE, json)], body).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, bearer);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // Pages make a page of it, and the API tells the request's id in it.
        response.extensions_mut().insert(self);
        response
    }
}
