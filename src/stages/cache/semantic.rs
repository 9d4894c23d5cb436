//! Finds the kept answer to a similar question.

use std::time::Duration;

use actix_web::web::Data;
use kebne_answer_cache::Candidate;
use kebne_cache::{Decision, Directives, Freshness, VerifierKind, difference, freshness, text_of};
use kebne_retrieval::{Role, Vector};
use tokio::time::{Instant, timeout_at};

use crate::{
    answer_cache::SemanticEvent,
    cache_note::Outcome,
    gateway::behalf::Behalf,
    stages::cache::{
        Found, judge,
        keep::{Keep, Similar},
    },
    state::State,
};

/// The longest time that a call waits for the answer to a similar question. A call whose time is short waits for half of it at most.
const LOOKUP_MAX: Duration = Duration::from_secs(2);
/// The similar questions that are looked at.
const CANDIDATES: usize = 4;
/// The longest question that is compared: a longer one is a document, and two of them differ somewhere.
const QUESTION_MAX: usize = 2000;

/// Returns the vector of a question; `None` if it is too long, or the embedder has none.
pub(super) async fn vector(state: &State, behalf: &Behalf, question: &str) -> Option<Vector> {
    if question.len() > QUESTION_MAX || question.trim().is_empty() {
        return None;
    }
    let embedder = state.gateway.embedder_for(behalf);
    match embedder.embed(vec![question.to_owned()], Role::Query).await {
        Ok(vectors) => vectors.into_iter().next(),
        Err(error) => {
            tracing::debug!(%error, "a question is not compared with similar ones");
            None
        }
    }
}

/// Returns the kept answer to a similar question, if the verifier is certain of it. Otherwise what the answer of this call teaches is noted
/// in `keep`.
pub(super) async fn find(
    state: &Data<State>,
    keep: &mut Keep,
    patience: Duration,
) -> Option<Found> {
    let (group, question) = keep.question.clone()?;
    let counts = &state.cache.counts;
    let due = Instant::now() + patience.min(LOOKUP_MAX);
    let embedded = timeout_at(due, vector(state, &keep.behalf, &question)).await;
    let Some(vector) = embedded.ok().flatten() else {
        keep.question = None;
        counts.semantic(&keep.model, SemanticEvent::Failed);
        return None;
    };
    keep.vector = Some(vector.clone());
    let rules = keep.cache.rules.semantic.clone();
    #[expect(clippy::cast_possible_truncation, reason = "a bound from 0 to 1")]
    let bounds = (rules.similarity_min as f32, CANDIDATES);
    let space = state.gateway.embedder().space();
    let store = &state.cache.store;
    let similar = store.similar(&keep.owner, group, (space, vector), bounds);
    let (candidates, mut verifier) = similar.await?;
    let candidate = fitting(candidates, |candidate| {
        let found = difference(&candidate.question, &question).filter(|_| rules.lexical);
        if let Some(difference) = found {
            counts.semantic(&keep.model, SemanticEvent::RuledOut(difference));
        }
        found.is_none()
    })?;
    let found = kept(state, keep, &candidate).await?;
    let text = text_of(keep.form, &found.answer.body())?;
    let is_judged = rules.verifier == VerifierKind::Judge;
    let decision = if let Some(judge) = rules.judge.as_ref().filter(|_| is_judged) {
        let questions = (candidate.question.as_str(), question.as_str());
        let time = due.saturating_duration_since(Instant::now());
        match judge::ask_the_same(state, keep, (judge, time), questions, &text).await {
            Some(true) => Decision::Use,
            Some(false) => return None,
            None => {
                counts.semantic(&keep.model, SemanticEvent::Failed);
                return None;
            }
        }
    } else {
        let chance = (rules.explore, fastrand::f64());
        verifier.decide(candidate.similarity, rules.error_max, chance)
    };
    if decision == Decision::Use {
        return Some(found);
    }
    keep.similar = Some(Similar {
        similarity: candidate.similarity,
        text,
    });
    None
}

fn fitting(candidates: Vec<Candidate>, fits: impl Fn(&Candidate) -> bool) -> Option<Candidate> {
    candidates.into_iter().find(|candidate| fits(candidate))
}

/// Returns the answer of a candidate.
async fn kept(state: &State, keep: &Keep, candidate: &Candidate) -> Option<Found> {
    let store = &state.cache.store;
    let entry = store.look(&keep.owner, candidate.key).await?;
    let age = Duration::from_millis(store.now().saturating_sub(entry.created));
    let rules = &keep.cache.rules;
    let is_fresh = freshness(age, rules.ttl.0, Duration::ZERO, &Directives::default());
    let found = Found::read(&entry.body, Outcome::Semantic, age)?;
    (is_fresh == Freshness::Fresh && found.answer.form == keep.form).then_some(found)
}
