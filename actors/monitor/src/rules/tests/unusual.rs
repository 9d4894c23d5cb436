//! A lane compared with its own history.

use super::*;

#[test]
fn a_lane_is_slower_than_its_own_history_and_not_than_an_unknown_one() {
    let mut service = Service::new();
    service.lane().latency = Some(Duration::from_secs(5));
    service.calls(300, 0, 0);
    service.lane().latency = Some(Duration::from_millis(200));
    service.calls(1800, 0, 0);
    assert_eq!(service.changes, [], "there was no history");
    service.lane().latency = Some(Duration::from_millis(450));
    service.calls(1800, 0, 0);
    assert_eq!(service.changes, [], "below the factor");
    service.lane().latency = Some(Duration::from_secs(4));
    let slow = service.sample.at.as_secs();
    service.calls(120, 0, 0);
    let (opened, change, rule) = service.changes[0];
    assert_eq!((change, rule), (OPENED, Rule::Slower));
    assert!((slow + 61..slow + 70).contains(&opened), "{opened} {slow}");
    assert!(
        service.sentence().contains("take about 4 s now"),
        "{}",
        service.sentence()
    );
    service.lane().latency = Some(Duration::from_millis(250));
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
        service.lane().latency = Some(Duration::from_secs(latency));
        service.calls(120, 0, 0);
        service.rules()
    };
    assert_eq!(restarted(&memory, 4), [(OPENED, Rule::Slower)]);
    assert_eq!(restarted(&Memory::default(), 4), [], "it knows no history");
    // What cannot be is not believed.
    for value in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
        let habits = memory.habits.get_mut("gpu").unwrap();
        habits.latency.as_mut().unwrap().value = value;
        assert_eq!(restarted(&memory, 4), [], "{value}");
    }
}
