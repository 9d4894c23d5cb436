//! What an actor whose mailbox never empties does to a sibling on its thread.
//!
//! The flood feeds itself: each message that is handled sends the next. So the mailbox is never empty, however
//! slow a sender's thread is on a busy machine.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

/// How long one flood lasts.
const LASTS: Duration = Duration::from_secs(1);
/// How long a flooded actor is busy with one message.
const WORK: Duration = Duration::from_micros(2);
/// Messages that are under way at any time.
pub(crate) const UNDER_WAY: usize = 500;

/// Ends a flood.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flood(Arc<AtomicBool>);

impl Flood {
    /// Handles one message; returns `true` if another is to follow.
    pub(crate) fn work(&self) -> bool {
        let start = Instant::now();
        while start.elapsed() < WORK {
            std::hint::spin_loop();
        }
        !self.0.load(SeqCst)
    }

    /// Pings a sibling, one ping after the other, and ends the flood. Returns the 99th percentile of the milliseconds
    /// of an answer; one that did not come counts as infinity.
    pub(crate) async fn pings(&self, ping: impl AsyncFn()) -> f64 {
        let started = Instant::now();
        let mut answers = Vec::new();
        while started.elapsed() < LASTS {
            let sent = Instant::now();
            let left = LASTS.saturating_sub(started.elapsed());
            let answer = tokio::time::timeout(left, ping()).await;
            // A ping that the end of the flood cuts off is not counted, unless it waited for most of it.
            match answer {
                Ok(()) => answers.push(sent.elapsed().as_secs_f64() * 1e3),
                Err(_) if left > LASTS / 2 => answers.push(f64::INFINITY),
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.0.store(true, SeqCst);
        answers.sort_by(f64::total_cmp);
        let rank = (answers.len() * 99).div_ceil(100).saturating_sub(1);
        answers.get(rank).copied().unwrap_or(f64::INFINITY)
    }
}
