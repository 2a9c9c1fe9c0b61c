//! The dashboard over HTTP, as a browser gets it: headers, what is live in a page, forms without
//! JavaScript, hostile names, and what each failure looks like.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::json;
use zen_proto::query::v1::{Hop, Pong, Probed, answer};
use zen_proto::session::v1::{ComponentStatus, TargetHealth, TargetState};

use super::common::{Agent, PATIENCE, Running, component, text};

/// A browser that is signed in.
struct Browser<'a> {
    running: &'a Running,
    cookie: String,
}

/// What came back.
struct Page {
    status: u16,
    headers: http::HeaderMap,
    text: String,
}

impl Page {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    fn has(&self, text: &str) -> &Self {
        assert!(
            self.text.contains(text),
            "{text:?} is missing in {}",
            self.text
        );
        self
    }

    #[track_caller]
    fn lacks(&self, text: &str) -> &Self {
        assert!(
            !self.text.contains(text),
            "{text:?} stands in {}",
            self.text
        );
        self
    }
}

impl<'a> Browser<'a> {
    /// The owner's, signed in by the link of the first start.
    async fn new(running: &'a Running, folder: &tempfile::TempDir) -> Self {
        let link = std::fs::read_to_string(folder.path().join("sign-in-link")).unwrap();
        let (_, path) = link.trim().split_once("/sign-in/").unwrap();
        let nobody = Self::nobody(running);
        let form = "email=ana%40example.com&name=ana&password=correct+horse+battery\
            &password_again=correct+horse+battery";
        let page = nobody.post(&format!("/sign-in/{path}"), form).await;
        assert_eq!(page.status, 303, "{}", page.text);
        let (cookie, _) = page.header("set-cookie").split_once(';').unwrap();
        Self {
            running,
            cookie: cookie.to_owned(),
        }
    }

    /// Of somebody whose session is not known.
    fn nobody(running: &'a Running) -> Self {
        Self {
            running,
            cookie: "zen-session=x".to_owned(),
        }
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        form: &str,
    ) -> hyper::Response<hyper::body::Incoming> {
        let stream = tokio::net::TcpStream::connect(self.running.http)
            .await
            .unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "control-plane")
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("cookie", &self.cookie)
            .body(Full::new(bytes::Bytes::from(form.to_owned())))
            .unwrap();
        sender.send_request(request).await.unwrap()
    }

    async fn send(&self, method: &str, path: &str, form: &str) -> Page {
        let response = self.ask(method, path, form).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Page {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    async fn get(&self, path: &str) -> Page {
        self.send("GET", path, "").await
    }

    async fn shown(&self, path: &str) -> Page {
        let page = self.get(path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text);
        page
    }

    async fn post(&self, path: &str, form: &str) -> Page {
        self.send("POST", path, form).await
    }

    /// Follows a page until its stream says what is waited for.
    async fn follow(&self, page: &str, wanted: impl Fn(&str) -> bool) -> String {
        let path: String = url::form_urlencoded::byte_serialize(page.as_bytes()).collect();
        let response = self.ask("GET", &format!("/live?page={path}"), "").await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut body = response.into_body();
        let mut heard = String::new();
        let waited = tokio::time::timeout(PATIENCE, async {
            while !wanted(&heard) {
                let frame = body.frame().await.expect("the stream ended").unwrap();
                let data = frame.into_data().unwrap_or_default();
                heard.push_str(std::str::from_utf8(&data).unwrap());
            }
        });
        let in_time = waited.await.is_ok();
        assert!(in_time, "never said: {heard}");
        heard
    }
}

/// Runs one control plane for a test.
async fn start() -> (tempfile::TempDir, Running) {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start(folder.path()).await;
    (folder, running)
}

#[tokio::test]
async fn every_page_is_protected_and_holds_nothing_inline() {
    let (folder, running) = start().await;
    let plane = running.plane("lab", "edge").await;
    let browser = Browser::new(&running, &folder).await;
    let pages = [
        "/",
        "/planes",
        "/planes/new",
        &format!("/planes/{plane}"),
        &format!("/planes/{plane}/change"),
        &format!("/planes/{plane}/retire"),
        &format!("/planes/{plane}/install"),
        "/data-planes",
        "/data-planes/new",
        "/no-such-page",
    ];
    for path in pages {
        let page = browser.get(path).await;
        let policy = page.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("cache-control"), "no-store", "{path}");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.header("cross-origin-opener-policy"), "same-origin");
        page.lacks(" style=")
            .lacks("<style")
            .lacks(" onclick=")
            .lacks("javascript:");
        assert_eq!(page.text.matches("<script").count(), 1, "{path}");
        page.has("<html lang=\"en\">")
            .has("<main id=\"main\"")
            .has("</html>");
        assert_eq!(page.text.matches("<h1").count(), 1, "{path}: one heading");
    }
    running.stop().await;
}

#[tokio::test]
async fn assets_are_kept_for_good_under_paths_of_their_content() {
    let (folder, running) = start().await;
    let browser = Browser::new(&running, &folder).await;
    let page = browser.shown("/").await;
    let (_, rest) = page.text.split_once("<script src=\"").unwrap();
    let (path, _) = rest.split_once('"').unwrap();
    let script = browser.shown(path).await;
    assert_eq!(
        script.header("content-type"),
        "text/javascript; charset=utf-8"
    );
    assert!(script.header("cache-control").contains("immutable"));
    assert!(!script.header("etag").is_empty());
    let other = format!(
        "/assets/0000000000000000/{}",
        path.rsplit_once('/').unwrap().1
    );
    assert_eq!(browser.get(&other).await.status, 404);
    running.stop().await;
}

#[tokio::test]
async fn who_is_not_signed_in_is_sent_to_sign_in_and_back() {
    let (_folder, running) = start().await;
    let nobody = Browser::nobody(&running);
    let page = nobody.get("/planes?status=degraded").await;
    assert_eq!(page.status, 303);
    assert_eq!(
        page.header("location"),
        "/sign-in?next=%2Fplanes%3Fstatus%3Ddegraded"
    );
    let page = nobody.post("/planes/new", "name=x").await;
    assert_eq!(page.header("location"), "/sign-in?next=%2F");
    let heard = nobody
        .follow("/planes", |heard| heard.contains("\n\n"))
        .await;
    assert!(heard.contains("event: gone"), "{heard}");
    running.stop().await;
}

#[tokio::test]
async fn a_plane_is_added_changed_and_retired_without_a_script() {
    let (folder, running) = start().await;
    let browser = Browser::new(&running, &folder).await;
    browser.shown("/planes").await.has("No edge plane yet");
    let refused = browser.post("/planes/new", "name=%20&data_plane_id=").await;
    assert_eq!(refused.status, 422);
    refused
        .has("aria-invalid=\"true\"")
        .has("Nothing was saved");
    let made = browser.post("/planes/new", "name=lab").await;
    assert_eq!(made.status, 303, "{}", made.text);
    let (path, _) = made.header("location").split_once('?').unwrap();
    browser
        .shown(made.header("location"))
        .await
        .has("Never enrolled")
        .has("is registered");
    let again = browser.post("/planes/new", "name=lab").await;
    assert_eq!(again.status, 409);
    again.has("value=\"lab\"").has("taken");

    let form = browser.shown(&format!("{path}/change")).await;
    form.has("name=\"version\" value=\"1\"");
    let changed = browser
        .post(&format!("{path}/change"), "name=lab-2&version=1")
        .await;
    assert_eq!(changed.status, 303, "{}", changed.text);
    let lost = browser
        .post(&format!("{path}/change"), "name=lab-3&version=1")
        .await;
    assert_eq!(lost.status, 412);
    lost.has("value=\"lab-3\"")
        .has("name=\"version\" value=\"2\"");

    let kept = browser.post(&format!("{path}/retire"), "name=lab").await;
    assert_eq!(kept.status, 422);
    let retired = browser.post(&format!("{path}/retire"), "name=lab-2").await;
    assert_eq!(retired.header("location"), "/planes?told=retired");
    browser
        .shown(path)
        .await
        .has("Retired")
        .has("helm uninstall zen-mesh -n zen-mesh")
        .lacks("Get install command");
    running.stop().await;
}

#[tokio::test]
async fn the_install_command_is_shown_once_and_a_new_one_asks_first() {
    let (folder, running) = start().await;
    let plane = running.plane("lab", "edge").await;
    let browser = Browser::new(&running, &folder).await;
    let path = format!("/planes/{plane}/install");
    browser.shown(&path).await.lacks("AGE-SECRET-KEY");
    let first = browser.post(&path, "").await;
    first
        .has("BEGIN AGE ENCRYPTED FILE")
        .has("AGE-SECRET-KEY-1")
        .has("data-countdown")
        .has("expires in 30:00")
        .has("Regenerate");
    let asks = browser.post(&path, "").await;
    asks.has("is still good")
        .has("old bundle dies")
        .lacks("AGE-SECRET-KEY");
    let second = browser.post(&path, "confirmed=yes").await;
    second.has("AGE-SECRET-KEY-1");
    assert_ne!(first.text, second.text);
    let wrong = browser
        .post(&path, "confirmed=yes&recipient=age1nonsense")
        .await;
    assert_eq!(wrong.status, 422);
    wrong
        .has("value=\"age1nonsense\"")
        .has("aria-invalid")
        .lacks("AGE-SECRET-KEY");
    let own_key = zen_seal::Identity::generate().recipient();
    let own = browser
        .post(
            &path,
            &format!("confirmed=yes&recipient={own_key}&ttl_seconds=300"),
        )
        .await;
    own.has("BEGIN AGE ENCRYPTED FILE")
        .has("expires in 05:00")
        .has("zen-agent.enrollment.lock.enabled=true")
        .has("<b>Before all else</b> the Secret <code>zen-lock-identities</code>")
        .lacks("AGE-SECRET-KEY")
        .lacks("zen-enrollment-key</code>");
    let gitops = format!("form=gitops&confirmed=yes&recipient={own_key}");
    let gitops = browser.post(&path, &gitops).await;
    gitops
        .has("the plane's zen-lock alone opens the bundle")
        .lacks("ZEN_IDENTITY_FILE");
    running.stop().await;
}

#[tokio::test]
async fn an_installation_is_chosen_by_form_components_and_namespace() {
    let (folder, running) = start().await;
    let edge = running.plane("lab", "edge").await;
    let browser = Browser::new(&running, &folder).await;
    let path = format!("/planes/{edge}/install");
    let asks = browser.shown(&path).await;
    asks.has("value=\"kubernetes\" checked")
        .has("value=\"egress\" checked")
        .lacks("value=\"ingester\" checked")
        .lacks("value=\"lock\" checked")
        .has("value=\"zen-mesh\"");
    let first = browser
        .post(
            &path,
            "form=kubernetes&component=ingester&component=lock&namespace=shop",
        )
        .await;
    first
        .has("helm upgrade --install zen-mesh zen-edge-plane")
        .has("--namespace shop")
        .has("zen-ingester.enabled=true")
        .has("zen-lock.enabled=true")
        .lacks("zen-egress.enabled")
        .lacks("enrollment.lock.enabled")
        .has("Helm 3.8 or later")
        .has("outbound TCP to <code>127.0.0.1:")
        .has("kubectl logs -n shop -l app=zen-agent --tail=20")
        .has("AGE-SECRET-KEY-1");
    // What was chosen is offered again.
    let regenerate =
        "form=kubernetes&component=ingester&component=lock&namespace=shop&regenerate=1";
    let again = browser.post(&path, regenerate).await;
    again
        .has("old bundle dies")
        .has("value=\"ingester\" checked")
        .has("value=\"lock\" checked")
        .lacks("value=\"egress\" checked")
        .has("value=\"shop\"")
        .lacks("AGE-SECRET-KEY");
    let lite = "form=edge_lite&component=egress&namespace=zen-mesh&confirmed=yes";
    let lite = browser.post(&path, lite).await;
    lite.has("exec zen edge run").lacks("helm");
    let gitops = "form=gitops&component=egress&namespace=zen-mesh&confirmed=yes";
    let gitops = browser.post(&path, gitops).await;
    gitops
        .has("install-manifests")
        .has("Values of the chart")
        .has("name: zen-enrollment-key")
        .has("AGE-SECRET-KEY-1");
    let wrong = browser
        .post(&path, "form=kubernetes&namespace=Not+A+Label&confirmed=yes")
        .await;
    assert_eq!(wrong.status, 422);
    wrong.has("value=\"Not A Label\"").has("1 to 63");

    let data = running.plane("public", "data").await;
    let path = format!("/planes/{data}/install");
    browser
        .shown(&path)
        .await
        .lacks("Edge Lite")
        .lacks("Components beside");
    let first = browser.post(&path, "").await;
    first.has("zen-data-plane").has("ZEN_BRIDGE_ADDRESS");
    running.stop().await;
}

#[tokio::test]
async fn a_plane_turns_to_connected_while_one_looks_at_it() {
    let (folder, running) = start().await;
    let plane = running.plane("lab", "edge").await;
    let browser = Browser::new(&running, &folder).await;
    let path = format!("/planes/{plane}");
    browser.shown(&path).await.has("Never enrolled");
    let connecting = async {
        let agent = running.enrol(&plane).await;
        let mut talk = agent.connect(0).await.unwrap();
        talk.snapshot(&agent).await;
        talk.heartbeat(
            &agent,
            vec![component("agent", ""), component("egress", "")],
        )
        .await;
        (agent, talk)
    };
    let said = |heard: &str| {
        heard.contains("\"plane-pill\"")
            && heard.contains("Connected")
            && heard.contains(r#"<li class=\"done\"><b>First heartbeat"#)
    };
    let (heard, _session) = tokio::join!(browser.follow(&path, said), connecting);
    assert!(heard.contains("event: fragment"), "{heard}");
    let page = browser.shown(&path).await;
    for step in [
        "Bundle issued",
        "Redeemed",
        "Certificate",
        "First heartbeat",
    ] {
        page.has(&format!("<li class=\"done\"><b>{step}</b>"));
    }
    page.has("<li class=\"now\" aria-current=\"step\"><b>First event</b>");
    page.has(", by owner<")
        .has("valid to")
        .has("zen-egress")
        .has("applied as published");
    browser
        .shown("/planes?status=connected")
        .await
        .has("agent, egress");
    browser
        .shown("/planes?status=degraded")
        .await
        .has("No plane fits");
    running.stop().await;
}

#[tokio::test]
async fn a_refusal_stands_on_the_planes_page_with_who_tried_and_what_to_do() {
    let (folder, running) = start().await;
    let plane = running.plane("stolen", "edge").await;
    let bundle = running.bundle(&plane).await;
    let owner = Agent::new(&bundle, running.clock.clone());
    owner.redeem(&bundle).await.unwrap();
    let thief = Agent::new(&bundle, running.clock.clone());
    thief.redeem(&bundle).await.unwrap_err();
    let browser = Browser::new(&running, &folder).await;
    let page = browser.shown(&format!("/planes/{plane}")).await;
    page.has("role=\"alert\" data-code=\"BUNDLE_ALREADY_USED\"")
        .has("Somebody else tried")
        .has("<p>127.0.0.1 at <time")
        .has("treat it as an intrusion");
    running.stop().await;
}

#[tokio::test]
async fn hostile_names_are_text_and_nothing_else() {
    let (folder, running) = start().await;
    let name = "<img src=x onerror=alert(1)>\"'&</title>";
    let made = running
        .create("/v1/planes", json!({"name": name, "kind": "edge"}))
        .await;
    let browser = Browser::new(&running, &folder).await;
    let id = made["id"].as_str().unwrap();
    for path in [
        "/planes",
        &format!("/planes/{id}"),
        &format!("/planes/{id}/retire"),
    ] {
        browser
            .shown(path)
            .await
            .lacks("<img src=x")
            .has("&#60;img src=x onerror=alert(1)&#62;");
    }
    let live = browser
        .follow("/planes", |heard| heard.contains("\"planes\""))
        .await;
    assert!(!live.contains("<img src=x"), "{live}");
    browser
        .shown("/planes?name=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
        .await
        .lacks("<script>");
    running.stop().await;
}

#[tokio::test]
async fn the_list_goes_on_over_its_pages_and_keeps_the_filter() {
    let (folder, running) = start().await;
    for number in 0..120 {
        running.plane(&format!("site-{number:03}"), "edge").await;
    }
    running.plane("other", "edge").await;
    let browser = Browser::new(&running, &folder).await;
    let mut path = "/planes?name=site".to_owned();
    let mut seen = 0;
    loop {
        let page = browser.shown(&path).await;
        seen += page.text.matches("<th scope=\"row\">").count();
        page.lacks(">other<");
        let Some((before, _)) = page.text.split_once("\" rel=\"next\"") else {
            break;
        };
        let (_, next) = before.rsplit_once("href=\"").unwrap();
        assert!(next.contains("name=site"), "{next}");
        path = next.replace("&#38;", "&");
    }
    assert_eq!(seen, 120);
    running.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_told_in_the_frame_and_to_programs_as_a_problem() {
    let (folder, running) = start().await;
    let browser = Browser::new(&running, &folder).await;
    let page = browser.get("/planes/pl_nonsense").await;
    assert_eq!(page.status, 404);
    page.has("There is no such page")
        .has("NOT_FOUND")
        .has("aria-label=\"Main\"");
    let (status, problem) = running.call("GET", "/v1/no-such-path", None).await;
    assert_eq!((status, &problem["code"]), (404, &json!("NOT_FOUND")));
    running.stop().await;
}

#[tokio::test]
async fn a_live_page_ends_with_the_control_plane_and_does_not_hold_it_up() {
    let (folder, running) = start().await;
    let browser = Browser::new(&running, &folder).await;
    let response = browser.ask("GET", "/live?page=%2Fplanes", "").await;
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    let ended = tokio::spawn(async move { while body.frame().await.is_some() {} });
    running.stop().await;
    tokio::time::timeout(Duration::from_secs(5), ended)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn the_way_of_an_event_is_probed_while_one_looks_and_what_fails_is_named() {
    let (folder, running) = start().await;
    let plane = running.plane("edge", "edge").await;
    let body = json!({"plane_id": plane, "name": "billing", "url": "http://billing.internal/"});
    let target = text(&running.create("/v1/targets", body).await, "id");
    let browser = Browser::new(&running, &folder).await;
    let agent = running.enrol(&plane).await;
    let mut talk = agent.connect(0).await.unwrap();
    talk.snapshot(&agent).await;
    let unwell = TargetHealth {
        target_id: target.clone(),
        state: TargetState::Failing.into(),
        detail: "connection refused".to_owned(),
        ..TargetHealth::default()
    };
    let egress = ComponentStatus {
        targets: vec![unwell],
        ..component("egress", "")
    };
    talk.heartbeat(&agent, vec![egress]).await;
    let answering = async {
        let ping = talk.question().await;
        talk.answer(ping.query_id, answer::Answer::Pong(Pong {}))
            .await;
        let probe = talk.question().await;
        let hop = Hop {
            from: "egress/0".to_owned(),
            to: "target".to_owned(),
            target_id: target.clone(),
            code: "TARGET_UNREACHABLE".to_owned(),
            detail: "connection refused".to_owned(),
            ..Hop::default()
        };
        let probed = answer::Answer::Probed(Probed { hops: vec![hop] });
        talk.answer(probe.query_id, probed).await;
    };
    let path = format!("/planes/{plane}");
    let said = |heard: &str| heard.contains("hop bad") && heard.contains("<b>billing</b>");
    tokio::join!(browser.follow(&path, said), answering);
    let page = browser.shown(&path).await;
    page.has("<b>zen-agent</b>").has("TARGET_UNREACHABLE");
    let overview = browser.shown("/").await;
    overview.has(&format!("href=\"/targets/{target}\"><b>billing</b>"));
    running.stop().await;
}
