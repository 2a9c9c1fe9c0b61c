//! The verbs that write: create, update, patch.

use serde_json::{Value, json};

use super::call::Call;
use super::kinds::{self, Kind};
use super::managed::{self, Writer};
use super::object;
use super::patch;
use super::rbac::{self, Attributes};
use super::refusal::Refusal;
use super::state::{State, stamp};
use super::store::Key;
use super::tokens::{User, Wanted, strings};

/// A write with what came along.
pub(super) struct Write<'a> {
    pub(super) call: &'a Call,
    pub(super) user: &'a User,
    pub(super) manager: &'a str,
    /// Of the body, without parameters.
    pub(super) media_type: &'a str,
    pub(super) body: Value,
    pub(super) now_ms: u64,
}

/// Status and body of an answer.
pub(super) type Answer = Result<(u16, Value), Refusal>;

impl Write<'_> {
    pub(super) fn kind(&self) -> &'static Kind {
        self.call.kind
    }

    fn writer(&self) -> Writer<'_> {
        Writer {
            manager: self.manager,
            api_version: self.kind().api_version(),
            subresource: &self.call.subresource,
            time: stamp(self.now_ms),
        }
    }

    pub(super) fn key(&self) -> Key {
        Key::new(self.kind(), &self.call.namespace, &self.call.name)
    }

    pub(super) fn is_dry(&self) -> bool {
        self.call.query("dryRun").is_some()
    }
}

impl State {
    pub(super) fn create(&mut self, mut write: Write<'_>) -> Answer {
        let (call, kind) = (write.call, write.kind());
        match (kind.resource, call.subresource.as_str()) {
            ("tokenreviews", _) => {
                let spec = &write.body["spec"];
                let status = self.tokens.answer(&self.store, spec, write.now_ms);
                write.body["status"] = status;
                return Ok((201, write.body));
            }
            ("selfsubjectaccessreviews", _) => {
                let allowed = self.may(write.user, &write.body["spec"]["resourceAttributes"]);
                write.body["status"] = json!({ "allowed": allowed });
                return Ok((201, write.body));
            }
            ("serviceaccounts", "token") => return self.token_request(write),
            (_, "") => {}
            _ => return Err(Refusal::no_path()),
        }
        let metadata = &write.body["metadata"];
        if metadata["resourceVersion"]
            .as_str()
            .is_some_and(|version| !version.is_empty())
        {
            let text = "resourceVersion should not be set on objects to be created";
            return Err(Refusal::bad(text));
        }
        let name = match (metadata["name"].as_str(), metadata["generateName"].as_str()) {
            (Some(name), _) if !name.is_empty() => name.to_owned(),
            (_, Some(beginning)) if !beginning.is_empty() => object::generated(beginning),
            _ => {
                let why = "Required value: name or generateName is required";
                return Err(Refusal::invalid(kind, "", "metadata.name", why));
            }
        };
        self.check_place(call, &write.body)?;
        let key = Key::new(kind, &call.namespace, &name);
        if self.store.get(&key).is_some() {
            return Err(Refusal::exists(kind, &name));
        }
        let body = write.body.take();
        Ok((201, self.begin(&write, &name, body, None)?))
    }

    /// Keeps an object that was not there.
    fn begin(
        &mut self,
        write: &Write<'_>,
        name: &str,
        mut object: Value,
        managers: Option<Value>,
    ) -> Result<Value, Refusal> {
        let (call, kind) = (write.call, write.kind());
        let now = stamp(write.now_ms);
        object::admit(kind, &call.namespace, name, &mut object, None, &now)?;
        if kind.status && kind.resource != "namespaces" {
            drop(object.as_object_mut().and_then(|map| map.remove("status")));
        }
        match managers {
            Some(managers) => object["metadata"]["managedFields"] = managers,
            None => managed::track(None, &mut object, &write.writer()),
        }
        if write.is_dry() {
            return Ok(object);
        }
        let key = Key::new(kind, &call.namespace, name);
        let kept = self.store.put(key, object);
        if kind.resource == "namespaces" {
            self.furnish(name, &now);
        }
        Ok(Value::clone(&kept))
    }

    /// What controllers put into every namespace.
    pub(super) fn furnish(&mut self, namespace: &str, now: &str) {
        let map = json!({ "data": { "ca.crt": self.ca } });
        for (resource, name, mut object) in [
            ("serviceaccounts", "default", json!({})),
            ("configmaps", "kube-root-ca.crt", map),
        ] {
            let Some(kind) = kinds::by_resource(resource) else {
                continue;
            };
            let key = Key::new(kind, namespace, name);
            let fits = object::admit(kind, namespace, name, &mut object, None, now).is_ok();
            if fits && self.store.get(&key).is_none() {
                self.store.put(key, object);
            }
        }
    }

    fn check_place(&self, call: &Call, body: &Value) -> Result<(), Refusal> {
        let told = body["metadata"]["namespace"].as_str().unwrap_or_default();
        if !told.is_empty() && told != call.namespace && call.kind.namespaced {
            let text = "the namespace of the provided object does not match the namespace sent on \
                        the request";
            return Err(Refusal::bad(text));
        }
        if !call.kind.namespaced {
            return Ok(());
        }
        let namespaces = kinds::by_resource("namespaces").ok_or_else(Refusal::no_path)?;
        match self.store.get(&Key::new(namespaces, "", &call.namespace)) {
            Some(_) => Ok(()),
            None => Err(Refusal::not_found(namespaces, &call.namespace)),
        }
    }

    fn may(&self, user: &User, attributes: &Value) -> bool {
        let text = |name: &str| attributes[name].as_str().unwrap_or_default().to_owned();
        let asked = Attributes {
            verb: text("verb"),
            group: text("group"),
            resource: text("resource"),
            subresource: text("subresource"),
            namespace: text("namespace"),
            name: text("name"),
        };
        rbac::allowed(&self.store, user, &asked)
    }

    fn token_request(&mut self, mut write: Write<'_>) -> Answer {
        let (call, spec) = (write.call, &write.body["spec"]);
        let seconds = spec["expirationSeconds"].as_u64().unwrap_or(3600);
        if seconds < 600 {
            let why = "may not specify a duration less than 10 minutes";
            return Err(Refusal::invalid(
                write.kind(),
                &call.name,
                "spec.expirationSeconds",
                why,
            ));
        }
        let bound = &spec["boundObjectRef"];
        let text = |name: &str| bound[name].as_str().unwrap_or_default().to_owned();
        let wanted = Wanted {
            namespace: &call.namespace,
            name: &call.name,
            audiences: strings(&spec["audiences"]),
            now_ms: write.now_ms,
            seconds,
            pod: bound.is_object().then(|| (text("name"), text("uid"))),
        };
        let token = self.tokens.account(&self.store, wanted);
        let token = token.ok_or_else(|| Refusal::not_found(write.kind(), &call.name))?;
        let expires = stamp(write.now_ms + seconds * 1000);
        write.body["status"] = json!({ "token": token, "expirationTimestamp": expires });
        Ok((201, write.body))
    }

    pub(super) fn update(&mut self, mut write: Write<'_>) -> Answer {
        let (call, kind) = (write.call, write.kind());
        let before = self.store.get(&write.key());
        let before = before.ok_or_else(|| Refusal::not_found(kind, &call.name))?;
        self.check_place(call, &write.body)?;
        let metadata = &write.body["metadata"];
        if metadata["name"]
            .as_str()
            .is_some_and(|name| name != call.name)
        {
            let text = "the name of the object does not match the name on the URL";
            return Err(Refusal::bad(text));
        }
        let version = metadata["resourceVersion"].as_str().unwrap_or_default();
        // The reference's types that take no update without a version.
        if version.is_empty() && kind.resource == "leases" {
            let why = "Invalid value: 0: must be specified for an update";
            return Err(Refusal::invalid(
                kind,
                &call.name,
                "metadata.resourceVersion",
                why,
            ));
        }
        let body = write.body.take();
        Ok((200, self.replace(&write, &before, body, None)?))
    }

    /// Puts a new state of an object in the place of the old one.
    fn replace(
        &mut self,
        write: &Write<'_>,
        before: &Value,
        mut object: Value,
        managers: Option<Value>,
    ) -> Result<Value, Refusal> {
        let (call, kind) = (write.call, write.kind());
        let told = |field: &str| {
            let told = object["metadata"][field].as_str().unwrap_or_default();
            !told.is_empty() && before["metadata"][field] != told
        };
        let meets = self.faults.conflicts > 0 && self.faults.meets(&write.user.name);
        if told("resourceVersion") || told("uid") || meets {
            self.faults.conflicts -= u32::from(meets);
            return Err(Refusal::conflict(kind, &call.name));
        }
        match call.subresource.as_str() {
            "" if kind.status => object["status"] = before["status"].clone(),
            "" => {}
            "status" if kind.status => {
                let mut kept = before.clone();
                kept["status"] = object["status"].take();
                object = kept;
            }
            _ => return Err(Refusal::no_path()),
        }
        if object["status"].is_null()
            && let Some(map) = object.as_object_mut()
        {
            map.remove("status");
        }
        let now = stamp(write.now_ms);
        let name = &call.name;
        object::admit(kind, &call.namespace, name, &mut object, Some(before), &now)?;
        match managers {
            Some(managers) => object["metadata"]["managedFields"] = managers,
            None => managed::track(Some(before), &mut object, &write.writer()),
        }
        object["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
        // What changes nothing makes no new version.
        if managed::without_times(&object) == managed::without_times(before) {
            return Ok(before.clone());
        }
        if write.is_dry() {
            return Ok(object);
        }
        let gone = !object["metadata"]["deletionTimestamp"].is_null()
            && object["metadata"]["finalizers"]
                .as_array()
                .is_none_or(Vec::is_empty);
        let kept = self.store.put(write.key(), object);
        if gone {
            self.store.remove(&write.key());
        }
        Ok(Value::clone(&kept))
    }

    pub(super) fn patch(&mut self, mut write: Write<'_>) -> Answer {
        let (call, kind) = (write.call, write.kind());
        if write.media_type == "application/apply-patch+yaml" {
            return self.apply(write);
        }
        let before = self.store.get(&write.key());
        let before = before.ok_or_else(|| Refusal::not_found(kind, &call.name))?;
        let mut object = Value::clone(&before);
        let body = write.body.take();
        match write.media_type {
            "application/merge-patch+json" => patch::merge(&mut object, body),
            "application/strategic-merge-patch+json" => patch::strategic(&mut object, body),
            "application/json-patch+json" => {
                let done = patch::json(&mut object, &body);
                done.map_err(|why| Refusal::invalid(kind, &call.name, "patch", &why))?;
            }
            _ => return Err(Refusal::media_type()),
        }
        Ok((200, self.replace(&write, &before, object, None)?))
    }

    /// Server-side apply.
    fn apply(&mut self, mut write: Write<'_>) -> Answer {
        let (call, kind) = (write.call, write.kind());
        if call.query("fieldManager").is_none() {
            let why = "Required value: is required for apply patch";
            return Err(Refusal::invalid(kind, &call.name, "fieldManager", why));
        }
        let applied = write.body.take();
        let same = applied["apiVersion"] == *kind.api_version() && applied["kind"] == kind.kind;
        if !same {
            let text = "invalid object type: apiVersion and kind must be those of the path";
            return Err(Refusal::bad(text));
        }
        if !applied["metadata"]["managedFields"].is_null() {
            return Err(Refusal::bad("metadata.managedFields must be nil"));
        }
        self.check_place(call, &applied)?;
        let before = self.store.get(&write.key());
        let nothing = json!({});
        let live = before.as_deref().unwrap_or(&nothing);
        let force = call.flag("force");
        let made = managed::apply(live, &applied, &write.writer(), force);
        let mut object = made.map_err(|conflicts| Refusal::managed(&conflicts))?;
        let managers = Some(object["metadata"]["managedFields"].take());
        let version = applied["metadata"]["resourceVersion"].clone();
        match before {
            Some(before) => {
                object["metadata"]["resourceVersion"] = version;
                Ok((200, self.replace(&write, &before, object, managers)?))
            }
            None if !version.is_null() => Err(Refusal::conflict(kind, &call.name)),
            None => {
                let object = self.begin(&write, &call.name, object, managers)?;
                Ok((201, object))
            }
        }
    }
}
