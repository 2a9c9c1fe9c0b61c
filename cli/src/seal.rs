//! `zen seal`: values → a secret bound to its plane and name → a file, standard output, or the
//! control plane's store. A control plane is asked only if it must be.

use anyhow::Context;
use zen_chassis::{Clock, Random, files};
use zen_proto::ids::PlaneId;
use zen_seal::{Realm, Recipient};

use crate::api::Api;
use crate::args::Seal;
use crate::context::Connection;
use crate::output;
use crate::verbs::{id_of, secret};

pub(crate) async fn run(asked: Seal, connection: &Connection) -> anyhow::Result<()> {
    let plane = plane(&asked.plane, connection).await?;
    let known = if asked.recipients_of_plane {
        recipients(plane, &connection.open()?).await?
    } else {
        Vec::new()
    };
    if asked.content.is_for_nobody() {
        output::say("nobody may use this secret: no --purpose and no --service-account is given");
    }
    let content = asked.content;
    let sealing = move || {
        content.seal(
            Realm::Plane(plane),
            &known,
            &Clock::system(),
            &Random::system(),
        )
    };
    let sealed = tokio::task::spawn_blocking(sealing).await??;
    if let Some(path) = &asked.out {
        files::write_durable(path, sealed.text.as_bytes(), 0o644)?;
        output::say(&format!("{} sealed into {}", sealed.scope, path.display()));
    }
    if asked.put {
        let recipients: Vec<_> = sealed.recipients.iter().map(ToString::to_string).collect();
        let stored = secret::Sealed {
            plane_id: &plane.to_string(),
            name: &sealed.scope.name,
            text: &sealed.text,
            recipients: &recipients,
            note: None,
        };
        let stored = secret::put(&connection.open()?, &stored).await?;
        output::say(&format!(
            "{} stored, version {}",
            sealed.scope, stored["version"]
        ));
    } else if asked.out.is_none() {
        output::text(&sealed.text);
    }
    Ok(())
}

/// An id as it is; a name as the control plane knows it.
async fn plane(wanted: &str, connection: &Connection) -> anyhow::Result<PlaneId> {
    if let Ok(id) = wanted.parse() {
        return Ok(id);
    }
    let id = id_of(&connection.open()?, "/v1/planes", wanted).await?;
    Ok(id.parse()?)
}

/// The keys of the plane's zen-lock, as the control plane heard them.
async fn recipients(plane: PlaneId, api: &Api) -> anyhow::Result<Vec<Recipient>> {
    let shown = api.get(&format!("/v1/planes/{plane}")).await?;
    // The first is for new seals; the others are on their way out.
    let newest = shown.pointer("/lock/recipients/0");
    let newest = newest.and_then(|key| key.as_str()).with_context(|| {
        format!("the zen-lock of {plane} has shown no key: is it installed and connected?")
    })?;
    output::say(&format!(
        "sealed for {newest}: compare with zen-lock pubkey"
    ));
    Ok(vec![newest.parse()?])
}
