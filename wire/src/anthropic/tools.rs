//! Tool definitions and tool choices, in both directions.

use serde_json::{Map, Value, json};

use crate::translate::{Fields, InvalidField, Omitted, Path};

/// Fields of a tool that change only cost or speed.
const HINTS: [&str; 2] = ["cache_control", "eager_input_streaming"];

/// Moves `tools` and `tool_choice` of a Messages request into a chat request.
pub(super) fn to_chat(
    fields: &mut Fields<'_>,
    chat: &mut Map<String, Value>,
    omitted: &mut Omitted,
) -> Result<(), InvalidField> {
    let root = fields.path();
    if let Some(tools) = fields.take_list("tools")?
        && !tools.is_empty()
    {
        let path = root.key("tools");
        let tools = tools.into_iter().enumerate();
        let tools = tools.map(|(index, tool)| tool_to_chat(tool, path.index(index), omitted));
        let tools: Vec<Value> = tools.collect::<Result<_, _>>()?;
        chat.insert("tools".to_owned(), tools.into());
    }
    let Some(choice) = fields.take("tool_choice") else {
        return Ok(());
    };
    let mut choice = Fields::of(choice, root.key("tool_choice"))?;
    let target = match choice.require_text("type")?.as_str() {
        "auto" => json!("auto"),
        "any" => json!("required"),
        "none" => json!("none"),
        "tool" => {
            json!({"type": "function", "function": {"name": choice.require_text("name")?}})
        }
        _ => return Err(choice.wrong("type", "must be `auto`, `any`, `tool` or `none`")),
    };
    // Servers of chat refuse these fields without tools, where they have no effect.
    let has_tools = chat.contains_key("tools");
    if has_tools || !matches!(target.as_str(), Some("auto" | "none")) {
        chat.insert("tool_choice".to_owned(), target);
    }
    if choice.take_flag("disable_parallel_tool_use")? && has_tools {
        chat.insert("parallel_tool_calls".to_owned(), false.into());
    }
    choice.refuse_rest()
}

fn tool_to_chat(tool: Value, path: Path<'_>, omitted: &mut Omitted) -> Result<Value, InvalidField> {
    let mut tool = Fields::of(tool, path)?;
    // All other types are tools that Anthropic's servers run or that only their models know.
    if let Some(kind) = tool.take_text("type")?
        && kind != "custom"
    {
        return Err(InvalidField::at(
            path.key("type"),
            format!("`{kind}` is not supported by this model's backend"),
        ));
    }
    let mut function = Map::new();
    function.insert("name".to_owned(), tool.require_text("name")?.into());
    if let Some(description) = tool.take_text("description")? {
        function.insert("description".to_owned(), description.into());
    }
    function.insert("parameters".to_owned(), tool.require("input_schema")?);
    for hint in HINTS {
        omitted.add_taken(&mut tool, hint);
    }
    // A tool with deferred loading needs Anthropic's tool search.
    tool.refuse("defer_loading")?;
    if let Some(callers) = tool.take("allowed_callers")
        && callers != json!(["direct"])
    {
        return Err(InvalidField::unsupported(path.key("allowed_callers")));
    }
    tool.pass_rest(&mut function)?;
    Ok(json!({"type": "function", "function": function}))
}

/// Moves `tools`, `tool_choice` and `parallel_tool_calls` of a chat request into a Messages request.
pub(super) fn from_chat(
    fields: &mut Fields<'_>,
    message: &mut Map<String, Value>,
) -> Result<(), InvalidField> {
    let root = fields.path();
    if let Some(tools) = fields.take_list("tools")?
        && !tools.is_empty()
    {
        let path = root.key("tools");
        let tools = tools.into_iter().enumerate();
        let tools = tools.map(|(index, tool)| tool_from_chat(tool, path.index(index)));
        let tools: Vec<Value> = tools.collect::<Result<_, _>>()?;
        message.insert("tools".to_owned(), tools.into());
    }
    let one_at_a_time = match fields.take("parallel_tool_calls") {
        None | Some(Value::Bool(true)) => false,
        Some(Value::Bool(false)) => message.contains_key("tools"),
        Some(_) => return Err(fields.wrong("parallel_tool_calls", "must be true or false")),
    };
    let choice = fields.take("tool_choice");
    // Anthropic's API refuses the field without tools, where these two have no effect.
    let has_tools = message.contains_key("tools");
    let choice = choice.filter(|choice| has_tools || (choice != "auto" && choice != "none"));
    let choice = choice.map(|choice| choice_from_chat(choice, root.key("tool_choice")));
    let mut choice = choice.transpose()?;
    if one_at_a_time
        && choice
            .as_ref()
            .is_none_or(|choice| choice["type"] != "none")
    {
        let choice = choice.get_or_insert_with(|| json!({"type": "auto"}));
        choice["disable_parallel_tool_use"] = true.into();
    }
    if let Some(choice) = choice {
        message.insert("tool_choice".to_owned(), choice);
    }
    Ok(())
}

fn tool_from_chat(tool: Value, path: Path<'_>) -> Result<Value, InvalidField> {
    let mut tool = Fields::of(tool, path)?;
    let kind = tool.require_text("type")?;
    if kind != "function" {
        // A tool of Anthropic's own, such as `web_search_20250305`, is passed on unchanged.
        if kind == "custom" && tool.get("input_schema").is_none() {
            return Err(InvalidField::unsupported(path.key("type")));
        }
        let mut own = tool.rest();
        own.insert("type".to_owned(), kind.into());
        return Ok(own.into());
    }
    let function_path = path.key("function");
    let mut function = Fields::of(tool.require("function")?, function_path)?;
    let mut target = Map::new();
    target.insert("name".to_owned(), function.require_text("name")?.into());
    if let Some(description) = function.take_text("description")? {
        target.insert("description".to_owned(), description.into());
    }
    let mut schema = function.take("parameters").unwrap_or_else(|| json!({}));
    // Anthropic's API requires the type, which can be only this one.
    if let Some(schema) = schema.as_object_mut() {
        schema.entry("type").or_insert_with(|| "object".into());
    }
    target.insert("input_schema".to_owned(), schema);
    function.pass_rest(&mut target)?;
    // Members beside `function`, such as `cache_control`, belong to Anthropic's API.
    tool.pass_rest(&mut target)?;
    Ok(target.into())
}

fn choice_from_chat(choice: Value, path: Path<'_>) -> Result<Value, InvalidField> {
    match choice {
        Value::String(word) => match word.as_str() {
            "auto" => Ok(json!({"type": "auto"})),
            "required" => Ok(json!({"type": "any"})),
            "none" => Ok(json!({"type": "none"})),
            _ => Err(InvalidField::at(
                path,
                "must be `auto`, `required`, `none` or name a function",
            )),
        },
        choice => {
            let mut choice = Fields::of(choice, path)?;
            if choice.require_text("type")? != "function" {
                return Err(InvalidField::unsupported(path.key("type")));
            }
            let mut function = Fields::of(choice.require("function")?, path.key("function"))?;
            let name = function.require_text("name")?;
            function.refuse_rest()?;
            choice.refuse_rest()?;
            Ok(json!({"type": "tool", "name": name}))
        }
    }
}
