//! How an actor is reached: a reference that survives its restarts, and a recipient of one message type.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU8, AtomicU32, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use actix::{Actor, Handler, Message};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    dead_letters::DeadLetters,
    envelope::{Ask, Envelope, Fate, Tell, Watched},
    mailbox::{Mailbox, Offered, Overflow, PRIORITY_NORMAL},
    report::{ActorReport, ActorState},
    watch::{StopCause, Terminated},
};

/// What became of an offered message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Offer {
    /// It waits in the mailbox.
    Enqueued,
    /// The mailbox is full: it was dropped.
    Dropped,
    /// The actor has stopped.
    Closed,
    /// The overflow strategy failed the mailbox.
    Failed,
}

impl Offer {
    /// Says whether the message waits in the mailbox.
    pub fn is_enqueued(self) -> bool {
        self == Self::Enqueued
    }
}

/// Why an ask has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The actor has stopped; the message was not handled.
    #[error("the actor has stopped")]
    Stopped,
    /// The mailbox is full while the actor waits for its restart; the message was not handled, so that
    /// it is safe to try again.
    #[error("the actor is restarting and its mailbox is full")]
    Restarting,
    /// The handler failed, or dropped the answer.
    #[error("the actor failed to answer")]
    Failed,
    /// No answer in time; the message may still be handled, unless it has not begun.
    #[error("the actor did not answer in time")]
    TimedOut,
    /// The mailbox is full; the message was not handled.
    #[error("the mailbox is full")]
    MailboxFull,
}

/// What a cell is told besides messages.
#[derive(Debug)]
pub(crate) enum Signal {
    Stop,
    Overflow,
    DeathPact(Terminated),
    ChildStopped { id: u64 },
    ChildEscalated { path: Arc<str>, message: String },
}

/// Who hears that a child stopped or escalated.
pub(crate) trait Parent: Send + Sync {
    fn child_stopped(&self, id: u64);
    fn child_escalated(&self, path: Arc<str>, message: &str);
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
    /// Has `watcher` called once when the actor stops, at once when it already has.
    fn watched_by(&self, key: u64, watcher: Watcher);
}

pub(crate) type Watcher = Box<dyn FnOnce(Terminated) + Send>;

/// The part of an actor that outlives its incarnations and that others may reach.
pub(crate) struct Core<A: Actor> {
    pub(crate) id: u64,
    pub(crate) path: Arc<str>,
    pub(crate) mailbox: Mailbox<A>,
    pub(crate) restarts: AtomicU32,
    state: AtomicU8,
    signals: Mutex<VecDeque<Signal>>,
    /// Set with each signal, so that a turn without signals takes no lock.
    signalled: AtomicBool,
    stopped: CancellationToken,
    /// A tell is in the actor's hands, or a `ctx.wait` that it began.
    busy: AtomicBool,
    /// Asks that the actor has taken and not answered.
    asks_in_work: Arc<AtomicUsize>,
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
        (capacity, overflow): (usize, Overflow),
        dead_letters: Arc<DeadLetters>,
    ) -> Self {
        Self {
            id,
            path,
            mailbox: Mailbox::new(capacity, overflow),
            restarts: AtomicU32::new(0),
            state: AtomicU8::new(ActorState::Starting as u8),
            signals: Mutex::new(VecDeque::new()),
            signalled: AtomicBool::new(false),
            stopped: CancellationToken::new(),
            busy: AtomicBool::new(false),
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

    /// Notes whether a tell is in work; only a load is made of it, so that no order is needed.
    pub(crate) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Relaxed);
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Relaxed)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        lock(&self.signals).push_back(signal);
        self.signalled.store(true, SeqCst);
        self.mailbox.wake();
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

    /// Has `watcher` called once when the actor stops, at once when it already has.
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

    /// Ends the actor for everyone who can reach it.
    pub(crate) fn end(&self, cause: &StopCause) {
        self.set_state(ActorState::Stopped);
        for envelope in self.mailbox.close() {
            self.dead_letter(envelope);
        }
        let waiting = {
            let mut watchers = lock(&self.watchers);
            watchers.ended = Some(cause.clone());
            std::mem::take(&mut watchers.waiting)
        };
        self.stopped.cancel();
        for watcher in waiting.into_values() {
            watcher(Terminated {
                path: Arc::clone(&self.path),
                cause: cause.clone(),
            });
        }
    }

    fn dead_letter(&self, envelope: Envelope<A>) {
        let message = envelope.type_name();
        envelope.abandon();
        self.dead_letters.note(&self.path, message);
    }

    /// Sees to what an offer left over.
    fn settle(&self, offered: Offered<A>) -> Offer {
        for envelope in offered.evicted {
            self.dead_letter(envelope);
        }
        let Some((offer, envelope)) = offered.refused else {
            return Offer::Enqueued;
        };
        self.dead_letter(envelope);
        if offer == Offer::Failed {
            self.signal(Signal::Overflow);
        }
        offer
    }

    /// Tells a watcher on the control lane.
    pub(crate) fn tell_watcher<M>(&self, message: M, active: Arc<AtomicBool>)
    where
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let watched = Box::new(Watched { message, active });
        let _a_stopped_watcher_needs_no_news = self.mailbox.offer_control(watched);
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
        }
    }

    fn load(&self) -> usize {
        let in_work = usize::from(self.is_busy()) + self.asks_in_work.load(SeqCst);
        self.mailbox.len() + in_work
    }

    fn watched_by(&self, key: u64, watcher: Watcher) {
        self.add_watcher(key, watcher);
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

/// A reference to an actor: cheap to clone, usable from any thread, valid across restarts.
pub struct ActorRef<A: Actor> {
    pub(crate) core: Arc<Core<A>>,
}

impl<A: Actor> ActorRef<A> {
    /// Offers a message; never waits.
    pub fn tell<M>(&self, message: M) -> Offer
    where
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        self.tell_with_priority(message, PRIORITY_NORMAL)
    }

    /// Offers a message that goes before those of lower priority (a tell's is [`PRIORITY_NORMAL`]) and
    /// behind those of the same.
    pub fn tell_with_priority<M>(&self, message: M, priority: u8) -> Offer
    where
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let mailbox = &self.core.mailbox;
        self.core
            .settle(mailbox.offer(priority, Box::new(Tell(message))))
    }

    /// Offers a message; waits for room when the mailbox is full and its overflow strategy is
    /// backpressure.
    pub async fn offer<M>(&self, message: M) -> Offer
    where
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let mailbox = &self.core.mailbox;
        let offered = mailbox.offer_waiting(PRIORITY_NORMAL, Box::new(Tell(message)));
        self.core.settle(offered.await)
    }

    /// Offers a message to the control lane, which never waits behind work and has no bound of its own:
    /// only for messages whose number is bounded by something else.
    pub fn control<M>(&self, message: M) -> Offer
    where
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let mailbox = &self.core.mailbox;
        self.core
            .settle(mailbox.offer_control(Box::new(Tell(message))))
    }

    /// Offers a message to the control lane where a receiver that has stopped makes it needless.
    pub fn inform<M>(&self, message: M)
    where
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let _needless_if_closed = self.control(message);
    }

    /// Sends a message and waits for its answer, at most for `timeout`. When this future is dropped
    /// before the actor got to the message, the message is skipped.
    ///
    /// # Errors
    /// Says why there is no answer, and so whether a new try is safe: see [`AskError`].
    pub async fn ask<M>(&self, message: M, timeout: Duration) -> Result<M::Result, AskError>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.ask_by(message, timeout, false).await
    }

    /// Asks through the control lane.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask_control<M>(&self, message: M, timeout: Duration) -> Result<M::Result, AskError>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.ask_by(message, timeout, true).await
    }

    async fn ask_by<M>(
        &self,
        message: M,
        timeout: Duration,
        control: bool,
    ) -> Result<M::Result, AskError>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let (answer, answered) = oneshot::channel();
        let fate = Arc::new(Fate::new(Arc::clone(&self.core.asks_in_work)));
        // Cancelled however this future ends, which after an answer interests nobody.
        let _given_up = fate.given_up.clone().drop_guard();
        let envelope = Box::new(Ask {
            message,
            answer,
            fate: Arc::clone(&fate),
        });
        let asked = async {
            let mailbox = &self.core.mailbox;
            let offered = if control {
                mailbox.offer_control(envelope)
            } else {
                mailbox.offer_waiting(PRIORITY_NORMAL, envelope).await
            };
            match self.core.settle(offered) {
                Offer::Enqueued => {}
                Offer::Closed => return Err(AskError::Stopped),
                Offer::Dropped | Offer::Failed => {
                    return Err(if self.core.state() == ActorState::Restarting {
                        AskError::Restarting
                    } else {
                        AskError::MailboxFull
                    });
                }
            }
            match answered.await {
                Ok(answer) => Ok(answer),
                Err(_) if fate.was_begun() => Err(AskError::Failed),
                Err(_) if self.is_alive() => Err(AskError::MailboxFull),
                Err(_) => Err(AskError::Stopped),
            }
        };
        let answered = tokio::time::timeout(timeout, asked).await;
        answered.unwrap_or(Err(AskError::TimedOut))
    }

    /// Returns a recipient of one message type, which says nothing of who receives it.
    pub fn recipient<M>(&self) -> Recipient<M>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let myself = self.clone();
        Recipient(Arc::new(move |message| myself.tell(message)))
    }

    /// Returns a recipient that uses the control lane.
    pub fn control_recipient<M>(&self) -> Recipient<M>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let myself = self.clone();
        Recipient(Arc::new(move |message| myself.control(message)))
    }

    /// Asks the actor to stop after the message it handles now.
    pub fn stop(&self) {
        self.core.request_stop();
    }

    /// Says whether the actor has not stopped.
    pub fn is_alive(&self) -> bool {
        !self.core.stopped().is_cancelled()
    }

    /// Waits until the actor has stopped.
    pub async fn when_stopped(&self) {
        self.core.stopped().cancelled().await;
    }

    /// Returns the path, such as `/user/lane-x/worker-3`.
    pub fn path(&self) -> &str {
        &self.core.path
    }

    /// Returns the actor as the tree shows it.
    pub fn report(&self) -> ActorReport {
        self.core.report()
    }
}

impl<A: Actor> Clone for ActorRef<A> {
    fn clone(&self) -> Self {
        Self {
            core: Arc::clone(&self.core),
        }
    }
}

impl<A: Actor> PartialEq for ActorRef<A> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.core, &other.core)
    }
}

impl<A: Actor> Eq for ActorRef<A> {}

impl<A: Actor> fmt::Debug for ActorRef<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("ActorRef")
            .field(&self.core.path)
            .finish()
    }
}

/// Receives one type of message; who stands behind it is not said.
pub struct Recipient<M>(Arc<dyn Fn(M) -> Offer + Send + Sync>);

impl<M> Recipient<M> {
    /// Makes a recipient of a function, for tests and for things that are no actors.
    pub fn new(receive: impl Fn(M) -> Offer + Send + Sync + 'static) -> Self {
        Self(Arc::new(receive))
    }

    /// Offers a message; never waits.
    pub fn tell(&self, message: M) -> Offer {
        (self.0)(message)
    }
}

impl<M> Clone for Recipient<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> fmt::Debug for Recipient<M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Recipient").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
