//! A bundle that the plane's zen-lock opens, and zen-lock as a part that was chosen.

use super::*;

const GET: &str = "get\nsecret\nzen-lock-identities\n--namespace\nzen-mesh\n-o\nname\n";
const DELETE: &str =
    "delete\nsecret\nzen-enrollment-key\n--namespace\nzen-mesh\n--ignore-not-found\n";

#[test]
fn a_bundle_for_a_recipient_brings_no_identity_and_has_zen_lock_open_it() {
    let folder = tempfile::tempdir().unwrap();
    let chosen = choice(Form::Kubernetes, &[Part::Egress], PlaneKind::Edge);
    let command = install(PlaneKind::Edge, None).hand_out(&chosen).command;
    for _twice in 0..2 {
        assert!(run(&command, folder.path(), &[]).success());
    }
    let once = "kubectl\nkubectl\nkubectl\nhelm\n";
    assert_eq!(read(folder.path(), "calls"), once.repeat(2));
    // A key of an earlier bundle is gone before this one lies there: else it would be tried.
    let arguments = read(folder.path(), "arguments");
    let begins = format!("{GET}{DELETE}apply\n");
    assert!(arguments.starts_with(&begins), "{arguments}");
    let helm = read(folder.path(), "helm");
    for value in [
        "zen-agent.enrollment.lock.enabled=true",
        "zen-egress.enabled=true",
        "zen-lock.enabled=true",
    ] {
        let value = format!("\n--set\n{value}\n");
        assert_eq!(helm.matches(&value).count(), 1, "{helm}");
    }
    assert_eq!(
        kinds(&objects(&read(folder.path(), "applied"))),
        [
            "Namespace/zen-mesh",
            "Secret/zen-enrollment",
            "ConfigMap/zen-trust-bundle"
        ]
    );
}

#[test]
fn without_zen_locks_identities_nothing_is_done_and_the_command_says_what_comes_first() {
    let make = "kubectl create secret generic zen-lock-identities --namespace zen-mesh";
    let recipient = RECIPIENT.to_string();
    for (form, parts, identity, names) in [
        (Form::Kubernetes, &[][..], None, true),
        (Form::GitOps, &[], None, true),
        (Form::Kubernetes, &[Part::Lock], Some(KEY), false),
        (Form::GitOps, &[Part::Lock], Some(KEY), false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("fail"), "").unwrap();
        let chosen = choice(form, parts, PlaneKind::Edge);
        let command = install(PlaneKind::Edge, identity).hand_out(&chosen).command;
        let refused = shell(&command, folder.path(), &[]).output().unwrap();
        assert!(!refused.status.success(), "{command}");
        assert_eq!(read(folder.path(), "arguments"), GET);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains(make), "{said}");
        assert_eq!(said.contains(&recipient), names, "{said}");
        // A shell that knows no comments, or asks what <file> is, is given none outside of a document.
        let outside = command.split("<<'ZEN_").next().unwrap();
        assert!(!outside.contains('#'), "{command}");
    }
}

#[test]
fn zen_lock_is_a_part_like_any_other_and_the_identity_is_handed_out_as_ever() {
    let folder = tempfile::tempdir().unwrap();
    let chosen = choice(Form::Kubernetes, &[Part::Lock], PlaneKind::Edge);
    let own = install(PlaneKind::Edge, Some(KEY));
    assert!(run(&own.hand_out(&chosen).command, folder.path(), &[]).success());
    let helm = read(folder.path(), "helm");
    assert!(helm.contains("\n--set\nzen-lock.enabled=true\n"), "{helm}");
    assert!(!helm.contains("enrollment"), "{helm}");
    let arguments = read(folder.path(), "arguments");
    assert!(
        arguments.starts_with(&format!("{GET}apply\n")),
        "{arguments}"
    );
    let applied = kinds(&objects(&read(folder.path(), "applied")));
    assert!(applied.contains(&"Secret/zen-enrollment-key".to_owned()));

    let gitops = choice(Form::GitOps, &[Part::Lock], PlaneKind::Edge);
    let handed = own.hand_out(&gitops);
    assert!(run(&handed.command, folder.path(), &[]).success());
    let manifests = handed.gitops.unwrap().manifests;
    for secret in ["zen-enrollment-key", "zen-lock-identities"] {
        let make = format!("#   kubectl create secret generic {secret} --namespace zen-mesh");
        assert!(manifests.contains(&make), "{manifests}");
    }
}

#[test]
fn what_is_committed_for_a_recipient_names_the_secret_of_zen_lock_alone() {
    let folder = tempfile::tempdir().unwrap();
    let chosen = choice(Form::GitOps, &[Part::Lock], PlaneKind::Edge);
    let own = install(PlaneKind::Edge, None);
    let handed = own.hand_out(&chosen);
    let gitops = handed.gitops.unwrap();
    let manifests = &gitops.manifests;
    assert!(manifests.contains(&RECIPIENT.to_string()), "{manifests}");
    assert!(manifests.contains("zen-lock-identities"), "{manifests}");
    assert!(!manifests.contains("zen-enrollment-key"), "{manifests}");
    assert_eq!(
        kinds(&objects(manifests)),
        [
            "Namespace/zen-mesh",
            "Secret/zen-enrollment",
            "ConfigMap/zen-trust-bundle"
        ]
    );
    let values: Value = serde_saphyr::from_str(&gitops.values).unwrap();
    let expected = json!({ "global": { "planeId": own.plane.to_string(),
            "controlPlane": { "address": own.control_plane } },
        "zen-agent": { "enrollment": { "lock": { "enabled": true } } },
        "zen-lock": { "enabled": true } });
    assert_eq!(values, expected);
    assert!(run(&handed.command, folder.path(), &[]).success());
    let arguments = read(folder.path(), "arguments");
    assert_eq!(arguments, format!("{GET}{DELETE}"));
}
