//! The sampling window of Netflix concurrency-limits: one update per second, of ten samples or more.

use super::{Sample, Signal};
use crate::sim::number::real;
use kebne_control::Timestamp;
use std::time::Duration;

/// The library's window, which it clamps to one second at both ends.
const LENGTH: Duration = Duration::from_secs(1);
/// The library's smallest number of samples for an update.
const SAMPLES_MIN: usize = 10;

/// The values of a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Mean latency of the served calls, in seconds.
    pub(super) rtt: f64,
    /// The largest number of calls in flight.
    pub(super) in_flight: f64,
    /// `true` if a call was dropped.
    pub(super) dropped: bool,
}

/// A window being filled.
#[derive(Debug, Default)]
pub(super) struct Window {
    sum: f64,
    served: usize,
    samples: usize,
    in_flight: u32,
    dropped: bool,
    ends: Timestamp,
}

impl Window {
    /// Adds a sample. Returns the window when it is full. Faults and timeouts are drops, as in the library.
    pub(super) fn add(&mut self, sample: &Sample, now: Timestamp) -> Option<Seen> {
        self.samples += 1;
        self.in_flight = self.in_flight.max(sample.in_flight);
        if sample.signal == Signal::Served {
            self.sum += sample.latency.as_secs_f64();
            self.served += 1;
        } else {
            self.dropped = true;
        }
        if now < self.ends || self.samples < SAMPLES_MIN {
            return None;
        }
        let seen = Seen {
            // If nothing was served, the latency is that of the drops, so fast refusals look like a fast backend.
            rtt: if self.served > 0 {
                self.sum / real(self.served)
            } else {
                sample.latency.as_secs_f64()
            }
            .max(1e-6),
            in_flight: f64::from(self.in_flight),
            dropped: self.dropped,
        };
        *self = Self {
            ends: now.after(LENGTH),
            ..Self::default()
        };
        Some(seen)
    }
}
