//! Hugging Face's text generation: `POST /models/{model}` with `inputs` and `parameters`.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Bytes, Data},
};
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use crate::simulate::{
    Fault, WorkEnding,
    server::{State, answers, bad_request, faults},
    text::Text,
};

/// A request; keys that are not named here are ignored.
#[derive(Debug, Deserialize)]
struct Generate {
    inputs: String,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameters {
    max_new_tokens: Option<u32>,
    /// The dialect's default is true, which is why clients set it.
    return_full_text: Option<bool>,
}

/// Answers one call; never streams, as the dialect's first servers did not.
pub(super) async fn generate(
    request: HttpRequest,
    body: Bytes,
    state: Data<State>,
) -> HttpResponse {
    let asked: Generate = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(error) => return bad_request(&format!("the body is not understood: {error}")),
    };
    let admitted = match state.admit(&request, faults::Dialect::HuggingFace).await {
        Ok(admitted) => admitted,
        Err(response) => return response,
    };
    let work = admitted.work;
    let wanted = state.model.profile().answer_tokens;
    let text = Text::answer(&asked.inputs, wanted, asked.parameters.max_new_tokens);
    let tokens = u32::try_from(text.tokens.len()).unwrap_or(u32::MAX);
    sleep(work.first_token).await;
    if work.ending == WorkEnding::Failed {
        return faults::failed();
    }
    sleep(work.token_time.saturating_mul(tokens.saturating_sub(1))).await;
    let whole = text.whole();
    let full = asked.parameters.return_full_text.unwrap_or(true);
    let generated = if full {
        format!("{}{whole}", asked.inputs)
    } else {
        whole
    };
    let answer = json!([{
        "generated_text": generated,
        "details": {"finish_reason": if text.cut { "length" } else { "eos_token" }, "generated_tokens": tokens},
    }]);
    if admitted.fault == Some(Fault::HalfStream) || work.ending == WorkEnding::Broken {
        return answers::half(answer.to_string());
    }
    HttpResponse::Ok().json(answer)
}
