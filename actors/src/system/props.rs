//! How an actor is made: its factory, its strategy, its bounds, its thread.

use std::{fmt, rc::Rc, sync::Arc, time::Duration};

use actix::Actor;
use actix_rt::ArbiterHandle;

use super::{
    ActorSystem,
    actor_ref::{ActorRef, AnyCell, Core, Parent},
    cell::Cell,
    context::{Bridge, Context},
    mailbox::Overflow,
    strategy::Strategy,
    watch::StopCause,
};

/// Messages that may wait for an actor that was told nothing else.
const CAPACITY: usize = 1024;
/// Messages an actor may handle before others on its thread have their turn.
const THROUGHPUT: usize = 64;
/// Messages that may be stashed.
const STASH_MAX: usize = 1024;

/// Sees each message, by the name of its type, before the actor does; says whether the actor is to have it.
pub(crate) type Intercept<A> =
    Box<dyn FnMut(&mut A, &mut <A as Actor>::Context, &'static str) -> bool + Send>;

/// How to make an actor, again and again.
pub struct Props<A: Actor> {
    pub(crate) factory: Box<dyn FnMut() -> A + Send>,
    pub(crate) strategy: Strategy,
    pub(crate) capacity: usize,
    pub(crate) throughput: usize,
    pub(crate) stash_max: usize,
    pub(crate) overflow: Overflow,
    pub(crate) hang_after: Option<Duration>,
    pub(crate) intercept: Option<Intercept<A>>,
    arbiter: Option<ArbiterHandle>,
}

impl<A: Actor> Props<A> {
    /// Makes props from a factory, which is called at the start and at each restart.
    pub fn new(factory: impl FnMut() -> A + Send + 'static) -> Self {
        Self {
            factory: Box::new(factory),
            strategy: Strategy::stop(),
            capacity: CAPACITY,
            throughput: THROUGHPUT,
            stash_max: STASH_MAX,
            overflow: Overflow::default(),
            hang_after: None,
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

    /// Sets how many messages may wait; at least 1, default 1024.
    #[must_use]
    pub fn mailbox(mut self, capacity: usize) -> Self {
        self.capacity = capacity.max(1);
        self
    }

    /// Sets what a full mailbox does with one more message; default [`Overflow::DropNew`].
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Has the actor fail when one `ctx.wait` (an `AtomicResponse` too) holds its mailbox up for longer
    /// than this; default never. A handler that blocks its thread cannot be interrupted by this.
    #[must_use]
    pub fn hang_after(mut self, limit: Duration) -> Self {
        self.hang_after = Some(limit);
        self
    }

    /// Has `intercept` see each message, by the name of its type, before the actor does; default nothing.
    /// When it returns false the message is dropped, and an ask fails. What it does to the context (fail,
    /// stop, wait) and its panic are the actor's own. After Pekko's `Behaviors.intercept`, but it sees no
    /// signals, and not what comes by timers or actix's own addresses; it outlives the actor's restarts.
    #[must_use]
    pub fn intercept(
        mut self,
        intercept: impl FnMut(&mut A, &mut A::Context, &'static str) -> bool + Send + 'static,
    ) -> Self {
        self.intercept = Some(Box::new(intercept));
        self
    }

    /// Sets how many messages are handled before others on the thread have their turn; at least 1,
    /// default 64.
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

    /// Sets the thread to run on; default the spawner's.
    #[must_use]
    pub fn on_arbiter(mut self, arbiter: ArbiterHandle) -> Self {
        self.arbiter = Some(arbiter);
        self
    }
}

impl<A: Actor> fmt::Debug for Props<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Props")
            .field("strategy", &self.strategy)
            .field("capacity", &self.capacity)
            .field("throughput", &self.throughput)
            .finish_non_exhaustive()
    }
}

/// Starts a cell and returns the way to it.
pub(crate) fn launch<A>(
    system: &ActorSystem,
    parent: Arc<dyn Parent>,
    path: &str,
    number_it: bool,
    props: Props<A>,
) -> ActorRef<A>
where
    A: Actor<Context = Context<A>>,
{
    let id = system.next_id();
    let path: Arc<str> = if number_it {
        tracing::warn!(path, id, "the name is taken; a number was appended");
        format!("{path}-{id}").into()
    } else {
        path.into()
    };
    let core = Arc::new(Core::new(
        id,
        path,
        (props.capacity, props.overflow),
        system.dead_letter_box(),
    ));
    let reference = ActorRef {
        core: Arc::clone(&core),
    };
    system.register(Arc::clone(&core) as Arc<dyn AnyCell>);
    let arbiter = props.arbiter.clone();
    let system = system.clone();
    let lost = Arc::clone(&core);
    let lost_parent = Arc::clone(&parent);
    let registry = system.clone();
    let start = move || {
        let bridge = Rc::new(Bridge::new());
        let ctx = Context::new(
            Arc::clone(&core),
            system,
            bridge,
            props.throughput,
            props.stash_max,
        );
        actix_rt::spawn(Cell::new(core, parent, props, ctx));
    };
    match arbiter {
        None => start(),
        Some(arbiter) => {
            if !arbiter.spawn_fn(start) {
                lost.end(&StopCause::Lost);
                registry.forget(lost.id);
                lost_parent.child_stopped(lost.id);
            }
        }
    }
    reference
}
