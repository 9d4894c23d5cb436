//! The thread on which the file is read and written.
//!
//! Steps that wait are put together into one transaction and acknowledged when that is on the disk, so that
//! many turns cost one write. While another process holds the lock of the file, steps that write wait until their time
//! is over, and steps that read go on.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use super::{QUEUE, database::Database, file, problem::Problem, seal::Keyring};
use crate::store::StoreError;

/// Steps of one transaction at most, so that the first does not wait long for its acknowledgement.
const BATCH_MAX: usize = 128;
/// Time to wait for a lock before steps that came meanwhile, and those whose time is over, are looked at.
const LOCK_SLICE: Duration = Duration::from_millis(50);
/// Time between two tries where `SQLite` itself does not wait for the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Tells whoever asked for a step how the transaction ended.
pub(super) type Acknowledge = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// The work of a step.
pub(super) trait Act: Send {
    /// Returns `true` if nobody waits for the step any more.
    fn is_abandoned(&self) -> bool;

    /// Acts within the transaction, and returns what is to be said after it.
    fn act(self: Box<Self>, database: Result<&Database, StoreError>) -> Acknowledge;

    /// Answers what holds while no file was made yet.
    fn answer_unmade(self: Box<Self>);
}

/// One step that waits for the thread.
pub(super) struct Step {
    pub(super) writes: bool,
    /// It makes the file where there is none yet.
    pub(super) makes: bool,
    /// The latest time at which it may begin.
    pub(super) due: Instant,
    pub(super) act: Box<dyn Act>,
}

/// Where the file is, and how it is opened.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) keyring: Option<Keyring>,
    /// The file that was found or made first. If it is gone it must come back: an empty one in its place would hide the
    /// loss, and another one would be mixed with the log of this one.
    pub(super) identity: Arc<OnceLock<(u64, u64)>>,
}

/// Counts one thread for as long as it runs.
pub(super) struct Running(Arc<AtomicUsize>);

impl Running {
    pub(super) fn new(threads: &Arc<AtomicUsize>) -> Self {
        threads.fetch_add(1, SeqCst);
        Self(Arc::clone(threads))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// The thread's own.
pub(super) struct Worker {
    place: Place,
    open: Option<Database>,
    queue: mpsc::Receiver<Step>,
    reads: VecDeque<Step>,
    writes: VecDeque<Step>,
    /// The last reason why steps wait.
    busy: Option<String>,
    _running: Running,
}

impl Worker {
    pub(super) fn new(place: Place, queue: mpsc::Receiver<Step>, running: Running) -> Self {
        Self {
            place,
            open: None,
            queue,
            reads: VecDeque::new(),
            writes: VecDeque::new(),
            busy: None,
            _running: running,
        }
    }

    /// Works until the last handle to the store is gone.
    pub(super) fn work(mut self) {
        while self.await_steps() {
            self.answer_overdue();
            let was_busy = self.transact(false) | self.transact(true);
            if was_busy {
                thread::sleep(LOCK_PAUSE);
            }
        }
    }

    /// Takes in steps, and waits for one if there are none; returns `false` when no more will come.
    fn await_steps(&mut self) -> bool {
        if self.reads.is_empty() && self.writes.is_empty() {
            let Some(step) = self.queue.blocking_recv() else {
                return false;
            };
            self.take_in(step);
        }
        while self.reads.len() < BATCH_MAX && self.writes.len() < QUEUE {
            let Ok(step) = self.queue.try_recv() else {
                break;
            };
            self.take_in(step);
        }
        true
    }

    fn take_in(&mut self, step: Step) {
        let steps = if step.writes {
            &mut self.writes
        } else {
            &mut self.reads
        };
        steps.push_back(step);
    }

    /// Answers steps whose time is over, and drops those that nobody waits for.
    fn answer_overdue(&mut self) {
        let now = Instant::now();
        let busy = self.busy.as_deref().unwrap_or("it is busy");
        for steps in [&mut self.reads, &mut self.writes] {
            let (gone, left) = std::mem::take(steps)
                .into_iter()
                .partition(|step| step.due <= now || step.act.is_abandoned());
            *steps = left;
            answer(gone, &StoreError::Failed(busy.to_owned()));
        }
    }

    /// Runs the waiting steps of one kind as one transaction and acknowledges them. Returns `true` if they go on
    /// waiting, because another process holds the lock.
    fn transact(&mut self, writes: bool) -> bool {
        let steps = if writes {
            &mut self.writes
        } else {
            &mut self.reads
        };
        if steps.is_empty() {
            return false;
        }
        let count = steps.len().min(BATCH_MAX);
        let makes = steps.iter().take(count).any(|step| step.makes);
        if !makes && self.is_unmade() {
            let steps = if writes {
                &mut self.writes
            } else {
                &mut self.reads
            };
            for step in steps.drain(..count) {
                step.act.answer_unmade();
            }
            return false;
        }
        let begun = match self.database() {
            Ok(database) => database.begin(writes),
            Err(problem) => Err(problem),
        };
        if let Err(problem) = &begun
            && problem.is_busy()
        {
            self.busy = Some(format!("another process uses the file: {problem}"));
            return true;
        }
        let steps = if writes {
            &mut self.writes
        } else {
            &mut self.reads
        };
        let batch: VecDeque<Step> = steps.drain(..count).collect();
        let (Ok(()), Some(database)) = (&begun, &self.open) else {
            let error = begun.err().map_or(StoreError::Lost, StoreError::from);
            answer(batch, &error);
            return false;
        };
        let acts = batch.into_iter().map(|step| step.act.act(Ok(database)));
        let acknowledgements: Vec<Acknowledge> = acts.collect();
        let committed = database.commit().map_err(StoreError::from);
        if committed.is_err() {
            // What the connection remembers of the transaction did not happen.
            self.open = None;
        }
        for acknowledge in acknowledgements {
            acknowledge(committed.clone());
        }
        false
    }

    /// Returns `true` if there never was a file.
    fn is_unmade(&self) -> bool {
        let Place { path, identity, .. } = &self.place;
        identity.get().is_none() && matches!(file::identity(path), Ok(None))
    }

    /// Returns the open file. One that is gone, or that another one replaces, is an error until it is back.
    fn database(&mut self) -> Result<&Database, Problem> {
        let path = &self.place.path;
        let (first, found) = (self.place.identity.get(), file::identity(path)?);
        let wrong = match (first, found) {
            (Some(_), None) => Some("is gone"),
            (Some(first), Some(found)) if *first != found => {
                Some("is not the file that was used before")
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            self.open = None;
            let path = path.display();
            let message = format!("`{path}` {wrong}; put that back, or restart the program");
            return Err(StoreError::Failed(message).into());
        }
        let database = if let Some(database) = self.open.take() {
            database
        } else {
            let keyring = self.place.keyring.clone();
            let database = Database::open(path, keyring, LOCK_SLICE)?;
            if let Some(found) = file::identity(path)? {
                self.place.identity.get_or_init(|| found);
            }
            database
        };
        Ok(self.open.insert(database))
    }
}

fn answer(steps: VecDeque<Step>, error: &StoreError) {
    for step in steps {
        step.act.act(Err(error.clone()))(Ok(()));
    }
}
