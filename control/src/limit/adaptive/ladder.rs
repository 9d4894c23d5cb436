//! The first, fast growth as a series of ramp steps, each twice as high as the one before.
//!
//! The limit grows by one per success without a pause, up to [`AHEAD`] times the highest proved step. A step is
//! assessed as soon as enough calls that ran there have ended, against the step below it. The growth is thereby
//! ahead of its proof by one round trip and not more.

use std::collections::VecDeque;

use super::elasticity::{Estimate, History, RAMP_PRIOR};
use super::phase_window::{CENSORED, Phased, Summary, quantile, standard_error};
use crate::limit::Sample;
use crate::num::{calls, real};
use crate::{Part, Timestamp, Without};

/// How far the growth may exceed the highest proved step, as a factor: below eight calls, and above.
const AHEAD: (f64, f64) = (3.0, 2.0);
/// The number of newest samples, of any step, that are compared with the oldest ones.
const RECENT: usize = 12;
/// The number of first calls of a ramp, which show how long a call takes when few are in flight.
const OLDEST: usize = 8;
/// The largest number of them that may still be running.
const MISSING: usize = 3;
/// Slowdown against the oldest samples that ends the unproved growth: `ln 1.65`.
const SUSPECT: f64 = 0.5;
/// The number of steps kept; the highest limit that can be set is below `2^20`.
const RUNGS: usize = 21;
/// The smallest number of samples for a reference.
const LEAST: usize = 4;

/// The result of a step's samples.
#[derive(Clone, Copy, Debug)]
pub(super) enum Judgement {
    /// The step serves more than those below it.
    Proved {
        /// The elasticity and its error; `None` if there was no step to compare with.
        elasticity: Option<(f64, f64)>,
    },
    /// The calls take longer than a queue of those in flight explains.
    Changed,
    /// The step serves no more.
    Refuted {
        /// The elasticity and its error; `None` if there was no step to compare with.
        elasticity: Option<(f64, f64)>,
        /// The level, in calls, up to which the elasticity is low enough.
        knee: f64,
        /// The reason, in words.
        why: &'static str,
    },
}

/// The steps of one ramp.
#[derive(Debug, Default)]
pub(super) struct Ladder {
    base: f64,
    without: Without,
    rungs: Vec<Phased>,
    proved: usize,
    below: Option<Summary>,
    oldest: Phased,
    /// The number of first calls sent, and when the last of them was sent.
    sent: usize,
    sent_until: Timestamp,
    /// The number of first calls whose kind was new, so that later calls took their places.
    new_kinds: usize,
    recent: VecDeque<(f64, f64)>,
}

impl Ladder {
    /// Creates a ladder that starts at a level; `below` is the measurement at that level.
    pub(super) fn new(base: f64, below: Option<Summary>, without: Without) -> Self {
        Self {
            base: base.max(1.0),
            without,
            rungs: Vec::new(),
            proved: 0,
            below,
            oldest: Phased::default(),
            sent: 0,
            sent_until: Timestamp::ZERO,
            new_kinds: 0,
            recent: VecDeque::new(),
        }
    }

    /// Returns the highest proved level.
    pub(super) fn top(&self) -> f64 {
        self.base * real(1 << self.proved.min(RUNGS))
    }

    /// Returns the highest level that the growth may reach without a further proof.
    pub(super) fn reach(&self) -> f64 {
        let top = self.top();
        top * if top < 8.0 && self.without.keeps(Part::AheadThree) {
            AHEAD.0
        } else {
            AHEAD.1
        }
    }

    /// Notes that a call was sent.
    pub(super) fn dispatched(&mut self, now: Timestamp) {
        if self.sent < OLDEST {
            self.sent += 1;
            self.sent_until = now;
        }
    }

    /// Notes that a call ended without information. If it was one of the first calls, the next one takes its place, so
    /// that callers that leave do not remove the reference of a ramp.
    pub(super) fn uninformative(&mut self, sent: Timestamp) {
        if sent <= self.sent_until {
            self.sent = self.sent.saturating_sub(1).max(self.oldest.len());
        }
    }

    /// Returns the measurement with few calls in flight. It is that of the first calls sent, not of the first that
    /// ended, because those are the short ones.
    pub(super) fn foot(&self) -> Option<Summary> {
        let missing = OLDEST.saturating_sub(self.oldest.len());
        self.below
            .or_else(|| self.oldest.summary_of_all(missing))
            .filter(|_| self.below.is_some() || missing <= MISSING)
    }

    /// Returns the measurement with few calls in flight, or `None` if most of the first calls were of new kinds. The usual
    /// times of these kinds are uncertain then, and an edge would often seem to be slower than the few others.
    pub(super) fn foot_of_known_kinds(&self) -> Option<Summary> {
        self.foot()
            .filter(|_| self.new_kinds <= MISSING || !self.without.keeps(Part::KnownKinds))
    }

    fn index(&self, middle: f64) -> usize {
        if middle < self.base {
            return 0;
        }
        let rung = (middle / self.base).log2().floor() + 1.0;
        usize::try_from(calls(rung)).map_or(RUNGS, |index| index.min(RUNGS))
    }

    /// Adds a sample that shows nothing about a step, if it is one of the first calls of the ramp.
    pub(super) fn push_first(&mut self, middle: f64, sample: &Sample) -> bool {
        let is_first = sample.sent <= self.sent_until && self.oldest.len() < OLDEST;
        if is_first {
            self.oldest.push(middle.ln(), sample);
        }
        is_first
    }

    /// Adds a sample. Returns the step that it may have completed.
    pub(super) fn push(&mut self, middle: f64, sample: &Sample) -> usize {
        let index = self.index(middle);
        if self.rungs.len() <= index {
            self.rungs.resize_with(index + 1, Phased::default);
        }
        if let Some(rung) = self.rungs.get_mut(index) {
            rung.push(middle.ln(), sample);
        }
        let latency = Phased::latency(sample);
        if latency.is_none() {
            self.new_kinds += usize::from(sample.sent <= self.sent_until);
            self.uninformative(sample.sent);
        }
        if !self.push_first(middle, sample)
            && let Some(y) = latency
        {
            if self.recent.len() >= RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back((middle.ln(), y));
        }
        index
    }

    /// Detects that the newest calls wait in a queue, by comparison with a backend without a queue.
    ///
    /// `d = Y(newest) - Y(first)`; suspect if `d - 1.5 se > 0.5`; knee: `exp(x - d)`.
    fn suspicion(&self) -> Option<Judgement> {
        if self.recent.len() < RECENT || !self.without.keeps(Part::Newest) {
            return None;
        }
        let base = self.foot()?;
        let mut ys: Vec<f64> = self.recent.iter().map(|point| point.1).collect();
        ys.sort_by(f64::total_cmp);
        let middle = quantile(&ys, 0.35)?;
        let error = base.error.hypot(standard_error(base.spread, RECENT));
        if self.without.keeps(Part::LateRamp) && middle > 0.5 * CENSORED && base.y < 0.5 * CENSORED
        {
            return Some(Judgement::Refuted {
                elasticity: None,
                knee: base.x.exp(),
                why: "reject, late",
            });
        }
        let slower = middle - base.y;
        if slower - 1.5 * error <= SUSPECT {
            return None;
        }
        let x = self.recent.iter().map(|point| point.0).sum::<f64>() / real(RECENT);
        if self.without.keeps(Part::Changed)
            && slower > (x - base.x).max(0.0) + SUSPECT + 2.0 * error
        {
            return Some(Judgement::Changed);
        }
        let knee = x - slower;
        Some(Judgement::Refuted {
            elasticity: None,
            knee: knee.exp().max(base.x.exp()).min(x.exp()),
            why: "reject, calls wait",
        })
    }

    fn reference(&self, index: usize) -> Option<Summary> {
        let rung = self.rungs.get(index)?;
        let own = (rung.len() >= LEAST).then(|| rung.summary()).flatten();
        own.or(self.below.filter(|_| index == 0))
    }

    /// Assesses a step if it has enough samples and was not assessed before.
    pub(super) fn judge(
        &mut self,
        index: usize,
        history: &History,
        theta: f64,
    ) -> Option<Judgement> {
        if let Some(suspicion) = self.suspicion() {
            return Some(suspicion);
        }
        if index <= self.proved {
            return None;
        }
        let height = self.base * real(1 << index.min(RUNGS));
        let needed = usize::try_from(calls((0.6 * height).clamp(4.0, 40.0))).unwrap_or(40);
        let rung = self.rungs.get(index)?;
        if rung.len() < needed {
            return None;
        }
        let low = (0..index).rev().find_map(|at| self.reference(at));
        // A backend that serves nothing is broken, which the controller finds.
        let high = rung.summary()?;
        if self.without.keeps(Part::LateRamp) && high.y > 0.5 * CENSORED {
            let knee = self.base;
            return Some(Judgement::Refuted {
                elasticity: None,
                knee,
                why: "reject, late",
            });
        }
        let prior = |e: Estimate| {
            if self.without.keeps(Part::Prior) {
                e.joined(RAMP_PRIOR)
            } else {
                e
            }
        };
        let pair = low.and_then(|low| Some((low, prior(history.elasticity(&low, &high)?))));
        let elasticity = pair.map(|(_, e)| (e.value, e.error));
        if let Some((low, e)) = pair
            && e.value - 0.7 * e.error > theta
        {
            let slower = (high.y - low.y).clamp(0.0, high.x - low.x);
            return Some(Judgement::Refuted {
                elasticity,
                knee: (high.x - slower).exp(),
                why: "reject",
            });
        }
        self.proved = index;
        Some(Judgement::Proved { elasticity })
    }
}
