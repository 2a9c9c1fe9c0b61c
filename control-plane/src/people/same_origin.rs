//! The one rule against requests that another site makes a browser send: whatever changes something
//! on the strength of a cookie must come from our own pages. Browsers say so themselves, in headers
//! that no page can set.

use http::{HeaderMap, Method, header};
use url::Url;

use crate::problem::Problem;

/// Whether a request that carries a cookie may do what it asks. `public` is the address people use,
/// where it is set: a proxy in between may have changed `host`.
///
/// # Errors
/// `CROSS_SITE` when it may not.
pub(crate) fn allow(
    method: &Method,
    headers: &HeaderMap,
    public: Option<&Url>,
) -> Result<(), Problem> {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let ours = match (text("sec-fetch-site"), text("origin")) {
        // `none`: the person themselves, by address bar or reload.
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => Url::parse(origin).is_ok_and(|origin| {
            let host = text(header::HOST.as_str());
            let by_host = host.is_some_and(|host| authority(&origin).as_deref() == Some(host));
            by_host || public.is_some_and(|public| public.origin() == origin.origin())
        }),
        (None, None) => false,
    };
    if ours {
        return Ok(());
    }
    Err(Problem::cross_site(
        "the request did not come from a page of this control plane; open the page itself and \
         try again",
    ))
}

/// `host` or `host:port`, as browsers send it.
fn authority(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    #[test]
    fn only_our_own_pages_change_anything() {
        let host = ("host", "zen.example:8080");
        let table: [(&[(&str, &str)], bool); 11] = [
            (&[host, ("sec-fetch-site", "same-origin")], true),
            (&[host, ("sec-fetch-site", "none")], true),
            (&[host, ("sec-fetch-site", "same-site")], false),
            (&[host, ("sec-fetch-site", "cross-site")], false),
            (
                &[
                    host,
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "http://zen.example:8080"),
                ],
                false,
            ),
            (&[host, ("origin", "http://zen.example:8080")], true),
            (&[host, ("origin", "http://zen.example")], false),
            (&[host, ("origin", "http://evil.example:8080")], false),
            (&[host, ("origin", "null")], false),
            (&[host], false),
            (&[host, ("origin", "https://public.example")], true),
        ];
        let public = Url::parse("https://public.example/").unwrap();
        for (pairs, allowed) in table {
            let pairs = headers(
                &pairs
                    .iter()
                    .map(|(n, v)| (leak(n), leak(v)))
                    .collect::<Vec<_>>(),
            );
            for method in [Method::POST, Method::PATCH, Method::DELETE, Method::PUT] {
                let judged = allow(&method, &pairs, Some(&public));
                assert_eq!(judged.is_ok(), allowed, "{method} {pairs:?}");
            }
            assert!(allow(&Method::GET, &pairs, None).is_ok());
        }
    }

    fn leak(text: &str) -> &'static str {
        Box::leak(text.to_owned().into_boxed_str())
    }
}
