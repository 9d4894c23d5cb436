//! The gate of a server: calls take leases while it is open, and the scheduler learns when the last one has ended.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix::Message;
use kebne_actors::Recipient;
use kebne_control::Timestamp;
use tokio::{sync::Notify, time::timeout};

use crate::{
    clock::Clock,
    failure::{Failing, FailureKind},
    schedule::{Event, ServerId},
};

/// The error of a call that got no lease.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model server is not loaded: {reason}")]
pub struct NotLoaded {
    /// What it waits for.
    pub reason: String,
    /// The time after which it is expected to serve; `None` if it is not known.
    pub eta: Option<Duration>,
    /// Set if it fails: it may never serve.
    pub failing: Option<Failing>,
}

/// Why a server does not serve, at any time from now on.
pub(crate) struct Away {
    pub(crate) reason: String,
    /// When it is expected to serve.
    pub(crate) ready_at: Option<Timestamp>,
    pub(crate) failing: Option<Trouble>,
}

/// The failures of a server.
pub(crate) struct Trouble {
    pub(crate) kind: Option<FailureKind>,
    pub(crate) times: u32,
    /// When it is started again; `None` while it is being started.
    pub(crate) again_at: Option<Timestamp>,
}

impl Away {
    fn at(&self, now: Timestamp) -> NotLoaded {
        NotLoaded {
            reason: self.reason.clone(),
            eta: self.ready_at.map(|at| at.since(now)),
            failing: self.failing.as_ref().map(|trouble| trouble.at(now)),
        }
    }
}

impl Trouble {
    fn at(&self, now: Timestamp) -> Failing {
        Failing {
            kind: self.kind,
            times: self.times,
            again_in: self.again_at.map(|at| at.since(now)),
        }
    }
}

/// An event of a gate, for the scheduler.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Notice(pub(crate) Event);

/// Where calls take leases of a server.
pub(crate) struct Gate {
    pub(crate) server: ServerId,
    clock: Clock,
    scheduler: Recipient<Notice>,
    state: Mutex<State>,
    opened: Notify,
    /// Notified when a call has met signs that the server does not serve.
    pub(crate) suspected: Arc<Notify>,
}

struct State {
    is_open: bool,
    leases: u32,
    waiting: u32,
    last_used: Timestamp,
    calls: u64,
    away: Away,
}

/// The leases of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leases {
    /// Calls that run.
    pub(crate) held: u32,
    /// Calls that wait.
    pub(crate) waiting: u32,
    /// Calls that have ever begun.
    pub(crate) calls: u64,
    /// When the last call began or ended.
    pub(crate) last_used: Timestamp,
}

impl Gate {
    pub(crate) fn new(server: ServerId, clock: Clock, scheduler: Recipient<Notice>) -> Self {
        Self {
            server,
            clock,
            scheduler,
            state: Mutex::new(State {
                is_open: false,
                leases: 0,
                waiting: 0,
                last_used: clock.now(),
                calls: 0,
                away: Away {
                    reason: "it has not been started".to_owned(),
                    ready_at: None,
                    failing: None,
                },
            }),
            opened: Notify::new(),
            suspected: Arc::default(),
        }
    }

    /// Takes a lease; waits for at most `patience` while the server is not loaded.
    pub(crate) async fn lease(self: &Arc<Self>, patience: Duration) -> Result<Lease, NotLoaded> {
        if let Some(lease) = self.try_lease() {
            return Ok(lease);
        }
        let waits = Waits::begin(self);
        let opened = async {
            loop {
                let notified = self.opened.notified();
                let mut notified = std::pin::pin!(notified);
                // Before the look, so that no opening is missed.
                notified.as_mut().enable();
                if let Some(lease) = self.try_lease() {
                    return lease;
                }
                notified.await;
            }
        };
        let lease = timeout(patience, opened).await;
        drop(waits);
        lease.map_err(|_| self.lock().away.at(self.clock.now()))
    }

    /// Returns how the server fails; `None` if it serves, or is expected to when it is started.
    pub(crate) fn failing(&self) -> Option<Failing> {
        let state = self.lock();
        let trouble = state.away.failing.as_ref().filter(|_| !state.is_open);
        trouble.map(|trouble| trouble.at(self.clock.now()))
    }

    fn try_lease(self: &Arc<Self>) -> Option<Lease> {
        let mut state = self.lock();
        if !state.is_open {
            return None;
        }
        state.leases += 1;
        state.calls += 1;
        state.last_used = self.clock.now();
        Some(Lease {
            gate: Arc::clone(self),
        })
    }

    /// Lets calls in.
    pub(crate) fn open(&self) {
        self.lock().is_open = true;
        self.opened.notify_waiters();
    }

    /// Lets no more calls in. Returns `true` if none is running.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.lock();
        state.is_open = false;
        state.leases == 0
    }

    /// Sets what calls without a lease get.
    pub(crate) fn explain(&self, away: Away) {
        self.lock().away = away;
    }

    pub(crate) fn leases(&self) -> Leases {
        let state = self.lock();
        Leases {
            held: state.leases,
            waiting: state.waiting,
            calls: state.calls,
            last_used: state.last_used,
        }
    }

    /// Sends an event to the scheduler. One that has stopped needs none.
    fn tell(&self, event: Event) {
        let _needless_if_stopped = self.scheduler.tell(Notice(event));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right of one call to use a server: it is not stopped before the lease is dropped.
pub struct Lease {
    gate: Arc<Gate>,
}

impl Lease {
    /// Reports that the server seems not to serve, so that it is checked at once.
    pub fn suspect(&self) {
        self.gate.suspected.notify_one();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (is_last, is_open) = {
            let mut state = self.gate.lock();
            state.leases -= 1;
            state.last_used = self.gate.clock.now();
            (state.leases == 0, state.is_open)
        };
        let server = self.gate.server;
        match (is_last, is_open) {
            (false, _) => {}
            (true, true) => self.gate.tell(Event::Used(server)),
            (true, false) => self.gate.tell(Event::Drained(server)),
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_tuple("Lease")
            .field(&self.gate.server)
            .finish()
    }
}

/// One call that waits.
struct Waits<'a>(&'a Gate);

impl<'a> Waits<'a> {
    fn begin(gate: &'a Gate) -> Self {
        let is_first = {
            let mut state = gate.lock();
            state.waiting += 1;
            state.waiting == 1
        };
        if is_first {
            gate.tell(Event::Wanted(gate.server));
        }
        Self(gate)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let was_last = {
            let mut state = self.0.lock();
            state.waiting -= 1;
            state.waiting == 0
        };
        if was_last {
            self.0.tell(Event::Unwanted(self.0.server));
        }
    }
}
