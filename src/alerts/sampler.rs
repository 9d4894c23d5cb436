//! Turns a snapshot of the gateway into the numbers that the rules see.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kebne_context::StoreHealth;
use kebne_control::{LaneState, Outcome};
use kebne_lane::{Ending, LaneSnapshot, LastFailure};
use kebne_monitor::{ActorSample, LaneSample, Phase, Sample};

use crate::{backend::reason, gateway::GatewaySnapshot, logging};

/// What is known of the gateway at one moment.
pub(super) struct Seen<'a, Names> {
    /// Time since the start.
    pub(super) at: Duration,
    pub(super) snapshot: &'a GatewaySnapshot,
    /// The names of all lanes; those that are not in the snapshot have not answered.
    pub(super) lanes: Names,
    pub(super) store: StoreHealth,
}

/// Returns the sample of one moment.
pub(super) fn sample<'a>(seen: Seen<'a, impl Iterator<Item = &'a str>>) -> Sample {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let answered = &seen.snapshot.lanes;
    let lanes = seen.lanes.map(|name| {
        let mut snapshots = answered.iter();
        let snapshot = snapshots.find(|snapshot| *snapshot.name == *name);
        snapshot.map_or_else(|| silent(name), lane)
    });
    let actors = seen.snapshot.actors.iter().map(|actor| ActorSample {
        path: Arc::clone(&actor.path),
        mailbox: actor.mailbox,
        handled: actor.handled,
    });
    Sample {
        at: seen.at,
        unix_seconds: since_1970.map_or(0, |since| since.as_secs()),
        lanes: lanes.collect(),
        actors: actors.collect(),
        store_outage: match seen.store {
            StoreHealth::Available => None,
            StoreHealth::Unavailable { reason, .. } => Some(reason),
        },
        log_lines_dropped: logging::lines_dropped(),
    }
}

/// Returns the sample of a lane whose actors did not answer.
fn silent(name: &str) -> LaneSample {
    LaneSample {
        name: name.into(),
        phase: Phase::Silent,
        ..LaneSample::default()
    }
}

fn lane(snapshot: &LaneSnapshot) -> LaneSample {
    let failures = snapshot.failures.iter();
    let misconfigured = failures.filter(|failure| failure.class == Outcome::Misconfigured.label());
    let last = snapshot.last_failure.as_ref();
    let ended = |endings: &[Ending]| {
        let counts = endings.iter().map(|ending| snapshot.endings.of(*ending));
        counts.sum::<u64>()
    };
    LaneSample {
        name: Arc::clone(&snapshot.name),
        phase: phase(snapshot.state),
        closed: snapshot.closed.clone(),
        calls: snapshot.endings.calls,
        succeeded: ended(&[Ending::Success]),
        failed: ended(&[Ending::Error, Ending::Timeout, Ending::Panic]),
        refused: ended(&[Ending::Shed]),
        held: u64::try_from(snapshot.live).unwrap_or(u64::MAX),
        misconfigured: misconfigured.map(|failure| failure.count).sum(),
        unreachable: last.is_some_and(|last| last.reason == Some(reason::UNREACHABLE)),
        last_failure: last.map(in_words),
        last_failure_age: last.map(|last| Duration::from_millis(last.age_ms)),
        latency: snapshot.controller.latency,
        load_time_p95: snapshot.controller.load_time_p95,
        promised: None,
        tokens: 0,
    }
}

fn phase(state: LaneState) -> Phase {
    match state {
        LaneState::Idle => Phase::Idle,
        LaneState::Probe => Phase::Probing,
        LaneState::Cold => Phase::Cold,
        LaneState::Ramp | LaneState::Steady => Phase::Serving,
        LaneState::Open => Phase::Broken,
        LaneState::Paused | LaneState::Quota => Phase::Paused,
    }
}

/// Returns a failure as a part of a sentence, with the status if the message does not name it.
fn in_words(failure: &LastFailure) -> Arc<str> {
    let message = failure.message.trim_end_matches('.');
    match failure.status {
        Some(status) if !message.contains(&status.to_string()) => {
            format!("status {status}, {message}").into()
        }
        _ => message.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_a_lane_has_its_phase() {
        let phases = LaneState::ALL.map(phase);
        let serving = phases.iter().filter(|phase| **phase == Phase::Serving);
        assert_eq!(serving.count(), 2);
        assert_eq!(phase(LaneState::Open), Phase::Broken);
        assert!(!phases.contains(&Phase::Silent));
    }
}
