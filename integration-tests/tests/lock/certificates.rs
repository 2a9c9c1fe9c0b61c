//! Over TCP: mutual TLS between the real components of a plane, and who is let in by which
//! certificate.

use bytes::Bytes;
use serde_json::json;
use zen_chassis::Clock;
use zen_chassis::net::{Address, local_channel};
use zen_identity::{DialOptions, LiveIdentity, PrivateKey, Trust, channel};
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::locks::{Client, Lock, open, question};
use zen_integration_tests::ports;
use zen_integration_tests::service::Service;
use zen_integration_tests::sign;
use zen_integration_tests::source::{Scheme, Source};
use zen_integration_tests::world::{Plane, World};
use zen_proto::agent::v1::CertifyRequest;
use zen_proto::agent::v1::agent_service_client::AgentServiceClient;
use zen_proto::component::Component;
use zen_proto::lock::v1::lock_service_client::LockServiceClient;
use zen_proto::purpose::Purpose;

use crate::plane::{HOOK, LONG, SIGNING, TOKEN, whsec};

/// Somebody with a certificate of this component of the plane, by the plane's own agent.
async fn holder(plane: &Plane, component: Component, lock: &Lock) -> anyhow::Result<Client> {
    let mut agent = AgentServiceClient::new(local_channel(&plane.folder.join("a.sock"))?);
    let key = PrivateKey::generate()?;
    let request = CertifyRequest {
        component: component.as_str().to_owned(),
        instance: "test".to_owned(),
        csr: key.csr(component.as_str())?.into(),
    };
    let answer = agent.certify(request).await?.into_inner();
    let live = LiveIdentity::new(Clock::system().time_provider());
    let domain = answer.trust_domain.parse()?;
    live.set_trust(Trust::new(domain, &answer.trust_bundle_pem, [])?);
    let chain = answer.chain.iter().map(|der| der.to_vec().into()).collect();
    live.set_leaf(chain, &key)?;
    // Another plane's holder does not care whom it meets.
    let config = live.client_config(zen_identity::Expect::any_component(&[Component::Lock]));
    let channel = channel(&lock.address.to_string(), config, DialOptions::default());
    Ok(LockServiceClient::new(channel))
}

#[tokio::test]
async fn by_certificate_a_component_of_the_same_plane_has_its_own_purposes_and_no_other() {
    let mut world = World::start().await.unwrap();
    let port = ports::reserve().unwrap();
    let address = Address::Tcp(port.address.to_string());
    let agent = world.edge.folder.join("a.sock");
    let mut lock = Lock::at(&world.edge.folder, &agent, &world.edge.id, address).unwrap();
    let both = [Purpose::WebhookVerification, Purpose::TargetAuth];
    lock.put("hook", &both, &[("value", HOOK)]).unwrap();
    lock.put("token", &[Purpose::TargetAuth], &[("value", TOKEN)])
        .unwrap();
    let whsec = whsec();
    let signing = [("v1", whsec.as_bytes())];
    lock.put("signing", &[Purpose::TargetSigning], &signing)
        .unwrap();
    lock.unit.start().unwrap();
    lock.unit.ready().await.unwrap();
    let known = lock.address.to_string();
    for unit in [&mut world.edge.far, &mut world.edge.ingester] {
        unit.terminate().await.unwrap();
        unit.set("lock", &known);
        unit.start().unwrap();
    }
    world.settled().await.unwrap();

    let service = Service::start().await.unwrap();
    let target = json!({ "name": "service", "url": service.url(),
        "signing_secrets": ["lock:signing/v1"], "auth": { "bearer": "lock:token" } });
    let target = world.target(target).await.unwrap();
    let verification = json!({ "scheme": "github", "secrets": ["lock:hook"] });
    let retry = json!({ "max_attempts": 1 });
    let edge = world.edge.id.clone();
    let endpoint = world
        .endpoint(&edge, "hook", verification, &target, retry)
        .await
        .unwrap();
    world.settled().await.unwrap();
    let url = format!(
        "http://{}/hooks/{}",
        world.edge.ingest.address,
        endpoint["id"].as_str().unwrap()
    );
    let source = Source::new(url, Scheme::Github(HOOK.to_vec()));
    let body = Bytes::from_static(b"{}");
    let event = source.post_until_accepted("one", body, LONG).await.unwrap();
    let mut received = service.received.clone();
    let came = received.wait_for(|all| all.contains_key(&event));
    let seen = tokio::time::timeout(LONG, came).await.unwrap().unwrap()[&event].clone();
    let text = |name: &str| seen.headers[name].to_str().unwrap();
    assert_eq!(text("authorization"), "Bearer let-me-in");
    assert!(sign::is_standard_webhooks(
        SIGNING,
        text("webhook-id"),
        text("webhook-timestamp"),
        &seen.body,
        text("webhook-signature"),
    ));

    its_own_purposes_and_no_other(&world, &lock).await;
    // What the plane's page is told.
    let shown = world.api.get(&format!("/v1/planes/{edge}")).await.unwrap();
    let components = shown["components"].as_array().unwrap();
    assert!(
        components.iter().any(|c| c["component"] == "lock"),
        "{shown}"
    );
}

async fn its_own_purposes_and_no_other(world: &World, lock: &Lock) {
    // By SPIFFE id: what the secret would allow is refused to who has no such purpose.
    let mut ingester = holder(&world.edge, Component::Ingester, lock)
        .await
        .unwrap();
    let verify = question("hook", "webhook-verification");
    open(&mut ingester, verify.clone()).await.unwrap();
    let refused = open(&mut ingester, question("hook", "target-auth"))
        .await
        .unwrap_err();
    assert_eq!(refused.to_string(), "SECRET_NOT_ALLOWED");
    let mut egress = holder(&world.edge, Component::Egress, lock).await.unwrap();
    let refused = open(&mut egress, verify.clone()).await.unwrap_err();
    assert_eq!(refused.to_string(), "SECRET_NOT_ALLOWED");
    // Others do not get past the handshake: no component that has a use for secrets, another plane.
    for (plane, component) in [
        (&world.edge, Component::Bridge),
        (&world.data, Component::Ingester),
    ] {
        let mut other = holder(plane, component, lock).await.unwrap();
        assert!(other.open(verify.clone()).await.is_err(), "{component}");
    }
    eventually("refused handshakes are counted", LONG, || async {
        let name = "zen_lock_handshakes_refused_total";
        let counted = lock.metric(name, &[("code", "UNEXPECTED_PEER")]).await?;
        anyhow::ensure!(counted >= 2.0, "{counted}");
        Ok(())
    })
    .await
    .unwrap();
    let audit = std::fs::read_to_string(lock.audit()).unwrap();
    for component in ["ingester", "egress"] {
        let who = format!("/plane/{}/{component}\"", world.edge.id);
        assert!(audit.contains(&who), "{who}");
    }
    assert!(!audit.contains("/bridge"));
}
