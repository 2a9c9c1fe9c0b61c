//! Secrets on the dashboard, with a real agent and somebody next to it who speaks as zen-lock does.

use fantoccini::key::Key;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use zen_chassis::net::local_channel;
use zen_integration_tests::browser;
use zen_integration_tests::unit::Unit;
use zen_integration_tests::world::Seat;
use zen_proto::agent::v1::agent_service_client::AgentServiceClient;
use zen_proto::agent::v1::{ReportRequest, WatchRequest};
use zen_proto::session::v1::{ComponentStatus, KeyUsage, LockStatus, UnopenedSecret};
use zen_seal::{Identity, Realm, Scope, ScopedSecret, SecretValue};

use crate::looks::stand;
use crate::visit::{MINUTE, Visit};

/// What the secrets hold; it must not be seen anywhere.
const CANARY: &str = "canary-of-the-dashboard";

/// A control plane, a plane with its agent, and a browser of its owner.
struct Stage {
    seat: Seat,
    visit: Visit,
    plane: String,
    _agent: Unit,
    say: mpsc::Sender<ReportRequest>,
    client: AgentServiceClient<tonic::transport::Channel>,
}

impl Stage {
    async fn start(name: &'static str) -> Option<Self> {
        if !browser::available().unwrap() {
            return None;
        }
        let settings = ["heartbeat_interval=300ms".to_owned()];
        let seat = Seat::start(&settings).await.unwrap();
        let plane = seat.plane("warehouse", "edge").await.unwrap();
        let folder = seat.dir.path().join("edge");
        let mut agent = seat.agent(&folder).unwrap();
        let enrolment = folder.join("agent/enrollment");
        seat.bundle(&plane, &enrolment).await.unwrap();
        agent.start().unwrap();
        seat.status(&plane, "connected").await.unwrap();
        let client = AgentServiceClient::new(local_channel(&folder.join("a.sock")).unwrap());
        let (say, said) = mpsc::channel(4);
        let mut reporting = client.clone();
        // Ends with the agent.
        tokio::spawn(async move { reporting.report(ReceiverStream::new(said)).await });
        let visit = Visit::start(name, seat.http.address, &seat.dir.path().join("cp")).await;
        visit.take_the_link().await;
        Some(Self {
            seat,
            visit,
            plane,
            _agent: agent,
            say,
            client,
        })
    }

    /// Stores a secret sealed for this key.
    async fn secret(&self, name: &str, key: &Identity, note: Value) -> String {
        let secret = ScopedSecret {
            scope: Scope {
                realm: Realm::Plane(self.plane.parse().unwrap()),
                namespace: None,
                name: name.to_owned(),
            },
            service_accounts: Vec::new(),
            purposes: Vec::new(),
            created_at_ms: 1,
            version: "0".repeat(32),
            values: [(
                "value".to_owned(),
                SecretValue::from(CANARY.as_bytes().to_vec()),
            )]
            .into(),
        };
        let sealed = secret.seal(&[key.recipient()], None, 1).unwrap();
        let body = json!({
            "plane_id": self.plane, "name": name, "sealed": sealed, "note": note,
            "recipients": [key.recipient().to_string()],
        });
        let made = self.seat.api.post("/v1/secrets", &body).await.unwrap();
        made["id"].as_str().unwrap().to_owned()
    }

    async fn endpoint(&self, name: &str, reference: &str) -> String {
        let verification = json!({ "scheme": "github", "secrets": [reference] });
        let body = json!({
            "plane_id": self.plane, "name": name, "verification": verification,
        });
        let made = self.seat.api.post("/v1/endpoints", &body).await.unwrap();
        made["id"].as_str().unwrap().to_owned()
    }

    /// The revision in which zen-lock has so many secrets.
    async fn shipped(&self, secrets: usize) -> u64 {
        let asked = WatchRequest {
            component: "lock".to_owned(),
            instance: "0".to_owned(),
        };
        let mut slices = self.client.clone().watch(asked).await.unwrap().into_inner();
        let found = async {
            loop {
                let slice = slices.message().await.unwrap().unwrap();
                let snapshot = slice.snapshot.unwrap_or_default();
                if snapshot.secrets.len() == secrets {
                    break snapshot.revision;
                }
            }
        };
        tokio::time::timeout(MINUTE, found).await.unwrap()
    }

    /// Says what zen-lock says.
    async fn lock(&self, revision: u64, keys: &[(&Identity, u32)], bad: &[&str], to_reseal: u32) {
        let status = LockStatus {
            recipients: keys
                .iter()
                .map(|(key, _)| key.recipient().to_string())
                .collect(),
            usage: keys
                .iter()
                .map(|(key, secrets)| KeyUsage {
                    key_id: key.recipient().key_id(),
                    secrets: *secrets,
                })
                .collect(),
            unopened: bad
                .iter()
                .map(|name| UnopenedSecret {
                    name: (*name).to_owned(),
                    code: "SECRET_WRONG_RECIPIENT".to_owned(),
                })
                .collect(),
            to_reseal,
        };
        let said = ComponentStatus {
            component: "lock".to_owned(),
            instance: "0".to_owned(),
            version: "0.1.0".to_owned(),
            ready: true,
            applied_revision: revision,
            lock: Some(status),
            ..ComponentStatus::default()
        };
        let said = ReportRequest { status: Some(said) };
        self.say.send(said).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_gives_the_command_to_seal_and_never_takes_a_secret() {
    let Some(stage) = Stage::start("seal").await else {
        return;
    };
    let (browser, key) = (&stage.visit.browser, Identity::generate());
    stage.visit.open("/secrets").await;
    browser.click("Seal the first secret").await.unwrap();
    browser.arrives("/secrets/seal").await.unwrap();
    // By keyboard alone, and what is missing is said.
    browser.choose("Plane", "warehouse (edge)").await.unwrap();
    browser.tab_to("Name").await.unwrap();
    browser.write("github").await.unwrap();
    browser.tab_to("Show the command").await.unwrap();
    browser.press(Key::Enter).await.unwrap();
    browser.sees("choose at least one").await.unwrap();
    browser.tab_to("webhook-verification").await.unwrap();
    browser.write(" ").await.unwrap();
    browser.tab_to("Show the command").await.unwrap();
    browser.press(Key::Enter).await.unwrap();
    // Without zen-lock the key is for the person to fill in.
    browser.sees("zen-lock keygen").await.unwrap();
    browser.sees("Fill in the key").await.unwrap();
    browser.picture("seal-without-lock").await.unwrap();
    browser.accessible().await.unwrap();
    let shown = format!(
        "/secrets/seal?show=1&plane_id={}&name=github&purpose=webhook-verification",
        stage.plane
    );
    stage
        .lock(stage.shipped(0).await, &[(&key, 0)], &[], 0)
        .await;
    let recipient = key.recipient().to_string();
    browser
        .until("the key is shown", MINUTE, || async {
            stage.visit.open(&shown).await;
            let text = browser.text().await?;
            anyhow::ensure!(text.contains(&recipient), "{text}");
            Ok(())
        })
        .await
        .unwrap();
    browser.sees("zen-lock pubkey").await.unwrap();
    browser.click("Copy command").await.unwrap();
    let copied = browser.clipboard().await.unwrap();
    let words: Vec<_> = copied.split_whitespace().filter(|w| *w != "\\").collect();
    let whole = format!(
        "zen seal --plane {} --name github --purpose webhook-verification --recipient {recipient} --put",
        stage.plane
    );
    assert_eq!(words.join(" "), whole);
    let fields = "return [...document.querySelectorAll('main input, main textarea')]
        .map((field) => field.name).sort().join(' ')";
    let fields = browser.ask(fields, json!([])).await.unwrap();
    assert_eq!(fields, "name purpose purpose purpose show");
    browser.content(&[]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_show_whether_they_open_in_every_look_and_go_only_when_meant() {
    let Some(stage) = Stage::start("secrets").await else {
        return;
    };
    let browser = &stage.visit.browser;
    let (old, new, lost) = (
        Identity::generate(),
        Identity::generate(),
        Identity::generate(),
    );
    let named = stage.endpoint("pushes", "lock:github").await;
    let wrong = stage
        .endpoint("wrong", &format!("lock:{}", "a".repeat(60)))
        .await;
    stage.endpoint("unknown", "lock:nowhere").await;
    let note = json!("of the provider's account that ends with 4711");
    let good = stage.secret("github", &new, note).await;
    let aged = stage.secret("billing-api.token", &old, Value::Null).await;
    let bad = stage.secret(&"a".repeat(60), &lost, Value::Null).await;
    let revision = stage.shipped(3).await;
    let keys = [(&new, 1), (&old, 1)];
    stage
        .lock(revision, &keys, &["a".repeat(60).as_str()], 1)
        .await;
    let settled = stage
        .visit
        .browser
        .until("zen-lock is heard", MINUTE, || async {
            let shown = stage.seat.api.get(&format!("/v1/secrets/{good}")).await?;
            anyhow::ensure!(shown["state"] == "opens", "{shown}");
            Ok(())
        });
    settled.await.unwrap();
    stage.visit.open("/secrets").await;
    for words in [
        "Opens",
        "Old key",
        "Does not open",
        "SECRET_WRONG_RECIPIENT",
    ] {
        browser.sees(words).await.unwrap();
    }
    let (plane, form) = (&stage.plane, "name=github&purpose=target-auth&show=1");
    let mut pages: Vec<String> = vec![
        "/secrets".to_owned(),
        "/secrets?name=nothing".to_owned(),
        "/secrets/seal".to_owned(),
        format!("/secrets/seal?plane_id={plane}&{form}"),
        format!("/planes/{plane}"),
        format!("/endpoints/{wrong}"),
        format!("/secrets/{good}/remove"),
    ];
    pages.extend([&good, &aged, &bad].map(|id| format!("/secrets/{id}")));
    stand(&stage.visit, "secrets", &pages).await;
    let sealed = stage
        .seat
        .api
        .get(&format!("/v1/secrets/{aged}"))
        .await
        .unwrap();
    assert!(!sealed.to_string().contains(CANARY));
    // The page moves by itself once zen-lock has sealed it again.
    stage.visit.open(&format!("/planes/{plane}")).await;
    browser.sees("1 of 2 secrets").await.unwrap();
    stage.lock(revision, &[(&new, 2), (&old, 0)], &[], 0).await;
    let done = "Everything that opens is sealed to the newest key.";
    browser.sees_within(done, MINUTE).await.unwrap();
    // What is used goes only when it is said.
    stage.visit.open(&format!("/secrets/{good}")).await;
    browser.click("Remove").await.unwrap();
    browser.sees("pushes").await.unwrap();
    browser.click("Remove secret").await.unwrap();
    browser.sees("Nothing was removed").await.unwrap();
    browser
        .click("Remove it although it is used")
        .await
        .unwrap();
    browser.click("Remove secret").await.unwrap();
    browser.sees("The secret was removed").await.unwrap();
    stage.visit.open(&format!("/endpoints/{named}")).await;
    browser.sees("SECRET_UNKNOWN").await.unwrap();
    browser.content(&["status of 409"]).await.unwrap();
}
