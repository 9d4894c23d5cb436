//! Counts the tokens of a message without a call to a model.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Payload},
};
use kebne_context::tokens::Tokenizer;
use serde_json::{Value, json};

use crate::{
    http::admin::respond,
    stages::caller,
    state::State,
    surface::{error::ApiError, messages},
};

/// `POST /v1/messages/count_tokens`: counts with the tokenizer of sessions. Models differ from it by about ten
/// percent.
pub(super) async fn answer(
    http: HttpRequest,
    payload: Payload,
    state: Data<State>,
) -> HttpResponse {
    let counted = async {
        let caller = caller::of(http.headers(), &state.settings.keys)?;
        let body = state.bodies.read(http.headers(), payload).await?;
        let size = body.len();
        let read = move || messages::to_be_counted(&body);
        let chat = state.off_loop.read(size, read).await??;
        let model = chat["model"].as_str().unwrap_or_default();
        let known = state.gateway.canonical(model);
        caller.require_model(known.ok_or_else(|| ApiError::unknown_model(model))?)?;
        let tokenizer = state.context_settings.tokenizer;
        // Long texts take too long for an event loop.
        let tokens = state
            .off_loop
            .run(move || tokens_of(tokenizer, &chat))
            .await?;
        Ok(HttpResponse::Ok().json(json!({"input_tokens": tokens})))
    };
    respond(&http, counted.await)
}

/// Counts the messages and the tools of a chat.
fn tokens_of(tokenizer: Tokenizer, chat: &Value) -> u64 {
    let messages = chat["messages"].as_array().into_iter().flatten();
    let messages = messages.map(|message| tokenizer.count_message(message));
    let tools = match &chat["tools"] {
        Value::Null => 0,
        tools => tokenizer.count(&tools.to_string()),
    };
    messages.sum::<u64>().saturating_add(tools)
}
