//! Where a browser goes after a sign-in: a path of our own, never another site's.

/// Longest path that is kept.
const LONGEST: usize = 512;

/// The path if it is one of ours; the overview otherwise.
pub(crate) fn landing(next: Option<&str>) -> &str {
    next.filter(|path| ours(path)).unwrap_or("/")
}

fn ours(path: &str) -> bool {
    let mut bytes = path.bytes();
    let rooted = bytes.next() == Some(b'/') && !matches!(bytes.next(), Some(b'/' | b'\\'));
    let plain = path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    let elsewhere = !path.starts_with("/sign-") && !path.starts_with("/v1/");
    rooted && plain && elsewhere && path.len() <= LONGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        for path in ["/", "/planes", "/planes/pl_1?live=1#x"] {
            assert_eq!(landing(Some(path)), path);
        }
        let long = format!("/{}", "x".repeat(LONGEST));
        for path in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "planes",
            "/a\r\nset-cookie: x",
            "/a b",
            "/sign-in",
            "/sign-out",
            "/v1/planes",
            &long,
        ] {
            assert_eq!(landing(Some(path)), "/", "{path:?}");
        }
        assert_eq!(landing(None), "/");
    }
}
