//! Vectors of the providers and of our own, what tampering does to them, and parsers that take any text.

use proptest::prelude::*;
use zen_chassis::secret::Secret;

use super::*;

struct Vector {
    scheme: Scheme,
    secret: &'static str,
    body: &'static str,
    headers: &'static [(&'static str, &'static str)],
    /// When it was signed; any time for schemes that sign none.
    at: i64,
}

const VECTORS: &[Vector] = &[
    Vector {
        scheme: Scheme::GitHub,
        secret: "It's a Secret to Everybody",
        body: "Hello, World!",
        headers: &[(
            "X-Hub-Signature-256",
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        )],
        at: 0,
    },
    Vector {
        scheme: Scheme::GitHub,
        secret: "s",
        body: "{\"n\":\"Łódź 🚀\"}",
        headers: &[(
            "X-Hub-Signature-256",
            "sha256=a00cdcd53d50e6ff9098f5ca9367ccbc4517c4b924525d7b3e561da030a33054",
        )],
        at: 0,
    },
    Vector {
        scheme: Scheme::StandardWebhooks,
        secret: "whsec_plJ3nmyCDGBKInavdOK15jsl",
        body: "{\"event_type\":\"ping\",\"data\":{\"success\":true}}",
        headers: &[
            ("webhook-id", "msg_loFOjxBNrRLzqYUf"),
            ("webhook-timestamp", "1731705121"),
            (
                "webhook-signature",
                "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
            ),
        ],
        at: 1_731_705_121,
    },
    Vector {
        scheme: Scheme::Stripe,
        secret: "whsec_test_secret",
        body: "{\"id\":\"evt_1\",\"object\":\"event\"}",
        headers: &[(
            "Stripe-Signature",
            "t=1700000000,v1=0c8670ed117751cc551a20e35839447075c42800ea3cf3e8a2fbda99cd1e6edd",
        )],
        at: 1_700_000_000,
    },
];

fn verifier(scheme: Scheme, secrets: &[&str]) -> Verifier {
    let keys = secrets
        .iter()
        .map(|secret| Key::new(scheme, &Secret::from(secret.as_bytes().to_vec())).unwrap())
        .collect();
    Verifier::new(scheme, keys, Duration::from_secs(300))
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, value.parse().unwrap());
    }
    headers
}

fn vector(scheme: Scheme) -> &'static Vector {
    VECTORS
        .iter()
        .find(|vector| vector.scheme == scheme)
        .unwrap()
}

#[test]
fn every_vector_verifies_beside_an_older_secret() {
    for vector in VECTORS {
        let older = if vector.scheme == Scheme::StandardWebhooks {
            "b2xkZXI="
        } else {
            "older"
        };
        let verifier = verifier(vector.scheme, &[older, vector.secret]);
        let verdict = verifier.verify(&headers(vector.headers), vector.body.as_bytes(), vector.at);
        assert_eq!(verdict, Ok(()), "{:?}", vector.scheme);
    }
}

#[test]
fn a_changed_byte_or_another_secret_matches_nothing() {
    for vector in VECTORS {
        let right = verifier(vector.scheme, &[vector.secret]);
        let mut body = vector.body.as_bytes().to_vec();
        for place in 0..body.len() {
            body[place] ^= 1;
            let verdict = right.verify(&headers(vector.headers), &body, vector.at);
            assert_eq!(
                verdict,
                Err(Mismatch::NoMatch),
                "{:?} at {place}",
                vector.scheme
            );
            body[place] ^= 1;
        }
        let wrong = verifier(vector.scheme, &["b3RoZXI="]);
        let verdict = wrong.verify(&headers(vector.headers), &body, vector.at);
        assert_eq!(verdict, Err(Mismatch::NoMatch), "{:?}", vector.scheme);
        let none = verifier(vector.scheme, &[]);
        let verdict = none.verify(&headers(vector.headers), &body, vector.at);
        assert_eq!(verdict, Err(Mismatch::NoMatch), "{:?}", vector.scheme);
    }
}

#[test]
fn each_header_is_needed_and_needed_once() {
    for vector in VECTORS {
        let verifier = verifier(vector.scheme, &[vector.secret]);
        for (place, (name, value)) in vector.headers.iter().enumerate() {
            let mut fewer = vector.headers.to_vec();
            fewer.remove(place);
            let verdict = verifier.verify(&headers(&fewer), vector.body.as_bytes(), vector.at);
            let code = verdict.unwrap_err().code();
            assert_eq!(code, "missing_header", "{:?} without {name}", vector.scheme);

            let mut more = vector.headers.to_vec();
            more.push((name, value));
            let verdict = verifier.verify(&headers(&more), vector.body.as_bytes(), vector.at);
            assert_eq!(
                verdict.unwrap_err().code(),
                "malformed",
                "{:?}, two {name}",
                vector.scheme
            );
        }
    }
}

#[test]
fn a_signed_time_counts_within_the_tolerance_only() {
    for vector in VECTORS.iter().filter(|vector| vector.at > 0) {
        let verifier = verifier(vector.scheme, &[vector.secret]);
        let at = |now| verifier.verify(&headers(vector.headers), vector.body.as_bytes(), now);
        assert_eq!(at(vector.at + 300), Ok(()));
        assert_eq!(at(vector.at - 300), Ok(()));
        for (now, off_seconds) in [(vector.at + 301, -301), (vector.at - 301, 301)] {
            let tolerance = Duration::from_secs(300);
            let refused = Mismatch::TimestampOutsideWindow {
                off_seconds,
                tolerance,
            };
            assert_eq!(at(now), Err(refused));
        }
    }
}

#[test]
fn several_signatures_of_a_header_are_tried_and_unknown_versions_skipped() {
    let standard = vector(Scheme::StandardWebhooks);
    let several = format!(
        "v1a,AAAA v9,zz v1,{} {}",
        "A".repeat(43),
        standard.headers[2].1
    );
    let given = headers(&[
        standard.headers[0],
        standard.headers[1],
        ("webhook-signature", &several),
    ]);
    let right = verifier(standard.scheme, &[standard.secret]);
    assert_eq!(
        right.verify(&given, standard.body.as_bytes(), standard.at),
        Ok(())
    );

    let stripe = vector(Scheme::Stripe);
    let (time, signature) = stripe.headers[0].1.split_once(',').unwrap();
    let several = format!("{time},v1={},{signature},v0=zz", "0".repeat(64));
    let given = headers(&[("stripe-signature", &several)]);
    let right = verifier(stripe.scheme, &[stripe.secret]);
    assert_eq!(
        right.verify(&given, stripe.body.as_bytes(), stripe.at),
        Ok(())
    );
}

#[test]
fn the_older_names_of_standard_webhooks_are_read_too() {
    let standard = vector(Scheme::StandardWebhooks);
    let [id, time, signature] = [0, 1, 2].map(|place| standard.headers[place].1);
    let given = headers(&[
        ("svix-id", id),
        ("svix-timestamp", time),
        ("svix-signature", signature),
    ]);
    let right = verifier(standard.scheme, &[standard.secret]);
    assert_eq!(
        right.verify(&given, standard.body.as_bytes(), standard.at),
        Ok(())
    );
    assert_eq!(right.source_key(&given, b"").as_deref(), Some(id));
}

#[test]
fn a_signature_of_the_wrong_form_is_malformed() {
    for text in ["", "sha1=00", "sha256=", "sha256=zz", "757107ea"] {
        let given = headers(&[("x-hub-signature-256", text)]);
        let verdict = verifier(Scheme::GitHub, &["s"]).verify(&given, b"", 0);
        assert_eq!(verdict.unwrap_err().code(), "malformed", "{text:?}");
    }
    for text in ["", "t=1", "v1=00", "t=x,v1=00", "t=1,t=1,v1=00", "nonsense"] {
        let given = headers(&[("stripe-signature", text)]);
        let verdict = verifier(Scheme::Stripe, &["s"]).verify(&given, b"", 0);
        assert_eq!(verdict.unwrap_err().code(), "malformed", "{text:?}");
    }
}

#[test]
fn a_refusal_never_tells_the_right_signature() {
    let vector = vector(Scheme::GitHub);
    let wrong = format!("sha256={}", "0".repeat(64));
    let given = headers(&[("x-hub-signature-256", &wrong)]);
    let verdict = verifier(vector.scheme, &[vector.secret]).verify(&given, b"Hello, World!", 0);
    assert!(!format!("{verdict:?} {}", verdict.clone().unwrap_err()).contains("757107"));
}

#[test]
fn a_source_names_its_event() {
    let github = verifier(Scheme::GitHub, &[]);
    let given = headers(&[("x-github-delivery", "72d3162e")]);
    assert_eq!(github.source_key(&given, b"").as_deref(), Some("72d3162e"));
    let stripe = verifier(Scheme::Stripe, &[]);
    let none = HeaderMap::new();
    assert_eq!(
        stripe
            .source_key(&none, b"{\"a\":1,\"id\":\"evt_1\"}")
            .as_deref(),
        Some("evt_1")
    );
    assert_eq!(stripe.source_key(&none, b"not json"), None);
    assert_eq!(verifier(Scheme::None, &[]).source_key(&given, b""), None);
    let long = "x".repeat(513);
    assert_eq!(
        github.source_key(&headers(&[("x-github-delivery", &long)]), b""),
        None
    );
}

#[test]
fn a_standard_webhooks_secret_must_be_base64() {
    let key = |text: &str| Key::new(Scheme::StandardWebhooks, &text.as_bytes().to_vec().into());
    assert!(key("whsec_not base64").is_err());
    assert!(key("whsec_").is_err());
    assert!(key("plJ3nmyCDGBKInavdOK15jsl").is_ok());
}

proptest! {
    #[test]
    fn no_header_makes_a_parser_panic(text in "\\PC*") {
        let _github = github::parse(&text);
        let _stripe = stripe::parse(&text);
        let _standard = standard_webhooks::parse(&text);
        let _seconds = headers::unix_seconds(&text);
    }

    #[test]
    fn nearly_right_headers_make_no_parser_panic(
        text in "(sha256=|t=|v1=|v1,|v0=|,| |=|[0-9a-f]{0,70}|[A-Za-z0-9+/=]{0,48}){0,12}"
    ) {
        let _github = github::parse(&text);
        let _stripe = stripe::parse(&text);
        let _standard = standard_webhooks::parse(&text);
    }

    #[test]
    fn random_bytes_never_verify(signature: [u8; 32], body: Vec<u8>) {
        let value = format!("sha256={}", hex::encode(signature));
        let given = headers(&[("x-hub-signature-256", &value)]);
        let verdict = verifier(Scheme::GitHub, &["secret"]).verify(&given, &body, 0);
        prop_assert_eq!(verdict, Err(Mismatch::NoMatch));
    }
}
