//! What a person does with a page: opens, reads, clicks what is written, fills in what is asked.
//! Everything waits for the state it needs and says what it saw instead.

use std::time::Duration;

use anyhow::Context;
use fantoccini::elements::Element;
use serde_json::{Value, json};

use super::{Browser, PATIENCE};
use crate::eventually::eventually;

/// The key under which WebDriver hands out an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

impl Browser {
    /// Opens an address and waits until it has loaded.
    ///
    /// # Errors
    /// When it does not load.
    pub async fn open(&self, address: &str) -> anyhow::Result<()> {
        let opened = self.client.goto(address).await;
        opened.with_context(|| format!("cannot open {address}"))
    }

    /// Loads the page again.
    ///
    /// # Errors
    /// When it does not load.
    pub async fn reload(&self) -> anyhow::Result<()> {
        Ok(self.client.refresh().await?)
    }

    /// The visible text of the page, its open dialog included.
    ///
    /// # Errors
    /// When there is no page.
    pub async fn text(&self) -> anyhow::Result<String> {
        let text = self
            .ask("return document.body.innerText", json!([]))
            .await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until the page shows a text, whatever its case.
    ///
    /// # Errors
    /// What it shows instead.
    pub async fn sees(&self, text: &str) -> anyhow::Result<()> {
        self.sees_within(text, PATIENCE).await
    }

    /// The same, with another patience.
    ///
    /// # Errors
    /// What it shows instead.
    pub async fn sees_within(&self, text: &str, patience: Duration) -> anyhow::Result<()> {
        let wanted = text.to_lowercase();
        self.until(&format!("the page shows “{text}”"), patience, || async {
            let seen = self.text().await?.to_lowercase();
            anyhow::ensure!(seen.contains(&wanted), "not there");
            Ok(())
        })
        .await
    }

    /// Waits until the page does not show a text any more.
    ///
    /// # Errors
    /// When it goes on showing it.
    pub async fn sees_no(&self, text: &str) -> anyhow::Result<()> {
        let unwanted = text.to_lowercase();
        self.until(&format!("“{text}” is gone"), PATIENCE, || async {
            let seen = self.text().await?.to_lowercase();
            anyhow::ensure!(!seen.contains(&unwanted), "still there");
            Ok(())
        })
        .await
    }

    /// Waits until the page at a path is shown; the query does not count.
    ///
    /// # Errors
    /// Where the browser is instead.
    pub async fn arrives(&self, path: &str) -> anyhow::Result<()> {
        self.until(&format!("the browser is at {path}"), PATIENCE, || async {
            let now = self.client.current_url().await?;
            anyhow::ensure!(now.path() == path, "at {now}");
            Ok(())
        })
        .await
    }

    /// Where the browser is, without scheme and host.
    ///
    /// # Errors
    /// When there is no page.
    pub async fn path(&self) -> anyhow::Result<String> {
        Ok(self.client.current_url().await?.path().to_owned())
    }

    /// Clicks the link, button or label with these words; in the open dialog, when there is one.
    ///
    /// # Errors
    /// When there is none, or something lies over it.
    pub async fn click(&self, words: &str) -> anyhow::Result<()> {
        self.click_within("body", words).await
    }

    /// The same, only among what `part` (a CSS selector) holds.
    ///
    /// # Errors
    /// When there is none, or something lies over it.
    pub async fn click_within(&self, part: &str, words: &str) -> anyhow::Result<()> {
        self.until(&format!("“{words}” can be clicked"), PATIENCE, || async {
            let found = self.ask(BY_WORDS, json!([part, words])).await?;
            Ok(self.element(&found)?.click().await?)
        })
        .await
    }

    /// Whether something with these words can be clicked now.
    ///
    /// # Errors
    /// When there is no page.
    pub async fn offers(&self, words: &str) -> anyhow::Result<bool> {
        Ok(!self.ask(BY_WORDS, json!(["body", words])).await?.is_null())
    }

    /// Writes into the field with this label, instead of what it holds.
    ///
    /// # Errors
    /// When there is none, or it takes no text.
    pub async fn fill(&self, label: &str, value: &str) -> anyhow::Result<()> {
        self.until(&format!("“{label}” can be filled in"), PATIENCE, || async {
            let field = self.field(label).await?;
            field.clear().await?;
            Ok(field.send_keys(value).await?)
        })
        .await
    }

    /// Chooses the option with this text in the list with this label.
    ///
    /// # Errors
    /// When there is none.
    pub async fn choose(&self, label: &str, option: &str) -> anyhow::Result<()> {
        self.until(
            &format!("“{label}” offers “{option}”"),
            PATIENCE,
            || async { Ok(self.field(label).await?.select_by_label(option).await?) },
        )
        .await
    }

    /// What the field with this label holds.
    ///
    /// # Errors
    /// When there is none.
    pub async fn holds(&self, label: &str) -> anyhow::Result<String> {
        let value = self.field(label).await?.prop("value").await?;
        Ok(value.unwrap_or_default())
    }

    /// Asks the page by a script, which the driver runs even where the page may run none.
    ///
    /// # Errors
    /// When the script fails.
    pub async fn ask(&self, script: &str, arguments: Value) -> anyhow::Result<Value> {
        let arguments = arguments.as_array().cloned().unwrap_or_default();
        Ok(self.client.execute(script, arguments).await?)
    }

    /// Waits for a state of the page; a failure shows the page.
    ///
    /// # Errors
    /// What was seen last.
    pub async fn until<T, F>(
        &self,
        what: &str,
        patience: Duration,
        look: impl FnMut() -> F,
    ) -> anyhow::Result<T>
    where
        F: Future<Output = anyhow::Result<T>>,
    {
        match eventually(what, patience, look).await {
            Ok(value) => Ok(value),
            Err(error) => Err(self.failed(error).await),
        }
    }

    async fn field(&self, label: &str) -> anyhow::Result<Element> {
        let found = self.ask(BY_LABEL, json!([label])).await?;
        self.element(&found)
    }

    fn element(&self, found: &Value) -> anyhow::Result<Element> {
        let id = found[ELEMENT].as_str().context("not there")?.to_owned();
        Ok(Element::from_element_id(self.client.clone(), id.into()))
    }
}

/// What can be clicked in `part` and reads as the words: all of them first, else how it begins.
const BY_WORDS: &str = "
    const [part, words] = arguments;
    const tidy = (text) => (text || '').replace(/\\s+/g, ' ').trim().toLowerCase();
    const modal = [...document.querySelectorAll('dialog:modal')].pop();
    const root = modal || document.querySelector(part);
    const kinds = 'a[href], button, summary, label, input[type=submit], [role=button], [role=tab]';
    const all = [...(root ? root.querySelectorAll(kinds) : [])]
        .filter((element) => element.checkVisibility({ visibilityProperty: true }))
        .map((element) => [element, [element.innerText, element.ariaLabel,
            element.matches('input') ? element.value : ''].map(tidy)]);
    const wanted = tidy(words);
    const found = all.find(([, names]) => names.includes(wanted))
        || all.find(([, names]) => names.some((name) => name.startsWith(wanted)));
    return found ? found[0] : null;
";

/// The field whose label, or else whose own name for assistive technology, reads as the words.
const BY_LABEL: &str = "
    const tidy = (text) => (text || '').replace(/\\s+/g, ' ').trim().toLowerCase();
    const wanted = tidy(arguments[0]);
    const modal = [...document.querySelectorAll('dialog:modal')].pop();
    const all = [...(modal || document).querySelectorAll('input, select, textarea')]
        .filter((field) => field.checkVisibility({ visibilityProperty: true }))
        .map((field) => [field, [...(field.labels || [])].map((label) => tidy(label.innerText))
            .concat(tidy(field.ariaLabel))]);
    const found = all.find(([, names]) => names.includes(wanted))
        || all.find(([, names]) => names.some((name) => name.startsWith(wanted)));
    return found ? found[0] : null;
";
