//! Pages that move by themselves. Every element that carries an id and `data-live` is a live part
//! of its page; `GET /live?page=<path>` renders the page again once a second, exactly as a browser
//! would get it, and sends the parts whose content changed, as server-sent events. A page needs no
//! code of its own for this.

mod fragments;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use futures::stream::{self, Stream, StreamExt as _};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tower::ServiceExt as _;
use zen_proto::ids::TenantId;

use crate::control::Control;
use crate::people::Recognised;

/// Pause between two looks at a page.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pause between two signs of life on a stream with nothing to say.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A stream this old ends; the browser opens another.
const LIFE: Duration = Duration::from_secs(60 * 60);
/// Streams of one tenant at the same time.
const PER_TENANT: usize = 64;
/// Streams of everybody at the same time.
const ALL: usize = 512;
/// Largest page that is kept live.
const PAGE: usize = 4 * 1024 * 1024;
/// Longest path of a page.
const PATH: usize = 2048;

struct Live {
    control: Arc<Control>,
    /// The pages, as browsers get them.
    pages: Router,
    open: Arc<Mutex<HashMap<TenantId, usize>>>,
}

/// The one path of the live streams, over the pages that they follow.
pub(super) fn router(control: Arc<Control>, pages: Router) -> Router {
    let live = Live {
        control,
        pages,
        open: Arc::default(),
    };
    Router::new()
        .route("/live", get(follow))
        .with_state(Arc::new(live))
}

#[derive(Deserialize)]
struct Asked {
    page: String,
}

/// Follows a page until its viewer leaves, the session ends, or the control plane stops.
async fn follow(
    State(live): State<Arc<Live>>,
    Query(asked): Query<Asked>,
    Extension(who): Extension<Recognised>,
) -> Response {
    let fits = asked.page.len() <= PATH
        && asked.page.starts_with('/')
        && !asked.page.starts_with("//")
        && Request::get(&asked.page).body(()).is_ok();
    if !fits {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let Recognised::Somebody(who) = who else {
        return once("gone");
    };
    let Some(place) = Place::take(&live.open, who.principal.tenant) else {
        return once("full");
    };
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let follower = Follower {
        live,
        page: asked.page,
        session: who.session,
        from: who.principal.address,
        looks,
        until: Instant::now() + LIFE,
        sent: HashMap::new(),
        ended: false,
        _place: place,
    };
    let events = follower.events();
    Sse::new(events)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response()
}

/// A stream that says one thing and ends.
fn once(event: &'static str) -> Response {
    let event = Event::default().event(event).data("");
    Sse::new(stream::iter([Ok::<_, Infallible>(event)])).into_response()
}

/// A viewer of a page.
struct Follower {
    live: Arc<Live>,
    page: String,
    /// Looked up again at each look: the stream ends with it.
    session: String,
    from: Option<IpAddr>,
    looks: Interval,
    until: Instant,
    /// What was last sent of each part, as its fingerprint.
    sent: HashMap<String, u64>,
    ended: bool,
    _place: Place,
}

impl Follower {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> + use<> {
        stream::unfold(self, |mut follower| async move {
            let events = follower.next().await?;
            Some((stream::iter(events.into_iter().map(Ok)), follower))
        })
        .flatten()
    }

    /// What is new at the next look that finds something; none at the end.
    async fn next(&mut self) -> Option<Vec<Event>> {
        let stop = self.live.control.stage.shutdown.clone();
        while !self.ended {
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep_until(self.until) => return None,
                _ = self.looks.tick() => {}
            }
            let Some(html) = self.look().await else {
                continue;
            };
            let events = match html {
                Looked::Page(html) => self.news(&html),
                Looked::Gone => {
                    self.ended = true;
                    vec![Event::default().event("gone").data("")]
                }
            };
            if !events.is_empty() {
                return Some(events);
            }
        }
        None
    }

    /// The page as it is now; none if it cannot be had at present.
    async fn look(&self) -> Option<Looked> {
        let mut request = Request::get(&self.page).body(Body::empty()).ok()?;
        let control = &self.live.control;
        let who = control.still_signed_in(&self.session, self.from).await;
        let Some(who) = who.ok()? else {
            return Some(Looked::Gone);
        };
        let who = Recognised::Somebody(Box::new(who));
        request.extensions_mut().insert(who);
        let Ok(response) = self.live.pages.clone().oneshot(request).await;
        if response.status().is_redirection() {
            return Some(Looked::Gone);
        }
        if !response.status().is_success() {
            return None;
        }
        let body = http_body_util::Limited::new(response.into_body(), PAGE);
        let bytes = body.collect().await.ok()?.to_bytes();
        String::from_utf8(bytes.to_vec()).ok().map(Looked::Page)
    }

    /// The parts whose content is another one than was sent last.
    fn news(&mut self, html: &str) -> Vec<Event> {
        let mut events = Vec::new();
        for part in fragments::of(html) {
            let print = part.fingerprint();
            if self.sent.insert(part.id.to_owned(), print) == Some(print) {
                continue;
            }
            let data = serde_json::json!({ "id": part.id, "html": part.html });
            events.push(Event::default().event("fragment").data(data.to_string()));
        }
        events
    }
}

enum Looked {
    Page(String),
    /// The session has ended, or the page is no longer there.
    Gone,
}

/// A place among the open streams; given back when dropped.
struct Place {
    open: Arc<Mutex<HashMap<TenantId, usize>>>,
    tenant: TenantId,
}

impl Place {
    fn take(open: &Arc<Mutex<HashMap<TenantId, usize>>>, tenant: TenantId) -> Option<Self> {
        let mut all = open.lock();
        let of_tenant = all.get(&tenant).copied().unwrap_or_default();
        if of_tenant >= PER_TENANT || all.values().sum::<usize>() >= ALL {
            return None;
        }
        all.insert(tenant, of_tenant + 1);
        drop(all);
        let open = Arc::clone(open);
        Some(Self { open, tenant })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.open.lock();
        if let Some(of_tenant) = all.get_mut(&self.tenant) {
            *of_tenant -= 1;
            if *of_tenant == 0 {
                all.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use zen_proto::ids::Id as _;

    use super::*;

    #[test]
    fn a_tenant_has_so_many_streams_and_gets_their_places_back() {
        let open = Arc::default();
        let tenant = TenantId::generate(1, [1; 10]);
        let other = TenantId::generate(1, [2; 10]);
        let taken: Vec<_> = (0..PER_TENANT)
            .map(|_| Place::take(&open, tenant).unwrap())
            .collect();
        assert!(Place::take(&open, tenant).is_none());
        assert!(Place::take(&open, other).is_some());
        drop(taken);
        assert!(open.lock().is_empty());
    }
}
