//! The unit forbids system calls; the edge plane must not need one of those.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use zen_integration_tests::tools::{binary, have};
use zen_integration_tests::world::PATIENCE;

use super::installed::Installed;

#[tokio::test]
async fn the_edge_plane_makes_no_system_call_that_the_unit_forbids() {
    if !have("systemd-analyze", "systemd").unwrap() || !have("strace", "strace").unwrap() {
        return;
    }
    let host = Installed::new().await.unwrap();
    let unit = host.file("--systemd").unwrap();
    assert!(
        unit.contains(
            "SystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources\n"
        )
    );
    let mut allowed = set("@system-service");
    allowed.extend(set("@default"));
    for forbidden in ["@privileged", "@resources"] {
        for call in set(forbidden) {
            allowed.remove(&call);
        }
    }
    let log = host.seat.dir.path().join("strace.log");
    let wrapper = [
        "strace",
        "-f",
        "-qq",
        "-e",
        "signal=none",
        "-o",
        log.to_str().unwrap(),
    ];
    let mut edge = host.start(&binary("zen").unwrap(), &wrapper).unwrap();
    host.healthy().await.unwrap();
    // strace lets no signal through to itself: the plane is asked to stop.
    let strace = edge.id().unwrap();
    let children = format!("/proc/{strace}/task/{strace}/children");
    let children = std::fs::read_to_string(children).unwrap();
    for child in children.split_whitespace() {
        let child = rustix::process::Pid::from_raw(child.parse().unwrap()).unwrap();
        rustix::process::kill_process(child, rustix::process::Signal::TERM).unwrap();
    }
    let ended = tokio::time::timeout(PATIENCE, edge.wait()).await;
    ended.expect("the plane stops when it is asked to").unwrap();
    let made = made(&log);
    assert!(made.len() > 20, "{made:?}");
    let forbidden: Vec<_> = made.difference(&allowed).collect();
    assert!(forbidden.is_empty(), "{forbidden:?}");
}

/// The system calls of a set, and of the sets in it.
fn set(name: &str) -> BTreeSet<String> {
    let output = Command::new("systemd-analyze")
        .args(["syscall-filter", "--no-pager", name])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut calls = BTreeSet::new();
    for line in text.lines().skip(1).map(str::trim) {
        match line.chars().next() {
            None | Some('#') => {}
            Some('@') => calls.extend(set(line)),
            Some(_) => {
                calls.insert(line.to_owned());
            }
        }
    }
    calls
}

/// The names of the calls in strace's log: `pid name(…`.
fn made(log: &Path) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned();
    let name = |line: &str| {
        let (_, rest) = line.split_once(' ')?;
        let (name, _) = rest.trim_start().split_once('(')?;
        let is_name = name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        (is_name && !name.is_empty()).then(|| name.to_owned())
    };
    text.lines().filter_map(name).collect()
}
