//! A stream operator that sends elements through an adaptive lane instead of a fixed throttle.
//!
//! It pulls as many elements as the lane's limit, and a few more so that the lane has a reason to raise the limit. A
//! refusal is backpressure and not a failure: the element waits as long as the lane says and is offered again, and no
//! further elements are pulled meanwhile. Retries of failed attempts are left to the lane.

use std::{
    fmt,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::watch,
    task::coop::consume_budget,
    time::{Instant, sleep, sleep_until},
};

use kebne_streams::stage::{Detached, Outlet, Places};

use crate::{
    backend::Backend,
    call::{CallError, CallOptions, RefusalReason},
    guard::Reply,
    handle::LaneHandle,
};

/// The default deadline of one offer to the lane; long enough for a model to load.
const DEADLINE: Duration = Duration::from_mins(5);
/// The number of elements pulled beyond the lane's limit. Without a waiting call a lane has no reason to raise the
/// limit.
const AHEAD: usize = 2;
/// The wait after a refusal without a hint, doubled for each further one in a row, up to the maximum.
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The stream of [`ViaLane::replies`].
pub type Replies<B> = Detached<Answered<B>>;

type Answered<B> = Result<Reply<<B as Backend>::Response>, CallError>;
type OptionsOf<B> = Arc<dyn Fn(&<B as Backend>::Request) -> CallOptions + Send + Sync>;

/// A stream of requests through a lane: yields each answer or error, and continues after an error.
///
/// Its work runs in a task that starts at the first poll; dropping the stream cancels the calls. By default it emits in
/// the order of its source, and an element that the lane refuses waits without a limit.
pub struct ViaLane<S, B: Backend> {
    setup: Option<Setup<S, B>>,
    replies: Option<Replies<B>>,
}

/// Adds [`LaneFlowExt::via_lane`] to every stream of requests.
pub trait LaneFlowExt: Stream + Sized {
    /// Sends each element, a request, through a lane: as many at a time as the lane admits, instead of a fixed
    /// throttle. See [`ViaLane`].
    fn via_lane<B>(self, lane: &LaneHandle<B>) -> ViaLane<Self, B>
    where
        Self: Stream<Item = B::Request> + Send + 'static,
        B: Backend,
    {
        ViaLane::new(self, lane.clone())
    }
}

impl<S: Stream> LaneFlowExt for S {}

struct Setup<S, B: Backend> {
    source: S,
    lane: LaneHandle<B>,
    ordered: bool,
    options: OptionsOf<B>,
}

impl<S, B: Backend> ViaLane<S, B> {
    fn new(source: S, lane: LaneHandle<B>) -> Self {
        let setup = Setup {
            source,
            lane,
            ordered: true,
            options: Arc::new(|_| CallOptions::within(DEADLINE)),
        };
        Self {
            setup: Some(setup),
            replies: None,
        }
    }

    /// Emits each answer as it comes.
    #[must_use]
    pub fn unordered(self) -> Self {
        self.with(|setup| setup.ordered = false)
    }

    /// Sets the options of each call. Default: a deadline of 5 minutes, and no repetition of attempts that may have had
    /// an effect (see [`crate::Repeats`]). The deadline is that of one offer: an element that was refused is offered
    /// again with the full deadline.
    #[must_use]
    pub fn options(self, options: CallOptions) -> Self {
        self.options_by(move |_| options.clone())
    }

    /// Sets the options of each call by a function, for example its cost and its tenant.
    #[must_use]
    pub fn options_by(
        self,
        options: impl Fn(&B::Request) -> CallOptions + Send + Sync + 'static,
    ) -> Self {
        self.with(|setup| setup.options = Arc::new(options))
    }

    fn with(mut self, change: impl FnOnce(&mut Setup<S, B>)) -> Self {
        if let Some(setup) = &mut self.setup {
            change(setup);
        }
        self
    }
}

impl<S, B> ViaLane<S, B>
where
    S: Stream<Item = B::Request> + Send + 'static,
    B: Backend,
{
    /// Yields replies with their guards, for streamed answers. Split each with [`Reply::into_parts`], and finish its
    /// guard when the answer has been delivered.
    #[must_use]
    pub fn replies(mut self) -> Replies<B> {
        let started = self.replies.take();
        let setup = self.setup.take();
        started.unwrap_or_else(|| Detached::new(async move |outlet| run(setup, outlet).await))
    }
}

impl<S, B: Backend> Unpin for ViaLane<S, B> {}

impl<S, B> Stream for ViaLane<S, B>
where
    S: Stream<Item = B::Request> + Send + 'static,
    B: Backend,
{
    type Item = Result<B::Response, CallError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let setup = &mut self.setup;
        if setup.is_some() {
            let setup = setup.take();
            let replies = Detached::new(async move |outlet| run(setup, outlet).await);
            self.replies = Some(replies);
        }
        let Some(replies) = &mut self.replies else {
            return Poll::Ready(None);
        };
        let reply = ready!(replies.poll_next_unpin(context));
        Poll::Ready(reply.map(|reply| reply.map(Reply::complete)))
    }
}

async fn run<S, B>(setup: Option<Setup<S, B>>, outlet: Outlet<Answered<B>>)
where
    S: Stream<Item = B::Request>,
    B: Backend,
{
    let Some(setup) = setup else {
        return;
    };
    let Setup { source, lane, .. } = setup;
    let options = setup.options;
    let mut source = pin!(source.fuse());
    let mut places = Places::new(setup.ordered);
    let (pause, mut paused) = watch::channel(Instant::now());
    let pause = &pause;
    let mut calls = FuturesUnordered::new();
    loop {
        consume_budget().await;
        if source.is_done() && places.is_empty() {
            return;
        }
        let limit = usize::try_from(lane.limit()).unwrap_or(usize::MAX);
        let room = places.len() < limit.saturating_add(AHEAD);
        let until = *paused.borrow_and_update();
        let waits = room && !source.is_done() && until > Instant::now();
        tokio::select! {
            biased;
            Some((number, answered)) = calls.next() => places.done(number, answered),
            () = outlet.wanted(), if places.is_ready() => {
                if let Some(answered) = places.take() {
                    outlet.put(answered);
                }
            }
            _ = paused.changed() => {}
            () = sleep_until(until), if waits => {}
            item = source.next(), if room && !waits && !source.is_done() => {
                let Some(request) = item else {
                    continue;
                };
                let number = places.begin();
                let (lane, options) = (&lane, &options);
                calls.push(async move {
                    let call = offer(lane, request, options, pause);
                    (number, call.await)
                });
            }
        }
    }
}

/// Offers a request until the lane takes it.
async fn offer<B: Backend>(
    lane: &LaneHandle<B>,
    request: B::Request,
    options: &OptionsOf<B>,
    pause: &watch::Sender<Instant>,
) -> Answered<B> {
    let mut refusals = 0;
    loop {
        let error = match lane.call(request.clone(), options(&request)).await {
            Ok(reply) => return Ok(reply),
            Err(error) => error,
        };
        let Some(wait) = wait_after(&error, refusals) else {
            return Err(error);
        };
        refusals += 1;
        let until = Instant::now().checked_add(wait);
        pause.send_modify(|pause| *pause = until.map_or(*pause, |until| until.max(*pause)));
        sleep(wait).await;
    }
}

/// Returns the wait before the next offer; `None` if another offer is pointless.
fn wait_after(error: &CallError, refusals: u32) -> Option<Duration> {
    let CallError::Refused {
        reason,
        retry_after,
        ready_in,
    } = error
    else {
        return None;
    };
    if *reason == RefusalReason::Draining {
        return None;
    }
    let doubled = 1_u32.checked_shl(refusals).unwrap_or(u32::MAX);
    let unhinted = WAIT_MIN.saturating_mul(doubled).min(WAIT_MAX);
    let wait = retry_after.or(*ready_in).unwrap_or(unhinted);
    // A hint of zero that is refused again must not cause a busy loop.
    Some(if refusals == 0 {
        wait
    } else {
        wait.max(WAIT_MIN)
    })
}

impl<S, B: Backend> fmt::Debug for ViaLane<S, B> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ViaLane")
            .field("started", &self.setup.is_none())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(retry_after: Option<Duration>, ready_in: Option<Duration>) -> CallError {
        CallError::Refused {
            reason: RefusalReason::Cold,
            retry_after,
            ready_in,
        }
    }

    #[test]
    fn a_refusal_is_waited_out_for_as_long_as_the_lane_says() {
        let (soon, later) = (Duration::from_secs(1), Duration::from_secs(2));
        assert_eq!(wait_after(&refused(Some(soon), Some(later)), 0), Some(soon));
        assert_eq!(wait_after(&refused(None, Some(later)), 0), Some(later));
    }

    #[test]
    fn without_a_hint_the_wait_doubles_up_to_its_maximum() {
        let waits = [0, 1, 2, 7, 40].map(|refusals| wait_after(&refused(None, None), refusals));
        let expected = [100, 200, 400, 10_000, 10_000].map(|ms| Some(Duration::from_millis(ms)));
        assert_eq!(waits, expected);
    }

    #[test]
    fn a_hint_of_at_once_is_believed_only_the_first_time() {
        let at_once = refused(Some(Duration::ZERO), None);
        assert_eq!(wait_after(&at_once, 0), Some(Duration::ZERO));
        assert_eq!(wait_after(&at_once, 1), Some(WAIT_MIN));
    }

    #[test]
    fn a_lane_that_drains_or_has_stopped_is_not_waited_for() {
        let draining = CallError::Refused {
            reason: RefusalReason::Draining,
            retry_after: Some(Duration::from_secs(1)),
            ready_in: None,
        };
        assert_eq!(wait_after(&draining, 0), None);
        assert_eq!(wait_after(&CallError::Stopped, 0), None);
    }
}

/// Compiles and runs the program of `docs/streams.md`.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/streams.md")]
struct Page;

#[cfg(test)]
mod stream_tests;
