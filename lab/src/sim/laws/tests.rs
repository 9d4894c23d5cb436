//! The published laws against their own descriptions, with literal samples.

use super::*;
use std::time::Duration;

fn settings() -> ControllerSettings {
    ControllerSettings {
        limit_initial: 10,
        ..ControllerSettings::default()
    }
}

fn sample(signal: Signal, in_flight: u32, latency: f64) -> Sample {
    Sample {
        signal,
        in_flight,
        in_flight_end: in_flight,
        sent: Timestamp::ZERO,
        latency: Duration::from_secs_f64(latency),
        log_latency: Some(latency.ln()),
        binding: true,
        acknowledged: false,
    }
}

/// Feeds `count` samples, ten per second.
fn feed(law: &mut dyn Limit, signal: Signal, latency: f64, count: u32, from: f64) -> f64 {
    for step in 0..count {
        let now = from + 0.1 * f64::from(step);
        let in_flight = crate::sim::number::count(law.limit().max(1.0));
        law.sample(
            &sample(signal, in_flight, latency),
            Timestamp::from_secs_f64(now),
        );
    }
    from + 0.1 * f64::from(count)
}

#[test]
fn gradient2_ignores_drops_and_shrinks_on_latency() {
    let mut law = Law::Gradient2.build(&settings(), Timestamp::ZERO).unwrap();
    let now = feed(law.as_mut(), Signal::Served, 0.5, 300, 0.0);
    let grown = law.limit();
    assert!(grown > 15.0, "{grown}");
    let now = feed(law.as_mut(), Signal::Refused, 0.5, 100, now);
    assert!(law.limit() > grown, "drops do not cut it");
    let before = law.limit();
    feed(law.as_mut(), Signal::Served, 5.0, 100, now);
    assert!(law.limit() < before, "ten times the latency does");
}

#[test]
fn vegas_grows_without_a_queue_and_shrinks_with_one() {
    let mut law = Law::Vegas.build(&settings(), Timestamp::ZERO).unwrap();
    let now = feed(law.as_mut(), Signal::Served, 0.5, 100, 0.0);
    let grown = law.limit();
    assert!(grown > 20.0, "{grown}");
    feed(law.as_mut(), Signal::Served, 2.0, 100, now);
    assert!(law.limit() < grown);
}

#[test]
fn vector_starts_at_one_and_loses_a_tenth_per_push_back() {
    let mut law = Law::Vector.build(&settings(), Timestamp::ZERO).unwrap();
    let now = feed(law.as_mut(), Signal::Served, 0.5, 400, 0.0);
    let grown = law.limit();
    assert!(grown > 5.0, "{grown}");
    feed(law.as_mut(), Signal::Fault, 0.5, 7, now);
    assert!(law.limit() <= (0.9 * grown).floor(), "{}", law.limit());
}

#[test]
fn aws_has_no_rate_before_the_first_throttle() {
    let mut law = Law::Aws.build(&settings(), Timestamp::ZERO).unwrap();
    let now = feed(law.as_mut(), Signal::Served, 0.5, 100, 0.0);
    assert!(law.rate(Timestamp::from_secs_f64(now)).is_none());
    feed(law.as_mut(), Signal::Refused, 0.5, 1, now);
    let rate = law.rate(Timestamp::from_secs_f64(now)).map(|r| r.rate);
    // Seven tenths of the ten per second that were measured.
    assert!(
        rate.is_some_and(|rate| (rate - 7.0).abs() < 1.0),
        "{rate:?}"
    );
}

#[test]
fn sre_sends_twice_what_is_accepted() {
    let mut law = Law::Sre.build(&settings(), Timestamp::ZERO).unwrap();
    let now = feed(law.as_mut(), Signal::Served, 0.5, 100, 0.0);
    assert!(law.rate(Timestamp::from_secs_f64(now)).is_none());
    let now = feed(law.as_mut(), Signal::Refused, 0.5, 300, now);
    let rate = law.rate(Timestamp::from_secs_f64(now)).map(|r| r.rate);
    assert!(
        rate.is_some_and(|rate| (rate - 5.0).abs() < 0.1),
        "{rate:?}"
    );
}

#[test]
fn the_plain_client_opens_its_breaker_after_five_failures_in_a_row() {
    let mut law = Law::Seed.build(&settings(), Timestamp::ZERO).unwrap();
    let now = feed(law.as_mut(), Signal::Fault, 0.5, 4, 0.0);
    let rate = |law: &dyn Limit, now| law.rate(Timestamp::from_secs_f64(now)).map(|r| r.rate);
    assert!(rate(law.as_ref(), now).is_some_and(|rate| rate > 9.0));
    feed(law.as_mut(), Signal::Fault, 0.5, 1, now);
    assert!(rate(law.as_ref(), now + 1.0).is_some_and(|rate| rate < 1.0));
    assert!(rate(law.as_ref(), now + 11.0).is_some_and(|rate| rate > 9.0));
}
