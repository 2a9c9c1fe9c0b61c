//! How a snapshot lies in several Secrets. The head (slot 0) holds the first part and says which
//! slots hold the others and what the whole must be; it is written last. Parts of a new snapshot
//! go where the one before has none, as far as there is room, so that the one before stays whole
//! until the head changes.

use std::collections::BTreeMap;
use std::ops::Range;

use aws_lc_rs::digest::{SHA256, digest};

/// Largest part, bytes: a Secret may hold 1 MiB.
pub(crate) const PART: usize = 900 * 1024;
/// Slots, the head among them.
pub(crate) const SLOTS: u8 = 20;

const PARTS: &str = "zen-mesh.io/parts";
const PLACES: &str = "zen-mesh.io/slots";
const SIZE: &str = "zen-mesh.io/size";
const DIGEST: &str = "zen-mesh.io/digest";

/// What the head says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Where the parts are, in order; the first is 0.
    pub(crate) slots: Vec<u8>,
    size: usize,
    /// SHA-256 of the whole, in hexadecimal.
    digest: String,
}

impl Head {
    /// Where the parts of `content` go, if there is room: `used` are the slots of the one before.
    pub(crate) fn of(content: &[u8], used: &[u8]) -> Option<Self> {
        let parts = content.len().div_ceil(PART).max(1);
        let free = (1..SLOTS).filter(|slot| !used.contains(slot));
        let taken = (1..SLOTS).filter(|slot| used.contains(slot));
        let slots: Vec<u8> = [0]
            .into_iter()
            .chain(free.chain(taken))
            .take(parts)
            .collect();
        (slots.len() == parts).then(|| Self {
            slots,
            size: content.len(),
            digest: hex::encode(digest(&SHA256, content)),
        })
    }

    /// Which bytes of the whole the part at this place of `slots` holds.
    pub(crate) fn range(&self, place: usize) -> Range<usize> {
        let start = (place * PART).min(self.size);
        start..(start + PART).min(self.size)
    }

    /// Whether the parts, put together, are what was written.
    pub(crate) fn is(&self, content: &[u8]) -> bool {
        content.len() == self.size && hex::encode(digest(&SHA256, content)) == self.digest
    }

    pub(crate) fn annotations(&self) -> BTreeMap<String, String> {
        let slots: Vec<_> = self.slots.iter().map(ToString::to_string).collect();
        [
            (PARTS, self.slots.len().to_string()),
            (PLACES, slots.join(",")),
            (SIZE, self.size.to_string()),
            (DIGEST, self.digest.clone()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// What a Secret's annotations say, if they are those of a head.
    pub(crate) fn read(annotations: &BTreeMap<String, String>) -> Option<Self> {
        let slots: Option<Vec<u8>> = annotations
            .get(PLACES)?
            .split(',')
            .map(|slot| slot.parse().ok().filter(|slot| *slot < SLOTS))
            .collect();
        let slots = slots.filter(|slots| slots.first() == Some(&0))?;
        let parts: usize = annotations.get(PARTS)?.parse().ok()?;
        let size = annotations.get(SIZE)?.parse().ok()?;
        let fits = parts == slots.len() && size <= parts * PART;
        fits.then(|| {
            Some(Self {
                slots,
                size,
                digest: annotations.get(DIGEST)?.clone(),
            })
        })?
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_small_snapshot_is_its_head_alone() {
        let head = Head::of(b"small", &[0, 1, 2]).unwrap();
        assert_eq!(head.slots, [0]);
        assert_eq!(head.range(0), 0..5);
        assert_eq!(Head::of(b"", &[]).unwrap().slots, [0]);
        assert!(Head::of(&vec![0; PART * usize::from(SLOTS)], &[]).is_some());
        assert!(Head::of(&vec![0; PART * usize::from(SLOTS) + 1], &[]).is_none());
    }

    #[test]
    fn annotations_of_another_make_no_head() {
        let good = Head::of(&vec![7; PART + 1], &[]).unwrap().annotations();
        for (key, wrong) in [
            (PLACES, "0,99"),
            (PLACES, "1,0"),
            (PLACES, ""),
            (PARTS, "3"),
            (SIZE, "99999999999"),
            (SIZE, "-1"),
        ] {
            let mut bad = good.clone();
            bad.insert(key.to_owned(), wrong.to_owned());
            assert_eq!(Head::read(&bad), None, "{key} {wrong:?}");
        }
        assert_eq!(Head::read(&BTreeMap::new()), None);
        assert!(Head::read(&good).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4))]

        /// Writing one snapshot after another, cut off after any number of parts: what is read is
        /// the one before, the new one, or nothing; never a mixture. And the one before is only
        /// lost when both together have no room.
        #[test]
        fn a_write_that_is_cut_off_never_gives_a_mixture(
            sizes in prop::collection::vec(0..PART * usize::from(SLOTS), 1..4),
            cut in 0..usize::from(SLOTS) + 1,
        ) {
            let mut slots: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
            let mut head: Option<Head> = None;
            let mut before: Option<Vec<u8>> = None;
            for (round, size) in sizes.iter().enumerate() {
                let content = vec![u8::try_from(round).unwrap() + 1; *size];
                let used = head.as_ref().map_or_else(Vec::new, |head| head.slots.clone());
                let next = Head::of(&content, &used).unwrap();
                let last = round + 1 == sizes.len();
                let whole = !last || cut >= next.slots.len();
                let order = (1..next.slots.len()).chain([0]);
                let steps = if whole { next.slots.len() } else { cut };
                for place in order.take(steps) {
                    slots.insert(next.slots[place], content[next.range(place)].to_vec());
                }
                let kept = head.clone();
                if whole {
                    head = Some(next.clone());
                }
                let Some(head) = &head else { continue };
                let read: Vec<u8> = head.slots.iter()
                    .flat_map(|slot| slots.get(slot).cloned().unwrap_or_default()).collect();
                let annotations = head.annotations();
                let reread = Head::read(&annotations);
                prop_assert_eq!(reread.as_ref(), Some(head));
                if head.is(&read) {
                    prop_assert_eq!(Some(&read), if whole { Some(&content) } else { before.as_ref() });
                } else {
                    prop_assert!(!whole);
                    let together = kept.map_or(0, |kept| kept.slots.len()) + next.slots.len() - 1;
                    prop_assert!(together > usize::from(SLOTS));
                }
                before = Some(content);
            }
        }
    }
}
