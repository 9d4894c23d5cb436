//! The actor that decides the concurrency, the rate and the state of the lane.
//!
//! A thin shell around [`Controller`]: it reads the clock, steps the law, sends the new grant to the pool and sets one
//! timer. It receives the endings of attempts and never the calls. After a restart it continues with what the last
//! incarnation learned.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Handler, Message};
use kebne_control::{
    Controller, ControllerReport, ControllerSettings, Effect, Grant, Timestamp, controller,
};

use tokio::sync::Notify;

use kebne_actors::{Context, Recipient, clock::Dice};

use crate::{
    clock::Clock,
    kept::Kept,
    snapshot::{PastVerdict, Question},
    status::Status,
};

mod memory;
mod sharing;

pub(crate) use memory::ControllerMemory;
pub(crate) use sharing::{GetRenewal, TakeLease};

/// The interval at which learned values are saved while calls end; a restart loses at most one second of learning.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// Reports events of attempts.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Observe {
    /// The events in their order, each with its time.
    pub(crate) events: Vec<(controller::Message, Timestamp)>,
    /// The pool's number of the last event, which the answering grant returns.
    pub(crate) number: u64,
    /// `true` if the pool waits for the answer; otherwise only a change of the grant is answered.
    pub(crate) must_answer: bool,
}

/// Announces that traffic is expected soon; the answer says whether a wake call is wanted.
#[derive(Debug, Message)]
#[rtype(result = "PrewarmView")]
pub(crate) struct ExpectTraffic {
    /// `true` if the backend is known to be there, so that it need not be left alone any longer.
    pub(crate) is_there: bool,
}

/// The answer to [`ExpectTraffic`].
#[derive(Debug, actix::MessageResponse)]
pub(crate) struct PrewarmView {
    /// `true` if a wake call is wanted.
    pub(crate) wanted: bool,
    /// `true` if the backend serves. If `false` and no wake call is wanted, one is already in flight.
    pub(crate) serves: bool,
}

/// The result of carrying out the effects of the law.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    /// `true` if the grant changed.
    changed: bool,
    /// `true` if the state changed.
    moved: bool,
    /// `true` if a wake call is wanted.
    wake: bool,
}

/// Requests the controller's report.
#[derive(Debug, Message)]
#[rtype(result = "ControllerView")]
pub(crate) struct GetController(pub(crate) Question);

/// The controller's report, for `/state`.
#[derive(Debug, actix::MessageResponse)]
pub(crate) struct ControllerView {
    pub(crate) report: ControllerReport,
    pub(crate) verdicts: Vec<PastVerdict>,
    pub(crate) states: Vec<String>,
}

/// Emitted to the pool when the grant has changed or the pool waits for an answer: the grant in force.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct LimitChanged {
    /// The grant in force.
    pub(crate) grant: Grant,
    /// The last event that the grant takes into account; `None` from a controller that has just started.
    pub(crate) seen: Option<u64>,
    /// The recipient of attempt events; set by a controller that has just started.
    pub(crate) observer: Option<Recipient<Observe>>,
}

/// The wakeup that the law requested is due.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct WakeupDue;

/// The parts that each instance of the controller starts with.
#[derive(Clone)]
pub(crate) struct ControllerParts {
    pub(crate) lane: Arc<str>,
    pub(crate) settings: ControllerSettings,
    pub(crate) seed: u64,
    pub(crate) clock: Clock,
    pub(crate) kept: Kept<ControllerMemory>,
    pub(crate) status: Arc<Status>,
    /// Rings when the lease of a shared backend should be renewed at once.
    pub(crate) lease_bell: Arc<Notify>,
    /// The pool, which follows the grants.
    pub(crate) pool: Recipient<LimitChanged>,
}

/// The actor around the law of one lane.
pub(crate) struct RateController {
    parts: ControllerParts,
    law: Controller,
    dice: Dice,
    wakeup: Option<Timestamp>,
    saved: Timestamp,
    /// The time of the last event. Events of several threads may come out of order by a moment.
    last: Timestamp,
}

impl RateController {
    pub(crate) fn new(parts: ControllerParts) -> Self {
        let now = parts.clock.now();
        let mut law = Controller::new(&parts.settings, parts.kept.lock().learned.as_ref(), now);
        let mut dice = Dice::seeded(parts.seed);
        let lease = parts.kept.lock().lease;
        if lease.is_some() {
            // The pool is told the grant when this actor has started.
            law.step(controller::Message::Shared(lease), now, &mut || dice.unit());
        }
        Self {
            law,
            dice,
            wakeup: None,
            saved: now,
            last: now,
            parts,
        }
    }

    /// Takes one event, which happened at `at`.
    fn step(&mut self, event: controller::Message, at: Timestamp) -> Done {
        let now = at.max(self.last);
        self.last = now;
        let ended = matches!(event, controller::Message::Ended { .. });
        let effects = self.law.step(event, now, &mut || self.dice.unit());
        let done = self.act(effects);
        if done.moved || (ended && now.since(self.saved) >= SAVE_EVERY) {
            self.save(now);
        }
        done
    }

    /// Takes one event that happens now, and sends the grant to the pool if it changes.
    fn step_now(&mut self, event: controller::Message, ctx: &mut Context<Self>) -> Done {
        let now = self.parts.clock.now();
        let done = self.step(event, now);
        if done.changed {
            self.tell_grant(None, None);
        }
        self.arm(now, ctx);
        done
    }

    /// Carries out effects.
    fn act(&mut self, effects: Vec<Effect>) -> Done {
        let mut done = Done::default();
        for effect in effects {
            match effect {
                Effect::Grant(_) => done.changed = true,
                Effect::State { from, to } => {
                    done.moved = true;
                    self.parts.kept.lock().moved(from, to);
                    tracing::info!(lane = %self.parts.lane, from = from.label(), to = to.label(), "the lane's state changed");
                }
                Effect::Verdict(verdict) => {
                    tracing::debug!(lane = %self.parts.lane, %verdict, "the limit was decided");
                    let now = self.parts.clock.now();
                    self.parts.kept.lock().note(verdict, now);
                }
                Effect::Prewarm => done.wake = true,
                Effect::RenewLease => self.parts.lease_bell.notify_one(),
            }
        }
        done
    }

    fn tell_grant(&self, seen: Option<u64>, observer: Option<Recipient<Observe>>) {
        let grant = self.law.grant();
        self.parts.status.publish(&grant, self.parts.clock.now());
        let changed = LimitChanged {
            grant,
            seen,
            observer,
        };
        // If the pool is gone, this actor stops too: both are children of one lane.
        let _harmless_if_lost = self.parts.pool.tell(changed);
    }

    fn save(&mut self, now: Timestamp) {
        self.saved = now;
        self.parts.kept.lock().learned = Some(self.law.snapshot(now));
    }

    /// Sets the timer to the law's next wakeup.
    fn arm(&mut self, now: Timestamp, ctx: &mut Context<Self>) {
        let next = self.law.next_wakeup();
        if next == self.wakeup {
            return;
        }
        self.wakeup = next;
        match next {
            Some(at) => ctx.start_timer("wakeup", WakeupDue, at.since(now)),
            None => {
                ctx.cancel_timer("wakeup");
            }
        }
    }
}

impl Actor for RateController {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.tell_grant(None, Some(ctx.self_ref().recipient()));
        self.arm(self.parts.clock.now(), ctx);
    }

    fn stopped(&mut self, _ctx: &mut Context<Self>) {
        self.save(self.parts.clock.now());
    }
}

impl Handler<Observe> for RateController {
    type Result = ();

    fn handle(&mut self, observe: Observe, ctx: &mut Context<Self>) {
        let mut changed = false;
        for (event, at) in observe.events {
            changed |= self.step(event, at).changed;
        }
        if changed || observe.must_answer {
            self.tell_grant(Some(observe.number), None);
        }
        self.arm(self.parts.clock.now(), ctx);
    }
}

impl Handler<WakeupDue> for RateController {
    type Result = ();

    fn handle(&mut self, _: WakeupDue, ctx: &mut Context<Self>) {
        self.wakeup = None;
        self.step_now(controller::Message::Wakeup, ctx);
    }
}

impl Handler<ExpectTraffic> for RateController {
    type Result = PrewarmView;

    fn handle(&mut self, expect: ExpectTraffic, ctx: &mut Context<Self>) -> PrewarmView {
        if expect.is_there {
            self.step_now(controller::Message::IsThere, ctx);
        }
        let done = self.step_now(controller::Message::Prewarm, ctx);
        PrewarmView {
            wanted: done.wake,
            serves: self.law.serves(),
        }
    }
}

impl Handler<GetController> for RateController {
    type Result = ControllerView;

    fn handle(
        &mut self,
        GetController(_question): GetController,
        _ctx: &mut Context<Self>,
    ) -> ControllerView {
        let kept = self.parts.kept.lock();
        let now = self.parts.clock.now();
        ControllerView {
            report: self.law.report(now),
            verdicts: kept.verdicts(now),
            states: kept.states(),
        }
    }
}
