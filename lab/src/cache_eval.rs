//! How often the cache answers, and how often wrongly: `kebne-lab cache-eval`.
//!
//! Owns a labelled set: questions, other wordings of each, and hard negatives of each kind, which look alike and have other answers. They were
//! written for this purpose. The keys, the guard on words and the verifier are those of the program; answers are compared by their labels, as
//! a perfect judge would compare them.

mod replay;

use std::{collections::BTreeMap, fmt::Write as _};

use kebne_cache::{Canonical, Place, difference};
use kebne_retrieval::Vector;
use serde::Deserialize;
use serde_json::json;

use crate::embedding::{EmbedError, EmbedderArgs, Embedding};

pub use replay::Replay;

/// The reason why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum CacheEvalError {
    /// The questions cannot be read.
    #[error("the questions cannot be read: {0}")]
    Questions(#[from] serde_json::Error),
    /// No key can be made of a call.
    #[error("no key: {0}")]
    Key(String),
    /// There are no vectors.
    #[error(transparent)]
    Embed(#[from] EmbedError),
}

const QUESTIONS: &str = include_str!("cache_eval/questions.jsonl");
/// The thresholds for which a plain comparison of vectors is shown.
const THRESHOLDS: [f32; 5] = [0.80, 0.85, 0.90, 0.95, 0.97];

/// A question, other wordings of it, and questions that look alike, by the kind of their difference.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    ask: String,
    same: Vec<String>,
    other: BTreeMap<String, String>,
}

/// One question as it is asked, with the number of its right answer.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) text: String,
    pub(crate) answer: usize,
    pub(crate) vector: Vector,
}

/// A count of some among all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Those that are meant.
    pub some: u32,
    /// All.
    pub all: u32,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Report {
    /// The name of the vectors' space.
    pub space: String,
    /// The labelled pairs.
    pub pairs: u32,
    /// The same call written otherwise: how often the exact cache finds it.
    pub exact_hits: Share,
    /// Different calls: how often the exact cache takes them for the same.
    pub exact_wrong: Share,
    /// Other wordings that the guard on words rules out, which costs hits.
    pub ruled_out_same: Share,
    /// Hard negatives that the guard on words rules out, by kind.
    pub ruled_out: BTreeMap<String, Share>,
    /// What a plain threshold on the similarity would do: other wordings found, and hard negatives taken for the same.
    pub plain: Vec<(f32, Share, Share)>,
    /// The learned threshold: with all questions and without the guard on words, with all questions, and without the hard negatives.
    pub learned: [Replay; 3],
}

/// Measures with these vectors.
///
/// # Errors
/// Returns an error if the questions cannot be read, or the embedder does not answer.
pub fn evaluate(source: &EmbedderArgs, seeds: u64) -> Result<Report, CacheEvalError> {
    let source = &Embedding::new(source)?;
    let questions: Vec<Question> = QUESTIONS
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let asked = asked(&questions, source)?;
    let vectors: BTreeMap<&str, &Vector> = asked
        .iter()
        .map(|asked| (asked.text.as_str(), &asked.vector))
        .collect();
    let similar = |left: &str, right: &str| match (vectors.get(left), vectors.get(right)) {
        (Some(left), Some(right)) => left.cosine(right),
        _ => 0.0,
    };
    let pairs = |same: bool| {
        questions.iter().flat_map(move |question| {
            let list: Vec<&String> = if same {
                question.same.iter().collect()
            } else {
                question.other.values().collect()
            };
            list.into_iter()
                .map(|other| (question.ask.as_str(), other.as_str()))
        })
    };
    let share = |same: bool, is_meant: &dyn Fn(&str, &str) -> bool| {
        let mut share = Share::default();
        pairs(same).for_each(|(left, right)| share.add(is_meant(left, right)));
        share
    };
    let plain = THRESHOLDS.map(|threshold| {
        let is_found = |left: &str, right: &str| similar(left, right) >= threshold;
        (threshold, share(true, &is_found), share(false, &is_found))
    });
    let mut ruled_out: BTreeMap<String, Share> = BTreeMap::new();
    for question in &questions {
        for (kind, other) in &question.other {
            let is_ruled_out = difference(&question.ask, other).is_some();
            ruled_out.entry(kind.clone()).or_default().add(is_ruled_out);
        }
    }
    let (exact_hits, exact_wrong) = exact(&asked)?;
    Ok(Report {
        space: source.name(),
        pairs: u32::try_from(pairs(true).chain(pairs(false)).count()).unwrap_or(u32::MAX),
        exact_hits,
        exact_wrong,
        ruled_out_same: share(true, &|left, right| difference(left, right).is_some()),
        ruled_out,
        plain: plain.to_vec(),
        learned: [
            replay::run(&asked, false, seeds),
            replay::run(&asked, true, seeds),
            replay::run(&repeated(&asked), true, seeds),
        ],
    })
}

/// Returns all questions with their vectors. Other wordings have the answer of their question, hard negatives one of their own.
fn asked(questions: &[Question], source: &Embedding) -> Result<Vec<Asked>, EmbedError> {
    let mut texts: Vec<(String, usize)> = Vec::new();
    let mut answers = 0;
    for question in questions {
        let same = question.same.iter().chain([&question.ask]);
        texts.extend(same.map(|text| (text.clone(), answers)));
        answers += 1;
        for other in question.other.values() {
            texts.push((other.clone(), answers));
            answers += 1;
        }
    }
    let plain: Vec<String> = texts.iter().map(|(text, _)| text.clone()).collect();
    let vectors = source.embed(&plain)?;
    let asked = texts.into_iter().zip(vectors);
    Ok(asked
        .map(|((text, answer), vector)| Asked {
            text,
            answer,
            vector,
        })
        .collect())
}

/// Returns the questions of which there is another wording.
fn repeated(asked: &[Asked]) -> Vec<Asked> {
    let has_other = |one: &Asked| {
        let same = asked.iter().filter(|other| other.answer == one.answer);
        same.count() > 1
    };
    asked.iter().filter(|one| has_other(one)).cloned().collect()
}

/// Returns how often the exact cache finds a call that is written otherwise, and how often it takes another call for it.
fn exact(asked: &[Asked]) -> Result<(Share, Share), CacheEvalError> {
    let place = Place {
        owner: "a",
        model: "m",
        operation: "chat",
        ..Place::default()
    };
    let key = |body: &str| {
        let body = Canonical::read(body.as_bytes(), &[]);
        body.map(|body| place.key(&body))
            .map_err(|error| CacheEvalError::Key(error.to_string()))
    };
    let (mut hits, mut wrong) = (Share::default(), Share::default());
    let mut keys = BTreeMap::new();
    for asked in asked {
        let plain = json!({"model": "m", "temperature": 0, "messages": [{"role": "user", "content": asked.text}]});
        let text = serde_json::Value::from(asked.text.as_str());
        let otherwise = format!(
            "{{ \"messages\" : [ {{\"content\":{text} , \"role\":\"user\"}} ],\n\"temperature\":0.0,\"model\":\"m\"}}"
        );
        let own = key(&plain.to_string())?;
        hits.add(key(&otherwise)? == own);
        wrong.add(
            keys.insert(own, asked.text.as_str())
                .is_some_and(|text| text != asked.text),
        );
    }
    Ok((hits, wrong))
}

impl Share {
    pub(crate) fn add(&mut self, is_meant: bool) {
        self.all += 1;
        self.some += u32::from(is_meant);
    }

    /// Returns the share in percent; 0 of nothing.
    pub fn percent(self) -> f64 {
        100.0 * f64::from(self.some) / f64::from(self.all.max(1))
    }
}

impl Report {
    /// Returns the report as text.
    pub fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _always_written = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "{} labelled pairs, vectors of {}",
            self.pairs, self.space
        )?;
        writeln!(text, "\nexact")?;
        row(
            text,
            "the same call, written otherwise: found",
            self.exact_hits,
        )?;
        row(text, "another call: taken for the same", self.exact_wrong)?;
        writeln!(text, "\nguard on words: ruled out")?;
        row(text, "other wordings (costs hits)", self.ruled_out_same)?;
        for (kind, share) in &self.ruled_out {
            row(text, &format!("hard negatives, {kind}"), *share)?;
        }
        writeln!(text, "\nplain threshold on the similarity, for comparison")?;
        for (threshold, found, wrong) in &self.plain {
            row(
                text,
                &format!("{threshold:.2}: other wordings found"),
                *found,
            )?;
            let name = format!("{threshold:.2}: hard negatives taken for the same");
            row(text, &name, *wrong)?;
        }
        let names = [
            "all questions, without the guard on words",
            "all questions",
            "without the hard negatives",
        ];
        for (name, replay) in names.iter().zip(&self.learned) {
            let seeds = replay.seeds;
            writeln!(text, "\nlearned threshold, {name} ({seeds} seeds)")?;
            row(
                text,
                "wrong answers among those that were used",
                replay.wrong,
            )?;
            row(text, "used, of questions that had an answer", replay.found)?;
            row(text, "the same in the last third", replay.found_late)?;
            row(text, "asked to learn", replay.explored)?;
        }
        Ok(())
    }
}

/// Writes a line of the report.
fn row(text: &mut String, name: &str, share: Share) -> std::fmt::Result {
    let (percent, some, all) = (share.percent(), share.some, share.all);
    writeln!(text, "  {name:<42} {percent:>6.2} %  ({some} of {all})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_cache_is_never_wrong_and_the_learned_one_within_its_bound() {
        let report = evaluate(&EmbedderArgs::default(), 3).unwrap();
        let text = report.table();
        assert!(report.pairs >= 300, "{text}");
        assert_eq!(report.exact_wrong.some, 0, "{text}");
        assert_eq!(report.exact_hits.some, report.exact_hits.all, "{text}");
        for replay in &report.learned {
            assert!(replay.wrong.percent() <= 0.5, "{text}");
        }
        assert!(report.learned[1].explored.some > 0, "{text}");
        // Where nothing looks alike and differs, answers are used.
        assert!(report.learned[2].found_late.some > 0, "{text}");
        for kind in ["number", "negation", "name", "language"] {
            assert!(report.ruled_out[kind].percent() >= 80.0, "{kind}: {text}");
        }
        assert!(report.ruled_out_same.percent() <= 15.0, "{text}");
        // A plain threshold is not enough: that is why there is a verifier.
        assert!(
            report
                .plain
                .iter()
                .any(|(_, _, wrong)| wrong.percent() > 0.5),
            "{text}"
        );
    }
}
