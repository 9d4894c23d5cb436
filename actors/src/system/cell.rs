//! The loop that drives one actor through its lives.
//!
//! Owns the incarnation and what follows its failures. Everything of the user's runs under a catch, so
//! that a panic costs one message (or one incarnation), a panicking `stopped` never ends the process, and
//! the mailbox outlives both.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering::SeqCst},
    task::{Context as Task, Poll},
    time::Duration,
};

use actix::Actor;
use tokio::time::{Instant, Sleep, sleep};

use super::{
    actor_ref::{Core, Parent, Signal},
    context::Context,
    envelope::Envelope,
    event_stream::Restarted,
    props::Props,
    report::ActorState,
    strategy::{Fault, Record, Verdict},
    watch::StopCause,
};
use crate::clock::Dice;

/// Where the cell is.
enum Phase {
    Start,
    Run,
    Backoff(Pin<Box<Sleep>>),
    StopChildren(After),
    Done,
}

/// What follows when the children are gone.
#[derive(Debug)]
enum After {
    Restart(Duration),
    End(StopCause),
}

/// What the loop does next.
enum Step {
    Again,
    Wait,
    Yield,
}

/// One actor: its incarnation, its context, its record of failures.
pub(crate) struct Cell<A>
where
    A: Actor<Context = Context<A>>,
{
    core: Arc<Core<A>>,
    parent: Arc<dyn Parent>,
    props: Props<A>,
    record: Record,
    dice: Dice,
    actor: Option<A>,
    ctx: Context<A>,
    phase: Phase,
    /// Runs while a `ctx.wait` holds the mailbox up.
    hang: Option<Pin<Box<Sleep>>>,
    /// Whose turn it is when both a future and a message are ready.
    work_first: bool,
    /// Timers and actix's own mailbox have been looked at in this poll.
    looked: bool,
}

// Nothing in a cell is pinned in place: the actor is only ever borrowed.
impl<A> Unpin for Cell<A> where A: Actor<Context = Context<A>> {}

impl<A> Future for Cell<A>
where
    A: Actor<Context = Context<A>>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.core.mailbox.register(task.waker());
        this.ctx.items.register(task.waker());
        this.ctx.spent = 0;
        this.looked = false;
        loop {
            let step = match this.phase {
                Phase::Start => this.start(task),
                Phase::Run => this.run(task),
                Phase::Backoff(_) => this.back_off(task),
                Phase::StopChildren(_) => this.stop_children(),
                Phase::Done => return Poll::Ready(()),
            };
            match step {
                Step::Again => {}
                Step::Wait => return Poll::Pending,
                Step::Yield => {
                    task.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<A> Cell<A>
where
    A: Actor<Context = Context<A>>,
{
    pub(crate) fn new(
        core: Arc<Core<A>>,
        parent: Arc<dyn Parent>,
        props: Props<A>,
        ctx: Context<A>,
    ) -> Self {
        let dice = Dice::seeded(ctx.system.seed() ^ core.id);
        Self {
            core,
            parent,
            props,
            record: Record::default(),
            dice,
            actor: None,
            ctx,
            phase: Phase::Start,
            hang: None,
            work_first: false,
            looked: false,
        }
    }

    fn start(&mut self, task: &mut Task<'_>) -> Step {
        self.core.set_state(ActorState::Starting);
        self.ctx.items.register(task.waker());
        self.looked = false;
        match catch_unwind(AssertUnwindSafe(|| (self.props.factory)())) {
            Ok(actor) => self.actor = Some(actor),
            Err(panic) => return self.failed(&Fault::Start(text(&*panic))),
        }
        self.core.set_state(ActorState::Running);
        self.phase = Phase::Run;
        self.guarded(Actor::started);
        if let Some(Fault::Panic(message)) =
            self.ctx.failure.take_if(|f| matches!(f, Fault::Panic(_)))
        {
            self.ctx.failure = Some(Fault::Start(message));
        }
        Step::Again
    }

    /// Does one thing: attends to signals, or hands one message, timer or future its turn.
    fn run(&mut self, task: &mut Task<'_>) -> Step {
        if let Some(step) = self.attend() {
            return step;
        }
        if self.ctx.is_waiting() {
            return self.poll_wait(task);
        }
        if self.ctx.spent >= self.props.throughput {
            return Step::Yield;
        }
        self.ctx.spent += 1;
        if let Some(envelope) = self.core.mailbox.take_control() {
            self.deliver(envelope);
            return Step::Again;
        }
        if !self.looked || self.ctx.timers.dirty {
            if let Some(mut due) = self.ctx.timers.take_due(task) {
                self.guarded(|actor, ctx| (due.action)(actor, ctx));
                self.ctx.timers.fired(due);
                return Step::Again;
            }
            self.poll_bridge(task);
            self.looked = true;
        }
        self.work_first = !self.work_first;
        if self.work_first {
            if self.work() || self.poll_item() {
                return Step::Again;
            }
        } else if self.poll_item() || self.work() {
            return Step::Again;
        }
        self.ctx.spent -= 1;
        if self.ctx.failure.is_some() || self.ctx.stopping {
            return Step::Again;
        }
        Step::Wait
    }

    fn work(&mut self) -> bool {
        let Some(envelope) = self.core.mailbox.take_work() else {
            return false;
        };
        self.deliver(envelope);
        true
    }

    fn deliver(&mut self, envelope: Envelope<A>) {
        if envelope.is_forsaken() {
            return;
        }
        self.ctx.touch();
        self.ctx.asker = envelope.asker();
        self.core.set_busy(self.ctx.asker.is_none());
        let mut intercept = self.props.intercept.take();
        self.guarded(|actor, ctx| {
            envelope.begin();
            let taken = intercept
                .as_mut()
                .is_none_or(|intercept| intercept(actor, ctx, envelope.type_name()));
            if taken {
                envelope.deliver(actor, ctx);
            }
        });
        self.props.intercept = intercept;
        self.core
            .set_busy(self.core.is_busy() && self.ctx.is_waiting());
        self.ctx.asker = None;
    }

    fn poll_item(&mut self) -> bool {
        let Some((key, mut future, waker)) = self.ctx.items.take_woken() else {
            return false;
        };
        let mut done = true;
        self.guarded(|actor, ctx| {
            let polled = future
                .as_mut()
                .poll(actor, ctx, &mut Task::from_waker(&waker));
            done = polled.is_ready();
        });
        if done {
            self.ctx.items.done(key);
        } else {
            self.ctx.items.put_back(key, future);
        }
        true
    }

    fn poll_wait(&mut self, task: &mut Task<'_>) -> Step {
        let Some(mut future) = self.ctx.waits.pop_front() else {
            return Step::Again;
        };
        let mut done = true;
        self.guarded(|actor, ctx| done = future.as_mut().poll(actor, ctx, task).is_ready());
        if done {
            self.hang = None;
            self.core
                .set_busy(self.core.is_busy() && self.ctx.is_waiting());
            return Step::Again;
        }
        self.ctx.waits.push_front(future);
        if self.ctx.failure.is_some() || self.ctx.stopping || self.hangs(task) {
            return Step::Again;
        }
        Step::Wait
    }

    /// Says whether the wait in hand has used up its time; if so the actor fails and the wait is dropped.
    fn hangs(&mut self, task: &mut Task<'_>) -> bool {
        let Some(limit) = self.props.hang_after else {
            return false;
        };
        let timer = self.hang.get_or_insert_with(|| Box::pin(sleep(limit)));
        if timer.as_mut().poll(task).is_pending() {
            return false;
        }
        self.hang = None;
        self.ctx.waits.clear();
        self.ctx.failure = Some(Fault::Hang(limit));
        true
    }

    /// Handles what came through actix's own addresses, if any was ever asked for.
    fn poll_bridge(&mut self, task: &mut Task<'_>) {
        let bridge = Rc::clone(&self.ctx.bridge);
        let Some(mut mailbox) = bridge.mailbox.take() else {
            return;
        };
        self.guarded(|actor, ctx| mailbox.poll(actor, ctx, task));
        bridge.mailbox.replace(Some(mailbox));
    }

    /// Runs the user's code; a panic becomes a failure.
    fn guarded(&mut self, act: impl FnOnce(&mut A, &mut Context<A>)) {
        let Some(actor) = self.actor.as_mut() else {
            return;
        };
        let ctx = &mut self.ctx;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| act(actor, ctx))) {
            self.ctx.failure = Some(Fault::Panic(text(&*panic)));
        }
    }

    /// Looks at signals, a failure and a wish to stop.
    fn attend(&mut self) -> Option<Step> {
        while let Some(signal) = self.core.take_signal() {
            match signal {
                Signal::Stop => self.ctx.stopping = true,
                Signal::ChildStopped { id } => {
                    self.ctx.children.remove(&id);
                }
                Signal::Overflow => self.ctx.failure = Some(Fault::Overflow),
                Signal::DeathPact(terminated) => {
                    self.ctx.failure = Some(Fault::DeathPact(terminated));
                }
                Signal::ChildEscalated { path, message } => {
                    self.ctx.failure = Some(Fault::Child { path, message });
                }
            }
        }
        if let Some(fault) = self.ctx.failure.take() {
            return Some(self.failed(&fault));
        }
        if self.ctx.stopping {
            return Some(self.begin_stop(After::End(StopCause::Stopped)));
        }
        None
    }

    fn failed(&mut self, fault: &Fault) -> Step {
        let now = Instant::now();
        let strategy = &self.props.strategy;
        let verdict = self.record.judge(strategy, fault, now, &mut self.dice);
        tracing::warn!(actor = %self.core.path, %fault, ?verdict, "an actor failed");
        let after = match verdict {
            // There is no state to go on with when the start itself failed.
            Verdict::Resume if self.actor.is_some() => return Step::Again,
            Verdict::Resume | Verdict::Stop => After::End(StopCause::Failed(fault.to_string())),
            Verdict::Restart(delay) => After::Restart(delay),
            Verdict::Escalate => After::End(StopCause::Escalated(fault.to_string())),
        };
        if let After::Restart(_) = after {
            self.ctx.system.events().publish(&Restarted {
                path: Arc::clone(&self.core.path),
                fault: fault.to_string(),
                restarts: self.core.restarts.load(SeqCst) + 1,
            });
        }
        self.begin_stop(after)
    }

    fn begin_stop(&mut self, after: After) -> Step {
        let state = match after {
            After::Restart(_) => ActorState::Restarting,
            After::End(_) => ActorState::Stopping,
        };
        self.core.set_state(state);
        let children: Vec<_> = self.ctx.children.values().cloned().collect();
        for child in children {
            // The next incarnation does not know this child, so it is not told of its end.
            self.ctx.end_watch(child.id());
            child.request_stop();
        }
        self.phase = Phase::StopChildren(after);
        Step::Again
    }

    /// Waits for the children, then ends the incarnation.
    fn stop_children(&mut self) -> Step {
        let Phase::StopChildren(after) = &mut self.phase else {
            return Step::Again;
        };
        while let Some(signal) = self.core.take_signal() {
            match signal {
                Signal::ChildStopped { id } => {
                    self.ctx.children.remove(&id);
                }
                Signal::Stop => *after = After::End(StopCause::Stopped),
                // This incarnation is about to be gone in any case.
                Signal::ChildEscalated { .. } | Signal::DeathPact(_) | Signal::Overflow => {}
            }
        }
        if !self.ctx.children.is_empty() {
            return Step::Wait;
        }
        let ended = std::mem::replace(&mut self.phase, Phase::Start);
        let Phase::StopChildren(after) = ended else {
            return Step::Again;
        };
        self.end_incarnation();
        match after {
            After::Restart(delay) => {
                self.core.restarts.fetch_add(1, SeqCst);
                if !delay.is_zero() {
                    self.core.set_state(ActorState::Restarting);
                    self.phase = Phase::Backoff(Box::pin(sleep(delay)));
                }
            }
            After::End(cause) => self.end(&cause),
        }
        Step::Again
    }

    /// Runs `stopped` and drops the actor and everything that belonged to this incarnation.
    fn end_incarnation(&mut self) {
        self.guarded(Actor::stopped);
        let stash = std::mem::take(&mut self.ctx.stash);
        self.core.mailbox.put_back(stash);
        self.hang = None;
        self.core.set_busy(false);
        let mut fresh = Context::new(
            Arc::clone(&self.core),
            self.ctx.system.clone(),
            Rc::clone(&self.ctx.bridge),
            self.props.throughput,
            self.props.stash_max,
        );
        fresh.watching = std::mem::take(&mut self.ctx.watching);
        let old = (self.actor.take(), std::mem::replace(&mut self.ctx, fresh));
        if catch_unwind(AssertUnwindSafe(move || drop(old))).is_err() {
            tracing::warn!(actor = %self.core.path, "an actor panicked while it was dropped");
        }
    }

    fn back_off(&mut self, task: &mut Task<'_>) -> Step {
        while let Some(signal) = self.core.take_signal() {
            if matches!(signal, Signal::Stop) {
                return self.begin_stop(After::End(StopCause::Stopped));
            }
        }
        let Phase::Backoff(sleep) = &mut self.phase else {
            return Step::Again;
        };
        if sleep.as_mut().poll(task).is_pending() {
            return Step::Wait;
        }
        self.phase = Phase::Start;
        Step::Again
    }

    fn end(&mut self, cause: &StopCause) {
        self.phase = Phase::Done;
        self.core.end(cause);
        self.ctx.system.forget(self.core.id);
        if let StopCause::Escalated(message) = cause {
            self.parent
                .child_escalated(Arc::clone(&self.core.path), message);
        }
        self.parent.child_stopped(self.core.id);
    }
}

impl<A> Drop for Cell<A>
where
    A: Actor<Context = Context<A>>,
{
    fn drop(&mut self) {
        if !matches!(self.phase, Phase::Done) {
            self.end(&StopCause::Lost);
        }
    }
}

/// Returns a panic's message.
pub(crate) fn text(panic: &(dyn Any + Send)) -> String {
    let known = panic
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    known.unwrap_or_else(|| "a panic without a message".to_owned())
}
