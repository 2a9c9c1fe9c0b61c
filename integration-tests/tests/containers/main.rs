//! The whole product as containers of the real images, run as the charts say: control plane and
//! data plane on one network, the edge plane on a private one into which nobody gets.
#![cfg(test)]

mod product;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use product::{Product, Way};
use zen_integration_tests::eventually::eventually;

const PATIENCE: Duration = Duration::from_secs(90);
/// How long a fault lasts.
const FAULT: Duration = Duration::from_secs(2);
/// Events a way during each fault.
const EVENTS: usize = 4;

/// What is done to a container.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Killed,
    Paused,
    Cut,
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_deliver_into_a_network_that_lets_nobody_in_whatever_is_done_to_them() {
    let Some(product) = Product::start().await.unwrap() else {
        return;
    };
    let enrolled = product.logs("edge-zen-agent").unwrap();
    assert!(
        enrolled.lines().any(|line| line.contains("\"enrolled\"")),
        "{enrolled}"
    );

    // Nobody gets in: not to the agent, nor to the egress, nor to their admin ports.
    for (container, port) in product.private_ports() {
        let refused = product.reach_from_outside(container, port).unwrap_err();
        assert!(refused.to_string().contains("124"), "{refused}");
    }
    product.reach_from_inside("edge-zen-egress", 9600).unwrap();

    let mut accepted = BTreeMap::new();
    for container in product.containers() {
        for fault in [Fault::Killed, Fault::Paused, Fault::Cut] {
            accepted.extend(during(&product, &container, fault).await.unwrap());
        }
    }
    assert!(accepted.len() >= product.containers().len() * 3 * 2 * EVENTS);
    eventually("every accepted event is delivered", PATIENCE, || async {
        let received = product.service.received.borrow();
        let missing: Vec<_> = accepted
            .iter()
            .filter(|(event, _)| !received.contains_key(*event))
            .collect();
        anyhow::ensure!(missing.is_empty(), "{} missing: {missing:?}", missing.len());
        Ok(())
    })
    .await
    .unwrap();
    let received = product.service.received.borrow().clone();
    let mut again = 0;
    for (event, body) in &accepted {
        let seen = &received[event];
        assert_eq!(seen.keys.len(), 1, "{event}: {:?}", seen.keys);
        assert_eq!(seen.body, *body, "{event}");
        again += seen.times - 1;
    }
    product.say(&format!(
        "{} events accepted, all delivered, {again} of them more than once",
        accepted.len()
    ));

    product.retire().await.unwrap();
    eventually("the plane's Secrets are gone", PATIENCE, || async {
        let left: Vec<_> = product
            .edge_cluster
            .names("secrets")
            .into_iter()
            .filter(|name| name.starts_with("zen-agent"))
            .collect();
        anyhow::ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
    .unwrap();
}

/// Posts events by both ways while a container suffers; what was accepted: id and body.
async fn during(
    product: &Product,
    container: &str,
    fault: Fault,
) -> anyhow::Result<BTreeMap<String, Bytes>> {
    let suffering = async {
        match fault {
            Fault::Killed => product.engine.docker(&["kill", container])?,
            Fault::Paused => product.engine.docker(&["pause", container])?,
            Fault::Cut => product.link(container, "down")?,
        };
        // What the test is about: a while without it.
        tokio::time::sleep(FAULT).await;
        match fault {
            Fault::Killed => product.start_again(container)?,
            Fault::Paused => {
                product.engine.docker(&["unpause", container])?;
            }
            Fault::Cut => {
                product.link(container, "up")?;
            }
        }
        anyhow::Ok(())
    };
    let posting = async {
        let mut accepted = BTreeMap::new();
        for number in 0..EVENTS {
            for way in [Way::Public, Way::Local] {
                let body = format!("{{\"{container}\":\"{fault:?} {way:?} {number}\"}}");
                let body = Bytes::from(body);
                let event = product.post(way, &body, PATIENCE).await?;
                accepted.insert(event, body);
            }
        }
        anyhow::Ok(accepted)
    };
    let (suffered, accepted) = tokio::join!(suffering, posting);
    suffered?;
    product.well(PATIENCE).await?;
    accepted
}
