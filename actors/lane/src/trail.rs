//! The trail of one call through its lanes: how long it waited, and how its attempts went.
//!
//! A caller that wants to know puts a [`Trail`] into [`CallOptions`](crate::CallOptions::trail) and reads it when the
//! call is over. A call without a trail costs nothing. Several lanes can be tried with one trail.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kebne_control::AttemptId;
use tokio::time::Instant;

/// The number of attempts of a call that are kept; further ones are only counted. A lane may send a refused call again
/// many times.
pub const ATTEMPTS_MAX: usize = 32;

/// Follows one call; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Trail(Arc<Mutex<State>>);

/// What a trail contains.
#[derive(Clone, Debug, Default)]
pub struct TrailReport {
    /// The lanes that the call entered, in order.
    pub lanes: Vec<Arc<str>>,
    /// The first [`ATTEMPTS_MAX`] attempts, in the order of their beginnings.
    pub attempts: Vec<AttemptTrail>,
    /// Attempts that are not in the list.
    pub attempts_more: u32,
    /// When the call entered its first lane.
    pub entered: Option<Instant>,
    /// When the answer began: its first part if it is streamed, else all of it.
    pub answered: Option<Instant>,
    /// Time in which the call waited and no attempt ran, until the answer began or the lane gave the call up.
    pub queued: Duration,
    /// Time that the call spent in lanes whose backends were not known to serve (states `probe` and `cold`), waiting or
    /// in an attempt, until the answer began.
    pub cold: Duration,
}

/// One attempt.
#[derive(Clone, Debug)]
pub struct AttemptTrail {
    id: AttemptId,
    /// The lane: an index into [`TrailReport::lanes`].
    pub lane: usize,
    /// `true` for the wake call of a lane.
    pub is_wake: bool,
    /// When the request was sent.
    pub sent: Instant,
    /// When the answer began.
    pub answered: Option<Instant>,
    /// When the attempt ended, and how; `None` while it runs.
    pub ended: Option<(Instant, AttemptEnding)>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptEnding {
    /// The label of the outcome.
    pub outcome: &'static str,
    /// The reason code, or the timeout that ran out; empty if the outcome says enough.
    pub reason: &'static str,
}

#[derive(Debug, Default)]
struct State {
    report: TrailReport,
    running: Vec<AttemptId>,
    /// The beginning of the first of the running attempts.
    busy_since: Option<Instant>,
    /// Time in which attempts ran, until `busy_since`.
    busy: Duration,
    /// `true` once `report.queued` is final.
    is_queued_known: bool,
}

impl Trail {
    /// Creates the trail of a call that has not entered a lane.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns what has happened so far.
    pub fn report(&self) -> TrailReport {
        self.state().report.clone()
    }

    /// Takes what has happened so far; the trail is empty then.
    pub fn take(&self) -> TrailReport {
        std::mem::take(&mut *self.state()).report
    }

    /// Records that the call enters a lane.
    pub(crate) fn enter(&self, lane: &Arc<str>, now: Instant) {
        let mut state = self.state();
        state.report.lanes.push(Arc::clone(lane));
        state.report.entered.get_or_insert(now);
    }

    /// Records that the lane has answered the call or given it up, and how long its backend was cold meanwhile.
    pub(crate) fn leave(&self, cold: Duration, now: Instant) {
        let mut state = self.state();
        state.report.cold = state.report.cold.saturating_add(cold);
        if state.report.answered.is_none() {
            state.report.queued = state.queued_until(now);
        }
    }

    /// Records the beginning of an attempt.
    pub(crate) fn begin(&self, id: AttemptId, is_wake: bool, now: Instant) {
        let mut state = self.state();
        state.busy_since.get_or_insert(now);
        state.running.push(id);
        let report = &mut state.report;
        if report.attempts.len() >= ATTEMPTS_MAX {
            report.attempts_more = report.attempts_more.saturating_add(1);
            return;
        }
        report.attempts.push(AttemptTrail {
            id,
            lane: report.lanes.len().saturating_sub(1),
            is_wake,
            sent: now,
            answered: None,
            ended: None,
        });
    }

    /// Records that the answer of an attempt begins. The first one is that of the call.
    pub(crate) fn answered(&self, id: AttemptId, now: Instant) {
        let mut state = self.state();
        if !state.is_queued_known {
            state.is_queued_known = true;
            state.report.queued = state.queued_until(now);
            state.report.answered = Some(now);
        }
        if let Some(attempt) = state.attempt(id) {
            attempt.answered = Some(now);
        }
    }

    /// Records the end of an attempt, unless it is recorded already.
    pub(crate) fn end(&self, id: AttemptId, ending: AttemptEnding, now: Instant) {
        let mut state = self.state();
        let Some(place) = state.running.iter().position(|running| *running == id) else {
            return;
        };
        state.running.swap_remove(place);
        if state.running.is_empty()
            && let Some(since) = state.busy_since.take()
        {
            let ran = now.saturating_duration_since(since);
            state.busy = state.busy.saturating_add(ran);
        }
        if let Some(attempt) = state.attempt(id) {
            attempt.ended = Some((now, ending));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn attempt(&mut self, id: AttemptId) -> Option<&mut AttemptTrail> {
        let mut attempts = self.report.attempts.iter_mut();
        attempts.rfind(|attempt| attempt.id == id && attempt.ended.is_none())
    }

    fn queued_until(&self, now: Instant) -> Duration {
        let since = |from: Option<Instant>| {
            from.map_or(Duration::ZERO, |from| now.saturating_duration_since(from))
        };
        let busy = self.busy.saturating_add(since(self.busy_since));
        since(self.report.entered).saturating_sub(busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: AttemptEnding = AttemptEnding {
        outcome: "fault",
        reason: "connect",
    };

    #[test]
    fn the_time_in_the_queue_is_the_time_without_an_attempt() {
        let (trail, start) = (Trail::new(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        trail.enter(&"a".into(), start);
        trail.begin(AttemptId(1), true, at(2));
        trail.end(AttemptId(1), FAILED, at(5));
        // Two at once, of which the second answers.
        trail.begin(AttemptId(2), false, at(6));
        trail.begin(AttemptId(3), false, at(7));
        trail.answered(AttemptId(3), at(9));
        trail.answered(AttemptId(2), at(10));
        trail.leave(Duration::from_secs(4), at(9));
        trail.end(AttemptId(3), FAILED, at(20));
        let report = trail.report();
        assert_eq!(report.queued, Duration::from_secs(3));
        assert_eq!(report.cold, Duration::from_secs(4));
        assert_eq!(report.answered, Some(at(9)));
        let ended: Vec<_> = report.attempts.iter().map(|each| each.ended).collect();
        assert_eq!(ended, [Some((at(5), FAILED)), None, Some((at(20), FAILED))]);
    }

    #[test]
    fn a_call_without_an_attempt_waits_until_it_leaves_its_last_lane() {
        let (trail, start) = (Trail::new(), Instant::now());
        trail.enter(&"a".into(), start);
        trail.leave(Duration::ZERO, start + Duration::from_secs(1));
        trail.enter(&"b".into(), start + Duration::from_secs(1));
        trail.leave(Duration::from_secs(2), start + Duration::from_secs(4));
        let report = trail.report();
        assert_eq!(report.queued, Duration::from_secs(4));
        assert_eq!(report.lanes.len(), 2);
    }

    #[test]
    fn the_attempts_kept_are_bounded() {
        let (trail, now) = (Trail::new(), Instant::now());
        trail.enter(&"a".into(), now);
        for number in 0..40 {
            trail.begin(AttemptId(number), false, now);
            trail.end(AttemptId(number), FAILED, now);
        }
        let report = trail.report();
        assert_eq!((report.attempts.len(), report.attempts_more), (32, 8));
    }
}
