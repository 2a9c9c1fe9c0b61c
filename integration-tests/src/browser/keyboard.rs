//! A person without a mouse: keys go to whatever has the focus, and the focus must be seen.

use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::key::Key;
use serde_json::{Value, json};

use super::{Browser, PATIENCE};

/// No page has more stops than this before what a person looks for.
const STOPS: usize = 80;

impl Browser {
    /// Presses one key.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn press(&self, key: Key) -> anyhow::Result<()> {
        self.strike(key.into()).await
    }

    /// Writes into what has the focus, key by key.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn write(&self, text: &str) -> anyhow::Result<()> {
        for value in text.chars() {
            self.strike(value).await?;
        }
        Ok(())
    }

    /// Goes on with Tab until what reads as the words has the focus; each stop must be visible
    /// and must show that it has the focus.
    ///
    /// # Errors
    /// The stops on the way, when it is not reached; the first that cannot be seen.
    pub async fn tab_to(&self, words: &str) -> anyhow::Result<()> {
        let wanted = words.to_lowercase();
        let mut stops = Vec::new();
        for _ in 0..STOPS {
            self.press(Key::Tab).await?;
            let now = self.focus().await?;
            let name = now["name"].as_str().unwrap_or_default().to_owned();
            // Past the last stop the focus is the browser's own.
            if now["page"] == true && now["shown"] != true {
                let error = anyhow::anyhow!("the focus cannot be seen on: {now}");
                return Err(self.failed(error).await);
            }
            if name.starts_with(&wanted) {
                return Ok(());
            }
            stops.push(name);
        }
        let error = anyhow::anyhow!("Tab does not reach “{words}”, but: {stops:?}");
        Err(self.failed(error).await)
    }

    /// Waits until what reads as the words has the focus.
    ///
    /// # Errors
    /// What has it instead.
    pub async fn focused(&self, words: &str) -> anyhow::Result<()> {
        let wanted = words.to_lowercase();
        self.until(&format!("“{words}” has the focus"), PATIENCE, || async {
            let now = self.focus().await?;
            let name = now["name"].as_str().unwrap_or_default();
            anyhow::ensure!(name.starts_with(&wanted), "{now}");
            Ok(())
        })
        .await
    }

    async fn focus(&self) -> anyhow::Result<Value> {
        self.ask(FOCUS, json!([])).await
    }

    async fn strike(&self, value: char) -> anyhow::Result<()> {
        let keys = KeyActions::new("keys".to_owned())
            .then(KeyAction::Down { value })
            .then(KeyAction::Up { value });
        Ok(self.client.perform_actions(keys).await?)
    }
}

/// What has the focus, and whether an outline or a ring around it says so.
const FOCUS: &str = "
    const element = document.activeElement;
    const tidy = (text) => (text || '').replace(/\\s+/g, ' ').trim().toLowerCase();
    const page = element !== null && element !== document.body;
    if (!page) return { page, name: '' };
    const style = getComputedStyle(element);
    const outline = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
    const ring = style.boxShadow !== 'none';
    const box = element.getBoundingClientRect();
    const label = element.labels && element.labels[0] ? element.labels[0].innerText : '';
    return {
        page,
        name: tidy(label) || tidy(element.ariaLabel) || tidy(element.innerText) || tidy(element.value),
        tag: element.tagName,
        shown: (outline || ring) && box.width > 0 && box.height > 0,
    };
";
