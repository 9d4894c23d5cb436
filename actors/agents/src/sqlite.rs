//! The store in an `SQLite` file.
//!
//! Each owner has a key of its own, which the key of the settings encrypts. What was answered is on the disk. Steps of several runs that come at
//! once are written in one transaction, each in a savepoint of its own, so that a thousand agents do not need a thousand writes of the disk.

mod database;
mod open;
mod owners;
mod thread;

use std::{path::PathBuf, sync::Arc};

use kebne_file::OwnedFile;
use kebne_seal::Keyring;

use crate::{
    run::{Event, RunEvent},
    settings::AgentStoreSettings,
    spec::AgentSpec,
    store::{
        Answer, Appended, Erased, Head, Holdings, Lease, NewRun, Page, PageQuery, Renewed,
        RunStore, StoreError, Totals,
    },
};

use database::Database;
use thread::Thread;

/// Bytes of events that one step removes at most, so that other steps do not wait long.
const REMOVED_MAX: u64 = 16 << 20;
/// The most steps of an erasure, so that an owner who goes on does not make it endless.
const STEPS_MAX: usize = 100_000;

const NO_RUN: StoreError = StoreError::NotFound("run");

/// The store in a file; clones share it. The file is created with the first agent or run, and its thread is started then.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    place: OwnedFile,
    thread: Arc<Thread>,
    path: PathBuf,
}

impl SqliteStore {
    /// Creates the store of a file that may not exist yet. `keyring` encrypts it; `None` for a file that is not encrypted.
    pub fn new(settings: &AgentStoreSettings, keyring: Option<Keyring>) -> Self {
        let place = open::place(settings.path.clone(), keyring, REMOVED_MAX);
        Self {
            thread: Arc::new(Thread::new(place.clone())),
            path: settings.path.clone(),
            place,
        }
    }

    /// Checks the file if there is one.
    ///
    /// # Errors
    /// Returns [`StoreError::Damaged`] if it is not a store of agents or has another key, and [`StoreError::Failed`] if it cannot be opened now.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.place.exists() {
            self.place.open()?;
        }
        Ok(())
    }

    /// Returns `true` once there is a file.
    pub fn exists(&self) -> bool {
        self.place.exists()
    }

    fn step<'a, T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'a, T> {
        let thread = Arc::clone(&self.thread);
        Box::pin(async move { thread.step(act).await })
    }

    /// Does a step, or returns `unmade` while there is no file.
    fn step_or<'a, T: Send + 'static>(
        &self,
        unmade: Result<T, StoreError>,
        act: impl FnOnce(&mut Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'a, T> {
        if self.place.exists() {
            return self.step(act);
        }
        Box::pin(async move { unmade })
    }
}

impl RunStore for SqliteStore {
    fn create(&self, run: NewRun) -> Answer<'_, bool> {
        self.step(move |database| database.create(&run))
    }

    fn head<'a>(&'a self, owner: &'a str, id: &'a str) -> Answer<'a, Head> {
        let (owner, id) = (owner.to_owned(), id.to_owned());
        self.step_or(Err(NO_RUN), move |database| database.head(&owner, &id))
    }

    fn events<'a>(&'a self, owner: &'a str, id: &'a str, after: u64) -> Answer<'a, Vec<Event>> {
        let (owner, id) = (owner.to_owned(), id.to_owned());
        self.step_or(Err(NO_RUN), move |database| {
            database.events(&owner, &id, after)
        })
    }

    fn runs<'a>(&'a self, owner: &'a str, page: PageQuery) -> Answer<'a, Page> {
        let unmade = match page.after {
            Some(_) => Err(StoreError::NotListed),
            None => Ok(Page {
                runs: Vec::new(),
                has_more: false,
            }),
        };
        let owner = owner.to_owned();
        self.step_or(unmade, move |database| database.runs(&owner, &page))
    }

    fn claim(&self, most: usize, now: u64, until: u64) -> Answer<'_, Vec<Lease>> {
        self.step_or(Ok(Vec::new()), move |database| {
            database.claim(most, now, until)
        })
    }

    fn append<'a>(
        &'a self,
        lease: &'a Lease,
        known: u64,
        events: Vec<(u64, RunEvent)>,
    ) -> Answer<'a, Appended> {
        let lease = lease.clone();
        self.step_or(Ok(Appended::Lost), move |database| {
            database.append(&lease, known, &events)
        })
    }

    fn add<'a>(
        &'a self,
        (owner, id): (&'a str, &'a str),
        known: u64,
        event: (u64, RunEvent),
    ) -> Answer<'a, bool> {
        let (owner, id) = (owner.to_owned(), id.to_owned());
        self.step_or(Err(NO_RUN), move |database| {
            database.add((&owner, &id), known, &event)
        })
    }

    fn renew(&self, leases: Vec<Lease>, until: u64) -> Answer<'_, Vec<Renewed>> {
        let lost = vec![Renewed::Lost; leases.len()];
        self.step_or(Ok(lost), move |database| database.renew(&leases, until))
    }

    fn release<'a>(&'a self, lease: &'a Lease, known: u64, waits: bool) -> Answer<'a, bool> {
        let lease = lease.clone();
        self.step_or(Ok(true), move |database| {
            database.release(&lease, known, waits)
        })
    }

    fn put_agent<'a>(&'a self, owner: &'a str, spec: AgentSpec, most: u64) -> Answer<'a, bool> {
        let owner = owner.to_owned();
        self.step(move |database| database.put_agent(&owner, &spec, most))
    }

    fn agents<'a>(&'a self, owner: &'a str) -> Answer<'a, Vec<AgentSpec>> {
        let owner = owner.to_owned();
        self.step_or(Ok(Vec::new()), move |database| database.agents(&owner))
    }

    fn agent<'a>(&'a self, owner: &'a str, name: &'a str) -> Answer<'a, Option<AgentSpec>> {
        let (owner, name) = (owner.to_owned(), name.to_owned());
        self.step_or(Ok(None), move |database| database.agent(&owner, &name))
    }

    fn remove_agent<'a>(&'a self, owner: &'a str, name: &'a str) -> Answer<'a, bool> {
        let (owner, name) = (owner.to_owned(), name.to_owned());
        self.step_or(Ok(false), move |database| {
            database.remove_agent(&owner, &name)
        })
    }

    fn sweep(&self, before: u64) -> Answer<'_, u64> {
        let place = self.place.clone();
        Box::pin(async move {
            if !place.exists() {
                return Ok(0);
            }
            self.thread
                .removing(move |database| database.sweep(before, REMOVED_MAX))
                .await
        })
    }

    fn totals(&self) -> Answer<'_, Totals> {
        self.step_or(Ok(Totals::default()), |database| database.totals())
    }

    fn held<'a>(&'a self, owner: &'a str) -> Answer<'a, Holdings> {
        let owner = owner.to_owned();
        self.step_or(Ok(Holdings::default()), move |database| {
            database.held(&owner)
        })
    }

    fn erase<'a>(&'a self, owner: &'a str) -> Answer<'a, Erased> {
        Box::pin(async move {
            let held = self.held(owner).await?;
            let mut erased = Erased {
                removed: held,
                ..Erased::default()
            };
            for _ in 0..=STEPS_MAX {
                if !self.exists() {
                    break;
                }
                let of = owner.to_owned();
                let part = move |database: &mut Database| database.erase_part(&of, REMOVED_MAX);
                let left = self.thread.removing(part).await?;
                if left.is_empty() {
                    erased.key_erased = held.has_key && !left.has_key;
                    break;
                }
            }
            let mut log = self.path.as_os_str().to_owned();
            log.push("-wal");
            let log = std::fs::metadata(PathBuf::from(log));
            erased.log_emptied = log.map_or(true, |log| log.len() == 0);
            Ok(erased)
        })
    }
}

#[cfg(test)]
mod tests;
