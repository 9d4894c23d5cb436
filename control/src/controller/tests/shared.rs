//! A backend that other gateways use too.

use super::*;
use crate::{BucketHint, Lease, Wake};

/// A lease of half of 24 calls.
fn half() -> Lease {
    Lease {
        share: 12,
        level: Some(24.0),
        others: 12,
        members: 2,
        ..Lease::default()
    }
}

fn lease(c: &mut Controller, lease: Lease, now: f64) -> Vec<Effect> {
    c.step(Message::Shared(Some(lease)), at(now), &mut || 0.5)
}

/// A controller that serves as one of two gateways, and follows the other.
fn follower() -> Controller {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    call(&mut c, 0, OK, 0.0);
    lease(&mut c, half(), 1.0);
    c
}

#[test]
fn a_follower_has_its_share_and_does_not_move_the_limit() {
    let mut c = follower();
    assert_eq!(c.grant().concurrency, 12);
    c.step(Message::Demand { queued: 50 }, at(1.0), &mut || 0.5);
    for id in 1..300 {
        call(&mut c, id, OK, 1.0 + 0.2 * real(id));
    }
    assert_eq!(c.grant().concurrency, 12);
    let renewal = c.renewal(at(62.0));
    assert_eq!(
        (renewal.level, renewal.trial, renewal.cut),
        (24.0, 0, false)
    );
    lease(&mut c, Lease { share: 0, ..half() }, 62.0);
    assert_eq!(c.grant().concurrency, 0, "others have all of it");
    c.step(Message::Shared(None), at(63.0), &mut || 0.5);
    assert_eq!(c.grant().concurrency, 24, "it is alone");
}

#[test]
fn the_leader_tries_more_on_top_of_its_share() {
    let mut c = follower();
    let leads = Lease {
        lead: Some(7),
        ..half()
    };
    lease(&mut c, leads, 1.0);
    c.step(Message::Demand { queued: 50 }, at(1.0), &mut || 0.5);
    let mut most = 0;
    for id in 1..400 {
        let now = 1.0 + 0.2 * real(id);
        let attempt = AttemptId(id);
        let sent = Message::Dispatched {
            attempt,
            in_flight: 12,
            tokens: 0,
            probe: false,
            kind: Kind::default(),
        };
        c.step(sent, at(now), &mut || 0.5);
        let ended = Message::Ended {
            attempt,
            span: Span::until(at(now + 0.1)),
            outcome: OK,
            quota: QuotaHints::default(),
        };
        c.step(ended, at(now + 0.1), &mut || 0.5);
        most = most.max(c.grant().concurrency);
        let renewal = c.renewal(at(81.0));
        assert_eq!(renewal.lead, Some(7));
        let over = c.grant().concurrency.saturating_sub(12);
        assert!(renewal.trial == 0 || renewal.trial >= over.min(1));
    }
    assert!(most > 12, "{most}");
}

#[test]
fn many_refusals_lower_the_limit_of_all_and_are_reported_at_once() {
    let mut c = follower();
    c.step(Message::Demand { queued: 50 }, at(1.0), &mut || 0.5);
    let refused = |c: &mut Controller, id: u64, now: f64| {
        let sent = Message::Dispatched {
            attempt: AttemptId(id),
            in_flight: 9,
            tokens: 0,
            probe: false,
            kind: Kind::default(),
        };
        c.step(sent, at(now), &mut || 0.5);
        let ended = Message::Ended {
            attempt: AttemptId(id),
            span: Span::until(at(now + 0.05)),
            outcome: Outcome::Limit,
            quota: QuotaHints::default(),
        };
        c.step(ended, at(now + 0.05), &mut || 0.5)
    };
    let wanted = |effects: &[Effect]| {
        let mut effects = effects.iter();
        effects.any(|effect| matches!(effect, Effect::RenewLease))
    };
    for id in 1..5 {
        assert!(!wanted(&refused(&mut c, id, 2.0)));
    }
    assert_eq!(
        c.grant().concurrency,
        12,
        "they may come from the leader's trial"
    );
    assert!(wanted(&refused(&mut c, 5, 2.1)));
    // 9 of its own and 12 of the others: 20 were served.
    assert_eq!(c.grant().concurrency, 10);
    let renewal = c.renewal(at(2.2));
    assert_eq!(
        (renewal.level, renewal.cut, renewal.refused),
        (20.0, true, 5)
    );
    // A lease that was given before the cut was known does not undo it.
    lease(&mut c, half(), 2.3);
    assert_eq!(c.grant().concurrency, 10);
    assert!(c.renewal(at(2.3)).cut);
    let known = Lease {
        share: 10,
        level: Some(20.0),
        cuts: 1,
        ..half()
    };
    lease(&mut c, known, 2.4);
    assert_eq!(c.grant().concurrency, 10);
    assert!(!c.renewal(at(2.4)).cut);
}

#[test]
fn the_leader_follows_a_cut_of_another_gateway() {
    let mut c = follower();
    let leads = Lease {
        lead: Some(7),
        ..half()
    };
    lease(&mut c, leads, 1.0);
    let cut = Lease {
        share: 5,
        level: Some(10.0),
        cuts: 1,
        ..leads
    };
    lease(&mut c, cut, 2.0);
    assert_eq!(c.grant().concurrency, 5);
    assert_eq!(Some(c.renewal(at(2.0)).level), cut.level);
}

#[test]
fn only_the_gateway_whose_turn_it_is_wakes_the_backend() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    let nobody = Lease {
        members: 2,
        ..Lease::default()
    };
    lease(&mut c, nobody, 10.0);
    let wants = c.step(Message::Demand { queued: 3 }, at(10.5), &mut || 0.5);
    assert!(wants.iter().any(|e| matches!(e, Effect::RenewLease)));
    assert!(c.renewal(at(10.5)).wants_wake);
    let held = |c: &Controller| match c.grant().permission {
        Permission::SingleFlight { not_before } => not_before > at(12.0),
        _ => false,
    };
    assert!(held(&c));
    let ready_in = Some(Duration::from_secs(30));
    let other = Lease {
        wake: Wake::Other { ready_in },
        ..nobody
    };
    lease(&mut c, other, 10.6);
    assert!(held(&c));
    assert_eq!(c.grant().state, LaneState::Cold);
    assert_eq!(c.grant().ready_eta, Some(at(40.6)));
    let mine = Lease {
        wake: Wake::Me { fence: 9 },
        ..nobody
    };
    lease(&mut c, mine, 11.0);
    assert!(!held(&c));
}

#[test]
fn a_gateway_serves_as_soon_as_another_one_does_and_does_not_fall_asleep_while_it_does() {
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    let serves = Lease {
        serves: true,
        ..half()
    };
    lease(&mut c, serves, 10.0);
    assert_eq!(c.grant().permission, Permission::Open);
    assert_eq!(c.grant().concurrency, 12);
    // Its own evidence is missing, so two idle gateways do not keep each other awake.
    assert!(!c.renewal(at(10.0)).serves);
    c.step(Message::Wakeup, at(50.0), &mut || 0.5);
    assert_eq!(c.grant().permission, Permission::Open);
    assert_eq!(
        c.next_wakeup(),
        None,
        "a wakeup that has no effect would be due again at once"
    );
    lease(&mut c, half(), 60.0);
    assert_eq!(c.grant().state, LaneState::Idle);
}

#[test]
fn a_quota_of_the_headers_is_divided() {
    let mut c = follower();
    let quota = QuotaHints {
        requests: Some(BucketHint {
            limit: 600.0,
            remaining: 500.0,
            reset: Some(Duration::from_mins(1)),
            window: Some(Duration::from_mins(1)),
        }),
        ..QuotaHints::default()
    };
    let sent = Message::Dispatched {
        attempt: AttemptId(1),
        in_flight: 1,
        tokens: 0,
        probe: false,
        kind: Kind::default(),
    };
    c.step(sent, at(2.0), &mut || 0.5);
    let ended = Message::Ended {
        attempt: AttemptId(1),
        span: Span::until(at(2.1)),
        outcome: OK,
        quota,
    };
    c.step(ended, at(2.1), &mut || 0.5);
    let rate = |c: &Controller| c.grant().requests.unwrap().rate;
    let shared = rate(&c);
    c.step(Message::Shared(None), at(2.2), &mut || 0.5);
    let alone = rate(&c);
    assert!((shared / alone - 0.5).abs() < 0.05, "{shared} of {alone}");
}

#[test]
fn what_others_have_learned_fills_gaps_only() {
    let mut learned = Snapshot {
        limit: Some(31.0),
        request_rate: Some(7.0),
        ..Snapshot::default()
    };
    learned.load_times.record(Duration::from_secs(40));
    let mut c = Controller::new(&ControllerSettings::default(), None, at(0.0));
    c.adopt(&learned);
    let now = c.snapshot(at(0.0));
    assert_eq!(
        (now.limit, now.request_rate, &now.load_times),
        (Some(31.0), Some(7.0), &learned.load_times)
    );
    let mut other = Snapshot::default();
    other.load_times.record(Duration::from_secs(90));
    c.adopt(&other);
    assert_eq!(c.snapshot(at(0.0)).load_times, learned.load_times);
}
