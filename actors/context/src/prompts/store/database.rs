//! The steps on the file of prompts. Each is one transaction; the owner is a condition of each query of calls and outcomes.

use std::collections::BTreeMap;

use kebne_seal::Keyring;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    super::{DRAFT, LIVE, Outcome, StoredPrompt, StoredVersion, Tally},
    CallId, CallNote, Event, PromptChange, PromptHeld, PromptStoreError, Result,
};

/// The maximum number of prompts, and of versions of each.
const PROMPTS_MAX: u64 = 1000;
const VERSIONS_MAX: u64 = 1000;
/// The number of entries of the history that are shown.
const HISTORY_MAX: i64 = 1000;
/// The number of different labels of outcomes that are counted for a version; further ones count together.
const LABELS_MAX: usize = 100;
/// The name under which further labels count.
const OTHERS: &str = "(others)";

/// An open store.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) connection: Connection,
    pub(super) keyring: Option<Keyring>,
}

/// Returns what is authenticated with a template.
pub(super) fn about(prompt: &str, version: i64) -> String {
    format!("version {version} of prompt {prompt}")
}

pub(super) fn unseal(keyring: Option<&Keyring>, sealed: &[u8], about: &str) -> Result<Vec<u8>> {
    let Some(keyring) = keyring else {
        return Ok(sealed.to_vec());
    };
    let opened = keyring.open(sealed, about).map(|(plain, _)| plain);
    opened.ok_or_else(|| PromptStoreError::Damaged(format!("{about} cannot be decrypted")))
}

fn number(value: i64) -> u64 {
    value.unsigned_abs()
}

fn stored(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| PromptStoreError::Failed(error.to_string()))
}

fn parsed<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| PromptStoreError::Damaged(error.to_string()))
}

impl Database {
    fn step<T>(&mut self, act: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let done = act(self).and_then(|value| {
            self.connection.execute_batch("COMMIT")?;
            Ok(value)
        });
        if done.is_err() {
            // A failed commit may have closed the transaction already.
            self.connection.execute_batch("ROLLBACK").ok();
        }
        done
    }

    fn seal(&self, template: &str, about: &str) -> Result<Vec<u8>> {
        match &self.keyring {
            Some(keyring) => Ok(keyring.seal(template.as_bytes(), about)?),
            None => Ok(template.as_bytes().to_vec()),
        }
    }

    /// Returns all prompts.
    pub(super) fn prompts(&mut self) -> Result<Vec<StoredPrompt>> {
        self.step(|database| {
            let select = "SELECT name, labels, split FROM prompts ORDER BY name";
            let mut select = database.connection.prepare(select)?;
            let mut rows = select.query([])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                let (labels, split): (String, String) = (row.get(1)?, row.get(2)?);
                let name: String = row.get(0)?;
                all.push(StoredPrompt {
                    versions: database.versions(&name)?,
                    labels: parsed(&labels)?,
                    split: parsed(&split)?,
                    name,
                });
            }
            Ok(all)
        })
    }

    fn versions(&self, name: &str) -> Result<BTreeMap<u64, StoredVersion>> {
        let select = "SELECT version, created, author, template FROM versions WHERE prompt = ?1";
        let mut select = self.connection.prepare_cached(select)?;
        let mut rows = select.query([name])?;
        let mut versions = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let (version, sealed): (i64, Vec<u8>) = (row.get(0)?, row.get(3)?);
            let about = about(name, version);
            let template = String::from_utf8(unseal(self.keyring.as_ref(), &sealed, &about)?);
            let template = template
                .map_err(|_| PromptStoreError::Damaged(format!("{about} is not a text")))?;
            let kept = StoredVersion {
                template,
                created: number(row.get(1)?),
                author: row.get(2)?,
            };
            versions.insert(number(version), kept);
        }
        Ok(versions)
    }

    /// Adds a version and gives it labels; without any, the first version gets `live`, and others `draft`.
    pub(super) fn add_version(
        &mut self,
        name: &str,
        template: &str,
        labels: &[String],
        (author, now): (&str, u64),
    ) -> Result<u64> {
        self.step(|database| {
            let found = database.labels(name)?;
            let is_new = found.is_none();
            if is_new && database.count("SELECT count(*) FROM prompts", [])? >= PROMPTS_MAX {
                let what = "prompts";
                let max = PROMPTS_MAX;
                return Err(PromptStoreError::Full { what, max });
            }
            let held = "SELECT count(*) FROM versions WHERE prompt = ?1";
            if database.count(held, [name])? >= VERSIONS_MAX {
                let what = "versions of this prompt";
                let max = VERSIONS_MAX;
                return Err(PromptStoreError::Full { what, max });
            }
            let (newest, mut known) = found.unwrap_or_default();
            let version = newest + 1;
            let given = if labels.is_empty() {
                let given = if is_new { LIVE } else { DRAFT };
                vec![given.to_owned()]
            } else {
                labels.to_vec()
            };
            for label in &given {
                known.insert(label.clone(), version);
            }
            let put = "INSERT INTO prompts VALUES (?1, ?2, ?3, '{}')
                ON CONFLICT (name) DO UPDATE SET newest = ?2, labels = ?3";
            let row = params![name, stored(version), json(&known)?];
            database.connection.execute(put, row)?;
            let sealed = database.seal(template, &about(name, stored(version)))?;
            let insert = "INSERT INTO versions VALUES (?1, ?2, ?3, ?4, ?5)";
            let row = params![name, stored(version), stored(now), author, sealed];
            database.connection.execute(insert, row)?;
            let labels = given.join(", ");
            let change = format!("version {version} was created with the labels {labels}");
            database.record(name, &change, (author, now))?;
            Ok(version)
        })
    }

    /// Returns the newest version that a prompt ever had, and its labels; `None` if there is no such prompt.
    fn labels(&self, name: &str) -> Result<Option<(u64, BTreeMap<String, u64>)>> {
        let find = "SELECT newest, labels FROM prompts WHERE name = ?1";
        let mut find = self.connection.prepare_cached(find)?;
        let found: Option<(i64, String)> = find
            .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        found
            .map(|(newest, labels)| Ok((number(newest), parsed(&labels)?)))
            .transpose()
    }

    fn count<P: rusqlite::Params>(&self, query: &str, params: P) -> Result<u64> {
        let mut count = self.connection.prepare_cached(query)?;
        Ok(count.query_row(params, |row| Ok(number(row.get(0)?)))?)
    }

    fn record(&self, name: &str, change: &str, (author, now): (&str, u64)) -> Result<()> {
        let insert = "INSERT INTO history (prompt, at, author, change) VALUES (?1, ?2, ?3, ?4)";
        let mut insert = self.connection.prepare_cached(insert)?;
        insert.execute(params![name, stored(now), author, change])?;
        Ok(())
    }

    /// Changes labels and shares.
    pub(super) fn change(
        &mut self,
        name: &str,
        change: &PromptChange,
        who: (&str, u64),
    ) -> Result<()> {
        self.step(|database| {
            let missing = || PromptStoreError::NoPrompt(name.to_owned());
            let (_, mut labels) = database.labels(name)?.ok_or_else(missing)?;
            let of_labels = change.labels.values().flatten();
            let of_split = change.split.iter().flat_map(BTreeMap::keys);
            for version in of_labels.chain(of_split) {
                let find = "SELECT count(*) FROM versions WHERE prompt = ?1 AND version = ?2";
                if database.count(find, params![name, stored(*version)])? == 0 {
                    return Err(PromptStoreError::NoVersion(name.to_owned(), *version));
                }
            }
            for (label, version) in &change.labels {
                let before = match version {
                    Some(version) => labels.insert(label.clone(), *version),
                    None => labels.remove(label),
                };
                let shown = |version: Option<u64>| {
                    version.map_or_else(|| "none".to_owned(), |version| version.to_string())
                };
                let (before, after) = (shown(before), shown(*version));
                let change = format!("the label {label} was moved from {before} to {after}");
                database.record(name, &change, who)?;
            }
            let update = "UPDATE prompts SET labels = ?2 WHERE name = ?1";
            let row = params![name, json(&labels)?];
            database.connection.execute(update, row)?;
            if let Some(split) = &change.split {
                let update = "UPDATE prompts SET split = ?2 WHERE name = ?1";
                let split = json(split)?;
                let row = params![name, split];
                database.connection.execute(update, row)?;
                database.record(name, &format!("the shares were set to {split}"), who)?;
            }
            Ok(())
        })
    }

    /// Removes a prompt and what is known of its calls.
    pub(super) fn remove(&mut self, name: &str) -> Result<()> {
        self.step(|database| {
            let remove = "DELETE FROM prompts WHERE name = ?1";
            if database.connection.execute(remove, [name])? == 0 {
                return Err(PromptStoreError::NoPrompt(name.to_owned()));
            }
            for table in ["versions", "history", "calls", "outcomes"] {
                let remove = format!("DELETE FROM {table} WHERE prompt = ?1");
                database.connection.execute(&remove, [name])?;
            }
            Ok(())
        })?;
        self.empty_log().map(drop)
    }

    pub(super) fn history(&mut self, name: &str) -> Result<Vec<Event>> {
        let select = "SELECT at, author, change FROM history WHERE prompt = ?1
            ORDER BY number DESC LIMIT ?2";
        let mut select = self.connection.prepare_cached(select)?;
        let events = select.query_map(params![name, HISTORY_MAX], |row| {
            Ok(Event {
                at: number(row.get(0)?),
                author: row.get(1)?,
                change: row.get(2)?,
            })
        })?;
        Ok(events.collect::<rusqlite::Result<_>>()?)
    }

    /// Takes note of the version that a call got.
    pub(super) fn note(&mut self, note: &CallNote, now: u64) -> Result<()> {
        let insert = "INSERT INTO calls (owner, call, session, prompt, version, at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let mut insert = self.connection.prepare_cached(insert)?;
        let CallNote {
            owner,
            call,
            session,
            prompt,
            version,
        } = note;
        insert.execute(params![owner, call, session, prompt, version, stored(now)])?;
        Ok(())
    }

    /// Removes calls and outcomes from before a time, and calls that are too many.
    pub(super) fn tidy(&mut self, before: u64, calls_max: u64) -> Result<()> {
        self.step(|database| {
            for table in ["calls", "outcomes"] {
                let remove = format!("DELETE FROM {table} WHERE at < ?1");
                database.connection.execute(&remove, [stored(before)])?;
            }
            let remove = "DELETE FROM calls WHERE number <=
                (SELECT number FROM calls ORDER BY number DESC LIMIT 1 OFFSET ?1)";
            database.connection.execute(remove, [stored(calls_max)])?;
            Ok(())
        })
    }

    /// Keeps the outcome of a call once.
    pub(super) fn report(
        &mut self,
        owner: &str,
        prompt: &str,
        call: &CallId,
        outcome: &Outcome,
        (now, outcomes_max): (u64, u64),
    ) -> Result<String> {
        self.step(|database| {
            let (column, id) = match call {
                CallId::Request(id) => ("call", id),
                CallId::Session(id) => ("session", id),
            };
            let find = format!(
                "SELECT version FROM calls WHERE owner = ?1 AND prompt = ?2 AND {column} = ?3
                ORDER BY number DESC LIMIT 1"
            );
            let version: Option<String> = database
                .connection
                .prepare_cached(&find)?
                .query_row([owner, prompt, id], |row| row.get(0))
                .optional()?;
            let version = version.ok_or(PromptStoreError::NoCall)?;
            let held = "SELECT count(*) FROM outcomes WHERE owner = ?1";
            if database.count(held, [owner])? >= outcomes_max {
                return Err(PromptStoreError::Full {
                    what: "outcomes (`prompt_store.outcomes_max`)",
                    max: outcomes_max,
                });
            }
            // A session and a request may have the same id.
            let name = format!("{column}/{id}");
            let (value, label) = match outcome {
                Outcome::Value(value) => (Some(value), None),
                Outcome::Label(label) => (None, Some(label)),
            };
            let insert = "INSERT OR IGNORE INTO outcomes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            let row = params![owner, prompt, name, version, stored(now), value, label];
            if database.connection.execute(insert, row)? == 0 {
                return Err(PromptStoreError::Twice);
            }
            Ok(version)
        })
    }

    pub(super) fn outcomes(&mut self, prompt: &str) -> Result<BTreeMap<String, Tally>> {
        let select = "SELECT version, label, count(value), coalesce(sum(value), 0.0), count(label)
            FROM outcomes WHERE prompt = ?1 GROUP BY version, label";
        let mut select = self.connection.prepare_cached(select)?;
        let mut rows = select.query([prompt])?;
        let mut tallies = BTreeMap::<String, Tally>::new();
        while let Some(row) = rows.next()? {
            let (version, label): (String, Option<String>) = (row.get(0)?, row.get(1)?);
            let tally = tallies.entry(version).or_default();
            tally.values += number(row.get(2)?);
            tally.sum += row.get::<_, f64>(3)?;
            if let Some(label) = label {
                let is_known = tally.labels.len() < LABELS_MAX;
                let label = if is_known { label } else { OTHERS.to_owned() };
                *tally.labels.entry(label).or_default() += number(row.get(4)?);
            }
        }
        Ok(tallies)
    }

    pub(super) fn held(&mut self, owner: &str) -> Result<PromptHeld> {
        let select = "SELECT
            (SELECT count(*) FROM calls WHERE owner = ?1), (SELECT count(*) FROM outcomes WHERE owner = ?1),
            (SELECT min(at) FROM (SELECT at FROM calls WHERE owner = ?1 UNION ALL SELECT at FROM outcomes WHERE owner = ?1)),
            (SELECT max(at) FROM (SELECT at FROM calls WHERE owner = ?1 UNION ALL SELECT at FROM outcomes WHERE owner = ?1))";
        let mut select = self.connection.prepare_cached(select)?;
        Ok(select.query_row([owner], |row| {
            let time = |column| -> rusqlite::Result<Option<u64>> {
                Ok(row.get::<_, Option<i64>>(column)?.map(number))
            };
            Ok(PromptHeld {
                calls: number(row.get(0)?),
                outcomes: number(row.get(1)?),
                oldest: time(2)?,
                newest: time(3)?,
            })
        })?)
    }

    pub(super) fn erase(&mut self, owner: &str) -> Result<PromptHeld> {
        let held = self.held(owner)?;
        self.step(|database| {
            for table in ["calls", "outcomes"] {
                let remove = format!("DELETE FROM {table} WHERE owner = ?1");
                database.connection.execute(&remove, [owner])?;
            }
            Ok(())
        })?;
        Ok(held)
    }

    /// Takes removed data out of the log of the file. Returns `false` while another connection uses the log.
    pub(super) fn empty_log(&self) -> Result<bool> {
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        let is_busy: bool = self
            .connection
            .query_row(checkpoint, [], |row| row.get(0))?;
        Ok(!is_busy)
    }
}
