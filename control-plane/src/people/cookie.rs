//! The cookies of the dashboard: how they are named, set, ended and read.

use http::{HeaderMap, HeaderValue, header};

/// Whether browsers reach the control plane over TLS only: cookies are bound to that then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cookies {
    /// `http.url` is https, or the listener itself speaks TLS.
    pub(crate) secure: bool,
}

/// Which cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Jar {
    /// The session.
    Session,
    /// The second step of a sign-in, or one under way at an OpenID provider.
    Step,
}

impl Cookies {
    const fn name(self, jar: Jar) -> &'static str {
        match (jar, self.secure) {
            (Jar::Session, true) => "__Host-zen-session",
            (Jar::Session, false) => "zen-session",
            (Jar::Step, true) => "__Host-zen-sign-in",
            (Jar::Step, false) => "zen-sign-in",
        }
    }

    /// The value of `set-cookie` that gives the browser a token for so many seconds.
    pub(crate) fn set(self, jar: Jar, token: &str, seconds: u64) -> Option<HeaderValue> {
        let name = self.name(jar);
        let secure = if self.secure { "; Secure" } else { "" };
        let text =
            format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The value of `set-cookie` that ends it.
    pub(crate) fn end(self, jar: Jar) -> Option<HeaderValue> {
        self.set(jar, "", 0)
    }

    /// What the browser sent.
    pub(crate) fn read(self, jar: Jar, headers: &HeaderMap) -> Option<&str> {
        let name = self.name(jar);
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(key, value)| *key == name && !value.is_empty())
            .map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_cannot_leave_its_host_or_reach_a_script() {
        let secure = Cookies { secure: true };
        let value = secure.set(Jar::Session, "abc", 60).unwrap();
        assert_eq!(
            value,
            "__Host-zen-session=abc; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure"
        );
        let plain = Cookies { secure: false };
        let value = plain.end(Jar::Session).unwrap();
        assert_eq!(
            value,
            "zen-session=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"
        );
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let plain = Cookies { secure: false };
        let mut headers = HeaderMap::new();
        let text = "a=b; xzen-session=no; zen-session=yes; zen-sign-in=step";
        headers.insert(header::COOKIE, HeaderValue::from_static(text));
        assert_eq!(plain.read(Jar::Session, &headers), Some("yes"));
        assert_eq!(plain.read(Jar::Step, &headers), Some("step"));
        let secure = Cookies { secure: true };
        assert_eq!(secure.read(Jar::Session, &headers), None);
    }
}
