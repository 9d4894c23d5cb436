//! How a share of the words does on questions for which it was not chosen.

use std::fmt::Write as _;

use kebne_retrieval::Quality;

/// The divisions of the questions into halves.
const DIVISIONS: u64 = 400;

/// What both rankings together gain over the better one alone, in nDCG, on halves of the questions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Halves {
    /// With the share of the words that is best on the other half.
    pub of_chosen: Gain,
    /// With the share of the program.
    pub of_default: Gain,
}

/// A gain over many divisions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gain {
    /// The mean.
    pub mean: f64,
    /// The standard deviation over the divisions.
    pub deviation: f64,
}

impl Gain {
    fn of(gains: &[f64]) -> Self {
        let mean = mean(gains.iter().copied());
        let squares = gains.iter().map(|gain| (gain - mean).powi(2));
        Self {
            mean,
            deviation: self::mean(squares).sqrt(),
        }
    }
}

impl Halves {
    /// Measures the gains: of each way to rank there is a quality for each question.
    pub(super) fn of(
        (words, vectors): (&[Quality], &[Quality]),
        hybrid: &[Quality],
        shares: &[(f32, Vec<Quality>)],
    ) -> Self {
        let (mut of_chosen, mut of_default) = (Vec::new(), Vec::new());
        let mut questions: Vec<usize> = (0..hybrid.len()).collect();
        for seed in 0..DIVISIONS {
            fastrand::Rng::with_seed(seed).shuffle(&mut questions);
            let (chosen_on, judged_on) = questions.split_at(questions.len() / 2);
            let alone = ndcg(words, judged_on).max(ndcg(vectors, judged_on));
            let best = shares.iter().max_by(|(_, left), (_, right)| {
                ndcg(left, chosen_on).total_cmp(&ndcg(right, chosen_on))
            });
            of_chosen.extend(best.map(|(_, chosen)| ndcg(chosen, judged_on) - alone));
            of_default.push(ndcg(hybrid, judged_on) - alone);
        }
        Self {
            of_chosen: Gain::of(&of_chosen),
            of_default: Gain::of(&of_default),
        }
    }

    pub(super) fn write(&self, text: &mut String) -> std::fmt::Result {
        let named = [
            ("share chosen on the other half", self.of_chosen),
            ("default share", self.of_default),
        ];
        writeln!(text, "\ngain in nDCG over the better one, on halves")?;
        for (name, gain) in named {
            let Gain { mean, deviation } = gain;
            writeln!(text, "{name:<31} {mean:>+6.3} (deviation {deviation:.3})")?;
        }
        Ok(())
    }
}

/// Returns the mean of some questions.
fn ndcg(all: &[Quality], questions: &[usize]) -> f64 {
    let some = questions.iter().filter_map(|at| all.get(*at));
    mean(some.map(|quality| quality.ndcg))
}

/// Returns the mean; 0 of nothing.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0_u32);
    for value in values {
        sum += value;
        count += 1;
    }
    sum / f64::from(count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qualities(ndcgs: &[f64]) -> Vec<Quality> {
        let qualities = ndcgs.iter().map(|ndcg| Quality {
            ndcg: *ndcg,
            ..Quality::default()
        });
        qualities.collect()
    }

    #[test]
    fn what_is_better_for_each_question_has_its_gain_in_all_halves() {
        let (low, high) = (qualities(&[0.5; 8]), qualities(&[0.75; 8]));
        let shares = [(0.1, low.clone()), (0.2, high.clone())];
        let halves = Halves::of((&low, &low), &low, &shares);
        assert!((halves.of_chosen.mean - 0.25).abs() < 1e-9, "{halves:?}");
        assert!(halves.of_chosen.deviation < 1e-9 && halves.of_default.mean.abs() < 1e-9);
    }

    #[test]
    fn what_was_luck_on_one_half_is_not_a_gain_on_the_other() {
        // Each share is right for one question only: the one that looks best is best for a question that is not judged.
        let one = |at: usize| {
            let mut ndcgs = [0.5; 8];
            ndcgs[at] = 1.0;
            (0.1, qualities(&ndcgs))
        };
        let shares: Vec<_> = (0..8).map(one).collect();
        let alone = qualities(&[0.5; 8]);
        let halves = Halves::of((&alone, &alone), &alone, &shares);
        assert!(halves.of_chosen.mean.abs() < 1e-9, "{halves:?}");
    }
}
