//! What seals, what opens, and what is refused with which code.

use proptest::prelude::*;
use zen_proto::ids::{Id as _, PlaneId};
use zen_proto::purpose::Purpose;

use super::*;

fn secret() -> ScopedSecret {
    ScopedSecret {
        scope: Scope {
            realm: Realm::Plane(PlaneId::generate(1, [3; 10])),
            namespace: None,
            name: "github".to_owned(),
        },
        service_accounts: Vec::new(),
        purposes: vec![Purpose::WebhookVerification],
        created_at_ms: 5,
        version: "0123456789abcdef0123456789abcdef".to_owned(),
        values: Values::from([("value".to_owned(), b"hunter2".to_vec().into())]),
    }
}

fn sealed(key: &Identity, change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut value = serde_json::json!({
        "version": 1, "secret": secret(), "seal": { "key_ids": [], "sealed_at_ms": 1 },
    });
    change(&mut value);
    close(value.to_string().as_bytes(), &[key.recipient()]).unwrap()
}

fn refusal(sealed: &[u8], keys: &[Identity]) -> SecretCode {
    unseal(sealed, keys).err().unwrap().code()
}

#[test]
fn a_secret_opens_in_its_place_and_nowhere_else() {
    let key = Identity::generate();
    let sealed = secret().seal(&[key.recipient()], None, 9).unwrap();
    let keys = [Identity::generate(), key.clone()];
    let opened = unseal(sealed.as_bytes(), &keys).unwrap();
    assert_eq!(opened.opened_with, key.recipient().key_id());
    assert_eq!(opened.seal.key_ids, [key.recipient().key_id()]);
    let scope = secret().scope;
    let opened = opened.for_scope(&scope).unwrap();
    assert_eq!(opened.secret.value(None).unwrap().expose(), b"hunter2");
    let elsewhere = [
        Scope {
            name: "gitlab".to_owned(),
            ..scope.clone()
        },
        Scope {
            namespace: Some("shop".to_owned()),
            ..scope.clone()
        },
        Scope {
            realm: Realm::Cluster("c".to_owned()),
            ..scope
        },
    ];
    for scope in elsewhere {
        let opened = unseal(sealed.as_bytes(), &keys).unwrap();
        let refused = opened.for_scope(&scope).err().unwrap();
        assert_eq!(refused.code(), SecretCode::ScopeMismatch);
    }
}

#[test]
fn each_way_to_be_unusable_has_its_own_code() {
    let key = Identity::generate();
    let text = secret().seal(&[key.recipient()], None, 9).unwrap();
    let keys = std::slice::from_ref(&key);
    assert_eq!(refusal(text.as_bytes(), &[]), SecretCode::NoIdentity);
    let stranger = [Identity::generate()];
    assert_eq!(
        refusal(text.as_bytes(), &stranger),
        SecretCode::WrongRecipient
    );
    assert_eq!(refusal(b"apiVersion: v1", keys), SecretCode::NotAge);
    assert_eq!(
        refusal(&text.as_bytes()[..200], keys),
        SecretCode::Truncated
    );
    let mut lines: Vec<&str> = text.lines().collect();
    let last = lines.len() - 3;
    lines.swap(last - 1, last);
    assert_eq!(
        refusal(lines.join("\n").as_bytes(), keys),
        SecretCode::Damaged
    );
    let large = vec![b'a'; limits::SECRET_SEALED + 1];
    assert_eq!(refusal(&large, keys), SecretCode::TooLarge);
    let bare = close(b"hunter2", &[key.recipient()]).unwrap();
    assert_eq!(refusal(bare.as_bytes(), keys), SecretCode::Malformed);
    let newer = sealed(&key, |all| all["version"] = 2.into());
    assert_eq!(refusal(newer.as_bytes(), keys), SecretCode::Version);
    for (place, value) in [
        (
            "scope",
            serde_json::json!({ "realm": { "cluster": "a" }, "name": "../a" }),
        ),
        ("values", serde_json::json!({ "../a": "aGk=" })),
        ("values", serde_json::json!({ "a": "hunter2!" })),
        ("values", serde_json::json!({})),
        ("purposes", serde_json::json!(["everything"])),
        ("service_accounts", serde_json::json!(["api"])),
        ("version", serde_json::json!("1")),
    ] {
        let wrong = sealed(&key, |all| all["secret"][place] = value);
        let refused = unseal(wrong.as_bytes(), keys).err().unwrap();
        assert_eq!(refused.code(), SecretCode::Malformed, "{place}");
        assert!(!format!("{refused} {refused:?}").contains("hunter2"));
    }
}

#[test]
fn a_writers_signature_outlives_re_sealing_and_no_change() {
    let (old, new) = (Identity::generate(), Identity::generate());
    let writer = WriterKey::new([7; 32]);
    let text = secret().seal(&[old.recipient()], Some(&writer), 9).unwrap();
    let again = reseal(
        text.as_bytes(),
        std::slice::from_ref(&old),
        &[new.recipient()],
        10,
    )
    .unwrap();
    assert_eq!(
        refusal(again.as_bytes(), &[old]),
        SecretCode::WrongRecipient
    );
    let opened = unseal(again.as_bytes(), std::slice::from_ref(&new)).unwrap();
    assert_eq!(opened.writer.unwrap().key(), writer.public().unwrap());
    assert_eq!(opened.secret.version, secret().version);
    assert_eq!(opened.seal.key_ids, [new.recipient().key_id()]);
    assert_eq!(opened.seal.sealed_at_ms, 10);
    let signed = serde_json::to_string(&secret()).unwrap();
    let signed = serde_json::to_value(writer.sign(signed.as_bytes())).unwrap();
    let forged = sealed(&new, |all| {
        all["writer"] = signed;
        all["secret"]["created_at_ms"] = 6.into();
    });
    assert_eq!(
        refusal(forged.as_bytes(), &[new]),
        SecretCode::WriterUntrusted
    );
}

#[test]
fn a_writers_key_reads_back_and_no_other_text_does() {
    let key = WriterKey::new([8; 32]);
    let text = format!("# mine\n\n{}\n", *key.to_secret_text());
    let back = WriterKey::parse(&text).unwrap();
    assert_eq!(back.public().unwrap(), key.public().unwrap());
    assert!(WriterKey::parse(&key.public().unwrap()).is_err());
    assert!(WriterKey::parse("").is_err());
}

#[test]
fn what_passes_a_limit_is_not_sealed() {
    let key = Identity::generate();
    let mut large = secret();
    let value = vec![0; limits::SECRET_VALUE + 1];
    large.values.insert("value".to_owned(), value.into());
    assert!(matches!(
        large.seal(&[key.recipient()], None, 0),
        Err(SealError::Content { .. })
    ));
    let many = vec![key.recipient(); limits::SECRET_RECIPIENTS + 1];
    assert!(matches!(
        secret().seal(&many, None, 0),
        Err(SealError::Recipients)
    ));
    assert!(matches!(
        secret().seal(&[], None, 0),
        Err(SealError::Close(_))
    ));
    // The largest that may be sealed opens again.
    let mut largest = secret();
    for key in ["value", "b"] {
        let value = vec![7; limits::SECRET_VALUE];
        largest.values.insert(key.to_owned(), value.into());
    }
    let text = largest.seal(&[key.recipient()], None, 0).unwrap();
    assert!(
        unseal(text.as_bytes(), &[key]).is_ok(),
        "{} bytes",
        text.len()
    );
}

proptest! {
    #[test]
    fn no_bytes_make_unsealing_panic(bytes: Vec<u8>) {
        let _refused = unseal(&bytes, &[Identity::generate()]).err();
    }
}
