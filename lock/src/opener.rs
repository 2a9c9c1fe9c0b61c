//! The one way from ciphertext to content: open with what the keyring holds → check the place →
//! check the writer. Whether the caller may have it is asked after that, of the content itself.

use zen_proto::codes::SecretCode;
use zen_proto::purpose::Purpose;
use zen_seal::{Realm, Scope, Unsealed, unseal};

use crate::keyring::Keyring;

/// Opens what was found in its place. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Opener {
    keyring: Keyring,
    /// Public keys of the writers who are believed; none: whoever has the recipient.
    writers: Vec<String>,
}

/// Who asks, as far as a secret's own words go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker<'a> {
    /// A component, for this purpose.
    Component(Purpose),
    /// A pod of the scope's namespace, by its service account.
    ServiceAccount(&'a str),
}

impl Opener {
    pub(crate) const fn new(keyring: Keyring, writers: Vec<String>) -> Self {
        Self { keyring, writers }
    }

    /// The keys.
    pub(crate) const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The content of a secret that was found under `name` (and `namespace`), for one of the realms
    /// that this zen-lock serves. CPU-bound: some 100 µs for each identity that is tried.
    ///
    /// # Errors
    /// The code that says why not.
    pub(crate) fn open(
        &self,
        sealed: &str,
        realms: &[Realm],
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Unsealed, SecretCode> {
        let identities = self.keyring.now();
        let opened = unseal(sealed.as_bytes(), identities.all()).map_err(|e| e.code())?;
        let here = |realm: &Realm| Scope {
            realm: realm.clone(),
            namespace: namespace.map(ToOwned::to_owned),
            name: name.to_owned(),
        };
        if !realms
            .iter()
            .any(|realm| here(realm) == opened.secret.scope)
        {
            return Err(SecretCode::ScopeMismatch);
        }
        let signed = |key: &str| self.writers.iter().any(|writer| writer == key);
        let believed = match &opened.writer {
            Some(writer) => self.writers.is_empty() || signed(writer.key()),
            None => self.writers.is_empty(),
        };
        if believed {
            Ok(opened)
        } else {
            Err(SecretCode::WriterUntrusted)
        }
    }
}

/// Whether the content allows the asker to have it. What names nobody is for nobody.
pub(crate) fn allowed(opened: &Unsealed, asker: Asker<'_>) -> Result<(), SecretCode> {
    let allowed = match asker {
        Asker::Component(purpose) => opened.secret.purposes.contains(&purpose),
        Asker::ServiceAccount(name) => opened
            .secret
            .service_accounts
            .iter()
            .any(|allowed| allowed == name),
    };
    if allowed {
        Ok(())
    } else {
        Err(SecretCode::NotAllowed)
    }
}

#[cfg(test)]
mod tests {
    use zen_seal::{Identity, ScopedSecret, Values, WriterKey};

    use super::*;

    fn keyring(identity: &Identity) -> Keyring {
        let folder = tempfile::tempdir().unwrap();
        let text = identity.to_secret_text();
        std::fs::write(folder.path().join("1"), text.as_bytes()).unwrap();
        Keyring::open(folder.path().to_owned(), None).0
    }

    fn secret() -> ScopedSecret {
        ScopedSecret {
            scope: Scope {
                realm: Realm::Cluster("here".to_owned()),
                namespace: Some("shop".to_owned()),
                name: "db".to_owned(),
            },
            service_accounts: vec!["api".to_owned()],
            purposes: Vec::new(),
            created_at_ms: 1,
            version: "0".repeat(32),
            values: Values::from([("password".to_owned(), b"x".to_vec().into())]),
        }
    }

    #[test]
    fn a_secret_that_was_copied_or_renamed_does_not_open() {
        let identity = Identity::generate();
        let sealed = secret().seal(&[identity.recipient()], None, 1).unwrap();
        let opener = Opener::new(keyring(&identity), Vec::new());
        let realms = [Realm::Cluster("here".to_owned())];
        let open = |namespace, name| opener.open(&sealed, &realms, namespace, name).err();
        assert_eq!(open(Some("shop"), "db"), None);
        for (namespace, name) in [(Some("other"), "db"), (None, "db"), (Some("shop"), "db2")] {
            assert_eq!(open(namespace, name), Some(SecretCode::ScopeMismatch));
        }
        let elsewhere = [Realm::Cluster("there".to_owned())];
        let refused = opener.open(&sealed, &elsewhere, Some("shop"), "db").err();
        assert_eq!(refused, Some(SecretCode::ScopeMismatch));
    }

    #[test]
    fn a_secret_that_names_nobody_is_for_nobody() {
        let identity = Identity::generate();
        let opener = Opener::new(keyring(&identity), Vec::new());
        let realms = [Realm::Cluster("here".to_owned())];
        let allows = |accounts: &[&str], asker| {
            let mut secret = secret();
            secret.service_accounts = accounts.iter().map(|&name| name.to_owned()).collect();
            let sealed = secret.seal(&[identity.recipient()], None, 1).unwrap();
            let opened = opener.open(&sealed, &realms, Some("shop"), "db").unwrap();
            allowed(&opened, asker)
        };
        assert_eq!(allows(&["api"], Asker::ServiceAccount("api")), Ok(()));
        let refused = Err(SecretCode::NotAllowed);
        assert_eq!(allows(&[], Asker::ServiceAccount("api")), refused);
        assert_eq!(allows(&["api"], Asker::ServiceAccount("web")), refused);
        let component = Asker::Component(Purpose::TargetAuth);
        assert_eq!(allows(&["api"], component), refused);
    }

    #[test]
    fn once_writers_are_named_only_they_are_believed() {
        let identity = Identity::generate();
        let (known, other) = (WriterKey::new([1; 32]), WriterKey::new([2; 32]));
        let opener = Opener::new(keyring(&identity), vec![known.public().unwrap()]);
        let realms = [Realm::Cluster("here".to_owned())];
        let open = |writer: Option<&WriterKey>| {
            let sealed = secret().seal(&[identity.recipient()], writer, 1).unwrap();
            opener.open(&sealed, &realms, Some("shop"), "db").err()
        };
        assert_eq!(open(Some(&known)), None);
        assert_eq!(open(Some(&other)), Some(SecretCode::WriterUntrusted));
        assert_eq!(open(None), Some(SecretCode::WriterUntrusted));
    }
}
