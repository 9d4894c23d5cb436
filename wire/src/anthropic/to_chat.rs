//! A Messages request as a chat request.

use serde_json::{Map, Value, json};

use crate::{
    anthropic::{blocks, tools},
    translate::{Fields, InvalidField, Omitted, Path, Translated},
};

/// Fields of the chat API that change the shape of the answer, so that the answer could not be translated back.
const CHAT_ONLY: [&str; 9] = [
    "n",
    "logprobs",
    "top_logprobs",
    "audio",
    "modalities",
    "functions",
    "function_call",
    "stream_options",
    "web_search_options",
];
/// Fields of the Messages API that only Anthropic's own servers support.
const SERVER_SIDE: [&str; 2] = ["container", "mcp_servers"];
/// Fields that change only cost, speed or the place of computation.
const HINTS: [&str; 3] = ["cache_control", "context_management", "inference_geo"];

/// Translates a Messages request into a chat request.
///
/// A stream is requested with its usage, because the events of a Messages stream contain it.
///
/// # Errors
/// Returns an error if a field is missing, has the wrong type, or requests something that a chat backend cannot do.
pub fn to_chat(request: Value) -> Result<Translated, InvalidField> {
    let root = Path::Root;
    let mut fields = Fields::of(request, root)?;
    let mut omitted = Omitted::default();
    let mut chat = Map::new();
    chat.insert("model".to_owned(), fields.require_text("model")?.into());
    let messages = messages(&mut fields, &mut omitted)?;
    chat.insert("messages".to_owned(), messages.into());
    let limit = fields.require("max_tokens")?;
    if limit.as_u64().is_none_or(|limit| limit == 0) {
        return Err(fields.wrong("max_tokens", "must be a whole number above 0"));
    }
    chat.insert("max_tokens".to_owned(), limit);
    if let Some(stops) = fields.take_list("stop_sequences")?
        && !stops.is_empty()
    {
        chat.insert("stop".to_owned(), stops.into());
    }
    for key in CHAT_ONLY {
        fields.refuse(key)?;
    }
    if fields.take_flag("stream")? {
        chat.insert("stream".to_owned(), true.into());
        chat.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    tools::to_chat(&mut fields, &mut chat, &mut omitted)?;
    metadata(&mut fields, &mut chat)?;
    output(&mut fields, &mut chat)?;
    thinking(&mut fields, &mut chat, &mut omitted)?;
    if let Some(tier) = fields.take_text("service_tier")? {
        let tier = if tier == "standard_only" {
            "default".to_owned()
        } else {
            tier
        };
        chat.insert("service_tier".to_owned(), tier.into());
    }
    for key in SERVER_SIDE {
        fields.refuse(key)?;
    }
    for key in HINTS {
        omitted.add_taken(&mut fields, key);
    }
    // `temperature`, `top_p` and `top_k` have the same names in both dialects. Fields unknown to both are passed on
    // too.
    fields.pass_rest(&mut chat)?;
    Ok(Translated {
        body: chat.into(),
        omitted: omitted.finish(),
    })
}

fn messages(fields: &mut Fields<'_>, omitted: &mut Omitted) -> Result<Vec<Value>, InvalidField> {
    let root = fields.path();
    let mut messages = Vec::new();
    if let Some(system) = fields.take("system") {
        let text = blocks::system_text(system, root.key("system"), omitted)?;
        messages.push(json!({"role": "system", "content": text}));
    }
    let Some(turns) = fields.take_list("messages")? else {
        return Err(fields.wrong("messages", "is missing"));
    };
    let list = root.key("messages");
    for (index, turn) in turns.into_iter().enumerate() {
        let path = list.index(index);
        let mut turn = Fields::of(turn, path)?;
        let role = turn.require_text("role")?;
        let content = turn.require("content")?;
        let content_path = path.key("content");
        match role.as_str() {
            "user" => blocks::user(content, content_path, omitted, &mut messages)?,
            "assistant" => messages.push(blocks::assistant(content, content_path, omitted)?),
            "system" => {
                let text = blocks::system_text(content, content_path, omitted)?;
                messages.push(json!({"role": "system", "content": text}));
            }
            _ => return Err(turn.wrong("role", "must be `user`, `assistant` or `system`")),
        }
        turn.refuse_rest()?;
    }
    Ok(messages)
}

/// Moves the only field of `metadata` into chat's `user`.
fn metadata(fields: &mut Fields<'_>, chat: &mut Map<String, Value>) -> Result<(), InvalidField> {
    let Some(metadata) = fields.take("metadata") else {
        return Ok(());
    };
    let root = fields.path();
    let mut metadata = Fields::of(metadata, root.key("metadata"))?;
    if let Some(user) = metadata.take_text("user_id")? {
        chat.insert("user".to_owned(), user.into());
    }
    metadata.refuse_rest()
}

/// Moves `output_config` (and its earlier name `output_format`) into `response_format` and `reasoning_effort`.
fn output(fields: &mut Fields<'_>, chat: &mut Map<String, Value>) -> Result<(), InvalidField> {
    let root = fields.path();
    if let Some(format) = fields.take("output_format") {
        let format = response_format(format, root.key("output_format"))?;
        chat.insert("response_format".to_owned(), format);
    }
    let Some(config) = fields.take("output_config") else {
        return Ok(());
    };
    let path = root.key("output_config");
    let mut config = Fields::of(config, path)?;
    if let Some(format) = config.take("format") {
        let format = response_format(format, path.key("format"))?;
        chat.insert("response_format".to_owned(), format);
    }
    if let Some(effort) = config.take_text("effort")? {
        chat.insert("reasoning_effort".to_owned(), effort.into());
    }
    config.refuse_rest()
}

fn response_format(format: Value, path: Path<'_>) -> Result<Value, InvalidField> {
    let mut format = Fields::of(format, path)?;
    if format.require_text("type")? != "json_schema" {
        return Err(format.wrong("type", "must be `json_schema`"));
    }
    let schema = format.require("schema")?;
    format.refuse_rest()?;
    // Chat requires a name, which has no effect.
    Ok(json!({
        "type": "json_schema",
        "json_schema": {"name": "output", "schema": schema, "strict": true},
    }))
}

/// Translates a thinking budget into the effort that it allows, unless `output_config.effort` is set.
fn thinking(
    fields: &mut Fields<'_>,
    chat: &mut Map<String, Value>,
    omitted: &mut Omitted,
) -> Result<(), InvalidField> {
    let Some(thinking) = fields.take("thinking") else {
        return Ok(());
    };
    let root = fields.path();
    let mut thinking = Fields::of(thinking, root.key("thinking"))?;
    match thinking.require_text("type")?.as_str() {
        "enabled" => {
            let budget = thinking.require("budget_tokens")?;
            let budget = budget.as_u64();
            let budget =
                budget.ok_or_else(|| thinking.wrong("budget_tokens", "must be a whole number"))?;
            let effort = chat.entry("reasoning_effort");
            effort.or_insert_with(|| effort_of_budget(budget).into());
        }
        // The model or the settings of the backend determine the thinking; chat has no field for either.
        "adaptive" | "disabled" => {}
        _ => return Err(thinking.wrong("type", "must be `enabled`, `adaptive` or `disabled`")),
    }
    if thinking.take("display").is_some() {
        omitted.add("thinking.display");
    }
    thinking.refuse_rest()
}

/// Returns the effort of a budget. The bounds are those between light, moderate and deep reasoning in Anthropic's
/// guide: 4k and 16k tokens.
fn effort_of_budget(budget: u64) -> &'static str {
    match budget {
        0..4096 => "low",
        4096..16_384 => "medium",
        _ => "high",
    }
}

#[cfg(test)]
mod tests;
