//! The store in an `SQLite` file, on its own thread (the counterpart of a blocking dispatcher).
//!
//! A panic on the thread loses no acknowledged step: the store counts as lost and is opened again.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

use crate::{
    store::erasure::{Looked, Next, Whose},
    store::{
        self, Alive, Change, Copying, Fit, Found, Note, NoteChange, NoteKind, NoteStep, Owned,
        Part, PartSize, Quota, Session, SessionStore, StoreError, Stored, Tidied, Turn,
        TurnContent,
    },
};

mod branches;
mod database;
mod erasure;
mod file;
mod logs;
mod notes;
mod pieces;
mod problem;
mod progress;
mod schema;
mod tidy;
mod turns;
mod worker;

use database::Database;
use problem::Problem;
use progress::Progress;
use worker::{Acknowledge, Act, Place, Running, Step, Worker};

pub use kebne_seal::{BadKey, Keyring};

/// The number of steps that may wait for the thread; further callers wait for room.
const QUEUE: usize = 1024;
/// The maximum number of threads for one file: the present one, and former ones that hang in the file system.
const THREADS_MAX: usize = 4;

/// A file in which sessions are kept.
#[derive(Clone, Debug)]
pub struct SqliteFile {
    place: Place,
    lock_wait: Duration,
    /// The number of running threads.
    threads: Arc<AtomicUsize>,
}

impl SqliteFile {
    /// Creates a store for the file at `path`, encrypted if there is a keyring. A step waits at most `lock_wait` for
    /// the thread and for the lock of the file.
    pub fn new(path: PathBuf, keyring: Option<Keyring>, lock_wait: Duration) -> Self {
        let identity = Arc::new(OnceLock::new());
        if let Ok(Some(found)) = file::identity(&path) {
            identity.get_or_init(|| found);
        }
        Self {
            place: Place {
                path,
                keyring,
                identity,
            },
            lock_wait,
            threads: Arc::default(),
        }
    }

    /// Checks the whole file, if there is one, and upgrades it to the current format. Removes what processes left that
    /// ended while they created it.
    ///
    /// # Errors
    /// Returns [`StoreError::Damaged`] if it is not a store, is damaged, or has another key, and [`StoreError::Failed`]
    /// if it cannot be read now.
    pub fn check(&self) -> Result<(), StoreError> {
        let Place { path, keyring, .. } = &self.place;
        file::remove_drafts(path);
        if path.exists() {
            Database::open(path, keyring.clone(), self.lock_wait)?.check()?;
        }
        Ok(())
    }

    /// Starts the thread that reads and writes the file. The file is opened by the first step, and created by the first
    /// one that writes if there is none.
    ///
    /// # Errors
    /// Returns an error if no thread can be started, or too many former ones hang.
    pub fn open(&self) -> Result<SqliteStore, StoreError> {
        if self.threads.load(SeqCst) >= THREADS_MAX {
            let message = format!("{THREADS_MAX} threads hang in `{}`", self.path().display());
            return Err(StoreError::Failed(message));
        }
        let (steps, queue) = mpsc::channel(QUEUE);
        let running = Running::new(&self.threads);
        let progress = Progress::default();
        let worker = Worker::new(self.place.clone(), queue, progress.clone(), running);
        // The thread ends when the last handle to the store is gone.
        let thread = thread::Builder::new().name("kebne-sessions".to_owned());
        let _detached = thread
            .spawn(move || worker.work())
            .map_err(|error| StoreError::Failed(format!("cannot start a thread: {error}")))?;
        Ok(SqliteStore {
            lock_wait: self.lock_wait,
            steps,
            progress,
        })
    }

    fn path(&self) -> &Path {
        &self.place.path
    }
}

/// A store in an `SQLite` file.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    lock_wait: Duration,
    steps: mpsc::Sender<Step>,
    progress: Progress,
}

/// A step with a waiting caller.
struct Asked<T, F> {
    answer: oneshot::Sender<Result<T, StoreError>>,
    /// The answer while there is no file yet.
    unmade: Result<T, StoreError>,
    step: F,
}

impl<T, F> Act for Asked<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Database) -> Result<T, Problem> + Send,
{
    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    fn act(self: Box<Self>, database: Result<&Database, StoreError>) -> Acknowledge {
        let Self { answer, step, .. } = *self;
        if answer.is_closed() {
            // The caller has left, so the step is not done.
            return Box::new(|_| {});
        }
        let done = database.and_then(|database| Ok(database.step(step)?));
        Box::new(move |committed| {
            // The caller may have left.
            answer
                .send(done.and_then(|value| committed.map(|_| value)))
                .ok();
        })
    }

    fn answer_unmade(self: Box<Self>) {
        self.answer.send(self.unmade).ok();
    }
}

/// A step that runs when the transaction has ended.
struct Later<T, F> {
    answer: oneshot::Sender<Result<T, StoreError>>,
    /// The answer while there is no file yet.
    unmade: Result<T, StoreError>,
    step: F,
}

impl<T, F> Act for Later<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Database) -> Result<T, Problem> + Send + 'static,
{
    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    fn act(self: Box<Self>, database: Result<&Database, StoreError>) -> Acknowledge {
        let Self { answer, step, .. } = *self;
        let begun = database.map(drop);
        Box::new(move |committed| {
            let done = begun.and(committed).and_then(|database| match database {
                Some(database) => Ok(step(database)?),
                None => Err(StoreError::Lost),
            });
            // The caller may have left.
            answer.send(done).ok();
        })
    }

    fn answer_unmade(self: Box<Self>) {
        self.answer.send(self.unmade).ok();
    }
}

/// The access that a step needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Reads,
    Writes,
    /// It writes, and creates the file if there is none.
    Makes,
    /// It removes, also while the disk is full.
    Removes,
}

const UNMADE: StoreError = StoreError::NoSuchSession;

impl SqliteStore {
    /// Runs a step on the thread; `unmade` is the answer while there is no file yet.
    fn step<T: Send + 'static>(
        &self,
        access: Access,
        unmade: Result<T, StoreError>,
        step: impl FnOnce(&Database) -> Result<T, Problem> + Send + 'static,
    ) -> Stored<T> {
        let (answer, result) = oneshot::channel();
        let act = Box::new(Asked {
            answer,
            unmade,
            step,
        });
        self.send(access, act, result)
    }
}

impl SqliteStore {
    /// Runs a step that removes on the thread outside of a transaction.
    fn after_commit<T: Send + 'static>(
        &self,
        unmade: Result<T, StoreError>,
        step: impl FnOnce(&Database) -> Result<T, Problem> + Send + 'static,
    ) -> Stored<T> {
        let (answer, result) = oneshot::channel();
        let act = Box::new(Later {
            answer,
            unmade,
            step,
        });
        self.send(Access::Removes, act, result)
    }

    fn send<T: Send + 'static>(
        &self,
        access: Access,
        act: Box<dyn Act>,
        result: oneshot::Receiver<Result<T, StoreError>>,
    ) -> Stored<T> {
        let step = Step {
            writes: access != Access::Reads,
            makes: access == Access::Makes,
            removes: access == Access::Removes,
            due: Instant::now() + self.lock_wait,
            act,
        };
        let steps = self.steps.clone();
        Box::pin(async move {
            steps.send(step).await.map_err(|_| StoreError::Lost)?;
            result.await.map_err(|_| StoreError::Lost)?
        })
    }
}

impl SessionStore for SqliteStore {
    fn step_lasts(&self) -> Option<Duration> {
        Some(self.progress.lasts())
    }

    fn insert(&self, session: Session, quota: Quota) -> Stored<()> {
        self.step(Access::Makes, Err(UNMADE), move |database| {
            database.insert(&session, quota)
        })
    }

    fn find(&self, id: &str) -> Stored<Option<Found>> {
        let id = id.to_owned();
        self.step(Access::Reads, Ok(None), move |database| database.find(&id))
    }

    fn find_own(&self, named: Owned) -> Stored<Found> {
        self.step(Access::Reads, Err(UNMADE), move |database| {
            database.find_own(&named)
        })
    }

    fn change(&self, named: Owned, change: Change, now: u64, quota: Quota) -> Stored<Session> {
        self.step(Access::Writes, Err(UNMADE), move |database| {
            database.change(&named, change, now, quota)
        })
    }

    fn append_if(
        &self,
        id: &str,
        cuts: Option<u64>,
        content: TurnContent,
        now: u64,
        quota: Quota,
    ) -> Stored<u64> {
        let id = id.to_owned();
        self.step(Access::Writes, Err(UNMADE), move |database| {
            database.append((&id, cuts), &content, now, quota)
        })
    }

    fn newest(&self, id: &str, fit: Fit) -> Stored<Vec<Turn>> {
        let id = id.to_owned();
        self.step(Access::Reads, Err(UNMADE), move |database| {
            database.newest(&id, fit)
        })
    }

    fn turns(&self, named: Owned, after: u64, size: PartSize) -> Stored<Part<Turn>> {
        self.step(Access::Reads, Err(UNMADE), move |database| {
            database.turns(&named, after, size)
        })
    }

    fn remove_turn(&self, named: Owned, number: u64) -> Stored<bool> {
        self.step(Access::Removes, Err(UNMADE), move |database| {
            database.remove_turn(&named, number)
        })
    }

    fn put_turns(&self, named: Owned, turns: Vec<Turn>, quota: Quota) -> Stored<()> {
        self.step(Access::Writes, Err(UNMADE), move |database| {
            database.put_turns(&named, &turns, quota)
        })
    }

    fn finish(&self, named: Owned, now: u64) -> Stored<Session> {
        self.step(Access::Writes, Err(UNMADE), move |database| {
            database.finish(&named, now)
        })
    }

    fn rewind(&self, named: Owned, to: u64, now: u64) -> Stored<store::Progress> {
        self.step(Access::Removes, Err(UNMADE), move |database| {
            database.rewind(&named, to, now)
        })
    }

    fn copy(&self, named: Owned, copying: Copying, quota: Quota) -> Stored<store::Progress> {
        self.step(Access::Writes, Err(UNMADE), move |database| {
            database.copy(&named, &copying, quota)
        })
    }

    fn leaving(&self, named: Owned, tokens_max: u64) -> Stored<u64> {
        self.step(Access::Reads, Err(UNMADE), move |database| {
            database.leaving(&named, tokens_max)
        })
    }

    fn notes(&self, named: Owned, kind: NoteKind) -> Stored<Vec<Note>> {
        self.step(Access::Reads, Err(UNMADE), move |database| {
            database.notes(&named, kind)
        })
    }

    fn note(&self, named: Owned, step: NoteStep, quota: Quota) -> Stored<Vec<Option<u64>>> {
        let is_removal = |change: &NoteChange| matches!(change, NoteChange::Remove { .. });
        let access = if step.changes.iter().all(is_removal) {
            Access::Removes
        } else {
            Access::Writes
        };
        self.step(access, Err(UNMADE), move |database| {
            database.note(&named, &step, quota)
        })
    }

    fn list(
        &self,
        owner: &str,
        alive: Alive,
        after: Option<String>,
        size: PartSize,
    ) -> Stored<Part<Session>> {
        let owner = owner.to_owned();
        let unmade = match after {
            None => Ok(Part::default()),
            Some(_) => Err(UNMADE),
        };
        self.step(Access::Reads, unmade, move |database| {
            database.list(&owner, alive, after.as_deref(), size)
        })
    }

    fn remove(&self, named: Owned) -> Stored<()> {
        self.step(Access::Removes, Err(UNMADE), move |database| {
            database.remove(&named)
        })
    }

    fn adopt(&self, former: &str, owner: &str) -> Stored<bool> {
        let (former, owner) = (former.to_owned(), owner.to_owned());
        self.step(Access::Writes, Ok(false), move |database| {
            database.adopt(&former, &owner)
        })
    }

    fn count(&self) -> Stored<u64> {
        self.step(Access::Reads, Ok(0), Database::count)
    }

    fn tidy(&self, alive: Alive) -> Stored<Tidied> {
        let nothing = Ok(Tidied::default());
        self.step(Access::Removes, nothing, move |database| {
            database.tidy(alive)
        })
    }

    fn held(&self, whose: Whose, from: Next) -> Stored<Looked> {
        let nothing = Ok(Looked::default());
        self.step(Access::Reads, nothing, move |database| {
            database.held(&whose, &from)
        })
    }

    fn erase(&self, whose: Whose, from: Next) -> Stored<Looked> {
        let nothing = Ok(Looked::default());
        self.step(Access::Removes, nothing, move |database| {
            database.erase_of(&whose, &from)
        })
    }

    fn empty_log(&self) -> Stored<bool> {
        self.after_commit(Ok(true), Database::empty_log)
    }

    fn probe(&self, bytes: u64) -> Stored<()> {
        self.step(Access::Makes, Ok(()), move |database| database.probe(bytes))
    }
}

#[cfg(test)]
mod tests;
