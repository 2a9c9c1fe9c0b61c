//! The rules of the audit log's chain. Pure.

use aws_lc_rs::hmac;
use zen_seal::Identity;
use zeroize::Zeroizing;

use crate::digest::sha256;

/// Authenticates the ends of chains: who can write the database but has not the root identity
/// cannot make a shortened chain look whole.
#[derive(Clone)]
pub(crate) struct AuditKey(hmac::Key);

impl AuditKey {
    /// Before the root identity is known; replaced before anything is written.
    pub(crate) fn unset() -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &[]))
    }

    /// Derived from the root identity.
    pub(crate) fn of(identity: &Identity) -> Self {
        let text = identity.to_secret_text();
        let seed = Zeroizing::new(format!("zen-mesh audit heads\n{}", *text));
        let key = Zeroizing::new(sha256(seed.as_bytes()));
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()))
    }

    /// Over the end of a tenant's chain.
    pub(super) fn mac(&self, tenant: &str, seq: u64, hash: &[u8; 32]) -> [u8; 32] {
        let mut mac = [0; 32];
        mac.copy_from_slice(hmac::sign(&self.0, &head(tenant, seq, hash)).as_ref());
        mac
    }

    fn holds(&self, tenant: &str, end: &Head) -> bool {
        hmac::verify(&self.0, &head(tenant, end.seq, &end.hash), &end.mac).is_ok()
    }
}

fn head(tenant: &str, seq: u64, hash: &[u8; 32]) -> Vec<u8> {
    let mut bytes = seq.to_be_bytes().to_vec();
    bytes.extend(hash);
    bytes.extend(tenant.as_bytes());
    bytes
}

/// The end of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Place of the last entry.
    pub(crate) seq: u64,
    /// Its hash.
    pub(crate) hash: [u8; 32],
    /// What authenticates both.
    pub(crate) mac: [u8; 32],
}

/// The first thing that is wrong with a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The entry is not what was written there.
    #[error("entry {0} was changed, or stands where another one stood")]
    Changed(u64),
    /// Entries in the middle are gone.
    #[error("entries {from} to {to} were removed")]
    Removed { from: u64, to: u64 },
    /// Entries at the end are gone.
    #[error("entries {from} to {to} were removed from the end")]
    CutOff { from: u64, to: u64 },
    /// Entries were written past the control plane.
    #[error("entries from {0} on were not written by the control plane")]
    Added(u64),
    /// The record of the chain's end is not ours.
    #[error("the record of the chain's end was changed or removed")]
    Head,
    /// The chain is not the one that somebody kept the hash of.
    #[error("entry {0} is not the one whose hash was kept")]
    OtherHash(u64),
}

impl Fault {
    /// Stable name of the fault.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Changed(_) => "ENTRY_CHANGED",
            Self::Removed { .. } => "ENTRIES_REMOVED",
            Self::CutOff { .. } => "ENTRIES_CUT_OFF",
            Self::Added(_) => "ENTRIES_ADDED",
            Self::Head => "HEAD_CHANGED",
            Self::OtherHash(_) => "HASH_NOT_FOUND",
        }
    }

    /// The first entry concerned; none if it is the record of the end.
    pub(crate) const fn seq(&self) -> Option<u64> {
        match self {
            Self::Changed(seq) | Self::Added(seq) | Self::OtherHash(seq) => Some(*seq),
            Self::Removed { from, .. } | Self::CutOff { from, .. } => Some(*from),
            Self::Head => None,
        }
    }
}

/// The hash of a row after the one before it: every column, each text with its length before it.
pub(super) fn chained(previous: &[u8; 32], seq: u64, at: u64, texts: &[&str]) -> [u8; 32] {
    let mut row = previous.to_vec();
    row.extend(seq.to_be_bytes());
    row.extend(at.to_be_bytes());
    for text in texts {
        row.extend((text.len() as u64).to_be_bytes());
        row.extend(text.as_bytes());
    }
    sha256(&row)
}

/// Walks a chain, row after row.
pub(super) struct Checker {
    tenant: String,
    seq: u64,
    hash: [u8; 32],
    known: Option<(u64, [u8; 32])>,
}

impl Checker {
    /// At the beginning of a tenant's chain.
    pub(super) fn new(tenant: &str, known: Option<(u64, [u8; 32])>) -> Self {
        Self {
            tenant: tenant.to_owned(),
            seq: 0,
            hash: [0; 32],
            known,
        }
    }

    /// Entries that hold so far.
    pub(super) const fn entries(&self) -> u64 {
        self.seq
    }

    /// The next row: the texts without the tenant, in the order they are hashed.
    pub(super) fn row(
        &mut self,
        seq: u64,
        at: u64,
        texts: [&str; 7],
        kept: &[u8],
    ) -> Result<(), Fault> {
        let next = self.seq + 1;
        if seq != next {
            return Err(Fault::Removed {
                from: next,
                to: seq.saturating_sub(1),
            });
        }
        let mut all = vec![self.tenant.as_str()];
        all.extend(texts);
        let hash = chained(&self.hash, seq, at, &all);
        if hash != kept {
            return Err(Fault::Changed(seq));
        }
        if self
            .known
            .is_some_and(|(at, known)| at == seq && known != hash)
        {
            return Err(Fault::OtherHash(seq));
        }
        (self.seq, self.hash) = (seq, hash);
        Ok(())
    }

    /// After the last row: the chain must end where the record says.
    pub(super) fn end(&self, head: Option<&Head>, key: &AuditKey) -> Result<(), Fault> {
        let end = match head {
            None if self.seq == 0 => 0,
            None => return Err(Fault::Head),
            Some(head) if !key.holds(&self.tenant, head) => return Err(Fault::Head),
            Some(head) => head.seq,
        };
        if self.seq < end {
            return Err(Fault::CutOff {
                from: self.seq + 1,
                to: end,
            });
        }
        if self.seq > end {
            return Err(Fault::Added(end + 1));
        }
        if head.is_some_and(|head| head.hash != self.hash) {
            return Err(Fault::Changed(self.seq));
        }
        match self.known {
            Some((seq, _)) if seq > self.seq => Err(Fault::CutOff {
                from: self.seq + 1,
                to: seq,
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_tells_apart_texts_that_read_alike_together() {
        let one = chained(&[0; 32], 1, 2, &["ab", "c"]);
        assert_ne!(one, chained(&[0; 32], 1, 2, &["a", "bc"]));
        assert_ne!(one, chained(&[1; 32], 1, 2, &["ab", "c"]));
        assert_ne!(one, chained(&[0; 32], 2, 2, &["ab", "c"]));
        assert_eq!(one, chained(&[0; 32], 1, 2, &["ab", "c"]));
    }

    const TEXTS: [&str; 7] = ["user", "usr_1", "ada", "plane.create", "pl_1", "{}", ""];

    /// A chain of so many rows: place, hash.
    fn rows(count: u64) -> Vec<(u64, [u8; 32])> {
        let mut previous = [0; 32];
        let mut all = vec!["ten"];
        all.extend(TEXTS);
        (1..=count)
            .map(|seq| {
                previous = chained(&previous, seq, seq, &all);
                (seq, previous)
            })
            .collect()
    }

    fn walked(
        rows: &[(u64, [u8; 32])],
        head: Option<&Head>,
        known: Option<(u64, [u8; 32])>,
        key: &AuditKey,
    ) -> Result<(), Fault> {
        let mut checker = Checker::new("ten", known);
        for (seq, hash) in rows {
            checker.row(*seq, *seq, TEXTS, hash)?;
        }
        checker.end(head, key)
    }

    #[test]
    fn a_row_changed_removed_or_moved_is_found_also_at_the_end() {
        let key = AuditKey::of(&Identity::generate());
        let good = rows(4);
        let (seq, hash) = good[3];
        let head = Head {
            seq,
            hash,
            mac: key.mac("ten", seq, &hash),
        };
        let judge = |rows: &[(u64, [u8; 32])]| walked(rows, Some(&head), None, &key);
        assert_eq!(judge(&good), Ok(()));
        let mut changed = good.clone();
        changed[1].1[0] ^= 1;
        assert_eq!(judge(&changed), Err(Fault::Changed(2)));
        let mut swapped = good.clone();
        (swapped[1].1, swapped[2].1) = (good[2].1, good[1].1);
        assert_eq!(judge(&swapped), Err(Fault::Changed(2)));
        let gap = [good[0], good[3]];
        assert_eq!(judge(&gap), Err(Fault::Removed { from: 2, to: 3 }));
        assert_eq!(judge(&good[..2]), Err(Fault::CutOff { from: 3, to: 4 }));
        assert_eq!(judge(&rows(5)), Err(Fault::Added(5)));
        assert_eq!(walked(&good, None, None, &key), Err(Fault::Head));
        // A shortened chain with an end made to fit: the key is not in the database.
        let forged = Head {
            seq: 2,
            hash: good[1].1,
            mac: head.mac,
        };
        assert_eq!(
            walked(&good[..2], Some(&forged), None, &key),
            Err(Fault::Head)
        );
        let stranger = AuditKey::of(&Identity::generate());
        assert_eq!(
            walked(&good, Some(&head), None, &stranger),
            Err(Fault::Head)
        );
    }

    #[test]
    fn a_hash_kept_elsewhere_must_be_in_the_chain() {
        let key = AuditKey::of(&Identity::generate());
        let good = rows(2);
        let (seq, hash) = good[1];
        let head = Head {
            seq,
            hash,
            mac: key.mac("ten", seq, &hash),
        };
        let judge = |known| walked(&good, Some(&head), Some(known), &key);
        assert_eq!(judge(good[0]), Ok(()));
        assert_eq!(judge((1, [7; 32])), Err(Fault::OtherHash(1)));
        assert_eq!(judge((3, [7; 32])), Err(Fault::CutOff { from: 3, to: 3 }));
    }
}
