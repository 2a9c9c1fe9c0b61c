//! What the agent's service account may do, asked of the API server right by right.
#![cfg_attr(
    not(feature = "kubernetes"),
    expect(dead_code, unused_imports, reason = "what asks a cluster is left out")
)]

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use zen_chassis::Random;
use zen_chassis::chain::Chain;

use crate::doctor::plan::Enrolment;
use crate::kubernetes::api::{self, Api, Thing};
use crate::kubernetes::fault::{Fault, Kind};
use crate::kubernetes::{KubernetesConfig, rights as needed};

/// Time for one question.
const ANSWER: Duration = Duration::from_secs(5);
/// Time for all of them.
const ALL: Duration = Duration::from_secs(20);
/// Questions at once.
const AT_ONCE: usize = 8;

/// The API server, or why there is none.
pub(crate) type Cluster = Result<Api, String>;

/// What was found.
pub(crate) enum Rights {
    /// The state is not in a cluster.
    NotHere,
    /// The API server cannot be asked.
    NoServer(String),
    /// It does not answer as asked.
    Fault(Fault),
    /// It was asked this many times; what it denied, `verb resource name`.
    Answered { asked: usize, denied: Vec<String> },
}

/// How to ask the API server; nothing if the agent's state is not in a cluster.
pub(crate) async fn open(place: &Enrolment) -> Option<Cluster> {
    let Enrolment::Cluster(settings) = place else {
        return None;
    };
    #[cfg(feature = "kubernetes")]
    let cluster = connect(settings).await;
    #[cfg(not(feature = "kubernetes"))]
    let cluster = Err(format!(
        "this program knows nothing of clusters (namespace {:?})",
        settings.namespace
    ));
    Some(cluster)
}

#[cfg(feature = "kubernetes")]
async fn connect(settings: &KubernetesConfig) -> Cluster {
    let told = |error: anyhow::Error| Chain(error.as_ref()).to_string();
    let config = api::config(settings).await.map_err(told)?;
    let namespace = settings
        .namespace
        .clone()
        .unwrap_or_else(|| config.default_namespace.clone());
    let api = Api::new(&config, &namespace, Random::system()).map_err(told)?;
    Ok(api.within(ANSWER))
}

/// Asks for every right that the agent needs.
pub(crate) async fn rights(place: &Enrolment, cluster: Option<&Cluster>) -> Rights {
    let (Enrolment::Cluster(settings), Some(cluster)) = (place, cluster) else {
        return Rights::NotHere;
    };
    let api = match cluster {
        Ok(api) => api,
        Err(error) => return Rights::NoServer(error.clone()),
    };
    #[cfg(feature = "kubernetes")]
    let rights = asked_all(settings, api).await;
    #[cfg(not(feature = "kubernetes"))]
    let rights = {
        let _unused = (settings, api);
        Rights::NotHere
    };
    rights
}

#[cfg(feature = "kubernetes")]
async fn asked_all(settings: &KubernetesConfig, api: &Api) -> Rights {
    let questions = questions(settings, api.namespace());
    let asked = questions.len();
    let answers = futures::stream::iter(questions)
        .map(|question| async move { ask(api, &question).await })
        .buffered(AT_ONCE)
        .collect::<Vec<_>>();
    let Ok(answers) = tokio::time::timeout(ALL, answers).await else {
        let what = format!("{asked} questions were not answered within {ALL:?}");
        return Rights::Fault(Fault::new(Kind::NoAnswer, &what));
    };
    match answers.into_iter().collect::<Result<Vec<_>, _>>() {
        Ok(denied) => Rights::Answered {
            asked,
            denied: denied.into_iter().flatten().collect(),
        },
        Err(fault) => Rights::Fault(fault),
    }
}

/// One question for each verb and name.
fn questions(settings: &KubernetesConfig, namespace: &str) -> Vec<ResourceAttributes> {
    let mut questions = Vec::new();
    for right in needed(settings) {
        let names = match right.names.as_slice() {
            [] => vec![None],
            names => names.iter().cloned().map(Some).collect(),
        };
        for name in names {
            questions.extend(right.verbs.iter().map(|verb| ResourceAttributes {
                group: Some(right.group.to_owned()),
                resource: Some(right.resource.to_owned()),
                verb: Some((*verb).to_owned()),
                name: name.clone(),
                namespace: (!right.cluster_wide).then(|| namespace.to_owned()),
                ..ResourceAttributes::default()
            }));
        }
    }
    questions
}

/// What is denied, in words; nothing if it is allowed.
async fn ask(api: &Api, question: &ResourceAttributes) -> Result<Option<String>, Fault> {
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(question.clone()),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let answer: SelfSubjectAccessReview = api.create(&Thing::access_reviews(), &review).await?;
    if answer.status.is_some_and(|status| status.allowed) {
        return Ok(None);
    }
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (group, name) = (text(&question.group), text(&question.name));
    let dot = if group.is_empty() { "" } else { "." };
    let gap = if name.is_empty() { "" } else { " " };
    Ok(Some(format!(
        "{} {}{dot}{group}{gap}{name}",
        text(&question.verb),
        text(&question.resource),
    )))
}
