//! Measures what an actor costs on Kebne, stock actix, ractor, kameo and Pekko, in one run on one machine; see the README.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command for developers: it prints, and ends at the first surprise"
)]

mod actix_side;
mod cases;
mod flood;
mod jvm;
mod kameo_side;
mod kebne_side;
mod latch;
mod page;
mod ractor_side;
mod rounds;

use std::process::Command;

use cases::{Case, HELD};
use jvm::Jvm;
use rounds::Rounds;

/// Rounds of a case; odd, so that a median is one of them.
const ROUNDS: usize = 11;
/// Rounds of the cases that take seconds.
const FEW_ROUNDS: usize = 5;

/// A library under measurement.
enum Side {
    Kebne,
    Actix,
    Ractor,
    Kameo,
    Pekko(Jvm),
}

impl Side {
    fn name(&self) -> &'static str {
        match self {
            Self::Kebne => "Kebne",
            Self::Actix => "actix 0.13",
            Self::Ractor => "ractor 0.16",
            Self::Kameo => "kameo 0.22",
            Self::Pekko(_) => "Pekko 1.1",
        }
    }

    /// Measures a case once; `None` if the library has nothing comparable.
    fn measure(&mut self, case: Case) -> Option<f64> {
        if case == Case::Memory && !matches!(self, Self::Pekko(_)) {
            return Some(in_a_process(self.name()));
        }
        match self {
            Self::Kebne => kebne_side::measure(case),
            Self::Actix => actix_side::measure(case),
            Self::Ractor => ractor_side::measure(case),
            Self::Kameo => kameo_side::measure(case),
            Self::Pekko(jvm) => jvm.measure(case),
        }
    }
}

/// Measures memory in a process of its own, as an allocator keeps what an earlier case has used.
fn in_a_process(name: &str) -> f64 {
    let program = std::env::current_exe().unwrap();
    let done = Command::new(program).args(["hold", name]).output().unwrap();
    let printed = String::from_utf8(done.stdout).unwrap();
    printed.trim().parse().unwrap()
}

/// Holds so many idle actors of a library; returns the bytes of each.
fn hold(name: &str) -> f64 {
    match name {
        "Kebne" => kebne_side::hold(HELD),
        "actix 0.13" => actix_side::hold(HELD),
        "ractor 0.16" => ractor_side::hold(HELD),
        "kameo 0.22" => kameo_side::hold(HELD),
        other => panic!("`{other}` is not a library"),
    }
}

/// All sides in turn, round after round; who begins changes, as the first may find cold caches.
fn rounds(sides: &mut [Side], case: Case) -> Vec<Rounds> {
    let count = if case.is_slow() { FEW_ROUNDS } else { ROUNDS };
    let mut measured = vec![Rounds::default(); sides.len()];
    for round in 0..count {
        eprintln!("{}: round {} of {count}", case.name(), round + 1);
        for turn in 0..sides.len() {
            let at = (turn + round) % sides.len();
            if let Some(value) = sides[at].measure(case) {
                measured[at].add(value);
            }
        }
    }
    measured
}

fn main() {
    // Panics are part of the storm.
    std::panic::set_hook(Box::new(|_| {}));
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, name] = &arguments[..]
        && command == "hold"
    {
        println!("{}", hold(name));
        return;
    }
    let mut flag = |name: &str| {
        let before = arguments.len();
        arguments.retain(|argument| argument != name);
        arguments.len() < before
    };
    let (writes, without_jvm) = (flag("--write"), flag("--without-jvm"));
    let mut sides = vec![Side::Kebne, Side::Actix, Side::Ractor, Side::Kameo];
    if !without_jvm {
        sides.push(Side::Pekko(Jvm::start()));
    }
    let names: Vec<_> = sides.iter().map(Side::name).collect();
    let mut table = page::Table::new(&names);
    for case in Case::ALL {
        let wanted = arguments.iter().any(|part| case.name().contains(part));
        if arguments.is_empty() || wanted {
            table.add(case, &rounds(&mut sides, case));
        }
    }
    println!("{}", table.text());
    if writes {
        page::write(&table);
    }
}
