//! Asks a model of the gateway for the order of what was found. Whatever it does not do in time leaves the order of the search.

use kebne_collections::{Candidates, Query};
use kebne_wire::{PassThrough, request::Endpoint};
use serde_json::{Value, json};

use crate::{
    gateway::inner::{self, InnerCall, InnerError, Keeps, Purpose},
    settings::RetrievalSettings,
    sources::Asker,
    state::State,
};

/// The most bytes of a chunk that are ranked: rerankers read about 512 tokens.
const TEXT_MAX: usize = 4 << 10;
/// The most bytes of the question.
const QUERY_MAX: usize = 4 << 10;

/// Why a model gave no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unranked {
    /// It did not answer in time.
    Slow,
    /// A limit of the key had no room for the call.
    Limit,
    /// It did not answer, or its answer has no scores.
    Failed,
}

impl Unranked {
    /// Returns the word for it in answers.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Slow => "timeout",
            Self::Limit => "limit",
            Self::Failed => "failed",
        }
    }
}

/// Returns a score for each candidate, 0 to 1, in the order of the candidates.
pub(super) async fn scores(
    state: &State,
    asker: Asker<'_>,
    (model, settings): (&str, &RetrievalSettings),
    (query, candidates): (&Query, &Candidates),
) -> Result<Vec<f32>, Unranked> {
    let texts = candidates.items.iter().take(settings.rerank_candidates);
    let texts: Vec<String> = texts
        .map(|item| {
            let source = &item.source;
            let mut text = source.headings.join(" / ");
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&source.text);
            cut(text, TEXT_MAX)
        })
        .collect();
    let count = texts.len();
    let question = cut(query.texts.join("\n"), QUERY_MAX);
    let call = InnerCall {
        purpose: Purpose::Rerank,
        model,
        endpoint: Endpoint::PassThrough(PassThrough::Rerank),
        body: json!({"model": model, "query": question, "documents": texts, "top_n": count}),
        time: settings.rerank_timeout.0.min(asker.patience),
        priority: 0,
        behalf: asker.behalf,
        keeps: Keeps::AllLimits,
    };
    let asked = inner::ask(&state.gateway, call, |answer| scores_of(answer, count));
    asked.await.map_err(|error| {
        tracing::warn!(model, %error, "what was found keeps the order of the search");
        match error {
            InnerError::Slow => Unranked::Slow,
            InnerError::Denied(_) => Unranked::Limit,
            InnerError::Invalid(_) | InnerError::NoAnswer { .. } | InnerError::Unreadable => {
                Unranked::Failed
            }
        }
    })
}

fn cut(mut text: String, size_max: usize) -> String {
    text.truncate(text.floor_char_boundary(size_max));
    text
}

/// Reads the answer of a reranker: `results`, each with an `index` and a `relevance_score`. Scores beyond 0 to 1 are logits, of which each
/// becomes `1 / (1 + e^-score)`.
fn scores_of(answer: &Value, count: usize) -> Option<Vec<f32>> {
    let results = answer["results"].as_array()?;
    let mut scores = vec![f64::NAN; count];
    for result in results {
        let index = usize::try_from(result["index"].as_u64()?).ok()?;
        let score = result["relevance_score"].as_f64()?;
        *scores.get_mut(index)? = score;
    }
    if scores.iter().all(|score| score.is_nan()) {
        return None;
    }
    let are_logits = scores
        .iter()
        .any(|score| !score.is_nan() && !(0.0..=1.0).contains(score));
    let score = |score: f64| {
        let score = if are_logits {
            1.0 / (1.0 + (-score).exp())
        } else {
            score
        };
        narrow(score)
    };
    Some(scores.into_iter().map(score).collect())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a score from 0 to 1 needs no more than 24 bits"
)]
fn narrow(score: f64) -> f32 {
    score as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_brought_into_the_order_of_the_candidates() {
        let answer = json!({"results": [{"index": 2, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.25}]});
        let scores = scores_of(&answer, 3).unwrap();
        assert!(
            (scores[0] - 0.25).abs() < 1e-6 && scores[1].is_nan() && (scores[2] - 0.9).abs() < 1e-6
        );
    }

    #[test]
    fn logits_become_scores_in_the_same_order() {
        let answer = json!({"results": [{"index": 0, "relevance_score": -3.0}, {"index": 1, "relevance_score": 5.5}]});
        let scores = scores_of(&answer, 2).unwrap();
        assert!(scores[0] > 0.04 && scores[0] < 0.05 && scores[1] > 0.99 && scores[1] <= 1.0);
    }

    #[test]
    fn what_has_no_scores_is_not_an_answer() {
        for answer in [
            json!({}),
            json!({"results": []}),
            json!({"results": [{"index": 3, "relevance_score": 1}]}),
            json!({"results": [{"index": 0}]}),
            json!({"results": [{"index": -1, "relevance_score": 1}]}),
        ] {
            assert_eq!(scores_of(&answer, 2), None, "{answer}");
        }
    }
}
