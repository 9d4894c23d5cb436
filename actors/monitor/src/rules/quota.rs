//! The quota of a backend is used up.

use std::time::Duration;

use super::View;
use crate::{
    Phase, Rule,
    desk::{Finding, Level},
    spoken::{clock, spoken},
};

#[derive(Debug, Default)]
pub(super) struct QuotaUsedUp {
    since: Option<Duration>,
}

impl QuotaUsedUp {
    pub(super) fn look(&mut self, view: &View<'_>) -> Option<Finding> {
        let View { at, lane, .. } = *view;
        if lane.phase != Phase::OutOfQuota || lane.closed.is_some() {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert(at);
        let since = clock(view.unix_seconds, at.saturating_sub(since));
        let name = &lane.name;
        let callers = if lane.has_alternative {
            "Another backend serves each of its models; a call goes there if the fallbacks of its model allow it, and is refused \
             with 429 `insufficient_quota` if not."
        } else {
            "Calls that no other backend takes are refused at once, with 429 `insufficient_quota`."
        };
        // Unless the provider said when the quota is renewed, the time of the next question is the gateway's own.
        let again = lane.next_attempt_in.map_or_else(
            || "after 1 to 15 minutes".to_owned(),
            |left| format!("in {} at the earliest", spoken(left)),
        );
        let sentence = format!(
            "The quota of `{name}` at its provider is used up, since {since}. {callers} The gateway asks again with one call, {again}.{}",
            view.last_error()
        );
        Some(view.finding(Rule::QuotaUsedUp, Level::Firing, sentence))
    }
}
