//! A manual clock for all arbiters: time advances only when no thread has work to do.
//!
//! tokio's paused time belongs to one runtime, and each arbiter has its own runtime. Under this clock the timers of
//! all arbiters belong to one more runtime, whose paused clock is the only one that is read. That runtime has no other
//! work, so tokio moves its clock to the next due instant whenever it parks. It parks only after
//! [`ThreadTurns::settle`], when no thread has been woken since its last turn. Whether a thread was woken is also
//! found with tokio: the thread's own paused clock, which is not used otherwise, advances exactly when the thread has
//! no work.
//!
//! It must never let two threads run at once, nor read the machine's clock.

use std::{cell::RefCell, fmt, future::poll_fn, pin::pin, sync::Arc, thread, time::Duration};

use actix_rt::{Arbiter, ArbiterHandle, System};
use futures_util::{
    StreamExt,
    future::{Either, select},
    stream::FuturesUnordered,
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::Notify,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    probe::Quiet,
    thread_turns::{Seat, ThreadTurns},
};

/// How far a thread's own clock advances when the thread has no work; any length would do.
const SENTINEL: Duration = Duration::from_millis(1);

/// How far the clock advances without a timer, to detect that the test waits in vain; no test waits that long.
const FOR_EVER: Duration = Duration::from_hours(24 * 365);

/// A clock that a test shares with all of its arbiters.
///
/// Time does not advance while any thread has work. When the test waits and no thread has work, time advances to the
/// next timer of any thread; [`ManualClock::time_passes`] waits for exactly its duration. Two runs of a program with
/// the same seed have the same order of events on all arbiters; another seed may give another order. One thread runs
/// at a time, each until it has no more work.
///
/// The resolution is that of tokio's timers, 1 ms. A test must not use the following under this clock: sockets (the
/// runtimes have no I/O), `tokio::select!` without `biased`, and maps with a random order (neither is seeded).
/// Blocking tasks run outside the turns; time stands still meanwhile, and the order in which they end is not
/// determined.
///
/// Pekko's `ManualTime` never advances by itself, and a probe's `expectMessage` waits in real time meanwhile. Here
/// such a wait takes virtual time, and a wait that nothing can end panics.
pub struct ManualClock {
    turns: Arc<ThreadTurns>,
    time: Handle,
    arbiters: RefCell<Vec<Arbiter>>,
    /// Ends the arbiters' sentinels.
    closing: CancellationToken,
    /// Ends the clock's own thread.
    ended: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl ManualClock {
    /// Runs a test's body on this thread, as `#[actix::test]` does, under a clock of its own. `seed` determines the
    /// order of the arbiters' turns.
    ///
    /// # Panics
    /// Panics if the body panics, or if it waits for something that cannot happen.
    pub fn run<T>(seed: u64, body: impl AsyncFnOnce(&Self) -> T) -> T {
        let turns = Arc::new(ThreadTurns::new(seed));
        let ended = CancellationToken::new();
        let in_vain = Arc::new(Notify::new());
        let (thread, time) = start_clock(&turns, &ended, &in_vain);
        let seat = turns.add_seat();
        let runner = System::with_tokio_rt(|| paused_runtime(&turns, &seat));
        // Dropped before the system, also when the body panics.
        let clock = Self {
            turns,
            time,
            arbiters: RefCell::default(),
            closing: CancellationToken::new(),
            ended,
            thread: Some(thread),
        };
        runner.block_on(async {
            let own = Handle::current();
            let _time = clock.time.enter();
            actix_rt::spawn(reside(own, seat, clock.closing.clone()));
            let body = pin!(body(&clock));
            let noted = pin!(clock.noted(body));
            match select(noted, pin!(in_vain.notified())).await {
                Either::Left((value, _)) => value,
                Either::Right(_) => panic!("the test waits for something that cannot happen"),
            }
        })
    }

    /// Creates an arbiter, with a thread of its own, under this clock; it ends with the test.
    ///
    /// # Panics
    /// Panics if the machine cannot start another thread.
    pub fn arbiter(&self) -> ArbiterHandle {
        let seat = self.turns.add_seat();
        let turns = Arc::clone(&self.turns);
        let its_seat = Arc::clone(&seat);
        let arbiter = Arbiter::with_tokio_rt(move || paused_runtime(&turns, &its_seat));
        self.turns.await_arrival();
        let time = self.time.clone();
        let (closing, its_seat) = (self.closing.clone(), Arc::clone(&seat));
        let alive = arbiter.spawn_fn(move || {
            let own = Handle::current();
            actix_rt::spawn(async move {
                {
                    let _time = time.enter();
                    reside(own, its_seat, closing).await;
                }
                // Its runtime may end only after it has left the clock's.
                Arbiter::current().stop();
            });
        });
        assert!(alive, "the new arbiter does not run");
        // Nothing else may run there before all threads share the clock.
        self.turns.lend(&seat);
        let handle = arbiter.handle();
        self.arbiters.borrow_mut().push(arbiter);
        handle
    }

    /// Lets exactly `duration` pass, and then waits until no thread has work.
    pub async fn time_passes(&self, duration: Duration) {
        sleep(duration).await;
        self.settle().await;
    }

    /// Waits until no thread has work; no time passes.
    pub async fn settle(&self) {
        let _only_at_the_end = self.turns.when_settled().await;
    }

    /// Lets `duration` pass and expects that none of the probes has received a message by then.
    ///
    /// # Panics
    /// Panics if a probe has received one.
    pub async fn expect_no_message_for(&self, duration: Duration, probes: &mut [&mut dyn Quiet]) {
        self.time_passes(duration).await;
        for probe in probes {
            probe.assert_quiet();
        }
    }

    /// Runs the body and notes each time that it is woken.
    async fn noted<F: Future>(&self, body: F) -> F::Output {
        let mut body = pin!(body);
        let noted = poll_fn(|task| {
            self.turns.body_was_woken();
            body.as_mut().poll(task)
        });
        // A `FuturesUnordered` polls only what was woken, where this thread's outermost future is polled at every
        // turn.
        let mut set = FuturesUnordered::from_iter([noted]);
        match set.next().await {
            Some(value) => value,
            None => unreachable!("the set contains the body until it is done"),
        }
    }
}

impl Drop for ManualClock {
    fn drop(&mut self) {
        self.closing.cancel();
        self.turns.close();
        for arbiter in self.arbiters.take() {
            let _its_panic_was_printed = arbiter.join();
        }
        self.ended.cancel();
        self.turns.end();
        if let Some(thread) = self.thread.take() {
            let _its_panic_was_printed = thread.join();
        }
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ManualClock")
            .field("arbiters", &self.arbiters.borrow().len())
            .finish_non_exhaustive()
    }
}

/// Starts the thread whose runtime has the timers of all threads and nothing else.
fn start_clock(
    turns: &Arc<ThreadTurns>,
    ended: &CancellationToken,
    in_vain: &Arc<Notify>,
) -> (thread::JoinHandle<()>, Handle) {
    let (handle, made) = std::sync::mpsc::channel();
    let (turns, ended, in_vain) = (Arc::clone(turns), ended.clone(), Arc::clone(in_vain));
    let thread = thread::spawn(move || {
        let given_up = Arc::clone(&in_vain);
        let runtime = paused(move || {
            if !turns.settle() {
                given_up.notify_one();
            }
        });
        if handle.send(runtime.handle().clone()).is_err() {
            return;
        }
        runtime.block_on(async {
            let everything = async {
                loop {
                    sleep(FOR_EVER).await;
                    in_vain.notify_one();
                }
            };
            select(pin!(ended.cancelled()), pin!(everything)).await;
        });
    });
    match made.recv() {
        Ok(time) => (thread, time),
        Err(error) => panic!("the thread of the clock did not start: {error}"),
    }
}

/// Creates a runtime whose thread takes turns.
fn paused_runtime(turns: &Arc<ThreadTurns>, seat: &Arc<Seat>) -> Runtime {
    let (turns, seat) = (Arc::clone(turns), Arc::clone(seat));
    paused(move || turns.park(&seat))
}

fn paused(before_park: impl Fn() + Send + Sync + 'static) -> Runtime {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .on_thread_park(before_park)
        .build();
    match runtime {
        Ok(runtime) => runtime,
        Err(error) => panic!("the runtime cannot be created: {error}"),
    }
}

/// Notes each time that this thread had no work, which is when its own clock advances.
async fn reside(own: Handle, seat: Arc<Seat>, closing: CancellationToken) {
    let mut closed = pin!(closing.cancelled());
    loop {
        let sentinel = {
            let _own = own.enter();
            sleep(SENTINEL)
        };
        seat.sets_sentinel();
        match select(closed.as_mut(), pin!(sentinel)).await {
            Either::Left(_) => return,
            Either::Right(_) => seat.found_nothing(),
        }
    }
}
