//! Refusals with a clock: pauses, closures, and the speed after them.

use super::*;

#[test]
fn a_pause_is_obeyed() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    call(&mut c, 0, OK, 0.0);
    let rate = Outcome::Rate {
        retry_after: Some(Duration::from_secs(5)),
        slow_down: false,
    };
    call(&mut c, 3, rate, 2.0);
    assert!(matches!(c.grant().permission, Permission::Paused { until } if until > at(7.0)));
}

#[test]
fn one_refusal_with_a_clock_costs_a_lone_caller_the_pause_and_no_more() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    for id in 0..50 {
        call(&mut c, id, OK, real(id) / 5.0);
    }
    let rate = Outcome::Rate {
        retry_after: Some(Duration::from_secs(2)),
        slow_down: false,
    };
    call(&mut c, 50, rate, 10.0);
    assert!(matches!(c.grant().permission, Permission::Paused { until } if until < at(12.4)));
    c.step(Message::Wakeup, at(12.4), &mut || 0.5);
    assert_eq!(c.grant().permission, Permission::Open);
    assert_eq!(c.grant().requests, None);
}

#[test]
fn a_closure_that_cannot_be_is_short_and_a_long_one_is_asked_now_and_then() {
    let years = Duration::from_hours(24 * 365 * 57);
    for (reset, closed) in [(years, 300.0), (Duration::from_hours(24), 86_400.0)] {
        let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
        call(&mut c, 0, OK, 0.0);
        call(&mut c, 1, Outcome::Quota { reset: Some(reset) }, 1.0);
        let Permission::Closed { until } = c.grant().permission else {
            panic!("{:?}", c.grant());
        };
        assert!(
            (until.as_secs_f64() - 1.1 - closed).abs() < 1e-6,
            "{until:?}"
        );
        c.step(Message::Wakeup, at(1000.0), &mut || 0.5);
        assert!(!matches!(c.grant().permission, Permission::Closed { .. }));
        call(&mut c, 2, OK, 1000.0);
        assert_eq!(c.grant().permission, Permission::Open);
    }
}

/// Callers of a closed lane are refused without a message to the controller: only its own wakeups move it.
#[test]
fn a_closed_lane_is_asked_again_though_nothing_but_its_wakeups_happens() {
    let day = Duration::from_hours(24);
    for (reset, asked_by) in [(None, 61.2), (Some(day), 901.2)] {
        let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
        call(&mut c, 0, OK, 0.0);
        call(&mut c, 1, Outcome::Quota { reset }, 1.0);
        let mut now = at(1.1);
        assert!(
            c.step(Message::Prewarm, now, &mut || 0.5).is_empty(),
            "it is not time to ask"
        );
        while matches!(c.grant().permission, Permission::Closed { .. }) {
            now = c.next_wakeup().unwrap();
            assert!(now <= at(asked_by), "{now:?}");
            c.step(Message::Wakeup, now, &mut || 0.5);
        }
        let effects = c.step(Message::Prewarm, now, &mut || 0.5);
        assert!(
            effects
                .iter()
                .any(|effect| matches!(effect, Effect::Prewarm)),
            "{effects:?}"
        );
    }
}

#[test]
fn one_sequential_caller_is_at_full_speed_soon_after_a_refusal_with_a_clock() {
    let asked = Duration::from_secs(2);
    let rate = Outcome::Rate {
        retry_after: Some(asked),
        slow_down: false,
    };
    let settings = ControllerSettings::default();
    for restarts in [false, true] {
        let mut c = Controller::new(&settings, None, at(0.0));
        let mut pool = Pool::new(&PoolSettings::default(), c.grant(), at(0.0));
        let (mut now, mut served_after, mut calls) = (0.0, 0_u32, 0_u32);
        while now < 24.0 {
            let offered = OfferedCall {
                payload: (),
                deadline: at(now + 60.0),
                bytes: 1,
                tokens: 0,
                output_tokens_max: 0,
                tenant: 0,
                priority: 0,
                weight: 1.0,
                refuse_when_cold: false,
                hedge: false,
                kind: Kind::default(),
            };
            pool.set_grant(c.grant(), at(now));
            pool.offer(offered, at(now)).unwrap();
            let sent = loop {
                c.step(Message::Wakeup, at(now), &mut || 0.5);
                pool.set_grant(c.grant(), at(now));
                match pool.next(at(now)) {
                    Some(sent) => break sent,
                    None => now += 0.01,
                }
            };
            calls += 1;
            let message = Message::Dispatched {
                attempt: sent.attempt,
                in_flight: sent.in_flight,
                tokens: 0,
                probe: sent.probe,
                kind: sent.kind,
            };
            c.step(message, at(now), &mut || 0.5);
            now += 0.1;
            let outcome = if calls == 100 { rate } else { OK };
            let ended = Message::Ended {
                attempt: sent.attempt,
                span: Span::until(at(now)),
                outcome,
                quota: QuotaHints::default(),
            };
            c.step(ended, at(now), &mut || 0.5);
            pool.set_grant(c.grant(), at(now));
            pool.ended(sent.attempt, (), outcome, false, at(now), &mut || 0.5);
            if outcome == rate {
                pool.cancel(sent.call, at(now));
                if restarts {
                    let learned = c.snapshot(at(now));
                    c = Controller::new(&settings, Some(&learned), at(now));
                }
            }
            served_after += u32::from(outcome == OK && now > 14.0);
        }
        // Refused at 10 s; from twice the pause on, ten calls per second.
        assert!(served_after >= 95, "{served_after} of 100");
    }
}
