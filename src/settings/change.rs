//! What a service that runs does with other settings: which keys have changed, which of them take effect at once, and which
//! keep their values until the service is started again.
//!
//! Sections are compared as trees, so that a new key is compared without further work. A key without a rule in `RULES`
//! keeps its value; a test fails until it has one.

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::settings::Settings;

/// What becomes of a changed key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// The new value takes effect.
    Applied,
    /// The old value stays until the next start, for this reason.
    Kept(&'static str),
}

use Effect::{Applied, Kept};

const SOCKET: &str = "the socket is open";
const THREADS: &str = "the threads that serve HTTP have started with it";
const CONNECTIONS: &str = "connections are served with it";
const CERTIFICATE: &str = "connections are accepted with it; its files are read again";
const MEMORY: &str = "the memory is divided by it";
const FILE: &str = "the file is open";
const SESSIONS: &str = "the store of sessions was opened with it";
const VECTORS: &str = "vectors were made with it";
const PROMPTS: &str = "the store of prompts was opened with it";
const ACCOUNTS: &str = "the store of accounts was opened with it";
const JOBS: &str = "the store of jobs was opened with it";
const AGENTS: &str = "the store of agents was opened with it";
const COLLECTIONS: &str = "the store of collections was opened with it";
const ANSWERS: &str = "the store of answers was opened with it";
const WRITERS: &str = "the log is written with it";
const TRACES: &str = "the connection to the collector was made with it";
const EVENTS: &str = "the thread that writes events has started with it";
const FUNCTION_EVENTS: &str = "the files of events for functions were opened with it";
const APPROVED: &str = "the file of approved tools was opened with it";
const CONSUMED: &str = "calls are taken with it";
const LEASES: &str = "the lanes renew their leases with it";
const REDIS: &str = "the connection was made with it";
const COUNTED: &str = "costs were counted in it";
/// The reason for a key without a rule.
const UNKNOWN: &str = "the service has started with it";

/// What becomes of changed keys. A rule holds for a key and all below it; the longest one that fits counts.
const RULES: &[(&str, Effect)] = &[
    ("server.listen", Kept(SOCKET)),
    ("server.tls", Kept(CERTIFICATE)),
    ("server.keys", Applied),
    ("server.hosts", Applied),
    ("server.cors_origins", Applied),
    ("server.trusted_proxies", Applied),
    ("server.trusted_header", Applied),
    ("server.workers", Kept(THREADS)),
    ("server.connections_max", Kept(THREADS)),
    ("server.body_size_max", Applied),
    ("server.bodies_size_max", Kept(MEMORY)),
    ("server.answers_size_max", Kept(MEMORY)),
    ("server.request_timeout", Kept(CONNECTIONS)),
    ("server.keep_alive", Kept(CONNECTIONS)),
    ("server.write_timeout", Kept(CONNECTIONS)),
    ("server.deadline_default", Applied),
    ("server.deadline_max", Applied),
    ("server.stream_opens_after", Applied),
    ("server.keep_alive_comment", Applied),
    ("server.lame_duck", Applied),
    ("server.drain_deadline", Applied),
    ("server.learned_path", Kept(FILE)),
    ("server.decisions_path", Kept(FILE)),
    ("log.filter", Applied),
    ("log.format", Kept(WRITERS)),
    ("log.requests", Kept(WRITERS)),
    ("log.requests.sample", Applied),
    ("log.requests.failures_always", Applied),
    ("log.audit.accesses", Applied),
    ("log.audit.file", Kept(WRITERS)),
    ("telemetry", Kept(TRACES)),
    ("events", Kept(EVENTS)),
    ("consume", Kept(CONSUMED)),
    ("context", Kept(SESSIONS)),
    ("collections", Kept(COLLECTIONS)),
    ("jobs", Kept(JOBS)),
    ("cache", Kept(ANSWERS)),
    ("embedder", Kept(VECTORS)),
    ("retrieval", Applied),
    ("token_budget", Applied),
    ("alerts", Applied),
    ("cost", Kept(COUNTED)),
    ("accounts.store", Kept(ACCOUNTS)),
    ("accounts.path", Kept(FILE)),
    ("accounts.keys_max", Applied),
    ("accounts.groups", Applied),
    ("servers", Applied),
    ("share", Kept(LEASES)),
    ("redis", Kept(REDIS)),
    ("backends", Applied),
    ("models", Applied),
    ("functions", Applied),
    ("function_events", Kept(FUNCTION_EVENTS)),
    ("mcp_servers", Applied),
    ("mcp.path", Kept(APPROVED)),
    ("mcp", Applied),
    ("prompt_store", Kept(PROMPTS)),
    ("agent_store", Kept(AGENTS)),
    ("routes", Applied),
    ("agents", Applied),
    ("prompts", Applied),
    ("guards", Applied),
    // Only `kebne simulate` reads it.
    ("simulation", Applied),
];

/// How a key differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Difference {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has another value.
    Changed,
}

/// A key that differs. Its values are not part of this, because they may be secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangedKey {
    /// The key. An element of a list is given by its name: `backends[gpu].limits.limit_max`.
    pub key: String,
    /// How it differs.
    pub change: Difference,
}

/// A key that differs and keeps its value until the next start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeptKey {
    /// The key.
    pub key: String,
    /// Why it cannot change.
    pub reason: &'static str,
}

/// The change from settings to others.
#[derive(Clone, Debug)]
pub struct Change {
    /// The settings that are to be in effect: the new ones, with the old values of the keys that cannot change.
    pub settings: Settings,
    /// The keys whose new values take effect.
    pub applied: Vec<ChangedKey>,
    /// The keys that keep their values.
    pub kept: Vec<KeptKey>,
}

/// The settings cannot be compared. Settings that can be shown never cause this.
#[derive(Debug, thiserror::Error)]
#[error("the settings cannot be compared: {0}")]
pub struct CompareError(String);

impl Change {
    /// Compares settings with new ones.
    ///
    /// # Errors
    /// See [`CompareError`].
    pub fn new(before: &Settings, after: Settings) -> Result<Self, CompareError> {
        let old = tree(before)?;
        let mut new = tree(&after)?;
        let mut changed = Vec::new();
        compare(&Place::default(), &old, &new, &mut changed);
        let mut change = Self {
            settings: after,
            applied: Vec::new(),
            kept: Vec::new(),
        };
        for (place, difference) in changed {
            match rule(&place.keys) {
                Applied => change.applied.push(ChangedKey {
                    key: place.shown,
                    change: difference,
                }),
                Kept(reason) => {
                    restore(&mut new, &old, &place.restored);
                    change.kept.push(KeptKey {
                        key: place.shown,
                        reason,
                    });
                }
            }
        }
        if !change.kept.is_empty() {
            let merged = Settings::deserialize(Value::Table(new));
            change.settings = merged.map_err(|error| CompareError(error.to_string()))?;
        }
        Ok(change)
    }

    /// Returns `true` if no key has changed.
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.kept.is_empty()
    }
}

fn tree(settings: &Settings) -> Result<Table, CompareError> {
    Table::try_from(settings).map_err(|error| CompareError(error.to_string()))
}

/// A place in the tree.
#[derive(Clone, Debug, Default)]
struct Place {
    /// The keys, without the elements of lists.
    keys: Vec<String>,
    /// The keys of what is restored if this place keeps its value: the place, or the first list around it.
    restored: Vec<String>,
    is_in_list: bool,
    /// As it is shown.
    shown: String,
}

impl Place {
    fn key(&self, key: &str) -> Self {
        let mut place = self.clone();
        place.keys.push(key.to_owned());
        if !place.is_in_list {
            place.restored.push(key.to_owned());
        }
        if !place.shown.is_empty() {
            place.shown.push('.');
        }
        place.shown.push_str(key);
        place
    }

    fn element(&self, name: &str) -> Self {
        let mut place = self.clone();
        place.is_in_list = true;
        place.shown = format!("{}[{name}]", place.shown);
        place
    }
}

type Differences = Vec<(Place, Difference)>;

/// Collects the keys in which two tables differ.
fn compare(place: &Place, old: &Table, new: &Table, found: &mut Differences) {
    for (key, before) in old {
        let here = place.key(key);
        match new.get(key) {
            Some(after) => compare_values(here, before, after, found),
            None => found.push((here, Difference::Removed)),
        }
    }
    for key in new.keys().filter(|key| !old.contains_key(*key)) {
        found.push((place.key(key), Difference::Added));
    }
}

fn compare_values(place: Place, old: &Value, new: &Value, found: &mut Differences) {
    match (old, new) {
        _ if old == new => {}
        (Value::Table(old), Value::Table(new)) => compare(&place, old, new, found),
        (Value::Array(old), Value::Array(new)) => match named(old).zip(named(new)) {
            Some((old, new)) => compare_elements(&place, &old, &new, found),
            None => found.push((place, Difference::Changed)),
        },
        _ => found.push((place, Difference::Changed)),
    }
}

type Named<'a> = Vec<(&'a str, &'a Table)>;

/// Returns the elements of a list with their names; `None` if one has no name.
fn named(list: &[Value]) -> Option<Named<'_>> {
    let elements = list.iter().map(|element| {
        let table = element.as_table()?;
        Some((table.get("name")?.as_str()?, table))
    });
    elements.collect()
}

/// Compares the elements of lists by their names. A different order is a change of the list.
fn compare_elements(place: &Place, old: &Named<'_>, new: &Named<'_>, found: &mut Differences) {
    let of = |list: &Named<'_>, name: &str| list.iter().any(|(other, _)| *other == name);
    for (name, before) in old {
        let here = place.element(name);
        match new.iter().find(|(other, _)| other == name) {
            Some((_, after)) => compare(&here, before, after, found),
            None => found.push((here, Difference::Removed)),
        }
    }
    for (name, _) in new.iter().filter(|(name, _)| !of(old, name)) {
        found.push((place.element(name), Difference::Added));
    }
    let stayed = |list: &Named<'_>, others: &Named<'_>| -> Vec<String> {
        let names = list.iter().map(|(name, _)| *name);
        names
            .filter(|name| of(others, name))
            .map(str::to_owned)
            .collect()
    };
    if stayed(old, new) != stayed(new, old) {
        found.push((place.clone(), Difference::Changed));
    }
}

/// Returns the rule of a key.
fn rule(keys: &[String]) -> Effect {
    let fits = |path: &&(&str, Effect)| {
        let mut path = path.0.split('.');
        let mut keys = keys.iter();
        path.all(|part| keys.next().is_some_and(|key| key == part))
    };
    let longest = RULES.iter().filter(fits).max_by_key(|(path, _)| path.len());
    longest.map_or(Kept(UNKNOWN), |(_, effect)| *effect)
}

/// Gives a key the value that it has in `old`.
fn restore(new: &mut Table, old: &Table, keys: &[String]) {
    let Some((last, tables)) = keys.split_last() else {
        return;
    };
    let (mut new, mut old) = (new, old);
    for key in tables {
        let tables = new.get_mut(key).and_then(Value::as_table_mut);
        let Some(pair) = tables.zip(old.get(key).and_then(Value::as_table)) else {
            return;
        };
        (new, old) = pair;
    }
    match old.get(last) {
        Some(value) => _ = new.insert(last.clone(), value.clone()),
        None => _ = new.remove(last),
    }
}

#[cfg(test)]
mod tests;
