//! How many messages are taken.

use kebne_lane::LaneSnapshot;

/// What a lane holds beyond its limit, as a part of it, so that a free place is filled at once and the limit is asked for more.
const AHEAD: f64 = 0.25;
/// What it holds beyond its limit at least.
const AHEAD_MIN: f64 = 2.0;

/// Returns the number of messages that can be taken: what the lanes have room for, within the bound of those that are worked on at once. A cold lane has
/// room for the call that wakes it and for those that are ready when it is warm.
pub(super) fn room(lanes: &[LaneSnapshot], running: usize, at_once_max: usize) -> usize {
    let held = lanes.iter().map(|lane| {
        let limit = lane.controller.limit;
        let ahead = (limit * AHEAD).max(AHEAD_MIN);
        let held = lane.pool.queued + lane.pool.in_flight as usize + lane.pool.retrying;
        floor(limit + ahead).saturating_sub(held)
    });
    let free: usize = held.sum();
    free.min(at_once_max.saturating_sub(running))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a limit is small and not negative; the conversion saturates"
)]
fn floor(number: f64) -> usize {
    number as usize
}
