//! What goes in comes out, for the right key only, whole or not at all; and the `age` program agrees.

use std::process::{Command, Output, Stdio};

use proptest::prelude::*;

use super::*;

const CAP: usize = 1 << 20;

fn binary(armored: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    ArmoredReader::new(armored.as_bytes())
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

#[test]
fn every_recipient_opens_and_nobody_else() {
    let (one, two, other) = (
        Identity::generate(),
        Identity::generate(),
        Identity::generate(),
    );
    let text = close(b"hello", &[one.recipient(), two.recipient()]).unwrap();
    assert_eq!(
        open(text.as_bytes(), &[one], CAP).unwrap().as_slice(),
        b"hello"
    );
    assert_eq!(
        open(&binary(&text), &[other.clone(), two], CAP)
            .unwrap()
            .as_slice(),
        b"hello"
    );
    assert!(matches!(
        open(text.as_bytes(), &[other], CAP),
        Err(OpenError::WrongKey)
    ));
    assert!(matches!(
        open(text.as_bytes(), &[], CAP),
        Err(OpenError::WrongKey)
    ));
    assert!(matches!(
        close(b"hello", &[]),
        Err(CloseError::NoRecipients)
    ));
}

#[test]
fn a_flipped_byte_never_opens_to_anything_else() {
    let key = Identity::generate();
    let plaintext = vec![7_u8; 3000];
    let text = close(&plaintext, &[key.recipient()]).unwrap();
    let bytes = binary(&text);
    // All of the header, and samples of the content.
    for place in (0..bytes.len()).filter(|place| *place < 250 || place % 16 == 0) {
        let mut changed = bytes.clone();
        changed[place] ^= 1 << (place % 8);
        assert!(
            open(&changed, std::slice::from_ref(&key), CAP).is_err(),
            "byte {place}"
        );
    }
    // In the armor a change may be mere white space: then the content is the very same.
    for place in (0..text.len()).step_by(9) {
        let mut changed = text.clone().into_bytes();
        changed[place] ^= 1;
        if let Ok(opened) = open(&changed, std::slice::from_ref(&key), CAP) {
            assert_eq!(*opened, plaintext, "byte {place}");
        }
    }
}

#[test]
fn what_is_cut_short_does_not_open() {
    let key = Identity::generate();
    let text = close(&[7_u8; 200], &[key.recipient()]).unwrap();
    let bytes = binary(&text);
    for length in 0..bytes.len() {
        assert!(
            open(&bytes[..length], std::slice::from_ref(&key), CAP).is_err(),
            "{length}"
        );
    }
    let whole = text.trim_end().len();
    for length in 1..whole {
        let outcome = open(&text.as_bytes()[..length], std::slice::from_ref(&key), CAP);
        assert!(matches!(outcome, Err(OpenError::Truncated)), "{length}");
    }
    assert!(matches!(open(b"", &[key], CAP), Err(OpenError::NotAge)));
}

#[test]
fn a_content_over_the_bound_is_refused_and_one_at_the_bound_is_not() {
    let key = Identity::generate();
    let text = close(&[7_u8; 100], &[key.recipient()]).unwrap();
    assert_eq!(
        open(text.as_bytes(), std::slice::from_ref(&key), 100)
            .unwrap()
            .len(),
        100
    );
    assert!(matches!(
        open(text.as_bytes(), &[key], 99),
        Err(OpenError::TooLarge { max: 99 })
    ));
}

#[test]
fn blank_lines_around_a_pasted_text_do_no_harm() {
    let key = Identity::generate();
    let text = format!(
        "\n  \r\n{}\r\n\n",
        close(b"hello", &[key.recipient()]).unwrap()
    );
    assert_eq!(
        open(text.as_bytes(), &[key], CAP).unwrap().as_slice(),
        b"hello"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_content_comes_back(content: Vec<u8>) {
        let key = Identity::generate();
        let text = close(&content, &[key.recipient()]).unwrap();
        prop_assert_eq!(&*open(text.as_bytes(), &[key], CAP).unwrap(), &content);
    }

    #[test]
    fn no_bytes_make_opening_panic(armored: bool, bytes: Vec<u8>) {
        let begin = if armored { ARMOR_BEGIN } else { b"age-encryption.org/v1\n".as_slice() };
        let _plain = open(&bytes, &[Identity::generate()], CAP).err();
        let _begun = open(&[begin, &bytes].concat(), &[Identity::generate()], CAP).err();
    }
}

/// The `age` program's answer, or nothing if it is not installed and need not be.
#[expect(
    clippy::disallowed_methods,
    reason = "only a test asks whether it runs in CI"
)]
fn age(arguments: &[&str], input: &[u8]) -> Option<Output> {
    let spawned = Command::new("age")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "the age program is missing"
        );
        eprintln!("skipped: the age program is not installed");
        return None;
    };
    child.stdin.take().unwrap().write_all(input).unwrap();
    Some(child.wait_with_output().unwrap())
}

#[test]
fn the_age_program_opens_what_was_closed_here() {
    let key = Identity::generate();
    let text = close(b"from here", &[key.recipient()]).unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(key.to_secret_text().as_bytes()).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    if let Some(output) = age(&["--decrypt", "--identity", &path], text.as_bytes()) {
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(output.stdout, b"from here");
    }
}

#[test]
fn what_the_age_program_closed_is_opened_here() {
    let key = Identity::generate();
    let recipient = key.recipient().to_string();
    for armor in [&["--armor"][..], &[]] {
        let arguments = [armor, &["--recipient", &recipient]].concat();
        if let Some(output) = age(&arguments, b"from there") {
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            let opened = open(&output.stdout, std::slice::from_ref(&key), CAP).unwrap();
            assert_eq!(opened.as_slice(), b"from there");
        }
    }
}
