//! Agents, runs and their events as JSON.

use kebne_agents::{AgentSpec, Event, Head, Run, RunEvent, RunState, Usage};
use serde_json::{Value, json};

/// Returns an agent. `source` is `settings` or `own`.
pub(crate) fn shown_agent(spec: &AgentSpec, source: &str) -> Value {
    let mut shown = json!({"object": "agent", "source": source});
    if let (Value::Object(shown), Ok(Value::Object(spec))) =
        (&mut shown, serde_json::to_value(spec))
    {
        shown.extend(spec);
    }
    shown
}

/// Returns a run in a list.
pub(crate) fn shown_head(head: &Head) -> Value {
    json!({
        "object": "agent.run", "id": head.id, "agent": head.agent, "status": state(head.state),
        "created_at": head.created / 1000, "ended_at": head.ended.map(|ended| ended / 1000), "last_event": head.seq,
    })
}

/// Returns a run with its calls that wait for a human and its end.
pub(crate) fn shown_run(run: &Run) -> Value {
    let waiting = run.waiting();
    let status = match (
        &run.ended,
        waiting.is_empty(),
        run.open.len() == waiting.len(),
    ) {
        (Some(_), ..) => RunState::Ended,
        (None, false, true) => RunState::Waiting,
        (None, ..) => RunState::Running,
    };
    let waiting: Vec<Value> = waiting
        .into_iter()
        .map(|(call, why)| {
            json!({"call": call.id, "tool": call.name, "arguments": arguments(&call.arguments), "for": why})
        })
        .collect();
    let (ending, why) = match &run.ended {
        Some((_, ending, text)) => (Some(ending.name()), Some(text)),
        None => (None, None),
    };
    json!({
        "object": "agent.run", "id": &*run.id, "agent": run.began.spec.name, "current_agent": run.spec.name,
        "status": state(status), "ending": ending, "output": run.output(),
        "reason": why.filter(|_| run.output().is_none()), "code": run.code,
        "waiting": waiting, "steps": run.steps, "usage": usage(run.usage), "budget": run.began.budget,
        "parent": run.began.parent, "session": run.began.session,
        "created_at": run.began_at / 1000, "ended_at": run.ended.as_ref().map(|(at, ..)| at / 1000),
        "last_event": run.seq,
    })
}

/// Returns an event.
pub(crate) fn shown_event(event: &Event) -> Value {
    let mut shown = match &event.what {
        RunEvent::Began(began) => json!({
            "agent": began.spec.name, "messages": began.messages, "parent": began.parent, "budget": began.budget,
        }),
        RunEvent::Answered {
            text,
            calls,
            usage: used,
        } => {
            let calls = calls.iter().map(|call| {
                json!({"id": call.id, "tool": call.name, "arguments": arguments(&call.arguments)})
            });
            let calls: Vec<Value> = calls.collect();
            json!({"text": text, "calls": calls, "usage": usage(*used)})
        }
        RunEvent::HandedOff { spec } => json!({"agent": spec.name}),
        other => serde_json::to_value(other).unwrap_or_default(),
    };
    shown["type"] = json!(event.what.kind());
    shown["number"] = json!(event.seq);
    shown["at_ms"] = json!(event.at);
    shown
}

/// Returns arguments as JSON if they are, else as text.
fn arguments(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

fn usage(usage: Usage) -> Value {
    json!({"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, "cost": usage.cost})
}

fn state(state: RunState) -> &'static str {
    match state {
        RunState::Running => "running",
        RunState::Waiting => "waiting",
        RunState::Ended => "ended",
    }
}
