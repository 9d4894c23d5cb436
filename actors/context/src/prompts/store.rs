//! The store of prompts, of the versions that calls got, and of outcomes: an `SQLite` file on a thread of its own.
//!
//! Templates are sealed with the master key, because they belong to the operator and to no tenant. What calls got is written beside
//! them and may be lost if the thread is slower than the calls: an outcome of a call that was lost is refused.

mod database;
mod file;
mod model;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};

use kebne_file::PrivateFile;
use kebne_seal::Keyring;
use tokio::sync::oneshot;

use super::{Outcome, PromptStoreSettings, StoredPrompt, Tally};
use crate::context_parts::WallClock;
use database::Database;
use file::KIND;

pub use model::{
    CallId, CallNote, Event, PromptChange, PromptHeld, PromptStoreError, PromptStoreHealth,
};

/// The number of steps that may wait for the thread.
const QUEUE: usize = 4096;
/// The number of notes of calls after which old ones are removed.
const TIDY_EVERY: u64 = 1000;

type Result<T> = std::result::Result<T, PromptStoreError>;

/// A step on the open file.
type Step = Box<dyn FnOnce(&mut Thread) + Send>;

/// The store of prompts; clones share it.
#[derive(Clone)]
pub struct PromptStore(Arc<Inner>);

struct Inner {
    settings: PromptStoreSettings,
    file: PrivateFile,
    keyring: Option<Keyring>,
    clock: WallClock,
    steps: OnceLock<SyncSender<Step>>,
    /// The prompts as they were read or written last.
    stored: Mutex<Arc<Vec<StoredPrompt>>>,
    health: Mutex<PromptStoreHealth>,
    /// Notes of calls that were lost.
    lost: AtomicU64,
}

/// The state of the thread.
struct Thread {
    file: PrivateFile,
    keyring: Option<Keyring>,
    open: Option<Database>,
    notes: u64,
}

impl PromptStore {
    /// Creates the store of a file, and reads the prompts if there is one.
    ///
    /// # Errors
    /// Returns [`PromptStoreError::Damaged`] if it is not a store of prompts or has another key. A file that cannot be read now is logged.
    pub fn new(
        settings: PromptStoreSettings,
        keyring: Option<Keyring>,
        clock: WallClock,
    ) -> Result<Self> {
        let mut stored = Vec::new();
        let mut health = PromptStoreHealth::default();
        let file = PrivateFile::new(settings.path.clone(), KIND, 0);
        if file.exists() {
            let read =
                Database::open(&file, keyring.clone()).and_then(|mut database| database.prompts());
            health.note(&read);
            match read {
                Ok(prompts) => stored = prompts,
                Err(PromptStoreError::Failed(reason)) => {
                    health.unread = true;
                    tracing::error!(reason, "stored prompts cannot be read now");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self(Arc::new(Inner {
            settings,
            file,
            keyring,
            clock,
            steps: OnceLock::new(),
            stored: Mutex::new(Arc::new(stored)),
            health: Mutex::new(health),
            lost: AtomicU64::new(0),
        })))
    }

    /// Returns the stored prompts.
    pub fn stored(&self) -> Arc<Vec<StoredPrompt>> {
        let stored = self.0.stored.lock();
        Arc::clone(&stored.unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns whether the store works.
    pub fn health(&self) -> PromptStoreHealth {
        self.0.health().clone()
    }

    /// Reads the stored prompts again after a failure; returns `true` if they were read.
    ///
    /// # Errors
    /// Returns [`PromptStoreError::Failed`] if the file still fails.
    pub async fn read_again(&self) -> Result<bool> {
        if self.0.health().reason.is_none() {
            return Ok(false);
        }
        self.change_prompts(|_| Ok(true)).await
    }

    /// Returns the notes of calls that were lost because the thread was too slow.
    pub fn notes_lost(&self) -> u64 {
        self.0.lost.load(Relaxed)
    }

    /// Adds a version of a prompt, which is created if there is none, and gives labels to it; returns its number.
    ///
    /// # Errors
    /// Returns [`PromptStoreError::Full`] if there are as many as there may be, and [`PromptStoreError::Failed`] if the file fails.
    pub async fn add_version(
        &self,
        name: &str,
        template: String,
        labels: Vec<String>,
        author: &str,
    ) -> Result<u64> {
        let (name, author, now) = (name.to_owned(), author.to_owned(), self.now());
        self.change_prompts(move |database| {
            database.add_version(&name, &template, &labels, (&author, now))
        })
        .await
    }

    /// Changes labels and shares of a prompt.
    ///
    /// # Errors
    /// Returns [`PromptStoreError::NoPrompt`] or [`PromptStoreError::NoVersion`] if there is none, and [`PromptStoreError::Failed`] if
    /// the file fails.
    pub async fn change(&self, name: &str, change: PromptChange, author: &str) -> Result<()> {
        let (name, author, now) = (name.to_owned(), author.to_owned(), self.now());
        self.change_prompts(move |database| database.change(&name, &change, (&author, now)))
            .await
    }

    /// Removes a prompt with all its versions, its history, and the outcomes of its calls.
    ///
    /// # Errors
    /// As [`PromptStore::change`].
    pub async fn remove(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        let inner = Arc::clone(&self.0);
        self.ask(move |thread| {
            let file = thread.file.clone();
            file.removing(|| {
                inner.change(thread, |database| {
                    database.remove(&name)?;
                    // The reserve is taken back from what the log leaves.
                    database.empty_log().map(drop)
                })
            })
        })
        .await
    }

    /// Returns the history of a prompt, the newest first, at most 1000 entries.
    ///
    /// # Errors
    /// Returns [`PromptStoreError::Failed`] if the file fails.
    pub async fn history(&self, name: &str) -> Result<Vec<Event>> {
        let name = name.to_owned();
        self.read(Vec::new(), move |database| database.history(&name))
            .await
    }

    /// Takes note of the version that a call got. It does not wait.
    pub fn note(&self, note: CallNote) {
        let (now, calls_max, keep) = (self.now(), self.0.settings.calls_max, self.keep());
        let step: Step = Box::new(move |thread| {
            thread.notes += 1;
            let tidies = thread.notes % TIDY_EVERY == 0;
            let done = thread.with(|database| {
                database.note(&note, now)?;
                if tidies {
                    database.tidy(now.saturating_sub(keep), calls_max)?;
                }
                Ok(())
            });
            if let Err(error) = done {
                tracing::debug!(%error, "the version that a call got was not noted");
            }
        });
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.steps().try_send(step)
        {
            self.0.lost.fetch_add(1, Relaxed);
        }
    }

    /// Keeps the outcome of a call of a tenant, which got the prompt, once; returns the version. The call is found by the id of its
    /// request, or as the newest one of a session.
    ///
    /// # Errors
    /// Returns [`PromptStoreError::NoCall`] if no such call is known, [`PromptStoreError::Twice`] if its outcome was reported before, and
    /// [`PromptStoreError::Full`] if the tenant has as many outcomes as it may.
    pub async fn report(
        &self,
        owner: &str,
        prompt: &str,
        call: CallId,
        outcome: Outcome,
    ) -> Result<String> {
        let (owner, prompt) = (owner.to_owned(), prompt.to_owned());
        let (now, max) = (self.now(), self.0.settings.outcomes_max);
        let act = move |database: &mut Database| {
            database.report(&owner, &prompt, &call, &outcome, (now, max))
        };
        let unmade = Err(PromptStoreError::NoCall);
        let reported = self.read(unmade, move |database| match act(database) {
            Err(error @ (PromptStoreError::Failed(_) | PromptStoreError::Damaged(_))) => Err(error),
            reported => Ok(reported),
        });
        reported.await?
    }

    /// Returns the outcomes of the versions of a prompt.
    ///
    /// # Errors
    /// Returns [`PromptStoreError::Failed`] if the file fails.
    pub async fn outcomes(&self, prompt: &str) -> Result<BTreeMap<String, Tally>> {
        let prompt = prompt.to_owned();
        self.read(BTreeMap::new(), move |database| database.outcomes(&prompt))
            .await
    }

    /// Returns what is held of a tenant.
    ///
    /// # Errors
    /// Returns [`PromptStoreError::Failed`] if the file fails.
    pub async fn held(&self, owner: &str) -> Result<PromptHeld> {
        let owner = owner.to_owned();
        self.read(PromptHeld::default(), move |database| database.held(&owner))
            .await
    }

    /// Erases what is held of a tenant. The second value is `true` if the log of the file holds nothing of it any more.
    ///
    /// # Errors
    /// Returns [`PromptStoreError::Failed`] if the file fails.
    pub async fn erase(&self, owner: &str) -> Result<(PromptHeld, bool)> {
        let owner = owner.to_owned();
        let nothing = (PromptHeld::default(), true);
        self.ask(move |thread| {
            if thread.open.is_none() && !thread.file.exists() {
                return Ok(nothing);
            }
            let file = thread.file.clone();
            file.removing(|| {
                thread.with(|database| {
                    let erased = database.erase(&owner)?;
                    Ok((erased, database.empty_log()?))
                })
            })
        })
        .await
    }

    /// Removes calls and outcomes that are older than they are kept.
    ///
    /// # Errors
    /// Returns [`PromptStoreError::Failed`] if the file fails.
    pub async fn tidy(&self) -> Result<()> {
        let before = self.now().saturating_sub(self.keep());
        let calls_max = self.0.settings.calls_max;
        self.read((), move |database| database.tidy(before, calls_max))
            .await?;
        // There may have been no space for it before.
        self.0.file.keep_reserve();
        Ok(())
    }

    fn now(&self) -> u64 {
        (self.0.clock)()
    }

    fn keep(&self) -> u64 {
        u64::try_from(self.0.settings.keep.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// Changes prompts, and reads them again.
    async fn change_prompts<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Database) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.0);
        self.ask(move |thread| inner.change(thread, act)).await
    }

    /// Does a step on the file; returns `unmade` if there is none.
    async fn read<T: Send + 'static>(
        &self,
        unmade: T,
        act: impl FnOnce(&mut Database) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.ask(move |thread| {
            if thread.open.is_none() && !thread.file.exists() {
                return Ok(unmade);
            }
            thread.with(act)
        })
        .await
    }

    async fn ask<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Thread) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, result) = oneshot::channel();
        let inner = Arc::clone(&self.0);
        let step: Step = Box::new(move |thread| {
            let done = act(thread);
            inner.health().note(&done);
            // The caller may have left.
            answer.send(done).ok();
        });
        let failed = |what: &str| PromptStoreError::Failed(what.to_owned());
        let sent = self.steps().try_send(step);
        sent.map_err(|_| failed("it has too many questions"))?;
        result.await.map_err(|_| failed("its thread has ended"))?
    }

    /// Returns the queue of the thread, which starts with the first step.
    fn steps(&self) -> &SyncSender<Step> {
        self.0.steps.get_or_init(|| {
            let (sender, steps) = sync_channel(QUEUE);
            let state = Thread {
                file: self.0.file.clone(),
                keyring: self.0.keyring.clone(),
                open: None,
                notes: 0,
            };
            let thread = thread::Builder::new().name("kebne-prompts".to_owned());
            if let Err(error) = thread.spawn(move || state.work(&steps)) {
                // The queue has no receiver then, so that each question fails.
                tracing::error!(%error, "the thread of the store of prompts was not started");
            }
            sender
        })
    }
}

impl Inner {
    /// Changes prompts, and reads them again.
    fn change<T>(
        &self,
        thread: &mut Thread,
        act: impl FnOnce(&mut Database) -> Result<T>,
    ) -> Result<T> {
        thread.with(|database| {
            let done = act(database)?;
            let prompts = Arc::new(database.prompts()?);
            *self.stored.lock().unwrap_or_else(PoisonError::into_inner) = prompts;
            self.health().unread = false;
            Ok(done)
        })
    }

    fn health(&self) -> MutexGuard<'_, PromptStoreHealth> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Thread {
    /// Does steps until the store is dropped.
    fn work(mut self, steps: &Receiver<Step>) {
        while let Ok(step) = steps.recv() {
            step(&mut self);
        }
    }

    /// Does a step as one transaction. After a failure the file is opened again.
    fn with<T>(&mut self, act: impl FnOnce(&mut Database) -> Result<T>) -> Result<T> {
        let open = self.open.take();
        // A file that was removed or replaced is not written any more, although it is still open.
        self.file.check()?;
        let mut database = match open {
            Some(database) => database,
            None => Database::open(&self.file, self.keyring.clone())?,
        };
        let done = act(&mut database);
        let is_usable = !matches!(
            done,
            Err(PromptStoreError::Failed(_) | PromptStoreError::Damaged(_))
        );
        self.open = Some(database).filter(|_| is_usable);
        done
    }
}

impl fmt::Debug for PromptStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PromptStore")
            .field("settings", &self.0.settings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
