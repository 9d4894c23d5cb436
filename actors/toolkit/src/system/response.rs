//! Passing the result of a handler to its asker.
//!
//! actix runs a [`ResponseFuture`] in a task of its own and ignores its panic. Here such a panic is a failure of the
//! actor. The panic of a task that a `MessageResponse` of the application spawns cannot be caught.

use std::{
    any::Any,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context as Task, Poll, Wake, Waker},
    thread,
};

use actix::{Actor, Handler, Message, Response, ResponseFuture, dev::MessageResponse};
use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::{
    catch,
    context::Context,
    core::{Core, Signal},
    place,
};

/// Passes the result of a handler to its asker; `answer` is `None` for a tell.
pub(crate) fn respond<A, M>(
    response: <A as Handler<M>>::Result,
    ctx: &mut Context<A>,
    answer: Option<oneshot::Sender<M::Result>>,
) where
    A: Actor<Context = Context<A>> + Handler<M>,
    M: Message + 'static,
{
    let mut response = Some(response);
    let any: &mut dyn Any = &mut response;
    let beside = any.downcast_mut::<Option<ResponseFuture<M::Result>>>();
    if let Some(future) = beside.and_then(Option::take) {
        run_beside(ctx, future, answer);
        return;
    }
    let is_opaque = any.is::<Option<Response<M::Result>>>();
    let Some(response) = response else { return };
    if is_opaque {
        let (sender, receiver) = oneshot::channel();
        response.handle(ctx, Some(sender));
        watch_task(ctx, receiver, answer);
    } else {
        // What it spawns is the answer.
        ctx.answering.set(true);
        response.handle(ctx, answer);
        ctx.answering.set(false);
    }
}

/// The instance that fails if its task panics.
struct Incarnation<A: Actor> {
    core: Arc<Core<A>>,
    restarts: u32,
}

impl<A> Incarnation<A>
where
    A: Actor<Context = Context<A>>,
{
    fn of(ctx: &Context<A>) -> Self {
        Self {
            core: Arc::clone(&ctx.core),
            restarts: ctx.core.restarts.load(SeqCst),
        }
    }

    fn panicked(&self, message: String) {
        let restarts = self.restarts;
        self.core.signal(Signal::TaskPanicked { restarts, message });
    }
}

/// Runs a future in a task of its own, as actix does, and answers with its value.
fn run_beside<A, T: 'static>(
    ctx: &Context<A>,
    future: ResponseFuture<T>,
    answer: Option<oneshot::Sender<T>>,
) where
    A: Actor<Context = Context<A>>,
{
    let incarnation = Incarnation::of(ctx);
    let in_flight = ctx.begin_flight();
    let core = ctx.self_ref().core;
    place::spawn(|| format!("{} answer", core.path), async move {
        let _until_it_has_ended = in_flight;
        match AssertUnwindSafe(future).catch_unwind().await {
            Ok(value) => send(answer, value),
            // Signalled before the answer is dropped, so that the asker finds the actor failed.
            Err(panic) => incarnation.panicked(catch::text(&*panic)),
        }
    });
}

/// Waits for the task that actix runs for a [`Response`], which hides its future.
fn watch_task<A, T: 'static>(
    ctx: &Context<A>,
    mut receiver: oneshot::Receiver<T>,
    answer: Option<oneshot::Sender<T>>,
) where
    A: Actor<Context = Context<A>>,
{
    if let Ok(value) = receiver.try_recv() {
        send(answer, value);
        return;
    }
    let incarnation = Incarnation::of(ctx);
    let in_flight = ctx.begin_flight();
    let core = ctx.self_ref().core;
    place::spawn(|| format!("{} answer", core.path), async move {
        let _until_it_has_ended = in_flight;
        let witness = Arc::new(Witness::default());
        let witnessed = Witnessed {
            receiver,
            witness: Arc::clone(&witness),
        };
        match witnessed.await {
            Ok(value) => send(answer, value),
            Err(_) if witness.saw_panic.load(SeqCst) => {
                incarnation.panicked("in a `Response`, which hides its message".to_owned());
            }
            // The runtime is shutting down.
            Err(_) => {}
        }
    });
}

fn send<T>(answer: Option<oneshot::Sender<T>>, value: T) {
    if let Some(answer) = answer {
        let _an_asker_may_have_left = answer.send(value);
    }
}

/// Notes whether it was woken by a panic: the sender is dropped, and wakes, while its task unwinds.
#[derive(Default)]
struct Witness {
    saw_panic: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Wake for Witness {
    fn wake(self: Arc<Self>) {
        if thread::panicking() {
            self.saw_panic.store(true, SeqCst);
        }
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = &*task {
            task.wake_by_ref();
        }
    }
}

/// A receiver that notes how it is woken.
struct Witnessed<T> {
    receiver: oneshot::Receiver<T>,
    witness: Arc<Witness>,
}

impl<T> Future for Witnessed<T> {
    type Output = Result<T, oneshot::error::RecvError>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        {
            let waiting = self.witness.task.lock();
            *waiting.unwrap_or_else(PoisonError::into_inner) = Some(task.waker().clone());
        }
        let waker = Waker::from(Arc::clone(&self.witness));
        Pin::new(&mut self.receiver).poll(&mut Task::from_waker(&waker))
    }
}
