//! A controller that is started again with what an earlier one has learned.

use super::*;

#[test]
fn a_rate_of_an_earlier_life_grows_without_being_asked_for_more() {
    let learned = Snapshot {
        request_rate: Some(5.0),
        ..Snapshot::default()
    };
    let mut c = Controller::new(&ControllerSettings::default(), Some(&learned), at(100.0));
    let rate = |c: &Controller| c.grant().requests.map(|bucket| bucket.rate);
    assert_eq!(rate(&c), Some(5.0));
    // One caller, one call at a time: nobody ever waits.
    for id in 0..100 {
        call(&mut c, id, OK, 100.0 + real(id) / 2.0);
    }
    assert!(rate(&c).is_some_and(|rate| rate > 9.0), "{:?}", rate(&c));
    assert_eq!(c.snapshot(at(150.0)).request_rate, rate(&c));
}

#[test]
fn a_controller_restarted_in_the_midst_of_traffic_goes_on_where_it_was() {
    let settings = ControllerSettings::default();
    let mut c = Controller::new(&settings, None, at(0.0));
    for id in 0..60 {
        call(&mut c, id, OK, real(id) / 5.0);
    }
    assert_eq!(c.grant().state, LaneState::Steady);
    let mut learned = c.snapshot(at(12.0));
    let moment = learned.momentary.as_mut().unwrap();
    moment.level = Some(17.0);
    let again = Controller::new(&settings, Some(&learned), at(13.0));
    let grant = again.grant();
    assert_eq!((grant.state, grant.concurrency), (LaneState::Steady, 17));
    assert_eq!(grant.permission, Permission::Open);
    assert!(
        grant.service_time_high < Duration::from_secs(1),
        "{grant:?}"
    );
    // After a silence in which it may have gone to sleep, it is asked first.
    let later = Controller::new(&settings, Some(&learned), at(60.0));
    assert_eq!(later.grant().state, LaneState::Idle);
    assert_ne!(later.grant().permission, Permission::Open);
}

#[test]
fn a_controller_restarted_within_a_pause_keeps_it() {
    let settings = ControllerSettings::default();
    let pause = Outcome::Rate {
        retry_after: Some(Duration::from_secs(20)),
        slow_down: false,
    };
    let quota = Outcome::Quota {
        reset: Some(Duration::from_mins(10)),
    };
    for (outcome, state, over) in [
        (pause, LaneState::Paused, 45.0),
        (quota, LaneState::Quota, 613.0),
    ] {
        let mut c = Controller::new(&settings, None, at(0.0));
        for id in 0..60 {
            call(&mut c, id, OK, real(id) / 5.0);
        }
        call(&mut c, 60, outcome, 12.0);
        let again = Controller::new(&settings, Some(&c.snapshot(at(12.5))), at(13.0));
        assert_eq!(again.grant().state, state);
        assert_eq!(again.grant().permission, c.grant().permission);
        let mut later = Controller::new(&settings, Some(&c.snapshot(at(12.5))), at(over));
        assert_eq!(later.grant().state, LaneState::Idle, "it was silent");
        call(&mut later, 0, OK, over);
        assert_eq!(later.grant().permission, Permission::Open);
    }
}

#[test]
fn a_plea_to_slow_down_is_no_weaker_after_restarts() {
    let settings = ControllerSettings::default();
    let learned = Snapshot {
        request_rate: Some(10.0),
        rate_ceiling: Some(12.0),
        ..Snapshot::default()
    };
    let mut c = Controller::new(&settings, Some(&learned), at(0.0));
    for second in 1..5 {
        let now = at(f64::from(second));
        c = Controller::new(&settings, Some(&c.snapshot(now)), now);
    }
    assert_eq!(c.snapshot(at(5.0)).rate_ceiling, Some(12.0));
}
