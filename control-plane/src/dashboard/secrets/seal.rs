//! "Seal a secret": the exact command to run where the secret is known. The page never asks for the
//! secret, and says how to check the key it shows: whoever controls this page could show another.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use zen_proto::ids::PlaneId;
use zen_proto::purpose::Purpose;

use super::super::Shared;
use super::super::asked::Question;
use super::super::form::{Form, Posted};
use super::super::listing::{is_cut, options, planes};
use super::super::render::{Answer, Frame, Nav, page};
use super::super::visitor::Visitor;
use super::PATH;
use crate::control::Control;
use crate::fields::Faults;
use crate::manage::{LockView, PlaneView};
use crate::permissions::Operation;
use crate::principal::Principal;
use crate::problem::Problem;
use crate::secret::{is_name, key_ids};

/// What stands in the command in place of a key that is not known here.
const UNKNOWN: &str = "age1…";

#[derive(Template)]
#[template(path = "secret_seal.html")]
struct Page {
    frame: Frame,
    form: Form,
    planes: Vec<(String, String)>,
    /// There are more planes than are offered.
    cut: bool,
    search: String,
    purposes: Vec<PurposeChoice>,
    /// The plane that was chosen.
    plane: Option<PlaneView>,
    key: Option<Key>,
    command: String,
}

/// What a secret may be for.
struct PurposeChoice {
    word: &'static str,
    about: &'static str,
}

/// The key for new seals, as the plane's zen-lock told it.
struct Key {
    recipient: String,
    id: String,
}

/// The plane's zen-lock as it was last heard; none if it runs none, or is somebody else's.
pub(super) async fn lock_of(
    control: &Control,
    caller: &Principal,
    plane: &str,
) -> Result<Option<LockView>, Problem> {
    Ok(plane_of(control, caller, plane)
        .await?
        .and_then(|plane| plane.lock))
}

async fn plane_of(
    control: &Control,
    caller: &Principal,
    plane: &str,
) -> Result<Option<PlaneView>, Problem> {
    let Ok(id) = plane.parse::<PlaneId>() else {
        return Ok(None);
    };
    match control.get_plane(caller, id).await {
        Ok(plane) => Ok(Some(plane)),
        Err(problem) if problem.code == "NOT_FOUND" => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// `GET /secrets/seal`
pub(super) async fn show(
    State(control): Shared,
    visitor: Visitor,
    Question(asked): Question,
) -> Answer {
    let caller = &visitor.principal;
    caller.may(Operation::SecretWrite)?;
    let plane = plane_of(&control, caller, asked.get("plane_id")).await?;
    // An address with all that the form asks for is the form that was sent.
    let sent = asked.has("show");
    let wanted = wanted(&asked, plane.as_ref());
    let (form, wanted) = match wanted {
        Ok(wanted) => (Form::untouched(asked), Some(wanted)),
        Err(faults) if sent => (Form::refused(asked, faults.into()), None),
        Err(_) => (Form::untouched(asked), None),
    };
    let key = plane.as_ref().and_then(key);
    let command = wanted.map(|wanted| command(&wanted, key.as_ref()));
    let (planes, cut) = offered(&control, caller, &form.posted).await?;
    let frame = Frame::new(&control, visitor, Nav::Secrets, "Seal a secret").await?;
    let shown = Page {
        frame: frame.below("Secrets", PATH),
        search: form.posted.get("plane").to_owned(),
        planes,
        cut,
        purposes: Purpose::ALL.map(choice).into(),
        plane,
        key,
        command: command.unwrap_or_default(),
        form,
    };
    // An address that says too little is no failure: the page asks for the rest.
    page(&shown)
}

/// The planes to choose from: those whose secrets the visitor may store.
async fn offered(
    control: &Arc<Control>,
    caller: &Principal,
    asked: &Posted,
) -> Result<(Vec<(String, String)>, bool), Problem> {
    let found = planes(control, caller, asked.get("plane"), asked.get("plane_id")).await?;
    let cut = is_cut(found.len());
    let own = found.iter().map(|plane| &plane.choice);
    let own = own.filter(|choice| caller.operator || choice.place != "data");
    Ok((options(own), cut))
}

/// What shall be sealed.
struct Wanted {
    plane: String,
    name: String,
    purposes: Vec<Purpose>,
}

/// What was asked for, if it is whole.
fn wanted(asked: &Posted, plane: Option<&PlaneView>) -> Result<Wanted, Faults> {
    let mut faults = Faults::default();
    let name = asked.get("name");
    faults.require(
        plane.is_some(),
        "plane_id",
        "choose the plane where it shall open",
    );
    faults.require(
        is_name(name),
        "name",
        "lower-case letters, digits, - and ., with a letter or digit at both ends",
    );
    let purposes: Vec<Purpose> = asked
        .all("purpose")
        .filter_map(|word| word.parse().ok())
        .collect();
    faults.require(
        !purposes.is_empty(),
        "purpose",
        "choose at least one: for what is not allowed here it does not open",
    );
    faults.result()?;
    Ok(Wanted {
        plane: plane.map(|plane| plane.id.clone()).unwrap_or_default(),
        name: name.to_owned(),
        purposes,
    })
}

fn key(plane: &PlaneView) -> Option<Key> {
    let newest = plane.lock.as_ref()?.recipients.first()?;
    Some(Key {
        recipient: newest.clone(),
        id: key_ids(std::slice::from_ref(newest)).concat(),
    })
}

/// The command, a flag a line. Nothing in it needs quoting: ids, DNS names, words and keys.
fn command(wanted: &Wanted, key: Option<&Key>) -> String {
    let mut flags = vec![
        format!("--plane {}", wanted.plane),
        format!("--name {}", wanted.name),
    ];
    flags.extend(wanted.purposes.iter().map(|p| format!("--purpose {p}")));
    let recipient = key.map_or(UNKNOWN, |key| &key.recipient);
    flags.push(format!("--recipient {recipient}"));
    flags.push("--put".to_owned());
    format!("zen seal {}", flags.join(" \\\n  "))
}

const fn choice(purpose: Purpose) -> PurposeChoice {
    PurposeChoice {
        word: purpose.as_str(),
        about: match purpose {
            Purpose::WebhookVerification => "endpoints check signatures of webhooks with it",
            Purpose::TargetAuth => "deliveries prove themselves to a target with it",
            Purpose::TargetSigning => "deliveries are signed with it",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_whole_and_names_no_key_that_is_not_known() {
        let wanted = Wanted {
            plane: "pl_1".to_owned(),
            name: "github".to_owned(),
            purposes: vec![Purpose::WebhookVerification, Purpose::TargetAuth],
        };
        let text = command(&wanted, None);
        let words: Vec<_> = text
            .split([' ', '\\', '\n'])
            .filter(|w| !w.is_empty())
            .collect();
        let whole = "zen seal --plane pl_1 --name github --purpose webhook-verification \
            --purpose target-auth --recipient age1… --put";
        assert_eq!(words.join(" "), whole);
    }

    #[test]
    fn what_is_missing_is_asked_for_all_at_once() {
        let asked = Posted::default()
            .or("name", "$(reboot)")
            .or("purpose", "else");
        let faults = wanted(&asked, None).err().unwrap().into_vec();
        let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["plane_id", "name", "purpose"]);
    }
}
