//! A plane of ingester, egress and zen-lock beside an agent that serves what a test wants, with a
//! private service as its target.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use serde_json::Value;
use tempfile::TempDir;
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::fake_agent::FakeAgent;
use zen_integration_tests::locks::Lock;
use zen_integration_tests::ports::{self, Port};
use zen_integration_tests::service::{Seen, Service};
use zen_integration_tests::source::{Scheme, Source};
use zen_integration_tests::unit::Unit;
use zen_proto::agent::v1::Slice;
use zen_proto::ids::{EndpointId, FlowId, Id as _, PlaneId, TargetId, TenantId};
use zen_proto::purpose::Purpose;
use zen_proto::snapshot::v1::{self as wire, Snapshot, target_auth};

/// Time for a state to come about.
pub(crate) const LONG: Duration = Duration::from_secs(30);
/// What sources sign with.
pub(crate) const HOOK: &[u8] = b"the secret of the source";
/// What is behind the `whsec_` that deliveries are signed with.
pub(crate) const SIGNING: &[u8] = b"0123456789abcdef0123456789abcdef";
/// The target's token.
pub(crate) const TOKEN: &[u8] = b"let-me-in";

/// The plane.
pub(crate) struct Plane {
    pub(crate) lock: Lock,
    pub(crate) agent: FakeAgent,
    pub(crate) ingester: Unit,
    pub(crate) egress: Unit,
    pub(crate) service: Service,
    ingest: Port,
    dir: TempDir,
}

/// The secrets that a plane's endpoint and target name.
pub(crate) struct Named {
    pub(crate) hook: &'static str,
    pub(crate) signing: &'static str,
    pub(crate) token: &'static str,
}

/// Those of zen-lock.
pub(crate) const LOCKED: Named = Named {
    hook: "lock:hook/current",
    signing: "lock:signing",
    token: "lock:token",
};

impl Plane {
    /// Prepares everything and starts nothing but the agent. Ingester and egress know zen-lock.
    pub(crate) async fn new(named: &Named) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("zen").tempdir()?;
        let (service, ingest) = (Service::start().await?, ports::reserve()?);
        let path = |name: &str| dir.path().join(name);
        let slice = slice(named, &service.url());
        let plane = slice.snapshot.as_ref().map(|s| s.plane_id.clone());
        let agent = FakeAgent::start(&path("a.sock"), slice)?;
        let lock = Lock::new(dir.path(), &path("a.sock"), &plane.unwrap_or_default())?;
        std::fs::create_dir(path("secrets"))?;
        let common = |component: &str| {
            vec![
                format!("state_dir={}", path(component).display()),
                format!("secrets_dir={}", path("secrets").display()),
                format!("agent.address=unix:{}", path("a.sock").display()),
                format!("lock={}", lock.address),
            ]
        };
        let socket = format!("unix:{}", path("e.sock").display());
        let mut own = common("egress");
        own.push(format!("listen={socket}"));
        let egress = Unit::new("zen-egress", dir.path(), own)?;
        let mut own = common("ingester");
        own.push(format!("listen={}", ingest.address));
        own.push(format!("egress={socket}"));
        let ingester = Unit::new("zen-ingester", dir.path(), own)?;
        Ok(Self {
            lock,
            agent,
            ingester,
            egress,
            service,
            ingest,
            dir,
        })
    }

    /// Puts the three secrets into the folder of sealed ones.
    pub(crate) fn seal_all(&self) -> anyhow::Result<()> {
        let whsec = whsec();
        for (name, purpose, values) in [
            (
                "hook",
                Purpose::WebhookVerification,
                vec![("current", HOOK), ("next", b"not yet".as_slice())],
            ),
            (
                "signing",
                Purpose::TargetSigning,
                vec![("value", whsec.as_bytes())],
            ),
            ("token", Purpose::TargetAuth, vec![("value", TOKEN)]),
        ] {
            self.lock.put(name, &[purpose], &values)?;
        }
        Ok(())
    }

    /// Starts what is not running and waits until it is ready.
    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        for unit in [&mut self.lock.unit, &mut self.egress, &mut self.ingester] {
            if !unit.is_running() {
                unit.start()?;
                unit.ready().await?;
            }
        }
        Ok(())
    }

    /// A secret in a file, as `file:<name>` means it.
    pub(crate) fn put_file(&self, name: &str, value: &[u8]) -> anyhow::Result<()> {
        Ok(std::fs::write(
            self.dir.path().join("secrets").join(name),
            value,
        )?)
    }

    /// A source that signs with this secret.
    pub(crate) fn source(&self, secret: &[u8]) -> Source {
        let url = format!("http://{}/hooks/{}", self.ingest.address, endpoint());
        Source::new(url, Scheme::Github(secret.to_vec()))
    }

    /// Posts until it is accepted and waits until it is delivered.
    pub(crate) async fn delivers(&self, id: &str, secret: &[u8]) -> anyhow::Result<Seen> {
        let source = self.source(secret);
        let event = source
            .post_until_accepted(id, Bytes::from(format!("{{\"id\":\"{id}\"}}")), LONG)
            .await?;
        self.delivered(&event).await
    }

    /// Waits until an event is delivered.
    pub(crate) async fn delivered(&self, event: &str) -> anyhow::Result<Seen> {
        let mut received = self.service.received.clone();
        let came = received.wait_for(|all| all.contains_key(event));
        let came = tokio::time::timeout(LONG, came).await;
        let came = came.with_context(|| format!("{event} was not delivered"))??;
        came.get(event).cloned().context("gone")
    }

    /// What a component shows of the secrets that zen-lock opens for it.
    pub(crate) async fn held(unit: &Unit, component: &str) -> anyhow::Result<Value> {
        let (_, text) = unit.admin_get("/debug/state").await?;
        let state: Value = serde_json::from_slice(&text)?;
        Ok(state[component]["lock"].clone())
    }

    /// Waits until a component holds this secret, or shows this code for it.
    pub(crate) async fn shows(
        unit: &Unit,
        component: &str,
        secret: &str,
        code: Option<&str>,
    ) -> anyhow::Result<()> {
        eventually(&format!("{component} shows {secret}"), LONG, || async {
            let all = Self::held(unit, component).await?;
            let entries = all.as_array().cloned().unwrap_or_default();
            let entry = entries.iter().find(|entry| entry["secret"] == secret);
            let right = entry.is_some_and(|entry| match code {
                Some(code) => entry["code"] == code,
                None => entry["held"].is_string() && entry["code"].is_null(),
            });
            anyhow::ensure!(right, "{all}");
            Ok(())
        })
        .await
    }
}

/// The signing secret as it is written.
pub(crate) fn whsec() -> String {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(SIGNING);
    format!("whsec_{encoded}")
}

/// The plane's one endpoint.
pub(crate) fn endpoint() -> EndpointId {
    EndpointId::generate(1, [1; 10])
}

/// An empty configuration of the plane.
pub(crate) fn bare() -> Snapshot {
    Snapshot {
        version: 1,
        revision: 1,
        tenant_id: TenantId::generate(1, [2; 10]).to_string(),
        plane_id: PlaneId::generate(1, [3; 10]).to_string(),
        ..Snapshot::default()
    }
}

/// One endpoint and one flow to one target. A failed attempt is a dead letter.
fn slice(named: &Named, url: &str) -> Slice {
    let bare = bare();
    let tenant_id = &bare.tenant_id;
    let endpoint = wire::Endpoint {
        id: endpoint().to_string(),
        tenant_id: tenant_id.clone(),
        name: "hook".to_owned(),
        verification: Some(wire::Verification {
            scheme: wire::Scheme::Github.into(),
            secrets: vec![named.hook.to_owned()],
            tolerance_seconds: 0,
        }),
        ..wire::Endpoint::default()
    };
    let target = wire::Target {
        id: TargetId::generate(1, [4; 10]).to_string(),
        tenant_id: tenant_id.clone(),
        name: "service".to_owned(),
        url: url.to_owned(),
        signing_secrets: vec![named.signing.to_owned()],
        auth: Some(wire::TargetAuth {
            kind: Some(target_auth::Kind::Bearer(named.token.to_owned())),
        }),
        ..wire::Target::default()
    };
    let flow = wire::Flow {
        id: FlowId::generate(1, [5; 10]).to_string(),
        tenant_id: tenant_id.clone(),
        name: "flow".to_owned(),
        endpoint_id: endpoint.id.clone(),
        endpoint_plane_id: bare.plane_id.clone(),
        target_id: target.id.clone(),
        target_plane_id: bare.plane_id.clone(),
        enabled: true,
        retry: Some(wire::RetryPolicy {
            max_attempts: 1,
            ..wire::RetryPolicy::default()
        }),
    };
    let snapshot = Snapshot {
        endpoints: vec![endpoint],
        targets: vec![target],
        flows: vec![flow],
        ..bare
    };
    Slice {
        snapshot: Some(snapshot),
        ..Slice::default()
    }
}
