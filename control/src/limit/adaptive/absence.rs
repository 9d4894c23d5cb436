//! Capacity that goes and comes back: how long it was away before says when to ask for it again.
//!
//! Owns the fall under way and the lengths of the last two. It exists because a backend whose slots come and go
//! (a schedule, an autoscaler, a neighbour) is otherwise asked again only as often as an unknown one. It must never
//! say that a capacity is due which was not away for about as long twice.

use crate::Timestamp;

/// Part of the level before a fall at which the next refusal is a fall of its own.
const RECOVERED: f64 = 0.8;
/// Two absences are alike when the longer one is at most this much longer.
const ALIKE: f64 = 1.6;
/// From which part of the usual absence, and up to which, its end is looked for.
const DUE: (f64, f64) = (0.85, 1.5);
/// Questions in the time of one absence while it is due to end, and the shortest time between them, in seconds.
const QUESTIONS: f64 = 16.0;
const GAP: f64 = 0.5;

/// The falls of one backend.
#[derive(Debug)]
pub(super) struct Absence {
    /// When the level last fell by surprise, and from where.
    fell: Option<(Timestamp, f64)>,
    /// How long the capacity was away the last two times, in seconds; the newest first.
    lasted: (Option<f64>, Option<f64>),
    /// The last refusal of a probe.
    asked: Timestamp,
}

impl Absence {
    /// Starts with nothing known.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            fell: None,
            lasted: (None, None),
            asked: now,
        }
    }

    /// Notes a refusal at a level that was held.
    pub(super) fn falls(&mut self, level: f64, now: Timestamp) {
        if self.fell.is_none_or(|(_, from)| level >= RECOVERED * from) {
            self.fell = Some((now, level));
        }
    }

    /// Notes that far more is let in again.
    pub(super) fn rises(&mut self, now: Timestamp) {
        if let Some((fell, _)) = self.fell.take() {
            self.lasted = (Some(now.since(fell).as_secs_f64()), self.lasted.0);
        }
    }

    /// Notes that one call more was refused.
    pub(super) fn asked(&mut self, now: Timestamp) {
        self.asked = now;
    }

    /// Says whether the capacity is due to come back, and was not asked for just now.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let (Some((fell, _)), Some(last), Some(before)) = (self.fell, self.lasted.0, self.lasted.1)
        else {
            return false;
        };
        let usual = last.min(before);
        let away = now.since(fell).as_secs_f64();
        let due = (DUE.0 * usual..=DUE.1 * usual).contains(&away);
        let gap = (usual / QUESTIONS).max(GAP);
        last.max(before) <= ALIKE * usual && due && now.since(self.asked).as_secs_f64() >= gap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_secs_f64(seconds)
    }

    #[test]
    fn what_was_away_as_long_twice_is_due_when_it_was_before() {
        let mut absence = Absence::new(at(0.0));
        for (fell, rose) in [(100.0, 122.0), (140.0, 160.0)] {
            absence.falls(24.0, at(fell));
            assert!(!absence.is_due(at(fell + 18.0)), "too few were seen");
            // The further refusals of one fall are the same fall.
            absence.falls(18.0, at(fell + 0.2));
            absence.rises(at(rose));
        }
        absence.falls(24.0, at(180.0));
        absence.asked(at(185.0));
        assert!(!absence.is_due(at(196.0)));
        assert!(absence.is_due(at(197.5)));
        absence.asked(at(197.5));
        assert!(!absence.is_due(at(198.5)));
        assert!(absence.is_due(at(199.0)));
        assert!(!absence.is_due(at(211.0)), "it did not come");
    }

    #[test]
    fn absences_that_are_not_alike_teach_nothing() {
        let mut absence = Absence::new(at(0.0));
        for (fell, rose) in [(100.0, 105.0), (140.0, 160.0)] {
            absence.falls(24.0, at(fell));
            absence.rises(at(rose));
        }
        absence.falls(24.0, at(180.0));
        let seen = (180..260).any(|second| absence.is_due(at(f64::from(second))));
        assert!(!seen);
    }
}
