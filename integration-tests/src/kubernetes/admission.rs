//! Admission webhooks (admissionregistration.k8s.io/v1): who is asked about a write, how, and what
//! becomes of the write then. A webhook's Service is wherever the test says it is. The expressions of
//! `matchConditions` are not evaluated: everything matches.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ApiServer;
use super::call::Call;
use super::kinds;
use super::patch;
use super::refusal::Refusal;
use super::state::{Shared, State};
use super::store::Key;
use super::tokens::{User, strings};

impl ApiServer {
    /// Where the port of a Service is answered.
    pub fn route(&self, namespace: &str, service: &str, port: u16, address: SocketAddr) {
        let at = (namespace.to_owned(), service.to_owned(), port);
        self.shared.state.lock().routes.insert(at, address);
    }

    /// How long each webhook call took since the last call of this, in the order they were made.
    #[must_use]
    pub fn admissions(&self) -> Vec<Duration> {
        std::mem::take(&mut self.shared.state.lock().admissions)
    }
}

/// One webhook that is to be asked.
struct Webhook {
    name: String,
    mutating: bool,
    fails_open: bool,
    timeout: Duration,
    ca: Vec<u8>,
    /// Its certificate's name.
    host: String,
    path: String,
    address: Option<SocketAddr>,
}

/// A write as webhooks are told of it.
pub(super) struct Proposal<'a> {
    pub(super) call: &'a Call,
    pub(super) user: &'a User,
    /// `CREATE` or `UPDATE`.
    pub(super) operation: &'static str,
    pub(super) object: Value,
    pub(super) before: Value,
}

/// Whether anybody wants to be asked of such a write.
pub(super) fn concerns(state: &State, call: &Call, operation: &str) -> bool {
    !webhooks(state, call, operation).is_empty()
}

/// The object as the webhooks leave it, or why one of them does not want it.
pub(super) async fn review(shared: &Arc<Shared>, proposal: Proposal<'_>) -> Result<Value, Refusal> {
    let Proposal {
        call,
        user,
        operation,
        mut object,
        before,
    } = proposal;
    let asked = webhooks(&shared.state.lock(), call, operation);
    let mut reviews = 0;
    for webhook in asked {
        reviews += 1;
        let request = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
                "uid": format!("review-{reviews}"),
                "kind": { "group": call.kind.group, "version": call.kind.version,
                          "kind": call.kind.kind },
                "resource": { "group": call.kind.group, "version": call.kind.version,
                              "resource": call.kind.resource },
                "namespace": call.namespace,
                // Empty while a name is still to be generated.
                "name": call.name,
                "operation": operation,
                "userInfo": { "username": user.name, "groups": user.groups },
                "object": object, "oldObject": before,
                "dryRun": call.query("dryRun").is_some(),
            },
        });
        let started = Instant::now();
        let answered = tokio::time::timeout(webhook.timeout, ask(&webhook, &request)).await;
        shared.state.lock().admissions.push(started.elapsed());
        let answer = match answered {
            Ok(Ok(answer)) => answer,
            failed => {
                let why = match failed {
                    Ok(Err(error)) => format!("{error:#}"),
                    _ => "context deadline exceeded".to_owned(),
                };
                if webhook.fails_open {
                    continue;
                }
                return Err(Refusal::webhook_failed(&webhook.name, &why));
            }
        };
        if answer["allowed"] != true {
            let said = answer.pointer("/status/message").and_then(Value::as_str);
            let code = answer.pointer("/status/code").and_then(Value::as_u64);
            let code = code
                .and_then(|code| u16::try_from(code).ok())
                .unwrap_or(403);
            let said = said.unwrap_or("without explanation");
            return Err(Refusal::denied(&webhook.name, code, said));
        }
        if let Some(text) = answer["patch"].as_str().filter(|_| webhook.mutating) {
            let steps = STANDARD.decode(text).ok();
            let steps = steps.and_then(|text| serde_json::from_slice(&text).ok());
            let steps = steps.unwrap_or(Value::Null);
            let done = patch::json(&mut object, &steps);
            done.map_err(|why| Refusal::webhook_failed(&webhook.name, &why))?;
        }
    }
    Ok(object)
}

/// Those whose rules and namespace fit, mutating ones first.
fn webhooks(state: &State, call: &Call, operation: &str) -> Vec<Webhook> {
    let mut found = Vec::new();
    for (resource, mutating) in [
        ("mutatingwebhookconfigurations", true),
        ("validatingwebhookconfigurations", false),
    ] {
        let Some(kind) = kinds::by_resource(resource) else {
            continue;
        };
        for configuration in state.store.list(kind, "") {
            for webhook in configuration["webhooks"].as_array().into_iter().flatten() {
                if wants(webhook, call, operation) && selects(state, webhook, call) {
                    found.push(read(state, webhook, mutating));
                }
            }
        }
    }
    found
}

fn wants(webhook: &Value, call: &Call, operation: &str) -> bool {
    let resource = match call.subresource.as_str() {
        "" => call.kind.resource.to_owned(),
        sub => format!("{}/{sub}", call.kind.resource),
    };
    let fits = |list: &Value, wanted: &str| {
        let texts = strings(list);
        texts.iter().any(|text| text == "*" || text == wanted)
    };
    let mut rules = webhook["rules"].as_array().into_iter().flatten();
    rules.any(|rule| {
        fits(&rule["apiGroups"], call.kind.group)
            && fits(&rule["apiVersions"], call.kind.version)
            && fits(&rule["operations"], operation)
            && fits(&rule["resources"], &resource)
    })
}

/// Whether the namespace's labels are those that the selector wants.
fn selects(state: &State, webhook: &Value, call: &Call) -> bool {
    let Some(kind) = kinds::by_resource("namespaces").filter(|_| !call.namespace.is_empty()) else {
        return true;
    };
    let namespace = state.store.get(&Key::new(kind, "", &call.namespace));
    let labels = namespace
        .map(|ns| ns["metadata"]["labels"].clone())
        .unwrap_or_default();
    let selector = &webhook["namespaceSelector"];
    let exact = selector["matchLabels"].as_object().into_iter().flatten();
    let exact = exact.into_iter().all(|(key, value)| labels[key] == *value);
    let mut expressions = selector["matchExpressions"]
        .as_array()
        .into_iter()
        .flatten();
    exact
        && expressions.all(|term| {
            let label = &labels[term["key"].as_str().unwrap_or_default()];
            let values = strings(&term["values"]);
            let among = label
                .as_str()
                .is_some_and(|label| values.iter().any(|v| v == label));
            match term["operator"].as_str() {
                Some("In") => among,
                Some("NotIn") => !among,
                Some("Exists") => !label.is_null(),
                Some("DoesNotExist") => label.is_null(),
                _ => false,
            }
        })
}

fn read(state: &State, webhook: &Value, mutating: bool) -> Webhook {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let config = &webhook["clientConfig"];
    let service = &config["service"];
    let (namespace, name) = (text(&service["namespace"]), text(&service["name"]));
    let port = service["port"]
        .as_u64()
        .and_then(|port| u16::try_from(port).ok());
    let host = format!("{name}.{namespace}.svc");
    let at = (namespace, name, port.unwrap_or(443));
    Webhook {
        name: text(&webhook["name"]),
        mutating,
        fails_open: webhook["failurePolicy"] == "Ignore",
        timeout: Duration::from_secs(webhook["timeoutSeconds"].as_u64().unwrap_or(10)),
        ca: STANDARD
            .decode(text(&config["caBundle"]))
            .unwrap_or_default(),
        host,
        path: text(&service["path"]),
        address: state.routes.get(&at).copied(),
    }
}

async fn ask(webhook: &Webhook, request: &Value) -> anyhow::Result<Value> {
    let address = webhook.address;
    let address = address.ok_or_else(|| anyhow::anyhow!("no endpoints available for service"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&webhook.ca) {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(webhook.host.clone())?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::post(&webhook.path)
        .header(header::HOST, &webhook.host)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(request.to_string())))?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        anyhow::ensure!(
            answer.status() == StatusCode::OK,
            "answered with {}",
            answer.status()
        );
        let bytes = answer.into_body().collect().await?.to_bytes();
        let review: Value = serde_json::from_slice(&bytes)?;
        Ok(review["response"].clone())
    };
    tokio::select! {
        answer = exchange => answer,
        ended = connection => {
            ended?;
            anyhow::bail!("the connection ended")
        }
    }
}
