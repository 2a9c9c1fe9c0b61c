//! How a page looks: light or dark, wide or narrow, and pictures of it.

use serde_json::json;

use super::{Browser, pictures};

/// A colour scheme and a width in CSS pixels.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// `light` or `dark`.
    pub scheme: &'static str,
    /// Width of the window.
    pub width: u32,
}

/// The light scheme.
pub const LIGHT: &str = "light";
/// The dark scheme.
pub const DARK: &str = "dark";
/// A window on a desk.
pub const WIDE: u32 = 1300;
/// A telephone.
pub const NARROW: u32 = 390;

/// A picture is cut off below this, in CSS pixels: a list may be very long.
const TALLEST: f64 = 6_000.0;

impl Look {
    /// Every look that every page must stand.
    pub const ALL: [Self; 4] = [
        Self::new(LIGHT, WIDE),
        Self::new(DARK, WIDE),
        Self::new(LIGHT, NARROW),
        Self::new(DARK, NARROW),
    ];

    const fn new(scheme: &'static str, width: u32) -> Self {
        Self { scheme, width }
    }
}

impl Browser {
    /// Shows everything from now on in this look.
    ///
    /// # Errors
    /// When the browser refuses.
    pub async fn look(&self, look: Look) -> anyhow::Result<()> {
        let scheme = json!({ "name": "prefers-color-scheme", "value": look.scheme });
        // A picture must not catch a fading element.
        let still = json!({ "name": "prefers-reduced-motion", "value": "reduce" });
        self.devtools(
            "Emulation.setEmulatedMedia",
            json!({ "features": [scheme, still] }),
        )
        .await?;
        let metrics = json!({
            "width": look.width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
            .await?;
        Ok(())
    }

    /// Fails when the page is wider than its window: nobody reads sideways.
    ///
    /// # Errors
    /// The outermost elements that stick out.
    pub async fn fits(&self) -> anyhow::Result<()> {
        let out = self.client.execute(STICKS_OUT, Vec::new()).await?;
        if out.as_array().is_some_and(Vec::is_empty) {
            return Ok(());
        }
        Err(self
            .failed(anyhow::anyhow!("the page scrolls sideways: {out}"))
            .await)
    }

    /// Keeps a picture of the whole page as `target/screenshots/<name>.png`; of the window only
    /// while a dialog is in front of it.
    ///
    /// # Errors
    /// When it cannot be taken or written.
    pub async fn picture(&self, name: &str) -> anyhow::Result<()> {
        let layout = self.devtools("Page.getLayoutMetrics", json!({})).await?;
        let dialog = "return document.querySelector('dialog:modal') !== null";
        let in_front = self.ask(dialog, json!([])).await? == true;
        let (width, height) = if in_front {
            let window = &layout["cssLayoutViewport"];
            (&window["clientWidth"], &window["clientHeight"])
        } else {
            let page = &layout["cssContentSize"];
            (&page["width"], &page["height"])
        };
        let height = height.as_f64().unwrap_or(1.0).min(TALLEST);
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let parameters = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let taken = self.devtools("Page.captureScreenshot", parameters).await?;
        let data = taken["data"].as_str().unwrap_or_default();
        let bytes = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, data)?;
        Ok(std::fs::write(
            pictures()?.join(format!("{name}.png")),
            bytes,
        )?)
    }

    /// The failure with what can be seen: the address, the text and a picture of the page.
    pub(super) async fn failed(&self, error: anyhow::Error) -> anyhow::Error {
        let name = format!("failed-{}", self.name);
        let picture = match self.picture(&name).await {
            Ok(()) => format!("picture: {name}.png in target/screenshots"),
            Err(error) => format!("no picture: {error:#}"),
        };
        let address = self.client.current_url().await.map(String::from);
        let text = self.text().await.unwrap_or_default();
        let text: String = text.chars().take(3_000).collect();
        let address = address.unwrap_or_default();
        anyhow::anyhow!("{error:#}\nat {address}; {picture}\n{text}")
    }
}

/// The elements beyond the right edge whose parents are not, unless an ancestor scrolls them.
const STICKS_OUT: &str = "
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    const out = (element) => element.getBoundingClientRect().right > width + 1;
    return [...document.body.querySelectorAll('*')]
        .filter((element) => out(element) && !out(element.parentElement))
        .slice(0, 10)
        .map((element) => element.outerHTML.slice(0, 160))
        .concat('page ' + document.documentElement.scrollWidth + ' in ' + width);
";
