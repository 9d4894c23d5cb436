//! The intent of one question.

use std::time::Duration;

use kebne_retrieval::{Embedder, Role};
use kebne_routing::{Intent, NearestIntent, Verdict};

use crate::routes::Route;

/// The bytes of a question that are compared with examples; a request stands at its beginning.
const QUESTION_MAX: usize = 1000;

/// How an intent was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The decision does not depend on it.
    NotNeeded,
    /// The vectors of the examples are not made yet.
    NotReady,
    /// The embedder did not answer in time, or failed.
    Failed,
    /// An example is near enough, and nearer than those of other intents.
    Clear,
    /// No example is near enough.
    Far,
    /// An example of another intent is nearly as near.
    Close,
    /// A model was asked, and named an intent.
    Asked,
    /// A model was asked, and named none, or did not answer.
    AskedInVain,
}

/// The intent of a question, and how it was found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// How it was looked for.
    pub outcome: Outcome,
    /// The intent.
    pub intent: Intent,
    /// How near each intent is, the nearest first.
    pub nearest: Vec<NearestIntent>,
    /// Why there is none, in words.
    pub problem: Option<String>,
}

impl Outcome {
    /// Returns the name in metrics and explanations.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotNeeded => "not_needed",
            Self::NotReady => "not_ready",
            Self::Failed => "failed",
            Self::Clear => "clear",
            Self::Far => "below_threshold",
            Self::Close => "below_margin",
            Self::Asked => "asked",
            Self::AskedInVain => "asked_in_vain",
        }
    }
}

impl Finding {
    /// Creates a finding without similarities.
    pub fn without(outcome: Outcome, problem: Option<String>) -> Self {
        Self {
            outcome,
            intent: Intent::Unknown,
            nearest: Vec::new(),
            problem,
        }
    }

    /// Returns `true` if the similarities do not decide.
    pub fn is_unclear(&self) -> bool {
        matches!(self.outcome, Outcome::Far | Outcome::Close)
    }
}

/// Finds the intent of a question by the vectors of the examples, within the time of the settings and that of the caller.
pub(super) async fn find(
    route: &Route,
    embedder: &dyn Embedder,
    question: &str,
    patience: Duration,
) -> Finding {
    let settings = route.settings();
    let Some(index) = route.index() else {
        let problem = "the vectors of the examples are not made yet".to_owned();
        return Finding::without(Outcome::NotReady, Some(problem));
    };
    let question = &question[..question.floor_char_boundary(QUESTION_MAX)];
    let asked = embedder.embed(vec![question.to_owned()], Role::Query);
    let time = settings.intent_timeout.0.min(patience);
    let vectors = match tokio::time::timeout(time, asked).await {
        Ok(Ok(vectors)) => vectors,
        Ok(Err(error)) => return Finding::without(Outcome::Failed, Some(error.to_string())),
        Err(_) => {
            let problem = "there was no vector of the question in time".to_owned();
            return Finding::without(Outcome::Failed, Some(problem));
        }
    };
    let Some(vector) = vectors.first() else {
        let problem = "the embedder has answered without a vector".to_owned();
        return Finding::without(Outcome::Failed, Some(problem));
    };
    let nearest = index.nearest(vector);
    let (threshold, margin) = (settings.intent_threshold, settings.intent_margin);
    let (outcome, intent) = match Verdict::of(&nearest, threshold, margin) {
        Verdict::Clear(name) => (Outcome::Clear, Intent::Known(name)),
        Verdict::Far => (Outcome::Far, Intent::NoneOfThem),
        Verdict::Close => (Outcome::Close, Intent::NoneOfThem),
    };
    Finding {
        outcome,
        intent,
        nearest,
        problem: None,
    }
}
