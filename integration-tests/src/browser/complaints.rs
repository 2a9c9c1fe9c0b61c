//! What the browser complains of: scripts that failed, files that did not load, and everything
//! that the Content-Security-Policy forbade.

use serde_json::Value;

use super::Browser;

impl Browser {
    /// Fails when the browser complained of anything since the last call, but for complaints that
    /// have one of `expected` in them: the status of a page that is meant to be an error, say.
    ///
    /// # Errors
    /// The complaints.
    pub async fn content(&self, expected: &[&str]) -> anyhow::Result<()> {
        let entries = self.console().await?;
        let unexpected: Vec<_> = entries
            .iter()
            .filter(|entry| matters(entry))
            .map(|entry| entry["message"].as_str().unwrap_or_default())
            .filter(|text| !expected.iter().any(|part| text.contains(part)))
            .collect();
        if unexpected.is_empty() {
            return Ok(());
        }
        let text = unexpected.join("\n  ");
        Err(self
            .failed(anyhow::anyhow!("the browser complains:\n  {text}"))
            .await)
    }
}

/// Errors and warnings; reports of a violated policy come as either.
fn matters(entry: &Value) -> bool {
    matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING"))
}
