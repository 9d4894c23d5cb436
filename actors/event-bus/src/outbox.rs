//! The outbox: messages that wait in a file until a broker has them.
//!
//! Owns a thread with the file. Putting a message in takes a place in a bounded queue; messages that wait there together are written in one
//! transaction. The file is bounded too, and what it cannot hold is counted. A file that fails is opened again with the next message.

mod store;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use kebne_file::{FileError, PrivateFile};
use kebne_seal::Keyring;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{bus::Message, settings::OutboxSettings};

use store::Store;

/// The messages that may wait for the thread.
const QUEUE_MAX: usize = 1024;
/// The messages of one transaction at most.
const TOGETHER_MAX: usize = 512;

/// What an outbox needs.
#[derive(Clone, Debug)]
pub struct OutboxParts {
    /// The settings.
    pub settings: OutboxSettings,
    /// The keys of the file; `None` if it is not encrypted.
    pub keyring: Option<Keyring>,
}

/// The reason why an outbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The thread cannot be started.
    #[error("the thread of the outbox cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// What has happened in an outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxCounts {
    /// The messages that wait.
    pub waiting: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages that were lost because the outbox was full.
    pub dropped: u64,
    /// Messages that were lost because the file failed.
    pub failed: u64,
    /// Why the file does not work; `None` while it does.
    pub reason: Option<String>,
}

/// The outbox; clones share it.
#[derive(Clone, Debug)]
pub struct Outbox {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    waiting: watch::Sender<u64>,
    bytes: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
    reason: Mutex<Option<String>>,
}

type Answer<T> = oneshot::Sender<Result<T, FileError>>;
/// A message with its number; `None` if no key opens it.
type Numbered = (i64, Option<Message>);

/// A command for the thread.
#[derive(Debug)]
enum Command {
    Put(Message),
    /// Puts a message in and says whether it is there.
    Keep(Message, Answer<bool>),
    Read(usize, Answer<Vec<Numbered>>),
    Remove(Vec<i64>, Answer<()>),
    /// Counts the messages of a tenant, and removes them if the flag is set.
    OfTenant(String, bool, Answer<u64>),
    /// Answers when all commands before it are done.
    Flush(Answer<()>),
}

impl Outbox {
    /// Opens the file and starts the thread.
    ///
    /// # Errors
    /// Fails if the file cannot be used or the thread cannot be started.
    pub fn start(parts: OutboxParts) -> Result<Self, StartError> {
        let file = Store::file(&parts);
        let store = Store::open(&file, &parts)?;
        let (commands, inbox) = mpsc::channel(QUEUE_MAX);
        let shared = Arc::new(Shared {
            waiting: watch::Sender::new(store.waiting().0),
            bytes: AtomicU64::new(store.waiting().1),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            reason: Mutex::default(),
        });
        let desk = Desk {
            store: Some(store),
            file,
            parts,
            shared: Arc::clone(&shared),
        };
        let thread = thread::Builder::new().name("kebne-outbox".to_owned());
        thread.spawn(move || desk.run(inbox))?;
        Ok(Self { commands, shared })
    }

    /// Puts a message in. It waits while the thread is behind; not to be called where waiting is not allowed.
    pub fn put(&self, message: Message) {
        if self.commands.blocking_send(Command::Put(message)).is_err() {
            self.shared.failed.fetch_add(1, Relaxed);
        }
    }

    /// Puts a message in, and returns when it is in the file.
    ///
    /// # Errors
    /// Fails if the file cannot be written, or the outbox is full and drops the newest messages.
    pub async fn keep(&self, message: Message) -> Result<(), FileError> {
        let is_there = self.ask(|answer| Command::Keep(message, answer)).await?;
        let full = || FileError::Failed("the outbox is full".to_owned());
        is_there.then_some(()).ok_or_else(full)
    }

    /// Waits until what was put in before is in the file; not to be called where waiting is not allowed.
    pub fn flush(&self) {
        let (answer, done) = oneshot::channel();
        if self.commands.blocking_send(Command::Flush(answer)).is_ok() {
            // The thread answers, or is gone.
            let _nothing_waits = done.blocking_recv();
        }
    }

    /// Returns what has happened.
    pub fn counts(&self) -> OutboxCounts {
        let shared = &self.shared;
        let reason = shared.reason.lock().unwrap_or_else(PoisonError::into_inner);
        OutboxCounts {
            waiting: *shared.waiting.borrow(),
            bytes: shared.bytes.load(Relaxed),
            dropped: shared.dropped.load(Relaxed),
            failed: shared.failed.load(Relaxed),
            reason: reason.clone(),
        }
    }

    /// Returns the number of messages of a tenant that wait.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub async fn count_of(&self, tenant: &str) -> Result<u64, FileError> {
        let tenant = tenant.to_owned();
        self.ask(|answer| Command::OfTenant(tenant, false, answer))
            .await
    }

    /// Removes the messages of a tenant that wait; returns their number.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub async fn erase(&self, tenant: &str) -> Result<u64, FileError> {
        let tenant = tenant.to_owned();
        self.ask(|answer| Command::OfTenant(tenant, true, answer))
            .await
    }

    /// Watches the number of messages that wait.
    pub(crate) fn waiting(&self) -> watch::Receiver<u64> {
        self.shared.waiting.subscribe()
    }

    /// Returns the oldest messages, at most `max`, with their numbers; `None` for one that no key opens.
    ///
    /// # Errors
    /// Fails if the file cannot be read.
    pub async fn read(&self, max: usize) -> Result<Vec<Numbered>, FileError> {
        self.ask(|answer| Command::Read(max, answer)).await
    }

    /// Removes messages, by their numbers.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub async fn remove(&self, numbers: Vec<i64>) -> Result<(), FileError> {
        self.ask(|answer| Command::Remove(numbers, answer)).await
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, FileError> {
        let stopped = || FileError::Failed("the outbox has stopped".to_owned());
        let (answer, answered) = oneshot::channel();
        let sent = self.commands.send(command(answer)).await;
        sent.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

/// The thread's side.
#[derive(Debug)]
struct Desk {
    /// `None` after a failure, until the file is opened again.
    store: Option<Store>,
    file: PrivateFile,
    parts: OutboxParts,
    shared: Arc<Shared>,
}

impl Desk {
    /// Does the commands in their order, until all outboxes are dropped.
    fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut together = Vec::new();
        let mut next = inbox.blocking_recv();
        while let Some(command) = next {
            next = None;
            if let Command::Put(message) = command {
                together.push(message);
                while together.len() < TOGETHER_MAX {
                    match inbox.try_recv() {
                        Ok(Command::Put(message)) => together.push(message),
                        Ok(other) => {
                            next = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                self.put(&together);
                together.clear();
            } else {
                self.answer(command);
            }
            self.note();
            next = next.or_else(|| inbox.blocking_recv());
        }
    }

    fn put(&mut self, messages: &[Message]) {
        let put = self.with_store(|store| store.put(messages));
        let all = u64::try_from(messages.len()).unwrap_or(u64::MAX);
        let (counter, lost) = match &put {
            Ok(put) => (&self.shared.dropped, put.dropped),
            Err(_) => (&self.shared.failed, all),
        };
        counter.fetch_add(lost, Relaxed);
    }

    /// Does a command that has an answer. One who no longer waits for it gets none.
    fn answer(&mut self, command: Command) {
        let _waits = match command {
            Command::Put(message) => return self.put(&[message]),
            Command::Keep(message, answer) => {
                let put = self.with_store(|store| store.put(&[message]));
                answer.send(put.map(|put| put.dropped == 0)).is_ok()
            }
            Command::Read(max, answer) => {
                let found = self.with_store(|store| store.read(max));
                answer.send(found).is_ok()
            }
            Command::Remove(numbers, answer) => answer.send(self.remove(&numbers)).is_ok(),
            Command::OfTenant(tenant, erases, answer) => {
                let counted = self.of_tenant(&tenant, erases);
                answer.send(counted).is_ok()
            }
            Command::Flush(answer) => answer.send(Ok(())).is_ok(),
        };
    }

    /// Removes messages, also while the disk is full.
    fn remove(&mut self, numbers: &[i64]) -> Result<(), FileError> {
        let file = self.file.clone();
        for part in numbers.chunks(TOGETHER_MAX) {
            file.removing(|| self.with_store(|store| store.remove(part)))?;
        }
        Ok(())
    }

    /// Counts the messages of a tenant, and removes them if `erases` is set.
    fn of_tenant(&mut self, tenant: &str, erases: bool) -> Result<u64, FileError> {
        let numbers = self.with_store(|store| store.of_tenant(tenant))?;
        if erases {
            self.remove(&numbers)?;
        }
        Ok(u64::try_from(numbers.len()).unwrap_or(u64::MAX))
    }

    /// Uses the file, which is opened again if it has failed.
    fn with_store<T>(
        &mut self,
        work: impl FnOnce(&mut Store) -> Result<T, FileError>,
    ) -> Result<T, FileError> {
        let done = self.file.check().and_then(|()| {
            let mut store = match self.store.take() {
                Some(store) => store,
                None => Store::open(&self.file, &self.parts)?,
            };
            let done = work(&mut store)?;
            self.store = Some(store);
            Ok(done)
        });
        let mut reason = self
            .shared
            .reason
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &done {
            Ok(_) => {
                if reason.take().is_some() {
                    tracing::info!("the outbox of events works again");
                }
            }
            Err(error) => {
                if reason.replace(error.to_string()).is_none() {
                    tracing::error!(%error, "the outbox of events does not work; events are lost");
                }
            }
        }
        done
    }

    fn note(&self) {
        let (waiting, bytes) = self
            .store
            .as_ref()
            .map_or_else(|| (*self.shared.waiting.borrow(), 0), Store::waiting);
        self.shared.bytes.store(bytes, Relaxed);
        self.shared.waiting.send_replace(waiting);
    }
}

#[cfg(test)]
mod tests;
