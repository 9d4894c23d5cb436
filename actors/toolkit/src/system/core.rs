//! The part of an actor that outlives its incarnations and that others may reach.

use std::{
    any::Any,
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use actix::Actor;
use tokio_util::sync::CancellationToken;

use super::{
    catch::guard,
    dead_letters::{DeadLetters, Undelivered},
    envelope::Envelope,
    mailbox::{Bounds, Mailbox, OfferError, Offered},
    report::{ActorReport, ActorState},
    watch::{StopCause, Terminated},
};

/// The number of bytes of a failure that are kept for the report.
const FAILURE_MAX: usize = 300;

/// What a cell attends to besides messages.
#[derive(Debug)]
pub(crate) enum Signal {
    Stop,
    Overflow,
    /// An actor watched with `watch_or_die` has stopped; ignored if the watch has ended.
    DeathPact {
        terminated: Terminated,
        id: u64,
        active: Arc<AtomicBool>,
    },
    /// A piped future panicked; it belonged to the incarnation after this number of restarts.
    TaskPanicked {
        restarts: u32,
        message: String,
    },
    ChildStopped {
        id: u64,
    },
    ChildEscalated {
        path: Arc<str>,
        message: String,
    },
}

impl Signal {
    /// Returns `true` if two of them say no more than one.
    fn is_repeatable(&self) -> bool {
        matches!(self, Self::Stop | Self::Overflow)
    }

    fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// The parent of an actor: notified when a child stops or escalates.
pub(crate) trait Parent: Send + Sync {
    fn child_stopped(&self, id: u64);
    fn child_escalated(&self, path: Arc<str>, message: &str);
    /// Returns what an actor spawned now is registered as.
    fn kind(&self) -> ParentKind {
        ParentKind::Actor
    }
}

/// What an actor's parent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParentKind {
    /// `/user` itself, which takes no more actors once the system terminates.
    Guardian,
    /// An actor, which stops its children before it stops.
    Actor,
    /// An actor that has stopped its children and ends; it would not stop one more.
    Ending,
}

/// A cell as its parent and the system see it.
pub(crate) trait AnyCell: Send + Sync {
    fn id(&self) -> u64;
    fn path(&self) -> &Arc<str>;
    fn request_stop(&self);
    fn stopped(&self) -> &CancellationToken;
    fn report(&self) -> ActorReport;
    /// How many messages wait or are in work.
    fn load(&self) -> usize;
    /// How many of its answers are futures that have not ended.
    fn in_flight(&self) -> &AtomicUsize;
    /// Wakes the cell.
    fn wake(&self);
    /// Calls `watcher` once when the actor stops, at once if it has stopped.
    fn watched_by(&self, key: u64, watcher: Watcher);
    /// Forgets the watcher of that key.
    fn unwatched_by(&self, key: u64);
    /// How many watch it.
    #[cfg(test)]
    fn watchers(&self) -> usize;
    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

pub(crate) type Watcher = Box<dyn FnOnce(Terminated) + Send>;

/// The part of an actor that outlives its incarnations and that others may reach.
pub(crate) struct Core<A: Actor> {
    pub(crate) id: u64,
    pub(crate) path: Arc<str>,
    pub(crate) mailbox: Mailbox<A>,
    pub(crate) restarts: AtomicU32,
    /// Messages that were handled; only the cell writes it.
    handled: AtomicU64,
    /// The last failure, shortened.
    last_failure: Mutex<Option<Arc<str>>>,
    state: AtomicU8,
    signals: Mutex<VecDeque<Signal>>,
    /// Set with each signal, so that a turn without signals takes no lock.
    signalled: AtomicBool,
    stopped: CancellationToken,
    /// A tell is in the actor's hands, or a `ctx.wait` that it began.
    busy: AtomicBool,
    /// Answers that are futures and have not ended.
    in_flight: AtomicUsize,
    /// Asks that the actor has taken and not answered.
    pub(crate) asks_in_work: Arc<AtomicUsize>,
    /// Why it stopped; `None` while it lives. Guards `watchers` against a late watch.
    watchers: Mutex<Watchers>,
    dead_letters: Arc<DeadLetters>,
}

#[derive(Default)]
struct Watchers {
    ended: Option<StopCause>,
    waiting: BTreeMap<u64, Watcher>,
}

impl<A: Actor> Core<A> {
    pub(crate) fn new(
        id: u64,
        path: Arc<str>,
        bounds: Bounds,
        dead_letters: Arc<DeadLetters>,
    ) -> Self {
        Self {
            id,
            path,
            mailbox: Mailbox::new(bounds),
            restarts: AtomicU32::new(0),
            handled: AtomicU64::new(0),
            last_failure: Mutex::new(None),
            state: AtomicU8::new(ActorState::Starting as u8),
            signals: Mutex::new(VecDeque::new()),
            signalled: AtomicBool::new(false),
            stopped: CancellationToken::new(),
            busy: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            asks_in_work: Arc::default(),
            watchers: Mutex::default(),
            dead_letters,
        }
    }

    pub(crate) fn set_state(&self, state: ActorState) {
        self.state.store(state as u8, SeqCst);
    }

    pub(crate) fn state(&self) -> ActorState {
        ActorState::from_number(self.state.load(SeqCst))
    }

    /// Notes a failure for the report.
    pub(crate) fn note_failure(&self, message: &str) {
        let end = message.floor_char_boundary(FAILURE_MAX);
        *lock(&self.last_failure) = Some(Arc::from(&message[..end]));
    }

    /// Notes whether a tell is in work; only a load is made of it, so that no order is needed.
    pub(crate) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Relaxed);
    }

    /// Counts a message that was handled. Only the thread of the actor writes the count, so no atomic addition is needed.
    pub(crate) fn note_handled(&self) {
        let handled = self.handled.load(Relaxed);
        self.handled.store(handled.wrapping_add(1), Relaxed);
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Relaxed)
    }

    /// Queues a signal, which the cell attends to before its next message. A second stop or overflow is dropped, and so
    /// is a signal to a stopped actor, so that signals do not pile up.
    pub(crate) fn signal(&self, signal: Signal) {
        {
            let mut signals = lock(&self.signals);
            let is_repeated = signal.is_repeatable() && signals.iter().any(|s| s.is_like(&signal));
            if is_repeated || self.state() == ActorState::Stopped {
                return;
            }
            signals.push_back(signal);
            self.signalled.store(true, SeqCst);
        }
        self.mailbox.wake();
    }

    /// Returns how many signals wait.
    #[cfg(test)]
    pub(crate) fn signals_waiting(&self) -> usize {
        lock(&self.signals).len()
    }

    pub(crate) fn take_signal(&self) -> Option<Signal> {
        if !self.signalled.load(SeqCst) {
            return None;
        }
        let mut signals = lock(&self.signals);
        let signal = signals.pop_front();
        self.signalled.store(!signals.is_empty(), SeqCst);
        signal
    }

    /// Calls `watcher` once when the actor stops, at once if it has stopped.
    pub(crate) fn add_watcher(&self, key: u64, watcher: Watcher) {
        let mut watchers = lock(&self.watchers);
        match watchers.ended.clone() {
            None => {
                watchers.waiting.insert(key, watcher);
            }
            Some(cause) => {
                drop(watchers);
                watcher(Terminated {
                    path: Arc::clone(&self.path),
                    cause,
                });
            }
        }
    }

    pub(crate) fn remove_watcher(&self, key: u64) {
        lock(&self.watchers).waiting.remove(&key);
    }

    /// Ends the actor: closes its mailbox and notifies its watchers.
    pub(crate) fn end(&self, cause: &StopCause) {
        {
            let mut signals = lock(&self.signals);
            self.set_state(ActorState::Stopped);
            signals.clear();
        }
        for envelope in self.mailbox.close() {
            self.dead_letter(envelope, Undelivered::Stopped);
        }
        let waiting = {
            let mut watchers = lock(&self.watchers);
            watchers.ended = Some(cause.clone());
            std::mem::take(&mut watchers.waiting)
        };
        self.stopped.cancel();
        for watcher in waiting.into_values() {
            let terminated = Terminated {
                path: Arc::clone(&self.path),
                cause: cause.clone(),
            };
            // A watcher may be a function of the application's.
            guard(&self.path, || watcher(terminated));
        }
    }

    /// Drops a message that will not be handled, and notes it as a dead letter.
    pub(crate) fn dead_letter(&self, envelope: Envelope<A>, reason: Undelivered) {
        let kind = envelope.kind();
        guard(&self.path, || envelope.abandon(reason));
        self.dead_letters.note(&self.path, kind, reason);
    }

    /// Notes what an offer refused or evicted as dead letters.
    pub(crate) fn settle(&self, offered: Offered<A>) -> Result<(), OfferError> {
        for envelope in offered.evicted {
            self.dead_letter(envelope, Undelivered::Dropped);
        }
        let Some((error, envelope)) = offered.refused else {
            return Ok(());
        };
        let reason = match error {
            OfferError::Closed => Undelivered::Stopped,
            OfferError::Full | OfferError::Restarting | OfferError::Failed => Undelivered::Dropped,
        };
        self.dead_letter(envelope, reason);
        if error == OfferError::Failed {
            self.signal(Signal::Overflow);
        }
        Err(error)
    }
}

impl<A: Actor> AnyCell for Core<A> {
    fn id(&self) -> u64 {
        self.id
    }

    fn path(&self) -> &Arc<str> {
        &self.path
    }

    fn request_stop(&self) {
        self.signal(Signal::Stop);
    }

    fn stopped(&self) -> &CancellationToken {
        &self.stopped
    }

    fn report(&self) -> ActorReport {
        ActorReport {
            path: Arc::clone(&self.path),
            state: self.state(),
            restarts: self.restarts.load(SeqCst),
            mailbox: self.mailbox.len(),
            handled: self.handled.load(Relaxed),
            last_failure: lock(&self.last_failure).clone(),
        }
    }

    fn load(&self) -> usize {
        let in_work = usize::from(self.is_busy()) + self.asks_in_work.load(SeqCst);
        self.mailbox.len() + in_work
    }

    fn in_flight(&self) -> &AtomicUsize {
        &self.in_flight
    }

    fn wake(&self) {
        self.mailbox.wake();
    }

    fn watched_by(&self, key: u64, watcher: Watcher) {
        self.add_watcher(key, watcher);
    }

    fn unwatched_by(&self, key: u64) {
        self.remove_watcher(key);
    }

    #[cfg(test)]
    fn watchers(&self) -> usize {
        lock(&self.watchers).waiting.len()
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl<A: Actor> Parent for Core<A> {
    fn child_stopped(&self, id: u64) {
        self.signal(Signal::ChildStopped { id });
    }

    fn child_escalated(&self, path: Arc<str>, message: &str) {
        let message = message.to_owned();
        self.signal(Signal::ChildEscalated { path, message });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
