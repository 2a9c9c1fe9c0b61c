//! What the server says when it does not do what it was asked: a `Status` with a reason that
//! clients go by.

use serde_json::{Value, json};

use super::kinds::Kind;

/// A request that was not done.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) retry_after: Option<u64>,
    reason: &'static str,
    message: String,
    details: Value,
}

impl Refusal {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            retry_after: None,
            reason,
            message: message.into(),
            details: json!({}),
        }
    }

    fn about(mut self, kind: &Kind, name: &str) -> Self {
        self.details["group"] = kind.group.into();
        self.details["kind"] = kind.resource.into();
        self.details["name"] = name.into();
        self
    }

    pub(super) fn not_found(kind: &Kind, name: &str) -> Self {
        let text = format!("{} {name:?} not found", kind.full_name());
        Self::new(404, "NotFound", text).about(kind, name)
    }

    pub(super) fn no_path() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
    }

    pub(super) fn exists(kind: &Kind, name: &str) -> Self {
        let text = format!("{} {name:?} already exists", kind.full_name());
        Self::new(409, "AlreadyExists", text).about(kind, name)
    }

    pub(super) fn conflict(kind: &Kind, name: &str) -> Self {
        let text = format!(
            "Operation cannot be fulfilled on {} {name:?}: the object has been modified; please \
             apply your changes to the latest version and try again",
            kind.full_name()
        );
        Self::new(409, "Conflict", text).about(kind, name)
    }

    /// A precondition of a deletion does not hold.
    pub(super) fn precondition(kind: &Kind, name: &str, what: &str) -> Self {
        let text = format!(
            "Operation cannot be fulfilled on {} {name:?}: the {what} in the precondition does \
             not match",
            kind.full_name()
        );
        Self::new(409, "Conflict", text).about(kind, name)
    }

    /// Server-side apply met fields of other managers.
    pub(super) fn managed(conflicts: &[(String, String)]) -> Self {
        let causes = conflicts.iter().map(|(manager, field)| {
            json!({ "reason": "FieldManagerConflict", "field": field,
                "message": format!("conflict with {manager:?}") })
        });
        let causes: Vec<_> = causes.collect();
        let told = conflicts.iter();
        let told: Vec<_> = told
            .map(|(manager, field)| format!("conflict with {manager:?}: {field}"))
            .collect();
        let plural = if causes.len() == 1 { "" } else { "s" };
        let text = format!(
            "Apply failed with {} conflict{plural}: {}",
            causes.len(),
            told.join("\n")
        );
        let mut refusal = Self::new(409, "Conflict", text);
        refusal.details["causes"] = causes.into();
        refusal
    }

    pub(super) fn invalid(kind: &Kind, name: &str, field: &str, why: &str) -> Self {
        let text = format!("{} {name:?} is invalid: {field}: {why}", kind.kind);
        let mut refusal = Self::new(422, "Invalid", text).about(kind, name);
        refusal.details["kind"] = kind.kind.into();
        refusal.details["causes"] =
            json!([{ "reason": "FieldValueInvalid", "message": why, "field": field }]);
        refusal
    }

    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", text)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub(super) fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let text = format!("{} {name:?} is forbidden: {why}", kind.full_name());
        Self::new(403, "Forbidden", text).about(kind, name)
    }

    /// A webhook said no.
    pub(super) fn denied(webhook: &str, code: u16, said: &str) -> Self {
        let reason = match code {
            403 => "Forbidden",
            422 => "Invalid",
            503 => "ServiceUnavailable",
            _ => "BadRequest",
        };
        Self::new(
            code,
            reason,
            format!("admission webhook {webhook:?} denied the request: {said}"),
        )
    }

    /// A webhook that must be asked was not reached.
    pub(super) fn webhook_failed(webhook: &str, why: &str) -> Self {
        let text = format!("failed calling webhook {webhook:?}: {why}");
        Self::new(500, "InternalError", text)
    }

    pub(super) fn expired(text: &str) -> Self {
        Self::new(410, "Expired", text)
    }

    pub(super) fn future_version(wanted: u64, current: u64) -> Self {
        let text = format!("Too large resource version: {wanted}, current: {current}");
        let mut refusal = Self::new(504, "Timeout", text).after(1);
        refusal.details["causes"] = json!([{ "reason": "ResourceVersionTooLarge",
            "message": "Too large resource version" }]);
        refusal
    }

    pub(super) fn method(text: &str) -> Self {
        Self::new(405, "MethodNotAllowed", text)
    }

    pub(super) fn media_type() -> Self {
        Self::new(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format",
        )
    }

    /// What a fault on command answers.
    pub(super) fn weather(code: u16, after: Option<u64>) -> Self {
        let reason = match code {
            429 => "TooManyRequests",
            503 => "ServiceUnavailable",
            504 => "Timeout",
            _ => "InternalError",
        };
        let refusal = Self::new(code, reason, "the server is not able to serve now");
        match after {
            Some(after) => refusal.after(after),
            None => refusal,
        }
    }

    fn after(mut self, seconds: u64) -> Self {
        self.details["retryAfterSeconds"] = seconds.into();
        self.retry_after = Some(seconds);
        self
    }

    /// The `Status` object.
    pub(super) fn status(&self) -> Value {
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "details": self.details,
            "code": self.code })
    }
}
