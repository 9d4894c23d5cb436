//! Random scenarios, whose results are not used while a law is tuned.
//!
//! The ranges: service time 0.2 to 4 s, 3 to 48 slots, a step of the slots by 0.3 to 3 in the middle, a waiting line
//! that is absent, bounded or unbounded, faults of 0, 2 or 10 %, a log-deviation of 0.15 to 1, a load of 0.4 to 2, and
//! a cold start in three cases of ten.

use crate::sim::dice::{Dice, Purpose};
use crate::sim::number::count;
use crate::sim::scenario::{Backend, Cold, Dialect, Faults, Mix, Scenario, Tenant, Value, Work};

/// The time in seconds during which calls arrive.
const DURATION: f64 = 240.0;

/// A tenant with a constant rate.
fn steady(rate: f64) -> Tenant {
    Tenant {
        rate: vec![(0.0, rate)],
        priority: 0,
        closed: 0,
        think: 0.0,
        jobs: Vec::new(),
        burst: 1,
    }
}

/// Draws the scenario with this number.
pub(crate) fn draw(number: u64) -> Scenario {
    let mut dice = Dice::new(number, Purpose::Scenario, 0, 0);
    // Uniform in the logarithm, because ratios are compared.
    let mean = dice.between(0.2_f64.ln(), 4.0_f64.ln()).exp();
    let slots = dice.between(3.0_f64.ln(), 49.0_f64.ln()).exp().floor();
    let step = dice.between(0.3_f64.ln(), 3.0_f64.ln()).exp();
    let after = (slots * step).round().max(1.0);
    let line = dice.pick(&[Some(0), Some(count((slots / 4.0).ceil())), None], None);
    let share = dice.pick(&[0.0, 0.02, 0.1], 0.0);
    let sigma = dice.between(0.15, 1.0);
    let load = dice.between(0.4, 2.0);
    let cold = dice.unit() < 0.3;
    let boot = dice.between(10.0, 50.0);
    let dialects = [Dialect::Honest, Dialect::Constant, Dialect::Silent];
    let dialect = dice.pick(&dialects, Dialect::Honest);
    let told = dice.unit() < 0.5;
    let deaf = dice.unit() < 0.5;
    let silent = if line.is_none() { ", silent" } else { "" };
    let asleep = if cold { ", cold" } else { "" };
    let title = format!(
        "S {mean:.1} s, {slots} to {after} slots, load {load:.1}, faults {share}{silent}{asleep}"
    );
    Scenario {
        name: format!("R{number}"),
        title,
        duration: DURATION,
        deadline: (12.0 * mean).clamp(10.0, 60.0),
        timeout: (6.0 * mean).clamp(5.0, 30.0),
        event: Some(DURATION / 2.0),
        value: Value::Work,
        tenants: vec![steady(load * slots / mean)],
        gateways: vec![0.0],
        restarts: Vec::new(),
        work: Work {
            mean,
            sigma,
            tokens_told: if told { 60.0 } else { 0.0 },
            ..Work::default()
        },
        mix: Mix::default(),
        backend: Backend {
            slots: vec![(0.0, slots), (DURATION / 2.0, after)],
            line,
            refusal_time: 0.05,
            ignores_cancel: deaf,
            batch: None,
            thrash: None,
            cold: cold.then_some(Cold {
                dialect,
                boot,
                sigma: 0.0,
                asleep: true,
                sleep_after: 0.0,
                warm_from: 1.0,
                warm_time: 0.0,
            }),
            scaler: None,
            quota: None,
            faults: Faults {
                share,
                ..Faults::default()
            },
            brownouts: Vec::new(),
            outages: Vec::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drawn_scenario_is_valid_and_a_number_gives_the_same_one_again() {
        for number in 0..300 {
            let scenario = draw(number);
            crate::sim::suite::check(&scenario).unwrap();
            let again = draw(number);
            assert_eq!(format!("{scenario:?}"), format!("{again:?}"));
        }
    }

    #[test]
    fn about_three_in_ten_are_cold_and_a_third_is_silent() {
        let all: Vec<Scenario> = (0..1000).map(draw).collect();
        let cold = all.iter().filter(|s| s.backend.cold.is_some()).count();
        let silent = all.iter().filter(|s| s.backend.line.is_none()).count();
        assert!((250..350).contains(&cold), "{cold}");
        assert!((280..390).contains(&silent), "{silent}");
    }
}
