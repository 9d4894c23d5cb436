//! A store in an `SQLite` file.
//!
//! Each owner has a key of its own, which the key of the settings encrypts. Answers, questions, vectors, and what was learned are encrypted
//! with it; the key of a call is stored signed with it, so that nobody who has the file can check a guess of a call. Names of owners and
//! models, sizes and times are not encrypted. A transaction is in the operating system's memory when it ends, so it survives the end of the
//! process at any moment. Removed data is overwritten (`secure_delete`).

mod open;
mod owners;
mod reading;
mod writing;

use kebne_cache::Key;
use kebne_file::{OpenFile, OwnedFile};
use kebne_retrieval::Vector;
use rusqlite::Row;

use crate::{
    model::{Candidate, Count, Entry, Erased, Scope, StoreError, Totals},
    store::{Bounds, CacheStore},
};

pub use open::Place;

/// An open store.
#[derive(Debug)]
pub struct SqliteStore {
    file: OpenFile,
    place: OwnedFile,
    bounds: Bounds,
    totals: Totals,
}

type Result<T> = std::result::Result<T, StoreError>;

kebne_file::store_errors_from_file!(StoreError);

impl SqliteStore {
    /// Runs a step as one transaction.
    fn step<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.file.begin()?;
        let before = self.totals;
        let done = step(self).and_then(|value| {
            self.file.commit()?;
            Ok(value)
        });
        if done.is_err() {
            self.file.roll_back();
            self.totals = before;
        }
        done
    }

    /// Runs a step that removes data, also while the disk is full, and takes the data out of the log of the file too.
    fn removing<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let place = self.place.clone();
        place.removing(|| {
            let done = self.step(step)?;
            self.file.forget_log()?;
            Ok(done)
        })
    }
}

impl CacheStore for SqliteStore {
    fn look(&mut self, owner: &str, key: Key, now: u64) -> Result<Option<Entry>> {
        self.read(owner, key, now)
    }

    fn keep(&mut self, owner: &str, entry: Entry, now: u64) -> Result<()> {
        self.step(|store| store.write(owner, &entry, now))
    }

    fn similar(
        &mut self,
        owner: &str,
        group: Key,
        question: (&str, &Vector),
        bounds: (f32, usize),
        now: u64,
    ) -> Result<Vec<Candidate>> {
        self.compare(owner, group, question, bounds, now)
    }

    fn learned(&mut self, owner: &str, group: Key) -> Result<Option<Vec<u8>>> {
        self.read_learned(owner, group)
    }

    fn learn(&mut self, owner: &str, of: (&str, Key), learned: Vec<u8>, now: u64) -> Result<()> {
        self.step(|store| store.write_learned(owner, of, &learned, now))
    }

    fn erase(&mut self, scope: &Scope) -> Result<Erased> {
        let mut erased = Erased::default();
        while self.removing(|store| store.remove(scope, &mut erased))? {}
        Ok(erased)
    }

    fn sweep(&mut self, now: u64) -> Result<u64> {
        if !self.has_expired(now)? {
            self.place.keep_reserve();
            return Ok(0);
        }
        let mut removed = Erased::default();
        while self.removing(|store| store.remove_expired(now, &mut removed))? {}
        Ok(removed.entries)
    }

    fn counts(&mut self, owner: Option<&str>) -> Result<Vec<Count>> {
        self.count(owner)
    }

    fn totals(&self) -> Totals {
        self.totals
    }
}

/// Returns a number of a row; the store has no negative ones.
fn number(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(index).map(i64::unsigned_abs)
}

/// Returns a number as it is stored.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
