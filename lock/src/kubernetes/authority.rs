//! zen-lock's own certificate authority, for the API server and for pods: what it consists of and
//! when it is renewed. Pure but for the making of keys.
//!
//! A pod is given the authority when it is admitted and may ask again much later, when its sandbox is
//! made anew. So an authority lives long, and one that was followed by another goes on: each has a
//! certificate of its own, chosen by the name that is asked for (`<id>.<service>…`).

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use zen_chassis::clock::millis;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Authorities kept at once.
const MOST: usize = 3;
/// How far before its making a certificate holds, for clocks that are behind.
const BEFORE: Duration = Duration::from_secs(300);

/// How long things last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lives {
    /// Of an authority; another follows at two thirds.
    pub(super) authority: Duration,
    /// Of a certificate; renewed at half.
    pub(super) certificate: Duration,
    /// Between the making of an authority, when it is announced, and its first use by default.
    pub(super) notice: Duration,
}

/// A private key as PEM, wiped when dropped. No Debug, no Display.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub(super) struct KeyText(String);

/// One authority with the certificate it signed last.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Authority {
    made_ms: u64,
    ends_ms: u64,
    ca_pem: String,
    ca_key_pem: KeyText,
    renew_ms: u64,
    leaf_pem: String,
    leaf_key_pem: KeyText,
}

/// All of them, the newest first; what the Secret holds.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Authorities {
    all: Vec<Authority>,
}

/// A certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum AuthorityError {
    #[error("a certificate cannot be made")]
    Make(#[from] rcgen::Error),
    #[error("a stored certificate cannot be read")]
    Read(#[from] rustls::pki_types::pem::Error),
    #[error("a stored key cannot be used")]
    Key(#[source] rustls::Error),
    #[error("a time lies beyond what a certificate can say")]
    Time,
}

impl Authorities {
    /// What should be in force now, if that is not what is: a first authority, one that follows, a
    /// certificate renewed.
    pub(super) fn renewed(
        &self,
        hosts: &[String],
        now_ms: u64,
        lives: Lives,
    ) -> Result<Option<Self>, AuthorityError> {
        let mut all: Vec<_> = self
            .all
            .iter()
            .filter(|one| one.ends_ms > now_ms)
            .cloned()
            .collect();
        let mut changed = all.len() != self.all.len();
        let follow = all.first().is_none_or(|newest| {
            let life = newest.ends_ms.saturating_sub(newest.made_ms);
            now_ms >= newest.made_ms.saturating_add(life / 3 * 2)
        });
        if follow {
            all.insert(0, Authority::make(hosts, now_ms, lives)?);
            all.truncate(MOST);
            changed = true;
        }
        for one in &mut all {
            if now_ms >= one.renew_ms {
                one.renew(hosts, now_ms, lives)?;
                changed = true;
            }
        }
        Ok(changed.then_some(Self { all }))
    }

    /// Every authority as PEM: whom to trust.
    pub(super) fn bundle_pem(&self) -> String {
        self.all.iter().map(|one| one.ca_pem.as_str()).collect()
    }

    /// The one whose certificate is shown by default, and given to pods: the newest that was
    /// announced long enough, or else the newest of all.
    pub(super) fn current(&self, now_ms: u64, lives: Lives) -> Option<&Authority> {
        let announced = |one: &&Authority| now_ms >= one.made_ms + millis(lives.notice);
        self.all.iter().find(announced).or_else(|| self.all.last())
    }

    pub(super) fn all(&self) -> &[Authority] {
        &self.all
    }
}

impl Authority {
    fn make(hosts: &[String], now_ms: u64, lives: Lives) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let ends_ms = now_ms.saturating_add(millis(lives.authority));
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let name = format!("zen-lock authority {now_ms}");
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = validity(now_ms, ends_ms)?;
        let ca_pem = params.self_signed(&key)?.pem();
        let mut made = Self {
            made_ms: now_ms,
            ends_ms,
            ca_pem,
            ca_key_pem: KeyText(key.serialize_pem()),
            renew_ms: 0,
            leaf_pem: String::new(),
            leaf_key_pem: KeyText(String::new()),
        };
        made.renew(hosts, now_ms, lives)?;
        Ok(made)
    }

    /// Signs a new certificate with a new key.
    fn renew(&mut self, hosts: &[String], now_ms: u64, lives: Lives) -> Result<(), AuthorityError> {
        let ca_key = KeyPair::from_pem(&self.ca_key_pem.0)?;
        let issuer = Issuer::from_ca_cert_pem(&self.ca_pem, ca_key)?;
        let key = KeyPair::generate()?;
        let id = self.id()?;
        let special = hosts.iter().map(|host| format!("{id}.{host}"));
        let names: Vec<_> = hosts.iter().cloned().chain(special).collect();
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params
            .distinguished_name
            .push(DnType::CommonName, "zen-lock");
        let life = millis(lives.certificate);
        let ends_ms = now_ms.saturating_add(life).min(self.ends_ms);
        (params.not_before, params.not_after) = validity(now_ms, ends_ms)?;
        self.leaf_pem = params.signed_by(&key, &issuer)?.pem();
        self.leaf_key_pem = KeyText(key.serialize_pem());
        self.renew_ms = now_ms.saturating_add(life / 2);
        Ok(())
    }

    /// Names it in the names of its certificate.
    pub(super) fn id(&self) -> Result<String, AuthorityError> {
        let der = CertificateDer::from_pem_slice(self.ca_pem.as_bytes())?;
        Ok(authority_id(&der))
    }

    /// Its own certificate, PEM.
    pub(super) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// What is shown, and its key.
    pub(super) fn shown(
        &self,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), AuthorityError> {
        let certificate = CertificateDer::from_pem_slice(self.leaf_pem.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(self.leaf_key_pem.0.as_bytes())?;
        Ok((certificate, key))
    }
}

/// The first 16 hexadecimal digits of the SHA-256 of an authority's certificate.
pub(super) fn authority_id(certificate: &CertificateDer<'_>) -> String {
    hex::encode(&digest(&SHA256, certificate).as_ref()[..8])
}

fn validity(now_ms: u64, ends_ms: u64) -> Result<(OffsetDateTime, OffsetDateTime), AuthorityError> {
    let at = |ms: u64| {
        let seconds = i64::try_from(ms / 1_000).map_err(|_| AuthorityError::Time)?;
        OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| AuthorityError::Time)
    };
    Ok((at(now_ms.saturating_sub(millis(BEFORE)))?, at(ends_ms)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1_000;
    const LIVES: Lives = Lives {
        authority: Duration::from_secs(300 * 24 * 60 * 60),
        certificate: Duration::from_secs(30 * 24 * 60 * 60),
        notice: Duration::from_secs(600),
    };

    fn after(before: &Authorities, day: u64) -> Option<Authorities> {
        before
            .renewed(&["zen-lock.a.svc".to_owned()], day * DAY, LIVES)
            .unwrap()
    }

    #[test]
    fn a_certificate_is_renewed_at_half_its_life_and_its_authority_stays() {
        let first = after(&Authorities::default(), 1000).unwrap();
        assert!(after(&first, 1014).is_none());
        let second = after(&first, 1015).unwrap();
        assert_eq!(second.bundle_pem(), first.bundle_pem());
        assert_ne!(second.all[0].leaf_pem, first.all[0].leaf_pem);
    }

    #[test]
    fn an_authority_is_announced_before_it_is_used_and_the_older_goes_on_to_its_end() {
        let first = after(&Authorities::default(), 1000).unwrap();
        let second = after(&first, 1200).unwrap();
        assert_eq!(second.all.len(), 2);
        assert!(second.bundle_pem().contains(&first.bundle_pem()));
        let current = |all: &Authorities, ms| all.current(ms, LIVES).unwrap().id().unwrap();
        let (old, new) = (second.all[1].id().unwrap(), second.all[0].id().unwrap());
        assert_eq!(current(&second, 1200 * DAY), old);
        assert_eq!(current(&second, 1200 * DAY + 600_000), new);
        let third = after(&second, 1250).unwrap();
        assert_eq!(third.all[1].ca_pem, second.all[1].ca_pem);
        let last = after(&third, 1300).unwrap();
        assert_eq!(last.all.len(), 1);
    }

    #[test]
    fn the_first_authority_is_used_at_once() {
        let first = after(&Authorities::default(), 1000).unwrap();
        assert!(first.current(1000 * DAY, LIVES).is_some());
    }
}
