//! Creates and opens the file of prompts.

use std::time::Duration;

use kebne_file::{FileError, Found, Kind, PrivateFile};
use kebne_seal::{Keyring, SealError};
use rusqlite::{Connection, params};

use super::{
    PromptStoreError, Result,
    database::{Database, about, unseal},
};

/// The file (`KebP`).
pub(super) const KIND: Kind = Kind {
    name: "prompts",
    application: 0x4b65_6250,
    format: 1,
    key_check: "kebne prompts",
    busy: Duration::from_secs(2),
};

const SCHEMA: &str = "
CREATE TABLE prompts (
    name TEXT PRIMARY KEY, newest INTEGER NOT NULL, labels TEXT NOT NULL, split TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE versions (
    prompt TEXT NOT NULL, version INTEGER NOT NULL, created INTEGER NOT NULL, author TEXT NOT NULL,
    template BLOB NOT NULL, PRIMARY KEY (prompt, version)
) STRICT, WITHOUT ROWID;
CREATE TABLE history (
    number INTEGER PRIMARY KEY, prompt TEXT NOT NULL, at INTEGER NOT NULL, author TEXT NOT NULL, change TEXT NOT NULL
) STRICT;
CREATE INDEX history_by_prompt ON history (prompt, number);
CREATE TABLE calls (
    number INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, call TEXT NOT NULL, session TEXT,
    prompt TEXT NOT NULL, version TEXT NOT NULL, at INTEGER NOT NULL
) STRICT;
CREATE INDEX calls_by_id ON calls (owner, prompt, call);
CREATE INDEX calls_by_session ON calls (owner, prompt, session, number) WHERE session IS NOT NULL;
CREATE INDEX calls_by_time ON calls (at);
CREATE TABLE outcomes (
    owner TEXT NOT NULL, prompt TEXT NOT NULL, call TEXT NOT NULL, version TEXT NOT NULL, at INTEGER NOT NULL,
    value REAL, label TEXT, PRIMARY KEY (owner, prompt, call)
) STRICT, WITHOUT ROWID;
CREATE INDEX outcomes_by_version ON outcomes (prompt, version, label, value);
CREATE INDEX outcomes_by_time ON outcomes (at);
";

impl From<FileError> for PromptStoreError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Failed(message) => Self::Failed(message),
            FileError::Damaged(message) => Self::Damaged(message),
        }
    }
}

impl From<rusqlite::Error> for PromptStoreError {
    fn from(error: rusqlite::Error) -> Self {
        FileError::from(error).into()
    }
}

impl From<SealError> for PromptStoreError {
    fn from(error: SealError) -> Self {
        FileError::from(error).into()
    }
}

impl Database {
    /// Opens the file, or creates it if there is none.
    pub(super) fn open(file: &PrivateFile, keyring: Option<Keyring>) -> Result<Self> {
        let connection =
            file.open(|connection, found| prepare(file, connection, found, keyring.as_ref()))?;
        Ok(Self {
            connection,
            keyring,
        })
    }
}

/// Creates the tables of a new file, and checks what an existing file is and whether the key is its key.
fn prepare(
    file: &PrivateFile,
    connection: &Connection,
    found: Found,
    master: Option<&Keyring>,
) -> Result<()> {
    match found {
        Found::Nothing => return Ok(file.create(connection, &[SCHEMA], master)?),
        Found::Present => {}
        Found::Other(_) => return Err(file.is_not_ours().into()),
    }
    if file.has_old_key(connection, master)?
        && let Some(master) = master
    {
        file.rotate(connection, master, |connection| {
            seal_again(connection, master)
        })?;
    }
    Ok(())
}

/// Seals all templates with the first key.
fn seal_again(connection: &Connection, keyring: &Keyring) -> Result<()> {
    let rows = {
        let mut rows = connection.prepare("SELECT prompt, version, template FROM versions")?;
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        rows.collect::<rusqlite::Result<Vec<(String, i64, Vec<u8>)>>>()?
    };
    for (prompt, version, template) in rows {
        let about = about(&prompt, version);
        let template = unseal(Some(keyring), &template, &about)?;
        let sealed = keyring.seal(&template, &about)?;
        let update = "UPDATE versions SET template = ?3 WHERE prompt = ?1 AND version = ?2";
        connection.execute(update, params![prompt, version, sealed])?;
    }
    Ok(())
}
