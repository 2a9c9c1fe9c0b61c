//! Who asks: bearer tokens of users and of service accounts, and TokenReviews of the latter.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngExt;
use serde_json::{Value, json};

use super::kinds;
use super::store::{Key, Store};

/// The audience of tokens for the API server itself.
pub(super) const API_AUDIENCE: &str = "https://kubernetes.default.svc";

/// Somebody whose token was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) groups: Vec<String>,
    uid: String,
    /// The pod that the token is bound to: name and uid.
    pod: Option<(String, String)>,
}

impl User {
    pub(super) fn named(name: &str, groups: &[&str]) -> Self {
        let mut groups: Vec<_> = groups.iter().map(|&group| group.to_owned()).collect();
        groups.push("system:authenticated".to_owned());
        Self {
            name: name.to_owned(),
            groups,
            ..Self::default()
        }
    }

    pub(super) fn anonymous() -> Self {
        Self {
            name: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
            ..Self::default()
        }
    }
}

#[derive(Clone)]
enum Holder {
    User(User),
    Account {
        namespace: String,
        name: String,
        uid: String,
        audiences: Vec<String>,
        expires_ms: u64,
        pod: Option<(String, String)>,
    },
}

/// All tokens ever given.
#[derive(Default)]
pub(super) struct Tokens(HashMap<String, Holder>);

/// What a service account's token is to be.
pub(super) struct Wanted<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    /// None: for the API server.
    pub(super) audiences: Vec<String>,
    pub(super) now_ms: u64,
    pub(super) seconds: u64,
    pub(super) pod: Option<(String, String)>,
}

impl Tokens {
    pub(super) fn user(&mut self, user: User) -> String {
        let token = secret();
        self.0.insert(token.clone(), Holder::User(user));
        token
    }

    /// `None` where there is no such account.
    pub(super) fn account(&mut self, store: &Store, wanted: Wanted<'_>) -> Option<String> {
        let uid = uid_of(store, "serviceaccounts", wanted.namespace, wanted.name)?;
        let mut audiences = wanted.audiences;
        if audiences.is_empty() {
            audiences.push(API_AUDIENCE.to_owned());
        }
        let expires_ms = wanted.now_ms + wanted.seconds * 1000;
        let user = format!("system:serviceaccount:{}:{}", wanted.namespace, wanted.name);
        // The shape of a JSON web token, for those who look into it.
        let claims = json!({ "aud": audiences, "exp": expires_ms / 1000, "sub": user });
        let encode = |text: &Value| URL_SAFE_NO_PAD.encode(text.to_string());
        let head = encode(&json!({ "alg": "ES256", "typ": "JWT" }));
        let token = format!("{head}.{}.{}", encode(&claims), secret());
        let holder = Holder::Account {
            namespace: wanted.namespace.to_owned(),
            name: wanted.name.to_owned(),
            uid,
            audiences,
            expires_ms,
            pod: wanted.pod,
        };
        self.0.insert(token.clone(), holder);
        Some(token)
    }

    /// Whose token this is, and for which of the wanted audiences.
    pub(super) fn review(
        &self,
        store: &Store,
        token: &str,
        wanted: &[String],
        now_ms: u64,
    ) -> Result<(User, Vec<String>), &'static str> {
        let holder = self.0.get(token).ok_or("invalid bearer token")?;
        let Holder::Account {
            namespace,
            name,
            uid,
            audiences,
            expires_ms,
            pod,
        } = holder
        else {
            let Holder::User(user) = holder else {
                return Err("invalid bearer token");
            };
            return Ok((user.clone(), Vec::new()));
        };
        if *expires_ms <= now_ms {
            return Err("service account token has expired");
        }
        if uid_of(store, "serviceaccounts", namespace, name).as_ref() != Some(uid) {
            return Err("service account token has been invalidated");
        }
        if let Some((pod, uid)) = pod
            && uid_of(store, "pods", namespace, pod).as_ref() != Some(uid)
        {
            return Err("the pod of the service account token is gone");
        }
        let common: Vec<_> = wanted
            .iter()
            .filter(|wanted| audiences.contains(wanted))
            .cloned()
            .collect();
        if common.is_empty() {
            return Err("token audiences are invalid for the target audiences");
        }
        let group = format!("system:serviceaccounts:{namespace}");
        let mut user = User::named(
            &format!("system:serviceaccount:{namespace}:{name}"),
            &["system:serviceaccounts", &group],
        );
        user.uid.clone_from(uid);
        user.pod.clone_from(pod);
        Ok((user, common))
    }

    /// The status of a TokenReview.
    pub(super) fn answer(&self, store: &Store, spec: &Value, now_ms: u64) -> Value {
        let wanted = strings(&spec["audiences"]);
        let wanted = if wanted.is_empty() {
            vec![API_AUDIENCE.to_owned()]
        } else {
            wanted
        };
        let token = spec["token"].as_str().unwrap_or_default();
        match self.review(store, token, &wanted, now_ms) {
            Ok((user, audiences)) => {
                let mut status = json!({ "authenticated": true, "audiences": audiences, "user": {
                    "username": user.name, "groups": user.groups, "uid": user.uid } });
                if let Some((name, uid)) = user.pod {
                    status["user"]["extra"] = json!({
                        "authentication.kubernetes.io/pod-name": [name],
                        "authentication.kubernetes.io/pod-uid": [uid],
                    });
                }
                status
            }
            Err(why) => json!({ "user": {}, "error": format!("[{why}]") }),
        }
    }
}

/// The texts of a list.
pub(super) fn strings(list: &Value) -> Vec<String> {
    let texts = list.as_array().into_iter().flatten();
    texts
        .filter_map(Value::as_str)
        .map(ToOwned::to_owned)
        .collect()
}

fn uid_of(store: &Store, resource: &str, namespace: &str, name: &str) -> Option<String> {
    let kind = kinds::by_resource(resource)?;
    let object = store.get(&Key::new(kind, namespace, name))?;
    Some(object["metadata"]["uid"].as_str()?.to_owned())
}

fn secret() -> String {
    let bytes: [u8; 32] = rand::rng().random();
    URL_SAFE_NO_PAD.encode(bytes)
}
