//! What follows the ends of jobs: the results of batches are collected, and notices are delivered.

use std::{sync::Arc, time::Duration};

use actix::Message;
use kebne_actors::Context;

use crate::{
    counts::Count,
    handle::{
        Jobs,
        dispatcher::{Delivered, Dispatcher, LOOK_EVERY, Wake, Worker},
    },
    model::Delivery,
};

/// The time for which a batch or a notice is left to the one who took it.
const LEASE: Duration = Duration::from_mins(5);
/// Deliveries at once: one receiver that does not answer does not stop the others.
const DELIVERIES: usize = 8;
/// The first and the longest wait before a notice is delivered again, and how much longer each wait is than the one before.
const AGAIN: (Duration, Duration, u32) = (Duration::from_secs(5), Duration::from_hours(1), 3);

/// The work that is going on.
#[derive(Debug, Default)]
pub(super) struct Busy {
    is_collecting: bool,
    is_fetching: bool,
    deliveries: usize,
    /// `true` if it was asked for once more meanwhile.
    is_woken: bool,
}

/// A piece of the work has ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) enum Closed {
    /// A batch was collected; `true` if there may be another one.
    Collected(bool),
    /// A notice was taken, or the next one is due at this time, in milliseconds of Unix time.
    Fetched(Option<Delivery>, Option<u64>),
    /// A delivery has ended.
    Settled,
}

impl Dispatcher {
    /// Begins what is not going on.
    pub(super) fn close_all(&mut self, ctx: &mut Context<Self>) {
        self.closing.is_woken |= self.closing.is_collecting || self.closing.is_fetching;
        self.collect(ctx);
        self.fetch(ctx);
    }

    fn collect(&mut self, ctx: &mut Context<Self>) {
        if self.is_draining || self.closing.is_collecting {
            return;
        }
        self.closing.is_collecting = true;
        let (jobs, worker) = (self.jobs.clone(), Arc::clone(&self.worker));
        ctx.try_pipe_to_self(async move { collect(&jobs, &*worker).await }, |is_more| {
            Closed::Collected(is_more.unwrap_or(false))
        });
    }

    fn fetch(&mut self, ctx: &mut Context<Self>) {
        let is_full = self.closing.deliveries >= DELIVERIES;
        if self.is_draining || self.closing.is_fetching || is_full {
            return;
        }
        self.closing.is_fetching = true;
        let jobs = self.jobs.clone();
        ctx.pipe_to_self(
            async move { jobs.next_delivery(LEASE).await.unwrap_or_default() },
            |(delivery, next)| Closed::Fetched(delivery, next),
        );
    }

    /// Goes on after a piece of the work.
    pub(super) fn closed(&mut self, closed: Closed, ctx: &mut Context<Self>) {
        match closed {
            Closed::Collected(is_more) => {
                self.closing.is_collecting = false;
                if is_more {
                    self.close_all(ctx);
                }
            }
            Closed::Fetched(None, next) => {
                self.closing.is_fetching = false;
                if let Some(next) = next {
                    let wait = next.saturating_sub(self.jobs.now()) + 1;
                    let wait = Duration::from_millis(wait).min(LOOK_EVERY);
                    ctx.start_timer("notice", Wake, wait);
                }
            }
            Closed::Fetched(Some(delivery), _) => {
                self.closing.is_fetching = false;
                self.closing.deliveries += 1;
                let (jobs, worker) = (self.jobs.clone(), Arc::clone(&self.worker));
                ctx.try_pipe_to_self(
                    async move { settle(&jobs, &*worker, &delivery).await },
                    |_panicked| Closed::Settled,
                );
                // Others need not wait for this one.
                self.fetch(ctx);
            }
            Closed::Settled => {
                self.closing.deliveries -= 1;
                self.fetch(ctx);
            }
        }
        let is_idle = !self.closing.is_collecting && !self.closing.is_fetching;
        if is_idle && std::mem::take(&mut self.closing.is_woken) {
            self.close_all(ctx);
        }
    }
}

/// Collects the results of a batch; returns `true` if there may be another one.
async fn collect(jobs: &Jobs, worker: &dyn Worker) -> bool {
    let Ok(Some(batch)) = jobs.next_ended_batch(LEASE).await else {
        return false;
    };
    let Some(details) = worker.collect(&batch).await else {
        // Its lease lets it wait.
        return true;
    };
    let id = batch.batch.id.clone();
    if let Err(error) = jobs.end_batch(batch, details).await {
        tracing::warn!(batch = id, %error, "the end of a batch is not stored yet");
    }
    true
}

/// Delivers a notice, and has it delivered again if that fails.
async fn settle(jobs: &Jobs, worker: &dyn Worker, delivery: &Delivery) {
    let delivered = worker.deliver(delivery).await;
    let attempts_max = jobs.settings().webhook_attempts_max;
    let again = match delivered {
        Delivered::Done => {
            jobs.counts().add(Count::Delivered, 1);
            None
        }
        Delivered::Again(after) if delivery.attempt < attempts_max => {
            jobs.counts().add(Count::NotDelivered, 1);
            Some(wait(delivery.attempt).max(after).min(AGAIN.1))
        }
        Delivered::Again(_) | Delivered::Refused => {
            jobs.counts().add(Count::GivenUp, 1);
            let (notice, attempts) = (&delivery.notice.of, delivery.attempt);
            tracing::warn!(of = notice, attempts, "a notice was given up");
            None
        }
    };
    if let Err(error) = jobs.settle_delivery(delivery, again).await {
        tracing::warn!(of = delivery.notice.of, %error, "a notice may be delivered twice");
    }
}

/// Returns the wait after an attempt.
fn wait(attempt: u32) -> Duration {
    let factor = AGAIN.2.saturating_pow(attempt.saturating_sub(1));
    AGAIN.0.saturating_mul(factor).min(AGAIN.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_between_deliveries_grow_up_to_an_hour() {
        let waits: Vec<u64> = (1..=9).map(|attempt| wait(attempt).as_secs()).collect();
        assert_eq!(waits, [5, 15, 45, 135, 405, 1215, 3600, 3600, 3600]);
    }
}
