//! A database server that speaks TLS alone and asks for a password.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::common::{Running, clock, config};
use crate::postgres_server::Server;
use zen_chassis::{App, Stage};
use zen_control_plane::{Config, ControlPlane, DatabaseSettings, DatabaseTls, PostgresSettings};

const PASSWORD: &str = "p@ss w/rd&?%20#";

/// Runs openssl in a folder.
fn openssl(folder: &Path, arguments: &str) {
    let done = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// An authority, and a certificate of it for `localhost`.
fn certificates(folder: &Path) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        folder,
        &format!("req -x509 {key} -days 2 -subj /CN=authority -keyout ca.key -out ca.pem"),
    );
    openssl(
        folder,
        &format!("req {key} -subj /CN=localhost -keyout server.key -out server.csr"),
    );
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    openssl(
        folder,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
         -extfile names -out server.pem"
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .as_str(),
    );
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn settings(state: PathBuf, postgres: PostgresSettings) -> Config {
    Config {
        database: DatabaseSettings {
            postgres: Some(postgres),
            url_file: None,
        },
        ..config(&state)
    }
}

#[tokio::test]
async fn a_database_is_reached_by_password_over_tls_and_no_impostor_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let Some(mut server) = Server::own(&path("server")).unwrap() else {
        return;
    };
    certificates(folder.path());
    let port = free_port();
    let database = server.database().unwrap().name;
    server
        .secure(port, &path("server.pem"), &path("server.key"), PASSWORD)
        .unwrap();
    std::fs::write(path("password"), format!("{PASSWORD}\n")).unwrap();
    std::fs::create_dir(path("state")).unwrap();
    let good = PostgresSettings {
        host: "localhost".to_owned(),
        port,
        database,
        password_file: Some(path("password")),
        ca_file: Some(path("ca.pem")),
        ..PostgresSettings::default()
    };
    let wrong = [
        PostgresSettings {
            ca_file: None,
            ..good.clone()
        },
        PostgresSettings {
            host: "127.0.0.1".to_owned(),
            ..good.clone()
        },
        PostgresSettings {
            tls: DatabaseTls::Disable,
            ..good.clone()
        },
        PostgresSettings {
            password_file: None,
            ..good.clone()
        },
    ];
    for wrong in wrong {
        let stage = Stage::detached("control-plane").unwrap();
        let bound = ControlPlane::bind(settings(path("state"), wrong.clone()), &stage).await;
        assert!(bound.is_err(), "{wrong:?}");
    }
    let running = Running::start_with(settings(path("state"), good), clock()).await;
    running.plane("edge", "edge").await;
    running.stop().await;
}
