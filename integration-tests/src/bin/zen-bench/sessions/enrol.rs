//! Enrolment of a whole fleet: each plane is registered and given a bundle through the REST API,
//! and redeems it over TLS, from as many addresses as a fleet would have.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;
use zen_chassis::Clock;
use zen_identity::{
    Expect, LiveIdentity, PlaneCa, PrivateKey, Trust, TrustDomain, server_auth_only_client_config,
};
use zen_integration_tests::api::Api;
use zen_proto::component::Component;
use zen_proto::enrollment::v1::enrollment_service_client::EnrollmentServiceClient;
use zen_proto::enrollment::v1::redeem_response::Outcome;
use zen_proto::enrollment::v1::{Enrolled, RedeemRequest};
use zen_proto::limits;
use zen_seal::{Bundle, Identity};

use super::agent::Agent;

/// Agents behind one address: fewer than the control plane lets one address enrol at once.
const PER_ADDRESS: usize = 100;

/// An enrolled plane.
pub(super) struct Member {
    /// `pl_…`
    pub(super) plane: String,
    /// Its agent, with a leaf.
    pub(super) agent: Agent,
}

/// Registers a plane, issues its bundle, redeems it and signs the agent's own leaf.
pub(super) async fn enrol(api: &Api, number: usize, kind: &str) -> anyhow::Result<Member> {
    let body = json!({ "name": format!("{kind}-{number}"), "kind": kind });
    let plane = api.post("/v1/planes", &body).await?;
    let plane = plane["id"].as_str().context("no id")?.to_owned();
    let issued = api
        .post(&format!("/v1/planes/{plane}/bundles"), &json!({}))
        .await?;
    let bundle = opened(&issued)?;
    let domain: TrustDomain = bundle.trust_domain.parse()?;
    let key = PrivateKey::generate()?;
    let request = RedeemRequest {
        bundle_id: bundle.bundle_id.to_string(),
        token: bundle.token.expose().to_vec().into(),
        tenant_id: bundle.tenant_id.to_string(),
        plane_id: plane.clone(),
        csr: key.csr("zen-agent")?.into(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        agent_time_ms: Clock::system().unix_ms(),
    };
    let trust = Trust::new(domain.clone(), &bundle.trust_bundle_pem, [])?;
    let mut client = EnrollmentServiceClient::new(dial(
        bundle.control_plane_address.parse()?,
        source(number),
        trust.clone(),
    )?);
    let enrolled = match client.redeem(request).await?.into_inner().outcome {
        Some(Outcome::Enrolled(enrolled)) => enrolled,
        Some(Outcome::Refusal(refusal)) => anyhow::bail!("{}: {}", refusal.code, refusal.detail),
        None => anyhow::bail!("no outcome"),
    };
    let agent = Agent {
        number,
        identity: identity(&enrolled, key, domain, trust)?,
        address: bundle.control_plane_address,
        bridge: None,
    };
    Ok(Member { plane, agent })
}

fn opened(issued: &Value) -> anyhow::Result<Bundle> {
    let text = |key: &str| issued[key].as_str().context("the API sent no bundle");
    let identity = Identity::parse(text("identity")?)?;
    Ok(Bundle::open(text("bundle")?.as_bytes(), &[identity])?)
}

/// The agent's own leaf, signed by the plane's authority.
fn identity(
    enrolled: &Enrolled,
    key: PrivateKey,
    domain: TrustDomain,
    trust: Trust,
) -> anyhow::Result<LiveIdentity> {
    let chain = enrolled
        .plane_ca_chain
        .iter()
        .map(|der| CertificateDer::from(der.to_vec()))
        .collect();
    let authority = PlaneCa::new(key, chain, domain)?;
    let (own, clock) = (PrivateKey::generate()?, Clock::system());
    let leaf = authority.sign_leaf(
        &own.csr("zen-agent")?,
        Component::Agent,
        clock.now(),
        limits::LEAF_VALIDITY,
    )?;
    let identity = LiveIdentity::new(clock.time_provider());
    identity.set_trust(trust);
    identity.set_leaf(leaf, &own)?;
    Ok(identity)
}

/// The loopback address from which an agent enrols.
fn source(number: usize) -> IpAddr {
    let host = u8::try_from(1 + (number / PER_ADDRESS) % 250).unwrap_or(1);
    Ipv4Addr::new(127, 0, 1, host).into()
}

/// A connection from one address, judged by the bundle's roots.
fn dial(to: SocketAddr, from: IpAddr, trust: Trust) -> anyhow::Result<Channel> {
    let time = Clock::system().time_provider();
    let config = server_auth_only_client_config(trust, Expect::control_plane(), time);
    let connector = TlsConnector::from(Arc::clone(&config));
    let endpoint = Endpoint::from_shared(format!("http://{to}"))?;
    Ok(endpoint.connect_with_connector_lazy(service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(from, 0))?;
            let stream = socket.connect(to).await?;
            stream.set_nodelay(true)?;
            let stream = connector.connect(ServerName::from(to.ip()), stream).await?;
            std::io::Result::Ok(TokioIo::new(stream))
        }
    })))
}
