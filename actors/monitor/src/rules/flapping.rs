//! The breaker opens again and again.

use std::{collections::VecDeque, time::Duration};

use super::View;
use crate::{
    Phase, Rule,
    desk::{Finding, Level},
};

/// The time in which openings are counted.
const WITHIN: Duration = Duration::from_mins(10);
/// Openings from which a backend flaps, and from which an open alert is kept.
const OPENINGS: usize = 3;
const HOLDS_FROM: usize = 2;

#[derive(Debug, Default)]
pub(super) struct Flapping {
    /// When the breaker opened after the backend had served; at most [`OPENINGS`].
    opened: VecDeque<Duration>,
    has_served: bool,
}

impl Flapping {
    pub(super) fn look(&mut self, view: &View<'_>) -> Option<Finding> {
        let View { at, lane, .. } = *view;
        match lane.phase {
            Phase::Serving => self.has_served = true,
            // A probe that fails opens the breaker too, and is part of the same outage.
            Phase::Broken if self.has_served => {
                self.has_served = false;
                self.opened.push_back(at);
                if self.opened.len() > OPENINGS {
                    self.opened.pop_front();
                }
            }
            _ => {}
        }
        let is_old = |opened: &Duration| at.saturating_sub(*opened) > WITHIN;
        while self.opened.front().is_some_and(is_old) {
            self.opened.pop_front();
        }
        let level = match self.opened.len() {
            OPENINGS.. => Level::Firing,
            HOLDS_FROM.. => Level::Holding,
            _ => return None,
        };
        let (name, times) = (&lane.name, self.opened.len());
        let sentence = format!(
            "The breaker of `{name}` opened {times} times within 10 minutes; in between, it served.{}",
            view.last_error()
        );
        Some(view.finding(Rule::Flapping, level, sentence))
    }
}
