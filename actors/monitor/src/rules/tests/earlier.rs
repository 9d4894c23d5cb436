//! Alerts of an earlier process, and what an open alert says.

use super::*;

/// Returns a service that starts again with what an earlier one knew.
fn restarted(earlier: &Service) -> Service {
    let mut memory = Memory::default();
    earlier.watch.remember(&mut memory);
    let mut service = Service::new();
    service.watch = Watch::with_memory(RuleSettings::default(), &memory);
    service.sample.unix_seconds = earlier.sample.unix_seconds;
    service
}

#[test]
fn an_open_alert_says_what_is_the_case_now_and_a_closed_one_what_was_last() {
    let mut service = Service::new();
    service.calls(60, 0, 0).calls(60, 5, 0);
    let slow_and_fast = [(OPENED, Rule::BurnRateSlow), (OPENED, Rule::BurnRateFast)];
    assert_eq!(service.rules(), slow_and_fast);
    let opened = service.sentence().to_owned();
    service.calls(30, 5, 0);
    let now = service.watch.active()[0].clone();
    assert!(now.sentence.starts_with("450 of "), "{}", now.sentence);
    assert_ne!(now.sentence, opened);
    service.calls(600, 0, 0);
    assert_eq!(service.rules()[2..], [(CLOSED, Rule::BurnRateFast)]);
    let closed = service.sentence();
    assert!(
        closed != now.sentence && closed.contains(" calls that `gpu`"),
        "{closed}"
    );
}

#[test]
fn an_alert_of_an_earlier_process_closes_as_soon_as_its_rule_has_judged_again() {
    let mut earlier = Service::new();
    earlier.lane().misconfigured = 1;
    earlier.lane().refusals = vec![("queue_full", 0)];
    earlier.calls(60, 0, 0);
    earlier.calls(100, 6, 4);
    earlier.lane().closed = Some("closed by an operator".into());
    earlier.lane().misconfigured = 2;
    earlier.seconds(1, |sample| {
        sample.store_outage = Some("the disk is full".to_owned());
        sample.actors = vec![ActorSample {
            path: "/user/a".into(),
            mailbox: 1,
            ..ActorSample::default()
        }];
    });
    earlier.seconds(40, |_| {});
    let mut rules: Vec<_> = earlier
        .watch
        .active()
        .iter()
        .map(|alert| alert.rule)
        .collect();
    rules.sort();
    let expected = [
        Rule::Misconfigured,
        Rule::LaneClosed,
        Rule::BurnRateFast,
        Rule::BurnRateSlow,
        Rule::StoreDown,
        Rule::StuckActor,
        Rule::RefusalsSustained,
    ];
    assert_eq!(rules, expected);
    // Nobody calls: what only calls can show stands for two minutes.
    let mut idle = restarted(&earlier);
    idle.seconds(310, |_| {});
    let mut closed: Vec<_> = idle
        .changes
        .iter()
        .map(|(at, _, rule)| (*rule, *at))
        .collect();
    closed.sort();
    let expected = [
        (Rule::Misconfigured, 120),
        (Rule::LaneClosed, 1),
        (Rule::BurnRateFast, 120),
        (Rule::BurnRateSlow, 300),
        (Rule::StoreDown, 15),
        (Rule::StuckActor, 1),
        (Rule::RefusalsSustained, 120),
    ];
    assert_eq!(closed, expected);
    // All is well, and ten calls a second show it.
    let mut well = restarted(&earlier);
    well.calls(16, 0, 0);
    assert_eq!(well.changes.len(), 7, "{:?}", well.changes);
    let late = well.changes.iter().find(|(at, _, rule)| {
        *at > 2 && !matches!(rule, Rule::StoreDown | Rule::RefusalsSustained)
    });
    assert_eq!(late, None);
    // It is as it was: nothing is announced.
    let mut ill = restarted(&earlier);
    ill.lane().misconfigured = 1;
    ill.lane().closed = Some("closed by an operator".into());
    ill.sample.store_outage = Some("the disk is full".to_owned());
    ill.seconds(14, |_| {});
    let rules: Vec<_> = ill.changes.iter().map(|(_, _, rule)| *rule).collect();
    assert_eq!(rules, [Rule::StuckActor]);
}

#[test]
fn an_alert_about_what_is_gone_from_the_settings_closes_at_once() {
    let mut earlier = Service::new();
    earlier.lane().misconfigured = 1;
    earlier.seconds(5, |_| {});
    let mut service = restarted(&earlier);
    service.lane().name = "other".into();
    service.seconds(1, |_| {});
    assert_eq!(service.changes, [(1, CLOSED, Rule::Misconfigured)]);
}

#[test]
fn an_overload_that_goes_on_across_a_restart_is_one_alert() {
    let mut earlier = Service::new();
    earlier.lane().refusals = vec![("queue_full", 0)];
    earlier.calls(60, 0, 0).calls(100, 0, 4);
    assert_eq!(earlier.rules(), [(OPENED, Rule::RefusalsSustained)]);
    // The first calls fill the empty queue.
    let mut service = restarted(&earlier);
    service.lane().refusals = vec![("queue_full", 0)];
    service.calls(3, 0, 0).calls(100, 0, 4);
    assert_eq!(service.changes, []);
}
