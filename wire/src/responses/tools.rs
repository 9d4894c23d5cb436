//! Tool definitions and tool choices.

use serde_json::{Map, Value, json};

use crate::{
    file_search::{self, FileSearch},
    mcp::{self, McpTools},
    translate::{Fields, InvalidField, Path},
};

/// Moves `tools` and `tool_choice` into a chat request, and keeps them for the answer. Returns the search that is done here; the servers whose tools are called
/// here are added to `servers`.
///
/// Few backends know a list of allowed tools, so that only the allowed ones are sent.
pub(super) fn to_chat(
    fields: &mut Fields<'_>,
    chat: &mut Map<String, Value>,
    echo: &mut Map<String, Value>,
    servers: &mut McpTools,
) -> Result<Option<FileSearch>, InvalidField> {
    let root = fields.path();
    let path = root.key("tools");
    let mut functions = Vec::new();
    let mut search = None;
    let mut echoed = Vec::new();
    for (index, tool) in fields
        .take_list("tools")?
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        let path = path.index(index);
        if file_search::is_file_search(&tool) {
            echoed.push(tool.clone());
            FileSearch::set(&mut search, Fields::of(tool, path)?, path)?;
            continue;
        }
        if mcp::is_mcp(&tool) {
            echoed.push(tool.clone());
            servers.add(tool, path)?;
            continue;
        }
        echoed.push(echo_of(&tool));
        functions.push(tool_to_chat(tool, path)?);
    }
    echo.insert("tools".to_owned(), echoed.into());
    let mut choice = fields.take("tool_choice");
    if let Some(choice) = &choice {
        echo.insert("tool_choice".to_owned(), choice.clone());
    }
    if let Some(search) = &mut search {
        (choice, search.is_chosen) = file_search::choice_without(choice, !functions.is_empty());
    }
    if let Some(choice) = choice {
        let path = root.key("tool_choice");
        let choice = match servers.choose(&choice, path)? {
            Some(choice) => choice,
            None => choice_to_chat(choice, path, &mut functions)?,
        };
        chat.insert("tool_choice".to_owned(), choice);
    }
    if !functions.is_empty() {
        chat.insert("tools".to_owned(), functions.into());
    }
    Ok(search)
}

/// Returns a tool with all the members that an answer repeats.
fn echo_of(tool: &Value) -> Value {
    let mut tool = tool.clone();
    if let Some(tool) = tool.as_object_mut() {
        for key in ["description", "parameters", "strict"] {
            tool.entry(key).or_insert(Value::Null);
        }
    }
    tool
}

fn tool_to_chat(tool: Value, path: Path<'_>) -> Result<Value, InvalidField> {
    let mut tool = Fields::of(tool, path)?;
    let kind = tool.require_text("type")?;
    // Every other tool is run by the provider, or has a grammar of its own.
    if kind != "function" {
        let reason = format!("`{kind}` is not supported by this model's backend");
        return Err(InvalidField::at(path.key("type"), reason));
    }
    let mut function = Map::new();
    function.insert("name".to_owned(), tool.require_text("name")?.into());
    tool.pass_rest(&mut function)?;
    Ok(json!({"type": "function", "function": function}))
}

fn choice_to_chat(
    choice: Value,
    path: Path<'_>,
    functions: &mut Vec<Value>,
) -> Result<Value, InvalidField> {
    if let Value::String(word) = &choice {
        if ["none", "auto", "required"].contains(&word.as_str()) {
            return Ok(choice);
        }
        let reason = "must be `none`, `auto`, `required` or name a function";
        return Err(InvalidField::at(path, reason));
    }
    let mut choice = Fields::of(choice, path)?;
    match choice.require_text("type")?.as_str() {
        "function" => {
            let name = choice.require_text("name")?;
            choice.refuse_rest()?;
            Ok(json!({"type": "function", "function": {"name": name}}))
        }
        "allowed_tools" => {
            let mode = choice.take_text("mode")?;
            let allowed = choice.take_list("tools")?.unwrap_or_default();
            choice.refuse_rest()?;
            let is_allowed = |function: &Value| {
                let mut allowed = allowed.iter();
                allowed.any(|tool| tool["name"] == function["function"]["name"])
            };
            functions.retain(is_allowed);
            Ok(mode.unwrap_or_else(|| "auto".to_owned()).into())
        }
        _ => Err(InvalidField::unsupported(path.key("type"))),
    }
}
