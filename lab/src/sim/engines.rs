//! Random inference engines: servers with few slots that work on all calls at once, so that each call slows the others,
//! and that let calls without a slot wait. Nearly every call is of another kind: streamed or whole, with prompts and bounds
//! of many sizes.
//!
//! The numbers surround those of llama.cpp's server with a small model on one processor and of batch servers with more slots.

use crate::sim::dice::{Dice, Purpose};
use crate::sim::number::count;
use crate::sim::random;
use crate::sim::scenario::{Batch, Mix, Scenario, Value, Work};

/// The time in seconds during which calls arrive.
const DURATION: f64 = 90.0;

/// Draws the engine with this number.
pub(crate) fn draw(number: u64) -> Scenario {
    let mut dice = Dice::new(number, Purpose::Mix, 5, 0);
    let slots = dice.between(1.0_f64.ln(), 33.0_f64.ln()).exp().floor();
    // Seconds per token alone, and the share of it that each further call adds.
    let token = dice.between(0.005_f64.ln(), 0.04_f64.ln()).exp();
    let added = dice.between(0.05, 0.9);
    let (t1, t0) = (added * token, (1.0 - added) * token);
    let tokens = dice.between(12.0_f64.ln(), 120.0_f64.ln()).exp();
    let prefill = dice.between(0.0, 0.5) * tokens;
    let full = (t0 + t1 * slots) * (tokens + prefill);
    let capacity = slots / full;
    let load = dice.between(0.5, 2.0);
    let deadline = (dice.between(3.0, 12.0) * full).clamp(8.0, 60.0);
    let is_closed = dice.unit() < 0.4;
    let line = dice.pick(&[None, None, None, Some(0), Some(count(slots))], None);
    let mut scenario = random::draw(number);
    scenario.name = format!("E{number}");
    scenario.title = format!(
        "{slots} slots, {:.0} ms alone, {added:.2} more per call, {tokens:.0} + {prefill:.0} tokens, {capacity:.1} calls/s, load {load:.1}{}, line {line:?}",
        1000.0 * token,
        if is_closed { ", closed" } else { "" },
    );
    (scenario.duration, scenario.deadline) = (DURATION, deadline);
    (scenario.timeout, scenario.event) = (60.0, None);
    scenario.value = Value::Work;
    for tenant in &mut scenario.tenants {
        tenant.rate = vec![(0.0, load * capacity)];
        if is_closed {
            tenant.closed = count((load * slots).max(1.0));
            tenant.think = dice.between(0.05, 0.5) * full;
        }
    }
    scenario.work = Work {
        mean: tokens,
        sigma: dice.between(0.2, 0.9),
        tokens_told: dice.pick(&[0.0, 1.0, 1.0], 1.0),
        ..Work::default()
    };
    scenario.mix = Mix {
        streamed: dice.pick(&[0.0, 0.5, 0.5, 1.0], 0.5),
        prompt: dice.between(0.05, 0.5),
        prompt_sigma: dice.between(0.3, 1.2),
        bounded: dice.unit() < 0.7,
        ..Mix::default()
    };
    let backend = &mut scenario.backend;
    backend.slots = vec![(0.0, slots)];
    backend.line = line;
    backend.ignores_cancel = false;
    backend.cold = None;
    backend.batch = Some(Batch {
        t0,
        t1,
        prefill,
        streams: false,
    });
    backend.faults.share = dice.pick(&[0.0, 0.0, 0.02], 0.0);
    scenario
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_engine_is_valid_and_half_of_the_calls_of_the_oracle_are_served() {
        for number in 0..100 {
            let scenario = draw(number);
            crate::sim::suite::check(&scenario).unwrap();
            assert_eq!(format!("{scenario:?}"), format!("{:?}", draw(number)));
            let reference = crate::sim::oracle::run(&scenario, 1);
            let served = reference.ended(crate::sim::ledger::End::Served);
            let all = crate::sim::number::real(reference.ends.len());
            assert!(served > 0.3 * all, "{}: {served} of {all}", scenario.title);
        }
    }

    #[test]
    fn most_let_calls_wait_and_some_are_closed_loops() {
        let all: Vec<Scenario> = (0..500).map(draw).collect();
        let share = |what: fn(&Scenario) -> bool| all.iter().filter(|s| what(s)).count();
        assert!((250..350).contains(&share(|s| s.backend.line.is_none())));
        assert!((150..250).contains(&share(|s| s.tenants[0].closed > 0)));
    }
}
