//! How an incarnation ends: failures, stops, restarts, the waits between them.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{Arc, atomic::Ordering::SeqCst},
    task::Context as Task,
};

use actix::Actor;
use tokio::time::{Instant, sleep_until};

use super::{After, Cell, CellState, Step};
use crate::system::{
    catch::{drop_guarded, guard, text},
    context::{Context, Stage},
    core::Signal,
    dead_letters::Undelivered,
    event_stream::Restarted,
    fault::Fault,
    report::ActorState,
    strategy::{Action, Decision, Moment},
    watch::StopCause,
};

impl<A> Cell<A>
where
    A: Actor<Context = Context<A>>,
{
    /// Looks at signals, a failure and a wish to stop.
    pub(super) fn attend(&mut self) -> Option<Step> {
        while let Some(signal) = self.core.take_signal() {
            self.heed(signal);
        }
        if let Some(fault) = self.ctx.failure.take() {
            return Some(self.failed(&fault));
        }
        if self.ctx.stopping {
            return Some(self.begin_stop(After::End(StopCause::Stopped)));
        }
        None
    }

    fn heed(&mut self, signal: Signal) {
        match signal {
            Signal::Stop => self.ctx.stopping = true,
            Signal::ChildStopped { id } => {
                self.ctx.children.remove(&id);
            }
            Signal::Overflow => self.ctx.fault(Fault::Overflow),
            Signal::DeathPact {
                terminated,
                id,
                active,
            } => {
                if self.ctx.watch_fired(id, &active) {
                    self.ctx.fault(Fault::DeathPact(terminated));
                }
            }
            Signal::ChildEscalated { path, message } => {
                self.ctx.fault(Fault::Child { path, message });
            }
            Signal::TaskPanicked { restarts, message } => {
                if restarts == self.core.restarts.load(SeqCst) {
                    self.ctx.fault(Fault::Task(message));
                } else {
                    tracing::warn!(actor = %self.core.path, message, "a former instance's future panicked");
                }
            }
        }
    }

    pub(super) fn failed(&mut self, fault: &Fault) -> Step {
        if std::mem::take(&mut self.ctx.backoff_reset) {
            self.record.reset();
        }
        let now = Instant::now();
        let (decision, message) = self.judge(fault, now);
        self.core.note_failure(&message);
        self.log(&message, decision);
        match decision.action {
            Action::Resume => Step::Again,
            Action::Stop => self.begin_stop(After::End(StopCause::Failed(message))),
            Action::Escalate => self.begin_stop(After::End(StopCause::Escalated(message))),
            // A stop that was asked for is not undone by a restart.
            Action::Restart { .. } if self.ctx.stopping => {
                self.begin_stop(After::End(StopCause::Stopped))
            }
            Action::Restart {
                wait,
                keep_children,
                reject,
            } => {
                self.core.mailbox.refuse_work(reject);
                self.core.set_state(ActorState::Restarting);
                if let Some(observation) = &self.core.mailbox.observation {
                    observation.restarted();
                }
                self.ctx.system.events().publish(&Restarted {
                    path: Arc::clone(&self.core.path),
                    fault: message,
                    restarts: self.core.restarts.load(SeqCst) + 1,
                });
                self.before_restart(fault);
                let at = now.checked_add(wait).unwrap_or(now);
                self.begin_stop(After::Restart { at, keep_children })
            }
        }
    }

    fn moment(&self) -> Moment {
        if self.ctx.stage != Stage::Starting {
            Moment::Running
        } else if self.core.restarts.load(SeqCst) == 0 {
            Moment::FirstStart
        } else {
            Moment::Start
        }
    }

    /// Returns what follows a failure, and its message. Both may run code of the application, whose panic stops the
    /// actor.
    fn judge(&mut self, fault: &Fault, now: Instant) -> (Decision, String) {
        let moment = self.moment();
        let (record, layers, dice) = (
            &mut self.record,
            &self.props.strategy.layers,
            &mut self.dice,
        );
        let judged = catch_unwind(AssertUnwindSafe(|| {
            let decision = record.judge(layers, fault, moment, now, &mut || dice.unit());
            (decision, fault.to_string())
        }));
        judged.unwrap_or_else(|panic| {
            let message = format!("its supervision panicked: {}", text(&*panic));
            (Decision::stop(), message)
        })
    }

    fn log(&self, fault: &str, decision: Decision) {
        let (path, action, failures) = (&self.core.path, decision.action, decision.failures);
        macro_rules! log {
            ($level:ident) => {
                tracing::$level!(actor = %path, fault, ?action, failures, "an actor failed")
            };
        }
        match decision.level {
            None => {}
            Some(tracing::Level::ERROR) => log!(error),
            Some(tracing::Level::WARN) => log!(warn),
            Some(tracing::Level::INFO) => log!(info),
            Some(tracing::Level::DEBUG) => log!(debug),
            Some(tracing::Level::TRACE) => log!(trace),
        }
    }

    /// Lets the instance that failed clean up; what that fails of is only logged.
    fn before_restart(&mut self, fault: &Fault) {
        self.ctx.stage = Stage::Restarting;
        drop_guarded(&self.core.path, self.ctx.timers.clear());
        let Some(mut hook) = self.props.before_restart.take() else {
            return;
        };
        self.guarded(|actor, ctx| hook(actor, ctx, fault));
        self.props.before_restart = Some(hook);
        self.log_late_failure();
    }

    /// Logs a failure of an instance that ends in any case.
    fn log_late_failure(&mut self) {
        if let Some(fault) = self.ctx.failure.take() {
            tracing::error!(actor = %self.core.path, %fault, "an actor failed while it ended");
        }
    }

    pub(super) fn begin_stop(&mut self, after: After) -> Step {
        let keep_children = match after {
            After::Restart { keep_children, .. } => keep_children,
            After::End(_) => {
                self.core.set_state(ActorState::Stopping);
                self.ctx.stopping = true;
                if !self.ctx.terminated {
                    self.guarded(|actor, ctx| {
                        // In Akka a stop cannot be refused.
                        actor.stopping(ctx);
                    });
                }
                self.log_late_failure();
                false
            }
        };
        if !keep_children {
            self.stop_all_children();
        }
        self.state = CellState::StopChildren(after);
        Step::Again
    }

    fn stop_all_children(&mut self) {
        let children: Vec<_> = self.ctx.children.values().cloned().collect();
        for child in children {
            // The next instance does not know this child, so that its end is not reported.
            self.ctx.end_watch(child.id());
            child.request_stop();
        }
    }

    /// Waits for the children, then ends the incarnation.
    pub(super) fn stop_children(&mut self) -> Step {
        while let Some(signal) = self.core.take_signal() {
            if matches!(signal, Signal::Stop) {
                self.stop_instead();
            } else {
                self.defer(signal);
            }
        }
        let CellState::StopChildren(after) = &self.state else {
            return Step::Again;
        };
        let keep_children = match after {
            After::Restart { keep_children, .. } => *keep_children,
            After::End(_) => false,
        };
        if !keep_children && !self.ctx.children.is_empty() {
            return Step::Wait;
        }
        let ended = std::mem::replace(&mut self.state, CellState::Start);
        let CellState::StopChildren(after) = ended else {
            return Step::Again;
        };
        if matches!(after, After::End(_)) {
            self.ctx.stage = Stage::Ending;
        }
        self.end_incarnation(keep_children);
        match after {
            After::Restart { at, .. } => {
                self.core.restarts.fetch_add(1, SeqCst);
                if at > Instant::now() {
                    self.state = CellState::Backoff(Box::pin(sleep_until(at)));
                    return Step::Again;
                }
                // However fast it fails, others have their turn in between.
                Step::Yield
            }
            After::End(cause) => {
                self.end(&cause);
                Step::Again
            }
        }
    }

    /// Ends for good what was to be restarted.
    fn stop_instead(&mut self) {
        if let CellState::StopChildren(After::Restart { .. }) = self.state {
            self.ctx.stage = Stage::Running;
            self.begin_stop(After::End(StopCause::Stopped));
        }
    }

    /// Keeps what came during a restart and concerns the next incarnation.
    fn defer(&mut self, signal: Signal) {
        match signal {
            Signal::ChildStopped { id } => {
                self.ctx.children.remove(&id);
            }
            // The watch outlives the restart, and so does a child that is kept.
            Signal::DeathPact { .. } | Signal::ChildEscalated { .. } => self.deferred.push(signal),
            // This incarnation is about to be gone in any case.
            Signal::Overflow | Signal::TaskPanicked { .. } | Signal::Stop => {}
        }
    }

    /// Runs `stopped` and drops the actor and everything that belonged to this incarnation.
    fn end_incarnation(&mut self, keep_children: bool) {
        self.guarded(Actor::stopped);
        self.log_late_failure();
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
        if !keep_children {
            // One that was spawned by `stopped`.
            self.stop_all_children();
            self.deferred
                .retain(|signal| !matches!(signal, Signal::ChildEscalated { .. }));
        }
        fresh.children = std::mem::take(&mut self.ctx.children);
        fresh.watching = std::mem::take(&mut self.ctx.watching);
        fresh.notes = std::mem::take(&mut self.ctx.notes);
        fresh.spent = self.ctx.spent;
        drop_guarded(&self.core.path, self.actor.take());
        self.ctx.clear();
        let old = std::mem::replace(&mut self.ctx, fresh);
        guard(&self.core.path, move || drop(old));
    }

    pub(super) fn back_off(&mut self, task: &mut Task<'_>) -> Step {
        while let Some(signal) = self.core.take_signal() {
            if matches!(signal, Signal::Stop) {
                return self.begin_stop(After::End(StopCause::Stopped));
            }
            self.defer(signal);
        }
        let CellState::Backoff(sleep) = &mut self.state else {
            return Step::Again;
        };
        if sleep.as_mut().poll(task).is_pending() {
            return Step::Wait;
        }
        self.state = CellState::Start;
        Step::Again
    }

    fn end(&mut self, cause: &StopCause) {
        self.state = CellState::Done;
        self.ctx.end_all_watches();
        self.core.end(cause);
        for envelope in self.ctx.bridge.close() {
            self.core.dead_letter(envelope, Undelivered::Stopped);
        }
        drop_guarded(&self.core.path, std::mem::take(&mut self.ctx.notes));
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
        if matches!(self.state, CellState::Done) {
            return;
        }
        // Its thread is shutting down: nothing of the user's runs any more but drops.
        drop_guarded(&self.core.path, self.actor.take());
        self.ctx.clear();
        let stash = std::mem::take(&mut self.ctx.stash);
        self.core.mailbox.put_back(stash);
        self.end(&StopCause::Lost);
    }
}
