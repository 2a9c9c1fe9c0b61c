//! Where pods fetch their secret, and the agent has its bundle opened: whose token it is → which pod
//! that is, as the API server knows it → find, open, allowed → written down → handed out.

use std::time::Instant;

use bytes::Bytes;
use serde_json::{Value, json};
use tonic::{Request, Response, Status};
use zen_chassis::chain::Chain;
use zen_proto::codes::SecretCode;
use zen_proto::limits;
use zen_proto::lock::v1::pod_service_server::PodService;
use zen_proto::lock::v1::{FetchRequest, FetchResponse, OpenBundleRequest, OpenBundleResponse};
use zen_seal::{Bundle, Unsealed};

use super::admission::service_account;
use super::cluster::{ApiError, Cluster, TOKEN_REVIEWS, pod_path};
use super::inject::{AUDIENCE, Wish, is_name};
use super::zenlocks::{self, NotOpened};
use crate::audit::Opening;
use crate::core::Core;
use crate::refusal;

/// Longest token that is judged.
const TOKEN: usize = 16 * 1024;
const POD_NAME: &str = "authentication.kubernetes.io~1pod-name";
const POD_UID: &str = "authentication.kubernetes.io~1pod-uid";

/// Answers pods. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pods {
    pub(super) core: Core,
    pub(super) cluster: Cluster,
    /// The agent's service account.
    pub(super) agent: String,
}

/// Whose a token is.
struct Holder {
    namespace: String,
    service_account: String,
    /// Name and uid of the pod that the token was made for.
    pod: Option<(String, String)>,
}

impl Holder {
    /// As the audit has it.
    fn who(&self) -> String {
        let (namespace, account) = (&self.namespace, &self.service_account);
        match &self.pod {
            Some((name, uid)) => {
                format!("system:serviceaccount:{namespace}:{account} pod {name} {uid}")
            }
            None => format!("system:serviceaccount:{namespace}:{account}"),
        }
    }
}

impl Pods {
    /// Whose token came with a request.
    async fn holder<T>(&self, request: &Request<T>) -> Result<Holder, SecretCode> {
        let header = request.metadata().get("authorization");
        let header = header.and_then(|value| value.to_str().ok());
        let token = header.and_then(|text| text.strip_prefix("Bearer "));
        let token = token.filter(|token| !token.is_empty() && token.len() <= TOKEN);
        let token = token.ok_or(SecretCode::CallerUnknown)?;
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": { "token": token, "audiences": [AUDIENCE] },
        });
        let judged = self.cluster.create(TOKEN_REVIEWS, &review).await;
        let judged = judged.map_err(|error| unavailable("token not judged", &error))?;
        holder(&judged).ok_or(SecretCode::CallerUnknown)
    }

    /// The pod of the token, which must be there, run as the token's service account, and ask for
    /// this secret.
    async fn pod_asks(&self, holder: &Holder, secret: &str) -> Result<(), SecretCode> {
        let (name, uid) = holder.pod.as_ref().ok_or(SecretCode::CallerUnknown)?;
        let path = pod_path(&holder.namespace, name);
        let found = self.cluster.get(&path).await;
        let pod = found.map_err(|error| unavailable("pod not read", &error))?;
        let pod = pod.ok_or(SecretCode::CallerUnknown)?;
        let same = pod.pointer("/metadata/uid").and_then(Value::as_str) == Some(uid)
            && service_account(&pod) == holder.service_account;
        if !same {
            return Err(SecretCode::CallerUnknown);
        }
        match Wish::of(&pod) {
            Ok(Some(wish)) if wish.secret == secret => Ok(()),
            _ => Err(SecretCode::NotAllowed),
        }
    }

    async fn fetched(&self, holder: &Holder, secret: &str) -> Result<Unsealed, SecretCode> {
        self.pod_asks(holder, secret).await?;
        let Holder {
            namespace,
            service_account,
            ..
        } = holder;
        let opened = zenlocks::open_for(
            &self.core,
            &self.cluster,
            namespace,
            secret,
            service_account,
        );
        match opened.await {
            Ok(opened) => Ok(opened),
            Err(NotOpened::Refused(code)) => Err(code),
            Err(NotOpened::Api(error)) => Err(unavailable("ZenLock not read", &error)),
        }
    }

    /// The bundle's JSON, for nobody but the agent, and nothing but a bundle.
    async fn bundle(
        &self,
        holder: &Result<Holder, SecretCode>,
        sealed: Bytes,
    ) -> Result<Bytes, SecretCode> {
        let holder = holder.as_ref().map_err(|code| *code)?;
        if holder.namespace != self.cluster.namespace || holder.service_account != self.agent {
            return Err(SecretCode::NotAllowed);
        }
        let keyring = self.core.opener.keyring().now();
        let work = move || opened_bundle(&sealed, keyring.all());
        let opened = self.core.pool.run(work).await;
        opened.unwrap_or(Err(SecretCode::LockUnreachable))
    }

    /// Writes down what came of it, counts it, and answers.
    async fn told<T>(
        &self,
        opening: Opening,
        label: &'static str,
        started: Instant,
        answer: Result<T, SecretCode>,
    ) -> Result<Response<T>, Status> {
        let outcome = answer
            .as_ref()
            .map_or_else(|code| code.code(), |_| "opened");
        let opening = Opening {
            at_ms: self.core.clock.unix_ms(),
            outcome: outcome.to_owned(),
            purpose: label.to_owned(),
            ..opening
        };
        let core = self.core.clone();
        let noted = self.core.pool.run(move || core.note(opening)).await;
        let answer = match noted {
            Some(Ok(())) => answer,
            Some(Err(code)) => Err(code),
            None => Err(SecretCode::LockUnreachable),
        };
        let outcome = answer
            .as_ref()
            .map_or_else(|code| code.code(), |_| "opened");
        self.core.metrics.asked(label, outcome, started.elapsed());
        answer.map(Response::new).map_err(refusal::status)
    }
}

#[tonic::async_trait]
impl PodService for Pods {
    async fn fetch(
        &self,
        request: Request<FetchRequest>,
    ) -> Result<Response<FetchResponse>, Status> {
        let started = Instant::now();
        let holder = self.holder(&request).await;
        let secret = request.into_inner().secret;
        let mut opening = opening(&holder);
        let fetched = match &holder {
            _ if !is_name(&secret) => Err(SecretCode::Unknown),
            Ok(holder) => {
                opening.what = format!("{}/{secret}", holder.namespace);
                self.fetched(holder, &secret).await
            }
            Err(code) => Err(*code),
        };
        let answer = fetched.map(|opened| {
            opening.key_id.clone_from(&opened.opened_with);
            opening.version.clone_from(&opened.secret.version);
            let values = opened.secret.values.iter();
            FetchResponse {
                values: values
                    .map(|(key, value)| (key.clone(), Bytes::copy_from_slice(value.expose())))
                    .collect(),
                version: opened.secret.version.clone(),
            }
        });
        self.told(opening, "pod", started, answer).await
    }

    async fn open_bundle(
        &self,
        request: Request<OpenBundleRequest>,
    ) -> Result<Response<OpenBundleResponse>, Status> {
        let started = Instant::now();
        let holder = self.holder(&request).await;
        let opening = Opening {
            what: "enrolment bundle".to_owned(),
            ..opening(&holder)
        };
        let opened = self.bundle(&holder, request.into_inner().sealed).await;
        let answer = opened.map(|bundle| OpenBundleResponse { bundle });
        self.told(opening, "bundle", started, answer).await
    }
}

fn opening(holder: &Result<Holder, SecretCode>) -> Opening {
    let who = holder
        .as_ref()
        .map_or_else(|_| "unknown".to_owned(), Holder::who);
    Opening {
        who,
        ..Opening::default()
    }
}

/// Whatever else is sealed for zen-lock is not opened this way.
fn opened_bundle(sealed: &[u8], identities: &[zen_seal::Identity]) -> Result<Bytes, SecretCode> {
    if identities.is_empty() {
        return Err(SecretCode::NoIdentity);
    }
    Bundle::open(sealed, identities).map_err(|_| SecretCode::Malformed)?;
    let opened = zen_seal::open(sealed, identities, limits::BUNDLE);
    let opened = opened.map_err(|_| SecretCode::Malformed)?;
    Ok(Bytes::from_owner(opened))
}

fn unavailable(what: &str, error: &ApiError) -> SecretCode {
    tracing::warn!(error = %Chain(error), "{what}");
    SecretCode::LockUnreachable
}

/// Whose a judged token is; nobody's if it does not hold or is meant for somebody else.
fn holder(judged: &Value) -> Option<Holder> {
    let status = &judged["status"];
    if status["authenticated"] != true {
        return None;
    }
    // A server that knows nothing of audiences says none, and judged the token by its own.
    let audiences = status["audiences"].as_array()?;
    if !audiences.iter().any(|audience| audience == AUDIENCE) {
        return None;
    }
    let user = status["user"]["username"].as_str()?;
    let account = user.strip_prefix("system:serviceaccount:")?;
    let (namespace, service_account) = account.split_once(':')?;
    if !is_name(namespace) || !is_name(service_account) {
        return None;
    }
    let extra = |key: &str| {
        let value = status.pointer(&format!("/user/extra/{key}/0"))?.as_str()?;
        (!value.is_empty()).then(|| value.to_owned())
    };
    let pod = extra(POD_NAME)
        .filter(|name| is_name(name))
        .zip(extra(POD_UID));
    Some(Holder {
        namespace: namespace.to_owned(),
        service_account: service_account.to_owned(),
        pod,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged() -> Value {
        json!({ "status": {
            "authenticated": true,
            "audiences": ["zen-lock"],
            "user": {
                "username": "system:serviceaccount:shop:api",
                "extra": {
                    "authentication.kubernetes.io/pod-name": ["api-1"],
                    "authentication.kubernetes.io/pod-uid": ["u-1"],
                },
            },
        } })
    }

    #[test]
    fn a_token_is_its_service_accounts_and_its_pods() {
        let found = holder(&judged()).unwrap();
        assert_eq!(found.who(), "system:serviceaccount:shop:api pod api-1 u-1");
    }

    #[test]
    fn a_token_that_does_not_hold_or_is_meant_for_another_is_nobodys() {
        for (place, value) in [
            ("/status/authenticated", json!(false)),
            ("/status/audiences", json!(["zen-agent"])),
            ("/status/audiences", json!(null)),
            ("/status/user/username", json!("system:node:a")),
            (
                "/status/user/username",
                json!("system:serviceaccount:../x:api"),
            ),
        ] {
            let mut judged = judged();
            *judged.pointer_mut(place).unwrap() = value;
            assert!(holder(&judged).is_none(), "{place}");
        }
        let mut unbound = judged();
        unbound["status"]["user"]["extra"] = json!({});
        assert!(holder(&unbound).unwrap().pod.is_none());
    }
}
