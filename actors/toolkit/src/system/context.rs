//! The context of an actor: `type Context = kebne_actors::Context<Self>` in place of actix's.

use std::{
    cell::Cell,
    collections::{BTreeMap, VecDeque},
    fmt,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix::Actor;
use tokio_util::sync::CancellationToken;

use super::{
    ActorSystem, ParentKind,
    actor_ref::ActorRef,
    ask::AskState,
    catch::drop_guarded,
    core::{AnyCell, Core, Parent},
    envelope::Envelope,
    fault::Fault,
    items::{InFlight, Items, Pauses},
    props::Props,
    spawn::Children,
    timers::Timers,
};

mod actix_side;
mod piping;
mod stashing;
mod timing;
mod watching;

pub use piping::TaskPanicked;

use actix_side::BoxFuture;
pub(crate) use actix_side::Bridge;
use watching::Watch;

/// A notification of an actor to itself.
type Note<A> = Box<dyn FnOnce(&mut A, &mut Context<A>)>;

/// A stage of an instance's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// In the factory or `started`, whose failure is one of the start.
    Starting,
    Running,
    /// It ends, and another follows.
    Restarting,
    /// It ends for good: its children have stopped, and its `stopped` hook runs.
    Ending,
}

/// The parent of actors that are spawned too late.
struct Ending;

impl Parent for Ending {
    fn child_stopped(&self, _: u64) {}
    fn child_escalated(&self, _: Arc<str>, _: &str) {}
    fn kind(&self) -> ParentKind {
        ParentKind::Ending
    }
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
    /// Futures of `ctx.wait`, which hold back the mailbox; the last goes first.
    pub(crate) waits: Vec<(BoxFuture<A>, Option<InFlight>)>,
    pub(crate) timers: Timers<A>,
    pub(crate) receive_timeout: Option<Duration>,
    pub(crate) stash: VecDeque<Envelope<A>>,
    stash_max: usize,
    pub(crate) children: BTreeMap<u64, Arc<dyn AnyCell>>,
    pub(crate) bridge: Rc<Bridge<A>>,
    pub(crate) spent: usize,
    pub(crate) throughput: usize,
    /// The watches of this actor; kept across restarts.
    pub(crate) watching: BTreeMap<u64, Watch>,
    /// The notifications that wait in the mailbox, in their order; kept across restarts.
    pub(crate) notes: VecDeque<Note<A>>,
    pub(crate) stage: Stage,
    /// The backoff is to be reset.
    pub(crate) backoff_reset: bool,
    /// The ask that is handled now, if it is one.
    pub(crate) asker: Option<Arc<AskState>>,
    /// Futures that are spawned now are a handler's answer.
    pub(crate) answering: Cell<bool>,
    /// What the future that is polled asked.
    pub(crate) pauses: Pauses,
    /// It ends without its `stopping` hook.
    pub(crate) terminated: bool,
}

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
            waits: Vec::new(),
            timers: Timers::new(),
            receive_timeout: None,
            stash: VecDeque::new(),
            stash_max,
            children: BTreeMap::new(),
            bridge,
            spent: 0,
            throughput,
            watching: BTreeMap::new(),
            notes: VecDeque::new(),
            stage: Stage::Starting,
            backoff_reset: false,
            asker: None,
            answering: Cell::new(false),
            pauses: Pauses::default(),
            terminated: false,
        }
    }

    /// Returns a reference to this actor.
    pub fn self_ref(&self) -> ActorRef<A> {
        ActorRef {
            core: Arc::clone(&self.core),
        }
    }

    /// Returns this actor's path, such as `/user/shop/worker-3`.
    pub fn path(&self) -> &str {
        &self.core.path
    }

    /// Returns the system that this actor belongs to.
    pub fn system(&self) -> &ActorSystem {
        &self.system
    }

    /// Reports a failure: the strategy decides what follows after this handler. If a handler reports several, the
    /// first one counts.
    pub fn fail(&mut self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) {
        self.fault(Fault::Error(error.into()));
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        self.failure.get_or_insert(fault);
    }

    /// Returns the value, or reports the error as a failure.
    pub fn ok_or_fail<T, E>(&mut self, result: Result<T, E>) -> Option<T>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        result.map_err(|error| self.fail(error)).ok()
    }

    /// Stops this actor after this handler: `stopping`, children, then `stopped`. As in Akka a stop cannot be
    /// refused: the result of actix's `stopping` is ignored.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Returns `true` if this instance ends because the actor restarts: in `Props::before_restart`, and in
    /// `stopped`, which runs at the end of each instance. In Pekko's typed actors `PostStop` is for the last
    /// instance only, and `PreRestart` for the others.
    pub fn is_restarting(&self) -> bool {
        self.stage == Stage::Restarting
    }

    /// Resets the backoff of this actor's restarts.
    pub fn reset_backoff(&mut self) {
        self.backoff_reset = true;
    }

    /// Spawns a child, by default on this actor's thread. It is stopped before this actor stops or restarts. A name
    /// that a living child has gets a number appended; a `/` in it becomes `%2F`, and an empty one is replaced by a unique one. A child that is spawned in
    /// `stopped` when the actor ends has stopped from the beginning; Pekko throws.
    pub fn spawn_child<C>(&mut self, props: Props<C>, name: &str) -> ActorRef<C>
    where
        C: Actor<Context = Context<C>>,
    {
        self.children_mut().spawn(props, name)
    }

    pub(crate) fn children_mut(&mut self) -> Children<'_> {
        let ends = self.stage == Stage::Ending;
        Children {
            system: &self.system,
            parent: if ends {
                Arc::new(Ending)
            } else {
                Arc::clone(&self.core) as Arc<dyn Parent>
            },
            parent_path: &self.core.path,
            living: (!ends).then_some(&mut self.children),
        }
    }

    /// Spawns a child with a unique name.
    pub fn spawn_anonymous_child<C>(&mut self, props: Props<C>) -> ActorRef<C>
    where
        C: Actor<Context = Context<C>>,
    {
        let name = self.system.anonymous_name();
        self.spawn_child(props, &name)
    }

    /// Returns the living child of that name if it is a `C`.
    pub fn child<C: Actor>(&self, name: &str) -> Option<ActorRef<C>> {
        let path = super::path(&self.core.path, name);
        let mut children = self.children.values();
        let child = children.find(|child| **child.path() == *path)?;
        let core = Arc::clone(child).as_any().downcast().ok()?;
        Some(ActorRef { core })
    }

    /// Asks a child to stop. Returns `false` if it is not a child.
    pub fn stop_child<C: Actor>(&mut self, child: &ActorRef<C>) -> bool {
        let known = self.children.get(&child.core.id);
        known.inspect(|cell| cell.request_stop()).is_some()
    }

    /// Returns the paths of the living children.
    pub fn children(&self) -> impl Iterator<Item = &str> {
        self.children.values().map(|child| &**child.path())
    }

    /// Returns a token that is cancelled when the asker of the current message no longer waits, because its ask
    /// timed out, was dropped or is answered. The token of a tell is never cancelled.
    pub fn asker(&self) -> CancellationToken {
        let asker = self.asker.as_ref();
        asker.map_or_else(CancellationToken::new, |asker| asker.given_up())
    }

    /// Returns the place of a future that is spawned now, if it is a handler's answer.
    fn in_flight(&self) -> Option<InFlight> {
        let answering = self.answering.get();
        answering.then(|| self.begin_flight())
    }

    pub(crate) fn begin_flight(&self) -> InFlight {
        let cell = Arc::clone(&self.core) as Arc<dyn AnyCell>;
        InFlight::new(self.asker.as_ref(), cell)
    }

    /// Returns `true` if this instance is about to stop, or its strategy to decide about a failure.
    pub(crate) fn ends(&self) -> bool {
        self.stopping || self.failure.is_some()
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.waits.is_empty()
    }

    /// Drops the futures and timers of this instance, each guarded.
    pub(crate) fn clear(&mut self) {
        let path = Arc::clone(&self.core.path);
        self.items.interrupt();
        self.waits
            .iter()
            .filter_map(|(_, in_flight)| in_flight.as_ref())
            .for_each(InFlight::interrupt);
        drop_guarded(&path, self.timers.clear());
        drop_guarded(&path, std::mem::take(&mut self.waits));
        drop_guarded(&path, self.items.clear());
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
