//! The actor that has runs carried out: it leases them, has an actor for each, and prolongs the leases.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use actix::{Actor, Handler, Message};
use kebne_actors::{ActorRef, Context, Props, Strategy};

use crate::{
    handle::Agents,
    handle::runner::{Halt, Leave, Look, Runner},
    store::{Lease, Renewed, StoreError},
};

/// The first and the longest wait before a restart.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(10));
/// The longest time between two looks for runs: another process may have left some.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Parts of the time of a lease: it is prolonged after one of them, so that two attempts to prolong it may fail.
const LEASE_PARTS: u32 = 3;
/// The most runs that are leased at once.
const CLAIMS_MAX: usize = 256;
/// The time between two removals of what is kept no longer.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// There may be runs to be carried out.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(crate) struct Fill;

/// Somebody has written an event of a run.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(crate) struct Wake(pub(crate) Arc<str>);

/// A run was created with a lease of this process.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(crate) struct Take {
    pub(crate) lease: Lease,
    /// `true` if an agent has started it for another one.
    pub(crate) is_task: bool,
}

/// A run waits for its tasks and does nothing else, or does not any more.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(crate) struct Rests {
    pub(crate) run: Arc<str>,
    pub(crate) fence: u64,
    pub(crate) only_waits: bool,
}

/// No more runs are to be taken, and those that go on are to be given back.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(crate) struct Drain;

/// Asks how many runs go on here.
#[derive(Clone, Message)]
#[rtype(result = "usize")]
pub(crate) struct Count;

/// Leases are to be prolonged.
#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Renew;

/// What is kept no longer is to be removed.
#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Sweep;

#[derive(Message)]
#[rtype(result = "()")]
struct Claimed(Result<Vec<Lease>, StoreError>);

#[derive(Message)]
#[rtype(result = "()")]
struct Prolonged(Vec<Lease>, Result<Vec<Renewed>, StoreError>);

/// The actor of a run has stopped.
#[derive(Message)]
#[rtype(result = "()")]
struct Gone(Arc<str>, u64);

/// It was looked whether a run whose actor has stopped has ended.
#[derive(Message)]
#[rtype(result = "()")]
struct Settled;

/// Whether runs are being leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claiming {
    Idle,
    Busy,
    /// They are, and more were asked for meanwhile.
    Woken,
}

struct Living {
    lease: Lease,
    runner: ActorRef<Runner>,
    seq: u64,
    /// `true` while it only waits for its tasks, which need the place that it would have.
    rests: bool,
}

/// The actor.
pub(crate) struct Manager {
    agents: Agents,
    living: HashMap<Arc<str>, Living>,
    /// Leases of runs that were created here and have no place yet; tasks are before others.
    waiting: VecDeque<Lease>,
    /// `true` if the next place is for a run of the store, so that those that wait here and those take turns.
    is_stores_turn: bool,
    claiming: Claiming,
    is_prolonging: bool,
    is_draining: bool,
}

impl Manager {
    /// Returns the props of the actor, which restarts without a limit and with a backoff. Its runners are its children: they are stopped then, and their
    /// runs are leased again when the leases have passed.
    pub(crate) fn props(agents: &Agents) -> Props<Self> {
        let agents = agents.clone();
        let thread = agents.thread();
        let create = move || Self {
            agents: agents.clone(),
            living: HashMap::new(),
            waiting: VecDeque::new(),
            is_stores_turn: false,
            claiming: Claiming::Idle,
            is_prolonging: false,
            is_draining: false,
        };
        Props::new(create)
            .supervise(Strategy::restart().with_backoff(BACKOFF.0, BACKOFF.1))
            .mailbox(65_536)
            .on_arbiter(thread)
    }

    /// Returns how many more runs may go on. Those that only wait for their tasks do not count: otherwise the tasks would wait for their places.
    fn room(&self) -> usize {
        let busy = self.living.values().filter(|living| !living.rests).count();
        self.agents.settings().at_once.saturating_sub(busy)
    }

    /// Gives the free places to runs.
    fn fill(&mut self, ctx: &mut Context<Self>) {
        while self.room() > 0 && (self.is_draining || !self.is_stores_turn) {
            let Some(lease) = self.waiting.pop_front() else {
                break;
            };
            self.is_stores_turn = true;
            self.begin(lease, ctx);
        }
        self.claim(ctx);
    }

    fn claim(&mut self, ctx: &mut Context<Self>) {
        let most = if self.waiting.is_empty() {
            CLAIMS_MAX
        } else {
            1
        };
        let room = self.room().min(most);
        if self.claiming != Claiming::Idle {
            self.claiming = Claiming::Woken;
            return;
        }
        if self.is_draining || room == 0 {
            return;
        }
        self.claiming = Claiming::Busy;
        let agents = self.agents.clone();
        let claim = async move {
            let now = agents.now();
            agents.store().claim(room, now, agents.until(now)).await
        };
        ctx.pipe_to_self(claim, Claimed);
    }

    fn begin(&mut self, lease: Lease, ctx: &mut Context<Self>) {
        let (id, fence) = (Arc::clone(&lease.id), lease.fence);
        let is_newer = |living: &Living| living.lease.fence > fence;
        if self.living.get(&id).is_some_and(is_newer) {
            // It waited here for so long that its lease has passed.
            return;
        }
        let props = Runner::props(&self.agents, lease.clone());
        let runner = ctx.spawn_anonymous_child(props);
        ctx.watch_with(&runner, Gone(Arc::clone(&id), fence));
        let living = Living {
            lease,
            runner,
            seq: 0,
            rests: false,
        };
        if self.is_draining {
            living.runner.post(Halt);
        }
        self.living.insert(id, living);
        self.agents.counts().set_running(self.living.len());
    }
}

impl Actor for Manager {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.claim(ctx);
        let part = self.agents.settings().lease.0 / LEASE_PARTS;
        ctx.start_timer_with_fixed_delay("look", Fill, LOOK_EVERY.min(part));
        ctx.start_timer_with_fixed_delay("renew", Renew, part);
        ctx.start_timer_with_fixed_delay("sweep", Sweep, SWEEP_EVERY);
    }
}

impl Handler<Fill> for Manager {
    type Result = ();

    fn handle(&mut self, _: Fill, ctx: &mut Context<Self>) {
        self.fill(ctx);
    }
}

impl Handler<Take> for Manager {
    type Result = ();

    fn handle(&mut self, Take { lease, is_task }: Take, ctx: &mut Context<Self>) {
        if is_task {
            self.waiting.push_front(lease);
        } else {
            self.waiting.push_back(lease);
        }
        self.fill(ctx);
    }
}

impl Handler<Rests> for Manager {
    type Result = ();

    fn handle(
        &mut self,
        Rests {
            run,
            fence,
            only_waits,
        }: Rests,
        ctx: &mut Context<Self>,
    ) {
        let Some(living) = self.living.get_mut(&run) else {
            return;
        };
        if living.lease.fence != fence || living.rests == only_waits {
            return;
        }
        living.rests = only_waits;
        if only_waits {
            self.fill(ctx);
        }
    }
}

impl Handler<Wake> for Manager {
    type Result = ();

    fn handle(&mut self, Wake(id): Wake, ctx: &mut Context<Self>) {
        if let Some(living) = self.living.get(&id) {
            living.runner.post(Look);
            return;
        }
        // Nobody decides on a run that has not begun: it is to be cancelled, for which it needs no place.
        if let Some(at) = self.waiting.iter().position(|lease| lease.id == id)
            && let Some(lease) = self.waiting.remove(at)
        {
            self.begin(lease, ctx);
        }
        self.fill(ctx);
    }
}

impl Handler<Drain> for Manager {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Context<Self>) {
        self.is_draining = true;
        for living in self.living.values() {
            living.runner.post(Halt);
        }
    }
}

impl Handler<Count> for Manager {
    type Result = usize;

    fn handle(&mut self, _: Count, _: &mut Context<Self>) -> usize {
        self.living.len() + self.waiting.len()
    }
}

impl Handler<Claimed> for Manager {
    type Result = ();

    fn handle(&mut self, Claimed(claimed): Claimed, ctx: &mut Context<Self>) {
        let is_woken = std::mem::replace(&mut self.claiming, Claiming::Idle) == Claiming::Woken;
        self.is_stores_turn = false;
        match claimed {
            Ok(leases) => {
                let were_many = leases.len() == CLAIMS_MAX;
                for lease in leases {
                    self.begin(lease, ctx);
                }
                if is_woken || were_many || !self.waiting.is_empty() {
                    self.fill(ctx);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "runs of agents cannot be taken now");
                // The next look tries again. Those that wait here go on.
                while self.room() > 0
                    && let Some(lease) = self.waiting.pop_front()
                {
                    self.begin(lease, ctx);
                }
            }
        }
    }
}

impl Handler<Renew> for Manager {
    type Result = ();

    fn handle(&mut self, _: Renew, ctx: &mut Context<Self>) {
        if self.is_prolonging || self.living.is_empty() && self.waiting.is_empty() {
            return;
        }
        self.is_prolonging = true;
        let living = self.living.values().map(|one| &one.lease);
        let leases: Vec<Lease> = living.chain(&self.waiting).cloned().collect();
        let (agents, asked) = (self.agents.clone(), leases.clone());
        let renew = async move {
            let until = agents.until(agents.now());
            agents.store().renew(asked, until).await
        };
        ctx.pipe_to_self(renew, move |renewed| Prolonged(leases, renewed));
    }
}

impl Handler<Prolonged> for Manager {
    type Result = ();

    fn handle(&mut self, Prolonged(leases, renewed): Prolonged, _: &mut Context<Self>) {
        self.is_prolonging = false;
        for (lease, renewed) in leases.iter().zip(renewed.unwrap_or_default()) {
            let Some(living) = self.living.get_mut(&lease.id) else {
                if renewed == Renewed::Lost {
                    self.waiting.retain(|waiting| waiting != lease);
                }
                continue;
            };
            if living.lease != *lease {
                continue;
            }
            match renewed {
                // Another process may have written a decision.
                Renewed::Held(seq) if seq > living.seq => {
                    living.seq = seq;
                    living.runner.post(Look);
                }
                Renewed::Held(_) => {}
                Renewed::Lost => living.runner.post(Leave),
            }
        }
    }
}

impl Handler<Gone> for Manager {
    type Result = ();

    fn handle(&mut self, Gone(id, fence): Gone, ctx: &mut Context<Self>) {
        let is_same = |living: &Living| living.lease.fence == fence;
        if !self.living.get(&id).is_some_and(is_same) {
            return;
        }
        let Some(gone) = self.living.remove(&id) else {
            return;
        };
        self.agents.counts().set_running(self.living.len());
        let agents = self.agents.clone();
        // One that has failed too often has not given its lease back.
        let settle = async move { agents.settle(&gone.lease).await };
        ctx.pipe_to_self(settle, |()| Settled);
    }
}

impl Handler<Settled> for Manager {
    type Result = ();

    fn handle(&mut self, _: Settled, ctx: &mut Context<Self>) {
        self.fill(ctx);
    }
}

impl Handler<Sweep> for Manager {
    type Result = ();

    fn handle(&mut self, _: Sweep, ctx: &mut Context<Self>) {
        let agents = self.agents.clone();
        let sweep = async move {
            let kept = agents.settings().retention.0;
            let kept = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
            let before = agents.now().saturating_sub(kept);
            // There may be more than one step removes.
            while let Ok(removed) = agents.store().sweep(before).await
                && removed > 0
            {
                tracing::debug!(removed, "runs of agents are kept no longer");
            }
        };
        ctx.pipe_to_self(sweep, |()| Settled);
    }
}

impl std::fmt::Debug for Manager {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Manager").finish_non_exhaustive()
    }
}
