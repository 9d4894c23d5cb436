//! What one decision costs: a lane of twenty calls in flight, every law, a million messages.
//!
//! `cargo bench -p kebne-control`. One line per law: the median and the 99th percentile of one
//! `Controller::step`, over batches of sixteen, so that reading the clock is not what is measured. The goal is
//! 2 microseconds at the median.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "a bench reads the clock and prints its table"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use kebne_control::{
    AttemptId, Controller, ControllerSettings, Kind, Law, Message, Outcome, QuotaHints, Span,
    Timestamp,
};

/// Calls in flight, as long as the law allows so many.
const IN_FLIGHT: u64 = 20;
/// Calls of one law.
const CALLS: u64 = 200_000;
/// Messages timed together.
const BATCH: usize = 16;

const LAWS: [(&str, Law); 2] = [("adaptive", Law::Adaptive), ("fixed", Law::Fixed)];

/// The messages of a busy lane: a call ends, another is sent, the queue changes; one in a hundred is refused.
fn messages() -> Vec<(Message, Timestamp)> {
    let mut dice = fastrand::Rng::with_seed(7);
    let mut all = Vec::new();
    for call in 0..CALLS + IN_FLIGHT {
        // Twenty calls of a second each: one ends every 50 ms.
        let seconds = 10.0 + 0.05 * f64::from(u32::try_from(call).unwrap_or(0));
        let now = Timestamp::from_secs_f64(seconds);
        if let Some(ended) = call.checked_sub(IN_FLIGHT) {
            let outcome = if dice.u8(..) < 3 {
                Outcome::Limit
            } else {
                Outcome::Success { tokens: Some(50) }
            };
            let quota = QuotaHints::default();
            let attempt = AttemptId(ended);
            all.push((
                Message::Ended {
                    attempt,
                    span: Span::until(now),
                    outcome,
                    quota,
                },
                now,
            ));
        }
        let sent = Message::Dispatched {
            attempt: AttemptId(call),
            in_flight: u32::try_from(call.min(IN_FLIGHT)).unwrap_or(0).max(1),
            tokens: 50,
            probe: call == 0,
            kind: Kind::default(),
        };
        all.push((sent, now));
        let queued = 5 + dice.u32(..20);
        all.push((Message::Demand { queued }, now));
    }
    all
}

fn measure(law: Law, messages: &[(Message, Timestamp)]) -> (Vec<Duration>, usize) {
    let settings = ControllerSettings {
        law,
        ..ControllerSettings::default()
    };
    let start = Timestamp::from_secs_f64(1.0);
    let mut controller = Controller::new(&settings, None, start);
    let mut dice = fastrand::Rng::with_seed(11);
    let mut chance = || dice.f64();
    let mut effects = 0;
    let mut costs = Vec::with_capacity(messages.len() / BATCH);
    for batch in messages.chunks_exact(BATCH) {
        let before = Instant::now();
        for (message, now) in batch {
            effects += black_box(controller.step(*message, *now, &mut chance)).len();
        }
        costs.push(before.elapsed() / u32::try_from(BATCH).unwrap_or(1));
    }
    costs.sort_unstable();
    (costs, effects)
}

fn main() {
    let messages = messages();
    println!("| law | median | p99 | effects |");
    println!("|---|---|---|---|");
    for (name, law) in LAWS {
        let (costs, effects) = measure(law, &messages);
        let at = |share: usize| costs.get(costs.len() * share / 100).copied();
        let text = |cost: Option<Duration>| cost.map_or(String::new(), |c| format!("{c:.2?}"));
        println!(
            "| {name} | {} | {} | {effects} |",
            text(at(50)),
            text(at(99))
        );
    }
}
