//! A lane is closed.
//!
//! One that was taken out as an action is opened now and then for a trial. The trials are part of the same alert.

use std::time::Duration;

use super::View;
use crate::{
    Rule, TAKEN_OUT,
    desk::{Finding, Level},
};

/// Time for which a lane must be open after it was taken out before that is over: longer than a trial that fails.
const TRIAL: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
pub(super) struct LaneClosed {
    /// When the lane was last seen closed as an action.
    taken_out: Option<Duration>,
    /// `true` if somebody undid that: once the lane is open, it is not on trial.
    is_undone: bool,
}

impl LaneClosed {
    /// Notes that somebody undid the closing.
    pub(super) fn let_in(&mut self) {
        self.is_undone = true;
    }

    pub(super) fn look(&mut self, view: &View<'_>) -> Option<Finding> {
        let (name, at) = (&view.lane.name, view.at);
        let Some(reason) = &view.lane.closed else {
            if std::mem::take(&mut self.is_undone) {
                self.taken_out = None;
            }
            let since = self.taken_out?;
            if at.saturating_sub(since) >= TRIAL {
                self.taken_out = None;
                return None;
            }
            let sentence = format!(
                "The lane of `{name}` was taken out by the gateway and is open again, on trial."
            );
            return Some(view.finding(Rule::LaneClosed, Level::Holding, sentence));
        };
        self.taken_out = reason.starts_with(TAKEN_OUT).then_some(at);
        let sentence = format!("The lane of `{name}` is closed, so it gets no calls: {reason}.");
        Some(view.finding(Rule::LaneClosed, Level::Firing, sentence))
    }
}
