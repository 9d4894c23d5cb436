//! Those who follow runs while they go on.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::broadcast;

/// Changes that a reader may be behind; one that is further behind reads the store.
const CHANGES: usize = 32;

/// What happens in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    /// Events up to this number are written.
    Written(u64),
    /// A piece of the text that the model is writing. It is not kept.
    Text(Arc<str>),
}

/// The readers of each run that has some.
#[derive(Debug, Default)]
pub(crate) struct Followers(Mutex<HashMap<Arc<str>, broadcast::Sender<Live>>>);

impl Followers {
    /// Returns what happens in a run from now on.
    pub(crate) fn follow(&self, run: &str) -> broadcast::Receiver<Live> {
        let mut runs = self.runs();
        if let Some(sender) = runs.get(run) {
            return sender.subscribe();
        }
        // Those without readers are removed when something happens in them, or here.
        runs.retain(|_, sender| sender.receiver_count() > 0);
        let (sender, receiver) = broadcast::channel(CHANGES);
        runs.insert(run.into(), sender);
        receiver
    }

    /// Returns `true` if a run has readers.
    pub(crate) fn has(&self, run: &str) -> bool {
        let runs = self.runs();
        runs.get(run)
            .is_some_and(|sender| sender.receiver_count() > 0)
    }

    /// Tells the readers of a run.
    pub(crate) fn tell(&self, run: &str, live: Live) {
        let mut runs = self.runs();
        if let Some(sender) = runs.get(run)
            && sender.send(live).is_err()
        {
            runs.remove(run);
        }
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<Arc<str>, broadcast::Sender<Live>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
