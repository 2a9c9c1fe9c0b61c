//! What is refused, with which code; and that a value is nowhere but where it was put.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use zen_integration_tests::tools::{binary, have};

use super::stage::{PLANE, Stage, ok, told};

fn sealed(stage: &Stage) -> String {
    let seal = format!(
        "encrypt --plane {PLANE} --name a --purpose target-auth --recipients-file lock.pub"
    );
    ok(stage.lock(&seal, "hunter2\n"))
}

#[test]
fn each_way_to_be_unusable_has_a_code_and_a_remedy() {
    let stage = Stage::with_key();
    let good = sealed(&stage);
    let other = Stage::with_key();
    let head = &good[..good.len() / 2];
    let mut lines: Vec<&str> = good.lines().collect();
    let last = lines.len() - 3;
    lines.swap(last - 1, last);
    let altered = lines.join("\n") + "\n";
    for (content, code) in [
        (sealed(&other), "SECRET_WRONG_RECIPIENT"),
        (head.to_owned(), "SECRET_TRUNCATED"),
        (altered, "SECRET_DAMAGED"),
        ("kind: Secret\n".to_owned(), "SECRET_NOT_AGE"),
        ("a".repeat(300 * 1024), "SECRET_TOO_LARGE"),
    ] {
        stage.write("wrong.age", content.as_bytes());
        let refused = stage.lock("decrypt -i lock.key wrong.age", "");
        assert_eq!(refused.status.code(), Some(1));
        assert!(told(&refused).contains(code), "{code}: {}", told(&refused));
    }
}

#[test]
fn a_key_is_for_its_owner_alone_and_never_overwritten() {
    let stage = Stage::with_key();
    let key = stage.read("lock.key");
    let mode = std::fs::metadata(stage.path("lock.key"))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    assert!(!stage.lock("keygen --out lock.key", "").status.success());
    assert_eq!(stage.read("lock.key"), key);
    // The secret half in the place of the public one is not repeated.
    let secret = key.lines().last().unwrap();
    let words = format!("encrypt --plane {PLANE} --name a --recipient {secret}");
    let refused = stage.lock(&words, "hunter2\n");
    assert!(!refused.status.success());
    assert!(!told(&refused).contains(&secret[20..]));
}

#[test]
fn a_value_that_is_typed_is_not_shown() {
    if !have("script", "bsdutils").unwrap() {
        return;
    }
    let stage = Stage::with_key();
    let lock = binary("zen-lock").unwrap();
    let words = format!(
        "{} encrypt --plane {PLANE} --name a --purpose target-auth --recipients-file lock.pub \
         --prompt value --out typed.age",
        lock.display()
    );
    // `script` gives the command a terminal.
    let mut script = Command::new("script");
    let mut child = script
        .args(["-qec", &words, "/dev/null"])
        .current_dir(stage.dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = Vec::new();
    let mut terminal = child.stdout.take().unwrap();
    let mut byte = [0];
    // What is typed before the question is thrown away.
    while !shown.ends_with(b"value: ") {
        assert_eq!(terminal.read(&mut byte).unwrap(), 1, "{shown:?}");
        shown.push(byte[0]);
    }
    let mut keyboard = child.stdin.take().unwrap();
    keyboard.write_all(b"hunter2\n").unwrap();
    terminal.read_to_end(&mut shown).unwrap();
    assert!(child.wait().unwrap().success());
    let shown = String::from_utf8_lossy(&shown);
    assert!(!shown.contains("hunter2"), "{shown}");
    let value = stage.lock("decrypt -i lock.key --key value typed.age", "");
    assert_eq!(ok(value), "hunter2");
}

#[test]
fn rotating_files_changes_their_keys_and_nothing_else_and_the_report_says_what_is_left() {
    let stage = Stage::with_key();
    std::fs::create_dir(stage.path("repository")).unwrap();
    let seal = "encrypt --cluster c --namespace shop --name db --service-account api \
                --recipients-file lock.pub --manifest";
    let manifest = ok(stage.lock(seal, "hunter2\n"));
    let two = format!("# ours\n{manifest}---\n{manifest}# end\n");
    stage.write("repository/db.yaml", two.as_bytes());
    stage.write("repository/a.age", sealed(&stage).as_bytes());
    ok(stage.lock("keygen --out new.key", ""));
    let new = ok(stage.lock("pubkey -i new.key", ""));
    stage.write("new.pub", new.as_bytes());
    let report = "report -i new.key -i lock.key --format json repository";
    let before = stage.lock(report, "");
    assert_eq!(before.status.code(), Some(1));
    assert_eq!(
        told(&before).matches("old key").count(),
        3,
        "{}",
        told(&before)
    );
    let rotate = "rotate -i lock.key --recipients-file new.pub repository";
    ok(stage.lock(&format!("{rotate} --dry-run"), ""));
    assert_eq!(stage.read("repository/db.yaml"), two);
    ok(stage.lock(rotate, ""));
    let after = stage.lock(report, "");
    assert!(after.status.success(), "{}", told(&after));
    let text = stage.read("repository/db.yaml");
    assert!(text.starts_with("# ours\napiVersion") && text.ends_with("# end\n"));
    // age's text may be longer or shorter; what is around it is as it was.
    assert_eq!(around(&text), around(&two));
    let value = stage.lock("decrypt -i new.key --key value repository/db.yaml", "");
    assert_eq!(ok(value), "hunter2");
    // The old key is of no use any more.
    let old = stage.lock("decrypt -i lock.key repository/a.age", "");
    assert!(told(&old).contains("SECRET_WRONG_RECIPIENT"));
}

#[test]
fn old_objects_are_taken_over_and_an_empty_list_does_not_mean_everybody() {
    let stage = Stage::with_key();
    let key = std::fs::read_to_string(stage.path("lock.key")).unwrap();
    let recipient = zen_seal::Identity::parse(&key).unwrap().recipient();
    let value = zen_seal::close(b"hunter2", &[recipient]).unwrap();
    let value = base64_of(value.as_bytes());
    let old = |subjects: &str| {
        format!(
            "apiVersion: security.kube-zen.io/v1alpha1\nkind: ZenLock\n\
             metadata: {{name: db, namespace: shop}}\n\
             spec:\n  algorithm: age\n  encryptedData:\n    password: {value}\n{subjects}"
        )
    };
    let import =
        "import --cluster c -i lock.key --recipients-file lock.pub --out new.yaml old.yaml";
    stage.write("old.yaml", old("").as_bytes());
    let said = stage.lock(import, "");
    assert!(told(&said).contains("names nobody"), "{}", told(&said));
    let shown = ok(stage.lock("decrypt -i lock.key new.yaml", ""));
    assert!(shown.contains("service accounts  none"), "{shown}");
    let own = "  allowedSubjects:\n  - {kind: ServiceAccount, name: api, namespace: shop}\n";
    stage.write("old.yaml", old(own).as_bytes());
    ok(stage.lock(import, ""));
    let shown = ok(stage.lock("decrypt -i lock.key new.yaml", ""));
    assert!(shown.contains("service accounts  api"), "{shown}");
    assert!(shown.contains("cluster:c/shop/db"), "{shown}");
    let value = stage.lock("decrypt -i lock.key --key password new.yaml", "");
    assert_eq!(ok(value), "hunter2");
    let far = "  allowedSubjects:\n  - {kind: ServiceAccount, name: api, namespace: other}\n";
    stage.write("old.yaml", old(far).as_bytes());
    assert!(!stage.lock(import, "").status.success());
}

/// The lines that are no part of an armored file.
fn around(text: &str) -> Vec<&str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        inside |= line.contains("-----BEGIN");
        if !inside {
            lines.push(line);
        }
        inside &= !line.contains("-----END");
    }
    lines
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
