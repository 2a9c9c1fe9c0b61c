//! E-mail addresses: the names people sign in by.

/// Longest address, bytes.
const LONGEST: usize = 254;

/// What is wrong with the address, if anything. Whether mail arrives there is not our question.
pub(crate) fn fault(email: &str) -> Option<&'static str> {
    let plain = !email.chars().any(|c| c.is_control() || c.is_whitespace());
    let parts = email.rsplit_once('@');
    let whole = parts.is_some_and(|(name, domain)| {
        !name.is_empty() && !domain.is_empty() && !name.contains('@')
    });
    (!plain || !whole || email.len() > LONGEST)
        .then_some("not an e-mail address such as ada@example.org")
}

/// The form in which two addresses are compared: case does not count.
pub(crate) fn folded(email: &str) -> String {
    email.trim().to_lowercase()
}

/// The part after the `@`, folded.
pub(crate) fn domain(email: &str) -> Option<String> {
    let (_, domain) = email.rsplit_once('@')?;
    Some(folded(domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_other_text() {
        for good in ["a@b", "ada.lovelace+zen@example.org", "ä@müller.example"] {
            assert_eq!(fault(good), None, "{good}");
        }
        let long = format!("{}@example.org", "a".repeat(250));
        for bad in ["", "a", "@b", "a@", "a b@c", "a@b@c", "a@b\n", &long] {
            assert!(fault(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn case_does_not_tell_two_addresses_apart() {
        assert_eq!(folded(" Ada@Example.ORG"), "ada@example.org");
        assert_eq!(domain("Ada@Example.ORG").as_deref(), Some("example.org"));
    }
}
