//! The steps on the turns of a file.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{
    database::{Database, Kept, limit_of, number, size},
    problem::Problem,
};
use crate::store::{Collect, Fit, Owned, Part, PartSize, Quota, StoreError, Turn, TurnContent};

/// The columns that [`Database::turn`] reads; the size comes first because it can be read without the messages.
pub(super) const TURN: &str = "number, tokens, leads, length(messages), messages";

/// The largest probe, in bytes: a turn of the largest size, what was asked and what was answered.
const PROBE_BYTES_MAX: u64 = 32 << 20;

impl Database {
    pub(super) fn append(
        &self,
        (id, cuts): (&str, Option<u64>),
        content: &TurnContent,
        now: u64,
        quota: Quota,
    ) -> Result<u64, Problem> {
        let find = "SELECT owner, turns, cuts FROM sessions WHERE id = ?1";
        let found: Option<(String, i64, i64)> = self
            .connection
            .prepare_cached(find)?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let (owner, turns, removals) = found.ok_or(StoreError::NoSuchSession)?;
        if cuts.is_some_and(|cuts| number(cuts) != removals) {
            return Err(StoreError::Changed.into());
        }
        if turns >= number(quota.turns_max) {
            return Err(StoreError::TurnsFull.into());
        }
        let turn = Turn {
            number: turns.unsigned_abs().saturating_add(1),
            content: content.clone(),
        };
        let bytes = self.write_turn(id, &owner, &turn, quota)?;
        let note =
            "UPDATE sessions SET turns = ?2, tokens = tokens + ?3, used = ?4, bytes = bytes + ?5
            WHERE id = ?1";
        let mut note = self.connection.prepare_cached(note)?;
        let (place, tokens) = (number(turn.number), number(content.tokens));
        if note.execute(params![id, place, tokens, number(now), bytes])? == 0 {
            // The session has expired and was removed to make room.
            return Err(StoreError::NoSuchSession.into());
        }
        Ok(turn.number)
    }

    /// Writes the row of a turn within the owner's quota, and returns its bytes. The session is to take note of it.
    pub(super) fn write_turn(
        &self,
        id: &str,
        owner: &str,
        turn: &Turn,
        quota: Quota,
    ) -> Result<i64, Problem> {
        let (place, content) = (number(turn.number), &turn.content);
        let tokens = number(content.tokens);
        let about = about_turn(id, owner, place, tokens, content.leads);
        let messages = self.seal(owner, content.messages.to_vec(), &about)?;
        let bytes = size(&messages);
        self.admit(owner, bytes, quota)?;
        let insert = "INSERT INTO turns (session, number, tokens, leads, messages)
            VALUES (?1, ?2, ?3, ?4, ?5)";
        let mut insert = self.connection.prepare_cached(insert)?;
        insert.execute(params![id, place, tokens, content.leads, messages])?;
        Ok(bytes)
    }

    /// Writes and removes a turn of no session. Removed data is overwritten, so the log takes all of it.
    pub(super) fn probe(&self, bytes: u64) -> Result<(), Problem> {
        let insert = "INSERT OR REPLACE INTO turns (session, number, tokens, leads, messages)
            VALUES ('', 0, 0, 0, zeroblob(?1))";
        let bytes = number(bytes.min(PROBE_BYTES_MAX));
        self.connection.prepare_cached(insert)?.execute([bytes])?;
        self.connection
            .execute("DELETE FROM turns WHERE session = ''", [])?;
        Ok(())
    }

    pub(super) fn newest(&self, id: &str, mut fit: Fit) -> Result<Vec<Turn>, Problem> {
        let kept = self.kept(id)?.ok_or(StoreError::NoSuchSession)?;
        let newest = format!("SELECT {TURN} FROM turns WHERE session = ?1 ORDER BY number DESC");
        let mut newest = self.connection.prepare_cached(&newest)?;
        let mut rows = newest.query([id])?;
        while let Some(row) = rows.next()? {
            let weight = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
            if !fit.takes(weight(1)?, weight(3)?) {
                break;
            }
            fit.take(self.turn(&kept, row)?.0);
        }
        Ok(fit.finish())
    }

    pub(super) fn turns(
        &self,
        named: &Owned,
        after: u64,
        part: PartSize,
    ) -> Result<Part<Turn>, Problem> {
        let kept = self.own(named)?;
        let turns = format!(
            "SELECT {TURN} FROM turns WHERE session = ?1 AND number > ?2 ORDER BY number LIMIT ?3"
        );
        let mut turns = self.connection.prepare_cached(&turns)?;
        let mut rows = turns.query(params![named.id, number(after), limit_of(part)])?;
        let mut found = Collect::new(part);
        while let Some(row) = rows.next()? {
            if !found.takes(row.get::<_, i64>(3)?.unsigned_abs()) {
                break;
            }
            found.take(self.turn(&kept, row)?.0);
        }
        Ok(found.finish())
    }

    pub(super) fn remove_turn(&self, named: &Owned, turn: u64) -> Result<bool, Problem> {
        self.own(named)?;
        let remove = "DELETE FROM turns WHERE session = ?1 AND number = ?2
            RETURNING tokens, length(messages)";
        let removed: Option<(i64, i64)> = self
            .connection
            .prepare_cached(remove)?
            .query_row(params![named.id, number(turn)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let Some((tokens, bytes)) = removed else {
            return Ok(false);
        };
        let note =
            "UPDATE sessions SET tokens = max(tokens - ?2, 0), bytes = bytes - ?3, cuts = cuts + 1
            WHERE id = ?1";
        self.connection
            .prepare_cached(note)?
            .execute(params![named.id, tokens, bytes])?;
        self.forget_over(&named.id, number(turn))?;
        Ok(true)
    }

    /// Reads a row of the columns [`TURN`]. The second value is `true` if it is sealed with the key of its present
    /// owner.
    pub(super) fn turn(&self, kept: &Kept, row: &Row<'_>) -> Result<(Turn, bool), Problem> {
        let (turn, tokens): (i64, i64) = (row.get(0)?, row.get(1)?);
        let leads = row.get(2)?;
        let id = &kept.session.id;
        let owners = std::iter::once(&kept.session.owner).chain(&kept.former);
        let about = |owner: &str| about_turn(id, owner, turn, tokens, leads);
        let owners = owners.map(|owner| (owner.as_str(), about(owner)));
        let unowned = || about_unowned_turn(id, turn, tokens, leads);
        let (messages, is_fresh) = self.unseal(row.get(4)?, owners, unowned)?;
        let content = TurnContent {
            tokens: tokens.unsigned_abs(),
            leads,
            messages: messages.into(),
        };
        let number = turn.unsigned_abs();
        Ok((Turn { number, content }, is_fresh))
    }

    /// Seals a turn again.
    pub(super) fn refresh_turn(&self, kept: &Kept, turn: Turn) -> Result<(), Problem> {
        let Turn {
            number: place,
            content,
        } = turn;
        let (place, tokens) = (number(place), number(content.tokens));
        let (id, owner) = (&kept.session.id, &kept.session.owner);
        let about = about_turn(id, owner, place, tokens, content.leads);
        let messages = self.seal(owner, content.messages.into(), &about)?;
        let update = "UPDATE turns SET messages = ?3 WHERE session = ?1 AND number = ?2";
        let mut update = self.connection.prepare_cached(update)?;
        update.execute(params![id, place, messages])?;
        Ok(())
    }
}

fn about_turn(id: &str, owner: &str, turn: i64, tokens: i64, leads: bool) -> String {
    let length = id.len();
    format!("turn {turn} of session {length} {id} ({tokens} tokens, leads: {leads}) of {owner}")
}

fn about_unowned_turn(id: &str, turn: i64, tokens: i64, leads: bool) -> String {
    format!("turn {turn} of session {id} ({tokens} tokens, leads: {leads})")
}
