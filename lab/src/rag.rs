//! The quality of retrieval on questions with known answers: `kebne-lab rag-eval`.
//!
//! Owns the texts and the questions. They were written for this purpose; half of the questions use words of the texts, half use other forms
//! of them. A second set asks for identifiers, which vectors hardly tell from each other; the third is both together. The rankings are those of the program: the word index, exact vectors, and both by one score. The embedder is the built-in one, or
//! a model of a server. Both rankings fused by reciprocal rank are beside them, for comparison. Questions that no text answers show
//! what a floor leaves out.
//!
//! The share of the words is judged on questions for which it was not chosen: see [`Halves`].

mod halves;

use std::{collections::BTreeMap, fmt::Write as _};

use kebne_retrieval::{
    InvalidVector, Judged, Quality, Vector, WORDS_SHARE, WordIndex, blend, fuse,
};
use serde::Deserialize;

use crate::embedding::{EmbedError, EmbedderArgs, Embedding};

pub use halves::Halves;

/// Texts about many subjects, with questions.
const PROSE: (&str, &str) = (
    include_str!("rag/documents.jsonl"),
    include_str!("rag/questions.jsonl"),
);
/// Texts about faults of devices, which differ in their identifiers, and questions for these.
const IDENTIFIERS: (&str, &str) = (
    include_str!("rag/identifier_documents.jsonl"),
    include_str!("rag/identifier_questions.jsonl"),
);
/// Results that are judged.
const RESULTS: usize = 5;
/// Candidates of each ranking, as in the program.
const CANDIDATES: usize = 50;
/// The shares of the words that are compared.
const SHARES: [f32; 10] = [0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8];
/// Questions that no text answers.
const STRANGE: [&str; 12] = [
    "How do I configure a printer driver?",
    "Who won the football championship in 2014?",
    "What is the boiling point of ethanol?",
    "Recipe for a chocolate cake without eggs",
    "How can I renew my passport online?",
    "Which keyboard shortcut opens the terminal?",
    "What does a tax adviser charge per hour?",
    "The best guitar strings for a beginner",
    "Explain the difference between TCP and UDP.",
    "When was the violin concerto of Sibelius composed?",
    "How many calories has a banana?",
    "Vaccination schedule for puppies",
];
/// The floors that are compared: the share of the words, and the cosine.
const FLOORS: [(f32, f32); 8] = [
    (0.0, -1.0),
    (0.0, 0.1),
    (0.2, 0.1),
    (0.2, 0.15),
    (0.3, 0.2),
    (0.3, 0.25),
    (0.3, 0.3),
    (0.3, 0.35),
];

/// The reason why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum RagError {
    /// The texts or questions cannot be read.
    #[error(transparent)]
    Data(#[from] serde_json::Error),
    /// There are no vectors.
    #[error(transparent)]
    Embedder(#[from] EmbedError),
    /// A vector cannot be used.
    #[error(transparent)]
    Vector(#[from] InvalidVector),
}

#[derive(Clone, Debug, Deserialize)]
struct Document {
    id: String,
    text: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Question {
    question: String,
    relevant: Vec<String>,
}

/// A set of texts and questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// About many subjects.
    Prose,
    /// For identifiers.
    Identifiers,
    /// Both together.
    Both,
}

impl Set {
    /// All sets.
    pub const ALL: [Self; 3] = [Self::Prose, Self::Identifiers, Self::Both];

    fn parts(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Prose => &[PROSE],
            Self::Identifiers => &[IDENTIFIERS],
            Self::Both => &[PROSE, IDENTIFIERS],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Prose => "prose",
            Self::Identifiers => "identifiers",
            Self::Both => "both together",
        }
    }

    fn documents(self) -> Result<Vec<Document>, serde_json::Error> {
        let documents = self.parts().iter().map(|(documents, _)| lines(documents));
        Ok(documents.collect::<Result<Vec<_>, _>>()?.concat())
    }

    fn questions(self) -> Result<Vec<Question>, serde_json::Error> {
        let questions = self.parts().iter().map(|(_, questions)| lines(questions));
        Ok(questions.collect::<Result<Vec<_>, _>>()?.concat())
    }
}

/// The mean quality of the ways to rank.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The texts and questions.
    pub set: Set,
    /// The number of questions.
    pub questions: usize,
    /// The share of the words in the score of both.
    pub words_share: f32,
    /// By words (BM25).
    pub words: Quality,
    /// By vectors.
    pub vectors: Quality,
    /// By both, with the share of the words that the program has for this kind of embedder.
    pub hybrid: Quality,
    /// Both rankings fused by reciprocal rank, for comparison.
    pub ranks: Quality,
    /// By both, with each of several shares of the words.
    pub shares: Vec<(f32, Quality)>,
    /// How shares that were chosen on half of the questions do on the other half.
    pub halves: Halves,
    /// What floors leave out of both.
    pub floors: Vec<FloorReport>,
}

/// What a floor leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FloorReport {
    /// The share of the words, and the cosine, one of which a text must have.
    pub floor: (f32, f32),
    /// The recall of both rankings together.
    pub recall: f64,
    /// The mean number of texts for a question that no text answers.
    pub strange: f64,
}

/// The texts.
struct Indexes {
    words: WordIndex,
    vectors: Vec<Vector>,
}

/// What is known of all texts for a question.
struct Scored {
    /// For each text its cosine, how well its words fit, and the share of the words that it has.
    texts: Vec<(f32, f32, f32)>,
}

impl Indexes {
    fn new(texts: &[&str], vectors: Vec<Vector>) -> Self {
        let mut words = WordIndex::default();
        for (id, text) in (0..).zip(texts) {
            words.insert(id, text);
        }
        Self { words, vectors }
    }

    fn score(&self, question: &str, vector: &Vector) -> Scored {
        let cosines = self.vectors.iter().map(|each| each.cosine(vector));
        let mut texts: Vec<(f32, f32, f32)> = cosines.map(|cosine| (cosine, 0.0, 0.0)).collect();
        for hit in self.words.search(question, CANDIDATES, |_| true) {
            let text = usize::try_from(hit.id).ok();
            if let Some(text) = text.and_then(|at| texts.get_mut(at)) {
                (text.1, text.2) = (hit.fit, hit.share);
            }
        }
        Scored { texts }
    }
}

impl Scored {
    /// Returns the texts in the order of a score; those with less than `least` are left out.
    fn order(&self, score: impl Fn(&(f32, f32, f32)) -> f32, least: f32) -> Vec<u64> {
        let scored = (0..).zip(self.texts.iter().map(score));
        let mut scored: Vec<(u64, f32)> = scored.filter(|(_, score)| *score >= least).collect();
        scored.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
        scored.truncate(CANDIDATES);
        scored.into_iter().map(|(id, _)| id).collect()
    }

    fn words(&self) -> Vec<u64> {
        self.order(|(_, fit, _)| *fit, f32::MIN_POSITIVE)
    }

    fn vectors(&self) -> Vec<u64> {
        self.order(|(cosine, _, _)| *cosine, -1.0)
    }

    fn both(&self, words_share: f32) -> Vec<u64> {
        let score = |(cosine, fit, _): &(f32, f32, f32)| blend(Some(*cosine), *fit, words_share);
        self.order(score, f32::MIN_POSITIVE)
    }

    fn ranks(&self) -> Vec<u64> {
        let (vectors, words) = (self.vectors(), self.words());
        let both = [&vectors, &words].map(|ids| (1.0, ids.as_slice()));
        fuse(both).iter().map(|item| item.id).collect()
    }

    /// Returns both rankings together above a floor.
    fn above(&self, words_share: f32, (share, cosine): (f32, f32)) -> Vec<u64> {
        let is_above = |text: &(f32, f32, f32)| text.2 >= share || text.0 >= cosine;
        let fits = |id: &u64| {
            let text = usize::try_from(*id).ok().and_then(|at| self.texts.get(at));
            text.is_some_and(is_above)
        };
        let mut both = self.both(words_share);
        both.retain(fits);
        both
    }
}

/// Evaluates all sets, and returns what is to be printed.
///
/// # Errors
/// As [`evaluate`].
pub fn run(arguments: &EmbedderArgs) -> Result<String, RagError> {
    let mut text = String::new();
    for set in Set::ALL {
        text += &evaluate(arguments, set)?.table();
        text.push('\n');
    }
    Ok(text)
}

/// Ranks the texts for each question.
///
/// # Errors
/// Returns an error if the files of texts and questions cannot be read, or the embedder fails.
pub fn evaluate(arguments: &EmbedderArgs, set: Set) -> Result<Report, RagError> {
    let embedder = Embedding::new(arguments)?;
    let (documents, questions) = (set.documents()?, set.questions()?);
    let texts: Vec<&str> = documents.iter().map(|each| each.text.as_str()).collect();
    let indexes = Indexes::new(&texts, embedder.embed(&texts)?);
    let asked: Vec<&str> = questions
        .iter()
        .map(|each| each.question.as_str())
        .collect();
    let of_questions = embedder.embed(&asked)?;
    let of_strange = embedder.embed(&STRANGE)?;
    let ids = (0..)
        .zip(&documents)
        .map(|(id, each)| (each.id.as_str(), id));
    let ids: BTreeMap<&str, u64> = ids.collect();
    let mut judged: Vec<(Judged, Scored)> = Vec::new();
    for (question, vector) in questions.iter().zip(&of_questions) {
        let relevant = question.relevant.iter();
        let relevant = relevant.filter_map(|id| ids.get(id.as_str()));
        let relevant = Judged::new(relevant.map(|id| (*id, 1)));
        judged.push((relevant, indexes.score(&question.question, vector)));
    }
    let strange = STRANGE.iter().zip(&of_strange);
    let strange: Vec<Scored> = strange
        .map(|(question, vector)| indexes.score(question, vector))
        .collect();
    let words_share = WORDS_SHARE;
    let each = |rank: &dyn Fn(&Scored) -> Vec<u64>| -> Vec<Quality> {
        let all = judged.iter();
        all.filter_map(|(relevant, scored)| relevant.quality(&rank(scored), RESULTS))
            .collect()
    };
    let mean = |all: &[Quality]| Quality::mean(all).unwrap_or_default();
    let (words, vectors) = (each(&Scored::words), each(&Scored::vectors));
    let hybrid = each(&|scored| scored.both(words_share));
    let shares = SHARES.map(|share| (share, each(&|scored: &Scored| scored.both(share))));
    let floors = FLOORS.map(|floor| {
        let left = strange.iter().map(|scored| {
            let left = scored.above(words_share, floor);
            left.len().min(RESULTS)
        });
        FloorReport {
            floor,
            recall: mean(&each(&|scored| scored.above(words_share, floor))).recall,
            strange: ratio(left.sum(), strange.len()),
        }
    });
    Ok(Report {
        set,
        questions: questions.len(),
        words_share,
        words: mean(&words),
        vectors: mean(&vectors),
        hybrid: mean(&hybrid),
        ranks: mean(&each(&Scored::ranks)),
        shares: shares
            .iter()
            .map(|(share, all)| (*share, mean(all)))
            .collect(),
        halves: Halves::of((&words, &vectors), &hybrid, &shares),
        floors: floors.to_vec(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts of results")]
fn ratio(count: usize, of: usize) -> f64 {
    count as f64 / of as f64
}

impl Report {
    /// Returns tables.
    pub fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _always_written = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "{}: {} questions\n", self.set.name(), self.questions)?;
        writeln!(
            text,
            "ranking           recall@{RESULTS}    MRR   nDCG@{RESULTS}"
        )?;
        let mut row = |name: &str, quality: &Quality| {
            let (recall, rank, ndcg) = (quality.recall, quality.reciprocal_rank, quality.ndcg);
            writeln!(text, "{name:<17} {recall:>8.3} {rank:>6.3} {ndcg:>8.3}")
        };
        row("words", &self.words)?;
        row("vectors", &self.vectors)?;
        row("hybrid", &self.hybrid)?;
        row("(reciprocal rank)", &self.ranks)?;
        for (share, quality) in &self.shares {
            let is_default = (share - self.words_share).abs() < f32::EPSILON;
            let mark = if is_default { " *" } else { "" };
            row(&format!("words {share:.2}{mark}"), quality)?;
        }
        self.halves.write(text)?;
        writeln!(
            text,
            "\nfloor (words or cosine)   recall   texts for a question without an answer"
        )?;
        for FloorReport {
            floor: (share, cosine),
            recall,
            strange,
        } in &self.floors
        {
            writeln!(
                text,
                "{share:>5.2} {cosine:>6.2} {recall:>18.3} {strange:>8.1}"
            )?;
        }
        Ok(())
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
        for set in Set::ALL {
            let documents = set.documents().unwrap();
            for id in set
                .questions()
                .unwrap()
                .iter()
                .flat_map(|each| &each.relevant)
            {
                assert!(documents.iter().any(|document| document.id == *id), "{id}");
            }
            let report = evaluate(&EmbedderArgs::default(), set).unwrap();
            let text = report.table();
            // Each word of an identifier is an answer by itself: there is nothing to gain over words there.
            let is_gained = set != Set::Identifiers;
            for alone in [report.words, report.vectors] {
                assert!(report.hybrid.ndcg >= alone.ndcg, "{text}");
                assert!(report.hybrid.ndcg > alone.ndcg || !is_gained, "{text}");
                assert!(report.hybrid.recall >= alone.recall, "{text}");
            }
            assert!(report.hybrid.ndcg > report.ranks.ndcg, "{text}");
            assert!(report.hybrid.recall > 0.94, "{text}");
            assert!(
                report.halves.of_default.mean > 0.0 || set != Set::Prose,
                "{text}"
            );
            assert!(
                report.halves.of_chosen.mean > 0.0 || set != Set::Prose,
                "{text}"
            );
        }
    }
}
