//! Where a cluster finds the charts: on this control plane, under the address that people use.

use http::{HeaderMap, header};
use url::Url;

/// The URL of the Helm repository: below `public` if the operator set it, else below the host that the
/// request was sent to, else below `listener`.
pub(crate) fn repository(public: Option<&Url>, listener: &Url, headers: &HeaderMap) -> String {
    let asked = || {
        let host = headers.get(header::HOST)?.to_str().ok()?;
        of_host(host)
    };
    let mut base = public
        .cloned()
        .or_else(asked)
        .unwrap_or_else(|| listener.clone());
    // A name and password of a proxy are nobody's business, and no argument.
    let _kept = base.set_username("");
    let _kept = base.set_password(None);
    base.set_query(None);
    base.set_fragment(None);
    format!("{}/charts", base.as_str().trim_end_matches('/'))
}

/// A host with its port as browsers send it, and nothing else.
fn of_host(host: &str) -> Option<Url> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    if host.is_empty() || !host.chars().all(plain) {
        return None;
    }
    Url::parse(&format!("http://{host}/")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_are_where_people_reach_the_control_plane() {
        let listener = Url::parse("http://127.0.0.1:8080/").unwrap();
        let set = Url::parse("https://ops:secret@zen.example/mesh/?a#b").unwrap();
        let table = [
            (Some(&set), "other", "https://zen.example/mesh/charts"),
            (None, "zen.example:8080", "http://zen.example:8080/charts"),
            (None, "[fd00::1]:80", "http://[fd00::1]/charts"),
            (None, "$(id)", "http://127.0.0.1:8080/charts"),
            (None, "a/b", "http://127.0.0.1:8080/charts"),
            (None, "me@zen.example", "http://127.0.0.1:8080/charts"),
        ];
        for (public, host, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            assert_eq!(repository(public, &listener, &headers), expected, "{host}");
        }
    }
}
