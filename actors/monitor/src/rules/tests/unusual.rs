//! A lane compared with its own history.

use super::*;

#[test]
fn a_lane_is_slower_than_its_own_history_and_not_than_an_unknown_one() {
    let mut service = Service::new();
    service.lane().whole = Some(times(5_000));
    service.calls(300, 0, 0);
    service.lane().whole = Some(times(200));
    service.calls(1800, 0, 0);
    assert_eq!(service.changes, [], "there was no history");
    service.lane().whole = Some(times(450));
    service.calls(1800, 0, 0);
    assert_eq!(service.changes, [], "below the factor");
    service.lane().whole = Some(times(4_000));
    let slow = service.sample.at.as_secs();
    service.calls(120, 0, 0);
    let (opened, change, rule) = service.changes[0];
    assert_eq!((change, rule), (OPENED, Rule::Slower));
    assert!((slow + 61..slow + 70).contains(&opened), "{opened} {slow}");
    assert!(
        service.sentence().contains("took about 4 s, 1"),
        "{}",
        service.sentence()
    );
    service.lane().whole = Some(times(250));
    service.calls(200, 0, 0);
    assert_eq!(service.rules()[1..], [(CLOSED, Rule::Slower)]);
}

#[test]
fn calls_with_many_more_tokens_are_reported() {
    let mut service = Service::new();
    service.calls(1800, 0, 0);
    service.seconds(120, |sample| {
        let lane = &mut sample.lanes[0];
        lane.calls += 1;
        lane.succeeded += 1;
        lane.metered += 1;
        lane.tokens += 5000;
    });
    assert_eq!(service.rules(), [(OPENED, Rule::TokensUnusual)]);
    assert!(
        service.sentence().contains("usually use 1"),
        "{}",
        service.sentence()
    );
}

#[test]
fn calls_that_cost_much_more_are_reported() {
    let mut service = Service::new();
    service.sample.currency = "EUR".into();
    let mut calls = |seconds, nano| {
        service.seconds(seconds, |sample| {
            let lane = &mut sample.lanes[0];
            lane.calls += 1;
            lane.succeeded += 1;
            lane.priced += 1;
            lane.cost_nano += nano;
        });
    };
    calls(1800, 2_000_000);
    calls(120, 50_000_000);
    assert_eq!(service.rules(), [(OPENED, Rule::CostUnusual)]);
    let sentence = service.sentence();
    assert!(
        sentence.contains("usually cost 0.002") && sentence.contains("EUR"),
        "{sentence}"
    );
}

#[test]
fn what_is_usual_is_known_after_a_restart() {
    let mut service = Service::new();
    service.calls(1800, 0, 0);
    let mut memory = Memory::default();
    service.watch.remember(&mut memory);
    let restarted = |memory: &Memory, latency: u64| {
        let mut service = Service::new();
        service.watch = Watch::with_memory(RuleSettings::default(), memory);
        service.lane().whole = Some(times(latency * 1000));
        service.calls(120, 0, 0);
        service.rules()
    };
    assert_eq!(restarted(&memory, 4), [(OPENED, Rule::Slower)]);
    assert_eq!(restarted(&Memory::default(), 4), [], "it knows no history");
    // What cannot be is not believed.
    for value in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
        let habits = memory.habits.get_mut("gpu").unwrap();
        habits.whole.as_mut().unwrap().value = value;
        assert_eq!(restarted(&memory, 4), [], "{value}");
    }
}

#[test]
fn an_alert_about_calls_that_come_seldom_does_not_come_and_go() {
    let mut service = Service::new();
    service.sample.currency = "EUR".into();
    let calls = |service: &mut Service, seconds, every, nano| {
        service.seconds(seconds, |sample| {
            if sample.at.as_secs().is_multiple_of(every) {
                let lane = &mut sample.lanes[0];
                lane.calls += 1;
                lane.succeeded += 1;
                lane.priced += 1;
                lane.cost_nano += nano;
            }
        });
    };
    calls(&mut service, 1800, 1, 2_000_000);
    calls(&mut service, 120, 1, 50_000_000);
    assert_eq!(service.rules(), [(OPENED, Rule::CostUnusual)]);
    // One call in five minutes.
    calls(&mut service, 2 * 3600, 300, 50_000_000);
    assert_eq!(service.rules(), [(OPENED, Rule::CostUnusual)]);
    // Nobody calls any more: it closes, and a single call opens none.
    calls(&mut service, 3600, 5000, 50_000_000);
    assert_eq!(service.rules()[1..], [(CLOSED, Rule::CostUnusual)]);
    calls(&mut service, 4 * 3600, 1200, 50_000_000);
    assert_eq!(service.rules().len(), 2, "{:?}", service.changes);
}

#[test]
fn answers_that_begin_later_or_last_longer_than_they_did_are_reported_with_their_factor() {
    let mut service = Service::new();
    service.lane().first_token = Some(times(300));
    service.calls(1800, 0, 0);
    // Six times as late; the whole answer is hardly longer.
    service.lane().first_token = Some(times(1800));
    service.calls(120, 0, 0);
    assert_eq!(service.rules(), [(OPENED, Rule::Slower)]);
    let sentence = service.sentence();
    assert!(
        sentence.starts_with("The last answers of `gpu` began after about 1.8 s, 6."),
        "{sentence}"
    );
    service.lane().whole = Some(times(2000));
    service.calls(120, 0, 0);
    let sentence = &service.watch.active()[0].sentence;
    assert!(
        sentence.contains(" took about 2 s and began after about 1.8 s, 9."),
        "{sentence}"
    );
    // A tenth of a second more is the load of the server.
    let mut service = Service::new();
    service.lane().first_token = Some(times(20));
    service.calls(1800, 0, 0);
    service.lane().first_token = Some(times(120));
    service.calls(600, 0, 0);
    assert_eq!(service.rules(), []);
}

#[test]
fn a_lane_that_becomes_idle_between_slow_calls_has_one_alert() {
    let mut service = Service::new();
    service.calls(1800, 0, 0);
    service.lane().whole = Some(times(4000));
    service.calls(120, 0, 0);
    assert_eq!(service.rules(), [(OPENED, Rule::Slower)]);
    for _ in 0..5 {
        service.lane().phase = Phase::Idle;
        service.seconds(400, |_| {});
        service.lane().phase = Phase::Serving;
        service.calls(2, 0, 0);
    }
    assert_eq!(service.rules(), [(OPENED, Rule::Slower)]);
}
