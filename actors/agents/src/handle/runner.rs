//! The actor of one run.
//!
//! It folds the events of the run from the store, does what [`Run::next`] says, and writes each result before the next step begins. It has no state
//! that is not in the store but what is going on, so a restart after a panic loses nothing that was confirmed.

mod carry;
mod handlers;
mod team;
mod toolbox;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::Message;
use kebne_actors::{Context, Props, Strategy};
use tokio_util::sync::CancellationToken;

use crate::{
    handle::Agents,
    host::RunContext,
    live::Live,
    model::{ModelError, Reply},
    run::{Began, CallOutcome, Ending, Event, Run, RunEvent, Todo, View},
    store::{Appended, Lease, StoreError},
};

use carry::Carried;
use toolbox::{Offered, Toolbox};

/// The first and the longest wait before a restart.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// The restarts in a window; one more ends the run.
const RESTARTS: (u32, Duration) = (5, Duration::from_mins(5));
/// The time between two attempts to write while the store fails.
const WRITE_AGAIN: Duration = Duration::from_millis(500);
/// The failures of the model in a row after which a run is ended.
const FAILURES_MAX: u32 = 8;

/// Numbers the instances of runners, so that a result for an instance before a restart is not taken for its own.
static INSTANCES: AtomicU64 = AtomicU64::new(0);

/// The events of the run and its tools were read.
#[derive(Message)]
#[rtype(result = "()")]
struct Loaded(u64, Result<(Vec<Event>, Arc<Toolbox>), StoreError>);

/// The tools of another agent were found.
#[derive(Message)]
#[rtype(result = "()")]
struct Equipped(u64, Arc<Toolbox>);

/// Events were written, or not.
#[derive(Message)]
#[rtype(result = "()")]
struct Wrote(u64, Vec<(u64, RunEvent)>, Result<Appended, StoreError>);

/// The model has answered.
#[derive(Message)]
#[rtype(result = "()")]
struct Asked(u64, Result<Reply, ModelError>);

/// A call has ended.
#[derive(Message)]
#[rtype(result = "()")]
struct Called(u64, String, Carried);

/// The lease was given back if the result is `true`.
#[derive(Message)]
#[rtype(result = "()")]
struct Released(u64, Result<bool, StoreError>);

/// The model may be asked again.
#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Again;

/// Something may be due.
#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Due;

/// Somebody else has written events.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(crate) struct Look;

/// The run is to be given back when nothing of it is going on.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(crate) struct Halt;

/// Somebody else has the run.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(crate) struct Leave;

/// What the store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Storing {
    Idle,
    /// Events are being written, or those of others read.
    Writing,
    /// The lease is being given back.
    Releasing,
}

/// Whether the model is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    Idle,
    Asked,
    /// It is to be asked again later.
    Pausing,
}

/// The actor.
pub(crate) struct Runner {
    agents: Agents,
    lease: Lease,
    instance: u64,
    run: Option<Run>,
    tools: Option<Arc<Toolbox>>,
    /// Events that are to be written.
    queue: Vec<(u64, RunEvent)>,
    storing: Storing,
    asking: Asking,
    /// The calls that are being carried out.
    busy: HashSet<String>,
    /// The calls of tools that must not be repeated that this instance has written down.
    mine: HashSet<String>,
    failures: u32,
    is_halting: bool,
    /// `true` if the manager knows that only tasks are waited for.
    rests: bool,
    /// `true` if somebody else has written events while this actor was writing.
    must_look: bool,
    /// Cancelled when the run ends or the actor does.
    stop: CancellationToken,
}

impl Runner {
    /// Returns the props of the actor, which is restarted after a panic, with a backoff.
    pub(crate) fn props(agents: &Agents, lease: Lease) -> Props<Self> {
        let agents = agents.clone();
        let thread = agents.thread();
        let create = move || Self {
            agents: agents.clone(),
            lease: lease.clone(),
            instance: INSTANCES.fetch_add(1, Relaxed),
            run: None,
            tools: None,
            queue: Vec::new(),
            storing: Storing::Idle,
            asking: Asking::Idle,
            busy: HashSet::new(),
            mine: HashSet::new(),
            failures: 0,
            is_halting: false,
            rests: false,
            must_look: false,
            stop: CancellationToken::new(),
        };
        let strategy = Strategy::restart()
            .with_backoff(BACKOFF.0, BACKOFF.1)
            .with_limit(RESTARTS.0, RESTARTS.1);
        Props::new(create)
            .supervise(strategy)
            .mailbox(64)
            .on_arbiter(thread)
    }

    fn load(&self, ctx: &mut Context<Self>) {
        let (agents, lease, instance) = (self.agents.clone(), self.lease.clone(), self.instance);
        let load = async move {
            let store = agents.store();
            let events = store.events(&lease.owner, &lease.id, 0).await?;
            let gone = || StoreError::NotFound("run");
            let run = Run::of(lease.id.clone(), lease.owner.clone(), &events).ok_or_else(gone)?;
            let tools = Toolbox::of(&agents, &context_of(&run)).await;
            Ok((events, Arc::new(tools)))
        };
        ctx.pipe_to_self(load, move |loaded| Loaded(instance, loaded));
    }

    /// Does what is to be done next.
    fn drive(&mut self, ctx: &mut Context<Self>) {
        self.step(ctx);
        let rests = self.waits_for_tasks();
        if rests != self.rests {
            self.rests = rests;
            self.agents.rests(&self.lease, rests);
        }
    }

    /// Returns `true` if all that goes on are tasks of other agents.
    fn waits_for_tasks(&self) -> bool {
        let (Some(run), Some(tools)) = (&self.run, &self.tools) else {
            return false;
        };
        let mut busy = run
            .open
            .iter()
            .filter(|open| self.busy.contains(&open.call.id));
        let is_idle = self.storing == Storing::Idle && self.asking == Asking::Idle;
        is_idle
            && !self.busy.is_empty()
            && busy.all(|open| matches!(tools.of_name(&open.call.name), Some(Offered::Task(..))))
    }

    /// Returns `true` if the caller that waits for the run is one of this process.
    fn is_attended(&self) -> bool {
        let awaited = self.run.as_ref().and_then(Run::awaited);
        awaited.is_some_and(|awaited| self.agents.is_awaited(&awaited.run))
    }

    fn step(&mut self, ctx: &mut Context<Self>) {
        if self.storing != Storing::Idle {
            return;
        }
        if !self.queue.is_empty() {
            return self.write(ctx);
        }
        let (Some(run), Some(tools)) = (&self.run, &self.tools) else {
            return;
        };
        let is_attended = self.is_attended();
        if run.ended.is_none() && !is_attended && run.awaited().is_some_and(|by| !by.survives) {
            let text = "the caller that waited for the run has left".to_owned();
            return self.end(Ending::Cancelled, text, None, ctx);
        }
        let now = self.agents.now();
        let view = View {
            now,
            kind: &|call| tools.kind(&call.name),
            is_mine: &|id| self.mine.contains(id),
            is_busy: &|id| self.busy.contains(id),
            is_asking: self.asking != Asking::Idle,
        };
        let todo = run.next(&view);
        let left = Duration::from_millis(run.left(now).time_ms.saturating_add(1));
        if !matches!(todo, Todo::Done | Todo::Wait) {
            ctx.start_timer("due", Due, left);
        }
        if self.is_halting
            && !is_attended
            && !matches!(todo, Todo::End(..) | Todo::Done | Todo::Wait)
        {
            if self.busy.is_empty() && self.asking != Asking::Asked {
                self.release(false, ctx);
            }
            return;
        }
        self.act(todo, ctx);
    }

    fn act(&mut self, todo: Todo, ctx: &mut Context<Self>) {
        match todo {
            Todo::Nothing => {}
            Todo::Ask => self.ask(ctx),
            Todo::Mark(calls) => {
                self.mine.extend(calls.iter().cloned());
                self.put(RunEvent::Calling { calls }, ctx);
            }
            Todo::Call(calls) => {
                for call in calls {
                    self.carry_out(call, ctx);
                }
            }
            Todo::Return(call, outcome, text) => self.put(returned(call, outcome, text), ctx),
            Todo::Hold(call) => self.put(RunEvent::Held { call }, ctx),
            Todo::HandOff(call) => self.hand_off(call, ctx),
            Todo::Wait => self.release(true, ctx),
            Todo::End(ending, text) => self.end(ending, text, None, ctx),
            Todo::Done => ctx.stop(),
        }
    }

    fn ask(&mut self, ctx: &mut Context<Self>) {
        let (Some(run), Some(tools)) = (&self.run, &self.tools) else {
            return;
        };
        self.asking = Asking::Asked;
        let (instance, stop) = (self.instance, self.stop.clone());
        let asking = carry::ask(&self.agents, run, tools);
        let asking = async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => Err(ModelError::last("the run has ended")),
                asked = asking => asked,
            }
        };
        // A panic is a failure of this actor, which its supervisor restarts.
        ctx.pipe_to_self(asking, move |asked| Asked(instance, asked));
    }

    fn carry_out(&mut self, call: crate::message::ToolCall, ctx: &mut Context<Self>) {
        let (Some(run), Some(tools)) = (&self.run, &self.tools) else {
            return;
        };
        let (instance, id) = (self.instance, call.id.clone());
        self.busy.insert(id.clone());
        let is_repeatable = tools.is_repeatable(&call.name);
        let carried = carry::call(&self.agents, run, tools, call);
        let stop = self.stop.clone();
        let carried = async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => Carried::failed("the run has ended"),
                carried = carried => carried,
            }
        };
        ctx.try_pipe_to_self(carried, move |carried| {
            let carried = carried.unwrap_or_else(|_| Carried::panicked(is_repeatable));
            Called(instance, id, carried)
        });
    }

    fn hand_off(&mut self, call: crate::message::ToolCall, ctx: &mut Context<Self>) {
        let spec = self.tools.as_ref().and_then(|tools| {
            let offered = tools.of_name(&call.name)?;
            match offered {
                Offered::Hand(spec) => Some(Box::new(spec.clone())),
                _ => None,
            }
        });
        let Some(spec) = spec else {
            let text = "error: this agent does not exist any more".to_owned();
            return self.put(returned(call.id, CallOutcome::Failed, text), ctx);
        };
        let text = format!("the conversation is with `{}` now", spec.name);
        let now = self.agents.now();
        self.queue
            .push((now, returned(call.id, CallOutcome::Done, text)));
        self.put(RunEvent::HandedOff { spec }, ctx);
    }

    fn end(&mut self, ending: Ending, text: String, code: Option<String>, ctx: &mut Context<Self>) {
        self.stop.cancel();
        if let (Some(run), Some(tools)) = (&self.run, &self.tools) {
            carry::cancel_tasks(&self.agents, run, tools);
        }
        self.put(RunEvent::Ended { ending, text, code }, ctx);
    }

    /// Gives the lease back, so that the run costs nothing while it waits.
    fn release(&mut self, waits: bool, ctx: &mut Context<Self>) {
        let Some(run) = &self.run else {
            return;
        };
        self.storing = Storing::Releasing;
        let (agents, lease, known) = (self.agents.clone(), self.lease.clone(), run.seq);
        let instance = self.instance;
        let release = async move { agents.store().release(&lease, known, waits).await };
        ctx.pipe_to_self(release, move |released| Released(instance, released));
    }

    fn put(&mut self, event: RunEvent, ctx: &mut Context<Self>) {
        self.queue.push((self.agents.now(), event));
        self.write(ctx);
    }

    fn write(&mut self, ctx: &mut Context<Self>) {
        let Some(run) = &self.run else {
            return;
        };
        if self.storing != Storing::Idle || self.queue.is_empty() {
            return;
        }
        self.storing = Storing::Writing;
        let events = std::mem::take(&mut self.queue);
        let (agents, lease, known) = (self.agents.clone(), self.lease.clone(), run.seq);
        let instance = self.instance;
        let write = async move {
            let written = agents.store().append(&lease, known, events.clone()).await;
            (events, written)
        };
        ctx.pipe_to_self(write, move |(events, written)| {
            Wrote(instance, events, written)
        });
    }

    /// Reads what others have written.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let Some(run) = &self.run else {
            self.must_look = true;
            return;
        };
        if self.storing != Storing::Idle {
            self.must_look = true;
            return;
        }
        // Writing nothing returns what others have written.
        self.storing = Storing::Writing;
        let (agents, lease, known) = (self.agents.clone(), self.lease.clone(), run.seq);
        let instance = self.instance;
        let look = async move { agents.store().append(&lease, known, Vec::new()).await };
        ctx.pipe_to_self(look, move |found| Wrote(instance, Vec::new(), found));
    }

    /// Takes events that are in the store.
    fn take(&mut self, events: &[Event], ctx: &mut Context<Self>) {
        let Some(run) = &mut self.run else {
            return;
        };
        let mut is_other = false;
        for event in events {
            let is_new = event.seq > run.seq;
            is_other |= is_new && matches!(event.what, RunEvent::HandedOff { .. });
            run.apply(event);
        }
        let of = context_of(run);
        // Those of others are noted by those who wrote them.
        self.agents
            .followers()
            .tell(&self.lease.id, Live::Written(run.seq));
        if run.cancelled_by.is_some() {
            self.stop.cancel();
        }
        if is_other {
            self.tools = None;
            let (agents, instance) = (self.agents.clone(), self.instance);
            let equip = async move { Toolbox::of(&agents, &of).await };
            ctx.pipe_to_self(equip, move |tools| Equipped(instance, Arc::new(tools)));
        }
    }

    /// Notes events that this actor has written.
    fn note(&self, events: &[Event], written: &[(u64, RunEvent)]) {
        let Some(run) = &self.run else {
            return;
        };
        let own = events.iter().rev().take(written.len()).rev();
        for event in own {
            self.agents.counts().note(&event.what);
            self.agents.host().noted(run, event);
        }
    }
}

/// Returns what the program needs to know of a run. A caller that does not wait any more is not in it.
pub(crate) fn context_of(run: &Run) -> RunContext {
    let began = Began {
        awaited: run.awaited().cloned(),
        ..run.began.clone()
    };
    RunContext {
        run: Arc::clone(&run.id),
        owner: Arc::clone(&run.owner),
        began: Arc::new(began),
        spec: Arc::new(run.spec.clone()),
    }
}

fn returned(call: String, outcome: CallOutcome, text: String) -> RunEvent {
    RunEvent::Returned {
        call,
        text,
        outcome,
        usage: crate::model::Usage::default(),
    }
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Runner")
            .field("run", &self.lease.id)
            .finish_non_exhaustive()
    }
}
