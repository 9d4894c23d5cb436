//! The quality of retrieval on questions with known answers: `kebne-lab rag-eval`.
//!
//! Owns the texts and the questions. They were written for this purpose; half of the questions use words of the texts, half use other forms
//! of them. The rankings are those of the program: the word index, the built-in embedder with the exact index, and both fused.

use std::{collections::BTreeMap, fmt::Write as _};

use kebne_retrieval::{FlatIndex, HashedNgrams, Judged, Quality, WordIndex, fuse};
use serde::Deserialize;

const DOCUMENTS: &str = include_str!("rag/documents.jsonl");
const QUESTIONS: &str = include_str!("rag/questions.jsonl");
/// Results that are judged.
const RESULTS: usize = 5;
/// Candidates of each ranking, as in the program.
const CANDIDATES: usize = 50;
/// The components of the vectors, as in the program.
const DIMENSIONS: usize = 384;

#[derive(Debug, Deserialize)]
struct Document {
    id: String,
    text: String,
}

#[derive(Debug, Deserialize)]
struct Question {
    question: String,
    relevant: Vec<String>,
}

/// The mean quality of three ways to rank.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Report {
    /// The number of questions.
    pub questions: usize,
    /// By words (BM25).
    pub words: Quality,
    /// By the vectors of the built-in embedder.
    pub vectors: Quality,
    /// Both, fused by reciprocal rank.
    pub hybrid: Quality,
}

/// Ranks the texts for each question.
///
/// # Errors
/// Returns an error if the files of texts and questions cannot be read.
pub fn evaluate() -> Result<Report, serde_json::Error> {
    let documents: Vec<Document> = lines(DOCUMENTS)?;
    let questions: Vec<Question> = lines(QUESTIONS)?;
    let embedder = HashedNgrams::new(DIMENSIONS);
    let mut words = WordIndex::default();
    let mut ids: BTreeMap<&str, u64> = BTreeMap::new();
    let Ok(mut vectors) = FlatIndex::new(DIMENSIONS) else {
        return Ok(Report::default());
    };
    for (id, document) in (0..).zip(&documents) {
        words.insert(id, &document.text);
        if vectors.insert(id, &embedder.embed(&document.text)).is_ok() {
            ids.insert(&document.id, id);
        }
    }
    let mut qualities: [Vec<Quality>; 3] = [const { Vec::new() }; 3];
    for question in &questions {
        let text = &question.question;
        let by_words = words.search(text, CANDIDATES, |_| true);
        let by_words: Vec<u64> = by_words.iter().map(|hit| hit.id).collect();
        let by_vectors = vectors.search(&embedder.embed(text), CANDIDATES, |_| true);
        let by_vectors: Vec<u64> = by_vectors
            .unwrap_or_default()
            .iter()
            .map(|hit| hit.id)
            .collect();
        let fused = fuse([(1.0, by_vectors.as_slice()), (1.0, by_words.as_slice())]);
        let fused: Vec<u64> = fused.iter().map(|item| item.id).collect();
        let relevant = question
            .relevant
            .iter()
            .filter_map(|id| ids.get(id.as_str()));
        let judged = Judged::new(relevant.map(|id| (*id, 1)));
        for (all, ranking) in qualities.iter_mut().zip([&by_words, &by_vectors, &fused]) {
            all.extend(judged.quality(ranking, RESULTS));
        }
    }
    let [words, vectors, hybrid] = qualities.map(|all| Quality::mean(&all).unwrap_or_default());
    Ok(Report {
        questions: questions.len(),
        words,
        vectors,
        hybrid,
    })
}

impl Report {
    /// Returns a table.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{} questions\n\nranking   recall@{RESULTS}    MRR   nDCG@{RESULTS}\n",
            self.questions
        );
        let rows = [
            ("words", self.words),
            ("vectors", self.vectors),
            ("hybrid", self.hybrid),
        ];
        for (name, quality) in rows {
            // Writing to a string does not fail.
            let _always_written = writeln!(
                text,
                "{name:<9} {:>8.3} {:>6.3} {:>8.3}",
                quality.recall, quality.reciprocal_rank, quality.ndcg
            );
        }
        text
    }
}

fn lines<'a, T: Deserialize<'a>>(text: &'a str) -> Result<Vec<T>, serde_json::Error> {
    text.lines().map(serde_json::from_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_has_an_answer_and_both_rankings_together_are_better_than_each() {
        let documents: Vec<Document> = lines(DOCUMENTS).unwrap();
        let questions: Vec<Question> = lines(QUESTIONS).unwrap();
        for id in questions.iter().flat_map(|question| &question.relevant) {
            assert!(documents.iter().any(|document| document.id == *id), "{id}");
        }
        let report = evaluate().unwrap();
        let text = report.table();
        for alone in [report.words, report.vectors] {
            assert!(report.hybrid.ndcg > alone.ndcg, "{text}");
            assert!(report.hybrid.recall >= alone.recall, "{text}");
        }
        assert!(report.hybrid.recall > 0.95, "{text}");
    }
}
