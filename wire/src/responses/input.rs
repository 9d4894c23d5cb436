//! The items of a Responses request as chat messages.

use serde_json::{Map, Value, json};

use crate::{
    mcp::{McpItems, tool_name},
    responses::parts::parts,
    tool_calls::RETURNED,
    translate::{Fields, InvalidField, Omitted, Path, joined_or_parts, text_part},
};

/// Returns the messages that a list of items becomes. What the items say of approvals of tools and of lists is added to `mcp`.
pub(super) fn messages(
    items: Vec<Value>,
    path: Path<'_>,
    omitted: &mut Omitted,
    mcp: &mut McpItems,
) -> Result<Vec<Value>, InvalidField> {
    let mut messages = Messages::default();
    for (index, item) in items.into_iter().enumerate() {
        messages.item(item, path.index(index), omitted, mcp)?;
    }
    Ok(messages.finish(omitted))
}

/// What an assistant wrote and called since the last item of another side: one chat message.
#[derive(Debug, Default)]
struct Assistant {
    reasoning: Vec<String>,
    content: Option<Vec<Value>>,
    calls: Vec<Value>,
}

impl Assistant {
    fn message(self) -> Value {
        let mut message = Map::new();
        message.insert("role".to_owned(), "assistant".into());
        let content = self.content.map_or(Value::Null, joined_or_parts);
        message.insert("content".to_owned(), content);
        if !self.reasoning.is_empty() {
            message.insert(
                "reasoning_content".to_owned(),
                self.reasoning.join("\n\n").into(),
            );
        }
        if !self.calls.is_empty() {
            message.insert("tool_calls".to_owned(), self.calls.into());
        }
        message.into()
    }
}

#[derive(Debug, Default)]
struct Messages {
    done: Vec<Value>,
    /// The assistant's message that is still growing.
    assistant: Assistant,
    /// Results of calls that the gateway has made, which follow the message with the calls.
    made: Vec<Value>,
    /// Media of tool results, which `tool` messages cannot hold; they follow the last of these.
    media: Vec<Value>,
    /// Reasoning stood before another side's item, so that it led to nothing that could carry it.
    has_lost_reasoning: bool,
}

impl Messages {
    fn item(
        &mut self,
        item: Value,
        path: Path<'_>,
        omitted: &mut Omitted,
        mcp: &mut McpItems,
    ) -> Result<(), InvalidField> {
        let mut item = Fields::of(item, path)?;
        // The provider's names and states of items that are whole.
        let kind = item.take_text("type")?;
        let kind = kind.unwrap_or_else(|| "message".to_owned());
        let mut id = None;
        if kind != "item_reference" {
            id = item.take("id").and_then(|id| Some(id.as_str()?.to_owned()));
            item.take("status");
        }
        // What follows a call that was made has read its result.
        if !self.made.is_empty() && !matches!(kind.as_str(), "mcp_call" | "function_call") {
            self.end_assistant();
        }
        match kind.as_str() {
            "message" => self.message(item, omitted),
            "function_call" => self.call(item),
            "function_call_output" => self.result(item, omitted),
            "reasoning" => self.reasoning(item, omitted),
            // What an earlier search found stood in the prompt of that call only; its answer is there.
            "file_search_call" => Ok(()),
            "mcp_call" => self.made_call(id, item),
            "mcp_list_tools" => mcp.list(item),
            "mcp_approval_request" => mcp.asked(id, item),
            "mcp_approval_response" => mcp.approval(item),
            _ => {
                let reason = format!("`{kind}` is not supported by this model's backend");
                Err(InvalidField::at(path.key("type"), reason))
            }
        }
    }

    fn message(&mut self, mut item: Fields<'_>, omitted: &mut Omitted) -> Result<(), InvalidField> {
        let path = item.path();
        let role = item.require_text("role")?;
        let content = parts(item.require("content")?, path.key("content"), omitted)?;
        omitted.add_taken(&mut item, "phase");
        item.refuse_rest()?;
        match role.as_str() {
            "assistant" => {
                if self.assistant.content.is_some() && self.assistant.calls.is_empty() {
                    self.end_assistant();
                }
                self.end_results(None);
                self.assistant
                    .content
                    .get_or_insert_default()
                    .extend(content);
            }
            "user" => {
                self.end_assistant();
                self.end_results(Some(content));
            }
            // Many chat templates do not know the role `developer`.
            "system" | "developer" => {
                self.end_assistant();
                self.end_results(None);
                let content = joined_or_parts(content);
                self.done
                    .push(json!({"role": "system", "content": content}));
            }
            _ => {
                let reason = "must be `user`, `assistant`, `system` or `developer`";
                return Err(InvalidField::at(path.key("role"), reason));
            }
        }
        Ok(())
    }

    fn call(&mut self, mut item: Fields<'_>) -> Result<(), InvalidField> {
        let id = item.require_text("call_id")?;
        let name = item.require_text("name")?;
        let arguments = item.require_text("arguments")?;
        let returned = item.take_all(&RETURNED);
        item.refuse_rest()?;
        self.end_results(None);
        let function = json!({"name": name, "arguments": arguments});
        let mut call = Map::new();
        call.insert("id".to_owned(), id.into());
        call.insert("type".to_owned(), "function".into());
        call.insert("function".to_owned(), function);
        call.extend(returned);
        self.assistant.calls.push(call.into());
        Ok(())
    }

    /// A call of a tool of an MCP server, with its result.
    fn made_call(&mut self, id: Option<String>, mut item: Fields<'_>) -> Result<(), InvalidField> {
        let id = id.ok_or_else(|| item.wrong("id", "is missing"))?;
        let label = item.require_text("server_label")?;
        let name = tool_name(&label, &item.require_text("name")?);
        let arguments = item.require_text("arguments")?;
        let result = match (item.take("output"), item.take("error")) {
            (Some(Value::String(output)), None) => output,
            (_, Some(Value::String(error))) => format!("error: {error}"),
            (Some(other), None) | (_, Some(other)) => other.to_string(),
            (None, None) => "error: there is no result".to_owned(),
        };
        item.take("approval_request_id");
        item.refuse_rest()?;
        self.end_results(None);
        let function = json!({"name": name, "arguments": arguments});
        self.assistant
            .calls
            .push(json!({"id": id, "type": "function", "function": function}));
        self.made
            .push(json!({"role": "tool", "tool_call_id": id, "content": result}));
        Ok(())
    }

    fn result(&mut self, mut item: Fields<'_>, omitted: &mut Omitted) -> Result<(), InvalidField> {
        let path = item.path();
        let id = item.require_text("call_id")?;
        let output = parts(item.require("output")?, path.key("output"), omitted)?;
        item.refuse_rest()?;
        self.end_assistant();
        let (texts, media): (Vec<Value>, Vec<Value>) =
            output.into_iter().partition(|part| part["type"] == "text");
        let texts: Vec<&str> = texts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect();
        let text = texts.join("\n");
        self.done
            .push(json!({"role": "tool", "tool_call_id": id, "content": text}));
        if !media.is_empty() {
            self.media
                .push(text_part(format!("Result of tool call {id}:")));
            self.media.extend(media);
        }
        Ok(())
    }

    fn reasoning(
        &mut self,
        mut item: Fields<'_>,
        omitted: &mut Omitted,
    ) -> Result<(), InvalidField> {
        self.end_results(None);
        // Only its author can read it.
        omitted.add_taken(&mut item, "encrypted_content");
        let content = item.take_list("content")?.unwrap_or_default();
        let summary = item.take_list("summary")?.unwrap_or_default();
        item.refuse_rest()?;
        let source = if content.is_empty() { summary } else { content };
        let texts = source.iter().filter_map(|part| part["text"].as_str());
        self.assistant.reasoning.extend(texts.map(str::to_owned));
        Ok(())
    }

    /// Ends the assistant's message.
    fn end_assistant(&mut self) {
        let assistant = std::mem::take(&mut self.assistant);
        if assistant.content.is_some() || !assistant.calls.is_empty() {
            self.done.push(assistant.message());
        } else if !assistant.reasoning.is_empty() {
            self.has_lost_reasoning = true;
        }
        self.done.append(&mut self.made);
    }

    /// Ends a round of tool results, with a user's message for their media and for what the user says.
    fn end_results(&mut self, parts_before: Option<Vec<Value>>) {
        let mut parts = std::mem::take(&mut self.media);
        if parts_before.is_some() || !parts.is_empty() {
            parts.extend(parts_before.unwrap_or_default());
            let content = joined_or_parts(parts);
            self.done.push(json!({"role": "user", "content": content}));
        }
    }

    fn finish(mut self, omitted: &mut Omitted) -> Vec<Value> {
        self.end_assistant();
        self.end_results(None);
        if self.has_lost_reasoning {
            omitted.add("reasoning");
        }
        self.done
    }
}
