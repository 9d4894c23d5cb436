//! Creates and opens the file.

use std::{path::PathBuf, time::Duration};

use kebne_file::{Kind, OwnedFile, Tables};
use kebne_seal::Keyring;

use crate::store::StoreError;

/// The file (`KebG`).
const KIND: Kind = Kind {
    name: "agents",
    application: 0x4b65_6247,
    format: 1,
    key_check: "kebne agents",
    busy: Duration::from_millis(500),
};

/// `fence` grows with each lease of a run; `until` is the end of the lease, 0 if nobody has one.
const SCHEMA: &str = "
CREATE TABLE runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner INTEGER NOT NULL, agent TEXT NOT NULL,
    state TEXT NOT NULL, created INTEGER NOT NULL, ended INTEGER, seq INTEGER NOT NULL,
    fence INTEGER NOT NULL DEFAULT 0, until INTEGER NOT NULL DEFAULT 0, counts INTEGER NOT NULL
) STRICT;
CREATE INDEX runs_due ON runs (until, number) WHERE state = 'running';
CREATE INDEX runs_open ON runs (owner) WHERE state != 'ended' AND counts = 1;
CREATE INDEX runs_by_owner ON runs (owner, number);
CREATE INDEX runs_ended ON runs (ended) WHERE ended IS NOT NULL;
CREATE TABLE events (
    run INTEGER NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (run, seq)
) STRICT;
CREATE TABLE agents (
    owner INTEGER NOT NULL, name TEXT NOT NULL, spec BLOB NOT NULL, PRIMARY KEY (owner, name)
) STRICT;
";

const TABLES: Tables = Tables {
    create: &[SCHEMA],
    upgrade: Tables::no_upgrade,
    // A step that was confirmed must survive the end of the machine too.
    survives_power_loss: true,
};

kebne_file::store_errors_from_file!(StoreError);

/// Returns the place of a file that may not exist yet. A step removes about `removed_max` bytes at most.
pub(super) fn place(path: PathBuf, keyring: Option<Keyring>, removed_max: u64) -> OwnedFile {
    OwnedFile::new(path, (KIND, TABLES), keyring, removed_max)
}
