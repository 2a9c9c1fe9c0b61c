//! Settings: the tenant, one's own account, people, API keys, data planes.

mod account;
mod api_keys;
mod data_planes;
mod users;

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde_json::json;

use super::Shared;
use super::asked::Question;
use super::form::{Form, Posted};
use super::moment::spell;
use super::render::{Answer, Frame, Nav, page_with, see_other};
use super::visitor::Visitor;
use crate::control::Control;
use crate::manage::TenantView;
use crate::permissions::Operation;

const TOLD: &[(&str, &str)] = &[("changed", "The settings of the tenant were saved.")];

/// Their paths.
pub(super) fn router() -> Router<Arc<Control>> {
    Router::new()
        .route("/settings", get(show).post(change))
        .merge(account::router())
        .merge(users::router())
        .merge(api_keys::router())
        .merge(data_planes::router())
}

/// One page of the settings, in the row above all of them.
struct Tab {
    name: &'static str,
    path: &'static str,
    current: bool,
}

/// The pages that the visitor may open.
fn tabs(visitor: &Visitor, current: &str) -> Vec<Tab> {
    let tab = |name, path| Tab {
        name,
        path,
        current: path == current,
    };
    let mut tabs = vec![
        tab("General", "/settings"),
        tab("Your account", "/settings/account"),
    ];
    for (operation, name, path) in [
        (Operation::UserRead, "Users", "/settings/users"),
        (Operation::KeyRead, "API keys", "/settings/api-keys"),
        (
            Operation::DataPlaneWrite,
            "Data planes",
            "/settings/data-planes",
        ),
    ] {
        if visitor.can(operation) {
            tabs.push(tab(name, path));
        }
    }
    tabs
}

#[derive(Template)]
#[template(path = "settings.html")]
struct Page {
    frame: Frame,
    tabs: Vec<Tab>,
    form: Form,
    tenant: TenantView,
    role: &'static str,
    may: String,
    may_change: bool,
    version: &'static str,
    advertise: String,
    trust_domain: String,
    bundle_ttl: String,
    heartbeat_lost: String,
}

async fn show(State(control): Shared, visitor: Visitor, Question(asked): Question) -> Answer {
    let tenant = control.me(&visitor.principal).await?.tenant;
    let mut posted = Posted::default().or("name", &tenant.name);
    if tenant.totp_required {
        posted = posted.or("totp_required", "on");
    }
    let done = asked.some("done");
    shown(&control, visitor, tenant, Form::untouched(posted), done).await
}

async fn change(State(control): Shared, visitor: Visitor, posted: Posted) -> Answer {
    let patch = json!({
        "name": posted.get("name"),
        "totp_required": posted.has("totp_required"),
    });
    let expected = posted.expected();
    let caller = &visitor.principal;
    match control.change_tenant(caller, patch, &expected).await {
        Ok(_) => Ok(see_other("/settings?done=changed")),
        Err(problem) => {
            let form = Form::again(posted, problem)?;
            let tenant = control.me(&visitor.principal).await?.tenant;
            shown(&control, visitor, tenant, form, None).await
        }
    }
}

async fn shown(
    control: &Arc<Control>,
    visitor: Visitor,
    tenant: TenantView,
    form: Form,
    done: Option<&str>,
) -> Answer {
    let may = Operation::ALL.iter().filter(|op| visitor.can(**op));
    let may: Vec<_> = may.map(|operation| operation.as_str()).collect();
    let long = |duration: Duration| spell(duration.as_secs());
    let page = Page {
        tabs: tabs(&visitor, "/settings"),
        role: visitor.role,
        may: may.join(", "),
        may_change: visitor.can(Operation::UserWrite),
        version: env!("CARGO_PKG_VERSION"),
        advertise: control.agents_advertise.to_string(),
        trust_domain: control.trust_domain.to_string(),
        bundle_ttl: long(control.times.bundle_ttl),
        heartbeat_lost: long(control.times.heartbeat_lost),
        frame: Frame::new(control, visitor, Nav::Settings, "Settings")
            .await?
            .told(done, TOLD),
        tenant,
        form,
    };
    page_with(page.form.status(), &page)
}
