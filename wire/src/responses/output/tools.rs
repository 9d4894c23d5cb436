//! The items of tools of MCP servers: lists, calls, and calls that wait for an approval.

use serde_json::{Value, json};

use super::Output;
use crate::{
    mcp::{McpEnding, McpStep},
    responses::events::Events,
};

/// A call without a result.
#[derive(Debug)]
pub(super) struct MadeCall {
    /// Its key in the answer.
    call: String,
    output_index: usize,
    id: String,
    /// The item so far.
    item: Value,
}

impl Output {
    /// Reports a step.
    pub(in crate::responses) fn step(&mut self, step: &McpStep, events: &mut Events<'_>) {
        match step {
            McpStep::Listed {
                label,
                tools,
                error,
            } => self.listed(label, tools, error.as_deref(), events),
            McpStep::Begun {
                call,
                label,
                name,
                arguments,
                approval,
            } => {
                let item = json!({
                    "type": "mcp_call", "status": "in_progress", "server_label": label, "name": name, "arguments": arguments,
                    "output": null, "error": null, "approval_request_id": approval,
                });
                self.begun(call, item, events);
            }
            McpStep::Ended { call, ending } => self.ended(call, ending, events),
            McpStep::Asked {
                label,
                name,
                arguments,
            } => {
                let item = |id: &str| {
                    json!({
                        "id": id, "type": "mcp_approval_request", "server_label": label, "name": name, "arguments": arguments,
                    })
                };
                let open = self.start("mcpr", events, item);
                self.done(open.output_index, item(&open.id), events);
            }
        }
    }

    fn listed(
        &mut self,
        label: &str,
        tools: &[Value],
        error: Option<&str>,
        events: &mut Events<'_>,
    ) {
        let item = |id: &str, tools: &[Value], error: Option<&str>| json!({"id": id, "type": "mcp_list_tools", "server_label": label, "tools": tools, "error": error});
        let open = self.start("mcpl", events, |id| item(id, &[], None));
        let place = || json!({"item_id": open.id, "output_index": open.output_index});
        events.write("response.mcp_list_tools.in_progress", place);
        let kind = match error {
            None => "response.mcp_list_tools.completed",
            Some(_) => "response.mcp_list_tools.failed",
        };
        events.write(kind, place);
        self.done(open.output_index, item(&open.id, tools, error), events);
    }

    /// Reports a call with its arguments, which are complete.
    fn begun(&mut self, call: &str, mut item: Value, events: &mut Events<'_>) {
        let arguments = item["arguments"].clone();
        let open = self.start("mcp", events, |id| {
            item["id"] = id.into();
            let mut added = item.clone();
            added["arguments"] = "".into();
            added
        });
        let place = |mut event: Value| {
            event["item_id"] = open.id.as_str().into();
            event["output_index"] = open.output_index.into();
            event
        };
        events.write("response.mcp_call.in_progress", || place(json!({})));
        events.write("response.mcp_call_arguments.delta", || {
            place(json!({"delta": arguments}))
        });
        events.write("response.mcp_call_arguments.done", || {
            place(json!({"arguments": arguments}))
        });
        self.made.push(MadeCall {
            call: call.to_owned(),
            output_index: open.output_index,
            id: open.id,
            item,
        });
    }

    fn ended(&mut self, call: &str, ending: &McpEnding, events: &mut Events<'_>) {
        let Some(place) = self.made.iter().position(|made| made.call == call) else {
            return;
        };
        let mut made = self.made.remove(place);
        let (status, key, text) = match ending {
            McpEnding::Output(text) => ("completed", "output", text),
            McpEnding::Error(text) => ("failed", "error", text),
        };
        made.item["status"] = status.into();
        made.item[key] = text.as_str().into();
        events.write(
            &format!("response.mcp_call.{status}"),
            || json!({"item_id": made.id, "output_index": made.output_index}),
        );
        self.done(made.output_index, made.item, events);
    }

    /// Completes the calls of an answer that ends without their results.
    pub(super) fn give_up_calls(&mut self) {
        for mut made in std::mem::take(&mut self.made) {
            made.item["status"] = "incomplete".into();
            if let Some(place) = self.items.get_mut(made.output_index) {
                *place = made.item;
            }
        }
    }

    fn done(&mut self, output_index: usize, item: Value, events: &mut Events<'_>) {
        events.write(
            "response.output_item.done",
            || json!({"output_index": output_index, "item": item}),
        );
        if let Some(place) = self.items.get_mut(output_index) {
            *place = item;
        }
    }
}
