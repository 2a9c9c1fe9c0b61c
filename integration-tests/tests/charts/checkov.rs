//! checkov finds nothing in the rendered charts that has no written reason, and no reason is kept
//! for what it does not find any more.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use crate::objects::list;
use crate::stage::{deploy, said, tool};

/// A finding that is meant so.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    /// The check's id.
    check: String,
    /// The kinds of object that it is meant for; all if there is none.
    #[serde(default)]
    kinds: Vec<String>,
    /// The rendering that it is meant for, `chart/case`; all if there is none.
    rendering: Option<String>,
    /// Why.
    reason: String,
}

impl Reason {
    fn covers(&self, check: &str, resource: &str, file: &str) -> bool {
        let kind = resource.split('.').next().unwrap();
        let rendering = self.rendering.as_ref();
        self.check == check
            && (self.kinds.is_empty() || self.kinds.iter().any(|of| of == kind))
            && rendering.is_none_or(|of| file.ends_with(&format!("/{of}.yaml")))
    }
}

#[test]
fn checkov_finds_nothing_without_a_written_reason() {
    let Some(checkov) = tool("checkov/bin/checkov") else {
        return;
    };
    let text = fs::read_to_string(deploy().join("charts/checkov.yaml")).unwrap();
    let reasons: Vec<Reason> = serde_saphyr::from_str(&text).unwrap();
    let output = Command::new(checkov)
        .args(["--framework", "kubernetes", "--compact", "--quiet"])
        .args(["--skip-download", "--output", "json", "--directory"])
        .arg(deploy().join("charts/golden"))
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
    assert!(
        report["summary"]["passed"].as_u64() > Some(1_000),
        "{}",
        report["summary"]
    );
    assert_eq!(report["summary"]["parsing_errors"], 0);
    let mut found = BTreeSet::new();
    let mut needed = BTreeSet::new();
    for failure in list(&report["results"]["failed_checks"]) {
        let part = |key: &str| failure[key].as_str().unwrap();
        let (check, resource, file) = (part("check_id"), part("resource"), part("file_path"));
        let covering = reasons
            .iter()
            .position(|reason| reason.covers(check, resource, file));
        match covering {
            Some(at) => {
                needed.insert(at);
            }
            None => {
                found.insert(format!(
                    "{check} {}: {resource} in {file}",
                    part("check_name")
                ));
            }
        }
    }
    assert!(
        found.is_empty(),
        "mend it, or write why not into checkov.yaml: {found:#?}"
    );
    for (at, reason) in reasons.iter().enumerate() {
        assert!(
            needed.contains(&at),
            "{} is not found any more",
            reason.check
        );
        assert!(
            reason.reason.len() > 20,
            "{}: that is no reason",
            reason.check
        );
    }
}
