//! The loop that drives one actor through its lives.
//!
//! Owns the incarnation and what follows its failures. Everything of the user's runs under a catch, so
//! that a panic costs one message (or one incarnation), a panicking `stopped` or drop never ends the process,
//! and the mailbox outlives them. (Two panics at once, such as a drop that panics while a handler's panic
//! unwinds, end any Rust program.)

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, atomic::Ordering::SeqCst},
    task::{Context as Task, Poll, Waker},
};

use actix::Actor;
use tokio::time::{Instant, Sleep, sleep};

use super::{
    catch::{drop_guarded, text},
    context::{Context, Stage},
    core::{AnyCell, Core, Parent, Signal},
    envelope::Envelope,
    fault::Fault,
    props::{MadeOnce, Props},
    report::ActorState,
    strategy::Record,
    watch::StopCause,
    watchdog::Beat,
};
use crate::clock::Dice;

mod ending;

/// What an actor does when it handles no message of its mailbox.
const HOOK: &str = "a hook, a timer or a future";

/// Where the cell is.
enum CellState {
    Start,
    Run,
    Backoff(Pin<Box<Sleep>>),
    StopChildren(After),
    Done,
}

/// What follows when the children are gone.
#[derive(Debug)]
enum After {
    Restart { at: Instant, keep_children: bool },
    End(StopCause),
}

/// What the loop does next.
enum Step {
    Again,
    Wait,
    Yield,
    Done,
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
    state: CellState,
    /// Runs while a `ctx.wait` holds the mailbox up.
    hang: Option<Pin<Box<Sleep>>>,
    /// Whose turn it is when both a future and a message are ready.
    work_first: bool,
    /// Timers and actix's own mailbox have been checked in this poll.
    checked: bool,
    /// What the application's code does, and where that is noted for the watchdog.
    doing: &'static str,
    beat: Option<Arc<Beat>>,
    /// What came during a restart and concerns the next incarnation.
    deferred: Vec<Signal>,
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
        // While it runs it looks for itself: a waking would have it run again at once, and not after the
        // others on its thread.
        this.register(None);
        let mut registered = false;
        this.ctx.spent = 0;
        this.checked = false;
        loop {
            // What is the user's is caught where it runs; this catches what it drops elsewhere.
            let step = catch_unwind(AssertUnwindSafe(|| this.step(task)));
            let step = step.unwrap_or_else(|panic| {
                this.ctx.fault(Fault::Panic(text(&*panic)));
                Step::Again
            });
            match step {
                Step::Done => return Poll::Ready(()),
                Step::Again => {}
                Step::Wait if registered => return Poll::Pending,
                Step::Wait => {
                    // One more look at everything, for what came before it could be woken.
                    this.register(Some(task.waker()));
                    registered = true;
                    this.checked = false;
                }
                Step::Yield => {
                    this.register(None);
                    // Woken only after the runtime has looked at its timers and at what other threads
                    // sent: a plain wake lets a flooded actor have up to sixty more turns before that.
                    return std::pin::pin!(tokio::task::yield_now()).poll(task);
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
        let beat = props.report_blocked_after.map(|limit| {
            let watchdog = ctx.system.watchdog();
            watchdog.watch(Arc::clone(&core.path), limit, ctx.system.events())
        });
        Self {
            core,
            parent,
            props,
            record: Record::default(),
            dice,
            actor: None,
            ctx,
            state: CellState::Start,
            hang: None,
            work_first: false,
            checked: false,
            doing: HOOK,
            beat,
            deferred: Vec::new(),
        }
    }

    fn step(&mut self, task: &mut Task<'_>) -> Step {
        match self.state {
            CellState::Start => self.start(),
            CellState::Run => self.run(task),
            CellState::Backoff(_) => self.back_off(task),
            CellState::StopChildren(_) => self.stop_children(),
            CellState::Done => Step::Done,
        }
    }

    /// Registers this task to be woken by messages, signals and futures, or not.
    fn register(&self, waker: Option<&Waker>) {
        self.core.mailbox.register(waker);
        self.ctx.items.register(waker);
    }

    fn start(&mut self) -> Step {
        self.core.set_state(ActorState::Starting);
        self.checked = false;
        self.record.restarted(Instant::now());
        self.state = CellState::Run;
        match catch_unwind(AssertUnwindSafe(|| (self.props.factory)())) {
            Ok(Ok(actor)) => self.actor = Some(actor),
            Ok(Err(error)) if error.is::<MadeOnce>() => {
                return self.begin_stop(After::End(StopCause::Failed(error.to_string())));
            }
            Ok(Err(error)) => self.ctx.fault(Fault::Error(error)),
            Err(panic) => self.ctx.fault(Fault::Start(text(&*panic))),
        }
        if self.ctx.failure.is_none() {
            self.guarded(Actor::started);
        }
        match self.ctx.failure.take() {
            None => {}
            Some(Fault::Panic(message)) => return self.failed(&Fault::Start(message)),
            Some(fault) => return self.failed(&fault),
        }
        self.ctx.stage = Stage::Running;
        self.core.set_state(ActorState::Running);
        self.core.mailbox.refuse_work(false);
        for signal in std::mem::take(&mut self.deferred) {
            self.core.signal(signal);
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
        if !self.checked || self.ctx.timers.dirty || self.ctx.bridge.is_unwatched() {
            if let Some(mut due) = self.ctx.timers.take_due(task) {
                self.guarded(|actor, ctx| (due.action)(actor, ctx));
                self.ctx.timers.fired(due);
                return Step::Again;
            }
            // Where the mailbox has no room it is looked at again behind the next message.
            self.checked = self.ctx.bridge.pull(&self.core.mailbox, task);
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
        Step::Wait
    }

    fn work(&mut self) -> bool {
        let max = self.props.max_in_flight;
        if max.is_some_and(|max| self.core.in_flight().load(SeqCst) >= max) {
            return false;
        }
        let Some(envelope) = self.core.mailbox.take_work() else {
            return false;
        };
        self.deliver(envelope);
        true
    }

    fn deliver(&mut self, envelope: Envelope<A>) {
        if envelope.is_abandoned() {
            return;
        }
        if envelope.influences_receive_timeout() {
            self.ctx.touch();
        }
        self.ctx.asker = envelope.asker();
        self.core.set_busy(self.ctx.asker.is_none());
        self.doing = envelope.kind().name;
        let mut intercept = self.props.intercept.take();
        self.guarded(|actor, ctx| {
            envelope.begin();
            let taken = intercept
                .as_mut()
                .is_none_or(|intercept| intercept(actor, ctx, envelope.kind().name));
            if taken {
                envelope.deliver(actor, ctx);
            } else {
                envelope.skip(ctx);
            }
        });
        self.props.intercept = intercept;
        self.core.note_handled();
        self.doing = HOOK;
        self.core
            .set_busy(self.core.is_busy() && self.ctx.is_waiting());
        self.ctx.asker = None;
    }

    fn poll_item(&mut self) -> bool {
        let Some((key, mut future, waker)) = self.ctx.items.take_woken() else {
            return false;
        };
        let mut done = true;
        self.ctx.pauses.begin();
        self.guarded(|actor, ctx| {
            let polled = future
                .as_mut()
                .poll(actor, ctx, &mut Task::from_waker(&waker));
            done = polled.is_ready();
        });
        let (handled, paused) = self.ctx.pauses.end();
        self.ctx.spent += handled.saturating_sub(1);
        if done {
            self.ctx.items.done(key);
        } else {
            self.ctx.items.put_back(key, future, paused);
            if self.ctx.failure.is_some() {
                self.ctx.items.blame(key);
            }
        }
        true
    }

    fn poll_wait(&mut self, task: &mut Task<'_>) -> Step {
        // The last first, as in actix.
        let Some((mut future, in_flight)) = self.ctx.waits.pop() else {
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
        self.ctx.waits.push((future, in_flight));
        if self.ctx.failure.is_some() || self.ctx.stopping || self.hangs(task) {
            return Step::Again;
        }
        Step::Wait
    }

    /// Returns `true` if the current wait has used up its time; the actor fails then, and the wait is dropped.
    fn hangs(&mut self, task: &mut Task<'_>) -> bool {
        let Some(limit) = self.props.hang_after else {
            return false;
        };
        let timer = self.hang.get_or_insert_with(|| Box::pin(sleep(limit)));
        if timer.as_mut().poll(task).is_pending() {
            return false;
        }
        self.hang = None;
        drop_guarded(&self.core.path, self.ctx.waits.pop());
        self.ctx.fault(Fault::Hang(limit));
        true
    }

    /// Runs the user's code; a panic becomes a failure.
    fn guarded(&mut self, act: impl FnOnce(&mut A, &mut Context<A>)) {
        let Some(actor) = self.actor.as_mut() else {
            return;
        };
        let ctx = &mut self.ctx;
        ctx.answering.set(false);
        if let Some(beat) = &self.beat {
            beat.begin(self.doing);
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| act(actor, ctx))) {
            self.ctx.fault(Fault::Panic(text(&*panic)));
        }
        if let Some(beat) = &self.beat {
            beat.end();
        }
    }
}
