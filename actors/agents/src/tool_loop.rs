//! The loop of a run within one call, for a program that asks the model itself.
//!
//! It decides as a run does ([`Run::next`]): which calls are made now, within the bounds on steps, tokens, time, calls at once and repetitions, and when it ends. It
//! has no store and no actor: it lives as long as the call, and is lost with it.

use std::time::Duration;

use crate::{
    message::ToolCall,
    model::Usage,
    run::{
        Began, Budget, CallKind, CallOutcome, Decision, Ending, Event, Run, RunEvent, Todo, View,
        WaitsFor,
    },
    spec::AgentSpec,
};

/// The bounds of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoopBounds {
    /// The most answers of the model.
    pub steps_max: u32,
    /// The most tokens.
    pub tokens_max: u64,
    /// The longest time.
    pub time_max: Duration,
    /// The most calls at once.
    pub parallel_max: usize,
    /// How often the same call may have the same result.
    pub repeats_max: u32,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoopStep {
    /// Ask the model.
    Ask,
    /// Make these calls.
    Call(Vec<ToolCall>),
    /// Take this result of a call, which is not made, for a failure.
    Refuse(ToolCall, String),
    /// Wait until a call that was begun has ended.
    Wait,
    /// These calls wait for an approval; all others have ended.
    Approve(Vec<ToolCall>),
    /// A bound is reached: which one, and in words.
    End(Ending, String),
}

/// A loop. Times are in milliseconds from any origin.
#[derive(Debug)]
pub struct ToolLoop {
    run: Run,
    /// The ids of calls that were begun.
    busy: Vec<String>,
}

impl ToolLoop {
    /// Begins a loop. A call of a tool of `asked` waits for an approval.
    pub fn new(bounds: LoopBounds, asked: Vec<String>, now_ms: u64) -> Self {
        let spec = AgentSpec {
            ask: asked,
            parallel_max: bounds.parallel_max,
            repeats_max: bounds.repeats_max,
            ..AgentSpec::default()
        };
        let began = Began {
            budget: Budget {
                steps: bounds.steps_max,
                tokens: bounds.tokens_max,
                cost: None,
                time_ms: u64::try_from(bounds.time_max.as_millis()).unwrap_or(u64::MAX),
            },
            messages: Vec::new(),
            remembered: 0,
            session: None,
            caller: String::new(),
            parent: None,
            depth: 0,
            spec,
            origin: std::collections::BTreeMap::new(),
            awaited: None,
        };
        Self {
            run: Run::begin("".into(), "".into(), (1, now_ms), began),
            busy: Vec::new(),
        }
    }

    /// Takes an answer of the model with calls, whose ids must be unique in the loop.
    pub fn answered(&mut self, calls: Vec<ToolCall>, usage: Usage, now_ms: u64) {
        self.apply(
            RunEvent::Answered {
                text: String::new(),
                calls,
                usage,
            },
            now_ms,
        );
    }

    /// Takes the approval of a call that waits for it.
    pub fn approve(&mut self, id: &str, now_ms: u64) {
        let decision = Decision {
            approved: true,
            ..Decision::default()
        };
        let call = id.to_owned();
        self.apply(RunEvent::Decided { call, decision }, now_ms);
    }

    /// Takes the result of a call.
    pub fn returned(&mut self, id: &str, text: &str, is_error: bool, now_ms: u64) {
        self.busy.retain(|busy| busy != id);
        let outcome = if is_error {
            CallOutcome::Failed
        } else {
            CallOutcome::Done
        };
        self.apply(
            RunEvent::Returned {
                call: id.to_owned(),
                text: text.to_owned(),
                outcome,
                usage: Usage::default(),
            },
            now_ms,
        );
    }

    /// Returns what to do next. Calls that it returns count as begun. `is_known` returns `true` for a tool that there is.
    pub fn next(&mut self, is_known: &dyn Fn(&str) -> bool, now_ms: u64) -> LoopStep {
        let kind = |call: &ToolCall| {
            if is_known(&call.name) {
                CallKind::Tool {
                    is_repeatable: true,
                }
            } else {
                CallKind::Missing
            }
        };
        let todo = self.run.next(&View {
            now: now_ms,
            kind: &kind,
            is_mine: &|_| true,
            is_busy: &|id| self.busy.iter().any(|busy| busy == id),
            is_asking: false,
        });
        match todo {
            Todo::Ask => LoopStep::Ask,
            Todo::Call(calls) => {
                self.busy.extend(calls.iter().map(|call| call.id.clone()));
                LoopStep::Call(calls)
            }
            Todo::Return(id, _, text) => match self.open(&id) {
                Some(call) => LoopStep::Refuse(call, text),
                None => LoopStep::Wait,
            },
            Todo::Wait => LoopStep::Approve(self.waiting()),
            Todo::End(ending, text) => LoopStep::End(ending, text),
            // What must not be repeated is written down first, and nothing is handed over: both need a store.
            Todo::Nothing | Todo::Mark(_) | Todo::Hold(_) | Todo::HandOff(_) | Todo::Done => {
                LoopStep::Wait
            }
        }
    }

    /// Returns `true` if the next answer of the model is the last one that the bound on steps allows.
    pub fn is_last_step(&self) -> bool {
        self.run.steps + 1 >= self.run.began.budget.steps
    }

    /// Returns the answers of the model so far.
    pub fn steps(&self) -> u32 {
        self.run.steps
    }

    /// Returns the tokens that are left.
    pub fn tokens_left(&self, now_ms: u64) -> u64 {
        self.run.left(now_ms).tokens
    }

    fn open(&self, id: &str) -> Option<ToolCall> {
        let open = self.run.open.iter().find(|open| open.call.id == id);
        open.map(|open| open.call.clone())
    }

    fn waiting(&self) -> Vec<ToolCall> {
        let waiting = self.run.waiting().into_iter();
        let waiting = waiting.filter(|(_, why)| *why == WaitsFor::Approval);
        waiting.map(|(call, _)| call.clone()).collect()
    }

    fn apply(&mut self, what: RunEvent, now_ms: u64) {
        let seq = self.run.seq + 1;
        self.run.apply(&Event {
            seq,
            at: now_ms,
            what,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> LoopBounds {
        LoopBounds {
            steps_max: 3,
            tokens_max: 100,
            time_max: Duration::from_secs(1),
            parallel_max: 2,
            repeats_max: 2,
        }
    }

    fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
        ToolCall {
            id: id.to_owned(),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
        }
    }

    fn used(tokens: u64) -> Usage {
        Usage {
            input_tokens: tokens,
            ..Usage::default()
        }
    }

    #[test]
    fn calls_are_made_at_once_up_to_a_bound_and_what_cannot_be_made_is_refused() {
        let mut of = ToolLoop::new(bounds(), vec!["asked".to_owned()], 5);
        let known = |name: &str| name != "absent";
        assert_eq!(of.next(&known, 5), LoopStep::Ask);
        let calls = ["a", "b", "c"].map(|id| call(id, "t", &format!("{{\"of\":\"{id}\"}}")));
        let mut all = calls.to_vec();
        all.push(call("d", "absent", "{}"));
        all.push(call("e", "t", "["));
        all.push(call("f", "asked", "{}"));
        of.answered(all.clone(), used(10), 6);
        let LoopStep::Refuse(refused, why) = of.next(&known, 6) else {
            unreachable!("a call of a tool that is not there is refused first");
        };
        assert_eq!((refused.id.as_str(), why.contains("absent")), ("d", true));
        of.returned("d", &why, true, 6);
        let LoopStep::Refuse(refused, why) = of.next(&known, 6) else {
            unreachable!("arguments must be an object");
        };
        assert_eq!(refused.id, "e");
        of.returned("e", &why, true, 6);
        assert_eq!(of.next(&known, 6), LoopStep::Call(calls[..2].to_vec()));
        assert_eq!(of.next(&known, 6), LoopStep::Wait);
        of.returned("b", "1", false, 7);
        assert_eq!(of.next(&known, 7), LoopStep::Call(calls[2..].to_vec()));
        of.returned("a", "1", false, 8);
        of.returned("c", "1", false, 8);
        assert_eq!(of.next(&known, 8), LoopStep::Approve(all[5..].to_vec()));
        of.approve("f", 9);
        assert_eq!(of.next(&known, 9), LoopStep::Call(all[5..].to_vec()));
    }

    #[test]
    fn each_bound_ends_the_loop() {
        let known = |_: &str| true;
        let ending = |of: &mut ToolLoop, now| match of.next(&known, now) {
            LoopStep::End(ending, _) => Some(ending),
            _ => None,
        };
        let round = |of: &mut ToolLoop, number: u32, arguments: &str, tokens| {
            let id = format!("{number}");
            of.answered(vec![call(&id, "t", arguments)], used(tokens), 0);
            assert!(matches!(of.next(&known, 0), LoopStep::Call(_)));
            of.returned(&id, "same", false, 0);
        };
        let mut of = ToolLoop::new(bounds(), Vec::new(), 0);
        round(&mut of, 1, "{}", 1);
        assert_eq!((ending(&mut of, 0), of.is_last_step()), (None, false));
        assert_eq!(ending(&mut of, 1000), Some(Ending::TimeUsed));
        round(&mut of, 2, "{\"a\":1}", 1);
        assert_eq!((ending(&mut of, 0), of.is_last_step()), (None, true));
        round(&mut of, 3, "{\"a\":2}", 1);
        assert_eq!(ending(&mut of, 0), Some(Ending::StepsUsed));
        let mut of = ToolLoop::new(bounds(), Vec::new(), 0);
        round(&mut of, 1, "{}", 100);
        assert_eq!(ending(&mut of, 0), Some(Ending::TokensUsed));
        let mut of = ToolLoop::new(bounds(), Vec::new(), 0);
        round(&mut of, 1, "{}", 1);
        round(&mut of, 2, "{}", 1);
        assert_eq!(ending(&mut of, 0), Some(Ending::Looping));
    }
}
