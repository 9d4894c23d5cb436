//! The journal in an SQLite file, on a thread of its own.
//!
//! Steps that wait together share one transaction, so that one flush to the disk serves several entities; each has a
//! savepoint, so that one that fails does not undo the others.

use std::{fmt, io, path::Path, thread, time::Duration};

use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::{mpsc, oneshot};

use crate::journal::{Journal, JournalError, Payload, Recorded, Snapshots, Step};

mod worker;

use worker::{Job, work};

/// Steps that may wait for the thread; further callers wait for room.
const QUEUE: usize = 1024;
/// The longest wait for a lock that another process holds on the file.
const LOCK_WAIT: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS events (
        id TEXT NOT NULL, sequence INTEGER NOT NULL, manifest TEXT NOT NULL, bytes BLOB NOT NULL,
        PRIMARY KEY (id, sequence)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS highest (id TEXT PRIMARY KEY, sequence INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS snapshots (
        id TEXT NOT NULL, sequence INTEGER NOT NULL, manifest TEXT NOT NULL, bytes BLOB NOT NULL,
        PRIMARY KEY (id, sequence)
    ) WITHOUT ROWID;";

/// Keeps events and snapshots in an SQLite file; clones share its thread, which ends with the last of them.
#[derive(Clone)]
pub struct SqliteJournal {
    jobs: mpsc::Sender<Job>,
}

/// Why a step failed within SQLite.
enum Problem {
    Sqlite(rusqlite::Error),
    Journal(JournalError),
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Problem> for JournalError {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Sqlite(error) => Self::Failed(error.to_string()),
            Problem::Journal(error) => error,
        }
    }
}

impl SqliteJournal {
    /// Opens the file, and creates it if there is none. Events are flushed to the disk before a write is acknowledged.
    ///
    /// # Errors
    /// When the file cannot be opened or is not such a journal, or no thread can be started.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        let failed = |error: rusqlite::Error| JournalError::Failed(error.to_string());
        let connection = Connection::open(path).map_err(failed)?;
        prepare(&connection).map_err(failed)?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new().name("kebne-journal".to_owned());
        let started = thread.spawn(move || work(&connection, queue));
        let failed = |error: io::Error| JournalError::Failed(error.to_string());
        let _detached = started.map_err(failed)?;
        Ok(Self { jobs })
    }

    /// Has `act` run on the thread. The step begins here, and goes on if it is dropped once it has found room.
    fn step<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Connection) -> Result<T, Problem> + Send + 'static,
    ) -> Step<T> {
        let (answer, answered) = oneshot::channel();
        let job = worker::job(act, answer);
        let jobs = self.jobs.clone();
        // Queued here if there is room, so that the order of calls is kept.
        let unsent = jobs.try_send(job).err();
        Box::pin(async move {
            let ended = || JournalError::Failed("the thread of the journal has ended".to_owned());
            if let Some(unsent) = unsent {
                let job = unsent.into_inner();
                jobs.send(job).await.map_err(|_| ended())?;
            }
            answered.await.unwrap_or_else(|_| Err(ended()))
        })
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(LOCK_WAIT)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.execute_batch(SCHEMA)
}

fn recorded(row: &Row<'_>) -> rusqlite::Result<Recorded> {
    let sequence: i64 = row.get(0)?;
    Ok(Recorded {
        sequence: sequence.cast_unsigned(),
        payload: Payload {
            manifest: row.get(1)?,
            bytes: row.get(2)?,
        },
    })
}

fn append(database: &Connection, id: &str, first: u64, events: &[Payload]) -> Result<(), Problem> {
    if first <= highest(database, id)? {
        let id = id.to_owned();
        return Err(Problem::Journal(JournalError::Conflict {
            id,
            sequence: first,
        }));
    }
    let mut insert = database.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4)")?;
    let mut last = first;
    for (sequence, event) in (first..).zip(events) {
        last = sequence;
        insert.execute(params![
            id,
            sequence.cast_signed(),
            event.manifest,
            event.bytes
        ])?;
    }
    let mut note = database.prepare_cached("INSERT OR REPLACE INTO highest VALUES (?1, ?2)")?;
    note.execute(params![id, last.cast_signed()])?;
    Ok(())
}

fn highest(database: &Connection, id: &str) -> Result<u64, Problem> {
    let mut find = database.prepare_cached("SELECT sequence FROM highest WHERE id = ?1")?;
    let found: Option<i64> = find.query_row([id], |row| row.get(0)).optional()?;
    Ok(found.unwrap_or(0).cast_unsigned())
}

impl Journal for SqliteJournal {
    fn append(&self, id: &str, first: u64, events: Vec<Payload>) -> Step<()> {
        let id = id.to_owned();
        self.step(move |database| append(database, &id, first, &events))
    }

    fn read(&self, id: &str, from: u64, limit: usize) -> Step<Vec<Recorded>> {
        let id = id.to_owned();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.step(move |database| {
            let mut find = database.prepare_cached(
                "SELECT sequence, manifest, bytes FROM events WHERE id = ?1 AND sequence >= ?2 ORDER BY sequence LIMIT ?3",
            )?;
            let rows = find.query_map(params![id, from.cast_signed(), limit], recorded)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    fn highest(&self, id: &str) -> Step<u64> {
        let id = id.to_owned();
        self.step(move |database| highest(database, &id))
    }

    fn delete(&self, id: &str, to: u64) -> Step<()> {
        let id = id.to_owned();
        self.step(move |database| {
            let mut delete =
                database.prepare_cached("DELETE FROM events WHERE id = ?1 AND sequence <= ?2")?;
            delete.execute(params![id, to.cast_signed()])?;
            Ok(())
        })
    }
}

impl Snapshots for SqliteJournal {
    fn save(&self, id: &str, snapshot: Recorded) -> Step<()> {
        let id = id.to_owned();
        self.step(move |database| {
            let Recorded { sequence, payload } = snapshot;
            let mut save = database
                .prepare_cached("INSERT OR REPLACE INTO snapshots VALUES (?1, ?2, ?3, ?4)")?;
            save.execute(params![
                id,
                sequence.cast_signed(),
                payload.manifest,
                payload.bytes
            ])?;
            Ok(())
        })
    }

    fn latest(&self, id: &str) -> Step<Option<Recorded>> {
        let id = id.to_owned();
        self.step(move |database| {
            let mut find = database.prepare_cached(
                "SELECT sequence, manifest, bytes FROM snapshots WHERE id = ?1 ORDER BY sequence DESC LIMIT 1",
            )?;
            Ok(find.query_row([id], recorded).optional()?)
        })
    }

    fn delete_snapshots(&self, id: &str, to: u64) -> Step<()> {
        let id = id.to_owned();
        self.step(move |database| {
            let mut delete = database
                .prepare_cached("DELETE FROM snapshots WHERE id = ?1 AND sequence <= ?2")?;
            delete.execute(params![id, to.cast_signed()])?;
            Ok(())
        })
    }
}

impl fmt::Debug for SqliteJournal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SqliteJournal")
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
