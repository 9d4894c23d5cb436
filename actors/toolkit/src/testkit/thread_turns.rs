//! Turns of threads: of all the threads under one manual clock, only one runs at a time.
//!
//! Owns the turn and the order of turns. A thread gives its turn back when its runtime is about to park, that is, when
//! it has no work; so a turn ends at the same point in every run. The clock must never advance while a thread has been
//! woken since its last turn.

use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use tokio::sync::oneshot;

/// The steps of the clock without a wake-up of the test's body after which the test is considered to wait in vain. A
/// timer of 10 ms reaches this number after almost three hours.
const STEPS_MAX: u64 = 1_000_000;

/// The thread that may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Clock,
    Seat(usize),
}

/// One thread under the clock.
#[derive(Debug)]
pub(crate) struct Seat {
    number: usize,
    turn: Condvar,
    /// `false` once the thread's own clock shows that it was not woken in this turn.
    active: AtomicBool,
    /// The next park only notes that the sentinel was registered.
    pass: AtomicBool,
}

impl Seat {
    /// Notes that the thread found no work in this turn.
    pub(crate) fn found_nothing(&self) {
        self.active.store(false, SeqCst);
    }

    /// Notes that the thread's sentinel is about to be set.
    pub(crate) fn sets_sentinel(&self) {
        self.pass.store(true, SeqCst);
    }
}

#[derive(Debug)]
struct State {
    holder: Holder,
    /// The holder to which turns return: the clock, except while a new thread is prepared.
    lender: Holder,
    seats: Vec<Arc<Seat>>,
    /// The number of seats that have parked for the first time.
    arrived: usize,
    /// Notified when no thread has work.
    settling: Vec<oneshot::Sender<()>>,
    steps: u64,
    order: fastrand::Rng,
    /// The turns are over: every thread runs freely, and time stands still.
    closing: bool,
    /// The thread of the clock may end.
    ended: bool,
}

/// The turns of one test.
#[derive(Debug)]
pub(crate) struct ThreadTurns {
    state: Mutex<State>,
    clock: Condvar,
    arrival: Condvar,
    returned: Condvar,
}

impl ThreadTurns {
    /// Creates turns that begin with the first seat; `seed` determines their order.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            state: Mutex::new(State {
                holder: Holder::Seat(0),
                lender: Holder::Clock,
                seats: Vec::new(),
                arrived: 0,
                settling: Vec::new(),
                steps: 0,
                order: fastrand::Rng::with_seed(seed),
                closing: false,
                ended: false,
            }),
            clock: Condvar::new(),
            arrival: Condvar::new(),
            returned: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add_seat(&self) -> Arc<Seat> {
        let mut state = self.lock();
        let seat = Arc::new(Seat {
            number: state.seats.len(),
            turn: Condvar::new(),
            active: AtomicBool::new(true),
            pass: AtomicBool::new(false),
        });
        state.seats.push(Arc::clone(&seat));
        seat
    }

    /// Waits until the thread of the seat added last waits for its turn.
    pub(crate) fn await_arrival(&self) {
        let mut state = self.lock();
        // The first seat belongs to the test itself, which need not arrive.
        while state.arrived + 1 < state.seats.len() {
            state = wait(&self.arrival, state);
        }
    }

    /// Gives `seat` a turn within the turn of the calling thread.
    pub(crate) fn lend(&self, seat: &Seat) {
        let mut state = self.lock();
        let mine = state.holder;
        state.lender = mine;
        state.holder = Holder::Seat(seat.number);
        self.notify_holder(&state);
        while state.holder != mine {
            state = wait(&self.returned, state);
        }
        state.lender = Holder::Clock;
    }

    fn notify_holder(&self, state: &State) {
        match state.holder {
            Holder::Clock => self.clock.notify_one(),
            Holder::Seat(number) if state.lender == state.holder => {
                debug_assert!(number < state.seats.len(), "a seat lends its turn");
                self.returned.notify_one();
            }
            Holder::Seat(number) => {
                if let Some(seat) = state.seats.get(number) {
                    seat.turn.notify_one();
                }
            }
        }
    }

    /// Gives the turn back and waits for the next one. A thread calls this before it parks.
    pub(crate) fn park(&self, seat: &Seat) {
        if seat.pass.swap(false, SeqCst) {
            return;
        }
        let mine = Holder::Seat(seat.number);
        let mut state = self.lock();
        if state.holder == mine {
            state.holder = state.lender;
            self.notify_holder(&state);
        } else {
            state.arrived += 1;
            self.arrival.notify_one();
        }
        while state.holder != mine && !state.closing {
            state = wait(&seat.turn, state);
        }
        seat.active.store(true, SeqCst);
    }

    /// Gives every thread turns until none has work, before the clock advances. Returns `false` if the test waits in
    /// vain.
    pub(crate) fn settle(&self) -> bool {
        let mut state = self.lock();
        while state.holder != Holder::Clock && !state.closing {
            state = wait(&self.clock, state);
        }
        loop {
            let mut order: Vec<_> = state.seats.clone();
            state.order.shuffle(&mut order);
            let mut active = false;
            for seat in order {
                state.holder = Holder::Seat(seat.number);
                self.notify_holder(&state);
                while state.holder != Holder::Clock && !state.closing {
                    state = wait(&self.clock, state);
                }
                active |= seat.active.load(SeqCst);
            }
            while state.closing && !state.ended {
                state = wait(&self.clock, state);
            }
            if state.ended {
                return true;
            }
            if active {
                continue;
            }
            let settling = std::mem::take(&mut state.settling);
            if settling.is_empty() {
                state.steps += 1;
                return state.steps < STEPS_MAX;
            }
            for waiter in settling {
                let _it_may_have_given_up = waiter.send(());
            }
        }
    }

    /// Returns a receiver that is notified when no thread has work, before time advances.
    pub(crate) fn when_settled(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.lock().settling.push(sender);
        receiver
    }

    /// Notes that the test's body was woken.
    pub(crate) fn body_was_woken(&self) {
        self.lock().steps = 0;
    }

    /// Ends the turns: every thread runs freely.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        for seat in &state.seats {
            seat.turn.notify_one();
        }
        self.clock.notify_one();
    }

    /// Lets the thread of the clock end.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.clock.notify_one();
    }
}

fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}
