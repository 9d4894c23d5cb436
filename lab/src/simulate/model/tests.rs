//! The machine alone, in virtual time.

use super::*;
use crate::simulate::Preset;

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_secs_f64(seconds)
}

fn quiet() -> Profile {
    Profile {
        cold_start: Duration::from_secs(4),
        cold_start_spread: 0.0,
        latency_spread: 0.0,
        slow_share: 0.0,
        failure_share: 0.0,
        ..Profile::preset(Preset::Default)
    }
}

fn accepted(model: &mut Model, now: Timestamp) -> Work {
    match model.arrive(now).0 {
        Decision::Accepted(work) => work,
        other => panic!("not accepted: {other:?}"),
    }
}

#[test]
fn the_first_call_starts_the_load_and_later_ones_see_the_rest_shrink() {
    let mut model = Model::new(quiet(), at(0.0));
    for (now, rest) in [(1.0, 4), (2.0, 3), (4.0, 1)] {
        let (decision, _) = model.arrive(at(now));
        let expected = Decision::Loading {
            estimated: Duration::from_secs(rest),
            ready_at: at(5.0),
        };
        assert_eq!(decision, expected);
    }
    accepted(&mut model, at(5.0));
}

#[test]
fn an_estimate_can_be_a_constant_that_lies() {
    let estimate = Some(Duration::from_secs(20));
    let mut model = Model::new(
        Profile {
            cold_estimate: estimate,
            ..quiet()
        },
        at(0.0),
    );
    for now in [0.0, 3.9] {
        let (decision, _) = model.arrive(at(now));
        assert!(
            matches!(decision, Decision::Loading { estimated, .. } if Some(estimated) == estimate)
        );
    }
}

#[test]
fn capacity_grows_and_calls_above_the_knee_are_slower_and_then_refused() {
    let mut model = Model::new(quiet(), at(0.0));
    model.arrive(at(0.0));
    assert!((model.status(at(4.0)).capacity - 1.0).abs() < 1e-9);
    assert!((model.status(at(9.0)).capacity - 4.5).abs() < 1e-9);
    assert!((model.status(at(60.0)).capacity - 8.0).abs() < 1e-9);
    let mut last = Duration::ZERO;
    for call in 1..=16 {
        let work = accepted(&mut model, at(60.0));
        let as_fast = work.first_token == Duration::from_millis(150);
        assert_eq!(as_fast, call <= 8, "call {call}: {work:?}");
        assert!(work.first_token >= last);
        last = work.first_token;
    }
    assert_eq!(model.arrive(at(60.0)).0, Decision::Refused);
    model.leave(at(61.0));
    accepted(&mut model, at(61.0));
}

#[test]
fn an_idle_model_goes_cold_but_never_under_a_running_call() {
    let mut model = Model::new(quiet(), at(0.0));
    model.arrive(at(0.0));
    accepted(&mut model, at(4.0));
    assert_eq!(model.status(at(1000.0)).ready_in, Some(Duration::ZERO));
    model.leave(at(1000.0));
    assert_eq!(model.status(at(1299.0)).ready_in, Some(Duration::ZERO));
    assert_eq!(model.status(at(1300.0)).ready_in, None);
    assert!(matches!(
        model.arrive(at(1301.0)).0,
        Decision::Loading { .. }
    ));
}

#[test]
fn shares_of_the_plan_hold_over_many_calls_and_repeat_with_the_seed() {
    let profile = Profile {
        cold_start: Duration::ZERO,
        ..Profile::preset(Preset::Plan)
    };
    let run = |seed| {
        let profile = Profile {
            seed,
            ..profile.clone()
        };
        let mut model = Model::new(profile, at(0.0));
        (0..10_000)
            .map(|_| {
                let work = accepted(&mut model, at(1.0));
                model.leave(at(1.0));
                work
            })
            .collect::<Vec<Work>>()
    };
    let works = run(7);
    let slow = works
        .iter()
        .filter(|work| work.first_token == Duration::from_secs(3))
        .count();
    let failed = works
        .iter()
        .filter(|work| work.ending == WorkEnding::Failed)
        .count();
    assert!((1_850..2_150).contains(&slow), "{slow}");
    assert!((900..1_100).contains(&failed), "{failed}");
    assert_eq!(works, run(7));
    assert_ne!(works, run(8));
}

#[test]
fn a_rate_limit_says_when_the_next_request_is_granted_and_means_it() {
    let profile = Profile {
        requests_per_minute: 60,
        cold_start: Duration::ZERO,
        ..quiet()
    };
    let mut model = Model::new(profile, at(0.0));
    accepted(&mut model, at(0.0));
    let (decision, _) = model.arrive(at(0.25));
    let Decision::Limited { retry_after } = decision else {
        panic!("not limited: {decision:?}");
    };
    assert_eq!(retry_after, Duration::from_millis(750));
    accepted(&mut model, at(0.25).after(retry_after));
}

#[test]
fn a_share_of_calls_suffers_the_ordered_fault() {
    let profile = Profile {
        fault: Some(Fault::Reset),
        fault_share: 0.5,
        ..Profile::preset(Preset::Instant)
    };
    let mut model = Model::new(profile, at(0.0));
    let hit = (0..1000)
        .filter(|_| model.arrive(at(0.0)).1.is_some())
        .count();
    assert!((400..600).contains(&hit), "{hit}");
}
