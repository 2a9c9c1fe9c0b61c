//! Bundles: issued, and handed out with the command that uses them.

use std::time::Duration;

use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use zen_chassis::clock::millis;
use zen_proto::ids::{BundleId, PlaneId};
use zen_proto::limits;
use zen_seal::{BUNDLE_VERSION, Bundle, Identity, Recipient, Token};

use super::read::read;
use super::{in_service, shown_time};
use crate::control::Control;
use crate::install::{self, Choice, Form, Install, Part};
use crate::permissions::Operation;
use crate::plane::{Plane, PlaneKind};
use crate::principal::Principal;
use crate::problem::Problem;
use crate::store::{EventKind, NewBundle, NewEvent};

/// What a person asks of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BundleBody {
    /// 300 to 86,400; none means the configured default.
    #[serde(default)]
    #[schema(minimum = 300, maximum = 86400)]
    pub(crate) ttl_seconds: Option<u64>,
    /// age recipient that alone can open it; none means a fresh identity, shown once. In an edge
    /// plane's cluster zen-lock opens it then, and must hold the recipient's identity.
    #[serde(default)]
    pub(crate) recipient: Option<String>,
    /// How the plane is installed.
    #[serde(default)]
    #[schema(inline)]
    pub(crate) form: Form,
    /// What an edge plane has beside its agent; on Kubernetes only.
    #[serde(default)]
    #[schema(inline)]
    pub(crate) components: Vec<Part>,
    /// A DNS label; none means `zen-mesh`. On Kubernetes only.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 63)]
    pub(crate) namespace: Option<String>,
}

/// A bundle as the API hands it out, this once. Holds secrets: no `Debug`.
#[derive(Serialize, ToSchema)]
pub(crate) struct BundleView {
    pub(crate) bundle_id: String,
    pub(crate) plane_id: String,
    pub(crate) expires_at: String,
    /// Armored age.
    pub(crate) bundle: String,
    /// `AGE-SECRET-KEY-1…`; only if no recipient was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<String>,
    /// What a person pastes into a shell. In the form `gitops` it brings the identity alone, or looks
    /// whether it is there.
    pub(crate) install_command: String,
    /// What is committed; only in the form `gitops`. It holds the bundle, and nothing that opens it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) manifests: Option<String>,
    /// Values of the chart, to commit as well; only in the form `gitops`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) values: Option<String>,
}

/// A bundle with what opens it. Holds secrets: no `Debug`.
struct Sealed {
    /// Armored age.
    bundle: String,
    recipient: Recipient,
    /// Of the recipient, if it was made here.
    identity: Option<String>,
}

impl Control {
    /// Issues a bundle for the plane; its earlier ones are superseded at once. `repository` is where
    /// the plane's cluster finds the charts.
    pub(crate) async fn issue_bundle(
        &self,
        caller: &Principal,
        plane: PlaneId,
        body: Value,
        repository: &str,
    ) -> Result<BundleView, Problem> {
        caller.may(Operation::BundleIssue)?;
        let BundleBody {
            ttl_seconds,
            recipient,
            form,
            components,
            namespace,
        } = read(&body)?;
        let plane = in_service(self.managed_plane(caller, plane).await?)?;
        let choice = Choice::new(form, components, namespace, plane.kind)?;
        let ttl = self.ttl(ttl_seconds)?;
        let (recipient, identity) = recipient_of(recipient.as_deref())?;
        let issued_at_ms = self.stage.clock.unix_ms();
        let token = Token::new(self.stage.random.bytes());
        let bundle = Bundle {
            version: BUNDLE_VERSION,
            bundle_id: self.stage.id::<BundleId>(),
            tenant_id: plane.tenant,
            plane_id: plane.id,
            kind: match plane.kind {
                PlaneKind::Edge => zen_seal::PlaneKind::Edge,
                PlaneKind::Data => zen_seal::PlaneKind::Data,
            },
            control_plane_address: self.agents_advertise.clone(),
            trust_domain: self.trust_domain.to_string(),
            trust_bundle_pem: self.authority.trust_bundle_pem().to_string(),
            token,
            issued_at_ms,
            expires_at_ms: issued_at_ms.saturating_add(millis(ttl)),
        };
        let sealed = bundle
            .seal(std::slice::from_ref(&recipient))
            .map_err(|error| Problem::internal(error.to_string()))?;
        let new = NewBundle {
            id: bundle.bundle_id,
            plane: plane.id,
            tenant: plane.tenant,
            token_sha256: bundle.token.sha256(),
            issued_at: issued_at_ms,
            expires_at: bundle.expires_at_ms,
        };
        let by = &caller.actor.name;
        let seconds = ttl.as_secs();
        let detail = format!("bundle {} issued for {seconds} s by {by}", bundle.bundle_id);
        let event = NewEvent::plain(plane.id, issued_at_ms, EventKind::BundleIssued, detail);
        let told = json!({ "bundle_id": bundle.bundle_id.to_string(), "ttl_seconds": seconds });
        let entry = caller.did(issued_at_ms, "bundle.issue", plane.id, told);
        self.store.issue_bundle(&new, &event, &entry).await?;
        tracing::info!(plane = %plane.id, bundle = %bundle.bundle_id, "bundle issued");
        let identity = identity.map(|identity| identity.to_secret_text().to_string());
        let sealed = Sealed {
            bundle: sealed,
            recipient,
            identity,
        };
        Ok(self.handed_out(&plane, &bundle, sealed, &choice, repository))
    }

    /// The bundle with what installs the plane.
    fn handed_out(
        &self,
        plane: &Plane,
        bundle: &Bundle,
        sealed: Sealed,
        choice: &Choice,
        repository: &str,
    ) -> BundleView {
        let expires_at = shown_time(bundle.expires_at_ms);
        let install = Install {
            plane: plane.id,
            kind: plane.kind,
            tenant: plane.tenant,
            bundle: &sealed.bundle,
            recipient: &sealed.recipient,
            identity: sealed.identity.as_deref(),
            expires_at: &expires_at,
            trust_domain: &bundle.trust_domain,
            roots_pem: &bundle.trust_bundle_pem,
            control_plane: &self.agents_advertise,
            repository,
            image_registry: self.image_registry.as_deref(),
        };
        let handed = install.hand_out(choice);
        let (manifests, values) = match handed.gitops {
            Some(gitops) => (Some(gitops.manifests), Some(gitops.values)),
            None => (None, None),
        };
        BundleView {
            bundle_id: bundle.bundle_id.to_string(),
            plane_id: plane.id.to_string(),
            install_command: handed.command,
            manifests,
            values,
            expires_at,
            bundle: sealed.bundle,
            identity: sealed.identity,
        }
    }

    /// Where a cluster finds the charts, for who sent these headers.
    pub(crate) fn repository(&self, headers: &HeaderMap) -> String {
        install::repository(self.people.public.as_ref(), &self.people.base, headers)
    }

    fn ttl(&self, asked: Option<u64>) -> Result<Duration, Problem> {
        let ttl = asked.map_or(self.times.bundle_ttl, Duration::from_secs);
        if (limits::BUNDLE_TTL_MIN..=limits::BUNDLE_TTL_MAX).contains(&ttl) {
            return Ok(ttl);
        }
        Err(Problem::field("ttl_seconds", "300 to 86400 seconds"))
    }
}

/// Whom to seal for: the recipient given, or a fresh identity.
fn recipient_of(given: Option<&str>) -> Result<(Recipient, Option<Identity>), Problem> {
    match given {
        Some(text) => {
            let wrong = |e: zen_seal::KeyError| Problem::field("recipient", e.to_string());
            Ok((text.parse().map_err(wrong)?, None))
        }
        None => {
            let identity = Identity::generate();
            Ok((identity.recipient(), Some(identity)))
        }
    }
}
