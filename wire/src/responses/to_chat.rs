//! A Responses request as a chat request.

use serde_json::{Map, Value, json};

use crate::{
    file_search::{FileSearch, RESULTS},
    mcp::{McpItems, McpTools},
    responses::{input, template::Template, terms::Terms, tools},
    translate::{Fields, InvalidField, Omitted, Path},
};

/// Fields whose effect needs a server with the Responses API.
const SERVER_SIDE: [&str; 3] = ["background", "prompt", "context_management"];
/// Fields of the chat API that change the shape of the answer, so that the answer could not be translated back.
const CHAT_ONLY: [&str; 7] = [
    "n",
    "logprobs",
    "audio",
    "modalities",
    "functions",
    "function_call",
    "web_search_options",
];
/// Fields with the same name and meaning on both sides, which the answer repeats.
const SHARED: [&str; 9] = [
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "parallel_tool_calls",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "user",
];

/// A translated request.
#[derive(Clone, Debug, PartialEq)]
pub struct ResponsesCall {
    /// The chat request without its messages.
    chat: Map<String, Value>,
    /// The text that leads this call and no later one.
    instructions: Option<String>,
    /// What the caller says, as chat messages.
    messages: Vec<Value>,
    /// Names of the fields that chat has no place for and that change only cost or speed.
    pub omitted: Vec<String>,
    /// What the answer repeats of the request.
    pub template: Template,
    /// What it continues, and whether it is kept.
    pub terms: Terms,
    /// The search that is done for it here.
    pub file_search: Option<FileSearch>,
    /// The servers whose tools are called for it here, and what its input says of them.
    pub mcp: McpTools,
    /// `true` if the answer is to be streamed.
    pub stream: bool,
}

impl ResponsesCall {
    /// Returns the chat request with the messages of earlier responses between the instructions and its own.
    pub fn chat(&self, history: impl IntoIterator<Item = Value>) -> Value {
        let instructions = self.instructions.iter();
        let instructions = instructions.map(|text| json!({"role": "system", "content": text}));
        let own = self.messages.iter().cloned();
        let mut chat = self.chat.clone();
        let messages: Vec<Value> = instructions.chain(history).chain(own).collect();
        chat.insert("messages".to_owned(), messages.into());
        chat.into()
    }
}

/// Translates a Responses request into a chat request.
///
/// # Errors
/// Returns an error if a field is missing, has the wrong type, or asks for what a chat backend cannot do.
pub fn to_chat(request: Value) -> Result<ResponsesCall, InvalidField> {
    let mut fields = Fields::of(request, Path::Root)?;
    let mut omitted = Omitted::default();
    let (mut chat, mut echo) = (Map::new(), Map::new());
    let model = fields.require_text("model")?;
    echo.insert("model".to_owned(), model.clone().into());
    chat.insert("model".to_owned(), model.into());
    let instructions = fields.take_text("instructions")?;
    echo.insert("instructions".to_owned(), instructions.clone().into());
    let mut mcp = McpTools::default();
    let messages = messages(&mut fields, &mut omitted, &mut mcp.items)?;
    for key in SHARED {
        if let Some(value) = fields.take(key) {
            echo.insert(key.to_owned(), value.clone());
            chat.insert(key.to_owned(), value);
        }
    }
    limits(&mut fields, &mut chat, &mut echo)?;
    mcp.calls_max = echo.get("max_tool_calls").and_then(Value::as_u64);
    let mut file_search = tools::to_chat(&mut fields, &mut chat, &mut echo, &mut mcp)?;
    if !chat.contains_key("tools") && mcp.servers.is_empty() {
        // Servers of chat refuse these fields without tools, where they have no effect.
        chat.shift_remove("parallel_tool_calls");
        let choice = chat.get("tool_choice").and_then(Value::as_str);
        if matches!(choice, Some("auto" | "none")) {
            chat.shift_remove("tool_choice");
        }
    }
    text(&mut fields, &mut chat, &mut echo)?;
    reasoning(&mut fields, &mut chat, &mut echo, &mut omitted)?;
    let includes_results = include(&mut fields, &mut chat, &mut echo, &mut omitted)?;
    match &mut file_search {
        Some(search) => search.includes_results = includes_results,
        None if includes_results => omitted.add(format!("include: {RESULTS}")),
        None => {}
    }
    let stream = fields.take_flag("stream")?;
    if stream {
        chat.insert("stream".to_owned(), true.into());
        chat.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    if let Some(options) = fields.take("stream_options")
        && options["include_obfuscation"] == true
    {
        omitted.add("stream_options.include_obfuscation");
    }
    let terms = Terms::take(&mut fields)?;
    terms.echo(&mut echo);
    for key in SERVER_SIDE.into_iter().chain(CHAT_ONLY) {
        fields.refuse(key)?;
    }
    omitted.add_taken(&mut fields, "prompt_cache_retention");
    if fields.get("messages").is_some() {
        return Err(fields.wrong(
            "messages",
            "is a field of another API; this one has `input`",
        ));
    }
    fields.pass_rest(&mut chat)?;
    Ok(ResponsesCall {
        chat,
        instructions,
        messages,
        omitted: omitted.finish(),
        template: Template::new(echo),
        terms,
        file_search,
        mcp,
        stream,
    })
}

/// Returns the messages that `input` becomes.
fn messages(
    fields: &mut Fields<'_>,
    omitted: &mut Omitted,
    mcp: &mut McpItems,
) -> Result<Vec<Value>, InvalidField> {
    let root = fields.path();
    match fields.require("input")? {
        Value::String(text) => Ok(vec![json!({"role": "user", "content": text})]),
        Value::Array(items) => input::messages(items, root.key("input"), omitted, mcp),
        _ => Err(fields.wrong("input", "must be a string or a list")),
    }
}

fn limits(
    fields: &mut Fields<'_>,
    chat: &mut Map<String, Value>,
    echo: &mut Map<String, Value>,
) -> Result<(), InvalidField> {
    if let Some(limit) = fields.take("max_output_tokens") {
        if limit.as_u64().is_none_or(|limit| limit == 0) {
            return Err(fields.wrong("max_output_tokens", "must be a whole number above 0"));
        }
        echo.insert("max_output_tokens".to_owned(), limit.clone());
        chat.insert("max_tokens".to_owned(), limit);
    }
    // Counts calls of the provider's own tools, of which there are those of MCP servers here.
    if let Some(limit) = fields.take("max_tool_calls") {
        echo.insert("max_tool_calls".to_owned(), limit);
    }
    if let Some(metadata) = fields.take("metadata") {
        if !metadata.is_object() {
            return Err(fields.wrong("metadata", "must be an object"));
        }
        echo.insert("metadata".to_owned(), metadata);
    }
    Ok(())
}

/// `text.format` is chat's `response_format`, and `text.verbosity` its `verbosity`.
fn text(
    fields: &mut Fields<'_>,
    chat: &mut Map<String, Value>,
    echo: &mut Map<String, Value>,
) -> Result<(), InvalidField> {
    let Some(text) = fields.take("text") else {
        return Ok(());
    };
    let root = fields.path();
    let path = root.key("text");
    let mut own = text.clone();
    let mut text = Fields::of(text, path)?;
    if let Some(own) = own.as_object_mut() {
        complete_format(own);
    }
    echo.insert("text".to_owned(), own);
    if let Some(verbosity) = text.take_text("verbosity")? {
        chat.insert("verbosity".to_owned(), verbosity.into());
    }
    if let Some(format) = text.take("format") {
        let path = path.key("format");
        let mut format = Fields::of(format, path)?;
        match format.require_text("type")?.as_str() {
            "text" => {}
            "json_object" => {
                chat.insert("response_format".to_owned(), json!({"type": "json_object"}));
            }
            "json_schema" => {
                let mut schema = Map::new();
                schema.insert("name".to_owned(), format.require_text("name")?.into());
                schema.insert("schema".to_owned(), format.require("schema")?);
                format.pass_rest(&mut schema)?;
                let format = json!({"type": "json_schema", "json_schema": schema});
                chat.insert("response_format".to_owned(), format);
            }
            _ => {
                let reason = "must be `text`, `json_object` or `json_schema`";
                return Err(format.wrong("type", reason));
            }
        }
    }
    text.refuse_rest()
}

/// Adds the members of a format that an answer repeats.
fn complete_format(text: &mut Map<String, Value>) {
    let format = text.entry("format").or_insert(Value::Null);
    if format.is_null() {
        *format = json!({"type": "text"});
    }
    if format["type"] == "json_schema"
        && let Some(format) = format.as_object_mut()
    {
        format.entry("description").or_insert(Value::Null);
        format.entry("strict").or_insert(false.into());
    }
}

fn reasoning(
    fields: &mut Fields<'_>,
    chat: &mut Map<String, Value>,
    echo: &mut Map<String, Value>,
    omitted: &mut Omitted,
) -> Result<(), InvalidField> {
    let Some(reasoning) = fields.take("reasoning") else {
        return Ok(());
    };
    let root = fields.path();
    echo.insert("reasoning".to_owned(), reasoning.clone());
    let mut reasoning = Fields::of(reasoning, root.key("reasoning"))?;
    if let Some(effort) = reasoning.take_text("effort")? {
        chat.insert("reasoning_effort".to_owned(), effort.into());
    }
    // Chat backends that show reasoning show all of it.
    for key in ["summary", "generate_summary"] {
        if reasoning.take(key).is_some() {
            omitted.add(format!("reasoning.{key}"));
        }
    }
    reasoning.refuse_rest()
}

/// Log probabilities and the results of `file_search` are asked for in `include`; all other additions belong to the provider's own tools,
/// or are encrypted. Returns `true` if the results are asked for.
fn include(
    fields: &mut Fields<'_>,
    chat: &mut Map<String, Value>,
    echo: &mut Map<String, Value>,
    omitted: &mut Omitted,
) -> Result<bool, InvalidField> {
    let mut includes_results = false;
    for item in fields.take_list("include")?.unwrap_or_default() {
        match item.as_str() {
            Some("message.output_text.logprobs") => {
                chat.insert("logprobs".to_owned(), true.into());
            }
            Some(RESULTS) => includes_results = true,
            Some(name) => omitted.add(format!("include: {name}")),
            None => return Err(fields.wrong("include", "must be a list of strings")),
        }
    }
    if let Some(count) = fields.take("top_logprobs") {
        if count != 0 {
            chat.insert("logprobs".to_owned(), true.into());
            chat.insert("top_logprobs".to_owned(), count.clone());
        }
        echo.insert("top_logprobs".to_owned(), count);
    }
    Ok(includes_results)
}

#[cfg(test)]
mod tests;
