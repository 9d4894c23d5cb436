//! Refused calls, and the times to come back that their callers get.

use super::*;

#[test]
fn refusals_are_reported_when_they_last_and_not_in_a_burst() {
    let mut service = Service::new();
    service.calls(300, 0, 0).calls(15, 0, 2).calls(300, 0, 0);
    assert_eq!(service.changes, [], "a burst");
    service.calls(300, 0, 2);
    assert_eq!(service.rules(), [(OPENED, Rule::RefusalsSustained)]);
    service.calls(300, 0, 0);
    assert_eq!(service.rules()[1..], [(CLOSED, Rule::RefusalsSustained)]);
}

#[test]
fn promises_that_are_not_kept_are_reported() {
    let mut service = Service::new();
    // Told to come back after a second, refused for half a minute.
    service.lane().load_time_p95 = Some(Duration::from_mins(10));
    for _ in 0..6 {
        service.lane().promised = Some(Duration::from_secs(1));
        service.seconds(30, |sample| {
            let lane = &mut sample.lanes[0];
            lane.phase = Phase::Cold;
            lane.calls += 1;
            lane.refused += 1;
        });
        service.lane().promised = None;
        service.calls(1, 0, 0);
    }
    assert_eq!(service.rules(), [(OPENED, Rule::RetryAfterWrong)]);
    assert!(
        service.sentence().contains("was 1 s where it took"),
        "{}",
        service.sentence()
    );
    // Told to come back after a minute, admitted after a few seconds.
    let mut service = Service::new();
    for _ in 0..6 {
        service.lane().promised = Some(Duration::from_mins(1));
        service.calls(1, 0, 10);
        service.lane().promised = None;
        service.calls(100, 0, 0);
    }
    assert_eq!(service.rules(), [(OPENED, Rule::RetryAfterWrong)]);
    // Right ones.
    let mut service = Service::new();
    service.lane().phase = Phase::Cold;
    service.lane().load_time_p95 = Some(Duration::from_mins(10));
    for _ in 0..50 {
        service.lane().promised = Some(Duration::from_secs(20));
        service.calls(18, 0, 10);
        service.lane().promised = None;
        service.calls(300, 0, 0);
    }
    assert_eq!(service.changes, []);
}

#[test]
fn refusals_are_reported_with_the_reasons_that_were_counted_and_what_helps_against_most() {
    let mut service = Service::new();
    service.calls(300, 0, 0);
    service.seconds(120, |sample| {
        let lane = &mut sample.lanes[0];
        lane.phase = Phase::Paused;
        lane.calls += 10;
        lane.refused += 4;
        let full = lane.refused / 4;
        lane.refusals = vec![
            ("queue_full", full),
            ("server_is_overloaded", lane.refused - full),
        ];
    });
    assert_eq!(service.rules(), [(OPENED, Rule::RefusalsSustained)]);
    let alert = service.watch.active()[0].clone();
    assert!(
        alert.sentence.contains("480 of 1240 calls"),
        "{}",
        alert.sentence
    );
    let reasons = ": 75 % with `server_is_overloaded` (the backend asked for a pause that ends after the deadline), 25 % with \
                   `queue_full` (as many calls wait";
    assert!(alert.sentence.contains(reasons), "{}", alert.sentence);
    assert!(
        alert.action.contains("rate limit at the provider"),
        "{}",
        alert.action
    );
    // What is counted changes, and so does what helps.
    service.seconds(200, |sample| {
        let lane = &mut sample.lanes[0];
        lane.phase = Phase::Serving;
        lane.calls += 10;
        lane.refused += 4;
        lane.refusals[0].1 += 4;
    });
    let alert = service.watch.active()[0].clone();
    assert!(
        alert.sentence.contains("100 % with `queue_full`"),
        "{}",
        alert.sentence
    );
    assert!(
        alert.action.contains("raise `queue_max`"),
        "{}",
        alert.action
    );
}

#[test]
fn refusals_whose_own_cause_is_over_open_no_alert() {
    for (phase, code) in [
        (Phase::OutOfQuota, "insufficient_quota"),
        (Phase::Cold, "model_loading"),
        (Phase::Broken, "backend_broken"),
    ] {
        let mut service = Service::new();
        service.calls(120, 0, 0);
        service.seconds(120, |sample| {
            let lane = &mut sample.lanes[0];
            lane.phase = phase;
            lane.calls += 10;
            lane.refused += 10;
            lane.refusals = vec![(code, lane.refused)];
        });
        // A probe that takes a while ends it.
        service.lane().phase = Phase::Probing;
        service.calls(3, 0, 0);
        service.lane().phase = Phase::Serving;
        service.calls(300, 0, 0);
        let opened = service.rules();
        let refusals = (OPENED, Rule::RefusalsSustained);
        assert!(!opened.contains(&refusals), "{code}: {opened:?}");
        // New ones are counted, and only those.
        service.lane().phase = phase;
        service.seconds(1, |_| {});
        service.lane().phase = Phase::Serving;
        service.seconds(90, |sample| {
            let lane = &mut sample.lanes[0];
            lane.calls += 10;
            lane.refused += 5;
            lane.refusals.resize(2, ("queue_full", 0));
            lane.refusals[1].1 += 5;
        });
        let alerts = service.watch.active();
        let alert = alerts
            .iter()
            .find(|alert| alert.rule == Rule::RefusalsSustained);
        let sentence = &alert.unwrap().sentence;
        let expected = "`gpu` refused 450 of 900 calls in the last 90 s: 100 % with `queue_full`";
        assert!(sentence.starts_with(expected), "{sentence}");
    }
}

#[test]
fn calls_whose_deadline_passes_in_the_queue_do_not_mean_that_the_backend_became_slower() {
    let mut service = Service::new();
    service.lane().refusals = vec![("queue_full", 0), ("queue_timeout", 0)];
    service.calls(60, 0, 0);
    let mut actions = Vec::new();
    for _ in 0..4 {
        // The two reasons pass each other.
        for code in [0, 1] {
            service.seconds(60, |sample| {
                let lane = &mut sample.lanes[0];
                lane.calls += 10;
                lane.refused += 5;
                lane.refusals[code].1 += 5;
            });
            let alerts = service.watch.active();
            actions.extend(alerts.iter().map(|alert| alert.action.clone()));
            for alert in alerts {
                assert!(!alert.sentence.contains("slower"), "{}", alert.sentence);
            }
        }
    }
    actions.dedup();
    assert_eq!(actions.len(), 1, "{actions:?}");
    let helps = ["Add capacity", "`queue_max`", "`server.deadline_default`"];
    assert!(
        helps.iter().all(|part| actions[0].contains(part)),
        "{actions:?}"
    );
}
