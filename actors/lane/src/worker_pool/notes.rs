//! Reads the notes of the attempts, and opens the free slots.

use std::time::Duration;

use actix::{Handler, Message};
use kebne_control::controller;

use kebne_actors::Context;

use super::WorkerPool;
use crate::{
    attempt::{AttemptEnd, Cause},
    backend::Backend,
    open_slots::{Note, NotesDue, WorkerId},
};

/// The time for which notes are gathered while no call waits for them.
const GATHER: Duration = Duration::from_millis(5);

/// The time to read the notes that were gathered.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Gathered;

impl<B: Backend> Handler<NotesDue> for WorkerPool<B> {
    type Result = ();

    fn handle(&mut self, due: NotesDue, ctx: &mut Context<Self>) {
        match due {
            NotesDue::Soon => ctx.start_timer("notes", Gathered, GATHER),
            NotesDue::Now => self.step(ctx),
        }
    }
}

impl<B: Backend> Handler<Gathered> for WorkerPool<B> {
    type Result = ();

    fn handle(&mut self, _: Gathered, ctx: &mut Context<Self>) {
        self.collect();
        // While the slots are open no call waits, and nothing else is due.
        if !self.parts.attempts.slots.is_open() {
            self.step(ctx);
        }
    }
}

impl<B: Backend> WorkerPool<B> {
    /// Reads the notes; open slots stay open.
    pub(super) fn collect(&mut self) {
        let notes = self.parts.attempts.slots.take_notes();
        self.read(notes);
        self.report_events();
    }

    pub(super) fn read(&mut self, notes: Vec<Note<B>>) {
        for note in notes {
            match note {
                Note::Begun(begun) => {
                    let at = begun.at;
                    let dispatch = self.parts.kept.lock().begin(begun);
                    let event = controller::Message::Dispatched {
                        attempt: dispatch.attempt,
                        in_flight: dispatch.in_flight,
                        tokens: dispatch.tokens,
                        probe: false,
                        kind: dispatch.kind,
                    };
                    self.observe(event, at, false);
                }
                Note::FirstPart { attempt, span } => {
                    self.parts.kept.lock().pool.first_part(attempt, span.at);
                    let event = controller::Message::FirstPart { attempt, span };
                    self.observe(event, span.at, false);
                }
                Note::Ended {
                    worker,
                    attempt,
                    end,
                    job: _kept_until_settled,
                } => {
                    self.free(worker, end);
                    self.settle(attempt, end);
                }
            }
        }
    }

    /// Notes that a worker has no attempt any more. One whose attempt panicked is ready once it has restarted.
    fn free(&mut self, worker: WorkerId, end: AttemptEnd) {
        let mut kept = self.parts.kept.lock();
        if end.cause != Cause::Panic {
            kept.ledger.pull(worker);
            return;
        }
        if kept.ledger.dismiss(worker) {
            self.backing_off.insert(worker);
        }
        self.parts.status.worker_restarted();
    }

    /// Opens the free slots while no call waits.
    pub(super) fn open_slots(&self) {
        if self.answered < self.binding {
            return;
        }
        let kept = self.parts.kept.lock();
        let Some(terms) = kept.pool.open_terms() else {
            return;
        };
        let slots = usize::try_from(terms.slots).unwrap_or(usize::MAX);
        // The worker that finished last is the last of the idle ones, and used first.
        let idle = kept.ledger.idle();
        let unused = kept.ledger.idle_count().saturating_sub(slots);
        let seats = idle.skip(unused);
        let seats = seats.filter_map(|worker| Some(self.workers.get(&worker)?.seat.clone()));
        self.parts.attempts.slots.open(terms, seats);
    }
}
