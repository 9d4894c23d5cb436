//! Mixed variants: scenarios whose calls and callers differ.
//!
//! Each named scenario `S01` has a variant `S01m`, and each number a random one, `M17`. The random ones also draw
//! features that the scenarios `R17` do not have: quota windows and penalties, a foreign client, replicas that load,
//! are slow or are broken, closed loops and sequential callers. The features of a variant depend on its name only. The
//! gaps between calls are gamma distributed and the lengths are heavy-tailed, as in published traces of such services.

use crate::sim::dice::{Dice, Purpose};
use crate::sim::random;
use crate::sim::scenario::{Faults, Mix, Quota, Scenario, Stalls, Telling};

/// Returns the mixed variant of a named scenario.
pub(crate) fn variant(scenario: &Scenario) -> Scenario {
    let mut mixed = scenario.clone();
    let bytes = scenario.name.bytes();
    let key = bytes.fold(0_u64, |key, byte| key.wrapping_mul(31) + u64::from(byte));
    let mut dice = Dice::new(key, Purpose::Mix, 1, 0);
    mixed.mix = mix(&mut dice);
    mixed.mix.bounded = bounded(key);
    mixed.name = format!("{}m", scenario.name);
    mixed.title = format!("{}, mixed", scenario.title);
    mixed
}

/// Draws the kinds of callers and calls.
fn mix(dice: &mut Dice) -> Mix {
    let share = |dice: &mut Dice, often: f64, most: f64| {
        let drawn = dice.between(0.0, most);
        if dice.unit() < often { drawn } else { 0.0 }
    };
    let leaves = dice.unit() < 0.3;
    let (early, begun) = (dice.between(0.1, 0.4), dice.between(0.0, 0.3));
    Mix {
        streamed: dice.pick(&[0.0, 0.2, 0.5, 0.8, 1.0], 0.5),
        short_share: share(dice, 0.4, 0.6),
        short_factor: dice.pick(&[0.02, 0.1, 0.3], 0.1),
        prompt: dice.between(0.05, 0.4),
        prompt_sigma: dice.between(0.3, 1.2),
        tail: dice.pick(&[0.0, 1.5, 2.5], 0.0),
        leave_early: if leaves { early } else { 0.0 },
        patience: dice.pick(&[0.06, 1.0, 5.0], 1.0),
        leave_begun: if leaves { begun } else { 0.0 },
        tries: dice.pick(&[1, 1, 3], 1),
        lag: dice.pick(&[0.0, 0.005, 0.02, 0.05], 0.0),
        gaps: dice.pick(&[0.0, 1.5, 3.0], 0.0),
        bounded: false,
        stalls: None,
    }
}

/// Callers bound the lengths of their answers in three cases of ten.
fn bounded(key: u64) -> bool {
    Dice::new(key, Purpose::Mix, 4, 0).unit() < 0.3
}

/// Draws the mixed scenario with this number.
pub(crate) fn draw(number: u64) -> Scenario {
    let mut mixed = random::draw(number);
    let mut dice = Dice::new(number, Purpose::Mix, 2, 0);
    mixed.mix = mix(&mut dice);
    mixed.mix.bounded = bounded(number);
    mixed.name = format!("M{number}");
    if mixed.mix.tail > 0.0 {
        // Callers whose answers take ten times as long as usual wait that long.
        mixed.timeout = 15.0 * mixed.work.mean;
        mixed.deadline = 25.0 * mixed.work.mean;
    }
    replicas(&mut mixed, &mut dice);
    foreign_client(&mut mixed, &mut dice);
    quota(&mut mixed, &mut dice);
    stalls(&mut mixed, number);
    callers(&mut mixed, &mut dice);
    let (m, q) = (&mixed.mix, mixed.backend.quota);
    let quota = q.map_or(String::new(), |q| {
        format!(
            ", quota window {:.0} s penalty {:.0} s {:?}",
            q.window, q.penalty, q.telling
        )
    });
    mixed.title = format!(
        "{}; streams {:.1}, short {:.1}, tail {:.1}, leave {:.1}+{:.1}, tries {}, lag {:.0} ms, gaps {:.1}{quota}{}",
        mixed.title,
        m.streamed,
        m.short_share,
        m.tail,
        m.leave_early,
        m.leave_begun,
        m.tries,
        1000.0 * m.lag,
        m.gaps,
        if m.stalls.is_some() { ", stalls" } else { "" },
    );
    mixed
}

/// With a probability of 10 % each, one of four replicas loads, is slow, or is broken.
fn replicas(mixed: &mut Scenario, dice: &mut Dice) {
    let faults = Faults {
        share: mixed.backend.faults.share,
        ..Faults::default()
    };
    let which = dice.unit();
    mixed.backend.faults = if which < 0.1 {
        Faults {
            loading_share: 0.25,
            loading_until: dice.between(20.0, 90.0),
            ..faults
        }
    } else if which < 0.2 {
        Faults {
            slow_share: 0.25,
            slow_factor: dice.between(1.5, 3.0),
            ..faults
        }
    } else if which < 0.3 {
        Faults {
            share: 0.25,
            after: 0.05,
            ..faults
        }
    } else {
        faults
    };
}

/// With a probability of 15 %, another client takes a share of the slots in every other period of 30 s.
fn foreign_client(mixed: &mut Scenario, dice: &mut Dice) {
    let (takes, takes_none) = (dice.between(0.2, 0.6), dice.unit() > 0.15);
    if takes_none {
        return;
    }
    let slots = mixed.backend.slots.clone();
    let mut shared = Vec::new();
    for half_minute in 0..8_u32 {
        let time = 30.0 * f64::from(half_minute);
        let all = crate::sim::scenario::stair(&slots, time);
        let left = if half_minute % 2 == 1 {
            1.0 - takes
        } else {
            1.0
        };
        shared.push((time, (left * all).round().max(1.0)));
    }
    mixed.backend.slots = shared;
}

/// The gateway's machine is busy for a minute in one case of eight.
fn stalls(mixed: &mut Scenario, number: u64) {
    let mut dice = Dice::new(number, Purpose::Mix, 6, 0);
    if dice.unit() < 0.125 {
        let from = dice.between(0.0, 60.0);
        mixed.mix.stalls = Some(Stalls {
            from,
            to: from + 60.0,
            median: dice.between(0.01, 0.06),
            sigma: dice.between(0.5, 1.2),
        });
    }
}

/// One in four has a quota: a bucket, or windows of 1 s to a day. The quota is then the bound of the scenario.
fn quota(mixed: &mut Scenario, dice: &mut Dice) {
    let has_none = dice.unit() > 0.25;
    let window = dice.pick(&[0.0, 1.0, 6.0, 20.0, 60.0, 86_400.0], 0.0);
    let telling = [Telling::Nothing, Telling::RetryAfter, Telling::Headers];
    let telling = dice.pick(&telling, Telling::Headers);
    let penalty = dice.pick(&[0.0, 0.0, 3.0, 10.0], 0.0);
    let share = dice.between(0.4, 0.9);
    if has_none {
        return;
    }
    let rate = mixed.tenants.iter().flat_map(|tenant| &tenant.rate);
    let rate = rate.map(|point| point.1).fold(0.0, f64::max);
    // The calls of a day are enough for the run; a law that spreads them over the day serves too few.
    let per_second = if window > 3600.0 {
        1.2 * rate * mixed.duration / window
    } else {
        (share * rate).max(1.0)
    };
    mixed.backend.quota = Some(Quota {
        per_minute: 60.0 * per_second,
        burst: (4.0 * per_second).max(2.0),
        telling,
        tokens: false,
        debt: 0.0,
        foreign_share: 0.0,
        foreign_period: 0.0,
        spent_after: 0.0,
        spent_until: 0.0,
        ramp_from: 0.0,
        ramp_period: 0.0,
        window,
        // A penalty for a quota used up for the day would be an outage.
        penalty: if window > 6.0 { 0.0 } else { penalty },
    });
}

/// One in five is a closed loop, from one sequential caller to twice the slots.
fn callers(mixed: &mut Scenario, dice: &mut Dice) {
    let closed = dice.unit() < 0.2;
    let crowd = dice.pick(&[0.0, 0.5, 1.0, 2.0], 1.0);
    let think = dice.pick(&[0.1, 0.5, 2.0], 0.5);
    let slots = mixed.backend.slots.first().map_or(1.0, |point| point.1);
    for tenant in &mut mixed.tenants {
        if closed {
            tenant.closed = crate::sim::number::count((crowd * slots).max(1.0));
            tenant.think = think;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{oracle, run};

    #[test]
    fn every_variant_and_every_drawn_one_is_valid_and_is_drawn_the_same_again() {
        let named = crate::sim::suite::named().unwrap();
        let variants: Vec<Scenario> = named.iter().map(variant).collect();
        for scenario in variants.iter().cloned().chain((0..300).map(draw)) {
            crate::sim::suite::check(&scenario).unwrap();
        }
        assert_eq!(format!("{:?}", draw(7)), format!("{:?}", draw(7)));
        assert_eq!(
            format!("{:?}", variants[0].mix),
            format!("{:?}", variant(&named[0]).mix)
        );
    }

    #[test]
    fn all_differences_are_drawn() {
        let all: Vec<Scenario> = (0..400).map(draw).collect();
        let some = |what: fn(&Scenario) -> bool| {
            let count = all.iter().filter(|s| what(s)).count();
            assert!((8..390).contains(&count), "{count}");
        };
        some(|s| s.mix.streamed > 0.0);
        some(|s| s.mix.short_share > 0.0);
        some(|s| s.mix.tail > 0.0);
        some(|s| s.mix.leave_early > 0.0);
        some(|s| s.mix.tries > 1);
        some(|s| s.mix.lag > 0.0);
        some(|s| s.mix.gaps > 0.0);
        some(|s| s.backend.faults.loading_share > 0.0);
        some(|s| s.backend.slots.len() > 2);
        some(|s| s.backend.quota.is_some_and(|q| q.window > 0.0));
        some(|s| s.backend.quota.is_some_and(|q| q.penalty > 0.0));
        some(|s| s.tenants[0].closed > 0);
    }

    #[test]
    fn in_a_mixed_run_every_call_ends_once_and_callers_leave() {
        let kebne = crate::sim::entrant::find("kebne").unwrap();
        let mut left = 0.0;
        for number in 0..30 {
            let scenario = draw(number);
            let book = run::run(&scenario, 3, kebne, false);
            assert_eq!(
                (book.twice, book.left_over, book.violations),
                (0, 0, 0),
                "M{number}"
            );
            let reference = oracle::run(&scenario, 3);
            assert_eq!(reference.twice, 0, "M{number}");
            left += book.ended(crate::sim::ledger::End::Left);
        }
        assert!(left > 100.0, "{left}");
    }
}
