//! Maintenance work, in short steps because other steps wait for the file meanwhile.

use rusqlite::{OptionalExtension as _, params};

use super::{
    database::{Database, number, size},
    file::{FORMER, Mark},
    problem::Problem,
    turns::TURN,
};
use crate::store::{Alive, PartSize, StoreError, Tidied};

/// The size of one step: a few milliseconds of work on a common disk.
pub(super) const STEP: PartSize = PartSize {
    items_max: 64,
    bytes_max: 1 << 20,
};

/// A pass over the whole file that seals each piece again that is not sealed with the key of its present owner.
#[derive(Debug)]
pub(super) struct Pass {
    /// Entries of the table `lock` that are removed at its end, unless they have changed.
    marks: Vec<Mark>,
    at: At,
}

/// The last piece that a pass has checked.
#[derive(Clone, Debug)]
enum At {
    Session(String),
    Turn(String, i64),
}

impl Pass {
    /// Starts a pass, if one is needed.
    pub(super) fn over(marks: Vec<Mark>) -> Option<Self> {
        let at = At::Session(String::new());
        (!marks.is_empty()).then_some(Self { marks, at })
    }
}

impl Database {
    /// Does one step of the maintenance work.
    pub(super) fn tidy(&self, alive: Alive) -> Result<Tidied, Problem> {
        let expired = self.expire_some(None, alive)?;
        if self.erase_removed()? || expired > 0 {
            let has_more = true;
            return Ok(Tidied { expired, has_more });
        }
        let has_more = self.refresh_some()?;
        if !has_more && self.may_have_needless_keys.take() {
            self.erase_needless_keys()?;
        }
        Ok(Tidied { expired, has_more })
    }

    /// Removes some sessions that have expired, of one owner or of all; returns how many.
    pub(super) fn expire_some(&self, owner: Option<&str>, alive: Alive) -> Result<u64, Problem> {
        let owned = if owner.is_some() {
            "owner = ?1 AND"
        } else {
            "?1 IS NULL AND"
        };
        let find =
            format!("SELECT id FROM sessions WHERE {owned} (used < ?2 OR created < ?3) LIMIT ?4");
        let mut find = self.connection.prepare_cached(&find)?;
        let since = (number(alive.used_since), number(alive.created_since));
        let limit = i64::try_from(STEP.items_max).unwrap_or(i64::MAX);
        let found = find.query_map(params![owner, since.0, since.1, limit], |row| row.get(0))?;
        let found: Vec<String> = found.collect::<Result<_, _>>()?;
        for id in &found {
            self.part_with(id)?;
        }
        Ok(found.len() as u64)
    }

    /// Removes a session and records that its turns are to be erased.
    pub(super) fn part_with(&self, id: &str) -> Result<(), Problem> {
        let note = "INSERT OR IGNORE INTO removed VALUES (?1)";
        self.connection.prepare_cached(note)?.execute([id])?;
        let remove = "DELETE FROM sessions WHERE id = ?1";
        self.connection.prepare_cached(remove)?.execute([id])?;
        Ok(())
    }

    /// Erases turns of one removed session; returns `true` if there are more to erase.
    pub(super) fn erase_removed(&self) -> Result<bool, Problem> {
        let find = "SELECT session FROM removed LIMIT 1";
        let mut find = self.connection.prepare_cached(find)?;
        let id: Option<String> = find.query_row([], |row| row.get(0)).optional()?;
        let Some(id) = id else {
            return Ok(false);
        };
        self.erase_some(&id)?;
        Ok(true)
    }

    /// Erases all turns of a removed session.
    pub(super) fn erase(&self, id: &str) -> Result<(), Problem> {
        let find = "SELECT 1 FROM removed WHERE session = ?1";
        let mut find = self.connection.prepare_cached(find)?;
        if find.exists([id])? {
            while self.erase_some(id)? {}
        }
        Ok(())
    }

    /// Erases the notes and some turns of a removed session; returns `true` if there are more.
    pub(super) fn erase_some(&self, id: &str) -> Result<bool, Problem> {
        // There are few notes, and they are small.
        let notes = "DELETE FROM notes WHERE session = ?1";
        self.connection.prepare_cached(notes)?.execute([id])?;
        let find = "SELECT number, length(messages) FROM turns WHERE session = ?1
            ORDER BY number LIMIT ?2";
        let mut find = self.connection.prepare_cached(find)?;
        let limit = i64::try_from(STEP.items_max).unwrap_or(i64::MAX);
        let mut rows = find.query(params![id, limit])?;
        let (mut last, mut bytes) = (None, 0_u64);
        while let Some(row) = rows.next()? {
            last = Some(row.get::<_, i64>(0)?);
            bytes = bytes.saturating_add(row.get::<_, i64>(1)?.unsigned_abs());
            if bytes > STEP.bytes_max {
                break;
            }
        }
        drop(rows);
        let erase = "DELETE FROM turns WHERE session = ?1 AND number <= ?2";
        if let Some(last) = last {
            let mut erase = self.connection.prepare_cached(erase)?;
            erase.execute(params![id, last])?;
        }
        let left = "SELECT 1 FROM turns WHERE session = ?1 LIMIT 1";
        if self.connection.prepare_cached(left)?.exists([id])? {
            return Ok(true);
        }
        let done = "DELETE FROM removed WHERE session = ?1";
        self.connection.prepare_cached(done)?.execute([id])?;
        self.may_have_needless_keys.set(true);
        Ok(false)
    }

    /// Moves some sessions of `former` to `owner`; returns `true` if there are more.
    pub(super) fn adopt(&self, former: &str, owner: &str) -> Result<bool, Problem> {
        let some = self.some_sessions("owner = ?1", former, STEP)?;
        for mut kept in some.items {
            if self.is_sealed() {
                // Its turns stay sealed under the former owner's name, which the sealed details list.
                kept.former.push(former.to_owned());
            }
            let details = self.seal_details(&kept.session.id, owner, &kept.sealed())?;
            let bytes = kept.bytes - kept.details_bytes + size(&details);
            let update = "UPDATE sessions SET owner = ?2, details = ?3, bytes = ?4 WHERE id = ?1";
            let mut update = self.connection.prepare_cached(update)?;
            update.execute(params![kept.session.id, owner, details, bytes])?;
            self.pass_over_turns_of_former()?;
        }
        Ok(some.has_more)
    }

    /// Has the next pass seal turns again whose owner has changed.
    fn pass_over_turns_of_former(&self) -> Result<(), Problem> {
        if !self.is_sealed() {
            return Ok(());
        }
        // Another process may be at the end of its pass, which must not remove this mark.
        let mut chance = [0; 16];
        getrandom::fill(&mut chance).map_err(|error| StoreError::Failed(error.to_string()))?;
        let insert = "INSERT OR REPLACE INTO lock VALUES (?1, ?2)";
        let mut insert = self.connection.prepare_cached(insert)?;
        insert.execute(params![FORMER, chance])?;
        let pass = self.pass.take();
        let mut marks = pass.map_or_else(Vec::new, |pass| pass.marks);
        marks.retain(|(name, _)| name != FORMER);
        marks.push((FORMER.to_owned(), chance.to_vec()));
        self.pass.replace(Pass::over(marks));
        Ok(())
    }

    /// Seals some pieces again; returns `true` if there are more to check.
    fn refresh_some(&self) -> Result<bool, Problem> {
        let Some(at) = self.pass.borrow().as_ref().map(|pass| pass.at.clone()) else {
            return Ok(false);
        };
        let next = match at {
            At::Session(id) => self.refresh_sessions(&id)?,
            At::Turn(id, turn) => match self.refresh_turns(&id, turn)? {
                Some((id, turn)) => At::Turn(id, turn),
                None => return self.end_pass(),
            },
        };
        if let Some(pass) = self.pass.borrow_mut().as_mut() {
            pass.at = next;
        }
        Ok(true)
    }

    fn refresh_sessions(&self, after: &str) -> Result<At, Problem> {
        let some = self.some_sessions("id > ?1", after, STEP)?;
        let last = some.items.last().map(|kept| kept.session.id.clone());
        for kept in some.items.iter().filter(|kept| !kept.is_fresh) {
            let (id, owner) = (&kept.session.id, &kept.session.owner);
            let details = self.seal_details(id, owner, &kept.sealed())?;
            let more = size(&details) - kept.details_bytes;
            let update = "UPDATE sessions SET details = ?2, bytes = bytes + ?3 WHERE id = ?1";
            let mut update = self.connection.prepare_cached(update)?;
            update.execute(params![id, details, more])?;
        }
        for kept in &some.items {
            self.refresh_notes(kept)?;
        }
        Ok(match last {
            Some(id) => At::Session(id),
            None => At::Turn(String::new(), 0),
        })
    }

    /// Seals some turns again; returns the last that was checked.
    fn refresh_turns(&self, id: &str, turn: i64) -> Result<Option<(String, i64)>, Problem> {
        let find = "SELECT session, number, length(messages) FROM turns
            WHERE (session, number) > (?1, ?2) ORDER BY session, number LIMIT ?3";
        let limit = i64::try_from(STEP.items_max).unwrap_or(i64::MAX);
        let mut find = self.connection.prepare_cached(find)?;
        let mut rows = find.query(params![id, turn, limit])?;
        let (mut some, mut bytes) = (Vec::<(String, i64)>::new(), 0_u64);
        while let Some(row) = rows.next()? {
            some.push((row.get(0)?, row.get(1)?));
            bytes = bytes.saturating_add(row.get::<_, i64>(2)?.unsigned_abs());
            if bytes > STEP.bytes_max {
                break;
            }
        }
        drop(rows);
        let read = format!("SELECT {TURN} FROM turns WHERE session = ?1 AND number = ?2");
        let mut kept = None;
        for (id, turn) in &some {
            if kept.as_ref().is_none_or(|(of, _)| of != id) {
                kept = Some((id.clone(), self.kept(id)?));
            }
            // A removed session is erased instead of sealed again.
            let Some((_, Some(kept))) = &kept else {
                continue;
            };
            let mut read = self.connection.prepare_cached(&read)?;
            let mut rows = read.query(params![id, turn])?;
            let Some(row) = rows.next()? else { continue };
            let (turn, is_fresh) = self.turn(kept, row)?;
            drop(rows);
            if !is_fresh {
                self.refresh_turn(kept, turn)?;
            }
        }
        Ok(some.pop())
    }

    /// Records in the file that no pieces are left to seal again.
    fn end_pass(&self) -> Result<bool, Problem> {
        let pass = self.pass.take();
        for (name, value) in pass.iter().flat_map(|pass| &pass.marks) {
            let remove = "DELETE FROM lock WHERE name = ?1 AND value = ?2";
            let mut remove = self.connection.prepare_cached(remove)?;
            remove.execute(params![name, value])?;
        }
        self.refuse_earlier();
        self.erase_needless_keys()?;
        tracing::info!(
            "all sessions are encrypted with the keys of their owners; old keys are not needed any more"
        );
        Ok(false)
    }
}
