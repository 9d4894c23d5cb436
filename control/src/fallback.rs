//! Decides when a call leaves a backend for another backend of its model.
//!
//! The operator allows a wait for each kind of obstacle. A call stays as long as the wait that it has had and the one that is
//! predicted are within what is allowed, and leaves at once when they are not.

use std::time::Duration;

use serde::Serialize;

use crate::{LaneState, Replica};

/// The part of a queue that is taken to be ahead of a call in it.
const AHEAD: f64 = 0.5;
/// An attempt that asks whether a backend is awake is given this many usual times before it counts as one that wakes it.
const USUAL_TIMES: u32 = 3;
/// The least time that such an attempt is given.
const ASKING_MIN: Duration = Duration::from_secs(5);

/// The part of a call's time that may be spent on waiting if nothing is known of the next backend.
const UNKNOWN: u32 = 4;
/// The next backend is given its usual time and half of it, because calls differ.
const MARGIN: f64 = 1.5;
/// What a move itself may take: the time between two looks.
const MOVE: Duration = Duration::from_millis(250);

/// The time that a call has, and what the next backend needs of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLeft {
    /// The time until the deadline of the call.
    pub left: Duration,
    /// What the next backend needs to answer.
    pub next: Duration,
}

impl TimeLeft {
    /// Returns the time left of a call that had `whole`, beside the backend that would be asked next.
    pub fn new(left: Duration, whole: Duration, next: &Replica) -> Self {
        let next = if next.service_time.is_zero() {
            whole.saturating_sub(whole / UNKNOWN)
        } else {
            next.service_time.mul_f64(MARGIN).saturating_add(MOVE)
        };
        Self { left, next }
    }

    /// Returns `true` if a call that waits for `expected` (`None` if that is not known) at a backend that then takes `served`
    /// is not answered there in time, and the next backend would not answer it either if the call waited.
    fn is_over(self, expected: Option<Duration>, served: Duration) -> bool {
        let spare = self.left.saturating_sub(self.next);
        let is_late = spare.is_zero() || expected.is_some_and(|expected| expected > spare);
        let fits = expected.is_some_and(|expected| expected.saturating_add(served) <= self.left);
        is_late && !fits
    }
}

/// A reason for which a call goes to another backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FallbackKind {
    /// The backend loads.
    Cold,
    /// The backend has no free slot, or asked for a pause.
    Overload,
    /// The quota of the backend is used up.
    Quota,
    /// The backend cannot be reached, or its breaker is open.
    Unreachable,
    /// An attempt failed: an error of the server, a timeout, an answer that cannot be used.
    Failed,
    /// The backend does not accept the gateway's key, path or model.
    Misconfigured,
    /// The prompt is longer than the context of the model.
    ContextLength,
    /// The backend refused the content of the prompt.
    ContentPolicy,
    /// The backend was taken out of service.
    OutOfService,
}

impl FallbackKind {
    /// Every kind, in the order of the discriminants.
    pub const ALL: [Self; 9] = [
        Self::Cold,
        Self::Overload,
        Self::Quota,
        Self::Unreachable,
        Self::Failed,
        Self::Misconfigured,
        Self::ContextLength,
        Self::ContentPolicy,
        Self::OutOfService,
    ];

    /// Returns the label used in settings, metrics and headers.
    pub fn label(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Overload => "overload",
            Self::Quota => "quota",
            Self::Unreachable => "unreachable",
            Self::Failed => "failed",
            Self::Misconfigured => "misconfigured",
            Self::ContextLength => "context_length",
            Self::ContentPolicy => "content_policy",
            Self::OutOfService => "out_of_service",
        }
    }
}

/// The waits that an operator allows before a call goes to another backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FallbackRules {
    /// By kind, in the order of the discriminants; `None` if calls do not leave for it.
    waits: [Option<Duration>; FallbackKind::ALL.len()],
}

impl Default for FallbackRules {
    /// Returns the rules of calls that leave at once, whatever the reason.
    fn default() -> Self {
        Self {
            waits: [Some(Duration::ZERO); FallbackKind::ALL.len()],
        }
    }
}

impl FallbackRules {
    /// Sets the wait that is allowed for a kind; `None` if calls do not leave for it.
    #[must_use]
    pub fn with(mut self, kind: FallbackKind, wait: Option<Duration>) -> Self {
        if let Some(place) = self.waits.get_mut(kind as usize) {
            *place = wait;
        }
        self
    }

    /// Returns the wait that is allowed for a kind; `None` if calls do not leave for it.
    pub fn wait(&self, kind: FallbackKind) -> Option<Duration> {
        self.waits.get(kind as usize).copied().flatten()
    }

    /// Returns `true` if calls leave for a kind.
    pub fn allows(&self, kind: FallbackKind) -> bool {
        self.wait(kind).is_some()
    }

    /// Returns why a call that has waited for `waited` at a backend should not wait there, or not enter it; `None` if it may.
    ///
    /// `usual` is the service time if none is known; `is_inside` is `true` if the call is in the backend's queue. With `time`,
    /// the wait is shortened so that the next backend has its usual time.
    pub fn obstacle(
        &self,
        replica: &Replica,
        waited: Duration,
        usual: Duration,
        is_inside: bool,
        time: Option<TimeLeft>,
    ) -> Option<FallbackKind> {
        let (kind, expected) = match replica.state {
            LaneState::Idle => return None,
            LaneState::Ramp | LaneState::Steady if replica.has_room() => return None,
            LaneState::Ramp | LaneState::Steady => {
                let queue = replica.queue(usual);
                let ahead = if is_inside {
                    queue.mul_f64(AHEAD)
                } else {
                    queue
                };
                (FallbackKind::Overload, Some(ahead))
            }
            LaneState::Probe | LaneState::Cold => (FallbackKind::Cold, replica.ready_in),
            LaneState::Paused => (FallbackKind::Overload, replica.ready_in),
            LaneState::Quota => (FallbackKind::Quota, replica.ready_in),
            LaneState::Open => (FallbackKind::Unreachable, replica.ready_in),
        };
        let allowed = self.wait(kind)?;
        let until = waited.saturating_add(expected.unwrap_or_default());
        let served = replica.served_in(usual);
        let is_over = waited >= allowed
            || until > allowed
            || time.is_some_and(|time| time.is_over(expected, served));
        is_over.then_some(kind)
    }

    /// Returns `true` if the attempt of a call, which has taken `waited` so far and asks whether the backend is awake, should be
    /// left to the backend: it takes so much longer than usual that the backend loads within it.
    pub fn has_asked_enough(&self, replica: &Replica, waited: Duration) -> bool {
        let usual = replica.service_time.saturating_mul(USUAL_TIMES);
        let asking = usual.max(ASKING_MIN);
        let allowed = self.wait(FallbackKind::Cold);
        replica.state == LaneState::Probe
            && allowed.is_some_and(|allowed| waited >= allowed.max(asking))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn replica(state: LaneState) -> Replica {
        Replica {
            state,
            limit: 2,
            live: 0,
            service_time: SECOND,
            delivered_rate: None,
            ready_in: None,
            weight: 1.0,
        }
    }

    fn rules(kind: FallbackKind, seconds: u64) -> FallbackRules {
        FallbackRules::default().with(kind, Some(Duration::from_secs(seconds)))
    }

    fn obstacle(
        rules: &FallbackRules,
        replica: &Replica,
        waited: u64,
        is_inside: bool,
    ) -> Option<FallbackKind> {
        rules.obstacle(
            replica,
            Duration::from_secs(waited),
            SECOND,
            is_inside,
            None,
        )
    }

    #[test]
    fn a_backend_that_serves_or_was_not_asked_is_no_obstacle() {
        let rules = FallbackRules::default();
        for state in [LaneState::Idle, LaneState::Ramp, LaneState::Steady] {
            assert_eq!(obstacle(&rules, &replica(state), 0, false), None);
        }
    }

    #[test]
    fn a_call_waits_for_a_loading_backend_as_long_as_is_allowed_and_of_use() {
        let rules = rules(FallbackKind::Cold, 10);
        let mut cold = replica(LaneState::Cold);
        assert_eq!(obstacle(&rules, &cold, 0, false), None);
        assert_eq!(obstacle(&rules, &cold, 9, true), None);
        let left = Some(FallbackKind::Cold);
        assert_eq!(obstacle(&rules, &cold, 10, true), left);
        // It is known to load for longer: waiting is of no use.
        cold.ready_in = Some(Duration::from_secs(11));
        assert_eq!(obstacle(&rules, &cold, 0, false), left);
        cold.ready_in = Some(Duration::from_secs(3));
        assert_eq!(obstacle(&rules, &cold, 6, true), None);
        let never = FallbackRules::default().with(FallbackKind::Cold, None);
        assert_eq!(obstacle(&never, &cold, 1000, true), None);
    }

    /// Returns the second after which a call with a deadline leaves a backend for one that needs `next` seconds.
    fn leaves_after(here: &Replica, deadline: u64, next: u64) -> Option<u64> {
        let rules = FallbackRules::default()
            .with(FallbackKind::Cold, Some(10 * SECOND))
            .with(FallbackKind::Overload, Some(10 * SECOND));
        let mut there = replica(LaneState::Steady);
        there.service_time = Duration::from_secs(next);
        let whole = Duration::from_secs(deadline);
        (0..deadline).find(|waited| {
            let waited = Duration::from_secs(*waited);
            let time = TimeLeft::new(whole.saturating_sub(waited), whole, &there);
            let obstacle = rules.obstacle(here, waited, SECOND, true, Some(time));
            obstacle.is_some()
        })
    }

    #[test]
    fn a_wait_leaves_the_next_backend_its_usual_time() {
        let mut cold = replica(LaneState::Cold);
        // A call of two seconds is given 3.25 s.
        for (deadline, after) in [(3, 0), (5, 2), (8, 5), (12, 9), (20, 10)] {
            assert_eq!(leaves_after(&cold, deadline, 2), Some(after), "{deadline}");
        }
        // Nothing is known of the next one: it gets three quarters.
        assert_eq!(leaves_after(&cold, 8, 0), Some(2));
        // It is known to load for too long, or for so short that its own answer is in time.
        cold.ready_in = Some(6 * SECOND);
        assert_eq!(leaves_after(&cold, 6, 2), Some(0));
        cold.ready_in = Some(SECOND);
        assert_eq!(leaves_after(&cold, 4, 3), Some(3));
        // The same with a queue; the call is answered in time although the next one would be too slow.
        let mut full = replica(LaneState::Steady);
        full.live = 21;
        assert_eq!(leaves_after(&full, 5, 2), Some(0));
        full.live = 3;
        assert_eq!(leaves_after(&full, 3, 5), Some(2));
    }

    #[test]
    fn a_queue_is_an_obstacle_by_its_predicted_wait() {
        let rules = rules(FallbackKind::Overload, 10);
        let mut full = replica(LaneState::Steady);
        full.live = 12;
        // Eleven calls of a second each before it, two at once.
        assert_eq!(obstacle(&rules, &full, 0, false), None);
        full.live = 40;
        let left = Some(FallbackKind::Overload);
        assert_eq!(obstacle(&rules, &full, 0, false), left);
        // Inside, half of the queue is ahead.
        assert_eq!(obstacle(&rules, &full, 0, true), None);
        assert_eq!(obstacle(&rules, &full, 1, true), left);
        full.live = 1;
        assert_eq!(obstacle(&rules, &full, 100, true), None);
    }

    #[test]
    fn what_does_not_serve_is_left_at_once() {
        let rules = FallbackRules::default();
        for (state, kind) in [
            (LaneState::Open, FallbackKind::Unreachable),
            (LaneState::Paused, FallbackKind::Overload),
            (LaneState::Quota, FallbackKind::Quota),
            (LaneState::Probe, FallbackKind::Cold),
        ] {
            assert_eq!(obstacle(&rules, &replica(state), 0, false), Some(kind));
        }
    }

    #[test]
    fn a_probe_is_given_the_usual_time_before_it_is_left() {
        let rules = rules(FallbackKind::Cold, 1);
        let mut asked = replica(LaneState::Probe);
        assert!(!rules.has_asked_enough(&asked, Duration::from_secs(4)));
        assert!(rules.has_asked_enough(&asked, Duration::from_secs(5)));
        asked.service_time = Duration::from_secs(4);
        assert!(!rules.has_asked_enough(&asked, Duration::from_secs(11)));
        assert!(rules.has_asked_enough(&asked, Duration::from_secs(12)));
        asked.state = LaneState::Steady;
        assert!(!rules.has_asked_enough(&asked, Duration::from_mins(1)));
    }

    #[test]
    fn every_kind_has_its_own_place_and_name() {
        for (place, kind) in FallbackKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
            let rules = FallbackRules::default().with(kind, None);
            assert!(!rules.allows(kind));
            let others = FallbackKind::ALL.into_iter().filter(|other| *other != kind);
            assert!(others.clone().all(|other| rules.allows(other)));
            assert!(others.clone().all(|other| other.label() != kind.label()));
        }
    }
}
