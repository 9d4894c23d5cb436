//! The file that sessions are kept in: its schema, and each step on it.
//!
//! Knows `SQLite` and nothing of threads. A file that is no store, that is damaged, or that another key wrote
//! is an error; it is never taken for an empty store.

use std::{fs, io, path::Path, time::Duration};

use crate::store::{Alive, Details, Fit, Page, Session, StoreError, Turn, TurnContent};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, params};

use super::seal::Sealer;

/// Marks the file as ours (`Kebn`).
const APPLICATION: i32 = 0x4b65_626e;
/// The version of the schema.
const FORMAT: i32 = 1;
/// Time to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(5);
/// Kept sealed, to tell a wrong key from a damaged piece.
const KEY_CHECK: &str = "kebne session store";

const SCHEMA: &str = "
CREATE TABLE lock (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, created INTEGER NOT NULL, used INTEGER NOT NULL,
    turns INTEGER NOT NULL, tokens INTEGER NOT NULL, details BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_owner ON sessions (owner, created, id);
CREATE INDEX sessions_by_use ON sessions (used);
CREATE INDEX sessions_by_age ON sessions (created);
CREATE TABLE turns (
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE, number INTEGER NOT NULL,
    tokens INTEGER NOT NULL, leads INTEGER NOT NULL, messages BLOB NOT NULL,
    PRIMARY KEY (session, number)
) STRICT, WITHOUT ROWID;
";

const SESSION: &str = "id, owner, created, used, turns, tokens, details";

/// An open store.
#[derive(Debug)]
pub(super) struct Database {
    connection: Connection,
    sealer: Option<Sealer>,
}

impl Database {
    /// Opens the store at `path`, making it where there is none.
    pub(super) fn open(path: &Path, sealer: Option<Sealer>) -> Result<Self, Problem> {
        if !path.exists() {
            create(path, sealer.as_ref())?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        // Looked at before anything is set: a file of somebody else stays as it is.
        let damaged = |what: &str| {
            let message = format!("`{}`: {what}", path.display());
            Err(StoreError::Damaged(message).into())
        };
        let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get(0));
        let application: i32 = pragma("application_id")?;
        if application != APPLICATION {
            return damaged("the file is no store of sessions");
        }
        let format: i32 = pragma("user_version")?;
        if format != FORMAT {
            return damaged("the file was written by another version");
        }
        let lock = "SELECT value FROM lock WHERE name = 'check'";
        let lock: Option<Vec<u8>> = connection
            .query_row(lock, [], |row| row.get(0))
            .optional()?;
        match (&sealer, lock) {
            (None, None) => {}
            (Some(sealer), Some(sealed)) => {
                if sealer.open(&sealed, KEY_CHECK).is_none() {
                    return damaged("the key is not the one that the file was encrypted with");
                }
            }
            (None, Some(_)) => return damaged("the file is encrypted, and no key is set"),
            (Some(_), None) => {
                return damaged("a key is set, but the file was written without encryption");
            }
        }
        configure(&connection)?;
        Ok(Self { connection, sealer })
    }

    /// Reads through the whole file; slow for a large one.
    pub(super) fn check(&self) -> Result<(), Problem> {
        let verdict: String = self
            .connection
            .pragma_query_value(None, "quick_check", |row| row.get(0))?;
        if verdict == "ok" {
            return Ok(());
        }
        Err(StoreError::Damaged(verdict).into())
    }

    /// Begins a transaction; one that writes waits for other writers now and not in its middle.
    pub(super) fn begin(&self, writes: bool) -> Result<(), Problem> {
        let begin = if writes { "BEGIN IMMEDIATE" } else { "BEGIN" };
        Ok(self.connection.execute_batch(begin)?)
    }

    pub(super) fn commit(&self) -> Result<(), Problem> {
        self.connection.execute_batch("COMMIT").map_err(|error| {
            // After a failed commit the transaction may still be open; closing it cannot fail otherwise.
            self.connection.execute_batch("ROLLBACK").ok();
            error.into()
        })
    }

    /// Runs one step of the transaction; what a failed step did is undone, without harm to the others.
    pub(super) fn step<T>(
        &self,
        step: impl FnOnce(&Self) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        self.connection.execute_batch("SAVEPOINT step")?;
        let result = step(self);
        let end = match &result {
            Ok(_) => "RELEASE step",
            Err(_) => "ROLLBACK TO step; RELEASE step",
        };
        self.connection.execute_batch(end)?;
        result
    }

    pub(super) fn insert(
        &self,
        session: &Session,
        sessions_max: u64,
        alive: Alive,
    ) -> Result<(), Problem> {
        let count =
            "SELECT count(*) FROM sessions WHERE owner = ?1 AND created >= ?2 AND used >= ?3";
        let since = (number(alive.created_since), number(alive.used_since));
        let held: i64 = self
            .connection
            .prepare_cached(count)?
            .query_row(params![session.owner, since.0, since.1], |row| row.get(0))?;
        if held >= number(sessions_max) {
            return Err(StoreError::Full.into());
        }
        let details = self.seal_details(&session.id, &session.details)?;
        let insert = "INSERT INTO sessions (id, owner, created, used, turns, tokens, details)
            VALUES (?1, ?2, ?3, ?4, 0, 0, ?5)";
        let (created, used) = (number(session.created), number(session.used));
        self.connection.prepare_cached(insert)?.execute(params![
            session.id,
            session.owner,
            created,
            used,
            details
        ])?;
        Ok(())
    }

    pub(super) fn find(&self, id: &str) -> Result<Option<Session>, Problem> {
        let find = format!("SELECT {SESSION} FROM sessions WHERE id = ?1");
        let mut find = self.connection.prepare_cached(&find)?;
        let mut rows = find.query([id])?;
        rows.next()?.map(|row| self.session(row)).transpose()
    }

    pub(super) fn change(&self, id: &str, details: &Details, now: u64) -> Result<(), Problem> {
        let details = self.seal_details(id, details)?;
        let change = "UPDATE sessions SET details = ?2, used = ?3 WHERE id = ?1";
        let mut change = self.connection.prepare_cached(change)?;
        existing(change.execute(params![id, details, number(now)])?)
    }

    pub(super) fn append(&self, id: &str, content: &TurnContent, now: u64) -> Result<u64, Problem> {
        let tokens = number(content.tokens);
        let note = "UPDATE sessions SET turns = turns + 1, tokens = tokens + ?2, used = ?3
            WHERE id = ?1 RETURNING turns";
        let turn: Option<i64> = self
            .connection
            .prepare_cached(note)?
            .query_row(params![id, tokens, number(now)], |row| row.get(0))
            .optional()?;
        let turn = turn.ok_or(StoreError::NoSuchSession)?;
        let about = about_turn(id, turn, tokens, content.leads);
        let messages = self.seal(&content.messages, &about)?;
        let insert = "INSERT INTO turns (session, number, tokens, leads, messages)
            VALUES (?1, ?2, ?3, ?4, ?5)";
        let mut insert = self.connection.prepare_cached(insert)?;
        insert.execute(params![id, turn, tokens, content.leads, messages])?;
        Ok(turn.unsigned_abs())
    }

    pub(super) fn newest(&self, id: &str, tokens_max: u64) -> Result<Vec<Turn>, Problem> {
        let newest = "SELECT number, tokens, leads, messages FROM turns WHERE session = ?1
            ORDER BY number DESC";
        let mut newest = self.connection.prepare_cached(newest)?;
        let mut rows = newest.query([id])?;
        let mut fit = Fit::new(tokens_max);
        while let Some(row) = rows.next()? {
            if !fit.takes(row.get::<_, i64>(1)?.unsigned_abs()) {
                break;
            }
            fit.take(self.turn(id, row)?);
        }
        Ok(fit.finish())
    }

    pub(super) fn turns(&self, id: &str, after: u64, limit: usize) -> Result<Vec<Turn>, Problem> {
        let turns = "SELECT number, tokens, leads, messages FROM turns
            WHERE session = ?1 AND number > ?2 ORDER BY number LIMIT ?3";
        let mut turns = self.connection.prepare_cached(turns)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = turns.query(params![id, number(after), limit])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(self.turn(id, row)?);
        }
        Ok(found)
    }

    pub(super) fn remove_turn(&self, id: &str, turn: u64) -> Result<bool, Problem> {
        let remove = "DELETE FROM turns WHERE session = ?1 AND number = ?2 RETURNING tokens";
        let tokens: Option<i64> = self
            .connection
            .prepare_cached(remove)?
            .query_row(params![id, number(turn)], |row| row.get(0))
            .optional()?;
        let Some(tokens) = tokens else {
            return Ok(false);
        };
        let note = "UPDATE sessions SET tokens = max(tokens - ?2, 0) WHERE id = ?1";
        self.connection
            .prepare_cached(note)?
            .execute(params![id, tokens])?;
        Ok(true)
    }

    pub(super) fn list(
        &self,
        owner: &str,
        alive: Alive,
        page: &Page,
    ) -> Result<Vec<Session>, Problem> {
        let (created, id) = match &page.after {
            None => (i64::MAX, String::new()),
            Some(id) => {
                let place = "SELECT created FROM sessions WHERE id = ?1 AND owner = ?2";
                let created: Option<i64> = self
                    .connection
                    .query_row(place, [id, owner], |row| row.get(0))
                    .optional()?;
                (created.ok_or(StoreError::NoSuchSession)?, id.clone())
            }
        };
        let list = format!(
            "SELECT {SESSION} FROM sessions WHERE owner = ?1 AND created >= ?2 AND used >= ?3
            AND (created, id) < (?4, ?5) ORDER BY created DESC, id DESC LIMIT ?6"
        );
        let mut list = self.connection.prepare_cached(&list)?;
        let since = (number(alive.created_since), number(alive.used_since));
        let limit = i64::try_from(page.limit).unwrap_or(i64::MAX);
        let mut rows = list.query(params![owner, since.0, since.1, created, id, limit])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(self.session(row)?);
        }
        Ok(found)
    }

    pub(super) fn remove(&self, id: &str) -> Result<bool, Problem> {
        let mut remove = self
            .connection
            .prepare_cached("DELETE FROM sessions WHERE id = ?1")?;
        Ok(remove.execute([id])? > 0)
    }

    pub(super) fn expire(&self, alive: Alive) -> Result<u64, Problem> {
        let expire = "DELETE FROM sessions WHERE used < ?1 OR created < ?2";
        let since = params![number(alive.used_since), number(alive.created_since)];
        let gone = self.connection.prepare_cached(expire)?.execute(since)?;
        Ok(gone as u64)
    }

    fn session(&self, row: &Row<'_>) -> Result<Session, Problem> {
        let id: String = row.get(0)?;
        let owner: String = row.get(1)?;
        let details: Vec<u8> = row.get(6)?;
        let details = self.open_sealed(details, &about_details(&id))?;
        let details = serde_json::from_slice(&details)
            .map_err(|error| StoreError::Damaged(format!("session `{id}`: {error}")))?;
        let count = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
        Ok(Session {
            created: count(2)?,
            used: count(3)?,
            turns: count(4)?,
            tokens: count(5)?,
            id,
            owner,
            details,
        })
    }

    fn turn(&self, id: &str, row: &Row<'_>) -> Result<Turn, Problem> {
        let (turn, tokens): (i64, i64) = (row.get(0)?, row.get(1)?);
        let leads = row.get(2)?;
        let about = about_turn(id, turn, tokens, leads);
        Ok(Turn {
            number: turn.unsigned_abs(),
            content: TurnContent {
                tokens: tokens.unsigned_abs(),
                leads,
                messages: self.open_sealed(row.get(3)?, &about)?.into(),
            },
        })
    }

    fn seal_details(&self, id: &str, details: &Details) -> Result<Vec<u8>, Problem> {
        let plain = serde_json::to_vec(details)
            .map_err(|error| StoreError::Failed(format!("session `{id}`: {error}")))?;
        self.seal(&plain, &about_details(id))
    }

    fn seal(&self, plain: &[u8], about: &str) -> Result<Vec<u8>, Problem> {
        match &self.sealer {
            Some(sealer) => Ok(sealer.seal(plain, about)?),
            None => Ok(plain.to_vec()),
        }
    }

    fn open_sealed(&self, kept: Vec<u8>, about: &str) -> Result<Vec<u8>, Problem> {
        match &self.sealer {
            Some(sealer) => sealer.open(&kept, about).ok_or_else(|| {
                StoreError::Damaged(format!("{about}: it was changed or cut off")).into()
            }),
            None => Ok(kept),
        }
    }
}

/// Makes an empty store beside its place and then puts it there, whole: whoever dies on the way leaves no
/// half of a store behind, and of two who do it at once one wins.
fn create(path: &Path, sealer: Option<&Sealer>) -> Result<(), Problem> {
    let failed =
        |error: io::Error| StoreError::Failed(format!("cannot make `{}`: {error}", path.display()));
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    let made = (|| -> Result<(), Problem> {
        only_ours(&draft).map_err(failed)?;
        let connection = Connection::open(&draft)?;
        configure(&connection)?;
        connection.execute_batch(SCHEMA)?;
        if let Some(sealer) = sealer {
            let check = sealer.seal(b"", KEY_CHECK)?;
            connection.execute("INSERT INTO lock VALUES ('check', ?1)", [check])?;
        }
        connection.pragma_update(None, "user_version", FORMAT)?;
        connection.pragma_update(None, "application_id", APPLICATION)?;
        connection.close().map_err(|(_, error)| error)?;
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => Ok(linked.map_err(failed)?),
        }
    })();
    // What is left of the draft is in nobody's way.
    fs::remove_file(&draft).ok();
    made
}

/// Makes an empty file that only its owner may read.
fn only_ours(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).map(drop)
}

fn configure(connection: &Connection) -> Result<(), Problem> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // Each commit is on the disk before it is answered, also when the machine loses power.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // What was removed is overwritten.
    connection.pragma_update(None, "secure_delete", true)?;
    Ok(())
}

fn existing(changed: usize) -> Result<(), Problem> {
    if changed == 0 {
        return Err(StoreError::NoSuchSession.into());
    }
    Ok(())
}

/// Numbers are kept as `SQLite`'s signed ones.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn about_details(id: &str) -> String {
    format!("details of session {id}")
}

fn about_turn(id: &str, turn: i64, tokens: i64, leads: bool) -> String {
    format!("turn {turn} of session {id} ({tokens} tokens, leads: {leads})")
}

/// Why a step was not done, in the words of whoever said so.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

impl From<Problem> for StoreError {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Store(error) => error,
            Problem::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    Self::Damaged(error.to_string())
                }
                _ => Self::Failed(error.to_string()),
            },
        }
    }
}
