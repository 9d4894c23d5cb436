//! What an actor can do: `type Context = kebne_actors::system::Context<Self>` in place of actix's.

use std::{
    cell::{OnceCell, RefCell},
    collections::{BTreeMap, VecDeque},
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::{
    Actor, ActorContext, ActorFuture, Addr, AsyncContext, Handler, Message, SpawnHandle,
    dev::{
        Envelope as ActixEnvelope, EnvelopeProxy, Mailbox as ActixMailbox, MessageResponse,
        ToEnvelope,
    },
};
use tokio::{sync::oneshot, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    ActorSystem,
    actor_ref::{ActorRef, AnyCell, Core, Signal},
    envelope::{Envelope, Tell},
    items::Items,
    message_ref::MessageRef,
    props::{Props, launch},
    strategy::Fault,
    timers::{Key, Repeat, Timers},
    watch::Terminated,
};

/// Messages taken from one of actix's own addresses before others have their turn.
const BRIDGE_CAPACITY: usize = 16;

/// A way for actix's own `Addr` to reach the actor; it lives as long as the cell.
pub(crate) struct Bridge<A>
where
    A: Actor<Context = Context<A>>,
{
    address: OnceCell<Addr<A>>,
    pub(crate) mailbox: RefCell<Option<ActixMailbox<A>>>,
}

/// The context of one incarnation of an actor.
pub struct Context<A>
where
    A: Actor<Context = Context<A>>,
{
    pub(crate) core: Arc<Core<A>>,
    pub(crate) system: ActorSystem,
    pub(crate) failure: Option<Fault>,
    pub(crate) stopping: bool,
    pub(crate) items: Items<A>,
    pub(crate) waits: VecDeque<Pin<Box<dyn ActorFuture<A, Output = ()>>>>,
    pub(crate) timers: Timers<A>,
    pub(crate) receive_timeout: Option<Duration>,
    pub(crate) stash: VecDeque<Envelope<A>>,
    stash_max: usize,
    pub(crate) children: BTreeMap<u64, Arc<dyn AnyCell>>,
    pub(crate) bridge: Rc<Bridge<A>>,
    pub(crate) spent: usize,
    pub(crate) throughput: usize,
    /// Whom this actor watches; kept across restarts.
    pub(crate) watching: BTreeMap<u64, Arc<AtomicBool>>,
    /// Cancelled when whoever asked for the message in hand gives up.
    pub(crate) asker: Option<CancellationToken>,
}

/// The key of the receive timeout among the timers; no user's key starts with a NUL.
const RECEIVE_TIMEOUT: &str = "\0receive-timeout";

impl<A> Context<A>
where
    A: Actor<Context = Context<A>>,
{
    pub(crate) fn new(
        core: Arc<Core<A>>,
        system: ActorSystem,
        bridge: Rc<Bridge<A>>,
        throughput: usize,
        stash_max: usize,
    ) -> Self {
        Self {
            core,
            system,
            failure: None,
            stopping: false,
            items: Items::new(),
            waits: VecDeque::new(),
            timers: Timers::new(),
            receive_timeout: None,
            stash: VecDeque::new(),
            stash_max,
            children: BTreeMap::new(),
            bridge,
            spent: 0,
            throughput,
            watching: BTreeMap::new(),
            asker: None,
        }
    }

    /// Returns a reference to this actor.
    pub fn self_ref(&self) -> ActorRef<A> {
        ActorRef {
            core: Arc::clone(&self.core),
        }
    }

    /// Returns this actor's path, such as `/user/lane-x/worker-3`.
    pub fn path(&self) -> &str {
        &self.core.path
    }

    /// Returns the system that this actor belongs to.
    pub fn system(&self) -> &ActorSystem {
        &self.system
    }

    /// Fails: after this handler the strategy decides what follows. The first failure of a turn counts.
    pub fn fail(&mut self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) {
        self.failure
            .get_or_insert_with(|| Fault::Error(error.into()));
    }

    /// Stops this actor after this handler: children first, then `stopped`.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Spawns a child, by default on this actor's thread. It is stopped before this actor stops or
    /// restarts. A name that a living child bears gets a number appended.
    pub fn spawn_child<C>(&mut self, props: Props<C>, name: &str) -> ActorRef<C>
    where
        C: Actor<Context = Context<C>>,
    {
        let path = format!("{}/{name}", self.core.path);
        let taken = self.children.values().any(|child| **child.path() == *path);
        let parent = Arc::clone(&self.core);
        let child = launch(&self.system, parent, &path, taken, props);
        self.children
            .insert(child.core.id, Arc::clone(&child.core) as Arc<dyn AnyCell>);
        child
    }

    /// Asks a child to stop; says whether it is one.
    pub fn stop_child<C: Actor>(&mut self, child: &ActorRef<C>) -> bool {
        let known = self.children.get(&child.core.id);
        known.inspect(|cell| cell.request_stop()).is_some()
    }

    /// Returns the paths of the living children.
    pub fn children(&self) -> impl Iterator<Item = &str> {
        self.children.values().map(|child| &**child.path())
    }

    /// Has this actor told once when `other` stops (not at a restart); at once when it already has.
    /// Watching the same actor again replaces the watch.
    pub fn watch<C>(&mut self, other: &ActorRef<C>)
    where
        C: Actor,
        A: Handler<Terminated>,
    {
        let active = self.begin_watch(other.core.id);
        let core = Arc::clone(&self.core);
        let watcher = Box::new(move |terminated| core.tell_watcher(terminated, active));
        other.core.add_watcher(self.core.id, watcher);
    }

    /// As [`Context::watch`], with a message of one's own.
    pub fn watch_with<C, M>(&mut self, other: &ActorRef<C>, message: M)
    where
        C: Actor,
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let active = self.begin_watch(other.core.id);
        let core = Arc::clone(&self.core);
        let watcher = Box::new(move |_| core.tell_watcher(message, active));
        other.core.add_watcher(self.core.id, watcher);
    }

    /// As [`Context::watch_with`], of an actor of which one message type is known.
    pub fn watch_narrow<N, M>(&mut self, other: &MessageRef<N>, message: M)
    where
        N: Message + 'static,
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let active = self.begin_watch(other.id());
        let core = Arc::clone(&self.core);
        let watcher = Box::new(move |_| core.tell_watcher(message, active));
        other.cell().watched_by(self.core.id, watcher);
    }

    /// Has this actor fail when `other` stops: a death pact, which Akka makes of each unhandled
    /// `Terminated`.
    pub fn watch_or_die<C: Actor>(&mut self, other: &ActorRef<C>) {
        let active = self.begin_watch(other.core.id);
        let core = Arc::clone(&self.core);
        let watcher = Box::new(move |terminated| {
            if active.load(SeqCst) {
                core.signal(Signal::DeathPact(terminated));
            }
        });
        other.core.add_watcher(self.core.id, watcher);
    }

    fn begin_watch(&mut self, other: u64) -> Arc<AtomicBool> {
        // Watches that fired are forgotten here, so that their number stays that of the living.
        self.watching.retain(|_, active| active.load(SeqCst));
        let active = Arc::new(AtomicBool::new(true));
        if let Some(old) = self.watching.insert(other, Arc::clone(&active)) {
            old.store(false, SeqCst);
        }
        active
    }

    /// Ends a watch; nothing of it is handled any more, even if it is already queued.
    pub fn unwatch<C: Actor>(&mut self, other: &ActorRef<C>) {
        self.end_watch(other.core.id);
        other.core.remove_watcher(self.core.id);
    }

    pub(crate) fn end_watch(&mut self, other: u64) {
        if let Some(active) = self.watching.remove(&other) {
            active.store(false, SeqCst);
        }
    }

    /// Returns a token that is cancelled when whoever asked for the message in hand gives up (its ask
    /// timed out or was dropped) or has the answer; after a tell it never is.
    pub fn asker(&self) -> CancellationToken {
        self.asker.clone().unwrap_or_default()
    }

    /// Handles `message` once after `delay`; replaces the timer of that key.
    pub fn start_timer<M>(&mut self, key: impl Into<Key>, message: M, delay: Duration)
    where
        A: Handler<M>,
        M: Message + 'static,
    {
        let mut message = Some(message);
        let action = Box::new(move |actor: &mut A, ctx: &mut Self| {
            if let Some(message) = message.take() {
                actor.handle(message, ctx).handle(ctx, None);
            }
        });
        let first = Instant::now() + delay;
        self.timers.start(key.into(), first, Repeat::Once, action);
    }

    /// Handles a copy of `message` again and again, `delay` after the last time.
    pub fn start_timer_with_fixed_delay<M>(
        &mut self,
        key: impl Into<Key>,
        message: M,
        delay: Duration,
    ) where
        A: Handler<M>,
        M: Message + Clone + 'static,
    {
        self.repeat(key.into(), message, delay, Repeat::Delay(delay));
    }

    /// Handles a copy of `message` at each multiple of `interval`; after a delay the missed ones follow at
    /// once.
    pub fn start_timer_at_fixed_rate<M>(
        &mut self,
        key: impl Into<Key>,
        message: M,
        interval: Duration,
    ) where
        A: Handler<M>,
        M: Message + Clone + 'static,
    {
        self.repeat(key.into(), message, interval, Repeat::Rate(interval));
    }

    fn repeat<M>(&mut self, key: Key, message: M, first: Duration, repeat: Repeat)
    where
        A: Handler<M>,
        M: Message + Clone + 'static,
    {
        let action = Box::new(move |actor: &mut A, ctx: &mut Self| {
            actor.handle(message.clone(), ctx).handle(ctx, None);
        });
        self.timers
            .start(key, Instant::now() + first, repeat, action);
    }

    /// Cancels a timer, which then never fires; says whether there was one.
    pub fn cancel_timer(&mut self, key: &str) -> bool {
        self.timers.cancel(key)
    }

    /// Says whether a timer of that key is running.
    pub fn is_timer_active(&self, key: &str) -> bool {
        self.timers.is_active(key)
    }

    /// Handles a copy of `message` whenever no message came for `timeout`. Timers do not count.
    pub fn set_receive_timeout<M>(&mut self, timeout: Duration, message: M)
    where
        A: Handler<M>,
        M: Message + Clone + 'static,
    {
        self.receive_timeout = Some(timeout);
        self.repeat(
            RECEIVE_TIMEOUT.into(),
            message,
            timeout,
            Repeat::Delay(timeout),
        );
    }

    /// Ends the receive timeout.
    pub fn cancel_receive_timeout(&mut self) {
        self.receive_timeout = None;
        self.timers.cancel(RECEIVE_TIMEOUT);
    }

    /// Starts the receive timeout anew, because a message came.
    pub(crate) fn touch(&mut self) {
        if let Some(timeout) = self.receive_timeout {
            self.timers.postpone(RECEIVE_TIMEOUT, timeout);
        }
    }

    /// Puts a message aside until [`Context::unstash_all`].
    ///
    /// # Errors
    /// Gives the message back when the stash is full.
    pub fn stash<M>(&mut self, message: M) -> Result<(), M>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        if self.stash.len() >= self.stash_max {
            return Err(message);
        }
        self.stash.push_back(Box::new(Tell(message)));
        Ok(())
    }

    /// Puts the stashed messages before all others that wait, in their order.
    pub fn unstash_all(&mut self) {
        self.core.mailbox.put_back(std::mem::take(&mut self.stash));
    }

    /// Runs a future in a task of its own and has its result handled as a message. A panic in it is not
    /// this actor's: the message then never comes.
    pub fn pipe_to_self<F, M>(&mut self, future: F, map: impl FnOnce(F::Output) -> M + 'static)
    where
        F: Future + 'static,
        A: Handler<M>,
        M: Message + Send + 'static,
    {
        let myself = self.self_ref();
        actix_rt::spawn(async move {
            let message = map(future.await);
            myself.inform(message);
        });
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.waits.is_empty()
    }
}

impl<A> Bridge<A>
where
    A: Actor<Context = Context<A>>,
{
    pub(crate) fn new() -> Self {
        Self {
            address: OnceCell::new(),
            mailbox: RefCell::new(None),
        }
    }

    fn address(&self) -> Addr<A> {
        let open = || {
            let (_, receiver) = actix::dev::channel::channel(BRIDGE_CAPACITY);
            let mailbox = ActixMailbox::new(receiver);
            let address = mailbox.address();
            self.mailbox.replace(Some(mailbox));
            address
        };
        self.address.get_or_init(open).clone()
    }
}

impl<A> ActorContext for Context<A>
where
    A: Actor<Context = Context<A>>,
{
    fn stop(&mut self) {
        self.stopping = true;
    }

    fn terminate(&mut self) {
        self.stopping = true;
    }

    fn state(&self) -> actix::ActorState {
        if self.stopping {
            actix::ActorState::Stopping
        } else {
            actix::ActorState::Running
        }
    }
}

impl<A> AsyncContext<A> for Context<A>
where
    A: Actor<Context = Context<A>>,
{
    fn address(&self) -> Addr<A> {
        // The mailbox behind it is polled in the cell's next turn.
        self.core.mailbox.wake();
        self.bridge.address()
    }

    fn spawn<F>(&mut self, future: F) -> SpawnHandle
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        self.items.add(Box::pin(future))
    }

    fn wait<F>(&mut self, future: F)
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        self.waits.push_back(Box::pin(future));
    }

    fn waiting(&self) -> bool {
        self.is_waiting()
            || self.stopping
            || self.failure.is_some()
            || self.spent >= self.throughput
    }

    fn cancel_future(&mut self, handle: SpawnHandle) -> bool {
        self.items.cancel(handle)
    }
}

/// A message that came through one of actix's own addresses; it counts against the throughput.
struct Bridged<M: Message> {
    message: Option<M>,
    answer: Option<oneshot::Sender<M::Result>>,
}

impl<A, M> EnvelopeProxy<A> for Bridged<M>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn handle(&mut self, actor: &mut A, ctx: &mut Context<A>) {
        let forsaken = self.answer.as_ref().is_some_and(oneshot::Sender::is_closed);
        let Some(message) = self.message.take().filter(|_| !forsaken) else {
            return;
        };
        ctx.spent += 1;
        actor.handle(message, ctx).handle(ctx, self.answer.take());
    }
}

impl<A, M> ToEnvelope<A, M> for Context<A>
where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn pack(message: M, answer: Option<oneshot::Sender<M::Result>>) -> ActixEnvelope<A> {
        ActixEnvelope::with_proxy(Box::new(Bridged {
            message: Some(message),
            answer,
        }))
    }
}

impl<A> fmt::Debug for Context<A>
where
    A: Actor<Context = Context<A>>,
{
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Context")
            .field("path", &self.core.path)
            .field("children", &self.children.len())
            .field("timers", &self.timers)
            .finish_non_exhaustive()
    }
}
