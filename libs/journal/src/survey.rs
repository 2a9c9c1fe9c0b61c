//! What the last segment holds after a crash, and the judgement on it: torn tail or damage.

use std::io;

use crate::segment::Window;

/// Bytes where a frame should stand and none does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// Where it begins.
    pub(crate) start: u64,
    /// The next intact frame, if any.
    pub(crate) next: Option<u64>,
}

/// Everything found in a segment.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// How many intact frames.
    pub(crate) records: u64,
    /// Just after the last intact frame.
    pub(crate) last_end: u64,
    /// The highest durable end that any intact frame knew of.
    pub(crate) durable: u64,
    /// In rising order.
    pub(crate) gaps: Vec<Gap>,
}

impl Survey {
    /// Walks all frames from `base` up to `limit`, across damage.
    pub(crate) fn of(window: &mut Window<'_>, base: u64, limit: u64) -> io::Result<Self> {
        let mut survey = Self {
            last_end: base,
            durable: base,
            ..Self::default()
        };
        let mut at = base;
        while at < limit {
            if let Some(found) = window.frame_at(at)? {
                survey.records += 1;
                survey.durable = survey.durable.max(found.durable);
                at = found.next;
                survey.last_end = at;
                continue;
            }
            let next = window.resync(at + crate::frame::ALIGN as u64)?;
            survey.gaps.push(Gap { start: at, next });
            let Some(next) = next else { break };
            at = next;
        }
        Ok(survey)
    }

    /// Decides where the log ends and what of it is damaged. `floor` is what is known from elsewhere to
    /// have been durable (the cursors); never less than the segment's base.
    ///
    /// A gap that begins before anything known to be durable was acknowledged once: it is damage, and what follows
    /// is kept. The first gap after that is where a write was cut short: the log ends there.
    pub(crate) fn judge(&self, floor: u64) -> Verdict {
        let floor = floor.max(self.durable);
        let mut damaged = Vec::new();
        for gap in &self.gaps {
            if gap.start >= floor {
                return Verdict {
                    end: gap.start,
                    damaged,
                };
            }
            damaged.push((gap.start, gap.next.unwrap_or(floor)));
        }
        let end = self.last_end.max(floor);
        if self.gaps.last().is_none_or(|gap| gap.next.is_some()) && end > self.last_end {
            damaged.push((self.last_end, end));
        }
        Verdict { end, damaged }
    }
}

/// The judgement on a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Where the log goes on.
    pub(crate) end: u64,
    /// From and to of every stretch of acknowledged bytes that is lost.
    pub(crate) damaged: Vec<(u64, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(last_end: u64, durable: u64, gaps: &[(u64, Option<u64>)]) -> Survey {
        let gaps = gaps
            .iter()
            .map(|&(start, next)| Gap { start, next })
            .collect();
        Survey {
            records: 1,
            last_end,
            durable,
            gaps,
        }
    }

    #[test]
    fn a_gap_after_everything_known_durable_is_a_torn_tail() {
        let verdict = survey(400, 200, &[(400, None)]).judge(0);
        assert_eq!(
            verdict,
            Verdict {
                end: 400,
                damaged: vec![]
            }
        );
        // The same when later frames of the torn batch made it to the disk.
        let verdict = survey(600, 200, &[(300, Some(400)), (600, None)]).judge(0);
        assert_eq!(
            verdict,
            Verdict {
                end: 300,
                damaged: vec![]
            }
        );
    }

    #[test]
    fn a_gap_before_a_later_frames_durable_end_is_damage_and_what_follows_is_kept() {
        let verdict = survey(600, 500, &[(300, Some(400)), (600, None)]).judge(0);
        assert_eq!(
            verdict,
            Verdict {
                end: 600,
                damaged: vec![(300, 400)]
            }
        );
    }

    #[test]
    fn a_cursor_proves_that_bytes_were_acknowledged() {
        let verdict = survey(300, 200, &[(300, None)]).judge(500);
        assert_eq!(
            verdict,
            Verdict {
                end: 500,
                damaged: vec![(300, 500)]
            }
        );
        let verdict = survey(300, 200, &[]).judge(500);
        assert_eq!(
            verdict,
            Verdict {
                end: 500,
                damaged: vec![(300, 500)]
            }
        );
        let verdict = survey(600, 200, &[(300, Some(400)), (600, None)]).judge(500);
        assert_eq!(
            verdict,
            Verdict {
                end: 600,
                damaged: vec![(300, 400)]
            }
        );
    }

    #[test]
    fn a_full_segment_without_gaps_ends_at_its_last_frame() {
        assert_eq!(
            survey(800, 700, &[]).judge(0),
            Verdict {
                end: 800,
                damaged: vec![]
            }
        );
    }
}
