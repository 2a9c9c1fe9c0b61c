//! Tests of what the build script packed and of how it is served.

use std::collections::BTreeMap;
use std::io::Read as _;

use axum::body::{Body, to_bytes};
use http::{Method, Request};
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;

fn index() -> Value {
    let index = SERVED.iter().find(|served| served.file == "index.yaml");
    serde_saphyr::from_slice(index.unwrap().bytes).unwrap()
}

fn files(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (0, 0));
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        files.insert(path, text);
    }
    files
}

fn package(chart: &str) -> &'static Served {
    let file = format!("{chart}-{VERSION}.tgz");
    SERVED.iter().find(|served| served.file == file).unwrap()
}

#[test]
fn charts_packed_again_are_the_same_bytes() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/charts");
    let again = pack::all(&source).unwrap();
    assert_eq!(pack::index(&again).as_bytes(), SERVED[0].bytes);
    for packed in again.iter().filter(|packed| !packed.library) {
        let served = package(&packed.name);
        assert_eq!(packed.bytes, served.bytes, "{}", packed.name);
        assert_eq!(packed.digest, pack::digest(served.bytes));
    }
}

#[test]
fn a_package_holds_its_chart_with_all_dependencies_and_nothing_of_its_makers() {
    let files = files(package("zen-edge-plane").bytes);
    for held in [
        "Chart.yaml",
        "values.schema.json",
        "charts/zen-agent/Chart.yaml",
        "charts/zen-agent/templates/tests/doctor.yaml",
        "charts/zen-agent/charts/zen-common/templates/_pod.tpl",
        "charts/zen-egress/charts/zen-common/Chart.yaml",
        "charts/zen-lock/values.yaml",
    ] {
        let held = format!("zen-edge-plane/{held}");
        assert!(files.contains_key(&held), "{held}");
    }
    for path in files.keys() {
        assert!(!path.contains("/ci/") && !path.contains("golden"), "{path}");
    }
    let source = include_str!("../../../deploy/charts/zen-edge-plane/values.yaml");
    assert_eq!(files["zen-edge-plane/values.yaml"], source);
}

#[test]
fn the_index_lists_every_chart_that_installs_something() {
    let index = index();
    assert_eq!(index["apiVersion"], "v1");
    let entries = index["entries"].as_object().unwrap();
    assert_eq!(entries.len(), SERVED.len() - 1);
    assert!(!entries.contains_key("zen-common"));
    for (name, versions) in entries {
        let [entry] = versions.as_array().unwrap().as_slice() else {
            panic!("{name}: {versions}");
        };
        let served = package(name);
        assert_eq!(entry["name"], name.as_str());
        assert_eq!(entry["version"], VERSION, "{name}");
        assert_eq!(entry["appVersion"], VERSION, "{name}");
        assert_eq!(entry["type"], "application", "{name}");
        assert_eq!(entry["kubeVersion"], ">=1.29.0-0", "{name}");
        assert_eq!(entry["urls"][0], served.file);
        assert_eq!(entry["digest"], served.digest);
        assert!(entry["description"].as_str().unwrap().ends_with('.'));
    }
    let parts = entries["zen-edge-plane"][0]["dependencies"].as_array();
    let ingester = parts.unwrap().iter().find(|p| p["name"] == "zen-ingester");
    assert_eq!(ingester.unwrap()["condition"], "zen-ingester.enabled");
}

#[tokio::test]
async fn a_file_is_served_with_its_tag_and_not_twice() {
    let served = package("zen-agent");
    let ask = |method: Method, path: String, tag: Option<String>| {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        router().oneshot(request.body(Body::empty()).unwrap())
    };
    let path = || format!("/charts/{}", served.file);
    let tag = format!("\"{}\"", served.digest);
    let whole = ask(Method::GET, path(), None).await.unwrap();
    assert_eq!(whole.headers()[header::CONTENT_TYPE], "application/gzip");
    assert_eq!(whole.headers()[header::ETAG], tag.as_str());
    let body = to_bytes(whole.into_body(), 1 << 20).await.unwrap();
    assert_eq!(body, served.bytes);
    let head = ask(Method::HEAD, path(), None).await.unwrap();
    let length = head.headers()[header::CONTENT_LENGTH].to_str().unwrap();
    assert_eq!(length, served.bytes.len().to_string());
    assert!(to_bytes(head.into_body(), 9).await.unwrap().is_empty());
    let kept = ask(Method::GET, path(), Some(format!("\"other\", W/{tag}")));
    assert_eq!(kept.await.unwrap().status(), StatusCode::NOT_MODIFIED);
    for path in ["/charts/zen-common-0.1.0.tgz", "/charts/..%2Fx"] {
        let none = ask(Method::GET, path.to_owned(), None).await.unwrap();
        assert_eq!(none.status(), StatusCode::NOT_FOUND, "{path}");
    }
}
