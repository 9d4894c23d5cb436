//! The actor that owns the budget: it starts and stops servers as the [`Schedule`] decides.
//!
//! A thin shell. It reads the leases of the gates before each decision, starts one `ModelServer` per run, and opens and closes
//! the gates. After a failure it resumes with what it knows.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, Handler, MessageResult};
use kebne_actors::{ActorRef, Context, Props, Recipient, Strategy};
use tokio::sync::oneshot;

use crate::{
    clock::Clock,
    failure::FailureKind,
    gate::{Away, Gate, Notice, Trouble},
    lines::Lines,
    model_server::{ModelServer, StopServer},
    parts::ServerParts,
    schedule::{Again, Effect, Event, Phase, Schedule, ServerId, Terms, Usage},
};

mod messages;
mod reporting;
mod runs;

pub use messages::ServerChanged;
use messages::Wakeup;
pub(crate) use messages::{
    AddServer, GetLoadTimes, GetReports, Listen, Operate, RemoveServer, SetDevices, StopAll,
};
use reporting::reason;

/// The shortest timer.
const TIMER_MIN: Duration = Duration::from_millis(1);

/// A server as the actor knows it.
struct Known {
    parts: ServerParts,
    gate: Arc<Gate>,
    lines: Lines,
    run: Option<Run>,
    pid: Option<u32>,
    last_error: Option<String>,
    last_failure: Option<FailureKind>,
    /// `true` if its last sleep hook failed and it was not woken since.
    is_awake: bool,
    load_seconds: f64,
}

/// A run that is not over.
struct Run {
    number: u64,
    actor: ActorRef<ModelServer>,
}

/// The actor.
pub(crate) struct Scheduler {
    clock: Clock,
    schedule: Schedule,
    servers: BTreeMap<ServerId, Known>,
    listeners: Vec<Recipient<ServerChanged>>,
    /// Servers and runs so far.
    count: u64,
    /// Who waits for the end of all servers; empty while servers are started.
    stopping: Vec<oneshot::Sender<()>>,
    is_stopping: bool,
}

impl Scheduler {
    pub(crate) fn props() -> Props<Self> {
        let create = || Self {
            clock: Clock::start(),
            schedule: Schedule::default(),
            servers: BTreeMap::new(),
            listeners: Vec::new(),
            count: 0,
            stopping: Vec::new(),
            is_stopping: false,
        };
        Props::new(create).supervise(Strategy::resume())
    }

    /// Handles an event, and what follows from it.
    fn step(&mut self, event: Event, ctx: &mut Context<Self>) {
        self.observe();
        let effects = self.schedule.step(event, self.clock.now());
        self.carry_out(effects, ctx);
    }

    fn observe(&mut self) {
        let now = self.clock.now();
        for (server, known) in &self.servers {
            let leases = known.gate.leases();
            let usage = Usage {
                busy: leases.held > 0,
                waiting: leases.waiting > 0,
                last_used: leases.last_used,
            };
            self.schedule.observe(*server, usage, now);
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>, ctx: &mut Context<Self>) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Start(server) => self.start(server, ctx),
                Effect::Open(server) => self.open(server),
                Effect::Close(server) => {
                    if self.close(server) {
                        self.observe();
                        let drained = Event::Drained(server);
                        effects.extend(self.schedule.step(drained, self.clock.now()));
                    }
                }
                Effect::Stop(server) => self.stop(server),
                Effect::Forget(server) => {
                    self.servers.remove(&server);
                }
            }
        }
        self.explain();
        self.arm(ctx);
    }

    /// Writes into the gates what calls without a lease get.
    fn explain(&self) {
        let now = self.clock.now();
        for (server, known) in &self.servers {
            if let Some(view) = self.schedule.view(*server, now)
                && view.phase != Phase::Ready
            {
                known.gate.explain(Away {
                    reason: reason(&view, known),
                    ready_at: view.eta.map(|eta| now.after(eta)),
                    failing: view.failing.map(|failing| Trouble {
                        kind: known.last_failure,
                        times: view.failures_in_row,
                        again_at: match failing {
                            Again::Now => None,
                            Again::In(wait) => Some(now.after(wait)),
                        },
                    }),
                });
            }
        }
    }

    fn arm(&self, ctx: &mut Context<Self>) {
        match self.schedule.next_wakeup(self.clock.now()) {
            Some(at) => {
                let wait = self.clock.until(at).max(TIMER_MIN);
                ctx.start_timer("wakeup", Wakeup, wait);
            }
            None => {
                ctx.cancel_timer("wakeup");
            }
        }
    }

    /// Answers those who wait for the end of all servers.
    fn settle(&mut self) {
        if self.servers.values().all(|known| known.run.is_none()) {
            for done in self.stopping.drain(..) {
                // It may have given up.
                done.send(()).ok();
            }
        }
    }
}

impl Actor for Scheduler {
    type Context = Context<Self>;
}

impl Handler<SetDevices> for Scheduler {
    type Result = ();

    fn handle(&mut self, SetDevices(devices): SetDevices, ctx: &mut Context<Self>) {
        let effects = self.schedule.set_devices(devices, self.clock.now());
        self.carry_out(effects, ctx);
    }
}

impl Handler<AddServer> for Scheduler {
    type Result = MessageResult<AddServer>;

    fn handle(&mut self, AddServer(parts): AddServer, ctx: &mut Context<Self>) -> Self::Result {
        self.count += 1;
        let server = ServerId(self.count);
        let notices = ctx.self_ref().control_recipient();
        let gate = Arc::new(Gate::new(server, self.clock, notices));
        let terms = Terms {
            name: Arc::clone(&parts.name),
            device: Arc::clone(&parts.device),
            room: parts.room,
            keep_warm: parts.stay.keep_warm,
            idle_timeout: parts.stay.idle_timeout,
            min_loaded: parts.stay.min_loaded,
            wait_max: parts.stay.wait_max,
        };
        let load_times = parts.load_times.clone();
        let known = Known {
            parts,
            gate: Arc::clone(&gate),
            lines: Lines::default(),
            run: None,
            pid: None,
            last_error: None,
            last_failure: None,
            is_awake: false,
            load_seconds: 0.0,
        };
        self.servers.insert(server, known);
        let effects = self
            .schedule
            .add(server, terms, load_times, self.clock.now());
        self.carry_out(effects, ctx);
        MessageResult(gate)
    }
}

impl Handler<RemoveServer> for Scheduler {
    type Result = ();

    fn handle(&mut self, RemoveServer(server): RemoveServer, ctx: &mut Context<Self>) {
        self.step(Event::Remove(server), ctx);
    }
}

impl Handler<Operate> for Scheduler {
    type Result = ();

    fn handle(&mut self, operate: Operate, ctx: &mut Context<Self>) {
        let event = match operate {
            Operate::Load(server) => Event::Load(server),
            Operate::Unload(server) => Event::Unload(server),
        };
        self.step(event, ctx);
    }
}

impl Handler<Notice> for Scheduler {
    type Result = ();

    fn handle(&mut self, Notice(event): Notice, ctx: &mut Context<Self>) {
        if let Event::Drained(server) = event
            && let Some(known) = self.servers.get(&server)
            && known.gate.leases().held > 0
        {
            // It was opened since, and has calls again.
            return;
        }
        self.step(event, ctx);
    }
}

impl Handler<Wakeup> for Scheduler {
    type Result = ();

    fn handle(&mut self, _: Wakeup, ctx: &mut Context<Self>) {
        self.step(Event::Tick, ctx);
    }
}

impl Handler<Listen> for Scheduler {
    type Result = ();

    fn handle(&mut self, Listen(listener): Listen, _: &mut Context<Self>) {
        self.listeners.push(listener);
    }
}

impl Handler<StopAll> for Scheduler {
    type Result = ();

    fn handle(&mut self, StopAll(done): StopAll, _: &mut Context<Self>) {
        self.is_stopping = true;
        self.stopping.push(done);
        for known in self.servers.values() {
            known.gate.close();
            if let Some(run) = &known.run {
                run.actor.inform(StopServer);
            }
        }
        self.settle();
    }
}
