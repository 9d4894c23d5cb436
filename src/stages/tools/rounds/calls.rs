//! The calls of tools within the rounds of a call: how one is made, and what is made of its result.

use std::rc::Rc;

use kebne_agents::{ToolCall, Usage};
use kebne_wire::{
    mcp::{McpEnding, McpStep, result_text, tool_name},
    tool_rounds::RoundCall,
};
use serde_json::{Value, json};

use super::{Calling, OpenCall, Returned, Rounds, whole_body};
use crate::stages::tools::{Decided, stream::Sink};

/// What follows a result that was cut.
const CUT: &str = "\n[the rest was cut]";

impl Rounds {
    /// Takes the calls on which the caller has decided, as if the model had asked for them now.
    pub(super) fn take_decisions(&mut self) {
        let decided = std::mem::take(&mut self.plan.approved);
        if decided.is_empty() {
            return;
        }
        let now = self.now();
        let (mut calls, mut shown) = (Vec::new(), Vec::new());
        for (index, one) in decided.into_iter().enumerate() {
            let Decided {
                request,
                approve,
                reason,
            } = one;
            let tools = self.tools.iter();
            let mut tools =
                tools.filter(|tool| tool.label == request.label && tool.name == request.name);
            let offered = tools.next().map(|tool| tool.offered.clone());
            let name = offered.unwrap_or_else(|| tool_name(&request.label, &request.name));
            let call = RoundCall::new(&request.id, &name, &request.arguments);
            shown.push(call.shown());
            let key = format!("0-{index}");
            let denied = match reason {
                Some(reason) => format!("denied by the user: {reason}"),
                None => "denied by the user".to_owned(),
            };
            self.open.push(OpenCall {
                key: key.clone(),
                id: request.id.clone(),
                approval: Some(request.id),
                begun: None,
                told: None,
                result: (!approve).then_some(denied),
            });
            if approve {
                calls.push(ToolCall {
                    id: key,
                    name,
                    arguments: request.arguments,
                });
            }
        }
        let message = json!({"role": "assistant", "content": null, "tool_calls": shown});
        self.plan.conversation.push(&message);
        let keys: Vec<String> = calls.iter().map(|call| call.id.clone()).collect();
        if !calls.is_empty() {
            self.looping.answered(calls, Usage::default(), now);
        }
        for key in keys {
            self.looping.approve(&key, now);
        }
    }

    /// Begins a call. Returns the result of one that is not made.
    pub(super) async fn begin(
        &mut self,
        sink: &mut Sink,
        call: ToolCall,
    ) -> Result<Calling, Returned> {
        let key = call.id;
        let refused = |why: String| Returned {
            key: key.clone(),
            result: Err(why),
        };
        if self.made >= self.plan.calls_max {
            let most = self.plan.calls_max;
            return Err(refused(format!(
                "at most {most} calls of tools in one answer"
            )));
        }
        let mut tools = self.tools.iter();
        let tool = tools.position(|tool| tool.offered == call.name);
        let tool = tool.ok_or_else(|| refused(format!("there is no tool `{}`", call.name)))?;
        let arguments: Value = match call.arguments.trim() {
            "" => json!({}),
            text => serde_json::from_str(text).unwrap_or_default(),
        };
        self.made += 1;
        self.has_acted |= !self.tools[tool].is_read_only;
        let mut open = self.open.iter_mut();
        let open = open.find(|open| open.key == key);
        let approval = open.and_then(|open| {
            open.begun = Some((tool, call.arguments.clone()));
            open.approval.clone()
        });
        sink.step(McpStep::Begun {
            call: key.clone(),
            label: self.tools[tool].label.clone(),
            name: self.tools[tool].name.clone(),
            arguments: call.arguments,
            approval,
        })
        .await;
        let (steps, tools) = (Rc::clone(&self.steps), Rc::clone(&self.tools));
        Ok(Box::pin(async move {
            let tool = &tools[tool];
            let called = (tool.label.as_str(), tool.name.as_str());
            let result = steps.call(&key, called, &arguments).await;
            let result = match result {
                Ok((response, _notes)) => match whole_body(&steps, response).await {
                    Some(body) => result_text(&body),
                    None => Err("the result of the tool was lost".to_owned()),
                },
                Err(error) => Err(error.message().to_owned()),
            };
            Returned { key, result }
        }))
    }

    /// Takes the result of a call.
    pub(super) async fn returned(&mut self, sink: &mut Sink, returned: Returned) {
        let Returned { key, result } = returned;
        let size_max = self.plan.result_size_max;
        let result = match result {
            Ok(text) => Ok(cut(text, size_max)),
            Err(text) => Err(cut(text, size_max)),
        };
        let read = match &result {
            Ok(text) => text.clone(),
            Err(text) => format!("error: {text}"),
        };
        let now = self.now();
        self.looping.returned(&key, &read, result.is_err(), now);
        let mut open = self.open.iter_mut();
        let Some(open) = open.find(|open| open.key == key) else {
            return;
        };
        open.result = Some(read);
        let Some((tool, arguments)) = open.begun.take() else {
            return;
        };
        let tool = &self.tools[tool];
        let mut told = json!({
            "server_label": tool.label, "name": tool.name, "arguments": arguments,
            "status": if result.is_ok() { "completed" } else { "failed" },
        });
        if let Err(why) = &result {
            told["error"] = why.as_str().into();
        }
        open.told = Some(told);
        let ending = match result {
            Ok(text) => McpEnding::Output(text),
            Err(text) => McpEnding::Error(text),
        };
        sink.step(McpStep::Ended { call: key, ending }).await;
    }

    /// Asks the caller for its approval of a call.
    pub(super) async fn ask_caller(&self, sink: &mut Sink, call: &ToolCall) {
        let mut tools = self.tools.iter();
        if let Some(tool) = tools.find(|tool| tool.offered == call.name) {
            sink.step(McpStep::Asked {
                label: tool.label.clone(),
                name: tool.name.clone(),
                arguments: call.arguments.clone(),
            })
            .await;
        }
    }
}

/// Cuts a result to a size.
fn cut(mut text: String, size_max: usize) -> String {
    if text.len() > size_max {
        text.truncate(text.floor_char_boundary(size_max));
        text += CUT;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_cut_between_characters() {
        assert_eq!(cut("abc".to_owned(), 3), "abc");
        assert_eq!(cut("aåb".to_owned(), 2), format!("a{CUT}"));
    }
}
