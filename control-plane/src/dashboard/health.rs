//! How a target is, in words: what its plane says of it, what that means, and what to do.

use super::codes;
use super::moment::Moment;
use super::parts::{Pill, Tone, grouped};
use super::words::Told;
use crate::manage::TargetView;

/// A target's health as pages show it.
pub(super) struct Health {
    pub(super) pill: Pill,
    /// What it means, one sentence.
    pub(super) says: &'static str,
    /// Stable code of the newest failure; empty if there is none.
    pub(super) code: String,
    pub(super) detail: String,
    pub(super) remedy: &'static str,
    pub(super) since: Option<Told>,
    /// Deliveries that wait for it; empty if none do.
    pub(super) waiting: String,
}

impl Health {
    /// What is known of the target.
    pub(super) fn of(item: &TargetView, now: Moment) -> Self {
        let health = &item.health;
        let (tone, words, says) = match health.state {
            "ok" => (Tone::Ok, "Well", "Its last attempts were taken."),
            "failing" => (
                Tone::Warn,
                "Failing",
                "Its last attempts failed. Deliveries wait and are tried again by themselves.",
            ),
            "paused" => (
                Tone::Bad,
                "Resting",
                "It answered 410 Gone, so nothing is sent to it until it is changed.",
            ),
            _ => (
                Tone::Idle,
                "Not known",
                "Its plane is not connected, or has not called it yet.",
            ),
        };
        let code = health.code.clone().unwrap_or_default();
        Self {
            pill: Pill::new(tone, words),
            says,
            remedy: codes::remedy(&code),
            code,
            detail: health.detail.clone().unwrap_or_default(),
            since: health
                .since
                .as_deref()
                .map(|since| Told::ago(Some(since), now)),
            waiting: match health.waiting {
                0 => String::new(),
                waiting => grouped(waiting),
            },
        }
    }
}
