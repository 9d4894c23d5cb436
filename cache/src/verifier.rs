//! The learned threshold of a group of calls: whether the answer to a similar question may be used, with a bound on the error.
//!
//! After vCache (Schroeder et al., "vCache: Verified Semantic Prompt Caching", 2025): the probability that the answer is right follows a
//! logistic function of the similarity `s`, `L(s; t, g) = 1 / (1 + exp(-g (s - t)))`, and the parameters are learned from questions that were
//! asked although an answer was there. Of the parameters on a grid, those are ruled out under which what was observed is too unlikely: with
//! `P` the likelihood of the observations, `C = { (t, g) : P(t, g) > ALPHA * mean of P over the grid }`. By Ville's inequality the true
//! parameters are in `C` at all times with the probability `1 - ALPHA`, however the questions were chosen and whenever one looks (Robbins'
//! method of mixtures; Darling and Robbins, "Confidence sequences for mean, variance, and median", 1967). The answer is right at least with the
//! probability `r(s)`, the least `L(s)` in `C`, and is used if `1 - r(s) <= error_max`. If all `n` answers at `s` were right, that takes
//! `n >= ln(1 / ALPHA) / -ln(1 - error_max)`, which is what the exact binomial bound takes as well. It bounds the wrong answers among those
//! that are used; vCache bounds their share among all calls.
//!
//! One thing is learned at once: a pair of questions whose answers differed rules out all pairs that are no more similar by [`MARGIN`].

use serde::{Deserialize, Serialize};

/// The observations that are kept; the oldest go first.
const OBSERVATIONS_MAX: usize = 1000;
/// The probability that the bound does not hold.
const ALPHA: f64 = 0.05;
/// Similarities are rounded up to steps of one by this, which makes right answers count less and wrong ones more.
const STEPS: f32 = 200.0;
/// How much more similar than a wrong pair another pair has to be.
const MARGIN: f32 = 0.02;
/// The thresholds of the grid: -0.2 to 1.1 in steps of 0.02.
const THRESHOLDS: usize = 66;
/// The steepnesses of the grid.
const STEEPNESSES: [f64; 6] = [4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// One question that was asked although an answer to a similar one was there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The similarity of the questions.
    #[serde(rename = "s")]
    pub similarity: f32,
    /// `true` if the answers said the same.
    #[serde(rename = "c")]
    pub is_right: bool,
}

impl Observation {
    fn rounded(self) -> Self {
        Self {
            similarity: (self.similarity * STEPS).ceil() / STEPS,
            ..self
        }
    }
}

/// What is done with a question for which there is an answer to a similar one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The answer is used.
    Use,
    /// The question is asked, and what it shows is learned.
    Explore,
}

/// What was learned in one group.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Verifier {
    observations: Vec<Observation>,
    /// The logarithm of the likelihood of each cell of the grid; empty until it is needed.
    #[serde(skip)]
    likelihoods: Vec<f64>,
}

impl PartialEq for Verifier {
    fn eq(&self, other: &Self) -> bool {
        self.observations == other.observations
    }
}

impl Verifier {
    /// Returns what was learned, to be kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what was kept; `None` if it cannot be read.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// Returns the number of observations.
    pub fn observed(&self) -> usize {
        self.observations.len()
    }

    /// Learns from a question that was asked.
    pub fn observe(&mut self, observation: Observation) {
        if !observation.similarity.is_finite() {
            return;
        }
        if self.observations.len() >= OBSERVATIONS_MAX {
            self.observations.remove(0);
            self.likelihoods.clear();
        }
        self.observations.push(observation);
        if !self.likelihoods.is_empty() {
            learn(&mut self.likelihoods, observation, 1);
        }
    }

    /// Decides about an answer to a question of this similarity. `draw`, from 0 to 1, is at random: below `explore` the question is asked
    /// whatever was learned.
    pub fn decide(
        &mut self,
        similarity: f32,
        error_max: f64,
        (explore, draw): (f64, f64),
    ) -> Decision {
        if draw < explore || 1.0 - self.probability(similarity) > error_max {
            Decision::Explore
        } else {
            Decision::Use
        }
    }

    /// Returns the probability with which an answer to a question of this similarity is right at least; 0 if that is ruled out, or nothing
    /// is known.
    pub fn probability(&mut self, similarity: f32) -> f64 {
        let mut wrong = self.observations.iter().filter(|one| !one.is_right);
        let is_ruled_out = wrong.any(|one| similarity <= one.similarity + MARGIN);
        if is_ruled_out || self.observations.is_empty() || !similarity.is_finite() {
            return 0.0;
        }
        if self.likelihoods.is_empty() {
            self.likelihoods = likelihoods(&self.observations);
        }
        least(&self.likelihoods, similarity)
    }
}

/// Returns the parameters of a cell of the grid.
fn parameters(cell: usize) -> (f64, f64) {
    let steps = u32::try_from(cell / STEEPNESSES.len()).unwrap_or(u32::MAX);
    let steepness = STEEPNESSES[cell % STEEPNESSES.len()];
    (f64::from(steps) * 0.02 - 0.2, steepness)
}

/// Returns `L(s; t, g)`.
fn logistic(similarity: f32, (threshold, steepness): (f64, f64)) -> f64 {
    1.0 / (1.0 + (-steepness * (f64::from(similarity) - threshold)).exp())
}

/// Returns the logarithm of the likelihood of each cell.
fn likelihoods(observations: &[Observation]) -> Vec<f64> {
    let mut sorted: Vec<Observation> = observations.iter().map(|one| one.rounded()).collect();
    sorted.sort_by(|left, right| {
        let by_similarity = left.similarity.total_cmp(&right.similarity);
        by_similarity.then(left.is_right.cmp(&right.is_right))
    });
    let mut likelihoods = vec![0.0; THRESHOLDS * STEEPNESSES.len()];
    for alike in sorted.chunk_by(|left, right| left == right) {
        let times = u32::try_from(alike.len()).unwrap_or(u32::MAX);
        if let Some(one) = alike.first() {
            learn(&mut likelihoods, *one, times);
        }
    }
    likelihoods
}

/// Adds the logarithm of the likelihood of an observation that was made so many times.
fn learn(likelihoods: &mut [f64], observation: Observation, times: u32) {
    /// No observation rules a cell out for good.
    const LEAST: f64 = 1e-6;
    let observation = observation.rounded();
    for (cell, sum) in likelihoods.iter_mut().enumerate() {
        let right = logistic(observation.similarity, parameters(cell));
        let likelihood = if observation.is_right {
            right
        } else {
            1.0 - right
        };
        *sum += f64::from(times) * likelihood.max(LEAST).ln();
    }
}

/// Returns the least `L(s)` of the cells that are not ruled out. The most likely cell never is.
fn least(likelihoods: &[f64], similarity: f32) -> f64 {
    let most = likelihoods
        .iter()
        .copied()
        .fold(f64::NEG_INFINITY, f64::max);
    let (mut sum, mut cells) = (0.0, 0.0);
    for likelihood in likelihoods {
        sum += (likelihood - most).exp();
        cells += 1.0;
    }
    let bound = most + (ALPHA * sum / cells).ln();
    let of_cells = likelihoods.iter().enumerate();
    let possible = of_cells.filter(|(_, likelihood)| **likelihood > bound);
    possible
        .map(|(cell, _)| logistic(similarity, parameters(cell)))
        .fold(1.0, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verifier(observations: &[(f32, bool, usize)]) -> Verifier {
        let mut verifier = Verifier::default();
        for (similarity, is_right, times) in observations {
            for _ in 0..*times {
                verifier.observe(Observation {
                    similarity: *similarity,
                    is_right: *is_right,
                });
            }
        }
        verifier
    }

    /// Returns the observations at one similarity, all right, after which an answer at this similarity is used.
    fn needed(error_max: f64) -> u32 {
        let mut verifier = Verifier::default();
        let mut observed = 0;
        while verifier.decide(0.9, error_max, (0.0, 0.5)) == Decision::Explore {
            verifier.observe(Observation {
                similarity: 0.9,
                is_right: true,
            });
            observed += 1;
            assert!(observed < 1000, "{error_max}");
        }
        observed
    }

    #[test]
    fn a_few_right_answers_never_suffice() {
        let mut none = Verifier::default();
        assert_eq!(none.decide(1.0, 0.2, (0.0, 0.5)), Decision::Explore);
        for error_max in [0.2_f64, 0.1, 0.05, 0.02, 0.005] {
            let least = (1.0 / ALPHA).ln() / -(1.0 - error_max).ln();
            let needed = f64::from(needed(error_max));
            assert!(
                needed >= least && needed < 1.5 * least + 2.0,
                "{error_max}: {needed}, {least}"
            );
        }
        // Nor if they were much less similar.
        let mut few = verifier(&[(0.6, true, 3)]);
        assert_eq!(few.decide(1.0, 0.2, (0.0, 0.5)), Decision::Explore);
    }

    #[test]
    fn right_answers_lower_the_threshold_and_wrong_ones_raise_it() {
        let mut right = verifier(&[(0.85, true, 600)]);
        assert_eq!(right.decide(0.95, 0.005, (0.0, 0.5)), Decision::Use);
        assert_eq!(right.decide(0.6, 0.005, (0.0, 0.5)), Decision::Explore);
        let before = right.probability(0.95);
        right.observe(Observation {
            similarity: 0.93,
            is_right: false,
        });
        assert!(right.probability(0.95) < before);
        assert_eq!(right.decide(0.94, 0.2, (0.0, 0.5)), Decision::Explore);
    }

    #[test]
    fn a_share_is_explored_whatever_is_known() {
        let mut right = verifier(&[(0.85, true, 600)]);
        assert_eq!(right.decide(0.95, 0.005, (0.05, 0.049)), Decision::Explore);
        assert_eq!(right.decide(0.95, 0.005, (0.05, 0.05)), Decision::Use);
    }

    #[test]
    fn what_is_written_down_is_learned_again_and_bounded() {
        let mut known = verifier(&[(0.85, true, 30), (0.5, false, 10)]);
        let mut read = Verifier::from_bytes(&known.to_bytes()).unwrap();
        let difference = read.probability(0.9) - known.probability(0.9);
        assert!(difference.abs() < 1e-9);
        let many = verifier(&[(0.9, true, OBSERVATIONS_MAX + 5)]);
        assert_eq!(many.observed(), OBSERVATIONS_MAX);
        known.observe(Observation {
            similarity: f32::NAN,
            is_right: true,
        });
        assert_eq!(
            (known.observed(), known.probability(f32::NAN) > 0.0),
            (40, false)
        );
    }

    /// The bound holds for the model that it assumes: of the answers that are used, at most `error_max` are wrong.
    #[test]
    fn the_share_of_wrong_answers_stays_below_the_bound() {
        for seed in 0..8 {
            let mut chance = fastrand::Rng::with_seed(seed);
            let truth = (0.75 + 0.01 * f64::from(u32::try_from(seed).unwrap()), 32.0);
            let (mut used, mut wrong) = (0_u32, 0_u32);
            let mut verifier = Verifier::default();
            for _ in 0..2000 {
                let similarity = 0.6 + 0.4 * chance.f32();
                let is_right = chance.f64() < logistic(similarity, truth);
                match verifier.decide(similarity, 0.02, (0.05, chance.f64())) {
                    Decision::Use => {
                        used += 1;
                        wrong += u32::from(!is_right);
                    }
                    Decision::Explore => verifier.observe(Observation {
                        similarity,
                        is_right,
                    }),
                }
            }
            assert!(
                f64::from(wrong) <= 0.02 * f64::from(used.max(50)),
                "seed {seed}: {wrong} of {used}"
            );
        }
    }
}
