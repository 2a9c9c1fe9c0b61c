//! The documented journey: from the one-time link to a plane that is connected, delivers its
//! first event, is lost and comes back, all without a reload.

use fantoccini::key::Key;
use serde_json::{Value, json};
use zen_integration_tests::browser::Browser;
use zen_integration_tests::service::Service;
use zen_integration_tests::source::{Scheme, Source};
use zen_integration_tests::world::{Seat, settled};

use crate::paste::Shell;
use crate::visit::{MINUTE, owner};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_one_time_link_to_a_connected_plane_and_its_first_event() {
    let Some((seat, visit)) = owner("journey").await else {
        return;
    };
    let browser = &visit.browser;
    browser.click("Edge planes").await.unwrap();
    browser.click("Add edge plane").await.unwrap();
    browser.fill("Name", "warehouse").await.unwrap();
    browser.click("Create").await.unwrap();
    has_status(browser, "Never enrolled").await.unwrap();
    let plane = plane_of(browser).await;

    browser.click("Get install command").await.unwrap();
    browser.sees("Where the plane runs").await.unwrap();
    browser.picture("journey-install-choice").await.unwrap();
    browser.click("Edge Lite").await.unwrap();
    browser.click("Show the command").await.unwrap();
    let command = whole_command(browser).await;
    the_command_can_be_copied(browser, &command).await;
    browser.sees("expires in").await.unwrap();
    browser.picture("journey-install").await.unwrap();

    // From here on nothing reloads the page: this mark would be gone.
    let mark = "document.body.dataset.mark = 'same page'";
    browser.ask(mark, json!([])).await.unwrap();
    let mut shell = Shell::new(&seat.dir.path().join("shell"));
    shell.paste(&command);
    let connected = has_status(browser, "Connected").await;
    connected.unwrap_or_else(|error| panic!("{error:#}\n{}", shell.log()));
    // The dialog in front of it says so as well.
    browser.sees_no("Waiting for the agent").await.unwrap();
    browser.picture("journey-installed").await.unwrap();
    browser.press(Key::Escape).await.unwrap();
    let steps = ["Issued", "Redeemed", "Certificate", "First heartbeat"];
    for step in steps {
        step_has_its_time(browser, step).await;
    }
    first_event(&seat, &plane, &shell).await;
    step_has_its_time(browser, "First event").await;
    browser.picture("journey-connected").await.unwrap();

    shell.kill().await;
    has_status(browser, "Not connected").await.unwrap();
    browser.picture("journey-not-connected").await.unwrap();
    shell.paste(&command);
    has_status(browser, "Connected").await.unwrap();
    let mark = "return document.body.dataset.mark";
    let kept = browser.ask(mark, json!([])).await.unwrap();
    assert_eq!(kept, "same page", "the page was loaded anew");
    browser.content(&[]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_regenerated_command_asks_first_and_kills_the_old_bundle() {
    let Some((seat, visit)) = owner("regenerate").await else {
        return;
    };
    let browser = &visit.browser;
    let plane = seat.plane("lab", "edge").await.unwrap();
    visit.open(&format!("/planes/{plane}")).await;
    browser.click("Get install command").await.unwrap();
    browser.click("Edge Lite").await.unwrap();
    browser.click("Show the command").await.unwrap();
    let old = whole_command(browser).await;
    browser.click("Regenerate").await.unwrap();
    // It says what will happen, and nothing has happened yet.
    browser.sees("the old bundle dies").await.unwrap();
    let shown = seat.show(&plane).await.unwrap();
    assert_eq!(issued(&shown), 1, "{shown}");
    browser.picture("journey-regenerate").await.unwrap();
    browser.click("Regenerate").await.unwrap();
    browser
        .until("another command is shown", MINUTE, || async {
            anyhow::ensure!(whole_command(browser).await != old, "the old one");
            Ok(())
        })
        .await
        .unwrap();
    let shown = seat.show(&plane).await.unwrap();
    assert_eq!(issued(&shown), 2, "{shown}");
    let mut shell = Shell::new(&seat.dir.path().join("shell"));
    shell.paste(&old);
    browser
        .sees_within("BUNDLE_SUPERSEDED", MINUTE)
        .await
        .unwrap();
    browser.content(&[]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_for_my_own_recipient_shows_no_identity() {
    let Some((seat, visit)) = owner("recipient").await else {
        return;
    };
    let browser = &visit.browser;
    let plane = seat.plane("lab", "edge").await.unwrap();
    visit.open(&format!("/planes/{plane}/install")).await;
    let recipient = zen_seal::Identity::generate().recipient().to_string();
    browser.click("Edge Lite").await.unwrap();
    browser.click("Use your own age recipient").await.unwrap();
    browser.fill("age recipient", "age1nonsense").await.unwrap();
    browser.click("Show the command").await.unwrap();
    browser.sees("recipient").await.unwrap();
    browser.fill("age recipient", &recipient).await.unwrap();
    browser.click("Show the command").await.unwrap();
    browser.sees("ZEN_IDENTITY_FILE").await.unwrap();
    let text = browser.text().await.unwrap();
    assert!(!text.contains("AGE-SECRET-KEY"), "{text}");
    // The refused recipient was answered with a page of status 422 or 400.
    browser.content(&["status of 4"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plane_is_installed_on_kubernetes_with_the_components_that_were_chosen() {
    let Some((seat, visit)) = owner("kubernetes").await else {
        return;
    };
    let browser = &visit.browser;
    let plane = seat.plane("lab", "edge").await.unwrap();
    visit.open(&format!("/planes/{plane}")).await;
    browser.click("Get install command").await.unwrap();
    browser.click("Ingester").await.unwrap();
    browser.fill("Namespace", "shop").await.unwrap();
    browser.click("Show the command").await.unwrap();
    browser.sees("Helm 3.8 or later").await.unwrap();
    browser
        .sees("kubectl logs -n shop -l app=zen-agent --tail=20")
        .await
        .unwrap();
    let command = "return document.querySelector('#install-command').textContent";
    let command = browser.ask(command, json!([])).await.unwrap();
    let command = command.as_str().unwrap();
    let own = format!("--repo http://{}/charts ", seat.http.address);
    for part in [
        own.as_str(),
        "--namespace shop",
        "zen-ingester.enabled=true",
        "zen-egress.enabled=true",
    ] {
        assert!(command.contains(part), "{part}: {command}");
    }
    browser.picture("journey-kubernetes").await.unwrap();
    browser.click("Regenerate").await.unwrap();
    browser.sees("the old bundle dies").await.unwrap();
    browser.click("GitOps").await.unwrap();
    browser.click("Regenerate").await.unwrap();
    browser.sees("Copy manifests").await.unwrap();
    let manifests = "return document.querySelector('#install-manifests').textContent";
    let manifests = browser.ask(manifests, json!([])).await.unwrap();
    let manifests = manifests.as_str().unwrap();
    assert!(manifests.contains("namespace: \"shop\""), "{manifests}");
    assert!(!manifests.contains("AGE-SECRET-KEY"), "{manifests}");
    browser.picture("journey-gitops").await.unwrap();
    browser.content(&[]).await.unwrap();
}

/// Waits until the page's status is so: within a minute, as people are told.
pub(crate) async fn has_status(browser: &Browser, status: &str) -> anyhow::Result<()> {
    browser
        .until(&format!("the status is {status}"), MINUTE, || {
            says(browser, status)
        })
        .await
}

/// Whether a status on the page is so now.
pub(crate) async fn says(browser: &Browser, status: &str) -> anyhow::Result<()> {
    // What a dialog in front says is no status of the page.
    let script = "return [...document.querySelectorAll('main .pill')]
        .filter((pill) => pill.checkVisibility() && !pill.closest('dialog'))
        .map((pill) => pill.innerText)";
    let pills = browser.ask(script, json!([])).await?;
    let mut all = pills
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    anyhow::ensure!(all.any(|pill| pill.trim().ends_with(status)), "{pills}");
    Ok(())
}

/// The id of the plane whose page is shown.
async fn plane_of(browser: &Browser) -> String {
    let path = browser.path().await.unwrap();
    let id = path.split('/').nth(2).unwrap_or_default().to_owned();
    assert!(id.starts_with("pl_"), "at {path}");
    id
}

/// The install command as the page shows it, once it does.
async fn whole_command(browser: &Browser) -> String {
    let script = "return [...document.querySelectorAll('pre')]
        .filter((pre) => pre.checkVisibility()).map((pre) => pre.textContent)
        .find((text) => text.includes('BEGIN AGE ENCRYPTED FILE')) ?? null";
    browser
        .until("the command is shown", MINUTE, || async {
            let found = browser.ask(script, json!([])).await?;
            let text = found.as_str().unwrap_or_default();
            anyhow::ensure!(text.contains("zen edge run"), "no command");
            Ok(text.to_owned())
        })
        .await
        .unwrap()
}

async fn the_command_can_be_copied(browser: &Browser, command: &str) {
    browser.click("Copy command").await.unwrap();
    browser.sees("Copied").await.unwrap();
    let copied = browser.clipboard().await.unwrap();
    assert_eq!(copied.trim(), command.trim(), "not the command was copied");
}

/// The step of the enrolment's timeline is done and says when.
async fn step_has_its_time(browser: &Browser, step: &str) {
    let script = "return [...document.querySelectorAll('ol.timeline > li:not(.todo)')]
        .filter((li) => li.querySelector('time[datetime]')).map((li) => li.innerText)";
    let wanted = step.to_lowercase();
    browser
        .until(&format!("“{step}” has its time"), MINUTE, || async {
            let steps = browser.ask(script, json!([])).await?;
            let all = steps
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            let done = all
                .map(str::to_lowercase)
                .any(|text| text.contains(&wanted));
            anyhow::ensure!(done, "done so far: {steps}");
            Ok(())
        })
        .await
        .unwrap();
}

/// Lets one event arrive at the plane and be delivered.
async fn first_event(seat: &Seat, plane: &str, shell: &Shell) {
    let service = Service::start().await.unwrap();
    let target = json!({ "plane_id": plane, "name": "orders", "url": service.url() });
    let target = seat.api.post("/v1/targets", &target).await.unwrap();
    let endpoint = json!({ "plane_id": plane, "name": "shop",
        "verification": { "scheme": "none" } });
    let endpoint = seat.api.post("/v1/endpoints", &endpoint).await.unwrap();
    let flow = json!({ "name": "shop", "endpoint_id": endpoint["id"], "target_id": target["id"] });
    seat.api.post("/v1/flows", &flow).await.unwrap();
    settled(&seat.api, plane, MINUTE).await.unwrap();
    let id = endpoint["id"].as_str().unwrap();
    let url = format!("http://{}/hooks/{id}", shell.ingest.address);
    let source = Source::new(url, Scheme::None);
    let event = source.post_until_accepted("1", "{}".into(), MINUTE).await;
    let event = event.unwrap();
    let mut received = service.received.clone();
    let got = received.wait_for(|all| all.contains_key(&event));
    tokio::time::timeout(MINUTE, got).await.unwrap().unwrap();
}

/// How many bundles the plane's timeline has.
fn issued(plane: &Value) -> usize {
    let all = plane["timeline"].as_array().into_iter().flatten();
    all.filter(|entry| entry["kind"] == "bundle_issued").count()
}
