//! What zen-lock seals, Debian's `age` opens, and what `age` seals, zen-lock opens.

use std::process::Command;

use serde_json::Value;
use zen_integration_tests::tools::have;

use super::stage::{PLANE, Stage, ok, told};

#[test]
fn what_zen_lock_seals_age_opens() {
    if !have("age", "age").unwrap() {
        return;
    }
    let stage = Stage::with_key();
    let seal = format!(
        "encrypt --plane {PLANE} --name github --purpose webhook-verification \
         --recipients-file lock.pub --out github.age"
    );
    ok(stage.lock(&seal, "hunter2\n"));
    let mut age = Command::new("age");
    let opened = ok(stage.run(age.args(["--decrypt", "-i", "lock.key", "github.age"]), ""));
    let content: Value = serde_json::from_str(&opened).unwrap();
    // "hunter2" in base64.
    assert_eq!(content["secret"]["values"]["value"], "aHVudGVyMg==");
    assert_eq!(content["secret"]["scope"]["realm"]["plane"], PLANE);
}

#[test]
fn what_age_seals_zen_lock_opens_armored_or_not() {
    if !have("age", "age").unwrap() {
        return;
    }
    let stage = Stage::new();
    let made = stage.run(Command::new("age-keygen").args(["-o", "lock.key"]), "");
    assert!(made.status.success(), "{}", told(&made));
    let recipient = ok(stage.lock("pubkey --identity lock.key", ""));
    assert!(told(&made).contains(recipient.trim()));
    let content = format!(
        r#"{{"version":1,"seal":{{"key_ids":[],"sealed_at_ms":1}},"secret":{{
           "scope":{{"realm":{{"plane":"{PLANE}"}},"name":"github"}},"created_at_ms":1,
           "version":"00000000000000000000000000000000","values":{{"value":"aHVudGVyMg=="}}}}}}"#
    );
    for (armor, file) in [(Some("--armor"), "armored.age"), (None, "binary.age")] {
        let mut age = Command::new("age");
        let age = age.args(["-r", recipient.trim(), "-o", file]).args(armor);
        ok(stage.run(age, &content));
        let value = stage.lock(&format!("decrypt -i lock.key --key value {file}"), "");
        assert_eq!(ok(value), "hunter2");
    }
    // An age file that names no place is refused, and said to be.
    let mut age = Command::new("age");
    ok(stage.run(
        age.args(["-r", recipient.trim(), "-o", "bare.age"]),
        "hunter2",
    ));
    let refused = stage.lock("decrypt -i lock.key bare.age", "");
    assert!(!refused.status.success());
    assert!(
        told(&refused).contains("SECRET_MALFORMED"),
        "{}",
        told(&refused)
    );
    assert!(!told(&refused).contains("hunter2"));
}
