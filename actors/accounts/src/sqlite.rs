//! The store in an `SQLite` file.
//!
//! A transaction is in the operating system's memory when it ends (`synchronous = NORMAL` with a write-ahead log): it
//! survives the end of the process at any moment, but the last ones may be lost if the machine loses power. A file that
//! disappears while the service runs is not replaced: an empty one would give every budget anew.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use kebne_quota::{Amount, Day, Money};
use rusqlite::{Connection, Params, params};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    GroupSettings, StoredKey,
    store::{KeyStore, QuotaStore, StoreError, Used},
};

/// The application id of the file (`KebA`).
const APPLICATION: i32 = 0x4b65_6241;
/// The version of the schema.
const FORMAT: i32 = 1;
/// The longest wait for the lock of another process.
const BUSY: Duration = Duration::from_millis(500);
/// Days for which sums are kept: a year and a month.
const KEPT_DAYS: u32 = 396;

const SCHEMA: &str = "
CREATE TABLE keys (id TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE used (
    account TEXT NOT NULL, day INTEGER NOT NULL,
    calls INTEGER NOT NULL, tokens INTEGER NOT NULL, nano INTEGER NOT NULL,
    PRIMARY KEY (account, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX used_by_day ON used (day);
";
/// Tables that the first versions did not have, and do not mind.
const ADDED: &str = "CREATE TABLE IF NOT EXISTS groups (name TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS revision (id INTEGER PRIMARY KEY CHECK (id = 0), number INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO revision VALUES (0, 0);";

/// An open file.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    place: SqlitePlace,
}

/// The place of the file, and its identity once it was found or created.
#[derive(Clone, Debug)]
pub struct SqlitePlace {
    path: PathBuf,
    identity: Arc<OnceLock<(u64, u64)>>,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}

impl SqlitePlace {
    /// Names the place.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            identity: Arc::default(),
        }
    }

    /// Fails if the file is not the one that was opened first.
    fn check(&self) -> Result<(), StoreError> {
        let found = fs::metadata(&self.path).map(|found| (found.dev(), found.ino()));
        match (self.identity.get(), found) {
            (None, _) => Ok(()),
            (Some(known), Ok(found)) if *known == found => Ok(()),
            _ => {
                let path = self.path.display();
                Err(StoreError(format!("the file `{path}` has disappeared")))
            }
        }
    }
}

impl SqliteStore {
    /// Opens the file, or creates it if there was none when the process started.
    ///
    /// # Errors
    /// Fails if the file cannot be opened, is not a store of accounts, or has disappeared.
    pub fn open(place: SqlitePlace) -> Result<Self, StoreError> {
        place.check()?;
        let path = &place.path;
        let failed = |error: &dyn std::fmt::Display| {
            StoreError(format!("cannot open `{}`: {error}", path.display()))
        };
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            let mut builder = fs::DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(folder);
            made.map_err(|error| failed(&error))?;
        }
        // Created here, so that nobody else can read it.
        let mut options = fs::OpenOptions::new();
        let file = options.create(true).append(true).mode(0o600).open(path);
        let found = file.and_then(|file| file.metadata());
        let found = found.map_err(|error| failed(&error))?;
        let connection = Connection::open(path).map_err(|error| failed(&error))?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        let store = Self { connection, place };
        store.prepare()?;
        store
            .place
            .identity
            .get_or_init(|| (found.dev(), found.ino()));
        Ok(store)
    }

    /// Creates the tables of a new file, and checks what an existing file is.
    fn prepare(&self) -> Result<(), StoreError> {
        let number = |name: &str| {
            self.connection
                .pragma_query_value(None, name, |row| row.get::<_, i32>(0))
        };
        let (application, format) = (number("application_id")?, number("user_version")?);
        if (application, format) == (APPLICATION, FORMAT) {
            return Ok(self.connection.execute_batch(ADDED)?);
        }
        let tables = "SELECT count(*) FROM sqlite_schema";
        let tables: i64 = self.connection.query_row(tables, [], |row| row.get(0))?;
        if application != 0 || format != 0 || tables != 0 {
            let path = self.place.path.display();
            let message = format!("`{path}` is not a store of accounts of this version");
            return Err(StoreError(message));
        }
        self.connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {SCHEMA} {ADDED} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FORMAT}; COMMIT;"
        ))?;
        Ok(())
    }
}

impl SqliteStore {
    /// Reads all records of a table.
    fn records<T: DeserializeOwned>(&self, table: &str) -> Result<Vec<T>, StoreError> {
        let mut rows = self
            .connection
            .prepare(&format!("SELECT record FROM {table}"))?;
        let records = rows.query_map([], |row| row.get::<_, String>(0))?;
        let mut all = Vec::new();
        for record in records {
            let record = serde_json::from_str(&record?);
            let unreadable =
                |error| StoreError(format!("a record in `{table}` cannot be read: {error}"));
            all.push(record.map_err(unreadable)?);
        }
        Ok(all)
    }
}

impl SqliteStore {
    /// Changes a key or a group, and the revision with it.
    fn change(&mut self, sql: &str, values: impl Params) -> Result<(), StoreError> {
        self.place.check()?;
        let transaction = self.connection.transaction()?;
        transaction.execute(sql, values)?;
        transaction.execute("UPDATE revision SET number = number + 1", [])?;
        Ok(transaction.commit()?)
    }
}

impl KeyStore for SqliteStore {
    fn keys(&mut self) -> Result<Vec<StoredKey>, StoreError> {
        self.place.check()?;
        self.records("keys")
    }

    fn put_key(&mut self, key: &StoredKey) -> Result<(), StoreError> {
        let put = "INSERT INTO keys VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET record = ?2";
        self.change(put, params![key.id, record(key)?])
    }

    fn remove_key(&mut self, id: &str) -> Result<(), StoreError> {
        self.change("DELETE FROM keys WHERE id = ?1", [id])
    }

    fn groups(&mut self) -> Result<Vec<GroupSettings>, StoreError> {
        self.place.check()?;
        self.records("groups")
    }

    fn put_group(&mut self, group: &GroupSettings) -> Result<(), StoreError> {
        let put = "INSERT INTO groups VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET record = ?2";
        self.change(put, params![group.name, record(group)?])
    }

    fn remove_group(&mut self, name: &str) -> Result<(), StoreError> {
        self.change("DELETE FROM groups WHERE name = ?1", [name])
    }

    fn revision(&mut self) -> Result<u64, StoreError> {
        self.place.check()?;
        let select = "SELECT number FROM revision";
        let number: i64 = self.connection.query_row(select, [], |row| row.get(0))?;
        Ok(number.unsigned_abs())
    }
}

/// Returns a record as it is written.
fn record(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError(error.to_string()))
}

impl QuotaStore for SqliteStore {
    fn used_since(&mut self, first: Day) -> Result<Vec<Used>, StoreError> {
        self.place.check()?;
        let old = first.0.saturating_sub(KEPT_DAYS);
        self.connection
            .execute("DELETE FROM used WHERE day < ?1", [old])?;
        let select = "SELECT account, day, calls, tokens, nano FROM used WHERE day >= ?1";
        let mut rows = self.connection.prepare(select)?;
        let used = rows.query_map([first.0], |row| {
            let number = |index| row.get::<_, i64>(index).map(i64::unsigned_abs);
            let amount = Amount {
                calls: number(2)?,
                tokens: number(3)?,
                money: Money::from_nano(number(4)?),
            };
            Ok((row.get(0)?, Day(row.get(1)?), amount))
        })?;
        Ok(used.collect::<Result<_, _>>()?)
    }

    fn add_used(&mut self, used: &[Used]) -> Result<(), StoreError> {
        self.place.check()?;
        let transaction = self.connection.transaction()?;
        {
            let mut add = transaction.prepare_cached(
                // A sum that would not fit stays at the largest number. SQLite would make it a real number, which the column refuses, and
                // the sums of all other accounts with it.
                "INSERT INTO used VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (account, day) DO UPDATE SET
                    calls = min(calls, 9223372036854775807 - ?3) + ?3, tokens = min(tokens, 9223372036854775807 - ?4) + ?4,
                    nano = min(nano, 9223372036854775807 - ?5) + ?5",
            )?;
            let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            for (account, day, amount) in used {
                let (calls, tokens) = (number(amount.calls), number(amount.tokens));
                add.execute(params![
                    account,
                    day.0,
                    calls,
                    tokens,
                    number(amount.money.nano())
                ])?;
            }
        }
        Ok(transaction.commit()?)
    }
}
