//! An actor of stock actix code on any context that implements `actix::AsyncContext`, and the scenes it plays.
//!
//! Owns the actor and what it notes. A library says by [`Home`] which context its actors have and how they are started;
//! nothing else of a scene depends on it.

use std::{
    fmt,
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix::{
    Actor, ActorContext, Addr, AsyncContext, AtomicResponse, Handler, MailboxError, Message,
    MessageResult, Response, ResponseActFuture, ResponseFuture, Running, StreamHandler,
    dev::ToEnvelope,
    fut::{ActorFuture, ActorFutureExt, wrap_future},
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

/// Writes the table of scenes: the name of each, its hooks noted or not, and its code.
macro_rules! scenes {
    ($($name:ident($stage:ident, $hooks:literal) $code:block)*) => {
        /// Plays the scene of this name; returns what it noted, `None` if it is not here.
        pub(super) async fn play<H: Home>(scene: &'static str) -> Option<Vec<String>> {
            match scene {
                $(stringify!($name) => {
                    let $stage = Stage::<H>::open($hooks).await;
                    Some($code)
                })*
                _ => None,
            }
        }
    };
}

mod flows;
mod life;

/// Plays the scene of this name; returns what it noted, nothing if there is no such scene.
pub async fn play<H: Home>(scene: &'static str) -> Vec<String> {
    if let Some(noted) = life::play::<H>(scene).await {
        return noted;
    }
    flows::play::<H>(scene).await.unwrap_or_default()
}

/// An item whose handler waits.
const WAITS: u32 = 1_000_001;
/// An item whose handler stops the actor.
const STOPS: u32 = 1_000_002;

/// What a scene noted; clones share it.
#[derive(Clone, Debug)]
pub struct Log {
    entries: Arc<Mutex<Vec<String>>>,
    opened: Instant,
}

impl Log {
    fn new() -> Self {
        Self {
            entries: Arc::default(),
            opened: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, what: impl Into<String>) {
        self.lock().push(what.into());
    }

    /// Notes something with the paused time since the scene began.
    fn note_time(&self, what: &str) {
        let millis = self.opened.elapsed().as_millis();
        self.note(format!("{what} at {millis}"));
    }

    fn entries(&self) -> Vec<String> {
        self.lock().clone()
    }
}

/// Makes the scene's actor; called again at a restart.
pub type Make<H> = Box<dyn FnMut() -> Host<H> + Send>;

/// A library's context, and how it starts an actor that has it.
pub trait Home: Sized + Unpin + 'static {
    /// The context.
    type Context: AsyncContext<Host<Self>>
        + ToEnvelope<Host<Self>, Do<Self>>
        + ToEnvelope<Host<Self>, Note>
        + ToEnvelope<Host<Self>, Ask>
        + ToEnvelope<Host<Self>, Beside>
        + ToEnvelope<Host<Self>, Opaque>
        + ToEnvelope<Host<Self>, Within>
        + ToEnvelope<Host<Self>, Alone>;

    /// Starts an actor that is restarted when it fails, where the library can.
    fn start(make: Make<Self>);
}

/// The actor of a scene.
pub struct Host<H: Home> {
    log: Log,
    sum: i64,
    /// The hooks are noted.
    hooks: bool,
    /// Takes the actor's address when it starts.
    ready: Arc<Mutex<Option<oneshot::Sender<Addr<Self>>>>>,
    home: PhantomData<H>,
}

impl<H: Home> fmt::Debug for Host<H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Host").finish_non_exhaustive()
    }
}

impl<H: Home> Actor for Host<H> {
    type Context = H::Context;

    fn started(&mut self, ctx: &mut H::Context) {
        self.hook("started", ctx);
        let ready = self
            .ready
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(ready) = ready {
            let _the_scene_waits = ready.send(ctx.address());
        }
    }

    fn stopping(&mut self, ctx: &mut H::Context) -> Running {
        self.hook("stopping", ctx);
        Running::Stop
    }

    fn stopped(&mut self, ctx: &mut H::Context) {
        self.hook("stopped", ctx);
    }
}

impl<H: Home> Host<H> {
    fn hook(&self, name: &str, ctx: &H::Context) {
        if self.hooks {
            self.log.note(format!("{name} {:?}", ctx.state()));
        }
    }

    fn note(&self, what: &str) {
        self.log.note(what);
    }
}

/// Starts the actor of a scene; returns its address.
async fn start<H: Home>(log: &Log, hooks: bool) -> Addr<Host<H>> {
    let (sender, receiver) = oneshot::channel();
    let (log, ready) = (log.clone(), Arc::new(Mutex::new(Some(sender))));
    H::start(Box::new(move || Host {
        log: log.clone(),
        sum: 0,
        hooks,
        ready: Arc::clone(&ready),
        home: PhantomData,
    }));
    receiver
        .await
        .unwrap_or_else(|_| crate::puppet::blow_up("the actor did not start"))
}

type Act<H> = Box<dyn FnOnce(&mut Host<H>, &mut <H as Home>::Context) + Send>;

/// Has the actor do something.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Do<H: Home>(Act<H>);

/// Has the actor note a text.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Note(&'static str);

/// Asks for the sum, after a number is added.
#[derive(Debug, Message)]
#[rtype(result = "i64")]
pub struct Ask(i64);

/// Asks for twice a number, by a future beside the actor that panics at 13.
#[derive(Debug, Message)]
#[rtype(result = "i64")]
pub struct Beside(i64);

/// As [`Beside`], by a `Response`.
#[derive(Debug, Message)]
#[rtype(result = "i64")]
pub struct Opaque(i64);

/// Adds a number by a future of the actor; asks for the sum.
#[derive(Debug, Message)]
#[rtype(result = "i64")]
pub struct Within(i64);

/// As [`Within`], with no other message handled meanwhile.
#[derive(Debug, Message)]
#[rtype(result = "i64")]
pub struct Alone(i64);

impl<H: Home> fmt::Debug for Do<H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Do").finish_non_exhaustive()
    }
}

impl<H: Home> Handler<Do<H>> for Host<H> {
    type Result = ();

    fn handle(&mut self, Do(act): Do<H>, ctx: &mut H::Context) {
        act(self, ctx);
    }
}

impl<H: Home> Handler<Note> for Host<H> {
    type Result = ();

    fn handle(&mut self, Note(text): Note, _: &mut H::Context) {
        self.note(text);
    }
}

impl<H: Home> Handler<Ask> for Host<H> {
    type Result = MessageResult<Ask>;

    fn handle(&mut self, Ask(number): Ask, _: &mut H::Context) -> MessageResult<Ask> {
        self.sum += number;
        MessageResult(self.sum)
    }
}

/// How long the futures of answers take.
const WORK: Duration = Duration::from_millis(10);

async fn doubled(number: i64) -> i64 {
    sleep(WORK).await;
    if number == 13 {
        crate::puppet::blow_up("in a response future");
    }
    2 * number
}

impl<H: Home> Handler<Beside> for Host<H> {
    type Result = ResponseFuture<i64>;

    fn handle(&mut self, Beside(number): Beside, _: &mut H::Context) -> ResponseFuture<i64> {
        Box::pin(doubled(number))
    }
}

impl<H: Home> Handler<Opaque> for Host<H> {
    type Result = Response<i64>;

    fn handle(&mut self, Opaque(number): Opaque, _: &mut H::Context) -> Response<i64> {
        if number == 0 {
            return Response::reply(0);
        }
        Response::fut(doubled(number))
    }
}

impl<H: Home> Handler<Within> for Host<H> {
    type Result = ResponseActFuture<Self, i64>;

    fn handle(&mut self, Within(number): Within, _: &mut H::Context) -> Self::Result {
        adding(number)
    }
}

impl<H: Home> Handler<Alone> for Host<H> {
    type Result = AtomicResponse<Self, i64>;

    fn handle(&mut self, Alone(number): Alone, _: &mut H::Context) -> Self::Result {
        AtomicResponse::new(adding(number))
    }
}

impl<H: Home> StreamHandler<u32> for Host<H> {
    fn handle(&mut self, item: u32, ctx: &mut H::Context) {
        self.sum += 1;
        match item {
            WAITS => hold(self, ctx),
            STOPS => ctx.stop(),
            _ => {}
        }
    }

    fn started(&mut self, _: &mut H::Context) {
        self.note("stream started");
    }

    fn finished(&mut self, _: &mut H::Context) {
        self.log.note(format!("stream finished with {}", self.sum));
    }
}

/// A stream of these has the hooks that actix gives by default.
impl<H: Home> StreamHandler<&'static str> for Host<H> {
    fn handle(&mut self, item: &'static str, _: &mut H::Context) {
        self.note(item);
    }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Handles nothing else for a millisecond.
fn hold<H: Home>(_: &mut Host<H>, ctx: &mut H::Context) {
    ctx.wait(wrap_future(sleep(ms(1))));
}

/// Adds a number after a while; returns the sum.
fn adding<H: Home>(number: i64) -> ResponseActFuture<Host<H>, i64> {
    let worked = wrap_future::<_, Host<H>>(sleep(WORK));
    Box::pin(worked.map(move |(), host, _| {
        host.sum += number;
        host.sum
    }))
}

/// A future of the actor that notes a text when it ends.
fn noting<H: Home>(after: Duration, text: &'static str) -> impl ActorFuture<Host<H>, Output = ()> {
    let slept = wrap_future::<_, Host<H>>(sleep(after));
    slept.map(move |(), host: &mut Host<H>, _: &mut H::Context| host.note(text))
}

/// An actor, and what it noted.
struct Stage<H: Home> {
    log: Log,
    host: Addr<Host<H>>,
}

impl<H: Home> Stage<H> {
    async fn open(hooks: bool) -> Self {
        let log = Log::new();
        let host = start(&log, hooks).await;
        Self { log, host }
    }

    /// Has the actor do something in a message.
    fn act(&self, act: impl FnOnce(&mut Host<H>, &mut H::Context) + Send + 'static) {
        self.host.do_send(Do(Box::new(act)));
    }

    /// Lets paused time pass; returns what was noted.
    async fn after(&self, time: Duration) -> Vec<String> {
        sleep(time).await;
        self.log.entries()
    }

    fn answered(&self, answer: Result<i64, MailboxError>) {
        match answer {
            Ok(number) => self.log.note(number.to_string()),
            Err(_) => self.log.note("no answer"),
        }
    }
}
