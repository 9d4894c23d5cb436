//! Content blocks of a Messages request as chat messages.

use serde_json::{Map, Value, json};

use crate::{
    tool_calls::RETURNED,
    translate::{Fields, InvalidField, Omitted, Path, joined_or_parts, text_part},
};

/// Returns the text of a system prompt. Blocks are separated by an empty line: many chat templates take only a string.
pub(super) fn system_text(
    system: Value,
    path: Path<'_>,
    omitted: &mut Omitted,
) -> Result<String, InvalidField> {
    let blocks = match system {
        Value::String(text) => return Ok(text),
        Value::Array(blocks) => blocks,
        _ => return Err(InvalidField::at(path, "must be a string or a list")),
    };
    let mut texts = Vec::with_capacity(blocks.len());
    for (index, block) in blocks.into_iter().enumerate() {
        let path = path.index(index);
        let mut block = Fields::of(block, path)?;
        if block.require_text("type")? != "text" {
            return Err(InvalidField::unsupported(path.key("type")));
        }
        texts.push(text(block, omitted)?);
    }
    Ok(texts.join("\n\n"))
}

/// Appends the chat messages of a user's turn: one for each tool result, because chat requires these first, and then
/// one for everything else.
pub(super) fn user(
    content: Value,
    path: Path<'_>,
    omitted: &mut Omitted,
    messages: &mut Vec<Value>,
) -> Result<(), InvalidField> {
    let blocks = match content {
        Value::Array(blocks) => blocks,
        Value::String(text) => {
            messages.push(json!({"role": "user", "content": text}));
            return Ok(());
        }
        _ => return Err(InvalidField::at(path, "must be a string or a list")),
    };
    let has_result = |block: &Value| block.get("type").is_some_and(|kind| kind == "tool_result");
    let only_results = !blocks.is_empty() && blocks.iter().all(has_result);
    let mut parts = Vec::new();
    for (index, block) in blocks.into_iter().enumerate() {
        let path = path.index(index);
        if !has_result(&block) {
            part(block, path, omitted, &mut parts)?;
            continue;
        }
        let (message, media) = tool_result(block, path, omitted)?;
        messages.push(message);
        parts.extend(media);
    }
    if !only_results || !parts.is_empty() {
        messages.push(json!({"role": "user", "content": joined_or_parts(parts)}));
    }
    Ok(())
}

/// Returns the chat message of an assistant's turn.
pub(super) fn assistant(
    content: Value,
    path: Path<'_>,
    omitted: &mut Omitted,
) -> Result<Value, InvalidField> {
    let blocks = match content {
        Value::Array(blocks) => blocks,
        Value::String(text) => return Ok(json!({"role": "assistant", "content": text})),
        _ => return Err(InvalidField::at(path, "must be a string or a list")),
    };
    let (mut texts, mut thoughts, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    for (index, block) in blocks.into_iter().enumerate() {
        let path = path.index(index);
        let mut block = Fields::of(block, path)?;
        match block.require_text("type")?.as_str() {
            "text" => texts.push(text_part(text(block, omitted)?)),
            "thinking" => {
                thoughts.push(block.require_text("thinking")?);
                // A signature proves to Anthropic's servers that they wrote the text.
                block.take("signature");
                block.refuse_rest()?;
            }
            "redacted_thinking" => omitted.add("redacted_thinking"),
            "tool_use" => calls.push(tool_use(block, omitted)?),
            _ => return Err(InvalidField::unsupported(path.key("type"))),
        }
    }
    let mut message = Map::new();
    message.insert("role".to_owned(), "assistant".into());
    let content = if texts.is_empty() && !calls.is_empty() {
        Value::Null
    } else {
        joined_or_parts(texts)
    };
    message.insert("content".to_owned(), content);
    if !thoughts.is_empty() {
        message.insert("reasoning_content".to_owned(), thoughts.join("\n\n").into());
    }
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), calls.into());
    }
    Ok(message.into())
}

fn tool_use(mut block: Fields<'_>, omitted: &mut Omitted) -> Result<Value, InvalidField> {
    let id = block.require_text("id")?;
    let name = block.require_text("name")?;
    let input = block.require("input")?;
    if !input.is_object() {
        return Err(block.wrong("input", "must be an object"));
    }
    omitted.add_taken(&mut block, "cache_control");
    if let Some(caller) = block.take("caller")
        && caller["type"] != "direct"
    {
        return Err(InvalidField::unsupported(block.path().key("caller")));
    }
    let returned = block.take_all(&RETURNED);
    block.refuse_rest()?;
    let function = json!({"name": name, "arguments": input.to_string()});
    let mut call = Map::new();
    call.insert("id".to_owned(), id.into());
    call.insert("type".to_owned(), "function".into());
    call.insert("function".to_owned(), function);
    call.extend(returned);
    Ok(call.into())
}

/// Returns the `tool` message of a result, and the parts that such a message cannot contain. A text before these parts
/// names the tool call to which they belong.
fn tool_result(
    block: Value,
    path: Path<'_>,
    omitted: &mut Omitted,
) -> Result<(Value, Vec<Value>), InvalidField> {
    let mut block = Fields::of(block, path)?;
    block.take("type");
    let id = block.require_text("tool_use_id")?;
    let is_error = block.take_flag("is_error")?;
    omitted.add_taken(&mut block, "cache_control");
    let mut parts = Vec::new();
    match block.take("content") {
        None => {}
        Some(Value::String(text)) => parts.push(text_part(text)),
        Some(Value::Array(blocks)) => {
            let path = path.key("content");
            for (index, inner) in blocks.into_iter().enumerate() {
                part(inner, path.index(index), omitted, &mut parts)?;
            }
        }
        Some(_) => return Err(block.wrong("content", "must be a string or a list")),
    }
    block.refuse_rest()?;
    let (texts, mut media): (Vec<Value>, Vec<Value>) =
        parts.into_iter().partition(|part| part["type"] == "text");
    let texts: Vec<&str> = texts
        .iter()
        .filter_map(|part| part["text"].as_str())
        .collect();
    let mut text = texts.join("\n");
    // Chat has no field for this, so it is part of the text.
    if is_error {
        text.insert_str(0, "Error: ");
    }
    if !media.is_empty() {
        media.insert(0, text_part(format!("Result of tool call {id}:")));
    }
    let message = json!({"role": "tool", "tool_call_id": id, "content": text});
    Ok((message, media))
}

/// Appends the chat parts that one block of a user's turn becomes.
fn part(
    block: Value,
    path: Path<'_>,
    omitted: &mut Omitted,
    parts: &mut Vec<Value>,
) -> Result<(), InvalidField> {
    let mut block = Fields::of(block, path)?;
    match block.require_text("type")?.as_str() {
        "text" => parts.push(text_part(text(block, omitted)?)),
        "image" => {
            let source = block.require("source")?;
            let url = image_url(source, path.key("source"))?;
            omitted.add_taken(&mut block, "cache_control");
            block.refuse_rest()?;
            parts.push(json!({"type": "image_url", "image_url": {"url": url}}));
        }
        "document" => document(block, omitted, parts)?,
        "search_result" => {
            no_citations(&mut block)?;
            omitted.add_taken(&mut block, "cache_control");
            let head = [block.require_text("title")?, block.require_text("source")?];
            let content = block.require("content")?;
            block.refuse_rest()?;
            let text = system_text(content, path.key("content"), omitted)?;
            parts.push(text_part(format!("{}\n\n{text}", head.join("\n"))));
        }
        _ => return Err(InvalidField::unsupported(path.key("type"))),
    }
    Ok(())
}

fn text(mut block: Fields<'_>, omitted: &mut Omitted) -> Result<String, InvalidField> {
    let text = block.require_text("text")?;
    omitted.add_taken(&mut block, "cache_control");
    // The sources that an earlier answer quoted. The quoted text itself is present.
    omitted.add_taken(&mut block, "citations");
    block.refuse_rest()?;
    Ok(text)
}

fn image_url(source: Value, path: Path<'_>) -> Result<String, InvalidField> {
    let mut source = Fields::of(source, path)?;
    let url = match source.require_text("type")?.as_str() {
        "base64" => data_url(&mut source)?,
        "url" => source.require_text("url")?,
        _ => return Err(InvalidField::unsupported(path.key("type"))),
    };
    source.refuse_rest()?;
    Ok(url)
}

fn data_url(source: &mut Fields<'_>) -> Result<String, InvalidField> {
    let media_type = source.require_text("media_type")?;
    let data = source.require_text("data")?;
    Ok(format!("data:{media_type};base64,{data}"))
}

/// A text document becomes text, a PDF becomes a file, and a document of blocks becomes these blocks.
fn document(
    mut block: Fields<'_>,
    omitted: &mut Omitted,
    parts: &mut Vec<Value>,
) -> Result<(), InvalidField> {
    let path = block.path();
    no_citations(&mut block)?;
    omitted.add_taken(&mut block, "cache_control");
    let title = block.take_text("title")?;
    let context = block.take_text("context")?;
    let source_path = path.key("source");
    let mut source = Fields::of(block.require("source")?, source_path)?;
    block.refuse_rest()?;
    let kind = source.require_text("type")?;
    // Only the file part has a field for the title; in the other parts the title precedes the text.
    let head = if kind == "base64" {
        vec![context]
    } else {
        vec![title.clone(), context]
    };
    let head: Vec<String> = head.into_iter().flatten().collect();
    if !head.is_empty() {
        parts.push(text_part(head.join("\n")));
    }
    match kind.as_str() {
        "base64" => {
            let name = title.unwrap_or_else(|| "document.pdf".to_owned());
            let data = data_url(&mut source)?;
            parts.push(json!({"type": "file", "file": {"filename": name, "file_data": data}}));
        }
        "text" => {
            source.take("media_type");
            parts.push(text_part(source.require_text("data")?));
        }
        "content" => match source.require("content")? {
            Value::String(text) => parts.push(text_part(text)),
            Value::Array(blocks) => {
                let path = source_path.key("content");
                for (index, inner) in blocks.into_iter().enumerate() {
                    part(inner, path.index(index), omitted, parts)?;
                }
            }
            _ => return Err(source.wrong("content", "must be a string or a list")),
        },
        _ => return Err(InvalidField::unsupported(source_path.key("type"))),
    }
    source.refuse_rest()
}

/// Refuses a request for citations, because the answer could not contain them.
fn no_citations(block: &mut Fields<'_>) -> Result<(), InvalidField> {
    let Some(citations) = block.take("citations") else {
        return Ok(());
    };
    let path = block.path();
    let path = path.key("citations");
    let mut citations = Fields::of(citations, path)?;
    if citations.take_flag("enabled")? {
        return Err(InvalidField::unsupported(path.key("enabled")));
    }
    citations.refuse_rest()
}
