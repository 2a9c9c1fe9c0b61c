//! Whether people can use the page: axe-core's rules for WCAG 2.2 AA, run inside the page. The
//! driver puts the script there, past the page's Content-Security-Policy.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Value, json};

use super::Browser;
use crate::tools;

/// Where `cargo xtask setup` puts the script.
pub(super) fn file() -> anyhow::Result<PathBuf> {
    Ok(tools::target()?.join("tools/axe-core/node_modules/axe-core/axe.min.js"))
}

/// Gives its findings, or why it could not look, to the driver's callback.
const RUN: &str = "
    const done = arguments[arguments.length - 1];
    axe.run(document, arguments[0]).then(
        (found) => done({ violations: found.violations, passes: found.passes.length }),
        (error) => done({ error: String(error) }));
";

impl Browser {
    /// Fails when axe-core finds a violation of WCAG 2.2 AA on the page as it stands.
    ///
    /// # Errors
    /// Each rule that is violated, with the elements.
    pub async fn accessible(&self) -> anyhow::Result<()> {
        let script = std::fs::read_to_string(file()?).context("axe-core: `cargo xtask setup`")?;
        self.client.execute(&script, Vec::new()).await?;
        let tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
        let options = json!({
            "runOnly": { "type": "tag", "values": tags },
            // Off by default, because it is new in 2.2.
            "rules": { "target-size": { "enabled": true } },
        });
        let found = self.client.execute_async(RUN, vec![options]).await?;
        // A page on which nothing passes was not looked at.
        let looked = found["passes"].as_u64().unwrap_or_default() > 0;
        anyhow::ensure!(looked, "axe-core did not look at the page: {found}");
        let violations = found["violations"].as_array().cloned().unwrap_or_default();
        if violations.is_empty() {
            return Ok(());
        }
        let told: Vec<_> = violations.iter().map(tell).collect();
        let text = told.join("\n  ");
        Err(self
            .failed(anyhow::anyhow!("not accessible:\n  {text}"))
            .await)
    }
}

fn tell(violation: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let nodes = violation["nodes"].as_array().into_iter().flatten();
    let nodes: Vec<_> = nodes
        .map(|node| format!("{}: {}", word(&node["html"]), word(&node["failureSummary"])))
        .collect();
    let (rule, help) = (word(&violation["id"]), word(&violation["help"]));
    format!("{rule} ({help})\n    {}", nodes.join("\n    "))
}
