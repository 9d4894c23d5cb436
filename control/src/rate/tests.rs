use super::*;
use crate::BucketHint;

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_secs_f64(seconds)
}

/// Sends at the rate granted to a provider of `quota` per second and a burst; counts refusals and calls taken.
fn drive(rate: &mut Rate, quota: impl Fn(f64) -> f64, from: f64, to: f64) -> (u32, u32) {
    slowed_down(rate, None, quota, from, to)
}

/// The same with a provider that asks to slow down, and grows by half in the time given.
fn slowed_down(
    rate: &mut Rate,
    slow_down: Option<Duration>,
    quota: impl Fn(f64) -> f64,
    from: f64,
    to: f64,
) -> (u32, u32) {
    let (mut level, mut now, mut pause) = (5.0_f64, from, at(0.0));
    let (mut refused, mut taken) = (0, 0);
    while now < to {
        let pace = rate.requests(at(now)).map_or(20.0, |grant| grant.rate);
        let step = 1.0 / pace;
        now += step;
        level = (level + step * quota(now)).min(5.0);
        if at(now) < pause {
            continue;
        }
        if level >= 1.0 {
            level -= 1.0;
            taken += 1;
            rate.accepted(at(now), true);
        } else {
            refused += 1;
            let asked = Duration::from_secs(1);
            pause = rate.refused(asked, slow_down, at(now), &mut || 0.5);
        }
    }
    (refused, taken)
}

#[test]
fn a_quota_is_found_and_then_left_alone() {
    let mut rate = Rate::default();
    drive(&mut rate, |_| 5.0, 100.0, 160.0);
    let (refused, taken) = drive(&mut rate, |_| 5.0, 160.0, 400.0);
    assert!(refused <= 5, "{refused}");
    assert!(taken >= 1140, "of 1200: {taken}");
}

#[test]
fn a_backend_that_accepts_nothing_is_shut_and_shows_no_rate() {
    let asked = Duration::from_secs(1);
    let mut rate = Rate::default();
    for second in 0..5 {
        let now = at(100.0 + 1.1 * f64::from(second));
        rate.refused(asked, None, now, &mut || 0.5);
    }
    assert_eq!(rate.measured(), None);
    // A rate that is known is not lost in a minute of refusals.
    drive(&mut rate, |_| 5.0, 110.0, 170.0);
    let known = rate.measured().unwrap();
    for second in 0..50 {
        let now = at(171.0 + 1.1 * f64::from(second));
        rate.refused(asked, None, now, &mut || 0.5);
    }
    let kept = rate.measured().unwrap();
    assert!(kept >= 0.7 * known, "{kept} of {known}");
}

#[test]
fn a_penalty_before_anything_was_accepted_shows_no_rate() {
    let mut rate = Rate::default();
    rate.penalty(at(100.0), at(104.0));
    assert_eq!(rate.measured(), None);
}

#[test]
fn a_request_to_slow_down_is_followed_at_the_providers_pace() {
    let period = Duration::from_mins(15);
    let quota = |now: f64| 4.0 * 1.5_f64.powf((now - 100.0) / 900.0);
    let mut rate = Rate::default();
    let (refused, taken) = slowed_down(&mut rate, Some(period), quota, 100.0, 1900.0);
    assert!(refused <= 40, "{refused}");
    // The integral of the quota over two periods.
    let whole = 4.0 * 900.0 / 1.5_f64.ln() * 1.25;
    assert!(f64::from(taken) >= 0.9 * whole, "{taken} of {whole}");
}

#[test]
fn a_request_to_slow_down_holds_what_the_headers_allow_and_is_forgotten() {
    let mut rate = Rate::default();
    let hints = QuotaHints {
        requests: Some(BucketHint {
            limit: 6000.0,
            remaining: 5000.0,
            reset: None,
            window: Some(Duration::from_mins(1)),
        }),
        tokens: None,
    };
    for call in 0..100 {
        rate.accepted(at(100.0 + f64::from(call) / 10.0), true);
    }
    rate.hints(&hints, at(110.0));
    let learned = rate.requests(at(110.0)).unwrap().rate;
    let period = Some(Duration::from_mins(15));
    rate.refused(Duration::from_secs(1), period, at(110.0), &mut || 0.0);
    // Ten per second were taken, and may become half more.
    rate.hints(&hints, at(110.0));
    let held = rate.requests(at(120.0)).unwrap();
    assert!((9.0..=15.1).contains(&held.rate), "{held:?} of {learned}");
    assert!(
        held.burst <= 5.0 && held.level_max == Some(5000.0),
        "{held:?}"
    );
    assert!((rate.requests(at(3800.0)).unwrap().rate - learned).abs() < 1e-9);
}

#[test]
fn no_quota_of_the_headers_stops_a_lane_for_ever() {
    let hints = |remaining: f64, reset: Option<u64>| QuotaHints {
        requests: Some(BucketHint {
            limit: 10.0,
            remaining,
            reset: reset.map(Duration::from_secs),
            window: None,
        }),
        tokens: None,
    };
    let has_room = |rate: &Rate, now: f64| {
        let grant = rate.requests(at(now));
        grant.is_none_or(|grant| grant.level_max.is_none_or(|level| level >= 1.0))
    };
    // Used up, and the reset is over or absent.
    for reset in [Some(0), None] {
        let mut rate = Rate::default();
        rate.hints(&hints(0.0, reset), at(1.0));
        assert!(has_room(&rate, 2.0), "{reset:?}");
        rate.hints(&hints(3.0, Some(1)), at(3.0));
        rate.hints(&hints(0.0, reset), at(5.0));
        assert!(has_room(&rate, 6.0), "{reset:?}");
    }
    // Only the refusal has the headers, and all later answers have none.
    let mut rate = Rate::default();
    rate.hints(&hints(0.0, Some(2)), at(1.0));
    assert!(!has_room(&rate, 2.0));
    assert!(has_room(&rate, 3.5));
    rate.dispatched(1, at(3.5));
    assert!(!has_room(&rate, 4.0));
    rate.hints(&QuotaHints::default(), at(3.5));
    assert!(has_room(&rate, 4.5));
    // The last unit is sent, and the answer has no headers.
    let mut rate = Rate::default();
    rate.hints(&hints(1.0, None), at(1.0));
    rate.dispatched(1, at(2.0));
    rate.hints(&QuotaHints::default(), at(2.0));
    assert!(has_room(&rate, 3.0));
}

#[test]
fn what_a_foreign_client_took_comes_back_within_seconds() {
    let mut rate = Rate::default();
    let quota = |now: f64| {
        if (200.0..230.0).contains(&now) {
            2.0
        } else {
            5.0
        }
    };
    drive(&mut rate, quota, 100.0, 200.0);
    let (refused, taken) = drive(&mut rate, quota, 200.0, 230.0);
    assert!(refused <= 7 && taken >= 45, "{refused} {taken} of 60");
    drive(&mut rate, quota, 230.0, 240.0);
    let (_, taken) = drive(&mut rate, quota, 240.0, 270.0);
    assert!(taken >= 120, "{taken} of 150");
}

#[test]
fn a_refusal_alone_measures_nothing() {
    let mut rate = Rate::default();
    for call in 0..60 {
        rate.accepted(at(100.0 + f64::from(call) / 30.0), true);
    }
    rate.refused(Duration::from_secs(1), None, at(102.0), &mut || 0.0);
    assert_eq!(rate.measured(), None);
    for call in 0..20 {
        rate.accepted(at(103.0 + f64::from(call) / 5.0), true);
    }
    rate.refused(Duration::from_secs(1), None, at(107.0), &mut || 0.0);
    let learned = rate.measured().unwrap();
    assert!((3.9..4.1).contains(&learned), "20 in 5 s: {learned}");
}

#[test]
fn what_a_penalty_silences_is_not_a_rate() {
    // Ten per second are granted; whoever takes more is refused for three seconds.
    let mut rate = Rate::default();
    let (mut level, mut now, mut taken) = (10.0_f64, 100.0, 0);
    let mut shut = 0.0;
    while now < 160.0 {
        let step = rate
            .measured()
            .map_or(1.0 / 16.0, |rate| 1.0 / rate.min(16.0));
        now += step;
        level = (level + step * 10.0).min(10.0);
        if level >= 1.0 {
            level -= 1.0;
            taken += 1;
            rate.accepted(at(now), true);
        } else {
            rate.penalty(at(now), at(now + 3.0));
            now += 3.0;
            shut += 3.0;
            level = 10.0;
        }
    }
    assert!(shut <= 12.0, "{shut} s of silence");
    assert!(taken >= 450, "{taken} of 600");
}

#[test]
fn a_rate_that_outgrew_a_quota_falls_to_what_was_accepted() {
    // Eight per second are remembered; they grow until thirteen are refused by a provider that grants ten.
    let mut rate = Rate::default();
    rate.remember(Some(8.0), None);
    rate.penalty(at(97.0), at(100.0));
    let (mut level, mut now) = (10.0_f64, 100.0);
    while level >= 1.0 {
        let step = 1.0 / rate.measured().unwrap();
        now += step;
        level = (level + step * 10.0).min(10.0) - 1.0;
        rate.accepted(at(now), true);
    }
    let outgrown = rate.measured().unwrap();
    assert!(outgrown > 11.5, "{outgrown}");
    rate.penalty(at(now), at(now + 3.0));
    let left = rate.measured().unwrap();
    assert!((8.5..10.5).contains(&left), "{left} of {outgrown}");
}

#[test]
fn a_refusal_right_after_a_restart_is_no_measure_of_a_known_rate() {
    for taken in 0..4 {
        let mut rate = Rate::default();
        rate.remember(Some(5.0), None);
        for call in 0..taken {
            rate.accepted(at(3600.5 + f64::from(call) * 0.2), true);
        }
        rate.refused(Duration::from_secs(1), None, at(3602.0), &mut || 0.5);
        let left = rate.requests(at(3602.0)).unwrap().rate;
        assert!((4.7..5.2).contains(&left), "{taken} taken: {left}");
    }
}
