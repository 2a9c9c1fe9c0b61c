//! The desk over a real socket: who is let in, what each refusal says, what is written down.

use std::path::Path;

use tokio::net::UnixListener;
use zen_chassis::Stage;
use zen_chassis::net::local_channel;
use zen_proto::lock::v1::lock_service_client::LockServiceClient;
use zen_seal::{Identity, Realm, ScopedSecret, Values};

use super::*;
use crate::audit::Audit;
use crate::core::Pool;
use crate::keyring::Keyring;
use crate::metrics::Metrics;
use crate::opener::Opener;

type Client = LockServiceClient<tonic::transport::Channel>;

struct World {
    folder: tempfile::TempDir,
    identity: Identity,
    client: Client,
    stop: CancellationToken,
}

impl World {
    fn start(users: Option<u32>) -> Self {
        Self::start_with(users, u64::MAX)
    }

    fn start_with(users: Option<u32>, audit_bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["keys", "sealed", "audit"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        let identity = Identity::generate();
        std::fs::write(path("keys/1"), identity.to_secret_text().as_bytes()).unwrap();
        let realm = Realm::Cluster("here".to_owned());
        let stage = Stage::detached("lock").unwrap();
        let own = rustix::process::geteuid().as_raw();
        let mut admission = Admission::new(own, &[], None);
        if let Some(user) = users {
            admission.users = [user].into();
        }
        let desk = Desk {
            core: Core {
                opener: Opener::new(Keyring::open(path("keys"), None).0, Vec::new()),
                audit: Audit::open(&path("audit/audit.jsonl"), audit_bytes).unwrap(),
                metrics: Metrics::new(&stage.meter),
                realms: tokio::sync::watch::channel(vec![realm]).1,
                clock: stage.clock.clone(),
                pool: Pool::new(),
            },
            sources: Sources::new(Some(path("sealed")), None),
            admission,
        };
        let socket = path("lock.sock");
        let listener = Listener::Unix(UnixListener::bind(&socket).unwrap());
        let stop = stage.shutdown.clone();
        stage
            .tasks
            .spawn("desk", desk.serve(listener, stop.clone()));
        Self {
            client: LockServiceClient::new(local_channel(&socket).unwrap()),
            folder,
            identity,
            stop,
        }
    }

    fn put(&self, file: &str, name: &str, purposes: &[Purpose]) {
        let values = ["value", "other"].map(|key| {
            let value = format!("{key} of {name}").into_bytes();
            (key.to_owned(), value.into())
        });
        let secret = ScopedSecret {
            scope: Scope {
                realm: Realm::Cluster("here".to_owned()),
                namespace: None,
                name: name.to_owned(),
            },
            service_accounts: Vec::new(),
            purposes: purposes.to_vec(),
            created_at_ms: 1,
            version: "0".repeat(32),
            values: Values::from(values),
        };
        let sealed = secret.seal(&[self.identity.recipient()], None, 1).unwrap();
        std::fs::write(self.sealed(file), sealed).unwrap();
    }

    fn sealed(&self, name: &str) -> std::path::PathBuf {
        self.folder
            .path()
            .join("sealed")
            .join(format!("{name}.age"))
    }

    async fn open(&mut self, name: &str, key: &str, purpose: &str) -> Result<OpenResponse, Status> {
        let ask = OpenRequest {
            name: name.to_owned(),
            key: key.to_owned(),
            purpose: purpose.to_owned(),
            known_version: String::new(),
        };
        self.client.open(ask).await.map(Response::into_inner)
    }

    async fn refused(&mut self, name: &str, key: &str, purpose: &str) -> SecretCode {
        code(&self.open(name, key, purpose).await.unwrap_err())
    }

    fn outcomes(&self) -> Vec<(String, String)> {
        let field = |line: &serde_json::Value, name: &str| line[name].as_str().unwrap().to_owned();
        lines(&self.folder.path().join("audit/audit.jsonl"))
            .iter()
            .map(|line| (field(line, "who"), field(line, "outcome")))
            .collect()
    }
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn code(status: &Status) -> SecretCode {
    let code = status.metadata().get("zen-code").unwrap();
    let code: SecretCode = code.to_str().unwrap().parse().unwrap();
    assert_eq!(status.message(), code.remedy());
    code
}

#[tokio::test]
async fn a_component_has_what_its_purpose_allows_and_each_question_is_written_down() {
    let mut world = World::start(None);
    world.put("api", "api", &[Purpose::TargetAuth]);
    let opened = world.open("api", "", "target-auth").await.unwrap();
    assert_eq!(&opened.value[..], b"value of api");
    let opened = world.open("api", "other", "target-auth").await.unwrap();
    assert_eq!(&opened.value[..], b"other of api");
    let known = OpenRequest {
        name: "api".to_owned(),
        purpose: "target-auth".to_owned(),
        known_version: opened.version.clone(),
        ..OpenRequest::default()
    };
    let unchanged = world.client.open(known).await.unwrap().into_inner();
    assert!(unchanged.value.is_empty() && unchanged.version == opened.version);
    let refused = world.refused("api", "third", "target-auth").await;
    assert_eq!(refused, SecretCode::KeyUnknown);
    let refused = world.refused("api", "", "target-signing").await;
    assert_eq!(refused, SecretCode::NotAllowed);
    let refused = world.refused("api", "", "whatever").await;
    assert_eq!(refused, SecretCode::NotAllowed);
    let outcomes: Vec<_> = world
        .outcomes()
        .into_iter()
        .map(|(_, outcome)| outcome)
        .collect();
    assert_eq!(
        outcomes,
        [
            "opened",
            "opened",
            "unchanged",
            "SECRET_KEY_UNKNOWN",
            "SECRET_NOT_ALLOWED",
            "SECRET_NOT_ALLOWED"
        ]
    );
    let audit = std::fs::read_to_string(world.folder.path().join("audit/audit.jsonl")).unwrap();
    assert!(!audit.contains("of api"));
    world.stop.cancel();
}

#[tokio::test]
async fn each_way_to_be_no_secret_has_its_code() {
    let mut world = World::start(None);
    let all = [Purpose::TargetAuth];
    for name in ["good", "cut", "changed", "foreign"] {
        world.put(name, name, &all);
    }
    world.put("renamed", "good", &all);
    world.put("nobody", "nobody", &[]);
    let text = std::fs::read_to_string(world.sealed("cut")).unwrap();
    std::fs::write(world.sealed("cut"), &text[..text.len() / 2]).unwrap();
    std::fs::write(world.sealed("bare"), "hello").unwrap();
    std::fs::write(world.sealed("big"), "x".repeat(300_000)).unwrap();
    let mine = std::mem::replace(&mut world.identity, Identity::generate());
    world.put("foreign", "foreign", &all);
    world.identity = mine;
    for (name, wanted) in [
        ("cut", SecretCode::Truncated),
        ("bare", SecretCode::NotAge),
        ("big", SecretCode::TooLarge),
        ("foreign", SecretCode::WrongRecipient),
        ("renamed", SecretCode::ScopeMismatch),
        ("nobody", SecretCode::NotAllowed),
        ("none", SecretCode::Unknown),
        ("../sealed/good", SecretCode::Unknown),
        ("Good", SecretCode::Unknown),
    ] {
        assert_eq!(
            world.refused(name, "", "target-auth").await,
            wanted,
            "{name}"
        );
    }
    assert!(world.open("good", "", "target-auth").await.is_ok());
    world.stop.cancel();
}

#[tokio::test]
async fn a_process_of_another_user_is_told_nothing() {
    let nobody = 65_534;
    let mut world = World::start(Some(nobody));
    world.put("api", "api", &[Purpose::TargetAuth]);
    let refused = world.refused("api", "", "target-auth").await;
    assert_eq!(refused, SecretCode::CallerUnknown);
    let own = rustix::process::geteuid().as_raw();
    let written = (format!("uid:{own}"), "SECRET_CALLER_UNKNOWN".to_owned());
    assert_eq!(world.outcomes(), [written]);
    world.stop.cancel();
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_handed_out() {
    // The log is full at once, and its folder lets it not be put aside.
    let mut world = World::start_with(None, 0);
    world.put("api", "api", &[Purpose::TargetAuth]);
    assert!(world.open("api", "", "target-auth").await.is_ok());
    std::fs::remove_dir_all(world.folder.path().join("audit")).unwrap();
    let refused = world.refused("api", "", "target-auth").await;
    assert_eq!(refused, SecretCode::LockUnreachable);
    world.stop.cancel();
}
