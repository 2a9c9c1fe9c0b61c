//! Who comes back from the OpenID provider: somebody with an account, or somebody who gets one.

use serde_json::json;
use zen_chassis::chain::Chain;

use super::email;
use super::oidc::{Departure, Oidc, OidcError, Person, Returned};
use super::sign_in::{Entered, Unentered, Visit, did};
use crate::control::Control;
use crate::permissions::Role;
use crate::problem::Problem;
use crate::store::{StoreError, User};

impl Control {
    /// How the OpenID provider is called; none if there is none.
    pub(crate) fn provider_name(&self) -> Option<&str> {
        self.people.oidc.as_ref().map(Oidc::name)
    }

    fn provider(&self) -> Result<&Oidc, Unentered> {
        let provider = self.people.oidc.as_ref();
        provider.ok_or_else(|| Problem::not_found("no OpenID provider is set up").into())
    }

    /// Sends a browser to the provider.
    pub(crate) async fn depart(&self, visit: &Visit, next: &str) -> Result<Departure, Unentered> {
        let now = self.stage.clock.unix_ms();
        // No account is known yet: only the address counts.
        let admitted = self
            .people
            .by_address
            .admit(&visit.from.map(crate::limiter::network), now);
        admitted.map_err(Unentered::TooMany)?;
        let departure = self.provider()?.depart(&self.stage.random, next, now).await;
        departure.map_err(told)
    }

    /// Lets in who comes back. Also says where to go then.
    pub(crate) async fn arrive(
        &self,
        visit: &Visit,
        cookie: Option<&str>,
        returned: Returned,
    ) -> Result<(Entered, String), Unentered> {
        let now = self.stage.clock.unix_ms();
        let provider = self.provider()?;
        let arrival = match provider.arrive(cookie, returned, now).await {
            Ok(arrival) => arrival,
            Err(error) => {
                self.failed(visit, "", error.code()).await?;
                return Err(told(error));
            }
        };
        let user = self.account_of(provider, visit, &arrival.person).await?;
        let entered = self.enter(visit, user, "openid", &arrival.next).await?;
        Ok((entered, arrival.next))
    }

    /// The person's account; made if people of their domain get one.
    async fn account_of(
        &self,
        provider: &Oidc,
        visit: &Visit,
        person: &Person,
    ) -> Result<User, Unentered> {
        if let Some(user) = self.store.user_by_email(&person.email).await? {
            return Ok(user);
        }
        let settings = provider.settings();
        let domain = email::domain(&person.email).unwrap_or_default();
        if !settings.allows(&domain) {
            self.failed(visit, &person.email, "no account").await?;
            return Err(Unentered::NoAccount);
        }
        let tenant = settings.tenant().ok().flatten();
        let at = self.stage.clock.unix_ms();
        let user = User {
            id: self.stage.id(),
            tenant: tenant.unwrap_or(self.default_tenant),
            operator: false,
            email: Some(person.email.clone()),
            name: person.name.clone(),
            role: settings.role().unwrap_or(Role::Viewer),
            password: None,
            disabled: false,
            totp: None,
            totp_pending: None,
            totp_step: None,
            created_at: at,
            signed_in_at: None,
            version: 1,
        };
        let detail = json!({"role": user.role.as_str(), "means": "openid"});
        let entry = did(&user, visit, at, "user.create", detail);
        match self.store.add_user(&user, &entry).await {
            Ok(()) => Ok(user),
            // Two windows of the same person.
            Err(StoreError::NameTaken) => {
                let found = self.store.user_by_email(&person.email).await?;
                found.ok_or(Unentered::NoAccount)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn told(error: OidcError) -> Unentered {
    tracing::warn!(code = error.code(), error = %Chain(&error), "a sign-in by OpenID failed");
    Unentered::Oidc(error)
}
