//! The actor that says how many calls at once, how fast, and whether at all.
//!
//! A thin shell around [`Controller`]: it stamps the time, steps the law, tells the pool the new grant
//! and sets one timer. It never sees a call, only how attempts end. Restarted, it goes on from what the
//! last incarnation learned, never from zero.

use std::{sync::Arc, time::Duration};

use actix::{Actor, Handler, Message};
use kebne_control::{
    Controller, ControllerReport, ControllerSettings, Effect, Grant, Timestamp, Verdict, controller,
};

use kebne_actors::{Context, Recipient, clock::Dice};

use crate::{clock::Clock, kept::Kept, status::Status};

mod memory;

pub(crate) use memory::ControllerMemory;

/// How often what was learned is put aside while calls end: a restart loses a second of learning.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// Tells the controller what happened to an attempt, or that time has passed.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Observe {
    /// What happened.
    pub(crate) event: controller::Message,
    /// The pool's number for this event; the grant that answers it carries it back.
    pub(crate) number: u64,
}

/// Says that traffic is expected soon; asks whether a wake call is wanted for it.
#[derive(Debug, Message)]
#[rtype(result = "PrewarmView")]
pub(crate) struct ExpectTraffic;

/// What the law says to [`ExpectTraffic`].
#[derive(Debug, actix::MessageResponse)]
pub(crate) struct PrewarmView {
    /// A wake call is wanted.
    pub(crate) wanted: bool,
    /// The backend serves; otherwise, without a wake call wanted, one is on its way.
    pub(crate) serves: bool,
}

/// What carrying the law's effects out came to.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    /// The state changed.
    moved: bool,
    /// A wake call is wanted.
    wake: bool,
}

/// Asks for the controller's report.
#[derive(Debug, Message)]
#[rtype(result = "ControllerView")]
pub(crate) struct GetController;

/// The controller as `/state` shows it.
#[derive(Debug, actix::MessageResponse)]
pub(crate) struct ControllerView {
    pub(crate) report: ControllerReport,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) states: Vec<String>,
}

/// Emitted to the pool after each event: the grant in force.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct LimitChanged {
    /// The grant in force.
    pub(crate) grant: Grant,
    /// The last event that the grant takes into account; none from a controller that just started.
    pub(crate) seen: Option<u64>,
    /// A controller that just started: who is to be told how attempts go.
    pub(crate) observer: Option<Recipient<Observe>>,
}

/// The time that the law asked for has come.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct WakeupDue;

/// What a controller needs to start.
#[derive(Clone)]
pub(crate) struct ControllerParts {
    pub(crate) lane: Arc<str>,
    pub(crate) settings: ControllerSettings,
    pub(crate) seed: u64,
    pub(crate) clock: Clock,
    pub(crate) kept: Kept<ControllerMemory>,
    pub(crate) status: Arc<Status>,
    /// Who obeys the grants: set before the controller starts.
    pub(crate) pool: Recipient<LimitChanged>,
}

/// Wraps the law of one lane.
pub(crate) struct RateController {
    parts: ControllerParts,
    law: Controller,
    dice: Dice,
    wakeup: Option<Timestamp>,
    saved: Timestamp,
}

impl RateController {
    pub(crate) fn new(parts: ControllerParts) -> Self {
        let now = parts.clock.now();
        let law = Controller::new(&parts.settings, parts.kept.lock().learned.as_ref(), now);
        Self {
            law,
            dice: Dice::seeded(parts.seed),
            wakeup: None,
            saved: now,
            parts,
        }
    }

    fn step(
        &mut self,
        event: controller::Message,
        seen: Option<u64>,
        ctx: &mut Context<Self>,
    ) -> Done {
        let now = self.parts.clock.now();
        let ended = matches!(event, controller::Message::Ended { .. });
        let effects = self.law.step(event, now, &mut || self.dice.unit());
        let changed = effects.iter().any(|e| matches!(e, Effect::Grant(_)));
        let done = self.act(effects);
        if done.moved || (ended && now.since(self.saved) >= SAVE_EVERY) {
            self.save(now);
        }
        // The pool waits for an answer to each event it sent, and to no other.
        if changed || seen.is_some() {
            self.tell_grant(seen, None);
        }
        self.arm(now, ctx);
        done
    }

    /// Carries effects out.
    fn act(&mut self, effects: Vec<Effect>) -> Done {
        let mut done = Done::default();
        for effect in effects {
            match effect {
                Effect::Grant(_) => {}
                Effect::State { from, to } => {
                    done.moved = true;
                    self.parts.kept.lock().moved(from, to);
                    tracing::info!(lane = %self.parts.lane, from = from.label(), to = to.label(), "the lane's state changed");
                }
                Effect::Verdict(verdict) => {
                    tracing::debug!(lane = %self.parts.lane, %verdict, "the limit was decided");
                    self.parts.kept.lock().note(verdict);
                }
                Effect::Prewarm => done.wake = true,
            }
        }
        done
    }

    fn tell_grant(&self, seen: Option<u64>, observer: Option<Recipient<Observe>>) {
        let grant = self.law.grant();
        self.parts.status.publish(&grant);
        let changed = LimitChanged {
            grant,
            seen,
            observer,
        };
        // A pool that is gone takes this actor with it: both are children of one lane.
        let _harmless_if_lost = self.parts.pool.tell(changed);
    }

    fn save(&mut self, now: Timestamp) {
        self.saved = now;
        self.parts.kept.lock().learned = Some(self.law.snapshot(now));
    }

    /// Keeps one timer: at the law's next wakeup.
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
        self.step(observe.event, Some(observe.number), ctx);
    }
}

impl Handler<WakeupDue> for RateController {
    type Result = ();

    fn handle(&mut self, _: WakeupDue, ctx: &mut Context<Self>) {
        self.wakeup = None;
        self.step(controller::Message::Wakeup, None, ctx);
    }
}

impl Handler<ExpectTraffic> for RateController {
    type Result = PrewarmView;

    fn handle(&mut self, _: ExpectTraffic, ctx: &mut Context<Self>) -> PrewarmView {
        let done = self.step(controller::Message::Prewarm, None, ctx);
        PrewarmView {
            wanted: done.wake,
            serves: self.law.serves(),
        }
    }
}

impl Handler<GetController> for RateController {
    type Result = ControllerView;

    fn handle(&mut self, _: GetController, _ctx: &mut Context<Self>) -> ControllerView {
        let kept = self.parts.kept.lock();
        ControllerView {
            report: self.law.report(self.parts.clock.now()),
            verdicts: kept.verdicts(),
            states: kept.states(),
        }
    }
}
