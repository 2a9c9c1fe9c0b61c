//! The verbs that read: get and list.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::call::Call;
use super::events;
use super::refusal::Refusal;
use super::select::Selector;
use super::state::State;
use super::store::{Key, Snapshot};

impl State {
    pub(super) fn get(&self, call: &Call) -> Result<Value, Refusal> {
        if !["", "status"].contains(&call.subresource.as_str()) {
            return Err(Refusal::no_path());
        }
        let key = Key::new(call.kind, &call.namespace, &call.name);
        let object = self.store.get(&key);
        let object = object.ok_or_else(|| Refusal::not_found(call.kind, &call.name))?;
        Ok(events::shown(call.kind, &object))
    }

    pub(super) fn list(&mut self, call: &Call) -> Result<Value, Refusal> {
        let selector = Selector::of(call)?;
        let limit = call.number("limit")?.filter(|&limit| limit > 0);
        let (version, from, all) = match call.query("continue") {
            Some(token) => self.page(token)?,
            None => {
                self.check_version(call)?;
                let all = self.store.list(call.kind, &call.namespace);
                let all = all.into_iter().filter(|object| selector.selects(object));
                (self.store.version, 0, Arc::new(all.collect()))
            }
        };
        let rest = all.get(from..).unwrap_or_default();
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        let shown = rest.len().min(limit.unwrap_or(rest.len()));
        let items = rest.iter().take(shown).map(|object| {
            let mut item = events::shown(call.kind, object);
            if let Some(item) = item.as_object_mut() {
                item.remove("apiVersion");
                item.remove("kind");
            }
            item
        });
        let items: Vec<_> = items.collect();
        let mut metadata = json!({ "resourceVersion": version.to_string() });
        let remaining = rest.len() - shown;
        if remaining > 0 {
            let next = json!({ "v": version, "start": from + shown });
            metadata["continue"] = URL_SAFE_NO_PAD.encode(next.to_string()).into();
            metadata["remainingItemCount"] = remaining.into();
            self.store.pages.insert(version, all);
        }
        Ok(json!({ "kind": format!("{}List", call.kind.kind),
            "apiVersion": call.kind.api_version(), "metadata": metadata, "items": items }))
    }

    /// Where reading goes on: version, place, and all that is listed.
    fn page(&self, token: &str) -> Result<(u64, usize, Snapshot), Refusal> {
        let token = URL_SAFE_NO_PAD.decode(token).ok();
        let token = token.and_then(|token| serde_json::from_slice::<Value>(&token).ok());
        let token = token.ok_or_else(|| Refusal::bad("continue key is not valid"))?;
        let version = token["v"].as_u64().unwrap_or_default();
        let start = token["start"].as_u64().unwrap_or_default();
        let expired = "The provided continue parameter is too old to display a consistent list \
                       result. You must start a new list without the continue parameter.";
        let all = self.store.pages.get(&version);
        let all = all.ok_or_else(|| Refusal::expired(expired))?;
        Ok((
            version,
            usize::try_from(start).unwrap_or(usize::MAX),
            Arc::clone(all),
        ))
    }

    fn check_version(&self, call: &Call) -> Result<(), Refusal> {
        let Some(wanted) = call.number("resourceVersion")? else {
            return Ok(());
        };
        if wanted > self.store.version {
            return Err(Refusal::future_version(wanted, self.store.version));
        }
        let exactly = call.query("resourceVersionMatch") == Some("Exact");
        if exactly && wanted < self.store.compacted {
            return Err(Refusal::expired("The provided resource version is too old"));
        }
        Ok(())
    }
}
