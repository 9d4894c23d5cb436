//! The thread on which the file is read and written.
//!
//! Waiting steps are combined into one transaction and acknowledged once it is on the disk, so that many turns cost one
//! write. While another process holds the lock of the file, steps that write wait until they time out, and steps that
//! read continue.

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

use kebne_file::Reserve;
use kebne_seal::Keyring;
use tokio::sync::mpsc;

use super::{QUEUE, database::Database, file, problem::Problem, progress::Progress};
use crate::store::StoreError;

/// The maximum number of steps of one transaction, so that the first does not wait long for its acknowledgement.
const BATCH_MAX: usize = 128;
/// The time after which a transaction takes no further step, so that overdue steps are answered soon.
const BATCH_TIME: Duration = Duration::from_millis(100);
/// The space that steps need which remove while the disk is full: a step erases about a mebibyte, and a transaction has several.
const RESERVE: u64 = 16 << 20;
/// The time to wait for a lock before new and overdue steps are handled.
const LOCK_SLICE: Duration = Duration::from_millis(50);
/// The time between two attempts where `SQLite` itself does not wait for the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Reports the result of the transaction to the caller of a step. It gets the open file, unless the step was not done.
pub(super) type Acknowledge = Box<dyn FnOnce(Result<Option<&Database>, StoreError>) + Send>;

/// The work of a step.
pub(super) trait Act: Send {
    /// Returns `true` if the caller no longer waits.
    fn is_abandoned(&self) -> bool;

    /// Acts within the transaction and returns the acknowledgement to send after it.
    fn act(self: Box<Self>, database: Result<&Database, StoreError>) -> Acknowledge;

    /// Answers while there is no file yet.
    fn answer_unmade(self: Box<Self>);
}

/// One step that waits for the thread.
pub(super) struct Step {
    pub(super) writes: bool,
    /// `true` if it creates the file if there is none.
    pub(super) makes: bool,
    /// `true` if it removes, and finds space for it on a full disk.
    pub(super) removes: bool,
    /// The latest time at which it may begin.
    pub(super) due: Instant,
    pub(super) act: Box<dyn Act>,
}

/// The place of the file and the way to open it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) keyring: Option<Keyring>,
    /// The identity of the file that was found or created first. If the file disappears, steps fail until it is back:
    /// an empty file in its place would hide the loss, and another file would be combined with the log of this one.
    pub(super) identity: Arc<OnceLock<(u64, u64)>>,
}

/// Counts one thread while it runs.
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

/// The state of the thread.
pub(super) struct Worker {
    place: Place,
    open: Option<Database>,
    reserve: Reserve,
    queue: mpsc::Receiver<Step>,
    reads: VecDeque<Step>,
    writes: VecDeque<Step>,
    /// The last reason why steps wait.
    busy: Option<String>,
    progress: Progress,
    _running: Running,
}

impl Worker {
    pub(super) fn new(
        place: Place,
        queue: mpsc::Receiver<Step>,
        progress: Progress,
        running: Running,
    ) -> Self {
        let reserve = Reserve::beside(&place.path, RESERVE);
        Self {
            place,
            open: None,
            reserve,
            queue,
            reads: VecDeque::new(),
            writes: VecDeque::new(),
            busy: None,
            progress,
            _running: running,
        }
    }

    /// Runs until the last handle to the store is dropped.
    pub(super) fn work(mut self) {
        while self.await_steps() {
            self.answer_overdue();
            let was_busy = self.transact(false) | self.write();
            self.progress.end();
            if was_busy {
                thread::sleep(LOCK_PAUSE);
            }
        }
        // A loss that nobody has met yet is logged.
        self.keep_logs().ok();
    }

    /// Receives steps, and waits for one if there are none; returns `false` once no more can come.
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

    /// Answers overdue steps, and drops those whose callers have left.
    fn answer_overdue(&mut self) {
        let now = Instant::now();
        let late = match &self.busy {
            Some(busy) => StoreError::Failed(busy.clone()),
            None => StoreError::Busy,
        };
        for steps in [&mut self.reads, &mut self.writes] {
            let (gone, left) = std::mem::take(steps)
                .into_iter()
                .partition(|step| step.due <= now || step.act.is_abandoned());
            *steps = left;
            answer(gone, &late);
        }
    }

    /// Runs the waiting steps that write. Those that remove get the reserve while the disk is full.
    fn write(&mut self) -> bool {
        let removes = self.writes.iter().any(|step| step.removes);
        let is_given_up = removes && self.reserve.give_up();
        let was_busy = self.transact(true);
        if is_given_up {
            // The log has taken the space, and needs it no more.
            let emptied = self.open.as_ref().map(Database::empty_log);
            if let Some(Err(error)) = emptied {
                let error = StoreError::from(error);
                tracing::debug!(%error, "the log of the session store is not emptied");
            }
            self.reserve.take_back();
        } else if removes {
            // There may have been no space for it before.
            self.reserve.take();
        }
        was_busy
    }

    /// Runs the waiting steps of one kind as one transaction and acknowledges them. Returns `true` if they must keep
    /// waiting because another process holds the lock.
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
        self.progress.begin();
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
        self.busy = None;
        let steps = if writes {
            &mut self.writes
        } else {
            &mut self.reads
        };
        let (Ok(()), Some(database)) = (&begun, &self.open) else {
            let error = begun.err().map_or(StoreError::Lost, StoreError::from);
            answer(steps.drain(..count).collect(), &error);
            return false;
        };
        let (since, mut acknowledgements) = (Instant::now(), Vec::<Acknowledge>::new());
        while acknowledgements.len() < count
            && (acknowledgements.is_empty() || since.elapsed() < BATCH_TIME)
            && let Some(step) = steps.pop_front()
        {
            self.progress.begin();
            acknowledgements.push(step.act.act(Ok(database)));
        }
        self.progress.begin();
        let committed = database.commit().map_err(StoreError::from);
        // A log that has lost its name meanwhile would be lost with the process.
        let committed = committed.and_then(|()| {
            if writes {
                self.keep_logs()?;
            }
            Ok(())
        });
        if committed.is_err() {
            // The connection is closed, because its view of the transaction is no longer valid.
            self.open = None;
        }
        for acknowledge in acknowledgements {
            acknowledge(committed.clone().map(|()| self.open.as_ref()));
        }
        false
    }

    /// Returns `true` if there has never been a file.
    fn is_unmade(&self) -> bool {
        let Place { path, identity, .. } = &self.place;
        identity.get().is_none() && matches!(file::identity(path), Ok(None))
    }

    /// Returns the open file. A file that is missing or replaced by another is an error until it is back.
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
        self.keep_logs()?;
        let path = &self.place.path;
        let database = if let Some(database) = self.open.take() {
            database
        } else {
            let keyring = self.place.keyring.clone();
            let database = Database::open(path, keyring, LOCK_SLICE)?;
            if let Some(found) = file::identity(path)? {
                self.place.identity.get_or_init(|| found);
            }
            self.reserve.take();
            database
        };
        Ok(self.open.insert(database))
    }

    /// Closes the file if one of the files beside it was removed, replaced or truncated, after what can be read of the
    /// lost one was written to the file. The next step opens it again.
    ///
    /// # Errors
    /// Returns an error if it was closed.
    fn keep_logs(&mut self) -> Result<(), Problem> {
        let path = &self.place.path;
        let Some(database) = self.open.take() else {
            return Ok(());
        };
        let Some(harm) = database.harm(path)? else {
            self.open = Some(database);
            return Ok(());
        };
        let message = format!("`{}` {}", harm.path(path).display(), harm.words());
        let saved = database.save(harm);
        tracing::error!(saved, "a file of the session store is lost: {message}");
        Err(StoreError::Failed(message).into())
    }
}

fn answer(steps: VecDeque<Step>, error: &StoreError) {
    for step in steps {
        step.act.act(Err(error.clone()))(Ok(None));
    }
}
