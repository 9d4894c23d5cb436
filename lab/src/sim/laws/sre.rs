//! The client throttle of Google's SRE book, as the rate that remains after its refusals.
//!
//! In the book a client refuses locally with `p = max(0, (requests - 2 accepts) / (requests + 1))` over two minutes,
//! and so sends twice what the backend accepts. Here the same share is held instead of refused, so the law is a rate:
//! none while `requests <= 2 accepts`, else `2 accepts / time`.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Limit, Sample, Signal};
use crate::sim::number::real;
use kebne_control::{BucketGrant, ControllerSettings, Timestamp, Verdict};

/// The book's K.
const MULTIPLE: f64 = 2.0;
/// The book's history.
const HISTORY: Duration = Duration::from_mins(2);
/// The number of samples kept. Two minutes of 500 calls per second fit; beyond that the oldest are removed early.
const KEPT: usize = 65_536;

/// The throttle.
#[derive(Debug)]
pub(crate) struct Sre {
    max: f64,
    seen: VecDeque<(Timestamp, bool)>,
    accepts: usize,
    start: Timestamp,
}

impl Sre {
    /// Creates a throttle without a rate.
    pub(crate) fn new(settings: &ControllerSettings, now: Timestamp) -> Self {
        Self {
            max: f64::from(settings.limit_max),
            seen: VecDeque::new(),
            accepts: 0,
            start: now,
        }
    }
}

impl Limit for Sre {
    fn limit(&self) -> f64 {
        self.max
    }

    fn sample(&mut self, sample: &Sample, now: Timestamp) -> Option<Verdict> {
        let accepted = sample.signal == Signal::Served;
        self.seen.push_back((now, accepted));
        self.accepts += usize::from(accepted);
        while let Some(&(at, accepted)) = self.seen.front() {
            if now.since(at) <= HISTORY && self.seen.len() <= KEPT {
                break;
            }
            self.seen.pop_front();
            self.accepts -= usize::from(accepted);
        }
        None
    }

    fn rate(&self, now: Timestamp) -> Option<BucketGrant> {
        let accepted = MULTIPLE * real(self.accepts);
        if real(self.seen.len()) <= accepted {
            return None;
        }
        let time = now.since(self.start).min(HISTORY).as_secs_f64().max(1.0);
        // The book's `+ 1` lets a request through from time to time if nothing was accepted.
        let rate = (accepted / time).max(1.0 / HISTORY.as_secs_f64());
        Some(BucketGrant::per_second(rate))
    }
}
