//! Asks the model, and carries calls out.

use std::{future::Future, sync::Arc, time::Duration};

use serde_json::Value;

use crate::{
    handle::runner::{
        context_of, team,
        toolbox::{Offered, Toolbox},
    },
    handle::{AgentError, Agents, NewTask, child_id},
    host::RunContext,
    live::Live,
    message::{Message, ToolCall},
    model::{Ask, ModelError, Reply, Usage},
    run::{CallOutcome, Run, RunEvent, plan::arguments_of},
    spec::Combine,
    store::StoreError,
    tool::Call,
};

/// The time between two looks at a task while the store fails.
const READ_AGAIN: Duration = Duration::from_millis(500);

/// The result of a call.
pub(super) struct Carried {
    outcome: CallOutcome,
    text: String,
    usage: Usage,
}

impl Carried {
    pub(super) fn failed(text: &str) -> Self {
        Self {
            outcome: CallOutcome::Failed,
            text: format!("error: {text}"),
            usage: Usage::default(),
        }
    }

    /// Returns the result of a call whose code panicked.
    pub(super) fn panicked(is_repeatable: bool) -> Self {
        if is_repeatable {
            return Self::failed("the tool has failed");
        }
        Self {
            outcome: CallOutcome::Unknown,
            text: "unknown: the tool has failed. It may or may not have been carried out"
                .to_owned(),
            usage: Usage::default(),
        }
    }

    pub(super) fn event(self, call: String) -> RunEvent {
        RunEvent::Returned {
            call,
            text: self.text,
            outcome: self.outcome,
            usage: self.usage,
        }
    }
}

/// Asks the model of a run.
pub(super) fn ask(
    agents: &Agents,
    run: &Run,
    tools: &Toolbox,
) -> impl Future<Output = Result<Reply, ModelError>> + 'static {
    let (agents, of) = (agents.clone(), context_of(run));
    let by_team = team::reply(run);
    let id = Arc::clone(&run.id);
    let teller = agents.clone();
    let ask = Ask {
        run: Arc::clone(&run.id),
        step: run.steps + 1,
        messages: run.conversation(),
        // Whoever merges answers asks nobody once more.
        tools: if run.spec.combine == Combine::Merge {
            Vec::new()
        } else {
            tools.specs()
        },
        tokens_left: run.left(agents.now()).tokens,
        is_followed: agents.followers().has(&run.id),
        text: Arc::new(move |text: &str| teller.followers().tell(&id, Live::Text(text.into()))),
    };
    async move {
        match by_team {
            Some(reply) => reply,
            None => agents.host().model(&of)?.ask(&ask).await,
        }
    }
}

/// Returns the event of an answer. Calls get ids that are unique in the run.
pub(super) fn answered(step: u32, reply: Reply) -> RunEvent {
    let calls = reply.calls.into_iter().enumerate();
    RunEvent::Answered {
        text: reply.text,
        calls: calls
            .map(|(index, call)| ToolCall {
                id: format!("call_{step}_{index}"),
                ..call
            })
            .collect(),
        usage: reply.usage,
    }
}

/// Carries a call out.
pub(super) fn call(
    agents: &Agents,
    run: &Run,
    tools: &Toolbox,
    call: ToolCall,
) -> impl Future<Output = Carried> + 'static {
    let offered = tools.of_name(&call.name).cloned();
    let (agents, of) = (agents.clone(), context_of(run));
    let is_task = |open: &&crate::run::OpenCall| {
        matches!(tools.of_name(&open.call.name), Some(Offered::Task(..)))
    };
    let tasks = run.open.iter().filter(is_task).count();
    let budget = run.left(agents.now()).share(tasks);
    let time = run.spec.tool_time_max.0;
    let size_max = agents.settings().text_size_max.as_usize();
    async move {
        let arguments = arguments_of(&call).unwrap_or_default();
        let mut carried = match offered {
            Some(Offered::Tool(tool)) => {
                let call = Call {
                    run: Arc::clone(&of.run),
                    owner: Arc::clone(&of.owner),
                    caller: of.began.caller.as_str().into(),
                    key: format!("{}-{}", of.run, call.id),
                    id: call.id,
                    arguments,
                };
                let is_repeatable = tool.spec().is_repeatable();
                match tokio::time::timeout(time, tool.call(&call)).await {
                    Ok(Ok(text)) => Carried {
                        outcome: CallOutcome::Done,
                        text,
                        usage: Usage::default(),
                    },
                    Ok(Err(error)) => Carried::failed(&error.0),
                    Err(_) => too_slow(time, is_repeatable),
                }
            }
            Some(Offered::Task(_, other)) => {
                let task = NewTask {
                    other,
                    budget,
                    arguments,
                };
                give_task(&agents, &of, &call.id, task).await
            }
            Some(Offered::Human(_) | Offered::Hand(_)) | None => {
                Carried::failed("there is no such tool")
            }
        };
        cut(&mut carried.text, size_max);
        carried
    }
}

fn too_slow(time: Duration, is_repeatable: bool) -> Carried {
    let text = format!("no result within {} s", time.as_secs());
    if is_repeatable {
        return Carried::failed(&text);
    }
    Carried {
        outcome: CallOutcome::Unknown,
        text: format!("unknown: {text}. It may or may not have been carried out"),
        usage: Usage::default(),
    }
}

/// Cuts a text that is too long, between two characters.
fn cut(text: &mut String, size_max: usize) {
    if text.len() <= size_max {
        return;
    }
    let note = "\n[cut]";
    let mut end = size_max.saturating_sub(note.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(note);
}

/// Gives a task to another agent and waits for its end.
async fn give_task(agents: &Agents, of: &RunContext, call: &str, task: NewTask) -> Carried {
    let text = task.arguments.get("task").and_then(Value::as_str);
    let Some(text) = text.map(str::to_owned) else {
        return Carried::failed("`task` must be a text");
    };
    if task.budget.tokens == 0 {
        return Carried::failed("no tokens are left for this task");
    }
    let messages = vec![Message::user(text)];
    let id = child_id(&of.run, call);
    let started = agents.start_task(&id, of, messages, task).await;
    if let Err(error) = started {
        return Carried::failed(&error.to_string());
    }
    match ended(agents, &of.owner, &id).await {
        Ok(run) => {
            let (outcome, text) = match (run.output(), &run.ended) {
                (Some(text), _) => (CallOutcome::Done, text.to_owned()),
                (None, Some((_, ending, why))) => {
                    let text = format!("error: the agent ended: {}: {why}", ending.name());
                    (CallOutcome::Failed, text)
                }
                (None, None) => (CallOutcome::Failed, "error: it has not ended".to_owned()),
            };
            Carried {
                outcome,
                text,
                usage: run.usage,
            }
        }
        Err(error) => Carried::failed(&error.to_string()),
    }
}

/// Waits for the end of a task. While the store fails it is asked again.
async fn ended(agents: &Agents, owner: &str, id: &str) -> Result<Run, AgentError> {
    loop {
        match agents.when_ended(owner, id).await {
            Err(AgentError::Store(StoreError::Failed(error))) => {
                tracing::debug!(run = id, error, "the run of a task cannot be read now");
                tokio::time::sleep(READ_AGAIN).await;
            }
            ended => return ended,
        }
    }
}

/// Cancels the tasks that a run has given and that have not ended.
pub(super) fn cancel_tasks(agents: &Agents, run: &Run, tools: &Toolbox) {
    let tasks = run
        .open
        .iter()
        .filter(|open| matches!(tools.of_name(&open.call.name), Some(Offered::Task(..))));
    for open in tasks {
        let id = child_id(&run.id, &open.call.id);
        let (agents, owner) = (agents.clone(), Arc::clone(&run.owner));
        actix_rt::spawn(async move {
            // One that was not started, or has ended, is left as it is.
            agents
                .cancel(&owner, &id, "the run that gave the task")
                .await
                .ok();
        });
    }
}
