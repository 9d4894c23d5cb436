//! The one who makes the call of a flight.

use std::{
    future::{Future, poll_fn},
    sync::Arc,
    task::Poll,
};

use bytes::Bytes;
use kebne_cache::Key;

use super::{Begun, Ended, Flight, Flights};
use crate::surface::error::ApiError;

/// The duty to make the call of a flight. Dropping it lets the others know that they have to.
#[derive(Debug)]
pub(crate) struct Lead {
    flight: Arc<Flight>,
    /// Where the flight is found until it has ended.
    listed: Option<(Arc<Flights>, Key)>,
}

impl Lead {
    pub(super) fn of(flight: Arc<Flight>) -> Self {
        Self {
            flight,
            listed: None,
        }
    }

    pub(super) fn flight(&self) -> Arc<Flight> {
        Arc::clone(&self.flight)
    }

    /// Notes where the flight can be found.
    pub(super) fn list(&mut self, flights: Arc<Flights>, key: Key) {
        self.listed = Some((flights, key));
    }

    /// Reports that the answer has begun.
    pub(crate) fn begun(&self, begun: Begun) {
        let mut log = self.flight.log();
        log.begun = Some(Arc::new(begun));
        log.wake();
    }

    /// Adds a part, once the fastest rider has come near enough.
    pub(crate) async fn push(&mut self, part: Bytes) {
        if part.is_empty() {
            return;
        }
        let flight = Arc::clone(&self.flight);
        poll_fn(|task| {
            let mut log = flight.log();
            if log.ahead < flight.size_max {
                return Poll::Ready(());
            }
            log.leader = Some(task.waker().clone());
            Poll::Pending
        })
        .await;
        let mut log = flight.log();
        log.held += part.len();
        log.ahead += part.len();
        log.parts.push_back(part);
        log.shorten(flight.size_max);
        let is_cut = log.dropped > 0;
        log.wake();
        drop(log);
        if is_cut {
            self.unlist();
        }
    }

    /// Adds all parts of an answer that is there.
    pub(crate) fn fill(&mut self, parts: Vec<Bytes>) {
        let mut log = self.flight.log();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            log.held += part.len();
            log.ahead += part.len();
            log.parts.push_back(part);
        }
        log.wake();
    }

    /// Ends the flight with success. Others can still join it until the lead is dropped.
    pub(crate) fn complete(&self) {
        self.flight.end(Ended::Complete);
    }

    /// Ends the flight with an error.
    pub(crate) fn fail(mut self, error: ApiError) {
        self.unlist();
        self.flight.end(Ended::Failed(error));
    }

    /// Returns all parts of the answer; `None` if it is larger than the bound.
    pub(crate) fn parts(&self) -> Option<Vec<Bytes>> {
        let log = self.flight.log();
        let is_whole = log.dropped == 0 && log.held <= self.flight.size_max;
        is_whole.then(|| log.parts.iter().cloned().collect())
    }

    /// Waits until nobody rides any more.
    pub(crate) fn left(&self) -> impl Future<Output = ()> + 'static {
        let flight = Arc::clone(&self.flight);
        poll_fn(move |task| {
            let mut log = flight.log();
            if log.riders == 0 {
                return Poll::Ready(());
            }
            log.leader = Some(task.waker().clone());
            Poll::Pending
        })
    }

    fn unlist(&mut self) {
        if let Some((flights, key)) = self.listed.take() {
            let mut table = flights.table();
            let is_own = |one: &Arc<Flight>| Arc::ptr_eq(one, &self.flight);
            if table.get(&key).is_some_and(is_own) {
                table.remove(&key);
            }
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.unlist();
        self.flight.end(Ended::Gone);
    }
}
