//! What a run does next.

use serde_json::{Map, Value};

use crate::{
    message::ToolCall,
    run::{
        CALLS_MAX, CallOutcome, Decision, EMPTY_MAX, Ending, FAILING_MAX, HAND_OFFS_MAX, OpenCall,
        Run,
    },
    spec::{ASK_HUMAN, OnUnknown},
};

/// What a call of a tool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// There is no such tool.
    Missing,
    /// A tool, and whether it may be repeated.
    Tool { is_repeatable: bool },
    /// The conversation is handed to another agent.
    HandOff,
}

/// What a run must know of its surroundings.
pub(crate) struct View<'v> {
    /// The time, in milliseconds of Unix time.
    pub(crate) now: u64,
    /// What a call is.
    pub(crate) kind: &'v dyn Fn(&ToolCall) -> CallKind,
    /// `true` for calls that this actor has written down as being carried out, since it started.
    pub(crate) is_mine: &'v dyn Fn(&str) -> bool,
    /// `true` for calls that are being carried out.
    pub(crate) is_busy: &'v dyn Fn(&str) -> bool,
    /// `true` while the model is asked.
    pub(crate) is_asking: bool,
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Todo {
    /// Nothing until something that goes on has ended.
    Nothing,
    /// Ask the model.
    Ask,
    /// Write down that these calls are being carried out.
    Mark(Vec<String>),
    /// Carry these calls out.
    Call(Vec<ToolCall>),
    /// Write a result without carrying the call out.
    Return(String, CallOutcome, String),
    /// Ask a human whether the call is repeated.
    Hold(String),
    /// Hand the conversation over.
    HandOff(ToolCall),
    /// Wait for a human.
    Wait,
    /// End the run.
    End(Ending, String),
    /// It has ended.
    Done,
}

/// What to do about one call.
enum Of {
    Busy,
    Human,
    Return(CallOutcome, String),
    Hold,
    Mark,
    Call,
    HandOff,
}

impl Run {
    /// Returns the next thing to do.
    pub(crate) fn next(&self, view: &View<'_>) -> Todo {
        if self.ended.is_some() {
            return Todo::Done;
        }
        if self.cancelled_by.is_some() {
            return Todo::End(Ending::Cancelled, "the run was cancelled".to_owned());
        }
        if self.open.is_empty() {
            return self.next_answer(view);
        }
        let todo = self.next_call(view);
        if todo != Todo::Wait
            && let Some(end) = self.time_is_over(view.now)
        {
            return end;
        }
        todo
    }

    /// Returns what to do about the calls of the last answer.
    fn next_call(&self, view: &View<'_>) -> Todo {
        let (mut mark, mut call, mut hand_off) = (Vec::new(), Vec::new(), None);
        let (mut busy, mut waits) = (0, false);
        for open in &self.open {
            let id = || open.call.id.clone();
            match self.todo_of(open, view) {
                Of::Busy => busy += 1,
                Of::Human => waits = true,
                Of::Return(outcome, text) => return Todo::Return(id(), outcome, text),
                Of::Hold => return Todo::Hold(id()),
                Of::Mark => mark.push(id()),
                Of::Call => call.push(open.call.clone()),
                Of::HandOff => hand_off = hand_off.or(Some(&open.call)),
            }
        }
        let room = self.spec.parallel_max.saturating_sub(busy);
        if !call.is_empty() && room > 0 {
            call.truncate(room);
            return Todo::Call(call);
        }
        if !mark.is_empty() && room > 0 {
            mark.truncate(room);
            return Todo::Mark(mark);
        }
        match hand_off {
            _ if busy > 0 => Todo::Nothing,
            _ if waits => Todo::Wait,
            // Behind all others, because it changes who reads their results.
            Some(call) => Todo::HandOff(call.clone()),
            None => Todo::Nothing,
        }
    }

    fn todo_of(&self, open: &OpenCall, view: &View<'_>) -> Of {
        let call = &open.call;
        if (view.is_busy)(&call.id) {
            return Of::Busy;
        }
        if open.index >= CALLS_MAX {
            let text = format!("error: at most {CALLS_MAX} calls at once");
            return Of::Return(CallOutcome::Failed, text);
        }
        if self.waits_for(open).is_some() {
            return Of::Human;
        }
        if let Some(decision) = &open.decision {
            if call.name == ASK_HUMAN && self.spec.ask_human {
                return answered(decision);
            }
            if !decision.approved {
                return Of::Return(CallOutcome::Denied, denied(decision));
            }
        }
        let kind = (view.kind)(call);
        if kind == CallKind::Missing {
            let text = format!("error: there is no tool `{}`", call.name);
            return Of::Return(CallOutcome::Failed, text);
        }
        if arguments_of(call).is_none() {
            let text = "error: the arguments are not a JSON object".to_owned();
            return Of::Return(CallOutcome::Failed, text);
        }
        match kind {
            CallKind::HandOff if self.hand_offs >= HAND_OFFS_MAX => {
                let text = format!("error: at most {HAND_OFFS_MAX} hand-offs in one run");
                Of::Return(CallOutcome::Failed, text)
            }
            CallKind::HandOff => Of::HandOff,
            CallKind::Tool {
                is_repeatable: true,
            } => Of::Call,
            CallKind::Tool { .. } | CallKind::Missing => self.once(open, view),
        }
    }

    /// Returns what to do about a call that must not be repeated.
    fn once(&self, open: &OpenCall, view: &View<'_>) -> Of {
        if open.given_up {
            return Of::Return(CallOutcome::Unknown, unknown());
        }
        if !open.began {
            return Of::Mark;
        }
        if (view.is_mine)(&open.call.id) {
            return Of::Call;
        }
        // It was being carried out when the actor or the process ended.
        match self.spec.unknown {
            OnUnknown::Report => Of::Return(CallOutcome::Unknown, unknown()),
            OnUnknown::Hold => Of::Hold,
        }
    }

    /// Returns what to do when no call is open.
    fn next_answer(&self, view: &View<'_>) -> Todo {
        if let Some(text) = self.final_text() {
            return Todo::End(Ending::Completed, text.to_owned());
        }
        if let Some(name) = self.repeats.reached(self.spec.repeats_max) {
            let text = format!("`{name}` was called again and again with the same result");
            return Todo::End(Ending::Looping, text);
        }
        if self.empty >= EMPTY_MAX {
            return Todo::End(Ending::Stalled, "the model gave no answer".to_owned());
        }
        if self.failing >= FAILING_MAX {
            let text = format!("all calls of {FAILING_MAX} answers in a row failed");
            return Todo::End(Ending::Stalled, text);
        }
        if let Some(end) = self.time_is_over(view.now) {
            return end;
        }
        let left = self.left(view.now);
        let budget = self.began.budget;
        if left.steps == 0 {
            let text = format!("{} steps are used up", budget.steps);
            return Todo::End(Ending::StepsUsed, text);
        }
        if left.tokens == 0 {
            let text = format!("{} tokens are used up", budget.tokens);
            return Todo::End(Ending::TokensUsed, text);
        }
        if left.cost.is_some_and(|cost| cost.nano() == 0) {
            let text = "the money of the run is used up".to_owned();
            return Todo::End(Ending::CostUsed, text);
        }
        if view.is_asking {
            return Todo::Nothing;
        }
        Todo::Ask
    }

    fn time_is_over(&self, now: u64) -> Option<Todo> {
        let text = || format!("{} ms are used up", self.began.budget.time_ms);
        (self.left(now).time_ms == 0).then(|| Todo::End(Ending::TimeUsed, text()))
    }
}

/// Returns the arguments of a call; `None` if they are not a JSON object.
pub(crate) fn arguments_of(call: &ToolCall) -> Option<Value> {
    if call.arguments.trim().is_empty() {
        return Some(Value::Object(Map::new()));
    }
    let arguments: Value = serde_json::from_str(&call.arguments).ok()?;
    arguments.is_object().then_some(arguments)
}

fn answered(decision: &Decision) -> Of {
    match (&decision.answer, decision.approved) {
        (Some(answer), true) => Of::Return(CallOutcome::Done, answer.clone()),
        (None, true) => Of::Return(CallOutcome::Done, "yes".to_owned()),
        (_, false) => Of::Return(CallOutcome::Denied, denied(decision)),
    }
}

fn denied(decision: &Decision) -> String {
    match &decision.answer {
        Some(note) => format!("denied by a human: {note}"),
        None => "denied by a human".to_owned(),
    }
}

fn unknown() -> String {
    "unknown: the process ended while this was being carried out. It may or may not have been carried out; it was not repeated".to_owned()
}
