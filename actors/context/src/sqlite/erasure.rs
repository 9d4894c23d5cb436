//! What the file holds of a tenant, and its erasure.

use rusqlite::params;

use super::{
    database::{Database, Kept, SESSION, limit_of, number},
    problem::Problem,
    tidy::STEP,
};
use crate::{
    store::erasure::{Cursor, Looked, Next, Whose},
    store::{Collect, Part, SPACE},
};

/// The number of turns of which the sessions of one step have at most, unless one session alone has more.
const TURNS_MAX: u64 = 10_000;

impl Database {
    /// Returns what is held in some sessions.
    pub(super) fn held(&self, whose: &Whose, from: &Next) -> Result<Looked, Problem> {
        let mut looked = Looked::default();
        let Next::Sessions(after) = from else {
            return Ok(looked);
        };
        let part = self.sessions_of(&whose.tenant, after.as_ref())?;
        for kept in part.items.iter().filter(|kept| whose.has(&kept.session)) {
            self.add(&mut looked, kept)?;
        }
        looked.found.has_key = self.has_key(&whose.tenant)?;
        looked.next = part.has_more.then(|| Next::Sessions(cursor_of(&part)));
        Ok(looked)
    }

    /// Erases some sessions, or some of their turns. The last step erases the key of the tenant.
    pub(super) fn erase_of(&self, whose: &Whose, from: &Next) -> Result<Looked, Problem> {
        let mut looked = Looked::default();
        let after = match from {
            Next::Sessions(after) => after.as_ref(),
            Next::Removed if self.erase_removed()? => {
                looked.next = Some(Next::Removed);
                return Ok(looked);
            }
            Next::Removed if whose.user.is_some() => return Ok(looked),
            // Calls may have created sessions meanwhile, which the key seals.
            Next::Removed => None,
        };
        let part = self.sessions_of(&whose.tenant, after)?;
        let mut is_found = false;
        for kept in part.items.iter().filter(|kept| whose.has(&kept.session)) {
            is_found = true;
            self.add(&mut looked, kept)?;
            self.part_with(&kept.session.id)?;
        }
        looked.next = if part.has_more {
            Some(Next::Sessions(cursor_of(&part)))
        } else if is_found || *from != Next::Removed {
            Some(Next::Removed)
        } else {
            None
        };
        if looked.next.is_none() {
            looked.key_erased = self.erase_key(&whose.tenant)?;
        }
        Ok(looked)
    }

    fn add(&self, looked: &mut Looked, kept: &Kept) -> Result<(), Problem> {
        let count = "SELECT count(*) FROM turns WHERE session = ?1";
        let mut count = self.connection.prepare_cached(count)?;
        let turns: i64 = count.query_row([&kept.session.id], |row| row.get(0))?;
        let bytes = kept.bytes.unsigned_abs();
        looked.found.add(&kept.session, turns.unsigned_abs(), bytes);
        Ok(())
    }

    /// Returns some sessions of a tenant and of its spaces.
    fn sessions_of(&self, tenant: &str, after: Option<&Cursor>) -> Result<Part<Kept>, Problem> {
        let find = format!(
            "SELECT {SESSION} FROM sessions
            WHERE (owner = ?1 OR (owner >= ?1 || char(31) AND owner < ?1 || char(32)))
                AND (owner, created, id) > (?2, ?3, ?4)
            ORDER BY owner, created, id LIMIT ?5"
        );
        debug_assert_eq!(u32::from(SPACE), 31, "the character of the query");
        let mut find = self.connection.prepare_cached(&find)?;
        let (owner, created, id) = match after {
            Some((owner, created, id)) => (owner.as_str(), number(*created), id.as_str()),
            None => ("", -1, ""),
        };
        let mut rows = find.query(params![tenant, owner, created, id, limit_of(STEP)])?;
        let (mut found, mut turns) = (Collect::new(STEP), 0_u64);
        while let Some(row) = rows.next()? {
            let kept = self.read(row)?;
            turns = turns.saturating_add(kept.session.turns);
            let is_fine = found.is_empty() || turns <= TURNS_MAX;
            if !found.takes(kept.details_bytes.unsigned_abs()) || !is_fine {
                found.end();
                break;
            }
            found.take(kept);
        }
        Ok(found.finish())
    }

    /// Takes removed data out of the log of the file. Returns `false` while another connection uses the log.
    pub(super) fn empty_log(&self) -> Result<bool, Problem> {
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        let is_busy: bool = self
            .connection
            .query_row(checkpoint, [], |row| row.get(0))?;
        Ok(!is_busy)
    }
}

fn cursor_of(part: &Part<Kept>) -> Option<Cursor> {
    let session = &part.items.last()?.session;
    Some((session.owner.clone(), session.created, session.id.clone()))
}
