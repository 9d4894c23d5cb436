//! The last minutes of each lane, one point per sample, for the charts of a page that has just been opened.

use std::collections::VecDeque;

use kebne_lane::{Ending, LaneSnapshot};
use serde::{Serialize, Serializer, ser::SerializeTuple};

use crate::live::counters::Quantiles;

/// Points kept: ten minutes of one per second.
pub(super) const POINTS_KEPT: usize = 600;
/// The names of the first numbers of a serialized point; then follow the endings per second, in the order of
/// [`Ending::ALL`], and the quantiles of the time to the first token in milliseconds.
const COLUMNS: [&str; 6] = ["at_ms", "limit", "in_flight", "queued", "held", "rate"];
/// The names of the last numbers.
const QUANTILES: [&str; 2] = ["first_token_p50_ms", "first_token_p99_ms"];
const ENDINGS: usize = Ending::ALL.len();

/// The numbers of a lane at one moment. It is serialized as an array, whose columns the event `history` names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Calls that may be in flight.
    pub limit: u32,
    /// Attempts in flight.
    pub in_flight: u32,
    /// Calls that wait.
    pub queued: u32,
    /// Calls held after a refusal.
    pub held: u32,
    /// Requests per second that may be sent.
    pub rate: Option<f64>,
    /// Calls per second since the point before, in the order of [`Ending::ALL`].
    pub per_second: [f64; ENDINGS],
    /// Time to the first token of the calls of the last seconds.
    pub first_token: Option<Quantiles>,
}

/// Returns the names of the numbers of a serialized point.
pub(super) fn columns() -> Vec<&'static str> {
    let endings = Ending::ALL.iter().map(|ending| ending.label());
    COLUMNS
        .into_iter()
        .chain(endings)
        .chain(QUANTILES)
        .collect()
}

impl Point {
    pub(super) fn new(
        at_ms: u64,
        lane: &LaneSnapshot,
        per_second: [f64; ENDINGS],
        first_token: Option<Quantiles>,
    ) -> Self {
        let (grant, pool) = (&lane.controller.grant, &lane.pool);
        let count = |calls: usize| u32::try_from(calls).unwrap_or(u32::MAX);
        Self {
            at_ms,
            limit: grant.concurrency,
            in_flight: pool.in_flight,
            queued: count(pool.queued),
            held: count(pool.held),
            rate: grant.requests.map(|bucket| bucket.rate),
            per_second,
            first_token,
        }
    }
}

/// Rounds to a tenth, so that a history is short.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(COLUMNS.len() + ENDINGS + QUANTILES.len())?;
        tuple.serialize_element(&self.at_ms)?;
        for count in [self.limit, self.in_flight, self.queued, self.held] {
            tuple.serialize_element(&count)?;
        }
        tuple.serialize_element(&self.rate.map(tenths))?;
        for rate in self.per_second {
            tuple.serialize_element(&tenths(rate))?;
        }
        tuple.serialize_element(&self.first_token.map(|times| tenths(times.p50_ms)))?;
        tuple.serialize_element(&self.first_token.map(|times| tenths(times.p99_ms)))?;
        tuple.end()
    }
}

/// The last points of one lane, oldest first.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct History(VecDeque<Point>);

impl History {
    pub(super) fn add(&mut self, point: Point) {
        if self.0.len() >= POINTS_KEPT {
            self.0.pop_front();
        }
        self.0.push_back(point);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at_ms: u64) -> Point {
        let mut per_second = [0.0; ENDINGS];
        per_second[0] = 2.04;
        let first_token = Some(Quantiles {
            p50_ms: 12.34,
            p99_ms: 99.0,
            calls: 3,
        });
        Point {
            at_ms,
            limit: 8,
            in_flight: 2,
            queued: 1,
            held: 0,
            rate: None,
            per_second,
            first_token,
        }
    }

    #[test]
    fn a_point_has_one_number_per_column() {
        let text = serde_json::to_string(&point(7)).unwrap();
        assert_eq!(
            text,
            "[7,8,2,1,0,null,2.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,12.3,99.0]"
        );
        let numbers: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(numbers.len(), columns().len());
    }

    #[test]
    fn the_oldest_points_are_dropped() {
        let mut history = History::default();
        for at in 0..700 {
            history.add(point(at));
        }
        assert_eq!(history.0.len(), POINTS_KEPT);
        assert_eq!(history.0[0].at_ms, 100);
    }
}
