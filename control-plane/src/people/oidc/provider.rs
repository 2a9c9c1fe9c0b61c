//! What the provider says about itself: its addresses and its keys, kept for a while. A token with
//! an unknown key has the keys read again, but not more than once a minute, whoever asks.

use std::sync::Arc;

use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::OidcError;
use super::claims::{Claims, TokenFault};
use super::web::Web;

/// What was read is read again after this long, milliseconds.
const FRESH: u64 = 60 * 60 * 1000;
/// Pause between two readings of the keys for the sake of unknown ones, milliseconds.
const PAUSE: u64 = 60 * 1000;
/// Algorithms that are taken.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

/// The provider's addresses.
#[derive(Clone, Deserialize)]
pub(super) struct Described {
    issuer: String,
    #[serde(deserialize_with = "https")]
    pub(super) authorization_endpoint: Url,
    #[serde(deserialize_with = "https")]
    pub(super) token_endpoint: Url,
    #[serde(deserialize_with = "https")]
    jwks_uri: Url,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

fn https<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Url, D::Error> {
    let text = String::deserialize(from)?;
    let url = Url::parse(&text).map_err(serde::de::Error::custom)?;
    if url.scheme() != "https" {
        return Err(serde::de::Error::custom("not an https address"));
    }
    Ok(url)
}

impl Described {
    /// Whether the client's secret goes into a header; otherwise into the form.
    pub(super) fn takes_basic(&self) -> bool {
        let methods = self.token_endpoint_auth_methods_supported.as_ref();
        methods.is_none_or(|methods| methods.iter().any(|name| name == "client_secret_basic"))
    }
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// The provider as far as it is known.
pub(super) struct Provider {
    issuer: String,
    web: Arc<Web>,
    described: Mutex<Option<(u64, Described)>>,
    keys: Mutex<Option<(u64, Arc<Vec<Jwk>>)>>,
}

impl Provider {
    /// Knows nothing yet.
    pub(super) fn new(issuer: String, web: Arc<Web>) -> Self {
        Self {
            issuer,
            web,
            described: Mutex::new(None),
            keys: Mutex::new(None),
        }
    }

    /// Its addresses; `now` in Unix milliseconds.
    ///
    /// # Errors
    /// When it cannot be asked, or speaks of another issuer.
    pub(super) async fn described(&self, now: u64) -> Result<Described, OidcError> {
        let known = self.described.lock().clone();
        if let Some((at, described)) = known
            && now.saturating_sub(at) < FRESH
        {
            return Ok(described);
        }
        let issuer = self.issuer.trim_end_matches('/');
        let url = format!("{issuer}/.well-known/openid-configuration");
        let url = Url::parse(&url).map_err(|e| OidcError::Misconfigured(e.to_string()))?;
        let described: Described = self.web.get(&url).await?;
        if described.issuer != self.issuer {
            let other = described.issuer.chars().take(200).collect::<String>();
            return Err(OidcError::Misconfigured(format!(
                "it says that its issuer is {other:?}"
            )));
        }
        *self.described.lock() = Some((now, described.clone()));
        Ok(described)
    }

    /// The claims of the token if a key of the provider signed it.
    ///
    /// # Errors
    /// See [`OidcError`].
    pub(super) async fn verified(&self, token: &str, now: u64) -> Result<Claims, OidcError> {
        let malformed =
            |error: jsonwebtoken::errors::Error| TokenFault::Malformed(error.to_string());
        let header = decode_header(token).map_err(malformed)?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(TokenFault::Algorithm.into());
        }
        let known = self.known_keys(now).await?;
        let kid = header.kid.as_deref();
        let chosen = match choose(&known, kid, header.alg) {
            Some(key) => Some(key.clone()),
            None => choose(&self.read_again(now).await?, kid, header.alg).cloned(),
        };
        let chosen = chosen.ok_or(TokenFault::Key)?;
        let key = DecodingKey::from_jwk(&chosen).map_err(|_| TokenFault::Key)?;
        // Only the signature is left to the library: times are judged by our clock, in `claims`.
        let mut validation = Validation::new(header.alg);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let decoded = decode::<Value>(token, &key, &validation);
        let decoded = decoded.map_err(|_| TokenFault::Signature)?;
        let claims = serde_json::from_value(decoded.claims);
        Ok(claims.map_err(|error| TokenFault::Malformed(error.to_string()))?)
    }

    async fn known_keys(&self, now: u64) -> Result<Arc<Vec<Jwk>>, OidcError> {
        let known = self.keys.lock().clone();
        match known {
            Some((at, keys)) if now.saturating_sub(at) < FRESH => Ok(keys),
            _ => self.read_keys(now).await,
        }
    }

    async fn read_again(&self, now: u64) -> Result<Arc<Vec<Jwk>>, OidcError> {
        let known = self.keys.lock().clone();
        match known {
            Some((at, keys)) if now.saturating_sub(at) < PAUSE => Ok(keys),
            _ => self.read_keys(now).await,
        }
    }

    async fn read_keys(&self, now: u64) -> Result<Arc<Vec<Jwk>>, OidcError> {
        let described = self.described(now).await?;
        let set: KeySet = self.web.get(&described.jwks_uri).await?;
        // A set may hold keys of kinds that are not known here; the others count.
        let keys = set.keys.into_iter();
        let keys: Vec<Jwk> = keys
            .filter_map(|key| serde_json::from_value(key).ok())
            .collect();
        let keys = Arc::new(keys);
        *self.keys.lock() = Some((now, Arc::clone(&keys)));
        Ok(keys)
    }
}

/// The key that the token names; if it names none, the only one it can be.
fn choose<'a>(keys: &'a [Jwk], kid: Option<&str>, alg: Algorithm) -> Option<&'a Jwk> {
    let signs = |key: &&Jwk| {
        let use_ = key.common.public_key_use.as_ref();
        use_.is_none_or(|use_| *use_ == PublicKeyUse::Signature)
    };
    let fits =
        |key: &&Jwk| DecodingKey::from_jwk(key).is_ok_and(|key| key.family() == alg.family());
    let mut usable = keys.iter().filter(signs).filter(fits);
    match kid {
        Some(kid) => usable.find(|key| key.common.key_id.as_deref() == Some(kid)),
        None => match (usable.next(), usable.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        },
    }
}
