//! A cluster with zen-lock installed from its committed rendering, and pods whose init container is
//! really run.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::kubernetes::ApiServer;
use zen_integration_tests::ports::{self, Port};
use zen_integration_tests::tools::binary;
use zen_integration_tests::unit::Unit;
use zen_integration_tests::world::PATIENCE;
use zen_proto::limits;
use zen_seal::{Identity, Realm, Recipient, Scope, ScopedSecret, Values};

/// Where the chart was rendered for.
pub(crate) const OWN: &str = "events";
/// The name of the cluster in that rendering.
pub(crate) const CLUSTER: &str = "prod-eu";

/// The cluster.
pub(crate) struct Stage {
    pub(crate) server: ApiServer,
    pub(crate) dir: TempDir,
    pub(crate) lock: Unit,
    pub(crate) pods_at: Port,
    admin: Client,
    kubeconfig: PathBuf,
}

/// A pod that was admitted.
pub(crate) struct Pod {
    pub(crate) object: Value,
    namespace: String,
}

impl Stage {
    /// With namespaces `shop` and `other`, whose pods may ask, and one identity.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(settings: &[&str]) -> Self {
        let server = ApiServer::start().await.unwrap();
        for (name, labels) in [
            (OWN, json!({})),
            ("shop", json!({ "zen-lock": "enabled" })),
            ("other", json!({ "zen-lock": "enabled" })),
            ("free", json!({})),
        ] {
            let object = json!({ "apiVersion": "v1", "kind": "Namespace",
                "metadata": { "name": name, "labels": labels } });
            server.put(&object).unwrap();
            for account in ["api", "web"] {
                let object = json!({ "apiVersion": "v1", "kind": "ServiceAccount",
                    "metadata": { "name": account, "namespace": name } });
                server.put(&object).unwrap();
            }
        }
        install(&server);
        let dir = TempDir::new().unwrap();
        let identities = dir.path().join("identities");
        fs::create_dir(&identities).unwrap();
        put_identity(&identities, "1.key");
        let token = server.token(OWN, "zen-lock", &[], 3600, None).unwrap();
        let kubeconfig = server
            .kubeconfig(&dir.path().join("kubeconfig"), &token, OWN)
            .unwrap();
        let admin = dir.path().join("admin");
        let admin = server.kubeconfig(&admin, server.admin(), OWN).unwrap();
        let admin = client(&admin).await;
        let (lock, pods_at) = unit(dir.path(), &kubeconfig, "a", settings);
        let mut stage = Self {
            server,
            admin,
            dir,
            lock,
            pods_at,
            kubeconfig,
        };
        stage.lock.start().unwrap();
        stage.lock.ready().await.unwrap();
        stage.route(stage.pods_at.address);
        stage
    }

    /// Another replica, not started.
    pub(crate) fn replica(&self, name: &str) -> (Unit, Port) {
        unit(self.dir.path(), &self.kubeconfig, name, &[])
    }

    /// Whom the Service leads to.
    pub(crate) fn route(&self, address: SocketAddr) {
        self.server.route(OWN, "zen-lock", 7447, address);
    }

    pub(crate) fn identities(&self) -> PathBuf {
        self.dir.path().join("identities")
    }

    /// The key that seals for this zen-lock: that of the file which was put last by name.
    pub(crate) fn recipient(&self) -> Recipient {
        let mut files: Vec<_> = fs::read_dir(self.identities())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        Identity::from_file(files.last().unwrap())
            .unwrap()
            .recipient()
    }

    /// A ZenLock with the value `password`, for these service accounts.
    pub(crate) fn zenlock(
        &self,
        namespace: &str,
        name: &str,
        accounts: &[&str],
        value: &str,
    ) -> Value {
        let sealed = seal(&self.recipient(), namespace, name, accounts, value);
        manifest(namespace, name, &sealed)
    }

    /// Seals, and writes as an operator whom webhooks do not ask.
    pub(crate) fn put(&self, namespace: &str, name: &str, accounts: &[&str], value: &str) {
        let object = self.zenlock(namespace, name, accounts, value);
        self.server.put(&object).unwrap();
    }

    /// Creates an object as a person would, by HTTP.
    pub(crate) async fn create(&self, path: &str, object: &Value) -> Result<Value, String> {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .body(object.to_string().into_bytes())
            .unwrap();
        self.admin
            .request(request)
            .await
            .map_err(|error| match error {
                kube::Error::Api(status) => status.message.clone(),
                other => panic!("{other:?}"),
            })
    }

    /// Creates a pod of a Deployment or Job: its name is generated after admission.
    pub(crate) async fn pod(
        &self,
        namespace: &str,
        account: &str,
        annotations: Value,
    ) -> Result<Pod, String> {
        let object = self
            .create(&pods_of(namespace), &pod(account, annotations))
            .await?;
        Ok(Pod {
            object,
            namespace: namespace.to_owned(),
        })
    }

    /// The same for one that asks for a secret.
    pub(crate) async fn asking(
        &self,
        namespace: &str,
        account: &str,
        secret: &str,
    ) -> Result<Pod, String> {
        let annotations = json!({ "zen-lock/inject": secret });
        self.pod(namespace, account, annotations).await
    }

    /// Runs the pod's init container as the kubelet would, with a token for this pod.
    pub(crate) fn run(&self, pod: &Pod) -> Result<BTreeMap<String, Vec<u8>>, String> {
        let account = pod.account();
        let (name, uid) = (pod.text("/metadata/name"), pod.text("/metadata/uid"));
        let token = self
            .server
            .token(
                &pod.namespace,
                account,
                &["zen-lock"],
                600,
                Some((name, uid)),
            )
            .unwrap();
        self.fetch(pod, &token)
    }

    /// The same with another token.
    pub(crate) fn fetch(
        &self,
        pod: &Pod,
        token: &str,
    ) -> Result<BTreeMap<String, Vec<u8>>, String> {
        let work = TempDir::new_in(self.dir.path()).unwrap();
        let output = self.init_container(pod, token, work.path());
        if !output.status.success() {
            return Err(String::from_utf8(output.stderr).unwrap());
        }
        let files = fs::read_dir(work.path().join("values")).unwrap();
        let read = |path: PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        };
        Ok(files.map(|file| read(file.unwrap().path())).collect())
    }

    fn init_container(&self, pod: &Pod, token: &str, work: &Path) -> Output {
        let values = work.join("values");
        fs::create_dir(&values).unwrap();
        fs::write(work.join("token"), token).unwrap();
        let container = &pod.object["spec"]["initContainers"][0];
        assert_eq!(container["name"], "zen-lock-fetch");
        let words = container["args"].as_array().unwrap();
        let words = words.iter().map(|word| match word.as_str().unwrap() {
            // What a cluster's names and mounts are here.
            "zen-lock.events.svc:7447" => self.pods_at.address.to_string(),
            "/var/run/secrets/zen-lock/token" => work.join("token").display().to_string(),
            "/zen-lock/secrets" => values.display().to_string(),
            word => word.to_owned(),
        });
        let mut command = Command::new(binary("zen-lock").unwrap());
        command.args(words).args(["--patience", "10"]).env_clear();
        command.output().unwrap()
    }

    /// The value of a metric's line that has all of these in it; 0 if there is none.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (_, text) = self.lock.admin_get("/metrics").await.unwrap();
        let text = String::from_utf8(text.to_vec()).unwrap();
        let lines = text.lines().filter(|line| line.starts_with(name));
        let mut lines = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
        let value = lines.next().and_then(|line| line.rsplit(' ').next());
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// What whoever has zen-lock's own token is answered at a path.
    pub(crate) async fn answered_to_zen_lock(&self, path: &str) -> u16 {
        let client = client(&self.kubeconfig).await;
        let request = Request::get(path).body(Vec::new()).unwrap();
        match client.request::<Value>(request).await {
            Ok(_) => 200,
            Err(kube::Error::Api(status)) => status.code,
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Waits until a ZenLock's condition says this.
    pub(crate) async fn condition(
        &self,
        namespace: &str,
        name: &str,
        status: &str,
        reason: &str,
    ) -> Value {
        eventually(&format!("{name} is {reason}"), PATIENCE, || async {
            let object = self.server.get("zenlocks", namespace, name).unwrap();
            let condition = object
                .pointer("/status/conditions/0")
                .cloned()
                .unwrap_or_default();
            let told = condition["status"] == status && condition["reason"] == reason;
            anyhow::ensure!(told, "{condition}");
            Ok(object)
        })
        .await
        .unwrap()
    }
}

impl Pod {
    pub(crate) fn text(&self, place: &str) -> &str {
        self.object.pointer(place).and_then(Value::as_str).unwrap()
    }

    pub(crate) fn account(&self) -> &str {
        self.text("/spec/serviceAccountName")
    }
}

async fn client(kubeconfig: &Path) -> Client {
    let file = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(file, &options)
        .await
        .unwrap();
    // A test wants to see every answer.
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

/// What the chart makes, put in as its operator would.
fn install(server: &ApiServer) {
    let rendered =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/charts/golden/zen-lock/pods.yaml");
    let text = fs::read_to_string(rendered).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    assert!(objects.len() > 8, "{}", objects.len());
    for object in objects {
        // Pods are the tests' own.
        if object["kind"] != "Pod" {
            server.put(&object).unwrap();
        }
    }
}

fn unit(folder: &Path, kubeconfig: &Path, name: &str, settings: &[&str]) -> (Unit, Port) {
    let own = folder.join(name);
    fs::create_dir(&own).unwrap();
    let pods_at = ports::reserve().unwrap();
    let mut all = vec![
        "agent=null".to_owned(),
        format!("cluster={CLUSTER}"),
        format!("state_dir={}", own.join("state").display()),
        format!("listen=unix:{}", own.join("l.sock").display()),
        format!("identities_dir={}", folder.join("identities").display()),
        format!("kubernetes.listen={}", pods_at.address),
        format!("kubernetes.kubeconfig={}", kubeconfig.display()),
        "kubernetes.image=zen-lock:test".to_owned(),
        format!("kubernetes.namespace={OWN}"),
        format!("kubernetes.webhook=zen-lock-{OWN}"),
    ];
    all.extend(settings.iter().map(|&setting| setting.to_owned()));
    let unit = Unit::new("zen-lock", &own, all).unwrap();
    (unit, pods_at)
}

/// Makes an identity in a file.
pub(crate) fn put_identity(folder: &Path, name: &str) -> Identity {
    let identity = Identity::generate();
    fs::write(folder.join(name), identity.to_secret_text().as_bytes()).unwrap();
    identity
}

pub(crate) fn seal(
    to: &Recipient,
    namespace: &str,
    name: &str,
    accounts: &[&str],
    value: &str,
) -> String {
    let secret = ScopedSecret {
        scope: Scope {
            realm: Realm::Cluster(CLUSTER.to_owned()),
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        },
        service_accounts: accounts.iter().map(|&name| name.to_owned()).collect(),
        purposes: Vec::new(),
        created_at_ms: 1,
        version: format!("{:032x}", value.len()),
        values: Values::from([("password".to_owned(), value.as_bytes().to_vec().into())]),
    };
    let sealed = secret.seal(std::slice::from_ref(to), None, 1).unwrap();
    assert!(sealed.len() < limits::SECRET_SEALED);
    sealed
}

pub(crate) fn manifest(namespace: &str, name: &str, sealed: &str) -> Value {
    json!({
        "apiVersion": "security.zen-mesh.io/v1", "kind": "ZenLock",
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "sealed": sealed },
    })
}

pub(crate) fn zenlocks_of(namespace: &str) -> String {
    format!("/apis/security.zen-mesh.io/v1/namespaces/{namespace}/zenlocks")
}

pub(crate) fn pods_of(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

pub(crate) fn pod(account: &str, annotations: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "generateName": "job-", "annotations": annotations },
        "spec": {
            "serviceAccountName": account,
            "containers": [{ "name": "app", "image": "app:1" }],
        },
    })
}
