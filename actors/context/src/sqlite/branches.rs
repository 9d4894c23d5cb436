//! The steps by which a session of a file is rewound, copied and imported.

use rusqlite::{OptionalExtension as _, params};

use super::{
    database::{Database, number, size},
    problem::Problem,
    tidy::STEP,
    turns::TURN,
};
use crate::store::{Copying, NoteKind, Owned, Progress, Quota, Session, StoreError, Turn};

impl Database {
    pub(super) fn put_turns(
        &self,
        named: &Owned,
        turns: &[Turn],
        quota: Quota,
    ) -> Result<(), Problem> {
        let kept = self.own(named)?;
        let mut last = kept.session.turns;
        for turn in turns {
            if turn.number <= last || turn.number > quota.turns_max {
                return Err(StoreError::TurnsFull.into());
            }
            last = turn.number;
            self.insert_turn(&named.id, &named.owner, turn, quota)?;
        }
        Ok(())
    }

    /// Adds a turn under its own number, which becomes the number of the newest turn.
    fn insert_turn(&self, id: &str, owner: &str, turn: &Turn, quota: Quota) -> Result<(), Problem> {
        let bytes = self.write_turn(id, owner, turn, quota)?;
        let note = "UPDATE sessions SET turns = ?2, tokens = tokens + ?3, bytes = bytes + ?4
            WHERE id = ?1";
        let mut note = self.connection.prepare_cached(note)?;
        let (place, tokens) = (number(turn.number), number(turn.content.tokens));
        if note.execute(params![id, place, tokens, bytes])? == 0 {
            // The session has expired and was removed to make room.
            return Err(StoreError::NoSuchSession.into());
        }
        Ok(())
    }

    pub(super) fn finish(&self, named: &Owned, now: u64) -> Result<Session, Problem> {
        self.own(named)?;
        let finish = "UPDATE sessions SET partial = 0, used = ?2 WHERE id = ?1";
        let mut finish = self.connection.prepare_cached(finish)?;
        finish.execute(params![named.id, number(now)])?;
        Ok(self.own(named)?.session)
    }

    pub(super) fn rewind(&self, named: &Owned, to: u64, now: u64) -> Result<Progress, Problem> {
        let kept = self.own(named)?;
        if to >= kept.session.turns {
            let note = "UPDATE sessions SET used = ?2, cuts = cuts + 1 WHERE id = ?1";
            let mut note = self.connection.prepare_cached(note)?;
            note.execute(params![named.id, number(now)])?;
            return Ok(Progress {
                turn: kept.session.turns,
                has_more: false,
            });
        }
        let to = number(to);
        self.forget_after(&named.id, to)?;
        let find = "SELECT number, tokens, length(messages) FROM turns
            WHERE session = ?1 AND number > ?2 ORDER BY number DESC LIMIT ?3";
        let limit = i64::try_from(STEP.items_max).unwrap_or(i64::MAX);
        let mut find = self.connection.prepare_cached(find)?;
        let mut rows = find.query(params![named.id, to, limit])?;
        let (mut lowest, mut tokens, mut bytes) = (None, 0_i64, 0_i64);
        while let Some(row) = rows.next()? {
            lowest = Some(row.get::<_, i64>(0)?);
            tokens = tokens.saturating_add(row.get(1)?);
            bytes = bytes.saturating_add(row.get(2)?);
            if bytes.unsigned_abs() > STEP.bytes_max {
                break;
            }
        }
        drop(rows);
        if let Some(lowest) = lowest {
            let erase = "DELETE FROM turns WHERE session = ?1 AND number >= ?2";
            let mut erase = self.connection.prepare_cached(erase)?;
            erase.execute(params![named.id, lowest])?;
        }
        let left = "SELECT max(number) FROM turns WHERE session = ?1 AND number > ?2";
        let left: Option<i64> = self
            .connection
            .prepare_cached(left)?
            .query_row(params![named.id, to], |row| row.get(0))
            .optional()?
            .flatten();
        let newest = left.unwrap_or(to);
        let note =
            "UPDATE sessions SET turns = ?2, tokens = max(tokens - ?3, 0), bytes = bytes - ?4,
            used = ?5, cuts = cuts + 1, facts_through = min(facts_through, ?6) WHERE id = ?1";
        let mut note = self.connection.prepare_cached(note)?;
        note.execute(params![named.id, newest, tokens, bytes, number(now), to])?;
        Ok(Progress {
            turn: newest.unsigned_abs(),
            has_more: left.is_some(),
        })
    }

    pub(super) fn copy(
        &self,
        named: &Owned,
        copying: &Copying,
        quota: Quota,
    ) -> Result<Progress, Problem> {
        let from = self.own(named)?;
        if from.session.marks.cuts != copying.cuts {
            return Err(StoreError::Changed.into());
        }
        let (after, through) = (number(copying.after), number(copying.through));
        let find = format!(
            "SELECT {TURN} FROM turns WHERE session = ?1 AND number > ?2 AND number <= ?3
            ORDER BY number LIMIT ?4"
        );
        let limit = i64::try_from(STEP.items_max).unwrap_or(i64::MAX);
        let mut find = self.connection.prepare_cached(&find)?;
        let mut rows = find.query(params![named.id, after, through, limit])?;
        let (mut turns, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let turn = self.turn(&from, row)?.0;
            bytes += size(&turn.content.messages);
            turns.push(turn);
            if bytes.unsigned_abs() > STEP.bytes_max {
                break;
            }
        }
        drop(rows);
        for turn in &turns {
            self.insert_turn(&copying.to, &named.owner, turn, quota)?;
        }
        let last = turns.last().map_or(copying.after, |turn| turn.number);
        let more = "SELECT 1 FROM turns WHERE session = ?1 AND number > ?2 AND number <= ?3";
        let mut more = self.connection.prepare_cached(more)?;
        let has_more = more.exists(params![named.id, number(last), through])?;
        if !has_more {
            self.copy_notes(named, copying, quota)?;
        }
        Ok(Progress {
            turn: last,
            has_more,
        })
    }

    /// Copies what rests on no turn after the last one that is copied.
    fn copy_notes(&self, named: &Owned, copying: &Copying, quota: Quota) -> Result<(), Problem> {
        let from = self.own(named)?;
        let to = self.own(&Owned {
            id: copying.to.clone(),
            ..named.clone()
        })?;
        let (mut facts, mut loses_facts) = (0, false);
        for note in self.notes_of(&from, None)? {
            if note.basis.last > copying.through {
                loses_facts |= note.kind == NoteKind::Fact;
                continue;
            }
            if note.kind == NoteKind::Fact {
                facts = note.number.max(facts);
            }
            self.write_note(&to, &note, quota)?;
        }
        let facts_through = if loses_facts {
            0
        } else {
            from.session.marks.facts_through.min(copying.through)
        };
        // Turns that were removed one by one have left no row, and their numbers are not used again.
        let turns = from.session.turns.min(copying.through);
        let note = "UPDATE sessions SET facts = ?2, facts_through = ?3, turns = ?4 WHERE id = ?1";
        let mut note = self.connection.prepare_cached(note)?;
        note.execute(params![
            copying.to,
            number(facts),
            number(facts_through),
            number(turns)
        ])?;
        Ok(())
    }

    pub(super) fn leaving(&self, named: &Owned, tokens_max: u64) -> Result<u64, Problem> {
        self.own(named)?;
        let find = "SELECT number, tokens FROM turns WHERE session = ?1 ORDER BY number DESC";
        let mut find = self.connection.prepare_cached(find)?;
        let mut rows = find.query([&named.id])?;
        let mut left = number(tokens_max);
        while let Some(row) = rows.next()? {
            let (turn, tokens): (i64, i64) = (row.get(0)?, row.get(1)?);
            if tokens > left {
                return Ok(turn.unsigned_abs());
            }
            left -= tokens;
        }
        Ok(0)
    }
}
