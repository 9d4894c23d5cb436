//! The actor system: named actors in a tree, supervised, with bounded mailboxes, on actix's traits.
//!
//! An actor is an ordinary `actix::Actor` with ordinary `actix::Handler`s whose context is
//! [`Context`]; what actix leaves open (bounds, restarts on panic, watch, fairness) is decided here, by a
//! loop of our own around actix's public `dev` traits.

use std::{
    fmt, io,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use actix::Actor;
use actix_rt::ArbiterHandle;

pub(crate) mod actor_ref;
mod ask;
mod blocking;
mod catch;
mod cell;
pub(crate) mod context;
pub(crate) mod core;
mod dead_letters;
mod envelope;
mod event_stream;
mod fault;
mod guardian;
mod items;
pub(crate) mod mailbox;
mod message_ref;
mod messages;
mod metrics;
mod offer;
pub(crate) mod place;
mod props;
mod receptionist;
mod recipient;
mod report;
pub(crate) mod response;
mod spawn;
mod strategy;
mod timers;
mod watch;
mod watchdog;

pub use actor_ref::ActorRef;
pub use ask::AskError;
pub use context::{Context, TaskPanicked};
pub use dead_letters::{DeadLetter, SuppressedDeadLetter, Undelivered};
pub use event_stream::{EventStream, Restarted, Subscription};
pub use fault::Fault;
pub use guardian::Termination;
pub use mailbox::{Overflow, PRIORITY_NORMAL};
pub use message_ref::MessageRef;
pub use metrics::{MessageMetrics, Metrics};
pub use offer::Offer;
pub use props::Props;
pub use receptionist::{Listing, Receptionist, Service, ServiceKey};
pub use recipient::Recipient;
pub use report::{ActorReport, ActorState};
pub use spawn::Spawn;
pub use strategy::{Directive, Strategy};
pub use watch::{StopCause, Terminated};
pub use watchdog::Blocked;

pub(crate) use catch::text as panic_text;

pub(crate) use core::ParentKind;
use core::{AnyCell, Parent};
pub(crate) use dead_letters::DeadLetters;
use dead_letters::Kind;
use guardian::Guardian;
use watchdog::Watchdog;

/// A tree of actors; clones share it.
#[derive(Clone)]
pub struct ActorSystem {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    seed: u64,
    dead_letters: Arc<DeadLetters>,
    events: EventStream,
    receptionist: Receptionist,
    guardian: Arc<Guardian>,
    watchdog: Arc<Watchdog>,
    /// Where actors without a thread of their own run; unset: where they are spawned.
    home: OnceLock<ArbiterHandle>,
    /// Set once actors are observed.
    metrics: OnceLock<Metrics>,
}

impl ActorSystem {
    /// Creates an empty system. `seed` determines its random numbers, such as the jitter of restarts.
    ///
    /// In a build with `panic = "abort"` a panic ends the process instead of one actor. An error is logged here then,
    /// and [`ActorSystem::catches_panics`] returns `false`.
    pub fn new(name: &str, seed: u64) -> Self {
        if !Self::catches_panics() {
            tracing::error!("built with `panic = \"abort\"`: no panic can be supervised");
        }
        let events = EventStream::default();
        Self {
            inner: Arc::new(Inner {
                name: name.to_owned(),
                seed,
                dead_letters: Arc::new(DeadLetters::new(events.clone())),
                events,
                receptionist: Receptionist::default(),
                guardian: Arc::default(),
                watchdog: Arc::default(),
                home: OnceLock::new(),
                metrics: OnceLock::new(),
            }),
        }
    }

    /// Creates a system with a thread of its own, on which the actors of [`ActorSystem::spawn`] run unless their props
    /// name another: for programs under `#[tokio::main]`, and for plain threads. The thread ends when the system has
    /// terminated.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use actix::Message;
    /// use kebne_actors::{ActorSystem, Async, AsyncActor, AsyncHandler, Scope};
    ///
    /// #[derive(Message)]
    /// #[rtype(result = "&'static str")]
    /// struct Ping;
    ///
    /// struct Ponger;
    ///
    /// impl AsyncActor for Ponger {}
    ///
    /// impl AsyncHandler<Ping> for Ponger {
    ///     async fn handle(&mut self, _: Ping, _: &Scope<Async<Self>>) -> &'static str {
    ///         tokio::task::yield_now().await;
    ///         "pong"
    ///     }
    /// }
    ///
    /// #[tokio::main(flavor = "current_thread")]
    /// async fn main() -> std::io::Result<()> {
    ///     let system = ActorSystem::with_thread("example", 1)?;
    ///     let ponger = system.spawn(Async::props(|| Ponger), "ponger");
    ///     assert_eq!(ponger.ask(Ping, Duration::from_secs(1)).await, Ok("pong"));
    ///     system.terminate().await;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// Returns the error of the operating system when it has no thread to give.
    pub fn with_thread(name: &str, seed: u64) -> io::Result<Self> {
        let system = Self::new(name, seed);
        let thread = system.start_thread()?;
        system.inner.home.get_or_init(|| thread);
        Ok(system)
    }

    /// Returns `true` if a panicking actor can be supervised, which needs a build without `panic = "abort"`.
    pub const fn catches_panics() -> bool {
        cfg!(panic = "unwind")
    }

    /// Returns the event stream: [`DeadLetter`], [`Restarted`], and whatever else is published.
    pub fn events(&self) -> &EventStream {
        &self.inner.events
    }

    /// Observes the actors that are spawned from now on, and returns their numbers: how many messages they handled, how
    /// long these waited and took, and how often the actors restarted, by type. Each message is handled in a `tracing`
    /// span `handle` (target `kebne::actor`, level trace) with the fields `actor` and `message`.
    ///
    /// Without it nothing is measured. An observed message costs an allocation, two looks at the clock and a lock more.
    pub fn observe(&self) -> Metrics {
        self.inner.metrics.get_or_init(Metrics::default).clone()
    }

    pub(crate) fn metrics(&self) -> Option<&Metrics> {
        self.inner.metrics.get()
    }

    /// Returns the receptionist.
    pub fn receptionist(&self) -> &Receptionist {
        &self.inner.receptionist
    }

    /// Returns the system's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Spawns an actor under `/user`, on this thread, or the system's own if it has one, unless the props say
    /// otherwise.
    ///
    /// A name that is taken gets a number appended, and a `/` in it becomes `%2F`; Pekko refuses both. An empty name
    /// is replaced by a unique one, as [`ActorSystem::spawn_anonymous`] gives it. An actor
    /// that is spawned once the system terminates has stopped from the beginning: when
    /// [`ActorSystem::terminate`] returns no actor is alive, whichever thread spawned it.
    ///
    /// # Panics
    /// On a thread that runs no local tasks, such as under `#[tokio::main]`, unless the props name another by
    /// [`Props::on_arbiter`] or the system has one: see [`ActorSystem::with_thread`].
    #[track_caller]
    pub fn spawn<A>(&self, props: Props<A>, name: &str) -> ActorRef<A>
    where
        A: Actor<Context = Context<A>>,
    {
        let props = match self.inner.home.get() {
            Some(home) => props.by_default_on(home),
            None => props,
        };
        let parent = Arc::clone(&self.inner.guardian) as Arc<dyn Parent>;
        props::launch(self, parent, self.new_path("/user", name), props)
    }

    /// Starts a thread for actors, which ends when the system has terminated. See [`ActorSystem::with_thread`] for a
    /// system that runs all actors on one.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use actix::{Actor, Handler, Message};
    /// use kebne_actors::{ActorSystem, Context, Props};
    ///
    /// #[derive(Message)]
    /// #[rtype(result = "&'static str")]
    /// struct Ping;
    ///
    /// struct Ponger;
    /// impl Actor for Ponger {
    ///     type Context = Context<Self>;
    /// }
    /// impl Handler<Ping> for Ponger {
    ///     type Result = actix::MessageResult<Ping>;
    ///     fn handle(&mut self, _: Ping, _: &mut Context<Self>) -> Self::Result {
    ///         actix::MessageResult("pong")
    ///     }
    /// }
    ///
    /// #[tokio::main(flavor = "current_thread")]
    /// async fn main() -> std::io::Result<()> {
    ///     let system = ActorSystem::new("example", 1);
    ///     let thread = system.start_thread()?;
    ///     let ponger = system.spawn(Props::new(|| Ponger).on_arbiter(thread), "ponger");
    ///     assert_eq!(ponger.ask(Ping, Duration::from_secs(1)).await, Ok("pong"));
    ///     system.terminate().await;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// Returns the error of the operating system when it has no thread to give.
    pub fn start_thread(&self) -> io::Result<ArbiterHandle> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let system = self.clone();
        let run = move || {
            let runner = actix_rt::System::new();
            let _the_caller_waits = sender.send(actix_rt::System::current().arbiter().clone());
            runner.block_on(system.when_terminated());
        };
        thread::Builder::new()
            .name(self.name().to_owned())
            .spawn(run)?;
        receiver.recv().map_err(io::Error::other)
    }

    /// Spawns an actor under `/user` with a unique name.
    #[track_caller]
    pub fn spawn_anonymous<A>(&self, props: Props<A>) -> ActorRef<A>
    where
        A: Actor<Context = Context<A>>,
    {
        self.spawn(props, &self.anonymous_name())
    }

    /// Stops all actors, the last spawned first and each after its children, and returns the order in which they
    /// stopped. It may be called several times and at the same time; all calls return the same.
    pub async fn terminate(&self) -> Termination {
        self.inner.guardian.terminate().await;
        self.inner.guardian.termination()
    }

    /// Terminates, and waits for `limit` at most. An actor that blocks its thread cannot be stopped; it is listed in
    /// [`Termination::cut_off`].
    ///
    /// # Panics
    /// When it is polled on a thread that no tokio runtime runs on, which the limit needs.
    pub async fn terminate_within(&self, limit: Duration) -> Termination {
        place::require_runtime("terminate_within");
        let terminated = tokio::time::timeout(limit, self.inner.guardian.terminate());
        // Actors that did not stop in time are listed in the answer.
        terminated.await.ok();
        self.inner.guardian.termination()
    }

    /// Waits until the system has terminated. It does not begin the termination.
    pub async fn when_terminated(&self) {
        self.inner.guardian.when_terminated().await;
    }

    /// Returns `true` if the system is terminating or has terminated.
    pub fn is_terminating(&self) -> bool {
        self.inner.guardian.is_terminating()
    }

    /// Returns every living actor, ordered by path.
    pub fn tree(&self) -> Vec<ActorReport> {
        let mut reports = self.inner.guardian.reports();
        reports.sort_by(|a, b| a.path.cmp(&b.path));
        reports
    }

    /// Returns the number of dead letters: messages that will not be handled.
    pub fn dead_letters(&self) -> u64 {
        self.inner.dead_letters.count()
    }

    /// Publishes dead letters of type `M` as [`SuppressedDeadLetter`], and neither counts nor logs them. Use it for
    /// messages whose loss is expected. In Pekko a message type extends `DeadLetterSuppression`.
    pub fn suppress_dead_letters<M: 'static>(&self) {
        self.inner.dead_letters.suppress(Kind::of::<M>());
    }

    /// Waits until an actor under `/user` escalates its failure, and returns the failure. The application decides
    /// what follows; Pekko's guardian ends the system.
    pub async fn when_failed(&self) -> String {
        self.inner.guardian.when_failed().await
    }

    pub(crate) fn seed(&self) -> u64 {
        self.inner.seed
    }

    pub(crate) fn watchdog(&self) -> &Arc<Watchdog> {
        &self.inner.watchdog
    }

    pub(crate) fn dead_letter_box(&self) -> Arc<DeadLetters> {
        Arc::clone(&self.inner.dead_letters)
    }

    /// Returns the path of a living actor.
    #[cfg(feature = "testkit")]
    pub(crate) fn path_of(&self, id: u64) -> Option<Arc<str>> {
        self.inner.guardian.path_of(id)
    }

    /// Returns a new actor's id, and its path: `path`, with the id if that is taken.
    pub(crate) fn claim(&self, path: String) -> (u64, Arc<str>) {
        self.inner.guardian.claim(path)
    }

    #[cfg(feature = "testkit")]
    pub(crate) fn next_id(&self) -> u64 {
        self.inner.guardian.next_id()
    }

    /// Returns the path of a new child.
    pub(crate) fn new_path(&self, parent: &str, name: &str) -> String {
        if name.is_empty() {
            return path(parent, &self.anonymous_name());
        }
        path(parent, name)
    }

    pub(crate) fn anonymous_name(&self) -> String {
        format!("${}", self.inner.guardian.next_id())
    }

    /// Registers a new actor. Returns `false` if it would never be stopped.
    pub(crate) fn register(&self, cell: Arc<dyn AnyCell>, parent: ParentKind) -> bool {
        self.inner.guardian.register(cell, parent)
    }

    pub(crate) fn forget(&self, id: u64) {
        self.inner.guardian.forget(id);
    }
}

/// Returns the path of a child; a name stays one step of it.
fn path(parent: &str, name: &str) -> String {
    format!("{parent}/{}", name.replace('/', "%2F"))
}

impl fmt::Debug for ActorSystem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ActorSystem")
            .field("name", &self.inner.name)
            .field("actors", &self.inner.guardian.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
