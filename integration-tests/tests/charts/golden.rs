//! What the charts render is what is committed, and the schemas of Kubernetes agree with it.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use zen_integration_tests::tools;

use crate::objects::Object;
use crate::stage::{
    CHARTS, Stage, cases, deploy, files, golden, golden_file, least, succeeds, tool,
};

#[test]
fn every_rendered_chart_is_as_committed() {
    let Some(stage) = Stage::build() else { return };
    let bless = bless();
    let mut differ = Vec::new();
    let mut kept = BTreeSet::new();
    for (chart, name, values) in cases() {
        let rendered = stage.render(chart, &values);
        // Nothing in it depends on this machine.
        assert!(!rendered.contains(stage.folder().to_str().unwrap()));
        let file = golden_file(chart, &name);
        if bless {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, &rendered).unwrap();
        } else if fs::read_to_string(&file).unwrap_or_default() != rendered {
            differ.push(format!("{chart}/{name}"));
        }
        kept.insert(file);
    }
    for chart in files(&deploy().join("charts/golden")) {
        for file in files(&chart) {
            if kept.contains(&file) {
                continue;
            }
            if bless {
                fs::remove_file(&file).unwrap();
            } else {
                differ.push(format!("{} has no values any more", file.display()));
            }
        }
    }
    assert!(
        differ.is_empty(),
        "rendered charts changed; look at them and `cargo xtask charts --bless`: {differ:#?}"
    );
}

#[expect(clippy::disallowed_methods, reason = "asked for by cargo xtask charts")]
fn bless() -> bool {
    std::env::var("ZEN_BLESS").is_ok()
}

#[test]
fn every_chart_passes_the_strict_lint() {
    let Some(stage) = Stage::build() else { return };
    for chart in CHARTS {
        let mut lint = stage.helm(["lint", "--strict"]);
        for value in least(chart) {
            lint.args(["--set", value]);
        }
        succeeds(lint.arg(stage.chart(chart)));
    }
    for (chart, name, values) in cases() {
        let mut lint = stage.helm(["lint", "--strict"]);
        let said = succeeds(lint.arg("--values").arg(&values).arg(stage.chart(chart)));
        assert!(!said.contains("[WARNING]"), "{chart}/{name}: {said}");
    }
}

#[test]
fn a_cluster_without_the_prometheus_operator_gets_no_objects_of_it() {
    let Some(stage) = Stage::build() else { return };
    for (chart, name, values) in cases() {
        let text = succeeds(stage.template(chart).arg("--values").arg(&values));
        for object in Object::all(&text) {
            let group = object.text("/apiVersion");
            assert!(
                !group.starts_with("monitoring.coreos.com"),
                "{chart}/{name}: {}",
                object.title()
            );
        }
    }
}

#[test]
fn rendered_objects_hold_to_the_schemas_of_kubernetes_1_33() {
    schemas_agree("1.33");
}

#[test]
fn rendered_objects_hold_to_the_schemas_of_kubernetes_1_35() {
    schemas_agree("1.35");
}

#[test]
fn rendered_objects_hold_to_the_schemas_of_kubernetes_1_37() {
    schemas_agree("1.37");
}

fn schemas_agree(version: &str) {
    let Some(validate) = tool("kubernetes-validate/bin/kubernetes-validate") else {
        return;
    };
    let mut command = Command::new(validate);
    command.args(["--strict", "-k", version]);
    for (chart, name, _) in cases() {
        command.arg(golden_file(chart, &name));
    }
    let output = command.output().unwrap();
    let mut told = String::from_utf8_lossy(&output.stdout).into_owned();
    told.push_str(&String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{version}: {told}");
    // It passes over kinds that it does not know, with a word: only the operator's may be those.
    for line in told.lines().filter(|line| line.contains("WARN")) {
        assert!(line.contains("monitoring.coreos.com/v1"), "{line}");
    }
}

/// Installed beside each other in one namespace, or alone each: no two charts make one object.
#[test]
fn charts_that_are_installed_together_make_no_object_twice() {
    let Some(kubectl) = tool("helm/kubectl") else {
        return;
    };
    let together: [&[(&str, &str)]; 3] = [
        &[
            ("zen-edge-plane", "everything"),
            ("zen-control-plane", "postgres"),
        ],
        &[
            ("zen-data-plane", "everything"),
            ("zen-control-plane", "sqlite"),
        ],
        &[
            ("zen-agent", "least"),
            ("zen-ingester", "everything"),
            ("zen-egress", "everything"),
            ("zen-bridge", "everything"),
            ("zen-lock", "default"),
            ("zen-control-plane", "everything"),
        ],
    ];
    for set in together {
        let folder = tempfile::TempDir::new_in(tools::target().unwrap()).unwrap();
        let mut list = "resources:\n".to_owned();
        for (chart, name) in set {
            let file = format!("{chart}.yaml");
            fs::copy(golden_file(chart, name), folder.path().join(&file)).unwrap();
            list.push_str(&format!("  - {file}\n"));
        }
        fs::write(folder.path().join("kustomization.yaml"), list).unwrap();
        // kustomize refuses two objects of one name.
        let built = succeeds(Command::new(&kubectl).arg("kustomize").arg(folder.path()));
        let made = Object::all(&built).len();
        let given = golden()
            .iter()
            .filter(|(chart, name, _)| set.contains(&(*chart, name.as_str())))
            .map(|(_, _, objects)| objects.len())
            .sum::<usize>();
        assert_eq!(made, given, "{set:?}");
    }
}
