//! The backend refuses the gateway's key or its requests as such.

use std::time::Duration;

use super::View;
use crate::{
    Rule,
    desk::{Finding, Level},
    spoken::clock,
};

/// A backend at which a call has succeeded within this time may refuse the calls of one model only, so the next success is awaited
/// for a while.
const SERVED_WITHIN: Duration = Duration::from_mins(5);
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Misconfigured {
    seen: u64,
    /// The first of the refusals since a call succeeded last.
    since: Option<Duration>,
    /// The calls that had succeeded at the last sample, and when one was last seen to have.
    succeeded: u64,
    succeeded_at: Option<Duration>,
}

impl Misconfigured {
    pub(super) fn look(&mut self, view: &View<'_>) -> Option<Finding> {
        let lane = view.lane;
        if lane.succeeded > self.succeeded {
            (self.succeeded, self.succeeded_at) = (lane.succeeded, Some(view.at));
            self.since = None;
        }
        if lane.misconfigured > self.seen {
            self.seen = lane.misconfigured;
            self.since.get_or_insert(view.at);
        }
        let since = self.since?;
        let ago = view.at.saturating_sub(since);
        let has_served = self.succeeded_at.map(|served| since.saturating_sub(served));
        if has_served.is_some_and(|before| before <= SERVED_WITHIN) && ago < PATIENCE {
            return None;
        }
        let (name, since) = (&lane.name, clock(view.unix_seconds, ago));
        let sentence = format!(
            "The server of `{name}` does not accept the gateway's requests, since {since}, and no call has succeeded since then.{}",
            view.last_error()
        );
        Some(view.finding(Rule::Misconfigured, Level::Firing, sentence))
    }
}
