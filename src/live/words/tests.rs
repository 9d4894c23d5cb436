//! Tests of the sentences.

use kebne_lane::{Ending, EndingCounts};

use super::*;
use crate::{
    live::{VerdictSample, history::Point},
    settings::BackendKind,
};

/// A lane in a state, with these calls in flight and waiting.
fn sample(level: Level, in_flight: u32, queued: usize) -> LaneSample {
    LaneSample {
        name: "big".into(),
        kind: BackendKind::default(),
        stale_ms: None,
        state: "",
        label: "",
        level,
        sentence: String::new(),
        service: Service::Open,
        closed: None,
        unreachable: false,
        misconfigured: false,
        check_failure: None,
        ready_in_ms: None,
        next_attempt_in_ms: None,
        limit: 4,
        in_flight,
        queued,
        retrying: 0,
        held: 0,
        rate: None,
        predicted_wait_ms: None,
        retry_budget: 10.0,
        fault_rate: 0.0,
        load_time_p50_ms: None,
        load_time_p90_ms: None,
        worker_restarts: 0,
        endings: EndingCounts::default(),
        first_token: None,
        point: Point {
            at_ms: 0,
            limit: 4,
            in_flight,
            queued: 0,
            held: 0,
            rate: None,
            per_second: [0.0; Ending::ALL.len()],
            first_token: None,
        },
        failures: Vec::new(),
        last_failure: None,
        state_changes: Vec::new(),
        verdicts: Vec::<VerdictSample>::new(),
    }
}

fn store(store: &'static str) -> SessionsSample {
    SessionsSample {
        store,
        reason: None,
        for_seconds: None,
        failures: 0,
        count: None,
    }
}

#[test]
fn a_cold_start_says_how_many_wait_and_how_long() {
    let mut cold = sample(Level::Busy, 0, 7);
    cold.ready_in_ms = Some(11_200);
    let text = lane(&cold, LaneState::Cold, false);
    assert_eq!(text, "7 callers wait: the model loads, about 12 s left.");
    cold.queued = 1;
    cold.ready_in_ms = None;
    let text = lane(&cold, LaneState::Cold, false);
    assert_eq!(
        text,
        "1 caller waits: the model loads, for a time that is not known yet."
    );
    cold.ready_in_ms = Some(10);
    let text = lane(&cold, LaneState::Cold, false);
    assert_eq!(
        text,
        "1 caller waits: the model loads, it should be ready now."
    );
}

#[test]
fn a_backend_that_cannot_be_reached_is_not_said_to_load() {
    let mut cold = sample(Level::Warn, 0, 2);
    cold.unreachable = true;
    let text = lane(&cold, LaneState::Cold, false);
    assert_eq!(
        text,
        "2 callers wait: the backend cannot be reached; it may be starting."
    );
}

#[test]
fn a_lane_whose_actors_hang_says_how_old_its_numbers_are() {
    let mut silent = sample(Level::Bad, 3, 2);
    silent.stale_ms = Some(12_300);
    silent.closed = Some("closed by an operator".into());
    let text = lane(&silent, LaneState::Steady, false);
    assert_eq!(
        text,
        "The actors of this lane have not answered for 13 s: its limit, queue and calls in flight are from then."
    );
    let (level, sentence) = overall(&[silent], 1, false, &store("available"));
    assert_eq!(level, Level::Bad);
    assert_eq!(sentence, "“big” is not answering; 2 callers wait.");
}

#[test]
fn a_server_that_does_not_accept_the_gateway_is_not_said_to_sleep() {
    let mut refused = sample(Level::Bad, 0, 0);
    refused.misconfigured = true;
    assert_eq!(
        lane(&refused, LaneState::Idle, false),
        "Nobody waits: the server does not accept the gateway. Calls fail until its key, address or model is corrected."
    );
}

#[test]
fn a_lane_that_serves_says_why_callers_wait() {
    let text = |lane: &LaneSample| super::lane(lane, LaneState::Steady, false);
    let mut steady = sample(Level::Good, 2, 0);
    assert_eq!(text(&steady), "Nobody waits: 2 of 4 places are taken.");
    steady.in_flight = 4;
    steady.queued = 12;
    steady.predicted_wait_ms = Some(2900);
    assert_eq!(
        text(&steady),
        "12 callers wait: all 4 places are taken. A call that comes now waits about 3 s."
    );
    steady.in_flight = 3;
    steady.held = 2;
    steady.predicted_wait_ms = None;
    assert_eq!(
        text(&steady),
        "12 callers wait: the backend refused 2 of them for now."
    );
    steady.held = 0;
    steady.rate = Some(5.04);
    assert_eq!(
        text(&steady),
        "12 callers wait: the backend takes 5.0 calls per second."
    );
    steady.queued = 1;
    steady.retrying = 1;
    assert_eq!(
        text(&steady),
        "1 caller waits: it failed and is tried again soon."
    );
    steady.queued = 12;
    steady.retrying = 12;
    assert_eq!(
        text(&steady),
        "12 callers wait: they failed and are tried again soon."
    );
}

#[test]
fn a_lane_that_does_not_serve_says_why_and_until_when() {
    let mut broken = sample(Level::Bad, 0, 0);
    broken.next_attempt_in_ms = Some(300_000);
    assert_eq!(
        lane(&broken, LaneState::Quota, false),
        "Nobody waits: the quota of the backend is used up; the next one in 5 min."
    );
    assert_eq!(
        lane(&broken, LaneState::Paused, true),
        "Nobody waits: the backend asked for a pause, which ends in 5 min. The lane is drained: new calls go to another backend or are refused."
    );
    broken.closed = Some("closed by an operator".into());
    assert_eq!(
        lane(&broken, LaneState::Steady, false),
        "Closed: closed by an operator. Its calls go to the next backend of their model, or are refused."
    );
}

#[test]
fn the_worst_lane_decides_the_state_of_the_service() {
    let available = store("available");
    let lanes = [sample(Level::Good, 1, 0), sample(Level::Busy, 0, 3)];
    let (level, text) = overall(&lanes, 2, false, &available);
    assert_eq!(
        (level, text.as_str()),
        (Level::Busy, "“big” is getting ready; 3 callers wait.")
    );
    let lanes = [sample(Level::Bad, 0, 0), sample(Level::Busy, 0, 1)];
    let (level, text) = overall(&lanes, 3, false, &store("unavailable"));
    assert_eq!(level, Level::Bad);
    assert_eq!(
        text,
        "1 of 3 backends do not report, “big” is not serving, “big” is getting ready, the session store does not answer; \
         1 caller waits."
    );
    let (level, text) = overall(&[sample(Level::Idle, 0, 0)], 1, false, &available);
    assert_eq!(
        (level, text.as_str()),
        (Level::Idle, "Ready, and nothing is asked; nobody waits.")
    );
    let (level, text) = overall(&[sample(Level::Good, 2, 1)], 1, true, &available);
    assert_eq!(level, Level::Warn);
    assert_eq!(
        text,
        "The service stops: 3 calls are being finished, new ones are refused."
    );
}
