//! What the refusals of a server teach about fields that the gateway itself puts into requests.
//!
//! A server that refuses such a field names it in the refusal. The call is repeated without the field, and later calls
//! of the same model leave it out. A refused request has done no work, so its repetition is safe.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use kebne_control::Outcome;
use kebne_lane::Failure;
use kebne_wire::{
    adjust::{Adjustments, Author},
    splice,
};

use crate::{
    backend::{
        openai::OpenAiBackend,
        upstream::{Call, Response},
    },
    llm::ModelRequest,
};

/// The number of models of which lessons are kept.
const MODELS_MAX: usize = 256;
/// The number of fields that may be changed within one attempt.
const REPEATS_MAX: usize = 3;

/// The adjustments that each model of a server requires.
#[derive(Debug, Default)]
pub(super) struct Lessons(Mutex<BTreeMap<String, Adjustments>>);

impl Lessons {
    fn of(&self, model: &str) -> Adjustments {
        let lessons = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lessons.get(model).copied().unwrap_or_default()
    }

    fn keep(&self, model: String, adjustments: Adjustments) {
        let mut lessons = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lessons.len() < MODELS_MAX || lessons.contains_key(&model) {
            let known = lessons.entry(model).or_default();
            *known = known.with(adjustments);
        }
    }
}

impl OpenAiBackend {
    /// Sends a call. If the server refuses a field that the gateway has put into it, sends it again without the field.
    pub(super) async fn send_adjusted(
        &self,
        mut call: Call<'_>,
        request: &ModelRequest,
    ) -> Result<Response, Failure> {
        let author = request.author;
        if author == Author::Caller {
            return self.upstream.send(call).await;
        }
        let model = self.model.clone();
        let model = model.unwrap_or_else(|| splice::model_of(request));
        let known = self.lessons.of(&model);
        let known = known.with(Adjustments::always(&call.body));
        let mut adjustments = known;
        let body = call.body.clone();
        if let Some(adjusted) = known.apply(&body, author) {
            call.body = adjusted;
        }
        let mut repeats = 0;
        loop {
            let sent = self.upstream.send(call.clone()).await;
            let refusal = sent.as_ref().err().and_then(refusal);
            if refusal.is_none() && adjustments != known {
                self.lessons.keep(model.clone(), adjustments);
            }
            let next = refusal.filter(|_| repeats < REPEATS_MAX);
            let next = next.and_then(|error| adjustments.with_refusal(error, author));
            let next = next.and_then(|next| Some((next, next.apply(&body, author)?)));
            let Some((next, adjusted)) = next.filter(|(_, adjusted)| *adjusted != call.body) else {
                return sent;
            };
            adjustments = next;
            call.body = adjusted;
            repeats += 1;
        }
    }
}

/// Returns the body of a refusal that is the request's own fault.
fn refusal(failure: &Failure) -> Option<&[u8]> {
    let body = failure.body.as_ref();
    body.filter(|_| failure.outcome == Outcome::Client)
        .map(|body| &**body)
}

#[cfg(test)]
mod tests;
