//! Events that are delivered to functions.
//!
//! Each function that subscribes to events has an outbox of its own, a file, from which a task delivers them: one after the other for each
//! key, each until the function has answered with success, through the function's lane. What it refuses for good, and what cannot be delivered within
//! `give_up_after`, becomes a dead letter, in another file, where it can be listed, delivered again and removed.

mod bus;
mod letters;

use std::{
    collections::BTreeMap,
    fs, io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use kebne_event_bus::{
    FileError, Keyring, Message, Outbox, OutboxParts, OutboxSettings, Relay, StartError, WhenFull,
};
use kebne_events::Event;
use kebne_functions::{FunctionSettings, OnSettings};
use serde::Serialize;
use serde_json::Value;
use tokio::task::AbortHandle;

use crate::{
    events::EventSink,
    gateway::{Gateway, WeakGateway, keyring_of},
    settings::{Environment, FunctionEventsSettings, Settings},
};

use bus::FunctionBus;
pub use letters::{DeadLetter, LetterError};

/// The file of dead letters, which is no name of a function.
const DEAD_LETTERS: &str = "dead-letters.sqlite";
/// The end of the names of files.
const SUFFIX: &str = ".sqlite";

/// Delivers events to functions; clones share it.
#[derive(Clone, Debug)]
pub struct FunctionEvents(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: FunctionEventsSettings,
    keyring: Option<Keyring>,
    gateway: WeakGateway,
    functions: Mutex<BTreeMap<String, Subscribed>>,
    /// `true` if there is one.
    are_subscribed: AtomicBool,
    /// Opened with the first function that subscribes.
    dead: Mutex<Option<Outbox>>,
}

/// A function that gets events.
#[derive(Clone, Debug)]
struct Subscribed {
    on: Vec<OnSettings>,
    outbox: Outbox,
    counts: Arc<Counts>,
    task: AbortHandle,
}

#[derive(Debug, Default)]
struct Counts {
    delivered: AtomicU64,
    failures: AtomicU64,
    dead: AtomicU64,
}

/// What happened to the events of a function, as `/state` and the metrics show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FunctionEventReport {
    /// The function.
    pub function: String,
    /// Events that wait.
    pub waiting: u64,
    /// Events that it has answered.
    pub delivered: u64,
    /// Tries that failed and are repeated.
    pub failures: u64,
    /// Events that became dead letters.
    pub dead: u64,
    /// Events that were lost because too many waited.
    pub dropped: u64,
    /// Events that were lost because the file failed.
    pub failed: u64,
}

/// The reason why events cannot be delivered to functions.
#[derive(Debug, thiserror::Error)]
pub enum FunctionEventsError {
    /// The key of the files cannot be read.
    #[error("`function_events.{key}`: {reason}")]
    Key {
        /// The setting.
        key: &'static str,
        /// The reason.
        reason: String,
    },
    /// A file cannot be used.
    #[error("`function_events.path`: {0}")]
    File(#[from] StartError),
}

impl FunctionEvents {
    /// Reads the key of the files. No file is opened before a function subscribes.
    ///
    /// # Errors
    /// See [`FunctionEventsError`].
    pub fn new(
        settings: &FunctionEventsSettings,
        environment: &dyn Environment,
        gateway: &Gateway,
    ) -> Result<Self, FunctionEventsError> {
        let files = (&settings.key_file, &settings.old_keys_file);
        let variables = (&*settings.key_env, &*settings.old_keys_env);
        let keyring = keyring_of(files, variables, environment);
        let keyring = keyring.map_err(|(key, reason)| FunctionEventsError::Key { key, reason })?;
        Ok(Self(Arc::new(Inner {
            settings: settings.clone(),
            keyring,
            gateway: gateway.downgrade(),
            functions: Mutex::default(),
            are_subscribed: AtomicBool::new(false),
            dead: Mutex::default(),
        })))
    }

    /// Has the functions of the settings get the events that they subscribe to. The events of a function that is gone stay in its file.
    ///
    /// # Errors
    /// Fails if a file cannot be opened; nothing has changed for the functions that come after it.
    pub fn follow(&self, settings: &Settings) -> Result<(), FunctionEventsError> {
        let subscribing = settings
            .functions
            .iter()
            .filter(|function| !function.on.is_empty());
        let wanted: BTreeMap<&str, &FunctionSettings> = subscribing
            .map(|function| (function.name.as_str(), function))
            .collect();
        self.functions().retain(|name, subscribed| {
            let is_kept = wanted.contains_key(name.as_str());
            if !is_kept {
                subscribed.task.abort();
            }
            is_kept
        });
        let are_subscribed = !self.functions().is_empty();
        self.0.are_subscribed.store(are_subscribed, Relaxed);
        for (name, function) in wanted {
            let known = self.functions().get(name).cloned();
            let subscribed = match known {
                Some(known) => Subscribed {
                    on: function.on.clone(),
                    ..known
                },
                None => self.start(function)?,
            };
            self.functions().insert(name.to_owned(), subscribed);
            self.0.are_subscribed.store(true, Relaxed);
        }
        Ok(())
    }

    /// Opens the file of a function and begins to deliver.
    fn start(&self, function: &FunctionSettings) -> Result<Subscribed, FunctionEventsError> {
        let dead = self.open_letters()?;
        let outbox = self.outbox(&file_of(&function.name), self.0.settings.events_max)?;
        let counts = Arc::new(Counts::default());
        let bus = FunctionBus::new(
            &function.name,
            (self.0.gateway.clone(), dead),
            Arc::clone(&counts),
            self.0.settings.give_up_after.get(),
        );
        let relay = Relay::new(outbox.clone(), Arc::new(bus)).within(bus::TIME_MAX);
        let task = actix_rt::spawn(relay.run()).abort_handle();
        Ok(Subscribed {
            on: function.on.clone(),
            outbox,
            counts,
            task,
        })
    }

    /// Opens the file of dead letters, if that has not been done.
    fn open_letters(&self) -> Result<Outbox, FunctionEventsError> {
        if let Some(dead) = self.letters() {
            return Ok(dead);
        }
        let dead = self.outbox(DEAD_LETTERS, self.0.settings.dead_letters_max)?;
        *self.0.dead.lock().unwrap_or_else(PoisonError::into_inner) = Some(dead.clone());
        Ok(dead)
    }

    fn outbox(&self, file: &str, events_max: u64) -> Result<Outbox, FunctionEventsError> {
        let settings = OutboxSettings {
            path: self.0.settings.path.join(file),
            events_max,
            bytes_max: self.0.settings.bytes_max,
            // What is in the file is never lost for what comes.
            when_full: WhenFull::DropNewest,
            ..OutboxSettings::default()
        };
        let keyring = self.0.keyring.clone();
        Ok(Outbox::start(OutboxParts { settings, keyring })?)
    }

    fn functions(&self) -> MutexGuard<'_, BTreeMap<String, Subscribed>> {
        self.0
            .functions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn letters(&self) -> Option<Outbox> {
        self.0
            .dead
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns what happened to the events of each function.
    pub fn report(&self) -> Vec<FunctionEventReport> {
        let functions = self.functions();
        let reports = functions.iter().map(|(name, subscribed)| {
            let counts = subscribed.outbox.counts();
            FunctionEventReport {
                function: name.clone(),
                waiting: counts.waiting,
                delivered: subscribed.counts.delivered.load(Relaxed),
                failures: subscribed.counts.failures.load(Relaxed),
                dead: subscribed.counts.dead.load(Relaxed),
                dropped: counts.dropped,
                failed: counts.failed,
            }
        });
        reports.collect()
    }

    /// Returns the number of events of a tenant that wait or are dead letters.
    ///
    /// # Errors
    /// Fails if a file cannot be read.
    pub async fn waiting_of(&self, tenant: &str) -> Result<u64, FileError> {
        let mut count = 0;
        for outbox in self.outboxes()? {
            count += outbox.count_of(tenant).await?;
        }
        Ok(count)
    }

    /// Removes the events of a tenant that wait or are dead letters; returns their number.
    ///
    /// # Errors
    /// Fails if a file cannot be written.
    pub async fn erase(&self, tenant: &str) -> Result<u64, FileError> {
        let mut count = 0;
        for outbox in self.outboxes()? {
            count += outbox.erase(tenant).await?;
        }
        Ok(count)
    }

    /// Returns all files, also those of functions that do not subscribe any more, whose events stay there until they do again.
    fn outboxes(&self) -> Result<Vec<Outbox>, FileError> {
        let mut outboxes: Vec<Outbox> = self.letters().into_iter().collect();
        let mut open = vec![DEAD_LETTERS.to_owned()];
        if outboxes.is_empty() {
            open.clear();
        }
        for (name, subscribed) in &*self.functions() {
            open.push(file_of(name));
            outboxes.push(subscribed.outbox.clone());
        }
        let failed = |error: &dyn std::fmt::Display| FileError::Failed(error.to_string());
        let entries = match fs::read_dir(&self.0.settings.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(outboxes),
            Err(error) => return Err(failed(&error)),
        };
        for entry in entries {
            let file = entry.map_err(|error| failed(&error))?.file_name();
            let Some(file) = file.to_str().filter(|file| file.ends_with(SUFFIX)) else {
                continue;
            };
            if !open.iter().any(|name| name == file) {
                let opened = self.outbox(file, self.0.settings.events_max);
                outboxes.push(opened.map_err(|error| failed(&error))?);
            }
        }
        Ok(outboxes)
    }
}

/// Returns the name of the file of a function.
fn file_of(function: &str) -> String {
    format!("{function}{SUFFIX}")
}

impl EventSink for FunctionEvents {
    fn takes_any(&self) -> bool {
        self.0.are_subscribed.load(Relaxed)
    }

    fn take(&self, event: &Event, message: &Message) {
        let functions: Vec<Subscribed> = self.functions().values().cloned().collect();
        if functions.is_empty() {
            return;
        }
        let written: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        let data = &written["data"];
        for subscribed in functions {
            let mut on = subscribed.on.iter();
            if on.any(|on| on.takes(event.data.kind(), &event.tenant, data)) {
                subscribed.outbox.put(message.clone());
            }
        }
    }
}
