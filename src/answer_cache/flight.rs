//! A call that several callers share: one leads it, all ride on its answer.
//!
//! The answer is a log of parts. A rider reads at its own pace, and one that joins late begins at the start. The leader waits while it is
//! ahead of the fastest rider by the bound; a rider that lags behind by more than the bound is cut off, so that it does not stop the others.
//! A flight that nobody rides any more is given up; one that fails before its answer begins is left to the riders, one of whom leads the
//! next. A flight belongs to no thread.

mod lead;
mod rider;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
};

use actix_web::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;
use kebne_cache::Key;

use crate::{cache_note::Outcome, llm::AnswerUsage, surface::error::ApiError};

pub(crate) use lead::Lead;
pub(crate) use rider::Rider;

/// The calls that are on their way.
#[derive(Debug)]
pub(crate) struct Flights {
    by_key: Mutex<HashMap<Key, Arc<Flight>>>,
    size_max: usize,
}

/// How a call takes part in a flight.
#[derive(Debug)]
pub(crate) enum Joined {
    /// It makes the call.
    Leads(Lead, Rider),
    /// Another one makes it.
    Follows(Rider),
}

/// An answer that has begun.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    /// What it is for the caller that leads; `Miss` if it comes from a backend.
    pub(crate) outcome: Outcome,
    /// The age in seconds of an answer that was kept.
    pub(crate) age: Option<u64>,
    /// The lane that gave it.
    pub(crate) lane: String,
    /// Its tokens, where they are found.
    pub(crate) usage: AnswerUsage,
    /// The headers for the caller that leads, and for the others.
    pub(crate) headers: (Vec<Header>, Vec<Header>),
}

type Header = (HeaderName, HeaderValue);

/// The reason why there is no answer.
#[derive(Clone, Debug)]
pub(crate) enum NotBegun {
    /// The call failed.
    Failed(ApiError),
    /// The one that led it has left, or could not make it.
    Gone,
    /// The time of this rider has passed.
    Late,
}

/// A part of an answer.
#[derive(Debug)]
pub(crate) enum RideItem {
    /// Complete events, or the whole body.
    Part(Bytes),
    /// The answer is complete.
    End,
    /// The rest is lost.
    Lost(ApiError),
}

#[derive(Debug)]
struct Flight {
    size_max: usize,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    begun: Option<Arc<Begun>>,
    parts: VecDeque<Bytes>,
    /// The number of parts that are no longer held.
    dropped: usize,
    /// The bytes that are held.
    held: usize,
    /// The number of parts that the fastest rider has taken, and the bytes beyond.
    fastest: usize,
    ahead: usize,
    end: Option<Ended>,
    riders: usize,
    waiting: Vec<Waker>,
    leader: Option<Waker>,
}

#[derive(Clone, Debug)]
enum Ended {
    Complete,
    Failed(ApiError),
    Gone,
}

impl Flights {
    pub(crate) fn new(size_max: usize) -> Self {
        Self {
            by_key: Mutex::default(),
            size_max,
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Key, Arc<Flight>>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the flight of a key, or begins one, which others can join if it `is_open`.
    pub(crate) fn join(self: &Arc<Self>, key: Key, is_open: bool) -> Joined {
        let mut table = self.table();
        if let Some(rider) = table.get(&key).and_then(Flight::board) {
            return Joined::Follows(rider);
        }
        let (mut lead, rider) = self.begin();
        if is_open {
            table.insert(key, lead.flight());
            drop(table);
            lead.list(Arc::clone(self), key);
        }
        Joined::Leads(lead, rider)
    }

    /// Begins a flight that nobody else can join.
    pub(crate) fn alone(&self) -> Joined {
        let (lead, rider) = self.begin();
        Joined::Leads(lead, rider)
    }

    fn begin(&self) -> (Lead, Rider) {
        let log = Log {
            riders: 1,
            ..Log::default()
        };
        let flight = Arc::new(Flight {
            size_max: self.size_max,
            log: Mutex::new(log),
        });
        let rider = Rider::of(Arc::clone(&flight));
        (Lead::of(flight), rider)
    }

    /// Returns the number of calls that can be joined.
    pub(crate) fn len(&self) -> usize {
        self.table().len()
    }
}

impl Flight {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a rider, if the answer can still be read from its start.
    fn board(self: &Arc<Self>) -> Option<Rider> {
        let mut log = self.log();
        let is_open = match log.end {
            None => log.riders > 0,
            Some(Ended::Complete) => true,
            Some(Ended::Failed(_) | Ended::Gone) => false,
        };
        if !is_open || log.dropped > 0 {
            return None;
        }
        log.riders += 1;
        drop(log);
        Some(Rider::of(Arc::clone(self)))
    }

    fn end(&self, ended: Ended) {
        let mut log = self.log();
        if log.end.is_none() {
            log.end = Some(ended);
        }
        log.wake();
    }
}

impl Log {
    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    fn wait(&mut self, task: &Context<'_>) {
        if !self.waiting.iter().any(|one| one.will_wake(task.waker())) {
            self.waiting.push(task.waker().clone());
        }
    }

    fn wake_leader(&mut self) {
        if let Some(leader) = self.leader.take() {
            leader.wake();
        }
    }

    /// Gives up what the fastest rider has taken, as far as more than the bound is held.
    fn shorten(&mut self, size_max: usize) {
        while self.held > size_max && self.dropped < self.fastest {
            let Some(part) = self.parts.pop_front() else {
                return;
            };
            self.held -= part.len();
            self.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests;
