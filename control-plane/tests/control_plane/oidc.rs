//! Signing in at an OpenID provider: a real one in this process, over TLS, that signs tokens and can
//! be told to misbehave.
#![expect(clippy::unwrap_used, reason = "a test fails so")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use axum::extract::{Form, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, StatusCode};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;
use zen_control_plane::OidcSettings;

use super::browser::{Browser, Page};
use super::common::{Running, clock, config};

const CLIENT: &str = "zen & mesh";
const SECRET: &str = "a secret: with/odd characters";

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Signing {
    Rs256,
    Es256,
    EdDsa,
    /// By a key that the provider does not show, under the name of one that it does.
    Stranger,
    /// Not at all.
    Nothing,
}

/// What the provider does next.
#[derive(Clone)]
struct Behaviour {
    signing: Signing,
    /// Claims that are not as they should be.
    changed: Value,
}

struct Keys {
    rsa: RsaKeyPair,
    ecdsa: EcdsaKeyPair,
    eddsa: Ed25519KeyPair,
    stranger: EcdsaKeyPair,
}

struct Provider {
    issuer: String,
    now: u64,
    keys: Keys,
    behaviour: Mutex<Behaviour>,
    /// Codes given out: nonce, challenge, redirect.
    codes: Mutex<HashMap<String, [String; 3]>>,
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

impl Provider {
    /// Listens with a certificate of its own, which it writes to `ca.pem`.
    async fn start(folder: &Path, now: u64) -> Arc<Self> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("ca.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("secret"), format!("{SECRET}\n")).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let random = || EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let provider = Arc::new(Self {
            issuer: format!("https://localhost:{port}"),
            now,
            keys: Keys {
                rsa: RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap(),
                ecdsa: random(),
                eddsa: Ed25519KeyPair::generate().unwrap(),
                stranger: random(),
            },
            behaviour: Mutex::new(Behaviour {
                signing: Signing::Rs256,
                changed: json!({}),
            }),
            codes: Mutex::default(),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(describe))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(Arc::clone(&provider));
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let aws = rustls::crypto::aws_lc_rs::default_provider();
        let tls = rustls::ServerConfig::builder_with_provider(aws.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, router) = (acceptor.clone(), router.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = TowerToHyperService::new(router);
                    let builder = hyper::server::conn::http1::Builder::new();
                    let _ended = builder
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        provider
    }

    /// What the person does at the provider: signs in there, and is sent back with a code.
    fn sign_in(&self, location: &str) -> String {
        let url = url::Url::parse(location).unwrap();
        assert!(location.starts_with(&format!("{}/authorize?", self.issuer)));
        let asked: HashMap<_, _> = url.query_pairs().into_owned().collect();
        assert_eq!(asked["response_type"], "code");
        assert_eq!(asked["client_id"], CLIENT);
        assert_eq!(asked["code_challenge_method"], "S256");
        assert!(asked["scope"].split(' ').any(|scope| scope == "openid"));
        let code = format!("code-{}", self.codes.lock().len());
        let kept = ["nonce", "code_challenge", "redirect_uri"].map(|name| asked[name].clone());
        self.codes.lock().insert(code.clone(), kept);
        let back = url::Url::parse(&asked["redirect_uri"]).unwrap();
        assert_eq!(back.path(), "/sign-in/oidc/callback");
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("code", &code)
            .append_pair("state", &asked["state"])
            .finish();
        format!("{}?{query}", back.path())
    }

    fn id_token(&self, nonce: &str) -> String {
        let behaviour = self.behaviour.lock().clone();
        let mut claims = json!({
            "iss": self.issuer, "aud": CLIENT, "sub": "1", "nonce": nonce,
            "iat": self.now, "exp": self.now + 300,
            "email": "grace@example.org", "email_verified": true, "name": "Grace",
        });
        for (name, value) in behaviour.changed.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let (alg, kid) = match behaviour.signing {
            Signing::Rs256 => ("RS256", "r"),
            Signing::Es256 | Signing::Stranger => ("ES256", "e"),
            Signing::EdDsa => ("EdDSA", "d"),
            Signing::Nothing => ("none", "e"),
        };
        let header = json!({"alg": alg, "kid": kid, "typ": "JWT"});
        let signed = format!("{}.{}", part(&header), part(&claims));
        let (random, message) = (SystemRandom::new(), signed.as_bytes());
        let ecdsa = |key: &EcdsaKeyPair| key.sign(&random, message).unwrap().as_ref().to_vec();
        let signature = match behaviour.signing {
            Signing::Rs256 => {
                let rsa = &self.keys.rsa;
                let mut signature = vec![0; rsa.public_modulus_len()];
                rsa.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Signing::Es256 => ecdsa(&self.keys.ecdsa),
            Signing::Stranger => ecdsa(&self.keys.stranger),
            Signing::EdDsa => self.keys.eddsa.sign(message).as_ref().to_vec(),
            Signing::Nothing => Vec::new(),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn behave(&self, signing: Signing, changed: Value) {
        *self.behaviour.lock() = Behaviour { signing, changed };
    }
}

async fn describe(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let issuer = &provider.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
    }))
}

async fn keys(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let keys = &provider.keys;
    let (n, e) = rsa_numbers(keys.rsa.public_key().as_ref());
    let point = keys.ecdsa.public_key().as_ref();
    Json(json!({"keys": [
        {"kty": "unheard-of", "kid": "u"},
        {"kty": "RSA", "kid": "r", "use": "sig", "alg": "RS256", "n": b64(n), "e": b64(e)},
        {"kty": "EC", "kid": "e", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..])},
        {"kty": "OKP", "kid": "d", "crv": "Ed25519", "x": b64(keys.eddsa.public_key().as_ref())},
    ]}))
}

/// Modulus and exponent out of `SEQUENCE { INTEGER, INTEGER }`.
fn rsa_numbers(der: &[u8]) -> (&[u8], &[u8]) {
    fn value(der: &[u8]) -> (&[u8], &[u8]) {
        let (length, rest) = match der[1] {
            0x81 => (der[2] as usize, &der[3..]),
            0x82 => (usize::from(der[2]) << 8 | usize::from(der[3]), &der[4..]),
            short => (short as usize, &der[2..]),
        };
        rest.split_at(length)
    }
    let (inner, _) = value(der);
    let (n, rest) = value(inner);
    let (e, _) = value(rest);
    (n.strip_prefix(&[0]).unwrap_or(n), e)
}

async fn token(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> axum::response::Response {
    let plain = |text: &str| {
        let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        encoded
    };
    let expected = STANDARD.encode(format!("{}:{}", plain(CLIENT), plain(SECRET)));
    let presented = headers.get("authorization").and_then(|v| v.to_str().ok());
    let code = provider.codes.lock().remove(&form["code"]);
    let verifier = digest(&SHA256, form["code_verifier"].as_bytes());
    match code {
        Some([nonce, challenge, redirect])
            if presented == Some(&format!("Basic {expected}"))
                && form["grant_type"] == "authorization_code"
                && form["redirect_uri"] == redirect
                && URL_SAFE_NO_PAD.encode(verifier) == challenge =>
        {
            let id_token = provider.id_token(&nonce);
            let answer = json!({"id_token": id_token, "access_token": "x", "token_type": "Bearer"});
            Json(answer).into_response()
        }
        _ => (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": "invalid_grant"})),
        )
            .into_response(),
    }
}

/// A control plane that trusts the provider.
async fn started(folder: &Path) -> (Running, Arc<Provider>) {
    let clock = clock();
    let provider = Provider::start(folder, clock.unix_ms() / 1000).await;
    let mut config = config(&folder.join("state"));
    config.oidc = Some(OidcSettings {
        issuer: provider.issuer.clone(),
        client_id: CLIENT.to_owned(),
        client_secret_file: folder.join("secret"),
        name: "Example".to_owned(),
        allowed_domains: vec!["Example.org".to_owned()],
        default_role: "editor".to_owned(),
        tenant: None,
        ca_file: Some(folder.join("ca.pem")),
    });
    (Running::start_with(config, clock).await, provider)
}

/// Goes to the provider and comes back.
async fn round(browser: &mut Browser, provider: &Provider) -> Page {
    let away = browser.get("/sign-in/oidc?next=%2Fflows").await;
    assert_eq!(away.status, 303, "{}", away.text);
    let back = provider.sign_in(away.location());
    browser.get(&back).await
}

#[tokio::test]
async fn a_person_of_an_allowed_domain_comes_in_by_the_provider_with_every_algorithm() {
    let folder = tempfile::tempdir().unwrap();
    let (running, provider) = started(folder.path()).await;
    let page = Browser::new(running.http).get("/sign-in").await;
    assert!(page.text.contains("Sign in with Example"));
    for signing in [Signing::Rs256, Signing::Es256, Signing::EdDsa] {
        provider.behave(signing, json!({}));
        let mut browser = Browser::new(running.http);
        let back = round(&mut browser, &provider).await;
        assert_eq!(back.status, 303, "{signing:?}: {}", back.text);
        assert_eq!(back.location(), "/flows");
        let (_, me) = browser.call("GET", "/v1/me", Value::Null).await;
        assert_eq!(
            (me["name"].as_str(), me["role"].as_str()),
            (Some("grace@example.org"), Some("editor"))
        );
        assert_eq!(me["operator"], false);
    }
    // One account, made once.
    let people = running.get("/v1/users").await.to_string();
    assert_eq!(people.matches("grace@example.org").count(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_token_that_does_not_hold_lets_nobody_in() {
    let folder = tempfile::tempdir().unwrap();
    let (running, provider) = started(folder.path()).await;
    let now = provider.now;
    let table = [
        (
            Signing::Rs256,
            json!({"nonce": "another"}),
            "OIDC_TOKEN_INVALID",
        ),
        (
            Signing::Rs256,
            json!({"aud": "another"}),
            "OIDC_TOKEN_INVALID",
        ),
        (
            Signing::Rs256,
            json!({"iss": "https://evil.example"}),
            "OIDC_TOKEN_INVALID",
        ),
        (
            Signing::Rs256,
            json!({"exp": now - 61}),
            "OIDC_TOKEN_INVALID",
        ),
        (
            Signing::Rs256,
            json!({"iat": now + 600}),
            "OIDC_TOKEN_INVALID",
        ),
        (Signing::Stranger, json!({}), "OIDC_TOKEN_INVALID"),
        (Signing::Nothing, json!({}), "OIDC_TOKEN_INVALID"),
        (
            Signing::Rs256,
            json!({"email_verified": false}),
            "OIDC_EMAIL_UNVERIFIED",
        ),
        (
            Signing::Rs256,
            json!({"email": null}),
            "OIDC_EMAIL_UNVERIFIED",
        ),
        (
            Signing::Rs256,
            json!({"email": "eve@evil.example"}),
            "OIDC_NO_ACCOUNT",
        ),
    ];
    for (signing, changed, code) in table {
        provider.behave(signing, changed.clone());
        let mut browser = Browser::new(running.http);
        let back = round(&mut browser, &provider).await;
        assert_eq!(back.status, 403, "{signing:?} {changed}");
        assert!(
            back.text.contains(code),
            "{signing:?} {changed}: {}",
            back.text
        );
        assert!(browser.cookies.is_empty(), "{:?}", browser.cookies);
    }
    let people = running.get("/v1/users").await.to_string();
    assert!(!people.contains("grace@example.org") && !people.contains("eve@"));
    running.stop().await;
}

#[tokio::test]
async fn only_the_browser_that_went_out_comes_back_and_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let (running, provider) = started(folder.path()).await;
    let mut browser = Browser::new(running.http);
    let away = browser.get("/sign-in/oidc").await;
    let back = provider.sign_in(away.location());
    let stranger = Browser::new(running.http).get(&back).await;
    assert!(stranger.text.contains("OIDC_OTHER_BROWSER"));
    let mut other = Browser::new(running.http);
    other.get("/sign-in/oidc").await;
    assert!(other.get(&back).await.text.contains("OIDC_OTHER_BROWSER"));
    running.clock.advance(std::time::Duration::from_secs(601));
    assert!(browser.get(&back).await.text.contains("OIDC_TOO_LATE"));
    let mut browser = Browser::new(running.http);
    let away = browser.get("/sign-in/oidc").await;
    let url = url::Url::parse(away.location()).unwrap();
    let state = url
        .query_pairs()
        .find(|(name, _)| name == "state")
        .unwrap()
        .1;
    let refused = format!("/sign-in/oidc/callback?error=access_denied&state={state}");
    assert!(browser.get(&refused).await.text.contains("OIDC_REFUSED"));
    running.stop().await;
}
