//! The result of a load: every call once, by its ending.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::load::{Call, End, Plan};

/// Latencies of the served calls, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Median.
    pub p50_ms: f64,
    /// Ninetieth percentile.
    pub p90_ms: f64,
    /// Ninety-ninth percentile.
    pub p99_ms: f64,
    /// The maximum.
    pub max_ms: f64,
}

/// The result of a load.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The number of planned calls.
    pub offered: usize,
    /// The number of calls that were answered in full and in time.
    pub served: usize,
    /// The number of refused calls, by reason.
    pub shed: BTreeMap<String, usize>,
    /// The number of failed calls, by cause.
    pub failed: BTreeMap<String, usize>,
    /// Served calls over offered calls.
    pub success_of_offered: f64,
    /// Served calls over those that were not shed; 1 if all were shed.
    pub success_of_admitted: f64,
    /// Served calls per second of the load.
    pub served_per_second: f64,
    /// The time from the first call's due time to the last end, in seconds.
    pub seconds: f64,
    /// The time from a call's due time to its end.
    pub latency: Latency,
    /// The time from a call's due time to the first part of its answer; only for streams.
    pub first_part: Option<Latency>,
    /// The delay between due time and sending. It is the delay of the load generator itself, and should be small
    /// compared with the latency.
    pub sent_late: Latency,
    /// The numbers of the calls that were served, in the order of their ends.
    #[serde(skip)]
    pub served_ids: Vec<usize>,
}

impl Report {
    pub(super) fn new(plan: &Plan, calls: Vec<Call>, took: Duration) -> Self {
        let mut shed = BTreeMap::new();
        let mut failed = BTreeMap::new();
        let mut served_ids = Vec::new();
        let (mut latencies, mut first_parts, mut late) = (Vec::new(), Vec::new(), Vec::new());
        for call in calls {
            late.push(call.late);
            match call.end {
                End::Served => {
                    latencies.push(call.latency);
                    first_parts.extend(call.first_part);
                    served_ids.push(call.id);
                }
                End::Shed(reason) => *shed.entry(reason).or_default() += 1,
                End::Failed(cause) => *failed.entry(cause).or_default() += 1,
            }
        }
        let served = served_ids.len();
        let offered = plan.calls.len();
        let turned_away: usize = shed.values().sum();
        let seconds = took.as_secs_f64();
        Self {
            offered,
            served,
            shed,
            failed,
            success_of_offered: share(served, offered),
            success_of_admitted: share(served, offered - turned_away),
            served_per_second: real(served) / seconds.max(1e-9),
            seconds,
            latency: Latency::of(latencies),
            first_part: (!first_parts.is_empty()).then(|| Latency::of(first_parts)),
            sent_late: Latency::of(late),
            served_ids,
        }
    }
}

impl Latency {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let last = times.len().saturating_sub(1);
        let at = |percent: usize| {
            // The nearest rank, so that every value was really measured.
            let time = times.get((last * percent).div_ceil(100));
            time.map_or(0.0, |time| time.as_secs_f64() * 1000.0)
        };
        Self {
            p50_ms: at(50),
            p90_ms: at(90),
            p99_ms: at(99),
            max_ms: at(100),
        }
    }
}

fn real(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn share(part: usize, all: usize) -> f64 {
    if all == 0 {
        1.0
    } else {
        real(part) / real(all)
    }
}
