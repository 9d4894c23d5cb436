//! The model of an agent: each of its calls passes the same stages as a live call of the key that has started the run.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use actix_web::{
    http::{
        StatusCode,
        header::{CONTENT_TYPE, HeaderName, HeaderValue},
    },
    web::Data,
};
use bytes::Bytes;
use kebne_agents::{
    Ask, Message, Model, ModelError, Reply, RunContext, ToolCall, ToolSpec, Usage, Work,
};
use serde_json::{Value, json};

use super::streamed::{Streamed, is_streamed};
use crate::{
    agents::caller::RunCaller,
    caller::Caller,
    stages::{self, Answered, Arrival, Body, Head, Maker, Meaning},
    state::State,
    surface::openai,
};

/// The wait before the model is asked again after a failure.
const AGAIN: Duration = Duration::from_secs(1);
/// The budget of a run in tokens below which an answer is bounded by it.
const BOUNDED_BELOW: u64 = 4096;

/// The model of an agent.
pub(super) struct GatewayModel {
    state: Weak<State>,
    caller: RunCaller,
    model: String,
}

impl GatewayModel {
    pub(super) fn new(state: Weak<State>, of: &RunContext) -> Self {
        Self {
            state,
            caller: RunCaller::new(of),
            model: of.spec.model.clone(),
        }
    }

    async fn answer(&self, ask: &Ask) -> Result<Reply, ModelError> {
        let state = self.state.upgrade().map(Data::from);
        let stops = || ModelError::again("the service stops", AGAIN);
        let state = state
            .filter(|state| self.caller.may_call(state))
            .ok_or_else(stops)?;
        let caller = self.caller.of(&state);
        let revoked = || ModelError::last("the key that started the run is not accepted any more");
        let arrival = self.arrival(&state, ask, caller.ok_or_else(revoked)?)?;
        let size_max = state.settings.get().answers_size_max.as_usize();
        let mut streamed = Streamed::default();
        let on_part = |part: &[u8]| streamed.read(part, &ask.text);
        // On the heap, because it holds the futures of all stages.
        let answering = stages::answer_in_parts(&state, arrival, size_max, on_part);
        let answered = Box::pin(answering).await;
        match answered.ending {
            Meaning::Answer if is_streamed(&answered) => streamed.reply(&answered),
            Meaning::Answer => reply(&answered),
            Meaning::Failed if is_streamed(&answered) => {
                Err(ModelError::again(streamed.failure(), AGAIN))
            }
            Meaning::Final => Err(last(&answered)),
            // It goes in a circle however often it is made.
            Meaning::Failed if answered.status == StatusCode::LOOP_DETECTED => Err(last(&answered)),
            Meaning::Refused(after) => Err(ModelError::again(error_of(&answered), after)),
            Meaning::Failed => Err(ModelError::again(error_of(&answered), AGAIN)),
        }
    }

    fn arrival(
        &self,
        state: &State,
        ask: &Ask,
        caller: Arc<Caller>,
    ) -> Result<Arrival, ModelError> {
        let deadline = state.settings.get().deadline_max.0.as_millis();
        let mut headers = self.caller.headers(&caller);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(deadline) = HeaderValue::try_from(deadline.to_string()) {
            let name = HeaderName::from_static("x-kebne-deadline-ms");
            headers.insert(name, deadline);
        }
        let body = Bytes::from(self.body(ask).to_string());
        let body = state.bodies.hold(body);
        let body = body.map_err(|_| ModelError::again("there is no memory for the call", AGAIN))?;
        Ok(Arrival {
            surface: &openai::CHAT,
            id: format!("{}-{}", ask.run, ask.step).into(),
            head: Head::Job {
                maker: Maker::Run,
                headers,
                caller,
                function: None,
            },
            body: Body::Here(body),
        })
    }

    fn body(&self, ask: &Ask) -> Value {
        let messages: Vec<Value> = ask.messages.iter().map(message).collect();
        let mut body = json!({"model": self.model, "messages": messages});
        if !ask.tools.is_empty() {
            body["tools"] = ask.tools.iter().map(tool).collect();
        }
        if ask.tokens_left < BOUNDED_BELOW {
            body["max_tokens"] = json!(ask.tokens_left);
        }
        // A whole answer can be repeated until it is there, so that only one that somebody reads meanwhile is streamed.
        if ask.is_followed {
            body["stream"] = true.into();
            body["stream_options"] = json!({"include_usage": true});
        }
        body
    }
}

impl Model for GatewayModel {
    fn ask<'a>(&'a self, ask: &'a Ask) -> Work<'a, Result<Reply, ModelError>> {
        Box::pin(self.answer(ask))
    }
}

fn message(message: &Message) -> Value {
    match message {
        Message::System { text } => json!({"role": "system", "content": text}),
        Message::User { text } => json!({"role": "user", "content": text}),
        Message::Assistant { text, calls } if calls.is_empty() => {
            json!({"role": "assistant", "content": text})
        }
        Message::Assistant { text, calls } => {
            let calls = calls.iter().map(|call| {
                let function = json!({"name": call.name, "arguments": call.arguments});
                json!({"id": call.id, "type": "function", "function": function})
            });
            let text = (!text.is_empty()).then_some(text);
            json!({"role": "assistant", "content": text, "tool_calls": calls.collect::<Vec<_>>()})
        }
        Message::Tool { call, text } => {
            json!({"role": "tool", "tool_call_id": call, "content": text})
        }
    }
}

fn tool(spec: &ToolSpec) -> Value {
    json!({"type": "function", "function": {
        "name": spec.name, "description": spec.description, "parameters": spec.parameters,
    }})
}

/// Reads the answer of a model.
fn reply(answered: &Answered) -> Result<Reply, ModelError> {
    let unreadable = || ModelError::last("the answer of the model is not one of a chat");
    let answer: Value = serde_json::from_slice(&answered.body).map_err(|_| unreadable())?;
    let message = answer
        .pointer("/choices/0/message")
        .ok_or_else(unreadable)?;
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    let calls = calls.filter_map(|call| {
        let function = &call["function"];
        let arguments = match &function["arguments"] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            // Some servers send them as an object.
            other => other.to_string(),
        };
        Some(ToolCall {
            id: call["id"].as_str().unwrap_or_default().to_owned(),
            name: function["name"].as_str()?.to_owned(),
            arguments,
        })
    });
    let tokens = |key: &str| answer["usage"][key].as_u64();
    let consumed = answered.consumed;
    let output = tokens("completion_tokens").unwrap_or(0);
    let input = tokens("prompt_tokens").unwrap_or(consumed.tokens.saturating_sub(output));
    Ok(Reply {
        text: message["content"].as_str().unwrap_or_default().to_owned(),
        calls: calls.collect(),
        usage: Usage {
            input_tokens: input,
            output_tokens: output,
            cost: consumed.cost.unwrap_or_default(),
        },
    })
}

/// Returns the error of an answer after which the model is not asked again.
fn last(answered: &Answered) -> ModelError {
    let error: Value = serde_json::from_slice(&answered.body).unwrap_or_default();
    let code = error.pointer("/error/code").and_then(Value::as_str);
    ModelError::last(error_of(answered)).because(code.map(str::to_owned))
}

/// Returns the message of an error.
pub(super) fn error_of(answered: &Answered) -> String {
    let error: Value = serde_json::from_slice(&answered.body).unwrap_or_default();
    let message = error.pointer("/error/message").and_then(Value::as_str);
    let status = answered.status.as_u16();
    message.map_or_else(|| format!("status {status}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(body: &Value) -> Answered {
        Answered {
            status: StatusCode::OK,
            content_type: "application/json".to_owned(),
            body: Bytes::from(body.to_string()),
            ending: Meaning::Answer,
            consumed: crate::cost::Consumed {
                tokens: 30,
                ..crate::cost::Consumed::default()
            },
        }
    }

    #[test]
    fn the_answers_of_models_are_read_whatever_form_their_arguments_have() {
        let calls = json!([
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
            {"id": "b", "function": {"name": "g", "arguments": {"y": 2}}},
            {"id": "c", "function": {"name": "h"}},
        ]);
        let message = json!({"role": "assistant", "content": null, "tool_calls": calls});
        let usage = json!({"prompt_tokens": 7, "completion_tokens": 3});
        let read = reply(&answered(
            &json!({"choices": [{"message": message}], "usage": usage}),
        ));
        let read = read.unwrap();
        let arguments: Vec<&str> = read
            .calls
            .iter()
            .map(|call| call.arguments.as_str())
            .collect();
        assert_eq!(arguments, [r#"{"x":1}"#, r#"{"y":2}"#, ""]);
        assert_eq!((read.usage.input_tokens, read.usage.output_tokens), (7, 3));
        let text = reply(&answered(
            &json!({"choices": [{"message": {"content": "Hi."}}]}),
        ))
        .unwrap();
        assert_eq!((text.text.as_str(), text.usage.tokens()), ("Hi.", 30));
        assert!(reply(&answered(&json!({"choices": []}))).is_err());
    }
}
