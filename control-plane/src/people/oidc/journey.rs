//! A browser's way to the provider and back. All that must be remembered of it is in a cookie that
//! only this browser has; state, nonce and PKCE verifier are derived from it, so that nothing need
//! be stored here and any replica can receive the browser.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;
use zen_chassis::Random;
use zeroize::Zeroizing;

use crate::digest::sha256;
use crate::people::landing::landing;

/// Seconds a browser may be away.
pub(crate) const LIFE_SECONDS: u64 = 10 * 60;
/// Longest cookie.
const COOKIE: usize = 1024;

/// `<Unix milliseconds>.<256 random bits>.<path wanted>`.
pub(super) struct Journey {
    cookie: Zeroizing<String>,
    began_at: u64,
    next: String,
}

impl Journey {
    /// Begins one; `now` in Unix milliseconds.
    pub(super) fn begin(random: &Random, next: &str, now: u64) -> Self {
        let secret = URL_SAFE_NO_PAD.encode(random.bytes::<32>());
        let next = landing(Some(next)).to_owned();
        let path = URL_SAFE_NO_PAD.encode(&next);
        Self {
            cookie: Zeroizing::new(format!("{now}.{secret}.{path}")),
            began_at: now,
            next,
        }
    }

    /// Reads one back; nothing if it has not the form of one. That it is ours shows in the state.
    pub(super) fn resume(cookie: &str) -> Option<Self> {
        if cookie.len() > COOKIE {
            return None;
        }
        let mut parts = cookie.split('.');
        let began_at = parts.next()?.parse().ok()?;
        let secret = parts.next().filter(|secret| secret.len() == 43)?;
        let path = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
        let next = String::from_utf8(path).ok()?;
        let whole = parts.next().is_none() && !secret.is_empty();
        whole.then(|| Self {
            cookie: Zeroizing::new(cookie.to_owned()),
            began_at,
            next: landing(Some(&next)).to_owned(),
        })
    }

    pub(super) fn into_cookie(self) -> Zeroizing<String> {
        self.cookie
    }

    /// The page that was wanted.
    pub(super) fn next(&self) -> String {
        self.next.clone()
    }

    /// Whether it took longer than it may.
    pub(super) const fn is_over(&self, now: u64) -> bool {
        now.saturating_sub(self.began_at) > LIFE_SECONDS * 1000
    }

    pub(super) fn state(&self) -> String {
        self.derived("state")
    }

    /// Whether this is the state that the browser went out with.
    pub(super) fn is_state(&self, state: &str) -> bool {
        self.state().as_bytes().ct_eq(state.as_bytes()).into()
    }

    pub(super) fn nonce(&self) -> String {
        self.derived("nonce")
    }

    pub(super) fn verifier(&self) -> Zeroizing<String> {
        Zeroizing::new(self.derived("verifier"))
    }

    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(sha256(self.verifier().as_bytes()))
    }

    fn derived(&self, purpose: &str) -> String {
        let text = Zeroizing::new(format!("zen-mesh oidc {purpose}\n{}", *self.cookie));
        URL_SAFE_NO_PAD.encode(sha256(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_back_is_known_by_the_cookie_alone() {
        let begun = Journey::begin(&Random::seeded(1), "/planes?x=1", 5_000);
        let (state, nonce, verifier) = (begun.state(), begun.nonce(), begun.verifier());
        let cookie = begun.into_cookie();
        assert!(cookie.bytes().all(|b| b.is_ascii_graphic() && b != b';'));
        let back = Journey::resume(&cookie).unwrap();
        assert!(back.is_state(&state) && back.nonce() == nonce && back.verifier() == verifier);
        assert_eq!(back.next(), "/planes?x=1");
        assert!(!back.is_over(5_000 + 600_000) && back.is_over(5_001 + 600_000));
        let parts = [state.as_str(), nonce.as_str(), verifier.as_str()];
        assert!(parts.iter().all(|part| part.len() == 43));
        assert!(parts[0] != parts[1] && parts[1] != parts[2]);
    }

    #[test]
    fn another_browser_or_a_changed_cookie_is_not_taken() {
        let begun = Journey::begin(&Random::seeded(1), "/", 5_000);
        let state = begun.state();
        let cookie = begun.into_cookie();
        let other = Journey::begin(&Random::seeded(2), "/", 5_000);
        assert!(!other.is_state(&state));
        // Younger than it is: the time is part of what the state is derived from.
        let changed = cookie.replacen("5000", "9000", 1);
        assert!(!Journey::resume(&changed).unwrap().is_state(&state));
        for wrong in ["", "1.x.", "x.y.z", &format!("{}.a", *cookie)] {
            assert!(Journey::resume(wrong).is_none(), "{wrong:?}");
        }
    }
}
