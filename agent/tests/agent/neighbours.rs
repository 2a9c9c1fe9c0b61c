//! The agent's side of its socket: slices, certificates, reports, questions.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use zen_chassis::Clock;
use zen_identity::{Expect, PrivateKey, Trust, Usage, verify};
use zen_proto::agent::v1::{
    AskRequest, CertifyRequest, ReportRequest, ResealRequest, WatchRequest, ask_request,
};
use zen_proto::component::Component;
use zen_proto::ids::{Id as _, SecretId};
use zen_proto::query::v1::query::Question;
use zen_proto::query::v1::{Answer, DeliveryPage, DeliveryRecord, ListDeadLetters, Query, answer};
use zen_proto::session::v1::agent_message::Message as Up;
use zen_proto::session::v1::control_message::Message as Down;
use zen_proto::session::v1::{ComponentStatus, Resealed};

use crate::control_plane::ControlPlane;
use crate::rig::Home;
use crate::session::{enrolled, snapshot};

pub(crate) fn request(component: &str) -> CertifyRequest {
    let key = PrivateKey::generate().unwrap();
    CertifyRequest {
        component: component.to_owned(),
        instance: "0".to_owned(),
        csr: key.csr(component).unwrap().into(),
    }
}

fn hello(component: &str) -> WatchRequest {
    WatchRequest {
        component: component.to_owned(),
        instance: "0".to_owned(),
    }
}

#[tokio::test]
async fn a_component_is_certified_for_itself_and_believed() {
    let control = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    let agent = enrolled(&control, &home).await;
    let answer = agent
        .client()
        .certify(request("egress"))
        .await
        .unwrap()
        .into_inner();
    let chain: Vec<_> = answer.chain.iter().map(|der| der.to_vec().into()).collect();
    let domain = answer.trust_domain.parse().unwrap();
    let trust = Trust::new(domain, &answer.trust_bundle_pem, []).unwrap();
    let facts = control.facts();
    let expect = Expect::component(facts.tenant, facts.plane, Component::Egress);
    let now = home.clock.time_provider().current_time().unwrap();
    for usage in [Usage::Client, Usage::Server] {
        verify(&chain, usage, &trust, &expect, now).unwrap();
    }

    let refused = agent.client().certify(request("agent")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let broken = CertifyRequest {
        csr: vec![1, 2, 3].into(),
        ..request("egress")
    };
    let refused = agent.client().certify(broken).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    agent.stop().await;
}

#[tokio::test]
async fn nobody_is_certified_before_the_plane_is_enrolled() {
    let home = Home::new();
    let agent = home.start().await;
    let refused = agent.client().certify(request("egress")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    agent.stop().await;
}

#[tokio::test]
async fn a_watcher_sees_the_present_slice_and_each_newer_one() {
    let control = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    let agent = enrolled(&control, &home).await;
    let mut slices = agent
        .client()
        .watch(hello("ingester"))
        .await
        .unwrap()
        .into_inner();
    for revision in [1, 2] {
        control.publish(&snapshot(&control, revision), |_| {}).await;
        let slice = slices.message().await.unwrap().unwrap();
        let part = slice.snapshot.unwrap();
        assert_eq!(part.revision, revision);
        assert_eq!(part.endpoints[0].id, format!("ep-{revision}"));
        assert_eq!(slice.trust_domain, "zen.test");
        assert_eq!(slice.trust_bundle_pem, control.facts().root.cert_pem());
    }
    let mut late = agent
        .client()
        .watch(hello("egress"))
        .await
        .unwrap()
        .into_inner();
    let part = late.message().await.unwrap().unwrap().snapshot.unwrap();
    assert_eq!(part.revision, 2);
    assert!(part.endpoints.is_empty(), "an egress sees no endpoints");
    agent.stop().await;
}

#[tokio::test]
async fn what_components_report_is_in_the_next_heartbeat() {
    let control = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    let agent = enrolled(&control, &home).await;
    let (reports, queue) = mpsc::channel(1);
    let mut client = agent.client();
    let reporting = tokio::spawn(async move { client.report(ReceiverStream::new(queue)).await });
    let status = ComponentStatus {
        component: "bridge".to_owned(),
        instance: "1".to_owned(),
        ready: true,
        advertised_address: "bridge.example:7443".to_owned(),
        ..ComponentStatus::default()
    };
    reports
        .send(ReportRequest {
            status: Some(status.clone()),
        })
        .await
        .unwrap();
    let seen = control
        .heard("the bridge's status", |up| match up {
            Up::Heartbeat(beat) if beat.components.contains(&status) => Some(beat.clone()),
            _ => None,
        })
        .await;
    let own = seen
        .components
        .iter()
        .find(|status| status.component == "agent")
        .unwrap();
    assert!(own.ready && own.certificate_not_after_ms > 0, "{own:?}");
    drop(reports);
    reporting.await.unwrap().unwrap();
    agent.stop().await;
}

#[tokio::test]
async fn a_question_goes_to_the_egress_and_its_answer_comes_back() {
    let control = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    let agent = enrolled(&control, &home).await;
    let query = |id: &str| {
        Down::Query(Query {
            query_id: id.to_owned(),
            timeout_ms: 5_000,
            question: Some(Question::ListDeadLetters(ListDeadLetters::default())),
        })
    };
    let answer = |id: &'static str| {
        control.heard("an answer", move |up| match up {
            Up::Answer(answer) if answer.query_id == id => answer.answer.clone(),
            _ => None,
        })
    };
    control.push(query("alone")).await;
    match answer("alone").await {
        answer::Answer::Error(error) => assert_eq!(error.code, "COMPONENT_ABSENT"),
        other => panic!("{other:?}"),
    }

    let (answers, queue) = mpsc::channel(4);
    let message = Some(ask_request::Message::Hello(hello("egress")));
    answers.send(AskRequest { message }).await.unwrap();
    let mut asked = agent
        .client()
        .ask(ReceiverStream::new(queue))
        .await
        .unwrap()
        .into_inner();
    control.push(query("both")).await;
    let question = tokio::time::timeout(Duration::from_secs(10), asked.message()).await;
    let question = question.unwrap().unwrap().unwrap();
    let record = DeliveryRecord {
        delivery_id: "dlv".to_owned(),
        ..DeliveryRecord::default()
    };
    let page = DeliveryPage {
        deliveries: vec![record],
        next_cursor: String::new(),
    };
    let message = Some(ask_request::Message::Answer(Answer {
        query_id: question.query_id,
        answer: Some(answer::Answer::Deliveries(page.clone())),
    }));
    answers.send(AskRequest { message }).await.unwrap();
    assert_eq!(answer("both").await, answer::Answer::Deliveries(page));
    agent.stop().await;
}

#[tokio::test]
async fn a_secret_sealed_again_goes_up_and_is_not_kept_for_a_session_to_come() {
    let resealed = Resealed {
        secret_id: SecretId::generate(1, [1; 10]).to_string(),
        version: 3,
        sealed: "sealed".to_owned(),
        recipients: vec!["age1x".to_owned()],
    };
    let request = ResealRequest {
        secret: Some(resealed.clone()),
    };
    let home = Home::new();
    let alone = home.start().await;
    let refused = alone.client().reseal(request.clone()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused}");
    alone.stop().await;

    let control = ControlPlane::start(Clock::system()).await;
    let home = Home::new();
    let agent = enrolled(&control, &home).await;
    agent.client().reseal(request).await.unwrap();
    let came = control
        .heard("the secret", |up| match up {
            Up::Resealed(came) => Some(came.clone()),
            _ => None,
        })
        .await;
    assert_eq!(came, resealed);
    let nothing = ResealRequest { secret: None };
    let refused = agent.client().reseal(nothing).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    agent.stop().await;
}

#[tokio::test]
async fn a_socket_that_is_taken_names_the_setting() {
    let home = Home::new();
    let agent = home.start().await;
    let stage = zen_chassis::Stage::detached("agent").unwrap();
    let store = std::sync::Arc::new(home.directory());
    let error = zen_agent::Agent::bind_with(home.config.clone(), store, &stage)
        .await
        .err()
        .unwrap();
    assert!(format!("{error:#}").contains("`listen`"), "{error:#}");
    agent.stop().await;
}
