//! The steps on the sessions of a file.
//!
//! This module uses `SQLite` and does not know threads.

use std::{
    cell::{Cell, RefCell},
    path::Path,
    time::Duration,
};

use kebne_seal::{Keyring, OwnerKeys};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use super::{
    file::{self, Stale},
    logs::{Harm, Logs},
    pieces::{about_details, about_unowned_details},
    problem::Problem,
    tidy::Pass,
};
use crate::store::{
    Alive, Change, Collect, Details, Found, Marks, Owned, Part, PartSize, Quota, Session,
    StoreError,
};

pub(super) const SESSION: &str =
    "id, owner, created, used, turns, tokens, bytes, details, cuts, facts, facts_through, partial";

/// An open store.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) connection: Connection,
    /// The keys of tenants; `None` if the file is not encrypted.
    pub(super) keys: Option<RefCell<OwnerKeys>>,
    /// The files beside it that the connection uses.
    pub(super) logs: Logs,
    /// `true` if pieces that do not name their owner are accepted.
    pub(super) unowned: Cell<bool>,
    /// `true` if pieces are accepted that are sealed with the master key in place of their owner's.
    pub(super) unkeyed: Cell<bool>,
    /// `true` if something was removed since keys were last looked through.
    pub(super) may_have_needless_keys: Cell<bool>,
    /// The progress of sealing old pieces again; `None` if none are left.
    pub(super) pass: RefCell<Option<Pass>>,
}

/// The sealed part of a session.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sealed {
    #[serde(flatten)]
    pub(super) details: Details,
    /// Earlier owners, under whose names turns may be sealed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) former: Vec<String>,
}

/// A session as it is stored.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) session: Session,
    pub(super) former: Vec<String>,
    /// The bytes stored for it.
    pub(super) bytes: i64,
    /// The part of these bytes that its details take.
    pub(super) details_bytes: i64,
    /// `true` if the details are sealed with the key of the present owner.
    pub(super) is_fresh: bool,
}

impl Kept {
    pub(super) fn sealed(&self) -> Sealed {
        Sealed {
            details: self.session.details.clone(),
            former: self.former.clone(),
        }
    }
}

impl Database {
    /// Opens the store at `path`, or creates it if there is none. Waits at most `busy` for each lock.
    pub(super) fn open(
        path: &Path,
        keyring: Option<Keyring>,
        busy: Duration,
    ) -> Result<Self, Problem> {
        let keys = keyring.map(OwnerKeys::new);
        let (connection, stale) = file::open(path, keys.as_ref(), busy)?;
        let Stale {
            marks,
            unowned,
            unkeyed,
        } = stale;
        let database = Self {
            connection,
            keys: keys.map(RefCell::new),
            logs: Logs::of(path)?,
            unowned: Cell::new(unowned),
            unkeyed: Cell::new(unkeyed),
            may_have_needless_keys: Cell::new(true),
            pass: RefCell::new(Pass::over(marks)),
        };
        if database.is_cut(path)? {
            // Another process still has the index of the log before it was truncated.
            let harm = Harm::WalCut;
            let message = format!("`{}` {}", harm.path(path).display(), harm.words());
            database.save(harm);
            return Err(StoreError::Failed(message).into());
        }
        Ok(database)
    }

    /// Checks the whole file; slow for a large file.
    pub(super) fn check(&self) -> Result<(), Problem> {
        let verdict: String = self
            .connection
            .pragma_query_value(None, "quick_check", |row| row.get(0))?;
        if verdict == "ok" {
            return Ok(());
        }
        Err(StoreError::Damaged(verdict).into())
    }

    /// Begins a transaction. A transaction that writes waits for other writers here and not later.
    pub(super) fn begin(&self, writes: bool) -> Result<(), Problem> {
        let begin = if writes { "BEGIN IMMEDIATE" } else { "BEGIN" };
        Ok(self.connection.execute_batch(begin)?)
    }

    pub(super) fn commit(&self) -> Result<(), Problem> {
        self.connection.execute_batch("COMMIT").map_err(|error| {
            // After a failed commit the transaction may still be open; closing it cannot fail otherwise.
            self.connection.execute_batch("ROLLBACK").ok();
            error.into()
        })
    }

    /// Runs one step of the transaction. The effects of a failed step are undone without affecting the others.
    pub(super) fn step<T>(
        &self,
        step: impl FnOnce(&Self) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        if self.connection.is_autocommit() {
            // `SQLite` has rolled the transaction back, for example because the disk is full. A step would now run
            // outside a transaction.
            let message = "an earlier step of the transaction failed".to_owned();
            return Err(StoreError::Failed(message).into());
        }
        self.connection.execute_batch("SAVEPOINT step")?;
        let result = step(self);
        let end = match &result {
            Ok(_) => "RELEASE step",
            Err(_) => "ROLLBACK TO step; RELEASE step",
        };
        match self.connection.execute_batch(end) {
            Ok(()) => result,
            // The error of the step is more specific than that of its end.
            Err(error) => result.and(Err(error.into())),
        }
    }

    /// Returns the number of sessions; SQLite counts the entries of the smallest index.
    pub(super) fn count(&self) -> Result<u64, Problem> {
        let mut count = self
            .connection
            .prepare_cached("SELECT count(*) FROM sessions")?;
        let sessions: i64 = count.query_row([], |row| row.get(0))?;
        Ok(sessions.unsigned_abs())
    }

    pub(super) fn insert(&self, session: &Session, quota: Quota) -> Result<(), Problem> {
        let count =
            "SELECT count(*) FROM sessions WHERE owner = ?1 AND created >= ?2 AND used >= ?3";
        let alive = quota.alive;
        let since = (number(alive.created_since), number(alive.used_since));
        let held: i64 = self
            .connection
            .prepare_cached(count)?
            .query_row(params![session.owner, since.0, since.1], |row| row.get(0))?;
        if held >= number(quota.sessions_max) {
            return Err(StoreError::Full.into());
        }
        let sealed = Sealed {
            details: session.details.clone(),
            former: Vec::new(),
        };
        let details = self.seal_details(&session.id, &session.owner, &sealed)?;
        let bytes = size(&details);
        self.admit(&session.owner, bytes, quota)?;
        // Turns of a removed session of this id may not be erased yet.
        self.erase(&session.id)?;
        let insert =
            "INSERT INTO sessions (id, owner, created, used, turns, tokens, bytes, details, partial)
            VALUES (?1, ?2, ?3, ?4, 0, 0, ?5, ?6, ?7)";
        let (created, used) = (number(session.created), number(session.used));
        self.connection.prepare_cached(insert)?.execute(params![
            session.id,
            session.owner,
            created,
            used,
            bytes,
            details,
            session.marks.is_partial
        ])?;
        Ok(())
    }

    pub(super) fn find(&self, id: &str) -> Result<Option<Found>, Problem> {
        let Some(kept) = self.kept(id)? else {
            return Ok(None);
        };
        let owner_bytes = self.owner_bytes(&kept.session.owner)?.unsigned_abs();
        let session = kept.session;
        Ok(Some(Found {
            session,
            owner_bytes,
        }))
    }

    pub(super) fn change(
        &self,
        named: &Owned,
        change: Change,
        now: u64,
        quota: Quota,
    ) -> Result<Session, Problem> {
        let mut kept = self.own(named)?;
        let cuts = kept.session.marks.cuts;
        change.apply(&mut kept.session.details, cuts);
        kept.session.used = now;
        let details = self.seal_details(&named.id, &named.owner, &kept.sealed())?;
        let more = size(&details) - kept.details_bytes;
        self.admit(&named.owner, more, quota)?;
        let change =
            "UPDATE sessions SET details = ?2, used = ?3, bytes = bytes + ?4 WHERE id = ?1";
        let mut change = self.connection.prepare_cached(change)?;
        change.execute(params![named.id, details, number(now), more])?;
        Ok(kept.session)
    }

    pub(super) fn list(
        &self,
        owner: &str,
        alive: Alive,
        after: Option<&str>,
        part: PartSize,
    ) -> Result<Part<Session>, Problem> {
        let (created, id) = match after {
            None => (i64::MAX, ""),
            Some(id) => {
                let place = "SELECT created FROM sessions WHERE id = ?1 AND owner = ?2";
                let created: Option<i64> = self
                    .connection
                    .query_row(place, [id, owner], |row| row.get(0))
                    .optional()?;
                (created.ok_or(StoreError::NoSuchSession)?, id)
            }
        };
        let list = format!(
            "SELECT {SESSION} FROM sessions WHERE owner = ?1 AND created >= ?2 AND used >= ?3
            AND partial = 0 AND (created, id) < (?4, ?5) ORDER BY created DESC, id DESC LIMIT ?6"
        );
        let mut list = self.connection.prepare_cached(&list)?;
        let since = (number(alive.created_since), number(alive.used_since));
        let mut rows = list.query(params![
            owner,
            since.0,
            since.1,
            created,
            id,
            limit_of(part)
        ])?;
        let mut found = Collect::new(part);
        while let Some(row) = rows.next()? {
            let kept = self.read(row)?;
            if !found.takes(kept.details_bytes.unsigned_abs()) {
                break;
            }
            found.take(kept.session);
        }
        Ok(found.finish())
    }

    /// Removes a session. A few of its turns are erased at once, the rest by later steps.
    pub(super) fn remove(&self, named: &Owned) -> Result<(), Problem> {
        self.own(named)?;
        self.part_with(&named.id)?;
        self.erase_some(&named.id)?;
        Ok(())
    }

    /// Returns a session of an owner.
    pub(super) fn own(&self, named: &Owned) -> Result<Kept, Problem> {
        let find = format!(
            "SELECT {SESSION} FROM sessions
            WHERE id = ?1 AND owner = ?2 AND created >= ?3 AND used >= ?4"
        );
        let mut find = self.connection.prepare_cached(&find)?;
        let Owned { owner, id, alive } = named;
        let since = (number(alive.created_since), number(alive.used_since));
        let mut rows = find.query(params![id, owner, since.0, since.1])?;
        let found = rows.next()?.map(|row| self.read(row)).transpose()?;
        Ok(found.ok_or(StoreError::NoSuchSession)?)
    }

    /// Returns a session of an owner, and the bytes of the owner.
    pub(super) fn find_own(&self, named: &Owned) -> Result<Found, Problem> {
        let session = self.own(named)?.session;
        let owner_bytes = self.owner_bytes(&named.owner)?.unsigned_abs();
        Ok(Found {
            session,
            owner_bytes,
        })
    }

    pub(super) fn kept(&self, id: &str) -> Result<Option<Kept>, Problem> {
        let find = format!("SELECT {SESSION} FROM sessions WHERE id = ?1");
        let mut find = self.connection.prepare_cached(&find)?;
        let mut rows = find.query([id])?;
        rows.next()?.map(|row| self.read(row)).transpose()
    }

    /// Returns the sessions of a query for the columns [`SESSION`], up to the size of one step.
    pub(super) fn some_sessions(
        &self,
        condition: &str,
        key: &str,
        part: PartSize,
    ) -> Result<Part<Kept>, Problem> {
        let find = format!("SELECT {SESSION} FROM sessions WHERE {condition} ORDER BY id LIMIT ?2");
        let mut find = self.connection.prepare_cached(&find)?;
        let mut rows = find.query(params![key, limit_of(part)])?;
        let mut found = Collect::new(part);
        while let Some(row) = rows.next()? {
            let kept = self.read(row)?;
            if !found.takes(kept.details_bytes.unsigned_abs()) {
                break;
            }
            found.take(kept);
        }
        Ok(found.finish())
    }

    fn owner_bytes(&self, owner: &str) -> Result<i64, Problem> {
        let find = "SELECT bytes FROM owners WHERE owner = ?1";
        let mut find = self.connection.prepare_cached(find)?;
        let found = find.query_row([owner], |row| row.get(0)).optional()?;
        Ok(found.unwrap_or_default())
    }

    /// Adds `more` bytes to an owner's sessions, unless the quota would be exceeded. Expired sessions are removed
    /// first.
    pub(super) fn admit(&self, owner: &str, more: i64, quota: Quota) -> Result<(), Problem> {
        let bytes_max = number(quota.bytes_max);
        if more <= 0 || self.owner_bytes(owner)?.saturating_add(more) <= bytes_max {
            return Ok(());
        }
        self.expire_some(Some(owner), quota.alive)?;
        if self.owner_bytes(owner)?.saturating_add(more) <= bytes_max {
            return Ok(());
        }
        let bytes_max = quota.bytes_max;
        Err(StoreError::BytesFull { bytes_max }.into())
    }

    pub(super) fn read(&self, row: &Row<'_>) -> Result<Kept, Problem> {
        let id: String = row.get(0)?;
        let owner: String = row.get(1)?;
        let details: Vec<u8> = row.get(7)?;
        let details_bytes = size(&details);
        let owners = std::iter::once((&*owner, about_details(&id, &owner)));
        let unowned = || about_unowned_details(&id);
        let (details, is_fresh) = self.unseal(details, owners, unowned)?;
        let sealed: Sealed = serde_json::from_slice(&details)
            .map_err(|error| StoreError::Damaged(format!("session `{id}`: {error}")))?;
        let count = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
        Ok(Kept {
            session: Session {
                created: count(2)?,
                used: count(3)?,
                turns: count(4)?,
                tokens: count(5)?,
                id,
                owner,
                details: sealed.details,
                marks: Marks {
                    cuts: count(8)?,
                    facts: count(9)?,
                    facts_through: count(10)?,
                    is_partial: row.get(11)?,
                },
            },
            former: sealed.former,
            bytes: row.get(6)?,
            details_bytes,
            is_fresh,
        })
    }
}

/// Returns the limit of a query: one item more than wanted, to detect whether more follow.
pub(super) fn limit_of(part: PartSize) -> i64 {
    i64::try_from(part.items_max.saturating_add(1)).unwrap_or(i64::MAX)
}

/// Converts a number to the signed integers of `SQLite`.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn size(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).unwrap_or(i64::MAX)
}
