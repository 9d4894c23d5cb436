//! Random jobs: many calls at once, ramps and surges, for models that are often cold and whose attempts are often slow.
//!
//! A call is worth more the sooner it ends, because a job is short: a law that finds the capacity late loses here what it
//! has time to regain in a scenario of minutes. The numbers are those of the demo and their surroundings.

use crate::sim::dice::{Dice, Purpose};
use crate::sim::number::count;
use crate::sim::random;
use crate::sim::scenario::{Cold, Curve, Dialect, Faults, Mix, Scenario, Value, Work};

/// Draws the job with this number.
pub(crate) fn draw(number: u64) -> Scenario {
    let mut dice = Dice::new(number, Purpose::Mix, 3, 0);
    let mean = dice.between(0.2_f64.ln(), 1.5_f64.ln()).exp();
    let slots = dice.between(3.0_f64.ln(), 33.0_f64.ln()).exp().floor();
    let line = dice.pick(
        &[
            Some(0),
            Some(count((slots / 4.0).ceil())),
            Some(count(slots)),
            None,
        ],
        None,
    );
    let faults = Faults {
        share: dice.pick(&[0.0, 0.05, 0.1, 0.15], 0.1),
        slow_share: dice.pick(&[0.0, 0.05, 0.1, 0.2, 0.3], 0.2),
        slow_factor: dice.between(3.0_f64.ln(), 20.0_f64.ln()).exp(),
        ..Faults::default()
    };
    let each = mean * (1.0 + faults.slow_share * (faults.slow_factor - 1.0)) / (1.0 - faults.share);
    let cold = cold(&mut dice);
    // The time that all slots need for the work, which begins when the model has warmed up.
    let busy = dice.between(6.0, 25.0);
    let calls = (busy * slots / each).clamp(30.0, 600.0);
    let busy = calls * each / slots + cold.map_or(0.0, |cold| cold.boot + cold.warm_time / 2.0);
    let deadline = 2.0 * busy + 3.0 * mean * faults.slow_factor;
    let (shape, rate, jobs, duration) = shape(&mut dice, slots / each, calls, busy);
    let mut scenario = random::draw(number);
    scenario.name = format!("J{number}");
    scenario.title = format!(
        "{shape}: S {mean:.1} s, {slots} slots, line {line:?}, {calls:.0} calls, slow {:.2} x {:.0}, faults {:.2}{}",
        faults.slow_share,
        faults.slow_factor,
        faults.share,
        cold.map_or(String::new(), |cold| format!(
            ", cold {:.0}+{:.0} s",
            cold.boot, cold.warm_time
        )),
    );
    (scenario.duration, scenario.deadline) = (duration.max(1.0), deadline);
    (scenario.timeout, scenario.event) = (deadline, None);
    scenario.value = Value::Soon;
    for tenant in &mut scenario.tenants {
        tenant.rate.clone_from(&rate);
        tenant.jobs.clone_from(&jobs);
    }
    scenario.work = Work {
        mean,
        sigma: dice.between(0.02, 0.4),
        ..Work::default()
    };
    scenario.mix = Mix {
        streamed: dice.pick(&[0.0, 0.0, 0.5], 0.0),
        prompt: dice.between(0.05, 0.4),
        prompt_sigma: 0.5,
        ..Mix::default()
    };
    scenario.backend.slots = vec![(0.0, slots)];
    scenario.backend.line = line;
    scenario.backend.cold = cold;
    scenario.backend.faults = faults;
    scenario
}

/// How the calls arrive: the name, the rate, the jobs and the duration. `full` is what the model serves per second.
fn shape(
    dice: &mut Dice,
    full: f64,
    calls: f64,
    busy: f64,
) -> (&'static str, Curve, Vec<(f64, u32)>, f64) {
    let calls = count(calls);
    match dice.pick(&["job", "job", "ramp", "surge"], "job") {
        "ramp" => {
            let rate = vec![(0.0, 0.05 * full), (30.0, 1.2 * full)];
            ("ramp", rate, Vec::new(), 40.0)
        }
        "surge" => {
            let rate = vec![(0.0, 0.2 * full)];
            ("surge", rate, vec![(20.0, calls)], 20.0 + busy)
        }
        _ => ("job", Vec::new(), vec![(0.0, calls)], busy),
    }
}

/// Two in three models are cold, and some warm up slowly.
fn cold(dice: &mut Dice) -> Option<Cold> {
    let dialects = [Dialect::Honest, Dialect::Constant, Dialect::Silent];
    let cold = Cold {
        dialect: dice.pick(&dialects, Dialect::Honest),
        boot: dice.between(2.0, 15.0),
        sigma: 0.2,
        asleep: true,
        sleep_after: 0.0,
        warm_from: dice.pick(&[0.125, 0.25, 1.0], 0.25),
        warm_time: dice.pick(&[0.0, 5.0, 10.0, 20.0], 10.0),
    };
    (dice.unit() < 0.67).then_some(cold)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{arrivals, oracle};

    #[test]
    fn a_drawn_job_is_valid_and_its_oracle_is_worth_something() {
        for number in 0..200 {
            let scenario = draw(number);
            crate::sim::suite::check(&scenario).unwrap();
            assert_eq!(format!("{scenario:?}"), format!("{:?}", draw(number)));
            let calls = arrivals::draw(&scenario, 1);
            assert!(
                calls.len() >= 5,
                "{}: {} calls",
                scenario.title,
                calls.len()
            );
            let reference = oracle::run(&scenario, 1);
            let worth = reference.work / crate::sim::number::real(calls.len());
            assert!(worth > 0.0, "{}: {worth}", scenario.title);
        }
    }

    #[test]
    fn half_are_jobs_and_two_thirds_are_cold() {
        let all: Vec<Scenario> = (0..1000).map(draw).collect();
        let jobs = all.iter().filter(|s| s.title.starts_with("job")).count();
        let cold = all.iter().filter(|s| s.backend.cold.is_some()).count();
        assert!((440..560).contains(&jobs), "{jobs}");
        assert!((610..730).contains(&cold), "{cold}");
    }
}
