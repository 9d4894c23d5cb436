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
