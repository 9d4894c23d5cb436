//! The backend refuses the gateway's key or its requests as such.

use super::{last_error, of_lane};
use crate::{
    LaneSample, Rule,
    desk::{Finding, Level},
};

#[derive(Debug, Default)]
pub(super) struct Misconfigured {
    seen: u64,
    /// Calls that had succeeded at the last such refusal; `None` once a later one has succeeded.
    succeeded_then: Option<u64>,
}

impl Misconfigured {
    pub(super) fn look(&mut self, lane: &LaneSample) -> Option<Finding> {
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
            last_error(lane)
        );
        Some(of_lane(Rule::Misconfigured, lane, Level::Firing, sentence))
    }
}
