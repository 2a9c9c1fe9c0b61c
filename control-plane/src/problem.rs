//! What went wrong with a request, as RFC 9457 wants it told: one type for every layer below the
//! handlers, with stable codes.

use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use zen_chassis::chain::Chain;

use crate::fields::{Fault, Faults};
use crate::live::AskError;
use crate::store::StoreError;

/// A refusal or failure as the caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    #[serde(serialize_with = "number")]
    pub(crate) status: StatusCode,
    /// Stable, UPPER_SNAKE.
    pub(crate) code: &'static str,
    /// The same for every problem of the code.
    pub(crate) title: &'static str,
    /// What is the matter this time.
    pub(crate) detail: String,
    /// Faults of single fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<Fault>,
}

fn number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $status:ident, $code:literal, $title:literal;)*) => {
        impl Problem {
            $($(#[$doc])* pub(crate) fn $name(detail: impl Into<String>) -> Self {
                Self {
                    status: StatusCode::$status,
                    code: $code,
                    title: $title,
                    detail: detail.into(),
                    errors: Vec::new(),
                }
            })*
        }
    };
}

problems! {
    /// No key, or one that nobody holds.
    unauthenticated = UNAUTHORIZED, "UNAUTHENTICATED", "A valid API key is required";
    /// The key may not do this.
    forbidden = FORBIDDEN, "FORBIDDEN", "The API key may not do this";
    /// There is none, or it is somebody else's.
    not_found = NOT_FOUND, "NOT_FOUND", "There is no such thing";
    /// The path is there, the method is not.
    method = METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "The method is not allowed here";
    /// A query parameter is wrong.
    query = BAD_REQUEST, "QUERY_INVALID", "A query parameter is invalid";
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
    /// The name is taken.
    name_taken = CONFLICT, "NAME_TAKEN", "The name is taken";
    /// It was changed meanwhile.
    changed = CONFLICT, "CHANGED_MEANWHILE", "It was changed meanwhile";
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
            error @ (StoreError::Sql(_) | StoreError::Migrate(_)) => {
                tracing::error!(error = %Chain(&error), "the store failed under a request");
                Self::internal("the store failed")
            }
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
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}
