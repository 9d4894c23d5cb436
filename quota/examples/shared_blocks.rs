//! Prints what five gateways that share an account use of its limits together, in virtual time.
//!
//! `cargo run --release -p kebne-quota --example shared_blocks`

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "it prints a table"
)]
#![expect(dead_code, reason = "the tests use more of the fleet")]

#[path = "../tests/shared/fleet.rs"]
mod fleet;

use fleet::{Fleet, Load, World};
use kebne_quota::{Budget, Limits, Period};

/// Calls per second of the gateways.
const CALLS: [f64; 5] = [60.0, 5.0, 1.0, 10.0, 4.0];
const SEEDS: u64 = 10;

fn main() {
    println!("| limit | world | used / limit: mean | highest | calls that waited |");
    println!("|---|---|---|---|---|");
    let budget = Limits {
        budgets: vec![Budget {
            tokens: Some(200_000),
            money: None,
            per: Period::Month,
        }],
        ..Limits::default()
    };
    let requests = Limits {
        requests_per_minute: Some(600),
        ..Limits::default()
    };
    let at_once = Limits {
        requests_at_once: Some(10),
        ..Limits::default()
    };
    let worlds = [
        ("1 ms", World { delay: 1, lost: 0 }, false),
        (
            "20 ms, 10 % lost",
            World {
                delay: 20,
                lost: 10,
            },
            false,
        ),
        ("gone for 20 s", World { delay: 1, lost: 0 }, true),
    ];
    for (name, limits) in [
        ("budget of tokens", budget),
        ("calls per minute", requests),
        ("calls at once", at_once),
    ] {
        for (world_name, world, is_gone) in worlds {
            print(name, &limits, world_name, world, is_gone);
        }
    }
}

fn print(name: &str, limits: &Limits, world_name: &str, world: World, is_gone: bool) {
    let (mut sum, mut highest, mut waited, mut calls) = (0.0, 0.0_f64, 0, 0);
    for seed in 0..SEEDS {
        let load = Load {
            limits: limits.clone(),
            calls: CALLS.to_vec(),
            tokens: (200, 100),
            takes: 400,
        };
        let mut fleet = Fleet::new(load, world, seed);
        fleet.run(20_000);
        if is_gone {
            fleet.is_down = true;
            fleet.run(20_000);
            fleet.is_down = false;
        }
        fleet.run(if is_gone { 80_000 } else { 100_000 });
        let counts = &fleet.counts;
        let part = if limits.requests_at_once.is_some() {
            counts.at_once as f64 / 10.0
        } else if limits.requests_per_minute.is_some() {
            counts.admitted as f64 / 1800.0
        } else {
            counts.used.tokens as f64 / 200_000.0
        };
        sum += part;
        highest = highest.max(part);
        waited += counts.waited;
        calls += counts.admitted + counts.refused;
    }
    let mean = sum / SEEDS as f64;
    let waited = 100.0 * waited as f64 / calls as f64;
    println!("| {name} | {world_name} | {mean:.4} | {highest:.4} | {waited:.2} % |");
}
