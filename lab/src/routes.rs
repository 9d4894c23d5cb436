//! The quality of a route's intents on labelled questions: `kebne-lab route-eval`.
//!
//! A file has one JSON object a line: `{"split": "train" or "test", "intent": NAME, "text": QUESTION}`. Questions to train are the examples
//! of an intent; those to test are asked. The intent `none` marks questions without one. Owns such a file of eight intents of a shop, which
//! was written for this purpose.

mod cost;
mod report;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use kebne_retrieval::Vector;
use kebne_routing::{IntentIndex, RouteSettings, Verdict};
use serde::Deserialize;

use crate::embedding::{EmbedError, EmbedderArgs, Embedding};

pub use report::Report;

/// The questions that are built in.
const INTENTS: &str = include_str!("routes/intents.jsonl");
/// The intent of questions that have none.
pub const NONE: &str = "none";

/// The arguments of `route-eval`.
#[derive(Clone, Debug, clap::Args)]
pub struct RouteEval {
    /// The labelled questions; without it, those that are built in.
    file: Option<PathBuf>,
    #[command(flatten)]
    embedder: EmbedderArgs,
    /// How near the nearest example must be. Default: that of the settings.
    #[arg(long)]
    threshold: Option<f64>,
    /// By how much it must be nearer than those of other intents. Default: that of the settings.
    #[arg(long)]
    margin: Option<f64>,
    /// Also print the accuracy for a range of thresholds and margins.
    #[arg(long)]
    sweep: bool,
    /// Also print the time of a decision with the built-in embedder, and without one.
    #[arg(long)]
    cost: bool,
}

/// The reason why questions could not be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum RouteEvalError {
    /// The file cannot be read.
    #[error("cannot read `{path}`: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A line is not a labelled question.
    #[error("line {line} is not a labelled question: {source}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// The cause.
        source: serde_json::Error,
    },
    /// There is nothing to evaluate.
    #[error("the file needs at least one question with the split `train` and one with `test`")]
    Empty,
    /// There are no vectors.
    #[error(transparent)]
    Embed(#[from] EmbedError),
}

/// A labelled question.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Labelled {
    split: Split,
    intent: String,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Split {
    Train,
    Test,
}

/// A question with its label and the similarities of intents, the nearest first.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    label: String,
    nearest: Vec<kebne_routing::NearestIntent>,
}

/// Evaluates questions, and returns what is to be printed.
///
/// # Errors
/// See [`RouteEvalError`].
pub fn run(arguments: &RouteEval) -> Result<String, RouteEvalError> {
    let questions = match &arguments.file {
        Some(path) => read(path)?,
        None => parse(INTENTS)?,
    };
    let embedding = Embedding::new(&arguments.embedder)?;
    let asked = ask(&questions, &embedding)?;
    let settings = RouteSettings::default();
    let threshold = arguments.threshold.unwrap_or(settings.intent_threshold);
    let margin = arguments.margin.unwrap_or(settings.intent_margin);
    let mut text = Report::of(&asked, threshold, margin).text(&embedding.name());
    if arguments.sweep {
        text += &report::sweep(&asked);
    }
    if arguments.cost {
        text += &cost::text(&questions);
    }
    Ok(text)
}

fn read(path: &Path) -> Result<Vec<Labelled>, RouteEvalError> {
    let text = std::fs::read_to_string(path).map_err(|source| RouteEvalError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Labelled>, RouteEvalError> {
    let lines = (1..).zip(text.lines());
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let parse = |(line, text): (usize, &str)| {
        serde_json::from_str(text).map_err(|source| RouteEvalError::Line { line, source })
    };
    lines.map(parse).collect()
}

/// Embeds all questions; returns those to test with the similarities of the intents.
fn ask(questions: &[Labelled], embedding: &Embedding) -> Result<Vec<Asked>, RouteEvalError> {
    let of = |split: Split| -> Vec<&Labelled> {
        let questions = questions.iter();
        questions.filter(|one| one.split == split).collect()
    };
    let (train, test) = (of(Split::Train), of(Split::Test));
    if train.is_empty() || test.is_empty() {
        return Err(RouteEvalError::Empty);
    }
    let texts =
        |all: &[&Labelled]| -> Vec<String> { all.iter().map(|one| one.text.clone()).collect() };
    let mut examples: BTreeMap<String, Vec<Vector>> = BTreeMap::new();
    for (one, vector) in train.iter().zip(embedding.embed(&texts(&train))?) {
        examples.entry(one.intent.clone()).or_default().push(vector);
    }
    let index = IntentIndex::new(examples);
    let asked = test.iter().zip(embedding.embed(&texts(&test))?);
    let asked = asked.map(|(one, vector)| Asked {
        label: one.intent.clone(),
        nearest: index.nearest(&vector),
    });
    Ok(asked.collect())
}

impl Asked {
    /// Returns what the rules of a route see: the intent, or `none`; `None` if an example of another intent is nearly as near.
    fn found(&self, threshold: f64, margin: f64) -> Option<String> {
        match Verdict::of(&self.nearest, threshold, margin) {
            Verdict::Clear(name) => Some(name),
            Verdict::Far => Some(NONE.to_owned()),
            Verdict::Close => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built_in() -> (Vec<Labelled>, Vec<Asked>) {
        let questions = parse(INTENTS).unwrap();
        let embedding = Embedding::new(&EmbedderArgs::default()).unwrap();
        let asked = ask(&questions, &embedding).unwrap();
        (questions, asked)
    }

    #[test]
    fn the_questions_of_an_intent_are_not_its_examples() {
        let (questions, _) = built_in();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for one in questions.iter().filter(|one| one.split == Split::Test) {
            *counts.entry(&one.intent).or_default() += 1;
            let same = |other: &&Labelled| other.text.eq_ignore_ascii_case(&one.text);
            assert_eq!(questions.iter().filter(same).count(), 1, "{}", one.text);
        }
        counts.remove(NONE).unwrap();
        assert!(
            counts.len() >= 8 && counts.values().all(|count| *count >= 25),
            "{counts:?}"
        );
    }

    #[test]
    fn the_default_threshold_and_margin_are_worth_more_than_none() {
        let (_, asked) = built_in();
        let settings = RouteSettings::default();
        let set = Report::of(&asked, settings.intent_threshold, settings.intent_margin);
        let none = Report::of(&asked, 0.0, 0.0);
        let text = set.text("built in");
        assert!(set.precision() > none.precision(), "{text}");
        assert!(set.precision() > 0.8, "{text}");
        assert!(text.contains("below the margin"), "{text}");
    }

    #[test]
    fn a_line_that_is_wrong_is_named() {
        let error = parse("\n{\"split\": \"dev\"}").unwrap_err();
        assert!(error.to_string().starts_with("line 2 is not"), "{error}");
        let error = ask(&[], &Embedding::new(&EmbedderArgs::default()).unwrap()).unwrap_err();
        assert!(matches!(error, RouteEvalError::Empty));
    }
}
