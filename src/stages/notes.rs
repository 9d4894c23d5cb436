//! The notes of the stages on a call, for its account: key, model, lane and ending.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use kebne_lane::Ending;
use tokio::time::Instant;

/// The notes on one call; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    key: RefCell<String>,
    model: RefCell<String>,
    lane: RefCell<String>,
    attempts: Cell<u32>,
    began: Cell<Option<Instant>>,
    ending: Cell<Option<Ending>>,
    reason: Cell<Option<&'static str>>,
}

impl Notes {
    /// Records the name of the key.
    pub(super) fn set_key(&self, key: &str) {
        key.clone_into(&mut self.0.key.borrow_mut());
    }

    /// Records the model by its own name, never by a name that exists only in a request.
    pub(super) fn set_model(&self, model: &str) {
        model.clone_into(&mut self.0.model.borrow_mut());
    }

    /// Records the lane whose answer has begun now, and the number of attempts.
    pub(super) fn set_lane(&self, lane: &str, attempts: u32) {
        lane.clone_into(&mut self.0.lane.borrow_mut());
        self.0.attempts.set(attempts);
        self.0.began.set(Some(Instant::now()));
    }

    /// Records the ending and its reason. Only the first call has an effect.
    pub(super) fn set_ending(&self, ending: Ending, reason: Option<&'static str>) {
        if self.0.ending.get().is_none() {
            self.0.ending.set(Some(ending));
            self.0.reason.set(reason);
        }
    }

    pub(super) fn key(&self) -> String {
        self.0.key.borrow().clone()
    }

    pub(super) fn model(&self) -> String {
        self.0.model.borrow().clone()
    }

    pub(super) fn lane(&self) -> String {
        self.0.lane.borrow().clone()
    }

    /// Returns the time at which the answer began.
    pub(super) fn began(&self) -> Option<Instant> {
        self.0.began.get()
    }

    pub(super) fn attempts(&self) -> u32 {
        self.0.attempts.get()
    }

    pub(super) fn ending(&self) -> Option<Ending> {
        self.0.ending.get()
    }

    pub(super) fn reason(&self) -> &'static str {
        self.0.reason.get().unwrap_or("")
    }
}
