//! How far the waits that refusals promise (`Retry-After`) are from the time at which calls were next admitted.
//!
//! Of each model one promise at a time is followed, from a refusal until a call is admitted. A call that is admitted
//! before the end of the promised wait shows that the promise was too long; one that is refused after it, that it was
//! too short.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use kebne_lane::Ending;
use prometheus_client::{
    metrics::{family::Family, histogram::Histogram},
    registry::Registry,
};
use tokio::time::Instant;

use crate::{
    metrics::{
        calls::WAIT_BUCKETS,
        labels::{ByModel, Promised},
        names, register,
    },
    record::CallRecord,
};

/// The longest time after which an admission still tells something about a promise. Without calls in between, a later
/// one only shows when callers came back.
const FOLLOWED_FOR: Duration = Duration::from_mins(10);

/// The promises of all models.
pub(super) struct Promises {
    models: RwLock<HashMap<Arc<str>, Arc<Followed>>>,
    promised: Family<ByModel, Histogram, fn() -> Histogram>,
    errors: Family<Promised, Histogram, fn() -> Histogram>,
}

#[derive(Default)]
struct Followed {
    /// `true` while there is a promise; read without the lock by the calls of a model that refuses none.
    is_open: AtomicBool,
    promise: Mutex<Option<Promise>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Promise {
    made: Instant,
    /// The end of the promised wait.
    due: Instant,
    /// `true` once a call was refused after that.
    is_broken: bool,
}

/// The result of a promise: its label, and the time between its end and the admission.
type Judgement = (&'static str, Duration);

impl Promise {
    /// Judges the promise by a call that came at `came` and was admitted at `at`; `None` if that tells nothing, because
    /// the call was in the queue already.
    fn admitted(&self, came: Instant, at: Instant) -> Option<Judgement> {
        if came <= self.made {
            return None;
        }
        let late = at.saturating_duration_since(self.due);
        if at < self.due {
            return Some(("too_long", self.due.saturating_duration_since(at)));
        }
        // Otherwise the first caller after the wait was admitted, whenever it came.
        Some(if self.is_broken {
            ("too_short", late)
        } else {
            ("kept", Duration::ZERO)
        })
    }
}

impl Promises {
    pub(super) fn new() -> Self {
        Self {
            models: RwLock::default(),
            promised: Family::new_with_constructor(|| Histogram::new(WAIT_BUCKETS)),
            errors: Family::new_with_constructor(|| Histogram::new(WAIT_BUCKETS)),
        }
    }

    /// Follows a further model.
    pub(super) fn add(&self, model: &Arc<str>) {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        models.entry(Arc::clone(model)).or_default();
    }

    fn followed(&self, model: &str) -> Option<(Arc<str>, Arc<Followed>)> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        let (name, followed) = models.get_key_value(model)?;
        Some((Arc::clone(name), Arc::clone(followed)))
    }

    /// Follows the promises by the calls that end.
    pub(super) fn note(&self, record: &CallRecord) {
        let Some((model, followed)) = self.followed(&record.model) else {
            return;
        };
        if record.ending == Ending::Shed
            && let Some(wait) = record.retry_after
        {
            let labels = ByModel { model };
            let promised = self.promised.get_or_create(&labels);
            promised.observe(wait.as_secs_f64());
            followed.refuse(record.ended, wait);
            return;
        }
        if !followed.is_open.load(Relaxed) {
            return;
        }
        let Some(admitted) = record.trail.attempts.first().map(|attempt| attempt.sent) else {
            return;
        };
        let came = record.trail.entered.unwrap_or(record.opened);
        if let Some((promise, error)) = followed.admit(came, admitted) {
            let labels = Promised { model, promise };
            let errors = self.errors.get_or_create(&labels);
            errors.observe(error.as_secs_f64());
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        register(registry, &names::RETRY_AFTER, self.promised.clone());
        register(registry, &names::RETRY_AFTER_ERROR, self.errors.clone());
    }
}

impl Followed {
    fn refuse(&self, at: Instant, wait: Duration) {
        let mut open = self.promise.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(promise) = &mut *open {
            promise.is_broken |= at >= promise.due;
            return;
        }
        *open = Some(Promise {
            made: at,
            due: at + wait,
            is_broken: false,
        });
        self.is_open.store(true, Relaxed);
    }

    fn admit(&self, came: Instant, at: Instant) -> Option<Judgement> {
        let mut open = self.promise.lock().unwrap_or_else(PoisonError::into_inner);
        let promise = (*open)?;
        let judged = promise.admitted(came, at)?;
        *open = None;
        self.is_open.store(false, Relaxed);
        let is_told = at.saturating_duration_since(promise.due) <= FOLLOWED_FOR;
        is_told.then_some(judged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_judged_by_the_first_call_that_is_admitted_after_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let seconds = Duration::from_secs;
        let judge = |refused: &[u64], admitted: u64| {
            let followed = Followed::default();
            followed.refuse(at(10), seconds(5));
            for again in refused {
                followed.refuse(at(*again), seconds(5));
            }
            // A call that was there before the refusal tells nothing.
            assert_eq!(followed.admit(at(9), at(11)), None);
            let judged = followed.admit(at(admitted), at(admitted));
            assert!(!followed.is_open.load(Relaxed));
            judged
        };
        assert_eq!(judge(&[], 12), Some(("too_long", seconds(3))));
        assert_eq!(judge(&[11], 20), Some(("kept", seconds(0))));
        assert_eq!(judge(&[11, 16], 20), Some(("too_short", seconds(5))));
        assert_eq!(judge(&[16], 2_000), None);
    }
}
