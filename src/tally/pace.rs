//! How long the answers of a lane take now: until they begin, and as a whole.
//!
//! Calls of different kinds take different times under the same load, so each time is compared with those of its kind, by the
//! same rule as the control law (`kebne_control::Kinds`). That law compares the time of a whole answer by its length; here the
//! numbers of tokens are known when a call has ended, and the time to the first token is judged too.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use kebne_control::{Kind, Kinds, Measure};
use kebne_lane::Ending;
use kebne_monitor::Times;

use crate::record::CallRecord;

/// Weight of a call in the mean of the last times.
const WEIGHT: f64 = 0.1;
/// The shortest time that is told apart.
const SECONDS_MIN: f64 = 1e-6;

/// The times of one lane.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Both>);

#[derive(Debug, Default)]
struct Both {
    first_token: Series,
    whole: Series,
}

/// One time of the calls of a lane.
#[derive(Debug, Default)]
struct Series {
    kinds: Kinds,
    /// The mean of the logarithms of the last times.
    last: Option<f64>,
}

impl Series {
    fn note(&mut self, kind: Kind, time: Duration) {
        let log = time.as_secs_f64().max(SECONDS_MIN).ln();
        // It is learned; whether it is comparable yet does not matter here.
        let _comparable = self.kinds.compare(kind, Measure::Whole, log);
        let last = self.last.get_or_insert(log);
        *last += WEIGHT * (log - *last);
    }

    fn times(&self) -> Option<Times> {
        let time = |log: f64| Duration::try_from_secs_f64(log.exp()).ok();
        Some(Times {
            comparable: time(self.kinds.level()?)?,
            last: time(self.last?)?,
        })
    }
}

impl Pace {
    /// Takes note of a call that was answered.
    pub(super) fn note(&self, record: &CallRecord) {
        if record.ending != Ending::Success {
            return;
        }
        let mut attempts = record.trail.attempts.iter();
        let Some(attempt) = attempts.find(|attempt| attempt.answered.is_some()) else {
            return;
        };
        // The answer to the call that wakes a backend comes after its load.
        let Some(answered) = attempt.answered.filter(|_| !attempt.is_wake) else {
            return;
        };
        let ended = attempt.ended.map_or(record.ended, |(ended, _)| ended);
        let class = class(record);
        let input = bounded(record.usage.input);
        let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let output = bounded(record.usage.output);
        let whole = Kind {
            class,
            input,
            output,
        };
        let time = ended.saturating_duration_since(attempt.sent);
        both.whole.note(whole, time);
        if record.is_streamed {
            let first = Kind { output: 0, ..whole };
            let time = answered.saturating_duration_since(attempt.sent);
            both.first_token.note(first, time);
        }
    }

    /// Returns the time to the first token and that of the whole answer.
    pub(super) fn times(&self) -> [Option<Times>; 2] {
        let both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        [both.first_token.times(), both.whole.times()]
    }
}

/// Returns the class of a call: the FNV-1a hash of its model, its operation and whether it is streamed.
fn class(record: &CallRecord) -> u32 {
    let bytes = record.model.bytes().chain([0]);
    let bytes = bytes.chain(record.operation.bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    (hash & !1) | u32::from(record.is_streamed)
}

fn bounded(tokens: Option<u64>) -> u32 {
    u32::try_from(tokens.unwrap_or(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes so many calls of two lengths, whose times are multiplied by `factor`.
    fn calls(series: &mut Series, count: u32, factor: f64) -> Duration {
        for number in 0..count {
            let output = if number % 3 == 0 { 1000 } else { 10 };
            let kind = Kind {
                class: 1,
                input: 50,
                output,
            };
            let seconds = factor * (0.2 + 0.01 * f64::from(output));
            series.note(kind, Duration::from_secs_f64(seconds));
        }
        series.times().unwrap().comparable
    }

    #[test]
    fn a_lane_that_is_six_times_slower_is_seen_so_whatever_the_lengths() {
        let mut series = Series::default();
        let before = calls(&mut series, 300, 1.0);
        let still = calls(&mut series, 50, 1.0).as_secs_f64() / before.as_secs_f64();
        assert!((0.7..1.4).contains(&still), "{still}");
        let slower = calls(&mut series, 60, 6.0).as_secs_f64() / before.as_secs_f64();
        assert!((4.5..6.6).contains(&slower), "{slower}");
    }
}
