//! The charts as packages in a repository of one's own, installed from there.

use std::fs;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

use crate::objects::Object;
use crate::stage::{CHARTS, NAMESPACE, RELEASE, Stage, files, least, succeeds};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_chart_is_installed_from_a_repository() {
    let Some(stage) = Stage::build() else { return };
    let folder = stage.folder().join("packages");
    fs::create_dir(&folder).unwrap();
    for chart in CHARTS {
        let mut package = stage.helm(["package", "--destination"]);
        succeeds(package.arg(&folder).arg(stage.chart(chart)));
    }
    succeeds(stage.helm(["repo", "index"]).arg(&folder));
    let index = fs::read_to_string(folder.join("index.yaml")).unwrap();
    let index: Value = serde_saphyr::from_str(&index).unwrap();
    for chart in CHARTS {
        let entry = &index["entries"][chart][0];
        let file = folder.join(entry["urls"][0].as_str().unwrap());
        let sum = hex::encode(digest(&SHA256, &fs::read(file).unwrap()));
        assert_eq!(entry["digest"], sum, "{chart}");
        assert_eq!(entry["version"], "0.1.0", "{chart}");
    }
    let url = serve(&folder).await;
    for chart in CHARTS {
        let mut command = stage.helm(["template", RELEASE, chart]);
        command.args([
            "--repo",
            &url,
            "--version",
            "0.1.0",
            "--namespace",
            NAMESPACE,
        ]);
        for value in least(chart) {
            command.args(["--set", value]);
        }
        let (from_repository, from_folder) = (succeeds(&mut command), stage.set(chart, &[]));
        let from_repository = Object::all(&from_repository);
        assert_eq!(titles(&from_repository), titles(&from_folder), "{chart}");
    }
}

fn titles(objects: &[Object]) -> Vec<String> {
    objects.iter().map(Object::title).collect()
}

/// A web server for the files of one folder, on loopback.
async fn serve(folder: &std::path::Path) -> String {
    let mut router = axum::Router::new();
    for file in files(folder) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let content = fs::read(&file).unwrap();
        let answer = move || async move { content };
        router = router.route(&format!("/{name}"), axum::routing::get(answer));
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}
