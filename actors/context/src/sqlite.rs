//! The store in an `SQLite` file, on a thread of its own: the counterpart of a blocking dispatcher.
//!
//! Steps that wait are put together into one transaction and acknowledged when that is on the disk, so that
//! many turns cost one write. A panic on the thread loses no acknowledged step: the store counts as lost and
//! is opened anew.

use std::{path::PathBuf, thread};

use crate::store::{
    Alive, Details, Page, Session, SessionStore, StoreError, Stored, Turn, TurnContent,
};
use tokio::sync::{mpsc, oneshot};

mod database;
mod seal;

use database::{Database, Problem};

pub use seal::{BadKey, Sealer};

/// Steps that may wait for the thread; beyond that callers wait to be let in.
const QUEUE: usize = 1024;
/// Steps of one transaction at most, so that the first does not wait long for its acknowledgement.
const BATCH_MAX: usize = 128;

/// Tells the caller of a step how the transaction ended.
type Acknowledge = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

type Act = Box<dyn FnOnce(Result<&Database, StoreError>) -> Acknowledge + Send>;

struct Step {
    writes: bool,
    /// Acts within the transaction, and returns what is to be said after it.
    act: Act,
}

/// Keeps sessions in an `SQLite` file.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    path: PathBuf,
    steps: mpsc::Sender<Step>,
}

impl SqliteStore {
    /// Opens the store at `path`. Where there is none, one is made when the first session is.
    ///
    /// # Errors
    /// When there is a file that is no store, is damaged, or has another key.
    pub fn open(path: PathBuf, sealer: Option<Sealer>) -> Result<Self, StoreError> {
        let database = if path.exists() {
            Some(Database::open(&path, sealer.clone())?)
        } else {
            None
        };
        let (steps, queue) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new().name("kebne-sessions".to_owned());
        let worker = Worker {
            path: path.clone(),
            sealer,
            database,
            queue,
        };
        // The thread ends when the last handle to the store is gone.
        let _detached = thread
            .spawn(move || worker.work())
            .map_err(|error| StoreError::Failed(format!("cannot start a thread: {error}")))?;
        Ok(Self { path, steps })
    }

    /// Reads through the whole file at `path`, if there is one.
    ///
    /// # Errors
    /// When it is no store, is damaged, or has another key.
    pub fn check(path: &std::path::Path, sealer: Option<Sealer>) -> Result<(), StoreError> {
        if path.exists() {
            Database::open(path, sealer)?.check()?;
        }
        Ok(())
    }

    fn step<T: Send + 'static>(
        &self,
        writes: bool,
        step: impl FnOnce(&Database) -> Result<T, Problem> + Send + 'static,
    ) -> Stored<T> {
        let (answer, result) = oneshot::channel();
        let act = Box::new(move |database: Result<&Database, StoreError>| {
            let done = database.and_then(|database| Ok(database.step(step)?));
            let acknowledge: Acknowledge = Box::new(move |committed| {
                // Who asked may have gone away.
                answer
                    .send(done.and_then(|value| committed.map(|()| value)))
                    .ok();
            });
            acknowledge
        });
        let steps = self.steps.clone();
        Box::pin(async move {
            let step = Step { writes, act };
            steps.send(step).await.map_err(|_| StoreError::Lost)?;
            result.await.map_err(|_| StoreError::Lost)?
        })
    }
}

/// The thread's own.
struct Worker {
    path: PathBuf,
    sealer: Option<Sealer>,
    database: Option<Database>,
    queue: mpsc::Receiver<Step>,
}

impl Worker {
    fn work(mut self) {
        let mut batch = Vec::new();
        while let Some(first) = self.queue.blocking_recv() {
            batch.push(first);
            while batch.len() < BATCH_MAX {
                let Ok(next) = self.queue.try_recv() else {
                    break;
                };
                batch.push(next);
            }
            self.run(&mut batch);
        }
    }

    /// Runs the steps as one transaction and acknowledges them.
    fn run(&mut self, batch: &mut Vec<Step>) {
        let writes = batch.iter().any(|step| step.writes);
        let begun = self.database().and_then(|database| {
            database.begin(writes)?;
            Ok(database)
        });
        match begun {
            Ok(database) => {
                let acts = batch.drain(..).map(|step| (step.act)(Ok(database)));
                let acknowledgements: Vec<Acknowledge> = acts.collect();
                let committed = database.commit().map_err(StoreError::from);
                for acknowledge in acknowledgements {
                    acknowledge(committed.clone());
                }
            }
            Err(error) => {
                for step in batch.drain(..) {
                    (step.act)(Err(error.clone()))(Ok(()));
                }
            }
        }
    }

    fn database(&mut self) -> Result<&Database, StoreError> {
        if self.database.is_none() {
            self.database = Some(Database::open(&self.path, self.sealer.clone())?);
        }
        self.database.as_ref().ok_or(StoreError::Lost)
    }
}

impl SessionStore for SqliteStore {
    fn insert(&self, session: Session, sessions_max: u64, alive: Alive) -> Stored<()> {
        self.step(true, move |database| {
            database.insert(&session, sessions_max, alive)
        })
    }

    fn find(&self, id: &str) -> Stored<Option<Session>> {
        let id = id.to_owned();
        self.step(false, move |database| database.find(&id))
    }

    fn change(&self, id: &str, details: Details, now: u64) -> Stored<()> {
        let id = id.to_owned();
        self.step(true, move |database| database.change(&id, &details, now))
    }

    fn append(&self, id: &str, content: TurnContent, now: u64) -> Stored<u64> {
        let id = id.to_owned();
        self.step(true, move |database| database.append(&id, &content, now))
    }

    fn newest(&self, id: &str, tokens_max: u64) -> Stored<Vec<Turn>> {
        let id = id.to_owned();
        self.step(false, move |database| database.newest(&id, tokens_max))
    }

    fn turns(&self, id: &str, after: u64, limit: usize) -> Stored<Vec<Turn>> {
        let id = id.to_owned();
        self.step(false, move |database| database.turns(&id, after, limit))
    }

    fn remove_turn(&self, id: &str, number: u64) -> Stored<bool> {
        let id = id.to_owned();
        self.step(true, move |database| database.remove_turn(&id, number))
    }

    fn list(&self, owner: &str, alive: Alive, page: Page) -> Stored<Vec<Session>> {
        let owner = owner.to_owned();
        self.step(false, move |database| database.list(&owner, alive, &page))
    }

    fn remove(&self, id: &str) -> Stored<bool> {
        let id = id.to_owned();
        self.step(true, move |database| database.remove(&id))
    }

    fn expire(&self, alive: Alive) -> Stored<u64> {
        if !self.path.exists() {
            // Nothing can have expired in a file that was never made.
            return Box::pin(std::future::ready(Ok(0)));
        }
        self.step(true, move |database| database.expire(alive))
    }
}

#[cfg(test)]
mod tests;
