//! Asks all questions again and again in random order, as callers would, and learns from those that are asked.

use kebne_cache::{Decision, Observation, Verifier, difference};
use kebne_retrieval::Vector;

use crate::cache_eval::{Asked, Share};

/// Rounds of one seed. Answers expire after each round; what was learned stays.
const ROUNDS: u32 = 12;
/// The settings of the program by default.
const SIMILARITY_MIN: f32 = 0.8;
const ERROR_MAX: f64 = 0.005;
const EXPLORE: f64 = 0.05;
/// The similar questions that are looked at, as in the program.
const CANDIDATES: usize = 4;

/// What happened to all questions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Replay {
    /// The number of seeds.
    pub seeds: u64,
    /// Wrong answers among those that were used.
    pub wrong: Share,
    /// Right answers that were used, among the questions that had one.
    pub found: Share,
    /// The same in the last third of the rounds.
    pub found_late: Share,
    /// Questions that were asked to learn, among all.
    pub explored: Share,
}

/// Replays the questions with each seed.
pub(crate) fn run(asked: &[Asked], lexical: bool, seeds: u64) -> Replay {
    let mut replay = Replay {
        seeds,
        ..Replay::default()
    };
    for seed in 0..seeds {
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut verifier = Verifier::default();
        for round in 0..ROUNDS {
            let mut order: Vec<&Asked> = asked.iter().collect();
            chance.shuffle(&mut order);
            let mut kept: Vec<&Asked> = Vec::new();
            for question in order {
                let is_late = round >= ROUNDS - ROUNDS / 3;
                let has_answer = kept.iter().any(|kept| kept.answer == question.answer);
                let used = look(
                    &kept,
                    question,
                    (&mut verifier, lexical),
                    &mut chance,
                    &mut replay,
                );
                if has_answer {
                    let is_right = used == Some(true);
                    replay.found.add(is_right);
                    if is_late {
                        replay.found_late.add(is_right);
                    }
                }
                if let Some(is_right) = used {
                    replay.wrong.add(!is_right);
                } else {
                    kept.push(question);
                }
            }
        }
    }
    replay
}

/// Looks for an answer. Returns whether the one that is used is right; `None` if the question is asked.
fn look(
    kept: &[&Asked],
    question: &Asked,
    (verifier, lexical): (&mut Verifier, bool),
    chance: &mut fastrand::Rng,
    replay: &mut Replay,
) -> Option<bool> {
    let fitting = nearest(kept, &question.vector).into_iter();
    let mut fitting =
        fitting.filter(|(_, kept)| !lexical || difference(&kept.text, &question.text).is_none());
    let Some((similarity, candidate)) = fitting.next() else {
        replay.explored.add(false);
        return None;
    };
    let is_right = candidate.answer == question.answer;
    let decision = verifier.decide(similarity, ERROR_MAX, (EXPLORE, chance.f64()));
    replay.explored.add(decision == Decision::Explore);
    match decision {
        Decision::Use => Some(is_right),
        Decision::Explore => {
            verifier.observe(Observation {
                similarity,
                is_right,
            });
            None
        }
    }
}

/// Returns the most similar questions that are kept.
fn nearest<'a>(kept: &[&'a Asked], vector: &Vector) -> Vec<(f32, &'a Asked)> {
    let compared = kept.iter().map(|kept| (kept.vector.cosine(vector), *kept));
    let mut near: Vec<(f32, &Asked)> = compared
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .collect();
    near.sort_by(|left, right| right.0.total_cmp(&left.0));
    near.truncate(CANDIDATES);
    near
}
