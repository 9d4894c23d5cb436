//! Keeps a complete answer, and learns from it.

use std::sync::Arc;

use actix_web::web::Data;
use bytes::Bytes;
use kebne_answer_cache::{Entry, Meaning};
use kebne_cache::{Form, Key, Observation, is_complete, same_text, text_of};
use kebne_retrieval::Vector;
use kebne_wire::usage::Usage;

use crate::{
    answer_cache::{KeptAnswer, ModelCache, SemanticEvent},
    gateway::behalf::Behalf,
    stages::cache::{judge, semantic},
    state::State,
};

/// How the answer of a call is kept.
pub(super) struct Keep {
    pub(super) owner: String,
    /// The model, by its own name.
    pub(super) model: String,
    pub(super) key: Key,
    pub(super) cache: Arc<ModelCache>,
    pub(super) form: Form,
    /// The number of erasures when the call came.
    pub(super) erasures: u64,
    /// The group and the question, if similar questions are answered.
    pub(super) question: Option<(Key, String)>,
    /// The vector of the question, once it is known.
    pub(super) vector: Option<Vector>,
    /// The answer to a similar question with which this one is compared.
    pub(super) similar: Option<Similar>,
    /// The behalf of what models are asked to compare.
    pub(super) behalf: Behalf,
}

/// A kept answer to a similar question.
pub(super) struct Similar {
    pub(super) similarity: f32,
    pub(super) text: String,
}

/// A complete answer.
pub(super) struct Answered {
    pub(super) parts: Vec<Bytes>,
    pub(super) usage: Usage,
    pub(super) lane: String,
    pub(super) model: String,
}

impl Keep {
    /// Keeps an answer if it may be kept.
    pub(super) async fn answer(mut self, state: &Data<State>, answered: Answered) {
        let answer = KeptAnswer {
            form: self.form,
            lane: answered.lane,
            model: answered.model,
            usage: answered.usage,
            parts: answered.parts,
        };
        let size: usize = answer.parts.iter().map(Bytes::len).sum();
        let (form, tools) = (self.form, self.cache.rules.tools);
        let prepare = move || {
            let body = answer.body();
            let bytes = is_complete(form, &body, tools).then(|| answer.to_bytes())??;
            Some((bytes, text_of(form, &body)))
        };
        let prepared = state.off_loop.read(size, prepare).await;
        let Ok(Some((bytes, text))) = prepared else {
            return;
        };
        let meaning = self.meaning(state).await;
        let (store, rules) = (&state.cache.store, &self.cache.rules);
        let now = store.now();
        let lasts = rules.ttl.0.saturating_add(rules.stale_max.0);
        let lasts = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        let entry = Entry {
            key: self.key,
            model: self.model.clone(),
            created: now,
            expires: now.saturating_add(lasts),
            body: bytes.into(),
            meaning,
        };
        let is_wanted = state.cache.not_erased_since(self.erasures);
        store.keep_if(&self.owner, entry, is_wanted).await;
        if let (Some(similar), Some(text)) = (self.similar.take(), text) {
            self.learn(state, &similar, &text).await;
        }
    }

    /// Returns what similar questions are compared with.
    async fn meaning(&mut self, state: &State) -> Option<Meaning> {
        let (group, question) = self.question.clone()?;
        let vector = match self.vector.take() {
            Some(vector) => vector,
            None => semantic::vector(state, &self.behalf, &question).await?,
        };
        Some(Meaning {
            group,
            question,
            space: state.gateway.embedder().space().to_owned(),
            vector,
        })
    }

    /// Compares the answer with that to a similar question.
    async fn learn(&self, state: &Data<State>, similar: &Similar, text: &str) {
        let Some((group, _)) = &self.question else {
            return;
        };
        let is_right = if same_text(&similar.text, text) {
            true
        } else if let Some(judge) = &self.cache.rules.semantic.judge {
            let texts = (similar.text.as_str(), text);
            let Some(is_right) = judge::say_the_same(state, self, judge, texts).await else {
                state
                    .cache
                    .counts
                    .semantic(&self.model, SemanticEvent::Failed);
                return;
            };
            is_right
        } else {
            false
        };
        let event = SemanticEvent::Explored(is_right);
        state.cache.counts.semantic(&self.model, event);
        let observation = Observation {
            similarity: similar.similarity,
            is_right,
        };
        let store = &state.cache.store;
        store
            .learn(&self.owner, &self.model, *group, observation)
            .await;
    }
}
