//! Props: an actor's factory, strategy, bounds and thread.

use std::{error::Error, fmt, rc::Rc, sync::Arc, time::Duration};

use actix::Actor;
use actix_rt::ArbiterHandle;

use super::{
    ActorSystem,
    actor_ref::ActorRef,
    cell::Cell,
    context::{Bridge, Context},
    core::{AnyCell, Core, Parent},
    fault::Fault,
    mailbox::{Bounds, Overflow},
    metrics::Observation,
    place,
    strategy::Strategy,
    watch::StopCause,
};

/// The default bound of the mailbox.
const CAPACITY: usize = 1024;
/// Control messages that may wait: far more than the workers, children and permits that bound them, and little enough
/// to fit into memory.
const CONTROL_CAPACITY: usize = 65_536;
/// Messages an actor may handle before others on its thread have their turn.
///
/// The end of a turn costs nearly a microsecond, which the messages of the turn share. With 16 a tell costs 1.6 times
/// what it costs in stock actix, with 64 1.4 times, and with 256 hardly less, while all others on the thread then wait
/// for four times as many messages. `docs/actor-numbers.md` has the table.
const THROUGHPUT: usize = 64;
/// Messages that may be stashed.
const STASH_MAX: usize = 1024;

/// Called with the type name of each message before it is handled; returns `true` if the actor is to handle it.
pub(crate) type Intercept<A> =
    Box<dyn FnMut(&mut A, &mut <A as Actor>::Context, &'static str) -> bool + Send>;

type BoxError = Box<dyn Error + Send + Sync>;
type Factory<A> = Box<dyn FnMut() -> Result<A, BoxError> + Send>;
type Hook<A> = Box<dyn FnMut(&mut A, &mut <A as Actor>::Context, &Fault) + Send>;

/// Describes how to create an actor, at its start and at each restart.
pub struct Props<A: Actor> {
    pub(crate) factory: Factory<A>,
    pub(crate) before_restart: Option<Hook<A>>,
    pub(crate) strategy: Strategy,
    pub(crate) bounds: Bounds,
    pub(crate) throughput: usize,
    pub(crate) stash_max: usize,
    pub(crate) max_in_flight: Option<usize>,
    pub(crate) hang_after: Option<Duration>,
    pub(crate) report_blocked_after: Option<Duration>,
    pub(crate) intercept: Option<Intercept<A>>,
    arbiter: Option<ArbiterHandle>,
}

impl<A: Actor> Props<A> {
    /// Creates props from a factory, which is called at the start and at each restart.
    pub fn new(mut factory: impl FnMut() -> A + Send + 'static) -> Self {
        Self::with_factory(Box::new(move || Ok(factory())))
    }

    /// Creates props from a factory that may fail; its error is a failure of the start.
    pub fn try_new<E: Into<BoxError>>(
        mut factory: impl FnMut() -> Result<A, E> + Send + 'static,
    ) -> Self {
        Self::with_factory(Box::new(move || factory().map_err(Into::into)))
    }

    /// Creates props from a value, which moves to the actor's thread. The actor cannot be created a second time: a
    /// failure that leads to a restart stops it.
    pub fn once(actor: A) -> Self
    where
        A: Send,
    {
        let mut actor = Some(actor);
        Self::try_new(move || actor.take().ok_or(MadeOnce))
    }

    fn with_factory(factory: Factory<A>) -> Self {
        Self {
            factory,
            before_restart: None,
            strategy: Strategy::stop(),
            bounds: Bounds {
                capacity: CAPACITY,
                overflow: Overflow::default(),
                control: CONTROL_CAPACITY,
            },
            throughput: THROUGHPUT,
            stash_max: STASH_MAX,
            max_in_flight: None,
            hang_after: None,
            report_blocked_after: None,
            intercept: None,
            arbiter: None,
        }
    }

    /// Sets what follows a failure; default [`Strategy::stop`].
    #[must_use]
    pub fn supervise(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Sets a hook that is called with the failed instance at the beginning of a restart: Pekko's `PreRestart`. A
    /// failure of the hook is only logged. For actix's `Supervised` use `|actor, ctx, _| actor.restarting(ctx)`.
    #[must_use]
    pub fn before_restart(
        mut self,
        hook: impl FnMut(&mut A, &mut A::Context, &Fault) + Send + 'static,
    ) -> Self {
        self.before_restart = Some(Box::new(hook));
        self
    }

    /// Sets how many messages may wait; at least 1, default 1024.
    ///
    /// This does not bound the messages in work: a handler that returns a future takes its message from the
    /// mailbox at once. See [`Props::max_in_flight`].
    #[must_use]
    pub fn mailbox(mut self, capacity: usize) -> Self {
        self.bounds.capacity = capacity.max(1);
        self
    }

    /// Sets how many answers may be futures that have not ended; at least 1, default without a limit.
    ///
    /// At the limit the actor takes no work: messages wait in the mailbox, within its bound. Counted are the futures
    /// that handlers return (`ResponseActFuture`, `ResponseFuture`, `Response`, `ActorResponse`), of tells and asks
    /// alike, not those given to `ctx.spawn` or `pipe_to_self`. Control messages, timers and futures go on. An actor
    /// that awaits in such a future the answer to a message to itself waits for ever at the limit.
    #[must_use]
    pub fn max_in_flight(mut self, futures: usize) -> Self {
        self.max_in_flight = Some(futures.max(1));
        self
    }

    /// Sets how many messages may wait in the control queue; at least 1, default 65,536. A message beyond that is
    /// refused and becomes a dead letter, whatever the overflow strategy.
    #[must_use]
    pub fn control_mailbox(mut self, capacity: usize) -> Self {
        self.bounds.control = capacity.max(1);
        self
    }

    /// Sets what a full mailbox does with one more message; default [`Overflow::DropNew`].
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.bounds.overflow = overflow;
        self
    }

    /// Sets the longest time that one `ctx.wait` (or `AtomicResponse`) may take before the actor fails with
    /// [`Fault::Hang`]; default unlimited. A handler that blocks its thread is not interrupted by this: see
    /// [`Props::report_blocked_after`].
    #[must_use]
    pub fn hang_after(mut self, limit: Duration) -> Self {
        self.hang_after = Some(limit);
        self
    }

    /// Publishes the event [`Blocked`] and logs an error when a handler, hook, timer or future of the actor holds its
    /// thread for longer than this, in real time and while it still does; default never. It cannot be interrupted; a
    /// subscriber may end the process.
    ///
    /// [`Blocked`]: super::Blocked
    #[must_use]
    pub fn report_blocked_after(mut self, limit: Duration) -> Self {
        self.report_blocked_after = Some(limit);
        self
    }

    /// Sets a function that is called with the type name of each message before it is handled; default none.
    ///
    /// If it returns `false` the message is dropped, and an ask fails. What it does to the context (fail, stop, wait)
    /// and its panic count as the actor's. After Pekko's `Behaviors.intercept`, but it is not called for signals and
    /// timers, and knows only one type name for messages through actix's own addresses. It outlives restarts.
    #[must_use]
    pub fn intercept(
        mut self,
        intercept: impl FnMut(&mut A, &mut A::Context, &'static str) -> bool + Send + 'static,
    ) -> Self {
        self.intercept = Some(Box::new(intercept));
        self
    }

    /// Sets how many messages are handled before others on the thread have their turn; at least 1,
    /// default 64, where Pekko's is 5.
    ///
    /// Fewer keep the others' waits short where a message takes long: 64 messages of 1 ms hold the thread for 64 ms. More
    /// gain little, for with 64 the end of a turn costs a message about 15 ns.
    #[must_use]
    pub fn throughput(mut self, messages: usize) -> Self {
        self.throughput = messages.max(1);
        self
    }

    /// Sets how many messages may be stashed; default 1024.
    #[must_use]
    pub fn stash(mut self, capacity: usize) -> Self {
        self.stash_max = capacity;
        self
    }

    /// Sets the thread to run on; default the thread that spawns the actor.
    #[must_use]
    pub fn on_arbiter(mut self, arbiter: ArbiterHandle) -> Self {
        self.arbiter = Some(arbiter);
        self
    }
}

impl<A: Actor> Props<A> {
    /// Sets the thread to run on, unless one is set.
    pub(crate) fn by_default_on(mut self, arbiter: &ArbiterHandle) -> Self {
        self.arbiter.get_or_insert_with(|| arbiter.clone());
        self
    }
}

/// The error of a factory that has given away its only actor.
#[derive(Debug, thiserror::Error)]
#[error("it was made by `Props::once` and cannot be made again")]
pub(crate) struct MadeOnce;

impl<A: Actor> fmt::Debug for Props<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Props")
            .field("strategy", &self.strategy)
            .field("bounds", &self.bounds)
            .field("throughput", &self.throughput)
            .finish_non_exhaustive()
    }
}

/// Starts a cell and returns the way to it. Its path is `path`, with a number if that is taken.
#[track_caller]
pub(crate) fn launch<A>(
    system: &ActorSystem,
    parent: Arc<dyn Parent>,
    path: String,
    props: Props<A>,
) -> ActorRef<A>
where
    A: Actor<Context = Context<A>>,
{
    let (id, path) = system.claim(path);
    let mut core = Core::new(id, path, props.bounds, system.dead_letter_box());
    if let Some(metrics) = system.metrics() {
        core.mailbox.observation = Some(Observation::new::<A>(
            metrics.clone(),
            Arc::clone(&core.path),
        ));
    }
    let core = Arc::new(core);
    let reference = ActorRef {
        core: Arc::clone(&core),
    };
    // Registered or refused in one step: a termination that begins after it stops the actor.
    let registered = system.register(Arc::clone(&core) as Arc<dyn AnyCell>, parent.kind());
    if !registered {
        core.end(&StopCause::Stopped);
        return reference;
    }
    let arbiter = props.arbiter.clone();
    let unstarted = Unstarted {
        system: system.clone(),
        parent: Arc::clone(&parent),
        core: Some(Arc::clone(&core)),
    };
    let system = system.clone();
    let start = move || {
        let ctx = Context::new(
            Arc::clone(&core),
            system,
            Rc::new(Bridge::new()),
            props.throughput,
            props.stash_max,
        );
        unstarted.begin();
        let path = Arc::clone(&core.path);
        place::spawn(|| path.to_string(), Cell::new(core, parent, props, ctx));
    };
    match arbiter {
        None => place::start_here(&reference.core.path, start),
        Some(arbiter) => {
            if !arbiter.spawn_fn(start) {
                tracing::warn!(actor = %reference.core.path, "the thread of the actor has ended");
            }
        }
    }
    reference
}

/// An actor that is not yet on its thread; if the thread ends first, so does the actor.
struct Unstarted<A: Actor> {
    system: ActorSystem,
    parent: Arc<dyn Parent>,
    /// Taken when it starts.
    core: Option<Arc<Core<A>>>,
}

impl<A: Actor> Unstarted<A> {
    fn begin(mut self) {
        self.core = None;
    }
}

impl<A: Actor> Drop for Unstarted<A> {
    fn drop(&mut self) {
        if let Some(core) = self.core.take() {
            core.end(&StopCause::Lost);
            self.system.forget(core.id);
            self.parent.child_stopped(core.id);
        }
    }
}
