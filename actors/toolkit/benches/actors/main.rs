//! What an actor costs here and in stock actix, in one run on one machine: `cargo bench -p kebne-actors`.
//!
//! Prints one table. The two libraries take turns, round after round, so that a slow second of the machine
//! hits both; a number is the median over the rounds, with the least and the greatest beside it. `docs/actor-numbers.md`
//! says how to read it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command for developers: it prints, and ends at the first surprise"
)]

mod flood;
mod kebne;
mod numbers;
mod soak;
mod stock;

use std::time::Duration;

use numbers::{Rounds, row};

/// Rounds of each measurement; odd, so that a median is one of them.
const ROUNDS: usize = 21;

fn main() {
    // Panics are part of several measurements.
    std::panic::set_hook(Box::new(|_| {}));
    // `cargo bench` passes `--bench`; anything else picks rows by a part of their name.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let is_wanted =
        |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str()));
    println!(
        "{:<44} {:>28} {:>28} {:>19}  goal",
        "median (least to greatest)", "kebne", "actix 0.13", "ratio"
    );
    if is_wanted("message") {
        messages();
    }
    if is_wanted("flight") {
        in_flight();
    }
    if is_wanted("restart") {
        restart();
    }
    if is_wanted("flood") {
        flood::print();
    }
    if is_wanted("soak") {
        soak::print();
    }
}

fn messages() {
    let mut rows: [(&str, &str, Rounds, Rounds); 6] = [
        (
            "tell, same arbiter",
            "<= 1.5",
            Rounds::default(),
            Rounds::default(),
        ),
        (
            "tell, across arbiters",
            "<= 1.5",
            Rounds::default(),
            Rounds::default(),
        ),
        (
            "ask, same arbiter (actix: no timeout)",
            "",
            Rounds::default(),
            Rounds::default(),
        ),
        (
            "ask, same arbiter (actix: with timeout)",
            "<= 1.5",
            Rounds::default(),
            Rounds::default(),
        ),
        (
            "ask, across arbiters (actix: no timeout)",
            "",
            Rounds::default(),
            Rounds::default(),
        ),
        (
            "ask, across arbiters (actix: with timeout)",
            "<= 1.5",
            Rounds::default(),
            Rounds::default(),
        ),
    ];
    for round in 0..ROUNDS {
        eprintln!("messages: round {} of {ROUNDS}", round + 1);
        let kebne = || {
            let here = [kebne::tell(false), kebne::tell(true)];
            let (ask, far) = (kebne::ask(false), kebne::ask(true));
            [here[0], here[1], ask, ask, far, far]
        };
        let stock = || {
            [
                stock::tell(false),
                stock::tell(true),
                stock::ask(false, false),
                stock::ask(false, true),
                stock::ask(true, false),
                stock::ask(true, true),
            ]
        };
        // Who goes first changes, as the first may find the machine's caches cold.
        let (ours, theirs) = if round % 2 == 0 {
            let ours = kebne();
            (ours, stock())
        } else {
            let theirs = stock();
            (kebne(), theirs)
        };
        for ((row, ours), theirs) in rows.iter_mut().zip(ours).zip(theirs) {
            row.2.add(ours);
            row.3.add(theirs);
        }
    }
    for (name, goal, ours, theirs) in &rows {
        row(&format!("message: {name}"), "ns", ours, Some(theirs), goal);
    }
}

fn in_flight() {
    let (mut ours, mut theirs) = (Rounds::default(), Rounds::default());
    let (mut idle_ours, mut idle_theirs) = (Rounds::default(), Rounds::default());
    for round in 0..ROUNDS {
        eprintln!("in flight: round {} of {ROUNDS}", round + 1);
        let (idle, busy) = kebne::ask_in_flight();
        idle_ours.add(idle);
        ours.add(busy);
        let (idle, busy) = stock::ask_in_flight();
        idle_theirs.add(idle);
        theirs.add(busy);
    }
    row(
        "in flight: ask, nothing in flight",
        "ns",
        &idle_ours,
        Some(&idle_theirs),
        "",
    );
    row(
        "in flight: ask, 10 000 calls in flight",
        "ns",
        &ours,
        Some(&theirs),
        "",
    );
    let grown = |busy: &Rounds, idle: &Rounds| busy.over(idle);
    row(
        "in flight: 10 000 over nothing",
        "x",
        &grown(&ours, &idle_ours),
        Some(&grown(&theirs, &idle_theirs)),
        "kebne < 3",
    );
}

fn restart() {
    let (mut median, mut late) = (Rounds::default(), Rounds::default());
    for round in 0..ROUNDS {
        eprintln!("restart: round {} of {ROUNDS}", round + 1);
        let mut times = kebne::restarts();
        median.add(numbers::quantile(&mut times, 0.5));
        late.add(numbers::quantile(&mut times, 0.99));
    }
    let limit = Duration::from_millis(1).as_micros();
    let goal = format!("< {limit}");
    row("restart: after a panic, median", "us", &median, None, &goal);
    row("restart: after a panic, p99", "us", &late, None, &goal);
}
