//! Connections and requests: who asks, what goes wrong on command, whether they may, the verb.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::Asked;
use super::admission::{self, Proposal};
use super::call::Call;
use super::discovery;
use super::events;
use super::protobuf;
use super::rbac::{self, Attributes};
use super::refusal::Refusal;
use super::state::{Shared, State};
use super::store::Key;
use super::tokens::{API_AUDIENCE, User};
use super::watch::{self, Lines};
use super::write::Write;

/// Largest body of a request, as etcd would take it.
const LARGEST: usize = 3 * 1024 * 1024;

type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

enum Reply {
    Whole(u16, Value),
    Watch(Lines),
}

pub(super) async fn serve(listener: TcpListener, tls: TlsAcceptor, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
        };
        let _nodelay = stream.set_nodelay(true);
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(answer(request, &shared).await) }
            });
            // A client that goes is no business of ours.
            let _ended = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(request: Request<Incoming>, shared: &Arc<Shared>) -> Response<Body> {
    match take(request, shared).await {
        Ok(Reply::Whole(code, object)) => whole(code, &object),
        Ok(Reply::Watch(lines)) => {
            let lines = lines.map(|line| Ok(Frame::data(line)));
            respond(200, lines.boxed())
        }
        Err(refusal) => {
            let mut response = whole(refusal.code, &refusal.status());
            if let Some(after) = refusal.retry_after {
                response.headers_mut().insert(RETRY_AFTER, after.into());
            }
            response
        }
    }
}

fn whole(code: u16, object: &Value) -> Response<Body> {
    let bytes = Bytes::from(object.to_string());
    let frame = futures::stream::once(async move { Ok(Frame::data(bytes)) });
    respond(code, frame.boxed())
}

fn respond(
    code: u16,
    body: BoxStream<'static, Result<Frame<Bytes>, Infallible>>,
) -> Response<Body> {
    let mut response = Response::new(StreamBody::new(body));
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

async fn take(request: Request<Incoming>, shared: &Arc<Shared>) -> Result<Reply, Refusal> {
    let (head, body) = request.into_parts();
    let text = |name: HeaderName| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let user = {
        let state = shared.state.lock();
        user(&state, &text(AUTHORIZATION), shared.now_ms())?
    };
    let delay = {
        let faults = &shared.state.lock().faults;
        faults.delay.filter(|_| faults.meets(&user.name))
    };
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
    if let Some(told) = discovery::answer(head.uri.path()) {
        return Ok(Reply::Whole(200, told));
    }
    if ["/livez", "/readyz", "/healthz"].contains(&head.uri.path()) {
        return Ok(Reply::Whole(200, "ok".into()));
    }
    let call = Call::parse(&head.method, &head.uri).ok_or_else(Refusal::no_path)??;
    let accept = text(ACCEPT);
    if !accept.is_empty() && !accept.contains("json") && !accept.contains("*/*") {
        return Err(Refusal::media_type());
    }
    let form = text(CONTENT_TYPE);
    let form = form.split(';').next().unwrap_or_default().trim().to_owned();
    let body = Limited::new(body, LARGEST).collect().await;
    let body = body.map_err(|_| Refusal::bad("the body is too large or was broken off"))?;
    let request = Judged {
        manager: call.manager(&text(USER_AGENT)),
        call,
        user,
        form,
    };
    request.carry_out(shared, &body.to_bytes()).await
}

fn user(state: &State, authorization: &str, now_ms: u64) -> Result<User, Refusal> {
    let Some(token) = authorization.strip_prefix("Bearer ") else {
        return Ok(User::anonymous());
    };
    let audience = [API_AUDIENCE.to_owned()];
    let known = state.tokens.review(&state.store, token, &audience, now_ms);
    known
        .map(|(user, _)| user)
        .map_err(|_| Refusal::unauthorized())
}

/// A request whose sender is known.
struct Judged {
    call: Call,
    user: User,
    manager: String,
    form: String,
}

impl Judged {
    async fn carry_out(self, shared: &Arc<Shared>, body: &[u8]) -> Result<Reply, Refusal> {
        let verb = self.call.verb;
        self.admit(shared, verb)?;
        let result = match self.read(body) {
            Ok(body) => match self.reviewed(shared, body).await {
                Ok(body) => self.do_it(shared, body),
                Err(refusal) => Err(refusal),
            },
            Err(refusal) => Err(refusal),
        };
        let code = match &result {
            Ok(Reply::Whole(code, _)) => *code,
            Ok(Reply::Watch(_)) => 200,
            Err(refusal) => refusal.code,
        };
        self.note(&mut shared.state.lock(), verb, code);
        result
    }

    /// What webhooks make of a write; they see the object as it would be kept.
    async fn reviewed(&self, shared: &Arc<Shared>, body: Value) -> Result<Value, Refusal> {
        let call = &self.call;
        if !["create", "update", "patch"].contains(&call.verb) {
            return Ok(body);
        }
        let (operation, before, object) = {
            let mut state = shared.state.lock();
            let key = Key::new(call.kind, &call.namespace, &call.name);
            let before = state.store.get(&key).filter(|_| call.verb != "create");
            let operation = if before.is_some() { "UPDATE" } else { "CREATE" };
            if !admission::concerns(&state, call, operation) {
                return Ok(body);
            }
            let object = match call.verb {
                "patch" => {
                    let mut dry = call.clone();
                    dry.set("dryRun", "All");
                    state
                        .patch(self.write(&dry, body.clone(), shared.now_ms()))?
                        .1
                }
                _ => body.clone(),
            };
            (operation, before, object)
        };
        let proposal = Proposal {
            call,
            user: &self.user,
            operation,
            object,
            before: before
                .map(|before| Value::clone(&before))
                .unwrap_or_default(),
        };
        let reviewed = admission::review(shared, proposal).await?;
        Ok(if call.verb == "patch" { body } else { reviewed })
    }

    fn write<'a>(&'a self, call: &'a Call, body: Value, now_ms: u64) -> Write<'a> {
        Write {
            call,
            user: &self.user,
            manager: &self.manager,
            media_type: &self.form,
            body,
            now_ms,
        }
    }

    /// Faults on command, then rights.
    fn admit(&self, shared: &Arc<Shared>, verb: &str) -> Result<(), Refusal> {
        let mut state = shared.state.lock();
        let faults = &mut state.faults;
        if faults.meets(&self.user.name) {
            let weather = if faults.throttled > 0 {
                faults.throttled -= 1;
                Some((429, Some(faults.retry_after)))
            } else {
                faults.weather
            };
            if let Some((code, after)) = weather {
                self.note(&mut state, verb, code);
                return Err(Refusal::weather(code, after));
            }
        }
        self.judge(&mut state, verb)
    }

    fn judge(&self, state: &mut State, verb: &str) -> Result<(), Refusal> {
        let call = &self.call;
        let asked = Attributes {
            verb: verb.to_owned(),
            group: call.kind.group.to_owned(),
            resource: call.kind.resource.to_owned(),
            subresource: call.subresource.clone(),
            namespace: call.namespace.clone(),
            name: call.judged_name().to_owned(),
        };
        if rbac::allowed(&state.store, &self.user, &asked) {
            return Ok(());
        }
        self.note(state, verb, 403);
        let place = if call.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {:?}", call.namespace)
        };
        let why = format!(
            "User {:?} cannot {verb} resource {:?} in API group {:?} {place}",
            self.user.name, call.kind.resource, call.kind.group
        );
        Err(Refusal::forbidden(call.kind, &asked.name, &why))
    }

    fn note(&self, state: &mut State, verb: &str, code: u16) {
        let call = &self.call;
        state.asked.push(Asked {
            user: self.user.name.clone(),
            verb: verb.to_owned(),
            group: call.kind.group.to_owned(),
            resource: call.kind.resource.to_owned(),
            subresource: call.subresource.clone(),
            namespace: call.namespace.clone(),
            name: call.judged_name().to_owned(),
            code,
        });
    }

    fn do_it(&self, shared: &Arc<Shared>, body: Value) -> Result<Reply, Refusal> {
        let call = &self.call;
        match call.verb {
            "watch" => return Ok(Reply::Watch(watch::begin(shared, call)?)),
            "list" => return Ok(Reply::Whole(200, shared.state.lock().list(call)?)),
            "get" => return Ok(Reply::Whole(200, shared.state.lock().get(call)?)),
            _ => {}
        }
        let write = self.write(call, body, shared.now_ms());
        let creates = self.form == "application/apply-patch+yaml" && call.verb == "patch";
        let (code, object) = shared.change(|state| {
            // An apply that would create needs the right to create this very name.
            if creates && state.store.get(&write.key()).is_none() {
                self.judge(state, "create")?;
                self.note(state, "create", 201);
            }
            match call.verb {
                "create" => state.create(write),
                "update" => state.update(write),
                "patch" => state.patch(write),
                "delete" => state.delete(&write),
                _ => state.delete_all(&write),
            }
        })?;
        Ok(Reply::Whole(code, events::shown(call.kind, &object)))
    }

    fn read(&self, body: &[u8]) -> Result<Value, Refusal> {
        let unreadable = |why: String| Refusal::bad(format!("the body cannot be read: {why}"));
        if body.is_empty() {
            return Ok(Value::Null);
        }
        match self.form.as_str() {
            "application/apply-patch+yaml" | "application/yaml" => {
                let text = std::str::from_utf8(body);
                let text = text.map_err(|error| unreadable(error.to_string()))?;
                serde_saphyr::from_str(text).map_err(|error| unreadable(error.to_string()))
            }
            "application/vnd.kubernetes.protobuf" => {
                protobuf::decode(body).ok_or_else(Refusal::media_type)
            }
            form if form.is_empty() || form.ends_with("json") => {
                serde_json::from_slice(body).map_err(|error| unreadable(error.to_string()))
            }
            _ => Err(Refusal::media_type()),
        }
    }
}
