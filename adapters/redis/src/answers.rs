//! Kept answers of several gateways.
//!
//! Each owner has a number and, if there is a master key, a key of its own, with which answers, questions and what was learned are sealed
//! and the names of calls are signed: whoever reads the server cannot check a guess of a call. Names of owners and models, sizes and times
//! are not sealed. All keys are in one slot of a cluster, so that the bounds of all owners hold.

mod records;

use std::collections::HashMap;

use kebne_answer_cache::{
    Bounds, COMPARED_MAX, CacheStore, Candidate, Count, Entry, Erased, GROUPS_MAX, Keyring,
    Meaning, Scope, StoreError, Totals, nearest,
};
use kebne_cache::Key;
use kebne_retrieval::Vector;
use redis::{FromRedisValue, Pipeline, Script, ToRedisArgs};

use crate::{
    answers::records::Sealing,
    blocking::BlockingConnection,
    connection::RedisFault,
    options::{Options, OptionsError},
};

type Result<T> = std::result::Result<T, StoreError>;

/// Answers that one script removes at most, so that others wait for milliseconds only.
const PART_MAX: u64 = 500;
/// The time in milliseconds for which the server keeps an answer after it has expired, if no gateway removes it.
const LINGER: u64 = 60_000;
/// Owners whose numbers are remembered.
const OWNERS_MAX: usize = 10_000;
/// What the check of the master key is sealed for.
const CHECK: &str = "answers in redis";

macro_rules! scripts {
    ($($name:ident),*) => {
        #[derive(Debug)]
        struct Scripts {
            $($name: Script),*
        }

        impl Scripts {
            fn new() -> Self {
                Self {
                    $($name: Script::new(concat!(
                        include_str!("answers/common.lua"),
                        include_str!(concat!("answers/", stringify!($name), ".lua")),
                    ))),*
                }
            }
        }
    };
}

scripts!(
    owner, look, keep, similar, learn, learned, erase, sweep, counts
);

/// The totals that each script returns.
type Sums = (u64, u64, u64);

/// Answers in Redis or Valkey. Its methods block.
pub struct RedisAnswers {
    connection: BlockingConnection,
    scripts: Scripts,
    /// The begin of all names.
    begin: String,
    bounds: Bounds,
    sealing: Sealing,
    /// The numbers of owners.
    owners: HashMap<String, i64>,
    is_checked: bool,
    totals: Totals,
}

impl RedisAnswers {
    /// Creates the store of a server, which need not be there yet. `keyring` encrypts the answers.
    ///
    /// # Errors
    /// Returns an error if the address is not one of Redis, or holds a password.
    pub fn new(
        options: &Options,
        keyring: Option<Keyring>,
        bounds: Bounds,
    ) -> std::result::Result<Self, OptionsError> {
        Ok(Self {
            connection: BlockingConnection::new(options)?,
            scripts: Scripts::new(),
            begin: format!("{}{{answers}}:", options.prefix),
            bounds,
            sealing: Sealing::new(keyring),
            owners: HashMap::new(),
            is_checked: false,
            totals: Totals::default(),
        })
    }

    fn name(&self, part: &str) -> String {
        format!("{}{part}", self.begin)
    }

    /// Runs a script that returns something and the totals.
    fn run<T: FromRedisValue>(
        &mut self,
        script: fn(&Scripts) -> &Script,
        arguments: &[&dyn Argument],
    ) -> Result<T> {
        let mut invocation = script(&self.scripts).key(&self.begin);
        for argument in arguments {
            argument.add(&mut invocation);
        }
        let (value, totals): (T, Sums) = self.connection.run(&invocation)?;
        self.note(totals);
        Ok(value)
    }

    fn note(&mut self, (entries, bytes, evicted): Sums) {
        self.totals = Totals {
            entries,
            bytes,
            evicted,
        };
    }

    /// Compares the master key with the one that the answers are sealed with. The first gateway decides.
    fn check(&mut self) -> Result<()> {
        if self.is_checked {
            return Ok(());
        }
        let name = self.name("check");
        let mut pipeline = Pipeline::new();
        let own = self.sealing.new_check(CHECK)?;
        pipeline.cmd("SETNX").arg(&name).arg(own).ignore();
        pipeline.get(&name);
        let (check,): (Vec<u8>,) = self.connection.query(&pipeline)?;
        if self.sealing.is_old(&check, CHECK)? {
            self.wrap_again(&name)?;
        }
        self.is_checked = true;
        Ok(())
    }

    /// Seals the keys of owners, and the check, with the first master key.
    fn wrap_again(&mut self, check: &str) -> Result<()> {
        let keys = self.name("keys");
        let mut pipeline = Pipeline::new();
        pipeline.hgetall(&keys);
        let (rows,): (HashMap<i64, Vec<u8>>,) = self.connection.query(&pipeline)?;
        let mut pipeline = Pipeline::new();
        for (owner, row) in rows {
            if let Some(row) = self.sealing.wrap_again(owner, &row)? {
                pipeline.hset(&keys, owner, row).ignore();
            }
        }
        pipeline.set(check, self.sealing.new_check(CHECK)?).ignore();
        let () = self.connection.query(&pipeline)?;
        Ok(())
    }

    /// Returns the number of an owner; `None` if it has none and `makes` is not set.
    fn owner(&mut self, name: &str, makes: bool) -> Result<Option<i64>> {
        self.check()?;
        if let Some(known) = self.owners.get(name) {
            return Ok(Some(*known));
        }
        let mut invocation = self.scripts.owner.key(&self.begin);
        invocation.arg(name).arg(u8::from(makes));
        let (number, mut row): (i64, Vec<u8>) = self.connection.run(&invocation)?;
        if number == 0 {
            return Ok(None);
        }
        if self.sealing.is_on() && row.is_empty() {
            // Of two gateways that do this, the first one's key is that of both.
            let mut pipeline = Pipeline::new();
            let keys = self.name("keys");
            let made = self.sealing.new_row(number)?;
            pipeline
                .cmd("HSETNX")
                .arg(&keys)
                .arg(number)
                .arg(made)
                .ignore();
            pipeline.hget(&keys, number);
            (row,) = self.connection.query(&pipeline)?;
        }
        self.sealing.open_owner(number, &row)?;
        if self.owners.len() >= OWNERS_MAX {
            self.owners.clear();
        }
        self.owners.insert(name.to_owned(), number);
        Ok(Some(number))
    }

    fn forget(&mut self, name: &str) {
        if let Some(number) = self.owners.remove(name) {
            self.sealing.forget(number);
        }
    }

    /// Does something for an owner, again with a new number if the owner was erased by another gateway meanwhile.
    fn for_owner(
        &mut self,
        name: &str,
        mut act: impl FnMut(&mut Self, i64) -> Result<bool>,
    ) -> Result<()> {
        for _ in 0..2 {
            let Some(owner) = self.owner(name, true)? else {
                break;
            };
            if act(self, owner)? {
                return Ok(());
            }
            self.forget(name);
        }
        Err(StoreError::Failed(
            "the owner is being erased by others".to_owned(),
        ))
    }

    fn write(&mut self, owner: i64, entry: &Entry, now: u64) -> Result<bool> {
        let id = self.sealing.id(owner, entry.key)?;
        let body = self.sealing.seal(owner, &entry.body, &about("body", &id))?;
        let created_and_body = [&entry.created.to_le_bytes()[..], &body].concat();
        let (group, meaning) = match &entry.meaning {
            None => ("-".to_owned(), Vec::new()),
            Some(meaning) => {
                let plain = meaning.to_bytes(entry.key);
                let sealed = self.sealing.seal(owner, &plain, &about("meaning", &id))?;
                (self.sealing.hidden(owner, meaning.group)?, sealed)
            }
        };
        let lifetime = entry.expires.saturating_sub(now).saturating_add(LINGER);
        let bounds = self.bounds;
        let kept: u8 = self.run(
            |scripts| &scripts.keep,
            &[
                &id,
                &owner,
                &entry.size(),
                &entry.expires,
                &group,
                &entry.model,
                &created_and_body,
                &meaning,
                &entry.created,
                &lifetime,
                &bounds.owner_bytes,
                &bounds.owner_entries,
                &bounds.bytes,
                &bounds.entries,
            ],
        )?;
        Ok(kept == 1)
    }
}

/// An argument of a script.
trait Argument {
    fn add(&self, invocation: &mut redis::ScriptInvocation<'_>);
}

impl<T: ToRedisArgs> Argument for T {
    fn add(&self, invocation: &mut redis::ScriptInvocation<'_>) {
        invocation.arg(self);
    }
}

/// Returns what a sealed part of an answer is authenticated with.
fn about(part: &str, id: &str) -> String {
    format!("cache {part}/{id}")
}

impl From<RedisFault> for StoreError {
    fn from(fault: RedisFault) -> Self {
        match fault {
            RedisFault::Damaged(reason) => Self::Damaged(reason),
            RedisFault::Slow(reason) | RedisFault::Unavailable(reason) => Self::Failed(reason),
        }
    }
}

impl CacheStore for RedisAnswers {
    fn look(&mut self, owner: &str, key: Key, now: u64) -> Result<Option<Entry>> {
        let Some(owner) = self.owner(owner, false)? else {
            return Ok(None);
        };
        let id = self.sealing.id(owner, key)?;
        let found: (Vec<u8>, u64, String) = self.run(|scripts| &scripts.look, &[&id, &now])?;
        let (found, expires, model) = found;
        let Some((created, sealed)) = found.split_first_chunk::<8>() else {
            return Ok(None);
        };
        let body = self.sealing.open(owner, sealed, &about("body", &id))?;
        Ok(Some(Entry {
            key,
            model,
            created: u64::from_le_bytes(*created),
            expires,
            body: body.into(),
            meaning: None,
        }))
    }

    fn keep(&mut self, owner: &str, entry: Entry, now: u64) -> Result<()> {
        if entry.size() > self.bounds.owner_bytes.min(self.bounds.bytes) {
            return Ok(());
        }
        self.for_owner(owner, |store, number| store.write(number, &entry, now))
    }

    fn similar(
        &mut self,
        owner: &str,
        group: Key,
        (space, vector): (&str, &Vector),
        bounds: (f32, usize),
        now: u64,
    ) -> Result<Vec<Candidate>> {
        let Some(owner) = self.owner(owner, false)? else {
            return Ok(Vec::new());
        };
        let hidden = self.sealing.hidden(owner, group)?;
        let rows: Vec<(String, Vec<u8>)> = self.run(
            |scripts| &scripts.similar,
            &[&owner, &hidden, &now, &COMPARED_MAX],
        )?;
        let mut candidates = Vec::with_capacity(rows.len());
        for (id, sealed) in rows {
            let about = about("meaning", &id);
            let plain = self.sealing.open(owner, &sealed, &about)?;
            let broken = || StoreError::Damaged(format!("`{about}` cannot be read"));
            let (key, meaning) = Meaning::from_bytes(&plain, group).ok_or_else(broken)?;
            if meaning.space == space {
                candidates.push(Candidate {
                    key,
                    question: meaning.question,
                    similarity: meaning.vector.cosine(vector),
                });
            }
        }
        Ok(nearest(candidates.into_iter(), bounds))
    }

    fn learned(&mut self, owner: &str, group: Key) -> Result<Option<Vec<u8>>> {
        let Some(owner) = self.owner(owner, false)? else {
            return Ok(None);
        };
        let group = self.sealing.hidden(owner, group)?;
        let sealed: Vec<u8> = self.run(|scripts| &scripts.learned, &[&owner, &group])?;
        if sealed.is_empty() {
            return Ok(None);
        }
        let about = about("learned", &format!("{owner}:{group}"));
        Ok(Some(self.sealing.open(owner, &sealed, &about)?))
    }

    fn learn(
        &mut self,
        owner: &str,
        (model, group): (&str, Key),
        learned: Vec<u8>,
        now: u64,
    ) -> Result<()> {
        self.for_owner(owner, |store, owner| {
            let group = store.sealing.hidden(owner, group)?;
            let about = about("learned", &format!("{owner}:{group}"));
            let sealed = store.sealing.seal(owner, &learned, &about)?;
            let kept: u8 = store.run(
                |scripts| &scripts.learn,
                &[&owner, &group, &model, &sealed, &now, &GROUPS_MAX],
            )?;
            Ok(kept == 1)
        })
    }

    fn erase(&mut self, scope: &Scope) -> Result<Erased> {
        let owner = match &scope.owner {
            None => String::new(),
            Some(name) => {
                // What is remembered may be a number that another gateway has erased.
                self.forget(name);
                match self.owner(name, false)? {
                    None => return Ok(Erased::default()),
                    Some(number) => number.to_string(),
                }
            }
        };
        self.check()?;
        let model = scope.model.clone().unwrap_or_default();
        let mut erased = Erased::default();
        loop {
            let (entries, bytes, keys, more): (u64, u64, u64, u8) =
                self.run(|scripts| &scripts.erase, &[&owner, &model, &PART_MAX])?;
            erased.entries += entries;
            erased.bytes += bytes;
            erased.keys += keys;
            if more == 0 {
                break;
            }
        }
        self.owners.clear();
        self.sealing.clear();
        Ok(erased)
    }

    fn sweep(&mut self, now: u64) -> Result<u64> {
        self.check()?;
        let mut removed = 0;
        loop {
            let part: u64 = self.run(|scripts| &scripts.sweep, &[&now, &PART_MAX])?;
            removed += part;
            if part < PART_MAX {
                return Ok(removed);
            }
        }
    }

    fn counts(&mut self, owner: Option<&str>) -> Result<Vec<Count>> {
        self.check()?;
        let number = match owner {
            None => String::new(),
            Some(name) => match self.owner(name, false)? {
                None => return Ok(Vec::new()),
                Some(number) => number.to_string(),
            },
        };
        let rows: Vec<(String, String, u64, u64)> =
            self.run(|scripts| &scripts.counts, &[&number])?;
        let rows = rows.into_iter();
        let mut counts: Vec<Count> = rows
            .map(|(owner, model, entries, bytes)| Count {
                owner,
                model,
                entries,
                bytes,
            })
            .collect();
        counts.sort_by(|one, other| (&one.owner, &one.model).cmp(&(&other.owner, &other.model)));
        Ok(counts)
    }

    fn totals(&self) -> Totals {
        self.totals
    }
}

impl std::fmt::Debug for RedisAnswers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("RedisAnswers")
            .field("begin", &self.begin)
            .finish_non_exhaustive()
    }
}
