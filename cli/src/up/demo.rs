//! The demo: a private service, an endpoint on each side, signed events both ways, and what came
//! of them. Everything goes through the API and real sockets.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use zen_chassis::{CancellationToken, Clock, Random, files};

use super::service::Service;
use crate::api::Api;
use crate::context::{PlaneJson, ZenJson};
use crate::output;

const EVENTS_EACH_WAY: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(60);

/// Signs a body: secret, the source's id of the event, Unix seconds, body → headers.
type Sign = fn(&[u8], &str, u64, &[u8]) -> Vec<(&'static str, String)>;

/// One way an event can take, and how the demo's events on it are signed.
struct Way {
    name: &'static str,
    path: &'static str,
    url: String,
    sign: Sign,
    secret: Vec<u8>,
}

/// Runs the demo; the answer says what was accepted and delivered on each way.
pub(crate) async fn run(
    api: &Api,
    zen: &ZenJson,
    random: &Random,
    stop: CancellationToken,
) -> anyhow::Result<Value> {
    let (data, edge) = (&zen.data_plane, &zen.edge_plane);
    let github = secret_text(&data.secrets_dir, "demo-github", random)?;
    let webhooks = secret_text(&edge.secrets_dir, "demo-webhooks", random)?;
    let signing = secret_text(&edge.secrets_dir, "demo-signing", random)?;
    let service = Service::start(key_bytes(&signing)?, stop).await?;
    let target = json!({ "name": "demo-service", "plane_id": edge.id,
        "url": format!("http://{}/", service.address), "signing_secrets": ["file:demo-signing"] });
    let target = settle(api, "/v1/targets", &target).await?;
    let endpoint = |name: &str, plane: &str, scheme: &str, secrets: &[&str]| {
        json!({ "name": name, "plane_id": plane,
            "verification": { "scheme": scheme, "secrets": secrets } })
    };
    let public = endpoint("demo-public", &data.id, "github", &["file:demo-github"]);
    let local = endpoint(
        "demo-local",
        &edge.id,
        "standard-webhooks",
        &["file:demo-webhooks"],
    );
    let open = endpoint("demo-open", &data.id, "none", &[]);
    let public = settle(api, "/v1/endpoints", &public).await?;
    let local = settle(api, "/v1/endpoints", &local).await?;
    let open = settle(api, "/v1/endpoints", &open).await?;
    for from in [&public, &local, &open] {
        let flow = json!({ "name": from["name"], "endpoint_id": from["id"],
            "target_id": target["id"] });
        settle(api, "/v1/flows", &flow).await?;
    }
    for plane in [data, edge] {
        applied(api, plane).await?;
    }
    let ways = [
        Way {
            name: "public",
            path: "ingester > bridge > egress",
            url: url_of(&public)?,
            sign: github_signature,
            secret: github.into_bytes(),
        },
        Way {
            name: "local",
            path: "edge ingester > egress",
            url: url_of(&local)?,
            sign: webhook_signature,
            secret: key_bytes(&webhooks)?,
        },
    ];
    let mut report = serde_json::Map::new();
    for way in &ways {
        report.insert(way.name.to_owned(), drive(way, &service, random).await?);
    }
    let open_url = url_of(&open)?;
    output::say("\nTry it yourself:");
    output::say(&format!(
        "  curl -i -d '{{\"hello\":\"world\"}}' {open_url}"
    ));
    let edge_id = &edge.id;
    output::say(&format!(
        "  zen delivery list --plane {edge_id} --context {}",
        zen.state_dir.join("zen.json").display()
    ));
    report.insert("curl_url".to_owned(), open_url.into());
    Ok(Value::Object(report))
}

/// Posts signed events one way and waits until the private service has them all.
async fn drive(way: &Way, service: &Service, random: &Random) -> anyhow::Result<Value> {
    let client: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    let mut received = service.received.clone();
    let (mut accepted, mut delivered, mut took) = (0, 0, Vec::new());
    for number in 1..=EVENTS_EACH_WAY {
        let body = json!({ "demo": way.name, "number": number })
            .to_string()
            .into_bytes();
        let id = format!("demo_{}", hex::encode(random.bytes::<8>()));
        let seconds = Clock::system().unix_ms() / 1_000;
        let mut request = Request::post(&way.url).header("content-type", "application/json");
        for (name, value) in (way.sign)(&way.secret, &id, seconds, &body) {
            request = request.header(name, value);
        }
        let start = Instant::now();
        let answer = client
            .request(request.body(Full::new(Bytes::from(body)))?)
            .await?;
        let status = answer.status();
        let text = Limited::new(answer.into_body(), 64 * 1024).collect().await;
        let text = text
            .map_err(|e| anyhow::anyhow!("the answer broke off: {e}"))?
            .to_bytes();
        anyhow::ensure!(
            status == http::StatusCode::ACCEPTED,
            "{} refused a demo event: {status} {}",
            way.url,
            String::from_utf8_lossy(&text)
        );
        accepted += 1;
        let event: Value = serde_json::from_slice(&text)?;
        let event = event["event_id"]
            .as_str()
            .context("no event id in the answer")?
            .to_owned();
        let came = received.wait_for(|all| all.contains_key(&event));
        if tokio::time::timeout(PATIENCE, came).await.is_ok() {
            let elapsed = start.elapsed();
            delivered += 1;
            output::say(&format!(
                "{:>7}  {event}  delivered after {:.1} ms  ({})",
                way.name,
                elapsed.as_secs_f64() * 1e3,
                way.path
            ));
            took.push(elapsed.as_secs_f64() * 1e3);
        } else {
            output::say(&format!("{:>7}  {event}  NOT delivered", way.name));
        }
    }
    took.sort_by(f64::total_cmp);
    let p50 = took.get(took.len() / 2).copied();
    Ok(json!({ "accepted": accepted, "delivered": delivered, "p50_ms": p50, "path": way.path }))
}

/// The row of `path` with this name, made or brought up to date.
async fn settle(api: &Api, path: &str, wanted: &Value) -> anyhow::Result<Value> {
    let known = api
        .all(path)
        .await?
        .into_iter()
        .find(|row| row["name"] == wanted["name"]);
    let Some(known) = known else {
        return api.post(path, wanted).await;
    };
    let id = known["id"]
        .as_str()
        .context("a row without an id")?
        .to_owned();
    match wanted.get("url") {
        Some(url) if known["url"] != *url => {
            api.patch(&format!("{path}/{id}"), &json!({ "url": url }))
                .await
        }
        _ => Ok(known),
    }
}

/// Waits until a plane and all its components run what was published last, and the control plane
/// knows where its ingester is now.
pub(crate) async fn applied(api: &Api, plane: &PlaneJson) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = api.get(&format!("/v1/planes/{}", plane.id)).await?;
        let published = &seen["published_revision"];
        let components = seen["components"].as_array().cloned().unwrap_or_default();
        let settled = seen["status"] == "connected"
            && components.len() >= 3
            && seen["ingest_url"] == plane.ingest
            && seen["applied_revision"] == *published
            && components
                .iter()
                .all(|component| component["applied_revision"] == *published);
        if settled {
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "plane {} did not settle: {seen}",
            plane.id
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn url_of(endpoint: &Value) -> anyhow::Result<String> {
    endpoint["url"]
        .as_str()
        .map(ToOwned::to_owned)
        .context("the endpoint has no URL yet")
}

/// The content of a secret file, made at first use: `whsec_` and 32 random bytes in base64.
fn secret_text(folder: &Path, name: &str, random: &Random) -> anyhow::Result<String> {
    files::make_private_folder(folder)?;
    let path = folder.join(name);
    if let Some(kept) = files::read_if_there(&path, 4096)? {
        return Ok(String::from_utf8(kept)?.trim_end().to_owned());
    }
    let text = format!("whsec_{}", STANDARD.encode(random.bytes::<32>()));
    files::write_durable(&path, text.as_bytes(), 0o600)?;
    Ok(text)
}

/// The key behind a `whsec_` secret (Standard Webhooks 1.0, symmetric).
fn key_bytes(text: &str) -> anyhow::Result<Vec<u8>> {
    Ok(STANDARD.decode(text.trim_start_matches("whsec_"))?)
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
    aws_lc_rs::hmac::sign(&key, message).as_ref().to_vec()
}

fn github_signature(
    secret: &[u8],
    id: &str,
    _seconds: u64,
    body: &[u8],
) -> Vec<(&'static str, String)> {
    vec![
        ("x-github-event", "ping".to_owned()),
        ("x-github-delivery", id.to_owned()),
        (
            "x-hub-signature-256",
            format!("sha256={}", hex::encode(mac(secret, body))),
        ),
    ]
}

fn webhook_signature(
    key: &[u8],
    id: &str,
    seconds: u64,
    body: &[u8],
) -> Vec<(&'static str, String)> {
    let mut signed = format!("{id}.{seconds}.").into_bytes();
    signed.extend_from_slice(body);
    vec![
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", seconds.to_string()),
        (
            "webhook-signature",
            format!("v1,{}", STANDARD.encode(mac(key, &signed))),
        ),
    ]
}
