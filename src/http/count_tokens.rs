//! Counts the tokens of a message without a call to a model.

use actix_web::HttpResponse;
use kebne_context::tokens::Tokenizer;
use serde_json::{Value, json};

use crate::{
    http::visit::Visit,
    surface::{error::ApiError, messages},
};

/// `POST /v1/messages/count_tokens`: counts with the tokenizer of sessions. Models differ from it by about ten
/// percent.
pub(super) async fn answer(mut visit: Visit) -> Result<HttpResponse, ApiError> {
    let body = visit.body().await?;
    let state = &visit.state;
    let size = body.len();
    let read = move || messages::to_be_counted(&body);
    let chat = state.off_loop.read(size, read).await??;
    let model = chat["model"].as_str().unwrap_or_default();
    visit.require_model(model)?;
    let tokenizer = state.context_settings.tokenizer;
    // Long texts take too long for an event loop.
    let count = move || tokens_of(tokenizer, &chat);
    let tokens = state.off_loop.run(count).await?;
    Ok(HttpResponse::Ok().json(json!({"input_tokens": tokens})))
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
