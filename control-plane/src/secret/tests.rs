//! What is taken for a sealed secret and what is not.

use proptest::prelude::*;
use zen_seal::{Identity, close};

use super::*;

/// A text sealed for so many keys, and the keys.
fn written(keys: usize) -> (String, Vec<String>) {
    let keys: Vec<_> = (0..keys)
        .map(|_| Identity::generate().recipient())
        .collect();
    let text = close(b"plaintext", &keys).unwrap();
    (text, keys.iter().map(ToString::to_string).collect())
}

fn code(text: &str) -> NotSealed {
    sealed(text).err().unwrap()
}

#[test]
fn what_age_wrote_is_taken_and_says_for_how_many_keys_it_is() {
    for keys in [1, 3] {
        let (text, _) = written(keys);
        let read = sealed(&format!("\r\n{}  ", text.replace('\n', "\r\n"))).ok();
        let read = read.unwrap();
        assert_eq!((read.text.trim(), read.keys), (text.trim(), keys));
        assert!(sealed(&read.text).is_ok_and(|again| again == read));
    }
}

#[test]
fn what_is_not_sealed_is_told_apart() {
    let (text, _) = written(1);
    let inner = text.lines().nth(1).unwrap();
    let of = NotSealed::Code;
    let identity = Identity::generate().to_secret_text();
    assert_eq!(code("whsec_abc"), of(SecretCode::NotAge));
    assert_eq!(code(""), of(SecretCode::NotAge));
    assert_eq!(code(inner), of(SecretCode::NotAge));
    assert_eq!(code(&format!("password\n{text}")), of(SecretCode::NotAge));
    assert_eq!(code(&identity), NotSealed::Identity);
    assert_eq!(
        code(&format!("# k\n{}", identity.to_lowercase())),
        NotSealed::Identity
    );
    assert_eq!(code(&format!("{text}{}", *identity)), NotSealed::Identity);
    let armored = |bytes: &[u8]| format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(bytes));
    assert_eq!(code(&armored(b"hunter2")), of(SecretCode::NotAge));
    assert_eq!(code(&armored(b"hunter2\nx\n")), of(SecretCode::NotAge));
    let cut = armored(b"age-encryption.org/v1\n-> X25519 abc\nbody\n");
    assert_eq!(code(&cut), of(SecretCode::Truncated));
    let cut = armored(b"age-encryption.org/v1\n-> X25519 abc\nbody\n--- mac\nshort");
    assert_eq!(code(&cut), of(SecretCode::Truncated));
    assert_eq!(code(&text[..text.len() - 40]), of(SecretCode::Truncated));
    assert_eq!(
        code(&text.replacen(inner, "hunter2!", 1)),
        of(SecretCode::Damaged)
    );
    let large = "A".repeat(limits::SECRET_SEALED);
    let large = format!("{BEGIN}\n{large}\n{END}\n");
    assert_eq!(code(&large), of(SecretCode::TooLarge));
}

#[test]
fn recipients_are_as_many_as_it_was_sealed_for() {
    let (_, keys) = written(2);
    assert!(check_recipients(&keys, 2).is_ok());
    assert!(check_recipients(&keys, 3).is_err());
    assert!(check_recipients(&keys[..1], 2).is_err());
    assert!(check_recipients(&keys, 0).is_err());
    assert!(check_recipients(&[], 0).is_err());
    assert!(check_recipients(&[keys[0].clone(), keys[0].clone()], 2).is_err());
    let wrong = vec!["hunter2".to_owned()];
    let faults = check_recipients(&wrong, 1).unwrap_err();
    assert!(!format!("{faults:?}").contains("hunter2"));
}

#[test]
fn a_reference_names_the_secret_before_the_slash() {
    assert_eq!(locked("lock:github"), Some("github"));
    assert_eq!(locked("lock:github/old"), Some("github"));
    assert_eq!(locked("file:github"), None);
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic_and_no_plaintext_passes(text: String) {
        prop_assert!(sealed(&text).is_err());
        let _outcome = sealed(&format!("{BEGIN}\n{text}\n{END}"));
    }

    #[test]
    fn no_bytes_in_armor_make_the_reader_panic(bytes: Vec<u8>) {
        let armored = format!("{BEGIN}\n{}\n{END}", STANDARD.encode(&bytes));
        prop_assert!(sealed(&armored).is_err());
    }
}
