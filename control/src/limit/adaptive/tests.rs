use super::*;
use crate::num::seconds;

fn law() -> Adaptive {
    Adaptive::new(&ControllerSettings::default(), Timestamp::ZERO)
}

fn sample(signal: Signal, in_flight: u32, latency: f64, now: f64) -> Sample {
    Sample {
        signal,
        in_flight,
        in_flight_end: in_flight,
        sent: Timestamp::from_secs_f64(now - latency),
        latency: seconds(latency),
        log_latency: latency.ln(),
        binding: true,
        acknowledged: false,
    }
}

/// Keeps the limit full of calls on a backend of `slots`, with a queue that says nothing.
fn drive(law: &mut Adaptive, slots: f64, rounds: u32, signal: Signal, share: u32) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for round in 0..rounds {
        let n = crate::num::calls(law.limit());
        let latency = (f64::from(n) / slots).max(1.0);
        let now = 10.0 + f64::from(round) * 0.1;
        let ending = if share > 0 && round % share == 0 {
            signal
        } else {
            Signal::Served
        };
        verdicts.extend(law.sample(
            &sample(ending, n, latency, now),
            Timestamp::from_secs_f64(now),
        ));
    }
    verdicts
}

#[test]
fn a_silent_queue_is_found_by_its_elasticity() {
    let mut law = law();
    let verdicts = drive(&mut law, 16.0, 3000, Signal::Served, 0);
    assert!((14.0..=26.0).contains(&law.level), "{}", law.level);
    let text: Vec<String> = verdicts.iter().map(ToString::to_string).collect();
    assert!(
        text.iter().any(|v| v.starts_with("UP 2.0->4.0 e=")),
        "{text:?}"
    );
    assert!(text.iter().any(|v| v.ends_with("reject")), "{text:?}");
}

#[test]
fn faults_that_do_not_depend_on_load_do_not_hold_it_back() {
    let mut law = law();
    drive(&mut law, 16.0, 3000, Signal::Fault, 10);
    assert!(law.level >= 13.0, "{}", law.level);
}

#[test]
fn a_refusal_clamps_to_what_was_served_once_per_epoch() {
    let mut law = law();
    law.level = 20.0;
    law.enter(Mode::Hold);
    let at = Timestamp::from_secs_f64;
    let first = law.sample(&sample(Signal::Refused, 20, 0.05, 10.0), at(10.0));
    assert!(first.is_some());
    assert!((law.limit() - 17.0).abs() < 1e-9);
    let second = law.sample(&sample(Signal::Refused, 19, 0.05, 10.01), at(10.01));
    assert_eq!(second, None);
    law.sample(&sample(Signal::Refused, 1, 0.05, 11.0), at(11.0));
    assert!((law.limit() - 8.5).abs() < 1e-9, "at most half per epoch");
}

#[test]
fn an_edge_found_while_climbing_is_kept() {
    let mut law = law();
    law.level = 16.0;
    law.ramping = false;
    law.limit = 24.0;
    law.enter(Mode::Up { target: 24.0 });
    let at = Timestamp::from_secs_f64(10.0);
    law.sample(&sample(Signal::Refused, 22, 0.05, 10.0), at);
    assert!((law.limit() - 21.0).abs() < 1e-9);
    assert!((law.budget + 1.0).abs() < 1e-9, "the budget paid for it");
}

#[test]
fn a_limit_that_is_not_used_decays_to_twice_the_use() {
    let mut law = law();
    law.level = 100.0;
    law.enter(Mode::Hold);
    for second in 0..70 {
        let now = f64::from(second);
        let mut idle = sample(Signal::Served, 3, 0.1, now);
        idle.binding = false;
        law.sample(&idle, Timestamp::from_secs_f64(now));
    }
    assert!((law.limit() - 6.0).abs() < 1e-9, "{}", law.limit());
}

#[test]
fn it_never_leaves_its_bounds() {
    let mut law = Adaptive::new(
        &ControllerSettings {
            limit_max: 5,
            ..ControllerSettings::default()
        },
        Timestamp::ZERO,
    );
    drive(&mut law, 1000.0, 2000, Signal::Served, 0);
    assert!((law.limit() - 5.0).abs() < 1e-9);
    for step in 0..50 {
        let now = 1000.0 + f64::from(step);
        law.sample(
            &sample(Signal::Refused, 1, 0.01, now),
            Timestamp::from_secs_f64(now),
        );
    }
    assert!((law.limit() - 1.0).abs() < 1e-9);
}
