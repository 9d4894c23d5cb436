//! What is measured, and how much of it.

use std::time::{Duration, Instant};

/// Tells in one round.
pub(crate) const TELLS: u32 = 200_000;
/// Tells before one is asked, so that a queue does not grow without end.
pub(crate) const BATCH: u32 = 1_000;
/// Asks in one round on one thread.
pub(crate) const ASKS: u32 = 20_000;
/// Asks in one round across threads, where each wakes two threads.
pub(crate) const FAR_ASKS: u32 = 4_000;
/// Actors that are spawned in one round.
pub(crate) const SPAWNS: usize = 10_000;
/// Children of a supervisor that all panic.
pub(crate) const CHILDREN: usize = 1_000;
/// Idle actors whose memory is measured.
pub(crate) const HELD: usize = 100_000;
/// Room of a mailbox: more than a batch.
pub(crate) const ROOM: usize = 2_000;
/// Longer than anything takes here.
pub(crate) const LONG: Duration = Duration::from_mins(10);

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    TellNear,
    TellFar,
    AskNear,
    AskFar,
    Spawn,
    Storm,
    Memory,
    Calm,
    Flooded,
}

impl Case {
    pub(crate) const ALL: [Self; 9] = [
        Self::TellNear,
        Self::TellFar,
        Self::AskNear,
        Self::AskFar,
        Self::Spawn,
        Self::Storm,
        Self::Memory,
        Self::Calm,
        Self::Flooded,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TellNear => "tell, one thread",
            Self::TellFar => "tell, across threads",
            Self::AskNear => "ask, one thread",
            Self::AskFar => "ask, across threads",
            Self::Spawn => "spawn, up to its first message",
            Self::Storm => "storm: 1,000 children panic, each",
            Self::Memory => "memory of an idle actor",
            Self::Calm => "sibling's answer, p99",
            Self::Flooded => "flooded sibling's answer, p99",
        }
    }

    /// The word by which the JVM is asked.
    pub(crate) fn word(self) -> String {
        format!("{self:?}")
    }

    /// The unit, and how many of it one of what is measured is: nanoseconds, bytes or milliseconds.
    pub(crate) fn unit(self) -> (&'static str, f64) {
        match self {
            Self::TellNear | Self::TellFar | Self::AskNear => ("ns", 1.0),
            Self::AskFar | Self::Spawn | Self::Storm => ("µs", 1e-3),
            Self::Memory => ("bytes", 1.0),
            Self::Calm | Self::Flooded => ("ms", 1.0),
        }
    }

    /// Returns `true` if a round takes about a second.
    pub(crate) fn is_slow(self) -> bool {
        matches!(self, Self::Memory | Self::Calm | Self::Flooded)
    }
}

/// Returns the nanoseconds since `start` for each of so many.
#[expect(clippy::cast_precision_loss, reason = "a count of some thousands")]
pub(crate) fn nanos_each(start: Instant, count: usize) -> f64 {
    start.elapsed().as_secs_f64() * 1e9 / count as f64
}

/// Runs what holds so many actors; returns the resident bytes of each.
#[expect(clippy::cast_precision_loss, reason = "a count of some thousands")]
pub(crate) async fn resident_each<T>(count: usize, spawn: impl AsyncFnOnce() -> T) -> f64 {
    let before = resident();
    let held = spawn().await;
    let grown = resident() - before;
    drop(held);
    grown / count as f64
}

/// Returns the resident bytes of this process.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib: f64 = line
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    kib * 1024.0
}
