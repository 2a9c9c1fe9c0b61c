//! Requests that this browser's driver knows beyond the WebDriver standard.

use fantoccini::wd::WebDriverCompatibleCommand;
use http::Method;
use serde_json::{Value, json};
use url::{ParseError, Url};

use super::Browser;

/// A POST below the session.
#[derive(Debug)]
struct Post {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Post {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!(
            "session/{}/{}",
            session.unwrap_or_default(),
            self.path
        ))
    }

    fn method_and_body(&self, _url: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}

impl Browser {
    /// A command of the browser's own debugging protocol.
    pub(super) async fn devtools(&self, command: &str, parameters: Value) -> anyhow::Result<Value> {
        let body = json!({ "cmd": command, "params": parameters });
        let path = "goog/cdp/execute";
        Ok(self.client.issue_cmd(Post { path, body }).await?)
    }

    /// What was copied last.
    ///
    /// # Errors
    /// When the browser does not let it be read.
    pub async fn clipboard(&self) -> anyhow::Result<String> {
        let permissions = json!({ "permissions": ["clipboardReadWrite"] });
        self.devtools("Browser.grantPermissions", permissions)
            .await?;
        let read = "const done = arguments[0];
            navigator.clipboard.readText().then(done, (error) => done(String(error)))";
        let text = self.client.execute_async(read, Vec::new()).await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// What the page wrote to its console since the last call, errors of the network included.
    pub(super) async fn console(&self) -> anyhow::Result<Vec<Value>> {
        let body = json!({ "type": "browser" });
        let answer = self.client.issue_cmd(Post {
            path: "se/log",
            body,
        });
        Ok(answer.await?.as_array().cloned().unwrap_or_default())
    }
}
