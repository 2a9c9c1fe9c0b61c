//! What a caller believes to be there before it is changed, so that no change is lost unseen.

use crate::problem::Problem;

/// The version that a change is meant for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Whatever is there.
    #[default]
    Any,
    /// One of these; none of them can be met by an empty list.
    OneOf(Vec<u64>),
}

impl Expected {
    /// Lets a change go on that is meant for what was read. The store compares once more, in the
    /// statement that changes it.
    ///
    /// # Errors
    /// 412 if it is meant for another version.
    pub(crate) fn meets(&self, version: u64) -> Result<(), Problem> {
        match self {
            Self::Any => Ok(()),
            Self::OneOf(versions) if versions.contains(&version) => Ok(()),
            Self::OneOf(_) => Err(Problem::precondition(format!(
                "it is at version {version} now: read it again and repeat the change"
            ))),
        }
    }

    /// The version that a statement has to find, if one is expected; `read` has met it.
    pub(crate) const fn pinned(&self, read: u64) -> Option<u64> {
        match self {
            Self::Any => None,
            Self::OneOf(_) => Some(read),
        }
    }

    /// Tells a change that came between reading and writing as what was expected of it.
    pub(crate) fn lost(&self, problem: Problem) -> Problem {
        match self {
            Self::OneOf(_) if problem.code == "CHANGED_MEANWHILE" => Problem::precondition(
                "it was changed meanwhile: read it again and repeat the change",
            ),
            _ => problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_that_expects_another_version_is_refused() {
        assert!(Expected::Any.meets(3).is_ok());
        assert!(Expected::OneOf(vec![2, 3]).meets(3).is_ok());
        assert!(Expected::OneOf(vec![2]).meets(3).is_err());
        assert!(Expected::OneOf(Vec::new()).meets(3).is_err());
    }

    #[test]
    fn a_lost_race_is_a_failed_precondition_only_for_who_set_one() {
        let changed = Problem::changed("x");
        assert_eq!(
            Expected::Any.lost(changed.clone()).code,
            "CHANGED_MEANWHILE"
        );
        let lost = Expected::OneOf(vec![1]).lost(changed);
        assert_eq!(lost.code, "PRECONDITION_FAILED");
    }
}
