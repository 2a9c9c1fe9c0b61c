//! The webhooks themselves: certificates made and renewed by zen-lock, several replicas, and what
//! happens without any of them.

use serde_json::Value;
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::world::PATIENCE;

use super::stage::{OWN, Stage};

fn bundles(stage: &Stage) -> Vec<Value> {
    [
        "mutatingwebhookconfigurations",
        "validatingwebhookconfigurations",
    ]
    .iter()
    .map(|kind| {
        let all = stage
            .server
            .get(kind, "", &format!("zen-lock-{OWN}"))
            .unwrap();
        all["webhooks"][0]["clientConfig"]["caBundle"].clone()
    })
    .collect()
}

/// The lives are short here: authority, certificate and CA bundle change several times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_renewed_while_pods_are_admitted_and_served() {
    let stage = Stage::start_with(&[
        "kubernetes.authority_validity=40s",
        "kubernetes.certificate_validity=10s",
    ])
    .await;
    stage.put("shop", "db", &["api"], "x");
    let first = bundles(&stage);
    // Admitted with the first authority, and asking again much later.
    let early = stage.asking("shop", "api", "db").await.unwrap();
    let mut admitted = 0;
    let changed = eventually("another authority is trusted", PATIENCE, || {
        admitted += 1;
        let stage = &stage;
        let (first, early) = (&first, &early);
        async move {
            let pod = stage
                .asking("shop", "api", "db")
                .await
                .map_err(anyhow::Error::msg)?;
            for pod in [&pod, early] {
                assert_eq!(stage.run(pod).unwrap()["password"], b"x");
            }
            let now = bundles(stage);
            anyhow::ensure!(now != *first, "the same");
            // One is patched after the other.
            anyhow::ensure!(now[0] == now[1], "one of the two");
            Ok(())
        }
    });
    changed.await.unwrap();
    assert!(admitted > 3, "{admitted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_share_an_authority_and_either_is_enough() {
    let mut stage = Stage::start().await;
    stage.put("shop", "db", &["api"], "x");
    let bundle = bundles(&stage);
    let (mut second, at) = stage.replica("b");
    second.start().unwrap();
    second.ready().await.unwrap();
    assert_eq!(bundles(&stage), bundle);
    stage.lock.kill().await.unwrap();
    stage.route(at.address);
    let pod = stage.asking("shop", "api", "db").await.unwrap();
    stage.pods_at = at;
    assert_eq!(stage.run(&pod).unwrap()["password"], b"x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_zen_lock_no_pod_of_a_labelled_namespace_starts_and_every_other_does() {
    let mut stage = Stage::start().await;
    stage.put("shop", "db", &["api"], "x");
    stage.lock.kill().await.unwrap();
    let refused = stage.asking("shop", "api", "db").await.err().unwrap();
    assert!(refused.contains("failed calling webhook"), "{refused}");
    // Its own namespace, and one without the label.
    for namespace in [OWN, "free"] {
        stage.asking(namespace, "api", "db").await.unwrap();
    }
    stage.lock.start().unwrap();
    stage.lock.ready().await.unwrap();
    let pod = stage.asking("shop", "api", "db").await.unwrap();
    assert_eq!(stage.run(&pod).unwrap()["password"], b"x");
}

/// A figure, not a bound: the machine that runs this may do much else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admission_takes_its_time_from_one_open_and_one_read() {
    let stage = Stage::start().await;
    stage.put("shop", "db", &["api"], "x");
    let _warm = stage.server.admissions();
    for _ in 0..200 {
        stage.asking("shop", "api", "db").await.unwrap();
    }
    let mut took = stage.server.admissions();
    took.sort();
    assert_eq!(took.len(), 200);
    eprintln!("admission: p50 {:?}, p99 {:?}", took[100], took[197]);
    eventually("they are counted", PATIENCE, || async {
        let labels = ["outcome=\"changed\"", "webhook=\"pods\""];
        let counted = stage.metric("zen_lock_admissions_total", &labels).await;
        anyhow::ensure!(counted == 200.0, "{counted}");
        Ok(())
    })
    .await
    .unwrap();
}
