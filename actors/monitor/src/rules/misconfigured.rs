//! The backend refuses the gateway's key or its requests as such.

use std::time::Duration;

use super::View;
use crate::{
    Rule,
    desk::{Finding, Level},
    spoken::clock,
};

#[derive(Debug, Default)]
pub(super) struct Misconfigured {
    seen: u64,
    /// Calls that had succeeded at the last such refusal; `None` once a later one has succeeded.
    succeeded_then: Option<u64>,
    /// The first of the refusals since then.
    since: Option<Duration>,
}

impl Misconfigured {
    pub(super) fn look(&mut self, view: &View<'_>) -> Option<Finding> {
        let lane = view.lane;
        if lane.misconfigured > self.seen {
            self.seen = lane.misconfigured;
            self.succeeded_then = Some(lane.succeeded);
            self.since.get_or_insert(view.at);
        }
        if lane.succeeded > self.succeeded_then? {
            (self.succeeded_then, self.since) = (None, None);
            return None;
        }
        let ago = view.at.saturating_sub(self.since?);
        let (name, since) = (&lane.name, clock(view.unix_seconds, ago));
        let sentence = format!(
            "The server of `{name}` does not accept the gateway's requests, since {since}, and no call has succeeded since then.{}",
            view.last_error()
        );
        Some(view.finding(Rule::Misconfigured, Level::Firing, sentence))
    }
}
