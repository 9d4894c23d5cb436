//! The backend of a scenario on a running clock: `crate::sim::script` with time, and one channel per attempt.
//!
//! Owns the lock, the zero of the clock and the waiting attempts. The first call sets the clock to the time at which
//! it is due in the scenario, so that callers and backend agree on the time. It makes no decisions.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::sim::script::{Script, ScriptEvent, Stage};
use kebne_control::Timestamp;
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep_until},
};

/// The largest number of events of an attempt: a first part and an end.
const EVENTS_MAX: usize = 2;

/// A scenario's backend with a running clock. Clones share it.
#[derive(Clone, Debug)]
pub struct LiveStage {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    /// Notified when an event may be due earlier than expected.
    changed: Notify,
}

#[derive(Debug)]
struct Inner {
    stage: Stage,
    /// The scenario's start; `None` before the first call.
    epoch: Option<Instant>,
    waiting: BTreeMap<u64, mpsc::Sender<ScriptEvent>>,
    arrived: u64,
}

/// The state of the stage.
#[derive(Clone, Copy, Debug)]
pub struct StageStatus {
    /// Attempts that wait for an answer.
    pub in_flight: usize,
    /// Calls that can be served at once; zero before the first.
    pub slots: usize,
    /// Attempts that arrived so far.
    pub arrived: u64,
}

/// An attempt at the backend; dropping it closes the connection.
#[derive(Debug)]
pub struct Attempt {
    job: u64,
    event: mpsc::Receiver<ScriptEvent>,
    stage: LiveStage,
}

impl LiveStage {
    /// Creates a script's backend; its time begins with the first call.
    pub fn new(script: &Script) -> Self {
        Self {
            shared: Arc::new(Shared {
                inner: Mutex::new(Inner {
                    stage: script.stage(),
                    epoch: None,
                    waiting: BTreeMap::new(),
                    arrived: 0,
                }),
                changed: Notify::new(),
            }),
        }
    }

    /// Registers an attempt of a call; a call without a number is the next of the script.
    pub fn arrive(&self, call: Option<usize>) -> Attempt {
        let (events, event) = mpsc::channel(EVENTS_MAX);
        let mut inner = self.inner();
        let next = usize::try_from(inner.arrived).unwrap_or(usize::MAX);
        let call = call.unwrap_or(next);
        inner.arrived += 1;
        if inner.epoch.is_none() {
            let start = Instant::now().checked_sub(inner.stage.due(call));
            inner.epoch = start.or_else(|| Some(Instant::now()));
        }
        let now = inner.now();
        inner.catch_up(now);
        let job = inner.stage.arrive(call, now);
        inner.waiting.insert(job, events);
        drop(inner);
        self.shared.changed.notify_one();
        Attempt {
            job,
            event,
            stage: self.clone(),
        }
    }

    /// Runs the backend. This function never returns.
    pub async fn run(&self) {
        loop {
            let next = {
                let mut inner = self.inner();
                inner.epoch.and_then(|epoch| {
                    let now = inner.now();
                    inner.catch_up(now);
                    let next = inner.stage.next_change(now)?;
                    Some(epoch + next.since(Timestamp::ZERO))
                })
            };
            let changed = self.shared.changed.notified();
            match next {
                None => changed.await,
                Some(next) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(next) => {}
                },
            }
        }
    }

    /// Returns the current state.
    pub fn status(&self) -> StageStatus {
        let mut inner = self.inner();
        let now = inner.now();
        let started = inner.epoch.is_some();
        if started {
            inner.catch_up(now);
        }
        StageStatus {
            in_flight: inner.waiting.len(),
            slots: if started { inner.stage.slots(now) } else { 0 },
            arrived: inner.arrived,
        }
    }

    fn leave(&self, job: u64) {
        let mut inner = self.inner();
        if inner.waiting.remove(&job).is_some() {
            let now = inner.now();
            inner.catch_up(now);
            inner.stage.leave(job, now);
            drop(inner);
            self.shared.changed.notify_one();
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        let inner = self.shared.inner.lock();
        inner.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn now(&self) -> Timestamp {
        let elapsed = self.epoch.map(|epoch| epoch.elapsed());
        Timestamp::from_duration(elapsed.unwrap_or_default())
    }

    /// Advances the backend to `now` and sends its events.
    fn catch_up(&mut self, now: Timestamp) {
        for event in self.stage.advance(now) {
            let listener = if event.outcome.is_some() {
                self.waiting.remove(&event.job)
            } else {
                self.waiting.get(&event.job).cloned()
            };
            // An attempt whose client has disconnected needs no answer.
            let _heard = listener.is_some_and(|listener| listener.try_send(event).is_ok());
        }
    }
}

impl Attempt {
    /// Waits for the next event of the attempt. In an outage it waits forever.
    pub async fn next_event(&mut self) -> ScriptEvent {
        match self.event.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.stage.leave(self.job);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kebne_control::Outcome;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_beyond_slots_and_line_are_refused_and_a_call_that_hangs_up_frees_its_slot() {
        // 24 slots and a line of 6.
        let script = Script::named("S03", 1.0, 1).unwrap();
        let stage = LiveStage::new(&script);
        let running = stage.clone();
        let driver = tokio::spawn(async move { running.run().await });
        let mut attempts: Vec<_> = (0..30).map(|id| stage.arrive(Some(id))).collect();
        let mut refused = stage.arrive(Some(30));
        assert_eq!(refused.next_event().await.outcome, Some(Outcome::Limit));
        assert_eq!(stage.status().in_flight, 30);
        attempts.truncate(10);
        assert_eq!(stage.status().in_flight, 10);
        for attempt in &mut attempts {
            let event = tokio::time::timeout(Duration::from_mins(1), attempt.next_event()).await;
            assert!(matches!(
                event.unwrap().outcome,
                Some(Outcome::Success { .. })
            ));
        }
        assert_eq!(stage.status().in_flight, 0);
        driver.abort();
    }
}
