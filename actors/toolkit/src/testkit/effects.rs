//! Runs one actor by hand and lists what a handler did to its context, as effects.
//!
//! Owns the actor, its context and a runtime that is never driven, so nothing that the actor spawns runs. A test can
//! check the effects of a handler without an executor. The effects are found by comparing the context before and
//! after. This module must never run a child, a task or a future of the actor.

use std::{
    any::type_name,
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
    task,
    time::Duration,
};

use actix::{Actor, Handler, Message};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::oneshot,
    task::LocalSet,
    time::Instant,
};

use super::inbox::Inbox;
use crate::system::{
    ActorRef, ActorSystem, Context, Fault, Overflow,
    context::Bridge,
    core::ParentKind,
    core::{AnyCell, Core},
    mailbox::Bounds,
    panic_text,
    response::respond,
};

/// The capacity for messages that the actor tells itself, and for its stash.
const ROOM: usize = 1024;

/// An effect of a handler on its context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It spawned a child, which exists but never runs.
    Spawned {
        /// The child's path.
        path: String,
    },
    /// It told messages to a child or to itself.
    Told {
        /// The receiver's path.
        path: String,
        /// The number of additional messages that wait there.
        messages: usize,
    },
    /// It watches an actor.
    Watched {
        /// The actor's path.
        path: String,
    },
    /// It no longer watches an actor.
    Unwatched {
        /// The actor's path.
        path: String,
    },
    /// It started or restarted a timer.
    TimerStarted {
        /// The timer's key.
        key: String,
        /// The time from now until it fires.
        after: Duration,
    },
    /// It cancelled a timer.
    TimerCancelled {
        /// The timer's key.
        key: String,
    },
    /// It set its receive timeout, or ended it (`None`).
    ReceiveTimeout(Option<Duration>),
    /// It stashed this number of messages.
    Stashed(usize),
    /// It unstashed this number of messages.
    Unstashed(usize),
    /// It spawned this number of futures, which never run.
    FuturesSpawned(usize),
    /// It waits for this number of futures (`ctx.wait`, `AtomicResponse`), which never run.
    Waits(usize),
    /// It failed or panicked with this fault. No strategy is applied here.
    Failed(String),
    /// It requested to stop.
    Stopped,
}

/// Runs one actor by hand, for a plain `#[test]`. Modelled on Pekko's `BehaviorTestKit`.
///
/// Everything happens inside the call: `started` in [`BehaviourKit::new`], one message in [`BehaviourKit::run`].
/// Effects that leave no mark on the context are not seen, such as a request to stop a child. To see what the actor
/// tells actors outside, give it a receiver made by [`BehaviourKit::inbox`].
pub struct BehaviourKit<A>
where
    A: Actor<Context = Context<A>>,
{
    /// Dropped first, because its timers belong to the runtime.
    ctx: Context<A>,
    actor: A,
    core: Arc<Core<A>>,
    system: ActorSystem,
    tasks: LocalSet,
    /// Taken when the kit is dropped.
    runtime: Option<Runtime>,
    time: Handle,
    effects: Vec<Effect>,
}

/// The parts of a context that are compared.
#[derive(Default)]
struct Mark {
    children: BTreeMap<u64, (String, usize)>,
    own_messages: usize,
    watching: BTreeMap<u64, String>,
    timers: BTreeMap<String, (u64, Instant)>,
    receive_timeout: Option<Duration>,
    stashed: usize,
    futures: usize,
    waits: usize,
    stopping: bool,
}

impl<A> BehaviourKit<A>
where
    A: Actor<Context = Context<A>>,
{
    /// Creates the actor `/user/<name>` and runs its `started`.
    ///
    /// # Panics
    /// Panics if no runtime can be created. A panic of the factory passes through.
    pub fn new(name: &str, factory: impl FnOnce() -> A) -> Self {
        let runtime = match Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => panic!("the runtime cannot be created: {error}"),
        };
        let system = ActorSystem::new("behaviour", 0);
        let core = Arc::new(Core::new(
            system.next_id(),
            format!("/user/{name}").into(),
            Bounds {
                capacity: ROOM,
                overflow: Overflow::default(),
                control: ROOM,
            },
            system.dead_letter_box(),
        ));
        system.register(Arc::clone(&core) as Arc<dyn AnyCell>, ParentKind::Actor);
        let ctx = Context::new(
            Arc::clone(&core),
            system.clone(),
            Rc::new(Bridge::new()),
            ROOM,
            ROOM,
        );
        let mut kit = Self {
            ctx,
            actor: factory(),
            core,
            system,
            tasks: LocalSet::new(),
            time: runtime.handle().clone(),
            runtime: Some(runtime),
            effects: Vec::new(),
        };
        kit.act(Actor::started);
        kit
    }

    /// Returns the actor's state.
    pub fn actor(&self) -> &A {
        &self.actor
    }

    /// Returns the system that the actor lives in.
    pub fn system(&self) -> &ActorSystem {
        &self.system
    }

    /// Returns a reference to the actor. A message told to it waits for [`BehaviourKit::run_one`].
    pub fn actor_ref(&self) -> ActorRef<A> {
        self.ctx.self_ref()
    }

    /// Creates an actor outside the kit that keeps its messages.
    pub fn inbox<M>(&self, name: &str) -> Inbox<M>
    where
        M: Message + Send + 'static,
        M::Result: Send,
    {
        Inbox::new(&self.system, name)
    }

    /// Handles a message and returns its effects.
    pub fn run<M>(&mut self, message: M) -> Vec<Effect>
    where
        A: Handler<M>,
        M: Message + 'static,
    {
        self.act(|actor, ctx| {
            let response = actor.handle(message, ctx);
            respond::<A, M>(response, ctx, None);
        });
        self.take_effects()
    }

    /// Handles a message that was asked. Returns its answer, if the handler gave it at once, and the effects.
    pub fn ask<M>(&mut self, message: M) -> (Option<M::Result>, Vec<Effect>)
    where
        A: Handler<M>,
        M: Message + 'static,
        M::Result: Send,
    {
        let (answer, mut answered) = oneshot::channel();
        self.act(|actor, ctx| {
            let response = actor.handle(message, ctx);
            respond::<A, M>(response, ctx, Some(answer));
        });
        (answered.try_recv().ok(), self.take_effects())
    }

    /// Handles the next message that the actor told itself, unstashed or was told. Returns `None` if there is none.
    pub fn run_one(&mut self) -> Option<Vec<Effect>> {
        let mailbox = &self.core.mailbox;
        let envelope = mailbox.take_control().or_else(|| mailbox.take_work())?;
        if !envelope.is_abandoned() {
            envelope.begin();
            self.act(|actor, ctx| envelope.deliver(actor, ctx));
        }
        Some(self.take_effects())
    }

    /// Advances the kit's own clock, runs the timers that are due, and returns their effects.
    pub fn time_passes(&mut self, duration: Duration) -> Vec<Effect> {
        if let Some(runtime) = &self.runtime {
            runtime.block_on(tokio::time::advance(duration));
        }
        loop {
            let due = {
                let _time = self.time.enter();
                let task = &mut task::Context::from_waker(task::Waker::noop());
                self.ctx.timers.take_due(task)
            };
            let Some(mut due) = due else { break };
            self.act(|actor, ctx| (due.action)(actor, ctx));
            let _time = self.time.enter();
            self.ctx.timers.fired(due);
        }
        self.take_effects()
    }

    /// Returns the effects since the last call. The first call returns those of `started`.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Runs the user's code and notes its effects.
    fn act(&mut self, act: impl FnOnce(&mut A, &mut Context<A>)) {
        let _time = self.time.enter();
        let before = self.mark();
        let (actor, ctx) = (&mut self.actor, &mut self.ctx);
        let outcome = {
            let _tasks = self.tasks.enter();
            catch_unwind(AssertUnwindSafe(|| act(actor, ctx)))
        };
        if let Err(panic) = outcome {
            self.ctx.failure = Some(Fault::Panic(panic_text(&*panic)));
        }
        let after = self.mark();
        self.effects
            .extend(before.changes_to(&after, self.ctx.path()));
        if let Some(fault) = self.ctx.failure.take() {
            self.effects.push(Effect::Failed(fault.to_string()));
        }
        if after.stopping && !before.stopping {
            self.effects.push(Effect::Stopped);
        }
    }

    fn mark(&self) -> Mark {
        let children = self.ctx.children.iter().map(|(id, child)| {
            let report = child.report();
            (*id, (report.path.to_string(), report.mailbox))
        });
        let watching = self
            .ctx
            .watching
            .iter()
            .filter(|(_, watch)| watch.is_active())
            .map(|(id, _)| {
                let path = self.system.path_of(*id);
                (
                    *id,
                    path.map_or_else(|| format!("#{id}"), |path| path.to_string()),
                )
            });
        let timers = self
            .ctx
            .timers
            .each()
            // The receive timeout is a timer too. Its key has a prefix that no user's key has.
            .filter(|(key, ..)| !key.starts_with('\0'))
            .map(|(key, generation, due)| (key.to_string(), (generation, due)));
        Mark {
            children: children.collect(),
            own_messages: self.core.mailbox.len(),
            watching: watching.collect(),
            timers: timers.collect(),
            receive_timeout: self.ctx.receive_timeout,
            stashed: self.ctx.stash.len(),
            futures: self.ctx.items.len(),
            waits: self.ctx.waits.len(),
            stopping: self.ctx.stopping,
        }
    }
}

impl Mark {
    /// Returns the changes, in the order in which [`Effect`] lists them.
    fn changes_to(&self, after: &Self, path: &str) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (id, (path, _)) in &after.children {
            if !self.children.contains_key(id) {
                effects.push(Effect::Spawned { path: path.clone() });
            }
        }
        for (id, (path, messages)) in &after.children {
            let before = self.children.get(id).map_or(0, |(_, before)| *before);
            told(&mut effects, path, before, *messages);
        }
        // An unstashed message returned to the mailbox; it was not told again.
        let unstashed = self.stashed.saturating_sub(after.stashed);
        told(
            &mut effects,
            path,
            self.own_messages + unstashed,
            after.own_messages,
        );
        for (id, path) in &after.watching {
            if !self.watching.contains_key(id) {
                effects.push(Effect::Watched { path: path.clone() });
            }
        }
        for (id, path) in &self.watching {
            if !after.watching.contains_key(id) {
                effects.push(Effect::Unwatched { path: path.clone() });
            }
        }
        self.changed_timers(after, &mut effects);
        if self.receive_timeout != after.receive_timeout {
            effects.push(Effect::ReceiveTimeout(after.receive_timeout));
        }
        let mut counted = |fewer: usize, more: usize, effect: fn(usize) -> Effect| {
            if more > fewer {
                effects.push(effect(more - fewer));
            }
        };
        counted(self.stashed, after.stashed, Effect::Stashed);
        counted(after.stashed, self.stashed, Effect::Unstashed);
        counted(self.futures, after.futures, Effect::FuturesSpawned);
        counted(self.waits, after.waits, Effect::Waits);
        effects
    }

    fn changed_timers(&self, after: &Self, effects: &mut Vec<Effect>) {
        let now = Instant::now();
        for (key, (generation, due)) in &after.timers {
            if self
                .timers
                .get(key)
                .is_none_or(|(old, _)| old != generation)
            {
                effects.push(Effect::TimerStarted {
                    key: key.clone(),
                    after: due.saturating_duration_since(now),
                });
            }
        }
        for key in self.timers.keys() {
            if !after.timers.contains_key(key) {
                effects.push(Effect::TimerCancelled { key: key.clone() });
            }
        }
    }
}

fn told(effects: &mut Vec<Effect>, path: &str, before: usize, after: usize) {
    if after > before {
        effects.push(Effect::Told {
            path: path.to_owned(),
            messages: after - before,
        });
    }
}

impl<A> Drop for BehaviourKit<A>
where
    A: Actor<Context = Context<A>>,
{
    fn drop(&mut self) {
        // A runtime must not be dropped by a blocking call inside an async test.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl<A> fmt::Debug for BehaviourKit<A>
where
    A: Actor<Context = Context<A>>,
{
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BehaviourKit")
            .field("actor", &type_name::<A>())
            .field("effects", &self.effects)
            .finish_non_exhaustive()
    }
}
