//! The thread that reads and writes the file.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::Problem;
use crate::journal::JournalError;

/// Steps in one transaction at most: enough that a flush costs each little, and few enough that none waits long.
const BATCH: usize = 64;

/// Tells a caller how its step ended, once the transaction has.
type Acknowledge = Box<dyn FnOnce(Result<(), JournalError>)>;

/// A step with a waiting caller. Returns `false` if what it did is to be undone.
pub(super) type Job = Box<dyn FnOnce(&Connection) -> (bool, Acknowledge) + Send>;

/// Makes the job of a step.
pub(super) fn job<T: Send + 'static>(
    act: impl FnOnce(&Connection) -> Result<T, Problem> + Send + 'static,
    answer: oneshot::Sender<Result<T, JournalError>>,
) -> Job {
    Box::new(move |database| {
        let done = catch_unwind(AssertUnwindSafe(|| act(database)));
        let panicked = |_| Err(JournalError::Failed("the step panicked".to_owned()));
        let done = done.map_or_else(panicked, |done| done.map_err(JournalError::from));
        let is_done = done.is_ok();
        let acknowledge: Acknowledge = Box::new(move |committed| {
            let answered = done.and_then(|value| committed.map(|()| value));
            // The caller may have left.
            answer.send(answered).ok();
        });
        (is_done, acknowledge)
    })
}

/// Does the jobs until the last handle is gone.
pub(super) fn work(database: &Connection, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.blocking_recv() {
        let mut jobs = vec![first];
        while jobs.len() < BATCH
            && let Ok(job) = queue.try_recv()
        {
            jobs.push(job);
        }
        let begun = database.execute_batch("BEGIN IMMEDIATE");
        let mut acknowledged = Vec::new();
        for job in jobs {
            let (done, acknowledge) = within_savepoint(database, job);
            acknowledged.push((done, acknowledge));
        }
        let ended = begun.and_then(|()| database.execute_batch("COMMIT"));
        if ended.is_err() {
            // Also where no transaction has begun.
            database.execute_batch("ROLLBACK").ok();
        }
        let ended = ended.map_err(|error| JournalError::Failed(error.to_string()));
        for (undone, acknowledge) in acknowledged {
            acknowledge(undone.and(ended.clone()));
        }
    }
}

/// Runs a job so that it can be undone alone.
fn within_savepoint(database: &Connection, job: Job) -> (Result<(), JournalError>, Acknowledge) {
    let failed = |error: rusqlite::Error| JournalError::Failed(error.to_string());
    let begun = database.execute_batch("SAVEPOINT step").map_err(failed);
    let (is_done, acknowledge) = job(database);
    let end = if is_done {
        "RELEASE step"
    } else {
        "ROLLBACK TO step; RELEASE step"
    };
    let ended = database.execute_batch(end).map_err(failed);
    (begun.and(ended), acknowledge)
}
