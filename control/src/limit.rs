//! The concurrency limit as one trait, so that laws can be compared under the same conditions.
//!
//! A law receives samples and returns verdicts. It never receives cold answers, quotas or the caller's own faults,
//! because those do not show how much the backend can handle at once.

use std::fmt::Debug;
use std::time::Duration;

use crate::{BucketGrant, ControllerSettings, Timestamp, Verdict, settings::Law};

mod adaptive;
mod fixed;

/// The result of a sample besides its latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Served, or its first part arrived.
    Served,
    /// Refused because of load, without a retry time.
    Refused,
    /// Failed, possibly for a reason other than load.
    Fault,
    /// Not answered in time.
    Timeout,
}

/// One attempt, as a law receives it.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The result.
    pub signal: Signal,
    /// Attempts in flight at dispatch, including this one.
    pub in_flight: u32,
    /// Attempts in flight at the end, including this one.
    pub in_flight_end: u32,
    /// When it was sent.
    pub sent: Timestamp,
    /// Time to the end, or to the first part of an answer that has not ended.
    pub latency: Duration,
    /// Natural logarithm of the latency that a call of the first observed kind would have; `None` before the end, and while
    /// too little is known about its kind.
    pub log_latency: Option<f64>,
    /// `true` if calls were waiting because of the limit.
    pub binding: bool,
    /// `true` if its first part was reported as an acknowledgement.
    pub acknowledged: bool,
}

/// A law that moves the concurrency limit.
pub trait Limit: Debug + Send {
    /// Returns the limit in force, in calls; at least 1.
    fn limit(&self) -> f64;
    /// Notes that a call was sent; `in_flight` includes it.
    fn dispatched(&mut self, _in_flight: u32, _now: Timestamp) {}
    /// Notes that a call sent at `sent` ended without information: its caller left, or was at fault.
    fn uninformative(&mut self, _sent: Timestamp) {}
    /// Continues at a level that another gateway in front of the same backend has proved.
    fn follow(&mut self, _level: f64) {}
    /// Handles a refusal that requested a pause.
    fn refused_with_a_clock(
        &mut self,
        _sample: &Sample,
        _asked: Duration,
        _now: Timestamp,
    ) -> Option<Verdict> {
        None
    }
    /// Checks the time, at each event of a serving lane. `binding` is `true` if calls are waiting.
    fn tick(&mut self, _binding: bool, _now: Timestamp) -> Option<Verdict> {
        None
    }
    /// Returns the time at which [`Limit::tick`] must be called while calls wait, if no other event comes first.
    fn due(&self) -> Option<Timestamp> {
        None
    }

    /// Handles one sample. Returns at most one verdict.
    fn sample(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict>;
    /// Handles the arrival of a first part; laws that ramp by acknowledgements grow here.
    fn acknowledged(&mut self, _sample: &Sample) {}
    /// Sets the level to that of an earlier controller.
    fn release(&mut self, _level: f64, _now: Timestamp) {}
    /// Starts small again after a cold start, an outage or a time without calls. `memory` is the level at which the
    /// fast growth ends. Most laws continue unchanged.
    fn restart(&mut self, _memory: Option<f64>, _now: Timestamp) {}
    /// Returns the rate that the law sets besides its limit; most laws set none.
    fn rate(&self, _now: Timestamp) -> Option<BucketGrant> {
        None
    }
    /// Returns the time of the next single call to a backend that accepts nothing; `None` if it accepts calls.
    fn asks_at(&self) -> Option<Timestamp> {
        None
    }
    /// Returns, once, the beginning and end of a penalty that is over, during which the backend refused every call.
    fn penalty(&mut self) -> Option<(Timestamp, Timestamp)> {
        None
    }
    /// Returns the part of the limit that has been proved; for most laws all of it.
    fn proved(&self) -> f64 {
        self.limit()
    }
    /// Returns the verified level, in calls, while a higher one is tested.
    fn trial_above(&self) -> Option<f64> {
        None
    }
    /// Returns `true` if the limit is still in its first, fast growth; most laws have no such phase.
    fn warming(&self) -> bool {
        false
    }
}

/// Creates the law of the settings.
pub(crate) fn build(settings: &ControllerSettings, now: Timestamp) -> Box<dyn Limit> {
    match settings.law {
        Law::Adaptive => Box::new(adaptive::Adaptive::new(settings, now)),
        Law::Fixed => Box::new(fixed::Fixed::new(settings)),
    }
}
