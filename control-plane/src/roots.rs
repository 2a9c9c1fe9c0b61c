//! The stages of a root, and which step of a rotation may be taken when. Pure; the store keeps the
//! stages, and [`crate::authority`] acts by them.

use std::fmt;
use std::str::FromStr;

use prost::bytes::Bytes;

/// Roots at the same time at the most: the one that signs, its successor, those that go.
const MOST: usize = 4;

/// Where a root stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// In every trust bundle; signs nothing yet.
    Announced,
    /// Signs plane CAs and the control plane's own leaf.
    Signing,
    /// Signed before; still trusted.
    Retiring,
}

impl Stage {
    /// The one word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::Signing => "signing",
            Self::Retiring => "retiring",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is no stage.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no stage of a root")]
pub(crate) struct UnknownStage(String);

impl FromStr for Stage {
    type Err = UnknownStage;

    fn from_str(text: &str) -> Result<Self, UnknownStage> {
        let mut all = [Self::Announced, Self::Signing, Self::Retiring].into_iter();
        let found = all.find(|stage| stage.as_str() == text);
        found.ok_or_else(|| UnknownStage(text.to_owned()))
    }
}

/// Why a step may not be taken, whatever planes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StepError {
    /// One rotation at a time.
    #[error("a root is announced already: promote or remove it first")]
    UnderWay,
    /// Every root makes every bundle longer.
    #[error("there are {MOST} roots already: retire an old one first")]
    Full,
    /// There is no such root.
    #[error("there is no such root")]
    Unknown,
    /// It signs, or did so before.
    #[error("only an announced root can begin to sign")]
    NotAnnounced,
    /// Something must sign.
    #[error("the root that signs cannot be retired: promote its successor first")]
    Signs,
}

/// Whether a new root may be announced beside these.
pub(crate) fn begin(stages: &[(i64, Stage)]) -> Result<(), StepError> {
    if stages.iter().any(|(_, stage)| *stage == Stage::Announced) {
        return Err(StepError::UnderWay);
    }
    if stages.len() >= MOST {
        return Err(StepError::Full);
    }
    Ok(())
}

/// Whether this root may begin to sign.
pub(crate) fn promote(stages: &[(i64, Stage)], id: i64) -> Result<(), StepError> {
    match of(stages, id)? {
        Stage::Announced => Ok(()),
        Stage::Signing | Stage::Retiring => Err(StepError::NotAnnounced),
    }
}

/// Whether this root may be removed from what is trusted; an announced one is a rotation given up.
pub(crate) fn remove(stages: &[(i64, Stage)], id: i64) -> Result<Stage, StepError> {
    match of(stages, id)? {
        Stage::Signing => Err(StepError::Signs),
        stage => Ok(stage),
    }
}

fn of(stages: &[(i64, Stage)], id: i64) -> Result<Stage, StepError> {
    let found = stages.iter().find(|(known, _)| *known == id);
    found.map(|(_, stage)| *stage).ok_or(StepError::Unknown)
}

/// What a plane last said of its roots, all of its components taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// Roots that every component trusts.
    pub(crate) held: Vec<[u8; 32]>,
    /// Roots that any component's certificate leads to.
    pub(crate) used: Vec<[u8; 32]>,
}

impl Said {
    /// Takes what the components of one heartbeat said together: what one of them does not trust,
    /// the plane does not.
    pub(crate) fn of<'a>(components: impl IntoIterator<Item = (&'a [Bytes], &'a [u8])>) -> Self {
        let digest = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).ok();
        let mut held: Option<Vec<[u8; 32]>> = None;
        let mut used = Vec::new();
        for (trusted, root) in components {
            let mut trusted: Vec<_> = trusted.iter().filter_map(|root| digest(root)).collect();
            if let Some(before) = &held {
                trusted.retain(|root| before.contains(root));
            }
            held = Some(trusted);
            used.extend(digest(root));
        }
        let mut held = held.unwrap_or_default();
        held.sort_unstable();
        held.dedup();
        used.sort_unstable();
        used.dedup();
        Self { held, used }
    }

    /// The plane trusts the root.
    pub(crate) fn holds(&self, root: &[u8; 32]) -> bool {
        self.held.contains(root)
    }

    /// Nothing of the plane leads to another root than this one.
    pub(crate) fn uses_only(&self, root: &[u8; 32]) -> bool {
        !self.used.is_empty() && self.used.iter().all(|used| used == root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rotation_at_a_time_and_the_root_that_signs_stays() {
        let mut roots = vec![(1, Stage::Signing)];
        assert_eq!(begin(&roots), Ok(()));
        roots.push((2, Stage::Announced));
        assert_eq!(begin(&roots), Err(StepError::UnderWay));
        assert_eq!(promote(&roots, 1), Err(StepError::NotAnnounced));
        assert_eq!(promote(&roots, 3), Err(StepError::Unknown));
        assert_eq!(promote(&roots, 2), Ok(()));
        assert_eq!(remove(&roots, 1), Err(StepError::Signs));
        assert_eq!(remove(&roots, 2), Ok(Stage::Announced));
        let after = [(1, Stage::Retiring), (2, Stage::Signing)];
        assert_eq!(promote(&after, 1), Err(StepError::NotAnnounced));
        assert_eq!(remove(&after, 2), Err(StepError::Signs));
        assert_eq!(remove(&after, 1), Ok(Stage::Retiring));
        assert_eq!(begin(&after), Ok(()));
        let many: Vec<_> = (0..4).map(|id| (id, Stage::Retiring)).collect();
        assert_eq!(begin(&many), Err(StepError::Full));
    }

    #[test]
    fn a_plane_holds_what_all_of_its_components_hold() {
        let (old, new) = ([1_u8; 32], [2_u8; 32]);
        let bytes = |roots: &[[u8; 32]]| -> Vec<Bytes> {
            roots
                .iter()
                .map(|root| Bytes::copy_from_slice(root))
                .collect()
        };
        let (both, one) = (bytes(&[new, old]), bytes(&[old]));
        let said = Said::of([(&both[..], &new[..]), (&one[..], &old[..])]);
        assert!(said.holds(&old) && !said.holds(&new));
        assert!(!said.uses_only(&new));
        let said = Said::of([(&both[..], &new[..]), (&both[..], &new[..])]);
        assert!(said.holds(&new) && said.uses_only(&new));
        // A component of an earlier version says nothing, and so holds nothing.
        let said = Said::of([(&both[..], &new[..]), (&[][..], &[][..])]);
        assert!(!said.holds(&new));
        assert!(!Said::default().uses_only(&new));
    }

    #[test]
    fn stages_are_read_as_they_are_written() {
        for stage in [Stage::Announced, Stage::Signing, Stage::Retiring] {
            assert_eq!(stage.as_str().parse::<Stage>().unwrap(), stage);
        }
        assert!("removed".parse::<Stage>().is_err());
    }
}
