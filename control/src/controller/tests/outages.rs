//! A backend that is not there: what is a load, and what is an outage.

use super::*;

const REFUSED: Outcome = Outcome::Absent {
    answered: false,
    retry_after: None,
};
const WORDLESS: Outcome = Outcome::Absent {
    answered: true,
    retry_after: None,
};
const LOADS: Outcome = Outcome::Cold { estimated: None };

/// Asks each 1.5 s from `from` on until `until`, each time with this outcome. `id` is the number of the last attempt.
fn ask(c: &mut Controller, id: &mut u64, outcome: Outcome, from: f64, until: f64) {
    let mut now = from;
    while now < until {
        *id += 1;
        call(c, *id, outcome, now);
        now += 1.5;
    }
}

fn served(c: &mut Controller, id: &mut u64, now: f64) {
    *id += 1;
    call(c, *id, OK, now);
}

fn learned(c: &Controller, now: f64) -> Option<u64> {
    let times = c.snapshot(at(now)).load_times;
    times.expected().map(|took| took.as_secs())
}

#[test]
fn an_outage_is_not_learned_as_a_load_time() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    let mut id = 0;
    served(&mut c, &mut id, 0.0);
    // It fails while it is known to be awake, and then refuses connections.
    ask(&mut c, &mut id, Outcome::Fault, 1.0, 12.0);
    assert_eq!(c.grant().state, LaneState::Open);
    for outcome in [REFUSED, WORDLESS] {
        ask(&mut c, &mut id, outcome, 12.0, 300.0);
        assert_eq!(c.grant().state, LaneState::Open, "{outcome:?}");
        assert_eq!(c.grant().ready_eta, None, "{outcome:?}");
    }
    served(&mut c, &mut id, 300.0);
    assert_eq!(learned(&c, 301.0), None);
    // Idle, and nothing listens when it is called.
    c.step(Message::Wakeup, at(400.0), &mut || 0.5);
    assert_eq!(c.grant().state, LaneState::Idle);
    ask(&mut c, &mut id, REFUSED, 400.0, 700.0);
    assert_eq!(c.grant().ready_eta, None);
    served(&mut c, &mut id, 700.0);
    assert_eq!(learned(&c, 701.0), None);
}

#[test]
fn the_load_within_an_outage_is_learned_from_its_first_sign() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    let mut id = 0;
    ask(&mut c, &mut id, REFUSED, 0.0, 300.0);
    ask(&mut c, &mut id, LOADS, 300.0, 320.0);
    served(&mut c, &mut id, 320.0);
    assert_eq!(learned(&c, 321.0), Some(20));
    // The server dies while it loads: the load begins anew.
    c.step(Message::Wakeup, at(400.0), &mut || 0.5);
    ask(&mut c, &mut id, LOADS, 400.0, 415.0);
    ask(&mut c, &mut id, REFUSED, 415.0, 600.0);
    assert_eq!(c.grant().ready_eta, None);
    ask(&mut c, &mut id, LOADS, 600.0, 630.0);
    served(&mut c, &mut id, 630.0);
    assert_eq!(
        c.snapshot(at(631.0))
            .load_times
            .quantile(1.0)
            .unwrap()
            .as_secs(),
        30
    );
}

#[test]
fn a_proxy_without_words_before_a_sleeping_backend_teaches_a_load_of_bounded_length() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    let mut id = 0;
    ask(&mut c, &mut id, WORDLESS, 0.0, 600.0);
    served(&mut c, &mut id, 600.0);
    assert_eq!(learned(&c, 601.0), None, "ten minutes are an outage");
    c.step(Message::Wakeup, at(700.0), &mut || 0.5);
    ask(&mut c, &mut id, WORDLESS, 700.0, 760.0);
    served(&mut c, &mut id, 760.0);
    assert_eq!(learned(&c, 761.0), Some(60));
    c.step(Message::Wakeup, at(900.0), &mut || 0.5);
    ask(&mut c, &mut id, WORDLESS, 900.0, 902.0);
    let eta = c.grant().ready_eta.unwrap().as_secs_f64();
    assert!((959.0..=961.0).contains(&eta), "{eta}");
    // Nothing shows when a load ends that takes far longer than usual.
    ask(&mut c, &mut id, WORDLESS, 902.0, 1100.0);
    assert_eq!(c.grant().ready_eta, None);
}

#[test]
fn a_load_whose_end_nobody_observed_is_not_learned() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    let mut id = 0;
    ask(&mut c, &mut id, LOADS, 0.0, 10.0);
    // No caller comes for ten minutes.
    served(&mut c, &mut id, 610.0);
    assert_eq!(learned(&c, 611.0), None);
}

#[test]
fn a_backend_that_was_cold_and_now_fails_is_broken_at_once() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    let mut id = 0;
    ask(&mut c, &mut id, LOADS, 0.0, 10.0);
    assert_eq!(c.grant().state, LaneState::Cold);
    ask(&mut c, &mut id, Outcome::Fault, 10.0, 11.0);
    assert_eq!(c.grant().state, LaneState::Open);
    // It says again that it loads, and it serves.
    ask(&mut c, &mut id, LOADS, 12.0, 22.0);
    assert_eq!(c.grant().state, LaneState::Cold);
    served(&mut c, &mut id, 22.0);
    assert_eq!(c.grant().permission, Permission::Open);
}

#[test]
fn a_probe_that_a_loading_backend_holds_until_the_caller_has_no_more_time_breaks_nothing() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    let mut id = 0;
    ask(&mut c, &mut id, LOADS, 0.0, 10.0);
    ask(&mut c, &mut id, Outcome::Timeout, 10.0, 30.0);
    assert_eq!(c.grant().state, LaneState::Cold);
}

#[test]
fn an_absent_replica_of_a_lane_that_serves_costs_it_nothing() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    for id in 0..60 {
        let outcome = if id % 3 == 0 { OK } else { REFUSED };
        call(&mut c, id, outcome, real(id));
        assert_eq!(c.grant().permission, Permission::Open, "after call {id}");
    }
}
