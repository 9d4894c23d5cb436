//! The concurrency limit behind one trait, so that laws can be compared with the same plumbing.
//!
//! A law sees samples and answers with verdicts. It never sees cold answers, quotas or the caller's
//! own faults: those say nothing about how much the backend can carry at once.

use std::fmt::Debug;
use std::time::Duration;

use crate::{BucketGrant, ControllerSettings, Timestamp, Verdict, settings::Law};

mod adaptive;
mod fixed;

/// What a sample says besides its latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Served, or its first part arrived.
    Served,
    /// Refused for load, without a clock.
    Refused,
    /// Failed, perhaps for another reason than load.
    Fault,
    /// Not answered in time.
    Timeout,
}

/// One attempt as a law sees it.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// What happened.
    pub signal: Signal,
    /// In flight at dispatch, this one included.
    pub in_flight: u32,
    /// In flight at the end, this one included.
    pub in_flight_end: u32,
    /// When it was sent.
    pub sent: Timestamp,
    /// Time to the first part or the end.
    pub latency: Duration,
    /// Natural logarithm of the latency as if the call were of the first kind that was seen; none while too little is
    /// known of its kind.
    pub log_latency: Option<f64>,
    /// Whether callers were waiting: the limit was what held them back.
    pub binding: bool,
    /// Its first part was told before as an acknowledgement; the latency is that of the first part.
    pub acknowledged: bool,
}

/// A law that moves the concurrency limit.
pub trait Limit: Debug + Send {
    /// Returns the limit in force, in calls; at least 1.
    fn limit(&self) -> f64;
    /// Learns that a call was sent, `in_flight` with it.
    fn dispatched(&mut self, _in_flight: u32, _now: Timestamp) {}
    /// Learns that a call sent at `sent` ended uninformative: its caller left, or was at fault.
    fn uninformative(&mut self, _sent: Timestamp) {}
    /// Learns from a refusal that asked for a pause.
    fn refused_with_a_clock(
        &mut self,
        _sample: &Sample,
        _asked: Duration,
        _now: Timestamp,
    ) -> Option<Verdict> {
        None
    }
    /// Looks at the time, at each event of a serving lane; `binding`: calls are waiting.
    fn tick(&mut self, _binding: bool, _now: Timestamp) -> Option<Verdict> {
        None
    }
    /// Returns when [`Limit::tick`] is wanted while calls wait, if nothing else happens before.
    fn due(&self) -> Option<Timestamp> {
        None
    }

    /// Learns from one sample; at most one verdict.
    fn sample(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict>;
    /// Learns that a first part arrived; laws that ramp by acknowledgements grow here.
    fn acknowledged(&mut self, _sample: &Sample, _now: Timestamp) -> Option<Verdict> {
        None
    }
    /// Takes the level of an earlier life.
    fn release(&mut self, _level: f64, _now: Timestamp) {}
    /// Starts small again after a cold start, an outage or silence; `memory` ends the fast growth. Most
    /// laws go on as they are.
    fn restart(&mut self, _memory: Option<f64>, _now: Timestamp) {}
    /// Returns the rate that the law sets besides its limit; most set none.
    fn rate(&self, _now: Timestamp) -> Option<BucketGrant> {
        None
    }
    /// Returns when the next single call may ask a backend that lets nothing in, while that is so.
    fn asks_at(&self) -> Option<Timestamp> {
        None
    }
    /// Returns, once, when a penalty that has ended began and ended: the backend refused whatever was in flight.
    fn penalty(&mut self) -> Option<(Timestamp, Timestamp)> {
        None
    }
    /// Returns the part of the limit that has been proved; for most laws all of it.
    fn proved(&self) -> f64 {
        self.limit()
    }
    /// Returns the verified level while a higher one is on trial, in calls.
    fn trial_above(&self) -> Option<f64> {
        None
    }
    /// Says whether the limit is still in its first, fast growth; most laws have none.
    fn warming(&self) -> bool {
        false
    }
}

/// Makes the law that the settings name.
pub(crate) fn build(settings: &ControllerSettings, now: Timestamp) -> Box<dyn Limit> {
    match settings.law {
        Law::Adaptive => Box::new(adaptive::Adaptive::new(settings, now)),
        Law::Fixed => Box::new(fixed::Fixed::new(settings)),
    }
}
