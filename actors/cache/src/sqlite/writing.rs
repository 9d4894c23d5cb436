//! What is written and removed.

use kebne_cache::Key;
use rusqlite::{OptionalExtension as _, params};

use super::{
    Result, SqliteStore, number,
    owners::hide,
    reading::{about_body, about_learned, about_meaning},
    stored,
};
use crate::{
    model::{Entry, Erased, Scope},
    store::GROUPS_MAX,
};

/// The bytes of answers of which a step removes at most, unless one alone has more.
pub(super) const PART_MAX: u64 = 4 << 20;

impl SqliteStore {
    pub(super) fn write(&mut self, owner: &str, entry: &Entry, now: u64) -> Result<()> {
        let size = entry.size();
        if size > self.bounds.owner_bytes.min(self.bounds.bytes) {
            return Ok(());
        }
        let owner = self.file.owner_or_new(owner)?;
        let key = self.file.key(owner)?;
        let hidden = hide(&key, entry.key);
        let body = key.seal(&entry.body, &about_body(owner, &hidden))?;
        let family = entry
            .meaning
            .as_ref()
            .map(|meaning| hide(&key, meaning.group));
        let meaning = match &entry.meaning {
            Some(meaning) => {
                let plain = meaning.to_bytes(entry.key);
                Some(key.seal(&plain, &about_meaning(owner, &hidden))?)
            }
            None => None,
        };
        self.remove_where("owner = ?1 AND key = ?2", params![owner, hidden])?;
        self.make_room(owner, size)?;
        let insert = "INSERT INTO entries (owner, key, model, created, expires, used, bytes, body, family, meaning)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        let mut insert = self.file.connection.prepare_cached(insert)?;
        insert.execute(params![
            owner,
            hidden,
            entry.model,
            stored(entry.created),
            stored(entry.expires),
            stored(now),
            stored(size),
            body,
            family,
            meaning
        ])?;
        drop(insert);
        self.totals.entries += 1;
        self.totals.bytes += size;
        Ok(())
    }

    /// Removes what was used least recently until an answer of this size has room.
    fn make_room(&mut self, owner: i64, size: u64) -> Result<()> {
        let sum = "SELECT count(*), coalesce(sum(bytes), 0) FROM entries WHERE owner = ?1";
        let mut sum = self.file.connection.prepare_cached(sum)?;
        let read = |row: &rusqlite::Row<'_>| Ok((number(row, 0)?, number(row, 1)?));
        let (mut entries, mut bytes) = sum.query_row([owner], read)?;
        drop(sum);
        let bounds = self.bounds;
        while entries >= bounds.owner_entries || bytes.saturating_add(size) > bounds.owner_bytes {
            let Some(removed) = self.remove_oldest(Some(owner))? else {
                break;
            };
            entries = entries.saturating_sub(1);
            bytes = bytes.saturating_sub(removed);
        }
        while self.totals.entries >= bounds.entries
            || self.totals.bytes.saturating_add(size) > bounds.bytes
        {
            if self.remove_oldest(None)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Removes the answer that was used least recently. Returns its bytes.
    fn remove_oldest(&mut self, owner: Option<i64>) -> Result<Option<u64>> {
        let find = match owner {
            Some(_) => "SELECT number FROM entries WHERE owner = ?1 ORDER BY used, number LIMIT 1",
            None => "SELECT number FROM entries WHERE ?1 IS NULL ORDER BY used, number LIMIT 1",
        };
        let mut find = self.file.connection.prepare_cached(find)?;
        let oldest: Option<i64> = find.query_row([owner], |row| row.get(0)).optional()?;
        drop(find);
        let Some(oldest) = oldest else {
            return Ok(None);
        };
        let removed = self.remove_where("number = ?1", [oldest])?;
        self.totals.evicted += removed.entries;
        Ok(Some(removed.bytes))
    }

    /// Removes answers that fit a condition.
    fn remove_where(&mut self, condition: &str, values: impl rusqlite::Params) -> Result<Erased> {
        let remove = format!("DELETE FROM entries WHERE {condition} RETURNING bytes");
        let mut remove = self.file.connection.prepare_cached(&remove)?;
        let mut erased = Erased::default();
        let mut rows = remove.query(values)?;
        while let Some(row) = rows.next()? {
            erased.entries += 1;
            erased.bytes += number(row, 0)?;
        }
        self.totals.entries = self.totals.entries.saturating_sub(erased.entries);
        self.totals.bytes = self.totals.bytes.saturating_sub(erased.bytes);
        Ok(erased)
    }

    pub(super) fn write_learned(
        &mut self,
        owner: &str,
        (model, group): (&str, Key),
        learned: &[u8],
        now: u64,
    ) -> Result<()> {
        let owner = self.file.owner_or_new(owner)?;
        let key = self.file.key(owner)?;
        let family = hide(&key, group);
        let body = key.seal(learned, &about_learned(owner, &family))?;
        let insert =
            "INSERT INTO learned (owner, family, model, used, body) VALUES (?1, ?2, ?3, ?4, ?5)
            ON CONFLICT (owner, family) DO UPDATE SET used = ?4, body = ?5";
        let values = params![owner, family, model, stored(now), body];
        self.file
            .connection
            .prepare_cached(insert)?
            .execute(values)?;
        let remove = "DELETE FROM learned WHERE owner = ?1 AND family IN
            (SELECT family FROM learned WHERE owner = ?1 ORDER BY used DESC, family LIMIT -1 OFFSET ?2)";
        let groups = stored(u64::try_from(GROUPS_MAX).unwrap_or(u64::MAX));
        self.file
            .connection
            .execute(remove, params![owner, groups])?;
        Ok(())
    }

    /// Removes a part of what is in a scope, and adds it to `erased`. Returns `true` if there may be more.
    pub(super) fn remove(&mut self, scope: &Scope, erased: &mut Erased) -> Result<bool> {
        let owner = match &scope.owner {
            None => None,
            Some(name) => match self.file.owner(name)? {
                Some(owner) => Some(owner),
                None => return Ok(false),
            },
        };
        let condition = "(?1 IS NULL OR owner = ?1) AND (?2 IS NULL OR model = ?2)";
        let values = params![owner, scope.model];
        let learned = format!("DELETE FROM learned WHERE {condition}");
        self.file.connection.execute(&learned, values)?;
        let has_more = self.remove_part(condition, values, erased)?;
        erased.keys += self.forget_owners()?;
        Ok(has_more)
    }

    /// Returns `true` if answers have expired.
    pub(super) fn has_expired(&self, now: u64) -> Result<bool> {
        let find = "SELECT 1 FROM entries WHERE expires <= ?1 LIMIT 1";
        Ok(self
            .file
            .connection
            .prepare_cached(find)?
            .exists([stored(now)])?)
    }

    /// Removes a part of what has expired, and adds it to `erased`. Returns `true` if there may be more.
    pub(super) fn remove_expired(&mut self, now: u64, erased: &mut Erased) -> Result<bool> {
        self.remove_part("expires <= ?1", [stored(now)], erased)
    }

    /// Removes answers that fit a condition, until they have [`PART_MAX`] bytes. Returns `true` if there may be more.
    fn remove_part(
        &mut self,
        condition: &str,
        values: impl rusqlite::Params,
        erased: &mut Erased,
    ) -> Result<bool> {
        let find = format!("SELECT number, bytes FROM entries WHERE {condition} ORDER BY number");
        let (mut part, mut bytes) = (Vec::<i64>::new(), 0);
        {
            let mut find = self.file.connection.prepare_cached(&find)?;
            let mut rows = find.query(values)?;
            while bytes < PART_MAX
                && let Some(row) = rows.next()?
            {
                part.push(row.get(0)?);
                bytes += number(row, 1)?;
            }
        }
        for each in part {
            let removed = self.remove_where("number = ?1", [each])?;
            erased.entries += removed.entries;
            erased.bytes += removed.bytes;
        }
        Ok(bytes >= PART_MAX)
    }
}
