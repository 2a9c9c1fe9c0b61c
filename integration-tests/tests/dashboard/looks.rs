//! Every page in every look: light and dark, wide and narrow, full and empty.

use serde_json::json;
use zen_integration_tests::browser::{self, Look};
use zen_integration_tests::eventually::eventually;
use zen_integration_tests::service::Service;
use zen_integration_tests::source::{Scheme, Source};
use zen_integration_tests::world::{Seat, World};

use crate::visit::{MINUTE, Visit, owner};

/// The pages that need no id.
const PAGES: &[&str] = &[
    "/",
    "/planes",
    "/planes/new",
    "/data-planes",
    "/endpoints",
    "/endpoints/new",
    "/targets",
    "/targets/new",
    "/flows",
    "/flows/new",
    "/deliveries",
    "/dead-letters",
    "/secrets",
    "/secrets/seal",
    "/audit",
    "/settings",
    "/settings/account",
    "/settings/users",
    "/settings/api-keys",
    "/settings/data-planes",
    "/guide",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_of_a_busy_product_can_be_used_in_every_look() {
    if !browser::available().unwrap() {
        return;
    }
    let mut world = World::start().await.unwrap();
    let mut pages = busy(&mut world).await;
    pages.extend(PAGES.iter().map(|path| (*path).to_owned()));
    let visit = Visit::start("busy", world.http.address, &world.dir.path().join("cp")).await;
    visit.take_the_link().await;
    let lists = ["/deliveries", "/dead-letters"].map(|list| {
        let edge = &world.edge.id;
        format!("{list}?plane_id={edge}")
    });
    pages.extend(first_rows(&visit, &lists).await);
    pages.extend(lists);
    stand(&visit, "busy", &pages).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_of_an_empty_product_can_be_used_in_every_look() {
    let Some((seat, visit)) = owner("empty").await else {
        return;
    };
    let pages: Vec<_> = PAGES.iter().map(|path| (*path).to_owned()).collect();
    stand(&visit, "empty", &pages).await;
    drop(seat);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_before_the_sign_in_can_be_used_in_every_look() {
    if !browser::available().unwrap() {
        return;
    }
    let seat = Seat::start(&[]).await.unwrap();
    let state = seat.dir.path().join("cp");
    let visit = Visit::start("outside", seat.http.address, &state).await;
    let link = std::fs::read_to_string(state.join("sign-in-link")).unwrap();
    let link = link.trim().split_once("/sign-in/").unwrap().1;
    let pages = ["/sign-in".to_owned(), format!("/sign-in/{link}")];
    stand(&visit, "outside", &pages).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_is_not_there_says_so_in_every_look() {
    let Some((_seat, visit)) = owner("missing").await else {
        return;
    };
    for path in ["/nowhere", "/planes/pl_none", "/targets/tgt_none"] {
        visit.open(path).await;
        visit.browser.accessible().await.unwrap();
        visit.browser.sees("not").await.unwrap();
    }
    visit.browser.content(&["status of 404"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_telephone_reaches_the_pages_by_the_menu() {
    let Some((_seat, visit)) = owner("menu").await else {
        return;
    };
    let browser = &visit.browser;
    browser.look(Look::ALL[2]).await.unwrap();
    visit.open("/").await;
    for (words, path) in [("Endpoints", "/endpoints"), ("Audit", "/audit")] {
        browser.click("Menu").await.unwrap();
        browser.picture("menu-light-390").await.unwrap();
        browser.accessible().await.unwrap();
        browser.click_within("nav", words).await.unwrap();
        browser.arrives(path).await.unwrap();
    }
    browser.content(&[]).await.unwrap();
}

/// Looks at each page in each look.
pub(crate) async fn stand(visit: &Visit, name: &str, pages: &[String]) {
    let browser = &visit.browser;
    let mut faults = Vec::new();
    for (number, path) in pages.iter().enumerate() {
        visit.open(path).await;
        // An id says nothing in a picture's name.
        let words = path.split(['/', '?', '=']).filter(|word| word.len() < 20);
        let page = Vec::from_iter(words).join("-");
        for look in Look::ALL {
            browser.look(look).await.unwrap();
            let Look { scheme, width } = look;
            let picture = format!("{name}-{number:02}{page}-{scheme}-{width}");
            browser.picture(&picture).await.unwrap();
            for checked in [browser.fits().await, browser.accessible().await] {
                if let Err(error) = checked {
                    faults.push(format!("{path} {scheme} {width}: {error:#}"));
                }
            }
        }
        if let Err(error) = browser.content(&[]).await {
            faults.push(format!("{path}: {error:#}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

/// Fills the product with what pages show: traffic that succeeds, traffic that fails, planes in
/// each state, names as long as they may be. The answer is the pages of single things.
async fn busy(world: &mut World) -> Vec<String> {
    let (good, bad) = (
        Service::start().await.unwrap(),
        Service::start().await.unwrap(),
    );
    bad.answer(http::StatusCode::BAD_REQUEST);
    let mut pages = Vec::new();
    let mut sources = Vec::new();
    for (name, service) in [("orders", &good), ("billing", &bad)] {
        let target = json!({ "name": name, "url": service.url() });
        let target = world.target(target).await.unwrap();
        let none = json!({ "scheme": "none" });
        let plane = world.data.id.clone();
        let endpoint = world.endpoint(&plane, name, none, &target, json!({})).await;
        let endpoint = endpoint.unwrap();
        let id = |value: &serde_json::Value| value["id"].as_str().unwrap().to_owned();
        pages.push(format!("/targets/{}", id(&target)));
        pages.push(format!("/endpoints/{}", id(&endpoint)));
        let url = format!(
            "http://{}/hooks/{}",
            world.data.ingest.address,
            id(&endpoint)
        );
        sources.push(Source::new(url, Scheme::None));
    }
    let flows = world.api.all("/v1/flows", "").await.unwrap();
    pages.extend(
        flows
            .iter()
            .map(|flow| format!("/flows/{}", flow["id"].as_str().unwrap())),
    );
    for (name, retire) in [("a".repeat(60), false), ("old-warehouse".to_owned(), true)] {
        let body = json!({ "name": name, "kind": "edge" });
        let plane = world.api.post("/v1/planes", &body).await.unwrap();
        let plane = plane["id"].as_str().unwrap().to_owned();
        if retire {
            world
                .api
                .delete(&format!("/v1/planes/{plane}"))
                .await
                .unwrap();
        } else {
            pages.push(format!("/planes/{plane}/install"));
        }
        pages.push(format!("/planes/{plane}"));
    }
    pages.push(format!("/planes/{}", world.edge.id));
    pages.push(format!("/planes/{}", world.data.id));
    world.settled().await.unwrap();
    for source in &sources {
        for number in 0..5 {
            let id = number.to_string();
            source
                .post_until_accepted(&id, "{}".into(), MINUTE)
                .await
                .unwrap();
        }
    }
    let path = format!("/v1/dead-letters?plane_id={}", world.edge.id);
    eventually("there are dead letters", MINUTE, || async {
        let shown = world.api.get(&path).await?;
        let count = shown["items"].as_array().map_or(0, Vec::len);
        anyhow::ensure!(count == 5, "{shown}");
        Ok(())
    })
    .await
    .unwrap();
    pages
}

/// The page of the first thing on each of these lists.
async fn first_rows(visit: &Visit, lists: &[String]) -> Vec<String> {
    let mut pages = Vec::new();
    for list in lists {
        visit.open(list).await;
        let first = "return [...document.querySelectorAll('main tbody a[href]')]
            .map((link) => link.getAttribute('href')).find((href) => href.includes('/dlv_')) ?? null";
        let found = visit.browser.until("the list has a row", MINUTE, || async {
            let found = visit.browser.ask(first, json!([])).await?;
            let found = found.as_str().map(ToOwned::to_owned);
            found.ok_or_else(|| anyhow::anyhow!("no row"))
        });
        pages.push(found.await.unwrap());
    }
    pages
}
