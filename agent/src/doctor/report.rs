//! The outcome: one row a check, as a table for people and as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::code::Code;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warn,
    /// It does not work.
    Fail,
    /// Not looked at, for the reason in the detail.
    Skipped,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What was looked at.
    pub check: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What is wrong, if anything is.
    pub code: Option<Code>,
    /// What was seen, one line.
    pub detail: String,
}

/// Longest detail, characters.
const DETAIL: usize = 300;

impl Row {
    fn new(check: &'static str, outcome: Outcome, code: Option<Code>, detail: &str) -> Self {
        let detail = detail
            .chars()
            .take(DETAIL)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        Self {
            check,
            outcome,
            code,
            detail,
        }
    }

    pub(crate) fn ok(check: &'static str, detail: &str) -> Self {
        Self::new(check, Outcome::Ok, None, detail)
    }

    pub(crate) fn warn(check: &'static str, code: Code, detail: &str) -> Self {
        Self::new(check, Outcome::Warn, Some(code), detail)
    }

    pub(crate) fn fail(check: &'static str, code: Code, detail: &str) -> Self {
        Self::new(check, Outcome::Fail, Some(code), detail)
    }

    pub(crate) fn skipped(check: &'static str, why: &str) -> Self {
        Self::new(check, Outcome::Skipped, None, why)
    }

    /// Makes a failure a warning.
    pub(crate) fn soften(&mut self) {
        if self.outcome == Outcome::Fail {
            self.outcome = Outcome::Warn;
        }
    }

    fn cells(&self) -> [&str; 5] {
        [
            self.check,
            self.outcome.as_str(),
            self.code.map_or("-", Code::as_str),
            &self.detail,
            self.code.map_or("-", Code::fix),
        ]
    }
}

/// Every check's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report(Vec<Row>);

impl Report {
    /// Of these rows.
    #[must_use]
    pub const fn new(rows: Vec<Row>) -> Self {
        Self(rows)
    }

    /// The rows, in the order of the checks.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.0
    }

    /// Whether something does not work.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.0.iter().any(|row| row.outcome == Outcome::Fail)
    }

    /// As a table.
    #[must_use]
    pub fn table(&self) -> String {
        let title = ["CHECK", "RESULT", "CODE", "DETAIL", "FIX"];
        let lines: Vec<_> = std::iter::once(title)
            .chain(self.0.iter().map(Row::cells))
            .collect();
        let width = |column: usize| {
            let longest = lines.iter().map(|line| line[column].chars().count()).max();
            longest.unwrap_or_default()
        };
        let widths = [width(0), width(1), width(2), width(3)];
        let mut text = String::new();
        for line in &lines {
            for (cell, width) in line.iter().zip(widths) {
                // Writing to a string does not fail.
                let _written = write!(text, "{cell:width$}  ");
            }
            text.push_str(line[4]);
            text.push('\n');
        }
        text
    }

    /// As one JSON document.
    #[must_use]
    pub fn json(&self) -> Value {
        let checks: Vec<_> = self
            .0
            .iter()
            .map(|row| {
                json!({
                    "check": row.check,
                    "result": row.outcome.as_str(),
                    "code": row.code.map(Code::as_str),
                    "detail": row.detail,
                    "fix": row.code.map(Code::fix),
                })
            })
            .collect();
        json!({ "ok": !self.failed(), "checks": checks })
    }
}
