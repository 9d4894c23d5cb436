use super::*;

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_secs_f64(seconds)
}

/// Sends at the rate granted to a provider of `quota` per second and a burst; counts refusals and calls taken.
fn drive(rate: &mut Rate, quota: impl Fn(f64) -> f64, from: f64, to: f64) -> (u32, u32) {
    plead(rate, None, quota, from, to)
}

/// The same with a provider that asks to slow down, and grows by half in the time given.
fn plead(
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
fn a_plea_is_followed_at_the_providers_pace() {
    let period = Duration::from_mins(15);
    let quota = |now: f64| 4.0 * 1.5_f64.powf((now - 100.0) / 900.0);
    let mut rate = Rate::default();
    let (refused, taken) = plead(&mut rate, Some(period), quota, 100.0, 1900.0);
    assert!(refused <= 30, "{refused}");
    // The integral of the quota over two periods.
    let whole = 4.0 * 900.0 / 1.5_f64.ln() * 1.25;
    assert!(f64::from(taken) >= 0.9 * whole, "{taken} of {whole}");
}

#[test]
fn a_plea_holds_what_the_headers_allow_and_is_forgotten() {
    let mut rate = Rate::default();
    let hints = QuotaHints {
        requests: Some(BucketHint {
            limit: 6000.0,
            remaining: 5000.0,
            reset: None,
            window: Duration::from_mins(1),
        }),
        tokens: None,
    };
    for call in 0..100 {
        rate.accepted(at(100.0 + f64::from(call) / 10.0), true);
    }
    rate.hints(&hints);
    let told = rate.requests(at(110.0)).unwrap().rate;
    let period = Some(Duration::from_mins(15));
    rate.refused(Duration::from_secs(1), period, at(110.0), &mut || 0.0);
    // Ten per second were taken, and may become half more.
    rate.hints(&hints);
    let held = rate.requests(at(120.0)).unwrap();
    assert!((9.0..=15.1).contains(&held.rate), "{held:?} of {told}");
    assert!(
        held.burst <= 5.0 && held.level_max == Some(5000.0),
        "{held:?}"
    );
    assert!((rate.requests(at(3800.0)).unwrap().rate - told).abs() < 1e-9);
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
fn an_inferred_rate_is_undone_by_refusals_at_its_own_pace() {
    let mut rate = Rate::default();
    rate.infer(5.0, at(100.0));
    assert!(rate.is_inferred());
    for step in 0..2 {
        let now = at(101.0 + f64::from(step));
        assert!(!rate.disproved(now));
        rate.refused(rate.turn(), None, now, &mut || 0.5);
    }
    assert!(rate.disproved(at(103.0)));
    assert!(rate.requests.is_none() && !rate.is_inferred());
}

#[test]
fn refusals_below_what_is_served_betray_a_rate() {
    let mut watch = Contradictions::default();
    let mut rate = None;
    for second in 0..30 {
        let now = 100.0 + f64::from(second);
        if second % 3 == 0 {
            rate = rate.or(watch.refused(at(now), 3, at(now)));
        }
        // Five calls a second are taken, with up to six in flight.
        for part in 0..5 {
            let sent = now + 0.1 + f64::from(part) * 0.1;
            rate = rate.or(watch.served(at(sent), 6, at(sent + 0.3)));
        }
    }
    let rate = rate.unwrap();
    assert!((4.5..=5.5).contains(&rate), "{rate}");
}

#[test]
fn refusals_at_the_edge_betray_nothing() {
    let mut watch = Contradictions::default();
    for second in 0..60 {
        let now = 100.0 + f64::from(second);
        assert_eq!(watch.refused(at(now), 9, at(now)), None);
        for part in 0..5 {
            let sent = now + 0.1 + f64::from(part) * 0.1;
            assert_eq!(watch.served(at(sent), 8, at(sent + 0.3)), None);
        }
    }
}

#[test]
fn calls_that_were_sent_before_a_capacity_went_away_betray_nothing() {
    let mut watch = Contradictions::default();
    // Calls take four seconds. At 110 s a capacity of 20 falls to 6; what was let in before is served to its end.
    for tenth in 0..400_u32 {
        let now = 100.0 + f64::from(tenth) / 10.0;
        let level = if now < 114.0 { 20 } else { 6 };
        assert_eq!(watch.served(at(now - 4.0), level, at(now)), None);
        if now >= 110.0 && tenth % 5 == 0 {
            assert_eq!(watch.refused(at(now), 7, at(now)), None, "at {now} s");
        }
    }
}

#[test]
fn a_rate_is_measured_over_the_time_that_there_was_traffic() {
    let mut rate = Rate::default();
    for call in 0..60 {
        rate.accepted(at(100.0 + f64::from(call) / 30.0), true);
    }
    rate.refused(Duration::from_secs(1), None, at(102.0), &mut || 0.0);
    let learned = rate.requests(at(102.0)).unwrap().rate;
    assert!((28.0..30.0).contains(&learned), "{learned}");
}

#[test]
fn a_refusal_right_after_a_restart_is_no_measure_of_a_known_rate() {
    for taken in 0..4 {
        let mut rate = Rate::default();
        rate.remember(Some(5.0), false, None, at(3600.0));
        for call in 0..taken {
            rate.accepted(at(3600.5 + f64::from(call) * 0.2), true);
        }
        rate.refused(Duration::from_secs(1), None, at(3602.0), &mut || 0.5);
        let left = rate.requests(at(3602.0)).unwrap().rate;
        assert!((4.7..5.0).contains(&left), "{taken} taken: {left}");
    }
}

#[test]
fn an_inferred_rate_that_rare_refusals_cut_again_and_again_is_undone() {
    let mut rate = Rate::default();
    rate.infer(5.0, at(100.0));
    let mut now = 100.0;
    while rate.is_inferred() {
        // Three calls in twelve seconds are taken, then one is refused by chance.
        for _ in 0..3 {
            now += 4.0;
            rate.accepted(at(now), true);
        }
        if !rate.disproved(at(now)) {
            rate.refused(rate.turn(), None, at(now), &mut || 0.5);
        }
        assert!(now < 300.0, "{rate:?}");
    }
    assert!(rate.requests.is_none());
}
