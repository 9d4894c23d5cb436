//! Sends a copy of a call to another model, whose answer is measured and thrown away.
//!
//! A copy has the lowest priority and a place of its own among a bounded number; the caller neither waits for it nor learns of its failure.

use std::time::{Duration, Instant};

use actix_web::web::Data;
use bytes::Bytes;
use kebne_wire::request::Endpoint;
use serde_json::{Value, json};

use crate::{
    gateway::{
        behalf::{Behalf, Payer},
        inner::{self, InnerCall, InnerError, Keeps, Purpose},
    },
    settings::server::PRIORITY_MAX,
    stages::shape::Shaped,
    state::State,
};

/// The largest body that is copied.
const BODY_MAX: usize = 1 << 20;

/// A copy that is to be sent.
#[derive(Clone, Debug)]
pub(in crate::stages) struct Shadow {
    pub(in crate::stages) route: String,
    pub(in crate::stages) model: String,
    /// `true` if it counts in the budgets of the caller.
    pub(in crate::stages) counts: bool,
}

/// Sends the copy of a call in the background, if it is to have one. The call must have passed its guards.
pub(in crate::stages) fn send(state: &Data<State>, shaped: &mut Shaped) {
    let Some(shadow) = shaped.shadow.take() else {
        return;
    };
    let request = &shaped.request;
    let is_native = request
        .native
        .as_ref()
        .is_some_and(|native| native.is_required);
    let is_fit = request.endpoint.generates()
        && request.form.is_none()
        && !is_native
        && request.body.len() <= BODY_MAX;
    let is_fit = is_fit && state.gateway.takes_copy(&shaped.model, &shadow.model);
    let place = is_fit.then(|| state.routes.shadow_place()).flatten();
    let Some(place) = place else {
        let names = (shadow.route.as_str(), shadow.model.as_str());
        let nothing = Duration::ZERO;
        state
            .routes
            .counts()
            .shadow_ended(names, "dropped", nothing, 0);
        return;
    };
    let mut behalf = shaped.behalf();
    if !shadow.counts {
        behalf.payer = Payer::default();
    }
    let copy = SentCopy {
        endpoint: request.endpoint,
        body: request.body.clone(),
        time: shaped.options.deadline,
        behalf,
        shadow,
    };
    let state = state.clone();
    actix_rt::spawn(async move {
        let _place = place;
        copy.measure(&state).await;
    });
}

/// A copy on its way.
struct SentCopy {
    endpoint: Endpoint,
    body: Bytes,
    time: Duration,
    behalf: Behalf,
    shadow: Shadow,
}

impl SentCopy {
    /// Sends the copy, and counts its end.
    async fn measure(self, state: &Data<State>) {
        let began = Instant::now();
        let Shadow {
            route,
            model,
            counts,
        } = self.shadow;
        let (size, of) = (self.body.len(), model.clone());
        let copied = move || copy(&self.body, &of);
        let Ok(Some(body)) = state.off_loop.read(size, copied).await else {
            return;
        };
        let call = InnerCall {
            purpose: Purpose::Shadow,
            model: &model,
            endpoint: self.endpoint,
            body,
            time: self.time,
            priority: PRIORITY_MAX,
            behalf: &self.behalf,
            keeps: if counts {
                Keeps::AllLimits
            } else {
                Keeps::NoLimit
            },
        };
        let asked = Box::pin(inner::ask(&state.gateway, call, |answer| {
            answer["choices"].as_array()?;
            Some(answer["usage"]["total_tokens"].as_u64().unwrap_or(0))
        }));
        let asked = tokio::select! {
            // A service that stops does not wait for copies.
            () = state.closing.cancelled() => return,
            asked = asked => asked,
        };
        let (ending, tokens) = (ending_of(&asked), *asked.as_ref().unwrap_or(&0));
        let sums = state.routes.counts();
        sums.shadow_ended(
            (route.as_str(), model.as_str()),
            ending,
            began.elapsed(),
            tokens,
        );
        if let Err(error) = asked {
            tracing::debug!(route, model, %error, "a copy of a call has no answer");
        }
    }
}

/// Returns the body of a copy: for another model, and for a whole answer.
fn copy(body: &[u8], model: &str) -> Option<Value> {
    let mut body: Value = serde_json::from_slice(body).ok()?;
    let fields = body.as_object_mut()?;
    fields.insert("model".to_owned(), json!(model));
    fields.remove("stream");
    fields.remove("stream_options");
    Some(body)
}

fn ending_of(asked: &Result<u64, InnerError>) -> &'static str {
    match asked {
        Ok(_) => "success",
        Err(InnerError::Slow) => "timeout",
        Err(InnerError::Denied(_)) => "denied",
        Err(InnerError::Invalid(_) | InnerError::NoAnswer { .. } | InnerError::Unreadable) => {
            "error"
        }
    }
}
