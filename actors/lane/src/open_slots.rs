//! The free slots of a lane, which calls take without asking the pool, and the notes on the attempts that were made with them.
//!
//! While no call waits and the limit leaves room, the pool opens its free slots. A call takes one, makes its attempt at
//! once, and gives the slot back; the pool reads the notes of many calls together. As soon as a call waits, an attempt ends
//! other than by a success or the grant changes, the slots are closed and the pool decides on each call. Taking, giving
//! back, noting and closing are steps under one lock, so the limit holds exactly.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use actix::Message;
use kebne_actors::Recipient;
use kebne_control::{AttemptId, OfferedCall, OpenTerms, Outcome, Span, Timestamp};

use crate::{
    attempt::{AttemptEnd, Progress, Run},
    backend::Backend,
    clock::Clock,
    job::Job,
};

/// Notes that may wait for the pool. With more of them each call is offered to the pool.
const NOTES_MAX: usize = 1024;
/// The first number of attempts that begin without being offered; the pool numbers its own from 0.
const FIRST_NUMBER: u64 = 1 << 63;

/// The number of a worker in its lane. Numbers are not reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerId(pub(crate) u64);

/// Emitted to a worker when its attempt has panicked.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AttemptPanicked;

/// The slot of a worker.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) worker: WorkerId,
    /// The worker, which fails when its attempt panics.
    pub(crate) supervisor: Recipient<AttemptPanicked>,
}

/// The result of an attempt.
pub(crate) enum Note<B: Backend> {
    /// It began without being offered.
    Begun(Begun<B>),
    /// Its streamed answer has begun.
    FirstPart {
        attempt: AttemptId,
        /// The time from the beginning of the attempt to the beginning of the answer.
        span: Span,
    },
    /// It has ended.
    Ended {
        worker: WorkerId,
        attempt: AttemptId,
        end: AttemptEnd,
        /// The call, unless the attempt succeeded: it may be tried again.
        job: Option<Arc<Job<B>>>,
    },
}

/// An attempt that began without being offered.
pub(crate) struct Begun<B: Backend> {
    pub(crate) worker: WorkerId,
    pub(crate) attempt: AttemptId,
    /// What the pool needs to know of the call.
    pub(crate) call: OfferedCall<()>,
    /// The call, until it has ended. A note does not keep it, because it may be large.
    pub(crate) job: Weak<Job<B>>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) at: Timestamp,
}

/// Emitted to the reader of the notes when there are some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Message)]
#[rtype(result = "()")]
pub(crate) enum NotesDue {
    /// No call waits for what they change.
    Soon,
    /// A call may wait for what they change.
    Now,
}

/// The free slots of one lane.
pub(crate) struct OpenSlots<B: Backend> {
    state: Mutex<State<B>>,
    /// Longest silence within a streamed answer.
    idle_timeout: Duration,
}

struct State<B: Backend> {
    /// `None` while the slots are closed.
    terms: Option<OpenTerms>,
    /// The free slots; the one that was used last is taken first.
    seats: Vec<Seat>,
    notes: Vec<Note<B>>,
    next_number: u64,
    /// The pool, or the lane while it is closed.
    reader: Option<Recipient<NotesDue>>,
    /// What the reader was last told, until it has read the notes.
    told: Option<NotesDue>,
    /// `true` once the lane has stopped: there is no reader any more.
    has_stopped: bool,
}

impl<B: Backend> OpenSlots<B> {
    /// Creates closed slots.
    pub(crate) fn new(idle_timeout: Duration) -> Self {
        Self {
            state: Mutex::new(State {
                terms: None,
                seats: Vec::new(),
                notes: Vec::new(),
                next_number: FIRST_NUMBER,
                reader: None,
                told: None,
                has_stopped: false,
            }),
            idle_timeout,
        }
    }

    /// Takes a slot for a call and returns the attempt to be made; `None` if the call must be offered.
    pub(crate) fn begin(&self, job: &Arc<Job<B>>, clock: Clock) -> Option<(Run<B>, Seat)> {
        let now = clock.now();
        let left = job.deadline.since(now);
        let mut state = self.state();
        let terms = state.terms?;
        let must_be_offered = left < terms.time_min || (terms.hedges && job.options.hedge);
        if left.is_zero() || must_be_offered || state.notes.len() >= NOTES_MAX {
            return None;
        }
        let seat = state.seats.pop()?;
        let attempt = AttemptId(state.next_number);
        state.next_number += 1;
        let progress = Arc::new(Progress::default());
        state.notes.push(Note::Begun(Begun {
            worker: seat.worker,
            attempt,
            call: job.offered(()),
            job: Arc::downgrade(job),
            progress: Arc::clone(&progress),
            at: now,
        }));
        tell(state, NotesDue::Soon);
        let run = Run {
            job: Arc::clone(job),
            attempt,
            number: 1,
            wake: false,
            timeout: terms.timeout(left),
            deadline: clock.instant(job.deadline),
            waited: Duration::ZERO,
            idle_timeout: self.idle_timeout,
            progress,
        };
        Some((run, seat))
    }

    /// Notes that a streamed answer has begun.
    pub(crate) fn first_part(&self, attempt: AttemptId, span: Span) {
        let mut state = self.state();
        if state.has_stopped {
            return;
        }
        state.notes.push(Note::FirstPart { attempt, span });
        tell(state, NotesDue::Soon);
    }

    /// Notes the end of an attempt. Its slot is free again if the slots are open and the attempt succeeded.
    pub(crate) fn ended(&self, seat: &Seat, run: &Run<B>, end: AttemptEnd) {
        let is_served = matches!(end.outcome, Outcome::Success { .. });
        let job = (!is_served).then(|| Arc::clone(&run.job));
        let mut state = self.state();
        if state.has_stopped {
            return;
        }
        if !is_served {
            state.terms = None;
        }
        let is_open = state.terms.is_some();
        if is_open {
            state.seats.push(seat.clone());
        }
        state.notes.push(Note::Ended {
            worker: seat.worker,
            attempt: run.attempt,
            end,
            job,
        });
        tell(
            state,
            if is_open {
                NotesDue::Soon
            } else {
                NotesDue::Now
            },
        );
    }

    /// Sets the reader of the notes.
    pub(crate) fn set_reader(&self, reader: Recipient<NotesDue>) {
        let mut state = self.state();
        state.reader = Some(reader);
        state.told = None;
    }

    /// Takes the notes and leaves the slots as they are.
    pub(crate) fn take_notes(&self) -> Vec<Note<B>> {
        let mut state = self.state();
        state.told = None;
        std::mem::take(&mut state.notes)
    }

    /// Returns `true` if the slots are open.
    pub(crate) fn is_open(&self) -> bool {
        self.state().terms.is_some()
    }

    /// Returns the number of attempts that began without being offered.
    #[cfg(test)]
    pub(crate) fn begun(&self) -> u64 {
        self.state().next_number - FIRST_NUMBER
    }

    /// Closes the slots and takes the notes. From here on nothing begins without being offered.
    pub(crate) fn close(&self) -> Vec<Note<B>> {
        let mut state = self.state();
        state.terms = None;
        state.seats.clear();
        state.told = None;
        std::mem::take(&mut state.notes)
    }

    /// Closes the slots and leaves the notes.
    pub(crate) fn shut(&self) {
        let mut state = self.state();
        state.terms = None;
        state.seats.clear();
    }

    /// Closes the slots for good, because the lane has stopped, and drops the notes.
    pub(crate) fn stop(&self) {
        self.state().has_stopped = true;
        drop(self.close());
    }

    /// Opens free slots, unless an attempt has ended since they were closed.
    pub(crate) fn open(&self, terms: OpenTerms, seats: impl Iterator<Item = Seat>) {
        let mut state = self.state();
        if state.notes.is_empty() && !state.has_stopped {
            state.terms = Some(terms);
            state.seats.extend(seats);
        }
    }

    fn state(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the reader unless it has already been woken since it last read the notes.
fn tell<B: Backend>(mut state: MutexGuard<'_, State<B>>, due: NotesDue) {
    if state.told >= Some(due) {
        return;
    }
    state.told = Some(due);
    let reader = state.reader.clone();
    drop(state);
    // A reader that has stopped is followed by another, which reads all notes.
    let _may_be_missed = reader.map(|reader| reader.tell(due));
}
