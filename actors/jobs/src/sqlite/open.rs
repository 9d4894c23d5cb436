//! Creates and opens the file.

use std::{path::PathBuf, time::Duration};

use kebne_file::{Kind, OpenFile, OwnedFile, Tables};
use kebne_file_store::FileStore;
use kebne_seal::Keyring;

use super::{Database, Result};
use crate::model::StoreError;

/// The file (`KebJ`).
const KIND: Kind = Kind {
    name: "jobs",
    application: 0x4b65_624a,
    format: 1,
    key_check: "kebne jobs",
    busy: Duration::from_millis(500),
};

/// `fence` grows with each lease; `until` is the end of the lease. `bytes` counts the request and the result. `key` is the digest of an
/// idempotency key.
const SCHEMA: &str = "
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner INTEGER NOT NULL, batch INTEGER,
    state TEXT NOT NULL, priority INTEGER NOT NULL, created INTEGER NOT NULL, due INTEGER NOT NULL, expires INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, fence INTEGER NOT NULL DEFAULT 0, until INTEGER, started INTEGER, ended INTEGER,
    cancelling INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL, key TEXT,
    label BLOB NOT NULL, request BLOB NOT NULL, notify BLOB, result BLOB
) STRICT;
CREATE INDEX jobs_queued ON jobs (owner, priority, number, due) WHERE state = 'queued';
CREATE INDEX jobs_due ON jobs (due) WHERE state = 'queued';
CREATE INDEX jobs_expiring ON jobs (expires) WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (until, owner) WHERE state = 'running';
CREATE INDEX jobs_by_owner ON jobs (owner, batch, number, bytes);
CREATE INDEX jobs_by_batch ON jobs (batch, state, number) WHERE batch IS NOT NULL;
CREATE INDEX jobs_ended ON jobs (ended) WHERE ended IS NOT NULL;
CREATE UNIQUE INDEX jobs_by_key ON jobs (owner, key) WHERE key IS NOT NULL;
CREATE TABLE batches (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner INTEGER NOT NULL,
    created INTEGER NOT NULL, expires INTEGER NOT NULL, cancelling INTEGER, finalizing INTEGER, ended INTEGER,
    fence INTEGER NOT NULL DEFAULT 0, until INTEGER NOT NULL DEFAULT 0, counts TEXT, details BLOB NOT NULL, notify BLOB
) STRICT;
CREATE INDEX batches_by_owner ON batches (owner, number);
CREATE INDEX batches_open ON batches (until) WHERE ended IS NULL;
CREATE INDEX batches_ended ON batches (ended) WHERE ended IS NOT NULL;
CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner INTEGER NOT NULL,
    due INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, fence INTEGER NOT NULL DEFAULT 0, notice BLOB NOT NULL
) STRICT;
CREATE INDEX deliveries_due ON deliveries (due);
CREATE INDEX deliveries_by_owner ON deliveries (owner);
";

const TABLES: Tables = Tables {
    create: &[SCHEMA],
    upgrade: Tables::no_upgrade,
    // Unlike sessions, a job that was acknowledged must survive the end of the machine too.
    survives_power_loss: true,
};

/// The place of the file and its key; clones share its identity.
#[derive(Clone, Debug)]
pub(crate) struct Place(OwnedFile);

impl Place {
    /// Creates the place of a file that may not exist yet. A step removes about `removed_max` bytes at most.
    pub(crate) fn new(path: PathBuf, keyring: Option<Keyring>, removed_max: u64) -> Self {
        Self(OwnedFile::new(path, (KIND, TABLES), keyring, removed_max))
    }
}

impl FileStore for Place {
    type Open = Database;
    type Error = StoreError;

    fn file(&self) -> &OwnedFile {
        &self.0
    }

    fn open(&self) -> Result<Database> {
        let file = self.0.open()?;
        Ok(Database {
            file,
            last_owner: 0,
        })
    }

    fn open_file(database: &mut Database) -> &mut OpenFile {
        &mut database.file
    }

    fn is_failure(error: &StoreError) -> bool {
        matches!(error, StoreError::Failed(_) | StoreError::Damaged(_))
    }
}
