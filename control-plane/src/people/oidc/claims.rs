//! What an ID token claims, and whether that holds (OpenID Connect Core 3.1.3.7). Pure; the
//! signature was checked before.

use serde::Deserialize;
use serde_json::Value;
use subtle::ConstantTimeEq as _;

use crate::people::email;

/// Seconds by which two clocks may differ.
const LEEWAY: u64 = 60;
/// Longest name that is taken over, characters.
const NAME: usize = 100;

/// Why an ID token does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenFault {
    /// It is no signed token, or lacks a claim.
    #[error("the token is malformed: {0}")]
    Malformed(String),
    /// Signed in a way that is not taken.
    #[error("the token is signed with an algorithm that is not accepted")]
    Algorithm,
    /// Signed with a key that the provider does not show.
    #[error("the token is signed with a key that the provider does not show")]
    Key,
    /// The signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// From another issuer.
    #[error("the token is from another issuer")]
    Issuer,
    /// For another client.
    #[error("the token is for another client")]
    Audience,
    /// It ended.
    #[error("the token has expired")]
    Expired,
    /// It begins later.
    #[error("the token is from the future")]
    Early,
    /// From another sign-in.
    #[error("the token belongs to another sign-in")]
    Nonce,
    /// The provider does not vouch for the e-mail address.
    #[error("the provider has not verified the e-mail address")]
    Unverified,
}

/// What the token must fit.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    /// Unix seconds.
    pub(super) now: u64,
}

/// A person whom the provider vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) email: String,
    pub(crate) name: String,
}

/// The claims that are looked at.
#[derive(Deserialize)]
pub(super) struct Claims {
    iss: String,
    aud: Audience,
    #[serde(default)]
    azp: Option<String>,
    exp: f64,
    iat: f64,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    nonce: String,
    #[serde(default)]
    email: Option<String>,
    /// A boolean; some providers write it as text.
    #[serde(default)]
    email_verified: Value,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn is_for(&self, client: &str) -> bool {
        match self {
            Self::One(one) => one == client,
            Self::Many(many) => many.iter().any(|one| one == client),
        }
    }

    const fn is_shared(&self) -> bool {
        matches!(self, Self::Many(many) if many.len() > 1)
    }
}

impl Claims {
    /// The person, if everything holds.
    ///
    /// # Errors
    /// See [`TokenFault`].
    pub(super) fn person(&self, expected: &Expected<'_>) -> Result<Person, TokenFault> {
        if self.iss != expected.issuer {
            return Err(TokenFault::Issuer);
        }
        let presenter = self.azp.as_deref();
        let presented = match presenter {
            Some(presenter) => presenter == expected.client_id,
            None => !self.aud.is_shared(),
        };
        if !self.aud.is_for(expected.client_id) || !presented {
            return Err(TokenFault::Audience);
        }
        let (early, late) = (
            (expected.now.saturating_sub(LEEWAY)) as f64,
            (expected.now + LEEWAY) as f64,
        );
        if self.exp <= early {
            return Err(TokenFault::Expired);
        }
        if self.iat > late || self.nbf.is_some_and(|nbf| nbf > late) {
            return Err(TokenFault::Early);
        }
        if !bool::from(self.nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) {
            return Err(TokenFault::Nonce);
        }
        self.vouched()
    }

    fn vouched(&self) -> Result<Person, TokenFault> {
        let vouched = self.email_verified == Value::Bool(true) || self.email_verified == "true";
        let address = self.email.as_deref().filter(|_| vouched);
        let address = address.ok_or(TokenFault::Unverified)?;
        if let Some(fault) = email::fault(address) {
            return Err(TokenFault::Malformed(fault.to_owned()));
        }
        let name = self.name.as_deref().map(str::trim).unwrap_or_default();
        let name: String = name
            .chars()
            .filter(|c| !c.is_control())
            .take(NAME)
            .collect();
        let given = !name.is_empty();
        Ok(Person {
            email: address.to_owned(),
            name: if given { name } else { address.to_owned() },
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const EXPECTED: Expected<'static> = Expected {
        issuer: "https://id.example",
        client_id: "zen",
        nonce: "n",
        now: 1_000,
    };

    fn judged(changes: Value) -> Result<Person, TokenFault> {
        let mut claims = json!({
            "iss": "https://id.example", "aud": "zen", "exp": 1_300, "iat": 1_000, "nonce": "n",
            "email": "ada@example.org", "email_verified": true, "name": "Ada",
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let claims: Claims = serde_json::from_value(claims).unwrap();
        claims.person(&EXPECTED)
    }

    #[test]
    fn only_a_token_for_this_sign_in_holds() {
        assert_eq!(judged(json!({})).unwrap().email, "ada@example.org");
        let fault = |changes| judged(changes).unwrap_err();
        assert_eq!(fault(json!({"iss": "https://evil"})), TokenFault::Issuer);
        assert_eq!(fault(json!({"aud": "other"})), TokenFault::Audience);
        assert_eq!(
            fault(json!({"aud": ["zen", "other"]})),
            TokenFault::Audience
        );
        assert_eq!(fault(json!({"azp": "other"})), TokenFault::Audience);
        assert!(judged(json!({"aud": ["zen", "other"], "azp": "zen"})).is_ok());
        assert_eq!(fault(json!({"exp": 940})), TokenFault::Expired);
        assert!(judged(json!({"exp": 941})).is_ok());
        assert_eq!(fault(json!({"iat": 1_061})), TokenFault::Early);
        assert_eq!(fault(json!({"nbf": 1_061})), TokenFault::Early);
        assert_eq!(fault(json!({"nonce": "m"})), TokenFault::Nonce);
        assert_eq!(fault(json!({"nonce": ""})), TokenFault::Nonce);
    }

    #[test]
    fn the_provider_must_vouch_for_the_address() {
        for unvouched in [json!(false), json!("false"), Value::Null, json!(1)] {
            let changes = json!({"email_verified": unvouched});
            assert_eq!(judged(changes).unwrap_err(), TokenFault::Unverified);
        }
        assert!(judged(json!({"email_verified": "true"})).is_ok());
        let none = judged(json!({"email": null}));
        assert_eq!(none.unwrap_err(), TokenFault::Unverified);
        let nameless = judged(json!({"name": null})).unwrap();
        assert_eq!(nameless.name, "ada@example.org");
    }
}
