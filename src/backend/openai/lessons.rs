//! What the refusals of a server teach about fields that the gateway itself puts into requests.
//!
//! A server that refuses such a field names it in the refusal. The call is repeated without the field, and later calls
//! of the same model leave it out. A refused request has done no work, so its repetition is safe.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use kebne_control::Outcome;
use kebne_lane::Failure;
use kebne_wire::{
    adjust::{Adjustments, Author},
    splice, stream_usage,
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

/// What the refusals of a server have taught.
#[derive(Debug, Default)]
pub(super) struct Lessons {
    /// The adjustments that each model requires.
    adjustments: Mutex<BTreeMap<String, Adjustments>>,
    /// `true` if the server does not accept the question for the usage of a stream.
    refuses_usage: AtomicBool,
}

impl Lessons {
    fn of(&self, model: &str) -> Adjustments {
        let lessons = self
            .adjustments
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        lessons.get(model).copied().unwrap_or_default()
    }

    fn keep(&self, model: String, adjustments: Adjustments) {
        let mut lessons = self
            .adjustments
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if lessons.len() < MODELS_MAX || lessons.contains_key(&model) {
            let known = lessons.entry(model).or_default();
            *known = known.with(adjustments);
        }
    }
}

impl OpenAiBackend {
    /// Sends a call, with the question for its usage if the gateway needs it and the caller does not ask. Returns `true`
    /// with the response if the question was added. A server that refuses it is not asked again.
    pub(super) async fn send_asking(
        &self,
        call: Call<'_>,
        request: &ModelRequest,
    ) -> Result<(Response, bool), Failure> {
        let is_asked = request.needs_usage && request.stream;
        let asking = if is_asked && !self.lessons.refuses_usage.load(Relaxed) {
            stream_usage::asking_for_usage(&call.body)
        } else {
            None
        };
        let Some(body) = asking else {
            let response = self.send_adjusted(call, request).await?;
            return Ok((response, false));
        };
        let asking = Call {
            body,
            ..call.clone()
        };
        let sent = self.send_adjusted(asking, request).await;
        let refused = sent.as_ref().err().and_then(refusal);
        if refused.is_some_and(stream_usage::is_refusal_of_usage) {
            self.lessons.refuses_usage.store(true, Relaxed);
            let response = self.send_adjusted(call, request).await?;
            return Ok((response, false));
        }
        sent.map(|response| (response, true))
    }

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
