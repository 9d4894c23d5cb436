//! A backend that loads, alone or as one of several replicas, and the first calls after it.

use super::*;

#[test]
fn loading_holds_back_and_its_time_is_learned() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    let cold = Outcome::Cold {
        estimated: Some(Duration::from_secs(20)),
    };
    call(&mut c, 0, cold, 0.0);
    assert_eq!(c.grant().state, LaneState::Cold);
    assert_eq!(
        c.grant().permission,
        Permission::SingleFlight {
            not_before: at(2.1)
        }
    );
    // It is asked every two seconds while callers wait.
    for id in 1..10 {
        call(
            &mut c,
            id,
            Outcome::Cold { estimated: None },
            2.2 * real(id),
        );
    }
    call(&mut c, 10, OK, 20.2);
    assert_eq!(c.grant().permission, Permission::Open);
    let learned = c.snapshot(at(21.0)).load_times.quantile(0.5);
    assert_eq!(learned, Some(Duration::from_millis(20_200)));
}

#[test]
fn the_time_that_a_probe_was_held_is_no_service_time() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    let unknown = c.grant().service_time_high;
    let probe = Message::Dispatched {
        attempt: AttemptId(0),
        in_flight: 1,
        tokens: 0,
        probe: true,
        kind: Kind::default(),
    };
    c.step(probe, at(0.0), &mut || 0.5);
    let served = Message::Ended {
        attempt: AttemptId(0),
        span: Span::until(at(90.0)),
        outcome: OK,
        quota: QuotaHints::default(),
    };
    c.step(served, at(90.0), &mut || 0.5);
    let later = c.step(Message::Wakeup, at(90.0), &mut || 0.5);
    assert!(later.is_empty(), "{later:?}");
    assert_eq!(
        c.grant().service_time_high.max(unknown),
        Duration::from_secs(12)
    );
    call(&mut c, 1, OK, 90.0);
    assert!(c.grant().service_time_high < Duration::from_secs(1));
    // What agrees with what is known is learned from a probe too.
    let answers = c.answers;
    call(&mut c, 2, OK, 130.0);
    assert_eq!(c.answers, answers + 1);
}

#[test]
fn slow_first_calls_after_a_cold_start_are_not_the_usual_time_for_long() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    call(&mut c, 0, OK, 0.0);
    let mut now = 1.0;
    // The first four calls take 3 s, the others 1.3 s.
    for id in 1..13 {
        let takes = if id < 5 { 3.0 } else { 1.3 };
        took(&mut c, id, takes, now);
        now += 4.0;
    }
    let usual = c.make_grant(at(now)).service_time.as_secs_f64();
    assert!(usual < 3.6, "{usual} s");
}

#[test]
fn traffic_that_is_expected_wakes_once_and_not_what_serves() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    let expect = |c: &mut Controller, now: f64| {
        let effects = c.step(Message::Prewarm, at(now), &mut || 0.5);
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Prewarm))
    };
    assert!(expect(&mut c, 0.0));
    let probe = Message::Dispatched {
        attempt: AttemptId(0),
        in_flight: 1,
        tokens: 0,
        probe: true,
        kind: Kind::default(),
    };
    c.step(probe, at(1.0), &mut || 0.5);
    assert!(!expect(&mut c, 2.0), "a call is on its way");
    let served = Message::Ended {
        attempt: AttemptId(0),
        span: Span::until(at(3.0)),
        outcome: OK,
        quota: QuotaHints::default(),
    };
    c.step(served, at(3.0), &mut || 0.5);
    assert!(c.serves() && !expect(&mut c, 4.0));
    // The silence was not noticed by a wakeup.
    assert!(expect(&mut c, 40.0));
    for id in 1..40 {
        call(&mut c, id, Outcome::Fault, 41.0);
    }
    assert_eq!(c.grant().state, LaneState::Open);
    assert!(
        expect(&mut c, 42.0),
        "a broken backend is probed when its time has come"
    );
}

#[test]
fn a_replica_that_loads_does_not_make_a_lane_cold_that_serves() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    call(&mut c, 0, OK, 0.0);
    let send = |c: &mut Controller, id: u64, now: f64| {
        let sent = Message::Dispatched {
            attempt: AttemptId(id),
            in_flight: 2,
            tokens: 0,
            probe: false,
            kind: Kind::default(),
        };
        c.step(sent, at(now), &mut || 0.5);
    };
    let loads = Outcome::Cold { estimated: None };
    send(&mut c, 1000, 0.5);
    call(&mut c, 1, loads, 0.6);
    assert_eq!(c.grant().permission, Permission::Open);
    assert!(c.snapshot(at(1.0)).load_times.expected().is_none());
    // Nothing is served any more: the lane is cold.
    call(&mut c, 2, loads, 12.0);
    call(&mut c, 3, loads, 12.5);
    assert_eq!(c.grant().state, LaneState::Cold);
}

#[test]
fn a_replica_that_loads_does_not_make_a_lane_cold_between_two_calls() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    let loads = Outcome::Cold { estimated: None };
    call(&mut c, 0, OK, 0.0);
    for id in 1..20 {
        let now = 3.0 * real(id);
        let outcome = if id % 3 == 0 { OK } else { loads };
        call(&mut c, id, outcome, now);
        assert_eq!(c.grant().permission, Permission::Open, "after call {id}");
    }
}

#[test]
fn a_backend_that_loads_is_asked_again_within_seconds_whatever_it_promised() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    let says = Outcome::Cold {
        estimated: Some(Duration::from_secs(20)),
    };
    let mut now = 0.0;
    for id in 0..20 {
        call(&mut c, id, says, now);
        let Permission::SingleFlight { not_before } = c.grant().permission else {
            panic!("{:?}", c.grant());
        };
        let wait = not_before.as_secs_f64() - now - 0.1;
        assert!((0.49..=2.01).contains(&wait), "{wait} s at {now} s");
        now = not_before.as_secs_f64();
    }
}

#[test]
fn a_backend_that_is_known_to_be_there_is_probed_before_it_is_due() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    call(&mut c, 0, Outcome::Cold { estimated: None }, 2.0);
    let due = |c: &Controller| match c.grant().permission {
        Permission::SingleFlight { not_before } => not_before,
        other => panic!("{other:?}"),
    };
    assert!(due(&c) > at(2.2), "{:?}", due(&c));
    c.step(Message::IsThere, at(2.2), &mut || 0.5);
    assert_eq!(due(&c), at(2.2));
    // A second hint does not put it off.
    c.step(Message::IsThere, at(4.0), &mut || 0.5);
    assert_eq!(due(&c), at(2.2));
}
