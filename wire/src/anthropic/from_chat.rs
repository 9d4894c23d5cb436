//! A chat request as a Messages request.

use serde_json::{Map, Value, json};

use crate::{
    anthropic::{
        limit::limit, message::input_of, source::source, thinking::is_signed, tool_ids::ToolIds,
        tools,
    },
    translate::{Fields, InvalidField, Omitted, Path, Translated, text_part},
};

/// Chat fields whose effect Anthropic's API does not have. The values zero and, for the number of answers, `1` have no
/// effect.
const REFUSED: [&str; 8] = [
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "audio",
    "prediction",
    "functions",
    "function_call",
    "web_search_options",
];
/// Chat fields that change only cost, bookkeeping or the likelihood of a repetition.
const HINTS: [&str; 8] = [
    "seed",
    "store",
    "metadata",
    "verbosity",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "stream_options",
];

/// Fields of an assistant's message that servers and clients add to their answers, and that only they read.
const OWN: [&str; 6] = [
    "reasoning_details",
    "extra_content",
    "provider_specific_fields",
    "annotations",
    "images",
    "phase",
];

/// Options that the settings of a backend give for the translation.
#[derive(Clone, Copy, Debug)]
pub struct FromChat {
    /// `max_tokens` of a request that sets no bound; Anthropic's API requires one.
    pub max_tokens_default: u32,
}

/// Translates a chat request into a Messages request.
///
/// Messages with the role `system` or `developer` are moved to the front, as in Anthropic's own compatibility layer.
///
/// # Errors
/// Returns an error if a field is missing, has the wrong type, or requests something that Anthropic's API cannot do.
pub fn from_chat(request: Value, options: FromChat) -> Result<Translated, InvalidField> {
    let mut fields = Fields::of(request, Path::Root)?;
    let mut omitted = Omitted::default();
    let mut message = Map::new();
    message.insert("model".to_owned(), fields.require_text("model")?.into());
    limit(&mut fields, &mut message, options.max_tokens_default)?;
    messages(&mut fields, &mut message, &mut omitted)?;
    match fields.take("stop") {
        None => {}
        Some(Value::String(stop)) => {
            message.insert("stop_sequences".to_owned(), json!([stop]));
        }
        Some(stops) => {
            message.insert("stop_sequences".to_owned(), stops);
        }
    }
    if fields.take_flag("stream")? {
        message.insert("stream".to_owned(), true.into());
    }
    tools::from_chat(&mut fields, &mut message)?;
    if let Some(user) = fields.take_text("user")? {
        message.insert("metadata".to_owned(), json!({"user_id": user}));
    }
    output(&mut fields, &mut message)?;
    if let Some(tier) = fields.take_text("service_tier")? {
        let tier = if tier == "default" {
            "standard_only".to_owned()
        } else {
            tier
        };
        message.insert("service_tier".to_owned(), tier.into());
    }
    harmless(&mut fields, "n", 1)?;
    for key in ["frequency_penalty", "presence_penalty"] {
        harmless(&mut fields, key, 0)?;
    }
    for key in REFUSED {
        fields.refuse(key)?;
    }
    if let Some(modalities) = fields.take("modalities")
        && modalities != json!(["text"])
    {
        return Err(InvalidField::unsupported(Path::Root.key("modalities")));
    }
    for key in HINTS {
        // The translation itself determines how a stream reports its usage.
        if key == "stream_options" {
            fields.take(key);
        } else {
            omitted.add_taken(&mut fields, key);
        }
    }
    fields.pass_rest(&mut message)?;
    Ok(Translated {
        body: message.into(),
        omitted: omitted.finish(),
    })
}

/// Takes a number that is allowed only if it has the value without an effect.
fn harmless(fields: &mut Fields<'_>, key: &str, value: u32) -> Result<(), InvalidField> {
    match fields.take(key) {
        None => Ok(()),
        Some(number) if number.as_f64() == Some(f64::from(value)) => Ok(()),
        Some(_) => Err(InvalidField::unsupported(fields.path().key(key))),
    }
}

/// Moves `reasoning_effort` and `response_format` into `output_config`.
fn output(fields: &mut Fields<'_>, message: &mut Map<String, Value>) -> Result<(), InvalidField> {
    let root = fields.path();
    let mut config = Map::new();
    match fields.take_text("reasoning_effort")?.as_deref() {
        None => {}
        Some("none") => {
            message.insert("thinking".to_owned(), json!({"type": "disabled"}));
        }
        Some("minimal") => {
            config.insert("effort".to_owned(), "low".into());
        }
        Some(effort) => {
            config.insert("effort".to_owned(), effort.into());
        }
    }
    if let Some(format) = fields.take("response_format") {
        let path = root.key("response_format");
        let mut format = Fields::of(format, path)?;
        match format.require_text("type")?.as_str() {
            "text" => {}
            "json_schema" => {
                let mut schema =
                    Fields::of(format.require("json_schema")?, path.key("json_schema"))?;
                let format = json!({"type": "json_schema", "schema": schema.require("schema")?});
                config.insert("format".to_owned(), format);
            }
            _ => return Err(InvalidField::unsupported(path.key("type"))),
        }
    }
    if !config.is_empty() {
        message.insert("output_config".to_owned(), config.into());
    }
    Ok(())
}

/// The messages of a Messages request, as they are read.
#[derive(Debug, Default)]
struct Messages {
    system: Vec<Value>,
    turns: Vec<Value>,
    ids: ToolIds,
}

fn messages(
    fields: &mut Fields<'_>,
    message: &mut Map<String, Value>,
    omitted: &mut Omitted,
) -> Result<(), InvalidField> {
    let Some(list) = fields.take_list("messages")? else {
        return Err(fields.wrong("messages", "is missing"));
    };
    let path = Path::Root.key("messages");
    let mut messages = Messages::default();
    let count = list.len();
    for (index, item) in list.into_iter().enumerate() {
        let item = Fields::of(item, path.index(index))?;
        messages.add(item, index + 1 == count, omitted)?;
    }
    messages.trim_prefill();
    if !messages.system.is_empty() {
        message.insert("system".to_owned(), messages.system.into());
    }
    message.insert("messages".to_owned(), messages.turns.into());
    Ok(())
}

impl Messages {
    /// Adds a message. One without content is left out, because Anthropic's API refuses it and every later call of
    /// the conversation would fail.
    fn add(
        &mut self,
        mut item: Fields<'_>,
        is_last: bool,
        omitted: &mut Omitted,
    ) -> Result<(), InvalidField> {
        let path = item.path();
        omitted.add_taken(&mut item, "name");
        let role = item.require_text("role")?;
        match role.as_str() {
            "system" | "developer" => {
                let blocks = parts(item.take("content"), path.key("content"))?;
                self.system.extend(blocks);
                item.refuse_rest()?;
            }
            "user" => {
                let blocks = parts(item.take("content"), path.key("content"))?;
                if blocks.is_empty() && is_last {
                    return Err(item.wrong("content", "must not be empty"));
                }
                item.refuse_rest()?;
                if !blocks.is_empty() {
                    push_user(&mut self.turns, blocks);
                }
            }
            "tool" => {
                let block = tool_result(item, &mut self.ids)?;
                push_user(&mut self.turns, vec![block]);
            }
            "assistant" => {
                let blocks = assistant(item, omitted, &mut self.ids)?;
                let is_thinking = |block: &Value| {
                    matches!(
                        block["type"].as_str(),
                        Some("thinking" | "redacted_thinking")
                    )
                };
                if !blocks.iter().all(is_thinking) {
                    let turn = json!({"role": "assistant", "content": blocks});
                    self.turns.push(turn);
                }
            }
            _ => return Err(item.wrong("role", "is not a role of this model's backend")),
        }
        Ok(())
    }

    /// Removes the white space at the end of an answer that the model is to continue, which Anthropic's API refuses.
    fn trim_prefill(&mut self) {
        if let Some(last) = self.turns.last_mut()
            && last["role"] == "assistant"
            && let Some(block) = last["content"]
                .as_array_mut()
                .and_then(|blocks| blocks.last_mut())
            && let Some(Value::String(text)) = block.get_mut("text")
        {
            text.truncate(text.trim_end().len());
        }
    }
}

/// Appends blocks to the user's turn. The results of one round of tool calls must be in one turn, before everything
/// else.
fn push_user(turns: &mut Vec<Value>, blocks: Vec<Value>) {
    if let Some(last) = turns.last_mut()
        && last["role"] == "user"
        && let Some(content) = last["content"].as_array_mut()
        && content
            .last()
            .is_some_and(|block| block["type"] == "tool_result")
    {
        content.extend(blocks);
        return;
    }
    turns.push(json!({"role": "user", "content": blocks}));
}

fn tool_result(mut item: Fields<'_>, ids: &mut ToolIds) -> Result<Value, InvalidField> {
    let path = item.path();
    let id = item.require_text("tool_call_id")?;
    let content = item.take("content");
    item.refuse_rest()?;
    let content = match content {
        Some(Value::Array(list)) => parts(Some(Value::Array(list)), path.key("content"))?.into(),
        Some(text) => text,
        None => Value::from(""),
    };
    let id = ids.of_result(&id);
    Ok(json!({"type": "tool_result", "tool_use_id": id, "content": content}))
}

fn assistant(
    mut item: Fields<'_>,
    omitted: &mut Omitted,
    ids: &mut ToolIds,
) -> Result<Vec<Value>, InvalidField> {
    let path = item.path();
    // Signed thinking in the form of this crate's own answers. Anthropic's API refuses thinking without a signature.
    let mut blocks = item.take_list("thinking_blocks")?.unwrap_or_default();
    let count = blocks.len();
    blocks.retain(is_signed);
    if blocks.len() < count {
        omitted.add("thinking_blocks");
    }
    let has_blocks = !blocks.is_empty();
    for key in ["reasoning_content", "reasoning"] {
        if item.take(key).is_some() && !has_blocks {
            omitted.add(key);
        }
    }
    blocks.extend(parts(item.take("content"), path.key("content"))?);
    if let Some(refusal) = item.take_text("refusal")?
        && !is_blank(&refusal)
    {
        blocks.push(text_part(refusal));
    }
    let calls_path = path.key("tool_calls");
    let calls = item.take_list("tool_calls")?.unwrap_or_default();
    for (index, call) in calls.into_iter().enumerate() {
        blocks.push(tool_use(call, calls_path.index(index), ids)?);
    }
    for key in ["audio", "function_call"] {
        item.refuse(key)?;
    }
    for key in OWN {
        omitted.add_taken(&mut item, key);
    }
    item.refuse_rest()?;
    Ok(blocks)
}

/// Returns `true` for a text that Anthropic's API refuses as a block.
fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

fn tool_use(call: Value, path: Path<'_>, ids: &mut ToolIds) -> Result<Value, InvalidField> {
    let mut call = Fields::of(call, path)?;
    if let Some(kind) = call.take_text("type")?
        && kind != "function"
    {
        return Err(InvalidField::unsupported(path.key("type")));
    }
    // Chunks contain an index, and clients keep it.
    call.take("index");
    let id = call.require_text("id")?;
    let mut function = Fields::of(call.require("function")?, path.key("function"))?;
    let name = function.require_text("name")?;
    let arguments = function.take_text("arguments")?.unwrap_or_default();
    let id = ids.of_call(id);
    Ok(json!({"type": "tool_use", "id": id, "name": name, "input": input_of(&arguments)}))
}

/// Returns the content blocks of a chat message's content, without texts that are empty or only white space.
fn parts(content: Option<Value>, path: Path<'_>) -> Result<Vec<Value>, InvalidField> {
    let mut blocks: Vec<Value> = match content {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text_part(text)],
        Some(Value::Array(parts)) => {
            let parts = parts.into_iter().enumerate();
            let blocks = parts.map(|(index, value)| part(value, path.index(index)));
            blocks.collect::<Result<_, _>>()?
        }
        Some(_) => return Err(InvalidField::at(path, "must be a string or a list")),
    };
    blocks.retain(|block| !block["text"].as_str().is_some_and(is_blank));
    Ok(blocks)
}

fn part(value: Value, path: Path<'_>) -> Result<Value, InvalidField> {
    let mut part = Fields::of(value, path)?;
    let mut block = match part.require_text("type")?.as_str() {
        "text" => json!({"type": "text", "text": part.require_text("text")?}),
        "refusal" => json!({"type": "text", "text": part.require_text("refusal")?}),
        "image_url" => {
            let image_path = path.key("image_url");
            let mut image = Fields::of(part.require("image_url")?, image_path)?;
            let url = image.require_text("url")?;
            json!({"type": "image", "source": source(&url, image_path.key("url"))?})
        }
        "file" => {
            let file_path = path.key("file");
            let mut file = Fields::of(part.require("file")?, file_path)?;
            let title = file.take_text("filename")?;
            let data = file.take_text("file_data")?;
            let data = data.ok_or_else(|| InvalidField::unsupported(file_path.key("file_id")))?;
            let source = source(&data, file_path.key("file_data"))?;
            json!({"type": "document", "source": source, "title": title})
        }
        _ => return Err(InvalidField::unsupported(path.key("type"))),
    };
    // Fields such as `cache_control` belong to Anthropic's API.
    if let Some(block) = block.as_object_mut() {
        part.pass_rest(block)?;
    }
    Ok(block)
}

#[cfg(test)]
mod tests;
