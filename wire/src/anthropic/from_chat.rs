//! A chat request as a Messages request.

use serde_json::{Map, Value, json};

use crate::{
    anthropic::{message::input_of, tools},
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
    limit(&mut fields, &mut message, options)?;
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

fn limit(
    fields: &mut Fields<'_>,
    message: &mut Map<String, Value>,
    options: FromChat,
) -> Result<(), InvalidField> {
    let newer = fields.take("max_completion_tokens");
    let older = fields.take("max_tokens");
    let limit = match newer.or(older) {
        None => None,
        Some(limit) => {
            let limit = whole_number(&limit);
            Some(limit.ok_or_else(|| fields.wrong("max_tokens", "must be a whole number"))?)
        }
    };
    // Servers of chat take -1 for no bound, and Anthropic's API requires one.
    let limit = limit.and_then(|limit| u64::try_from(limit).ok());
    let limit = limit.unwrap_or_else(|| {
        let thinking = fields.get("thinking");
        let thinking = thinking.and_then(|thinking| thinking["budget_tokens"].as_u64());
        // The bound includes the tokens of the thinking and must be larger than its budget.
        u64::from(options.max_tokens_default).saturating_add(thinking.unwrap_or(0))
    });
    message.insert("max_tokens".to_owned(), limit.into());
    Ok(())
}

/// Returns a whole number, which some clients write as `10.0`.
fn whole_number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
        format!("{number:.0}").parse().ok()
    })
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

fn messages(
    fields: &mut Fields<'_>,
    message: &mut Map<String, Value>,
    omitted: &mut Omitted,
) -> Result<(), InvalidField> {
    let Some(list) = fields.take_list("messages")? else {
        return Err(fields.wrong("messages", "is missing"));
    };
    let path = Path::Root.key("messages");
    let mut system: Vec<Value> = Vec::new();
    let mut turns: Vec<Value> = Vec::new();
    for (index, item) in list.into_iter().enumerate() {
        let path = path.index(index);
        let mut item = Fields::of(item, path)?;
        omitted.add_taken(&mut item, "name");
        let role = item.require_text("role")?;
        match role.as_str() {
            "system" | "developer" => {
                system.extend(parts(item.take("content"), path.key("content"))?);
                item.refuse_rest()?;
            }
            "user" => {
                let blocks = parts(item.take("content"), path.key("content"))?;
                item.refuse_rest()?;
                if !blocks.is_empty() {
                    push_user(&mut turns, blocks);
                }
            }
            "tool" => {
                let block = tool_result(item)?;
                push_user(&mut turns, vec![block]);
            }
            "assistant" => {
                let blocks = assistant(item, omitted)?;
                // A model may end its turn without a word, but Anthropic's API refuses a message without content.
                if !blocks.is_empty() {
                    turns.push(json!({"role": "assistant", "content": blocks}));
                }
            }
            _ => return Err(item.wrong("role", "is not a role of this model's backend")),
        }
    }
    if !system.is_empty() {
        message.insert("system".to_owned(), system.into());
    }
    message.insert("messages".to_owned(), turns.into());
    Ok(())
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

fn tool_result(mut item: Fields<'_>) -> Result<Value, InvalidField> {
    let path = item.path();
    let id = tool_id(&item.require_text("tool_call_id")?);
    let content = item.take("content");
    item.refuse_rest()?;
    let content = match content {
        Some(Value::Array(list)) => parts(Some(Value::Array(list)), path.key("content"))?.into(),
        Some(text) => text,
        None => Value::from(""),
    };
    Ok(json!({"type": "tool_result", "tool_use_id": id, "content": content}))
}

fn assistant(mut item: Fields<'_>, omitted: &mut Omitted) -> Result<Vec<Value>, InvalidField> {
    let path = item.path();
    // Signed thinking in the form of this crate's own answers. Anthropic's API refuses thinking without a signature.
    let mut blocks = item.take_list("thinking_blocks")?.unwrap_or_default();
    let has_blocks = !blocks.is_empty();
    for key in ["reasoning_content", "reasoning"] {
        if item.take(key).is_some() && !has_blocks {
            omitted.add(key);
        }
    }
    blocks.extend(parts(item.take("content"), path.key("content"))?);
    if let Some(refusal) = item.take_text("refusal")? {
        blocks.push(text_part(refusal));
    }
    let calls_path = path.key("tool_calls");
    let calls = item.take_list("tool_calls")?.unwrap_or_default();
    for (index, call) in calls.into_iter().enumerate() {
        blocks.push(tool_use(call, calls_path.index(index))?);
    }
    for key in ["audio", "function_call"] {
        item.refuse(key)?;
    }
    for key in ["annotations", "phase"] {
        omitted.add_taken(&mut item, key);
    }
    item.refuse_rest()?;
    Ok(blocks)
}

fn tool_use(call: Value, path: Path<'_>) -> Result<Value, InvalidField> {
    let mut call = Fields::of(call, path)?;
    if let Some(kind) = call.take_text("type")?
        && kind != "function"
    {
        return Err(InvalidField::unsupported(path.key("type")));
    }
    // Chunks contain an index, and clients keep it.
    call.take("index");
    let id = tool_id(&call.require_text("id")?);
    let mut function = Fields::of(call.require("function")?, path.key("function"))?;
    let name = function.require_text("name")?;
    let arguments = function.take_text("arguments")?.unwrap_or_default();
    Ok(json!({"type": "tool_use", "id": id, "name": name, "input": input_of(&arguments)}))
}

/// Returns the id of a tool call with letters that Anthropic's API accepts; other servers accept more.
fn tool_id(id: &str) -> String {
    let is_valid = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    let letters = id.chars();
    letters
        .map(|letter| if is_valid(&letter) { letter } else { '_' })
        .collect()
}

/// Returns the content blocks of a chat message's content. Empty texts are left out: other servers ignore them, and
/// Anthropic's API refuses them.
fn parts(content: Option<Value>, path: Path<'_>) -> Result<Vec<Value>, InvalidField> {
    match content {
        None => Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text_part(text)]),
        Some(Value::Array(parts)) => {
            let parts = parts.into_iter().enumerate();
            let blocks = parts.map(|(index, value)| part(value, path.index(index)));
            let is_empty = |block: &Value| block["type"] == "text" && block["text"] == "";
            let is_kept =
                |block: &Result<Value, _>| block.as_ref().map_or(true, |block| !is_empty(block));
            blocks.filter(is_kept).collect()
        }
        Some(_) => Err(InvalidField::at(path, "must be a string or a list")),
    }
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

/// Returns the source of an image or a document: the bytes of a `data:` URL, or the URL.
fn source(url: &str, path: Path<'_>) -> Result<Value, InvalidField> {
    let Some(rest) = url.strip_prefix("data:") else {
        return Ok(json!({"type": "url", "url": url}));
    };
    let Some((media_type, data)) = rest.split_once(";base64,") else {
        return Err(InvalidField::at(path, "must be base64 if it is a data URL"));
    };
    // Anthropic's API takes neither parameters nor the unregistered name.
    let media_type = match media_type.split(';').next().unwrap_or_default() {
        "image/jpg" => "image/jpeg",
        media_type => media_type,
    };
    Ok(json!({"type": "base64", "media_type": media_type, "data": data}))
}

#[cfg(test)]
mod tests;
