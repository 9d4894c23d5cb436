//! The backend refuses the gateway's key or its requests as such.

use super::View;
use crate::{
    Rule,
    desk::{Finding, Level},
};

#[derive(Debug, Default)]
pub(super) struct Misconfigured {
    seen: u64,
    /// Calls that had succeeded at the last such refusal; `None` once a later one has succeeded.
    succeeded_then: Option<u64>,
}

impl Misconfigured {
    pub(super) fn look(&mut self, view: &View<'_>) -> Option<Finding> {
        let lane = view.lane;
        if lane.misconfigured > self.seen {
            self.seen = lane.misconfigured;
            self.succeeded_then = Some(lane.succeeded);
        }
        if lane.succeeded > self.succeeded_then? {
            self.succeeded_then = None;
            return None;
        }
        let name = &lane.name;
        let sentence = format!(
            "The server of `{name}` does not accept the gateway's requests, and no call has succeeded since.{}",
            view.last_error()
        );
        Some(view.finding(Rule::Misconfigured, Level::Firing, sentence))
    }
}
