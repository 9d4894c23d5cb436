//! The steps on the notes of a session in a file.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{
    database::{Database, Kept, number, size},
    problem::Problem,
};
use crate::store::{
    Basis, Note, NoteAuthor, NoteChange, NoteKind, NoteStep, Owned, Quota, SUMMARIES_MAX,
    StoreError,
};

/// The columns that [`Database::read_note`] reads.
pub(super) const NOTE: &str = "kind, number, owners, first, last, content";

/// The condition of the notes that go with the turns after `?2`, of the session `?1`.
const AFTER: &str = "session = ?1 AND last > ?2";
/// The condition of the notes that go with the turn `?2`, of the session `?1`.
const OVER: &str = "session = ?1 AND last >= ?2 AND first <= ?2";

impl Database {
    pub(super) fn notes(&self, named: &Owned, kind: NoteKind) -> Result<Vec<Note>, Problem> {
        let kept = self.own(named)?;
        self.notes_of(&kept, Some(kind))
    }

    /// Returns the notes of a session of one kind or of all.
    pub(super) fn notes_of(
        &self,
        kept: &Kept,
        kind: Option<NoteKind>,
    ) -> Result<Vec<Note>, Problem> {
        let find = format!(
            "SELECT {NOTE} FROM notes WHERE session = ?1 AND (?2 IS NULL OR kind = ?2) ORDER BY kind, number"
        );
        let mut find = self.connection.prepare_cached(&find)?;
        let mut rows = find.query(params![kept.session.id, kind.map(NoteKind::code)])?;
        let mut notes = Vec::new();
        while let Some(row) = rows.next()? {
            notes.push(self.read_note(kept, row)?.0);
        }
        Ok(notes)
    }

    pub(super) fn note(
        &self,
        named: &Owned,
        step: &NoteStep,
        quota: Quota,
    ) -> Result<Vec<Option<u64>>, Problem> {
        let kept = self.own(named)?;
        if let NoteAuthor::Model { cuts } = step.author
            && cuts != kept.session.marks.cuts
        {
            return Err(StoreError::Changed.into());
        }
        let mut made = kept.session.marks.facts;
        let mut changed = Vec::with_capacity(step.changes.len());
        for change in &step.changes {
            changed.push(self.change_note(&kept, step, change, &mut made, quota)?);
        }
        self.prune_summaries(&named.id)?;
        let through = step
            .facts_through
            .unwrap_or(kept.session.marks.facts_through);
        let update = "UPDATE sessions SET facts = ?2, facts_through = ?3 WHERE id = ?1";
        let mut update = self.connection.prepare_cached(update)?;
        update.execute(params![named.id, number(made), number(through)])?;
        Ok(changed)
    }

    /// Does one change; `made` is the number of the newest fact.
    fn change_note(
        &self,
        kept: &Kept,
        step: &NoteStep,
        change: &NoteChange,
        made: &mut u64,
        quota: Quota,
    ) -> Result<Option<u64>, Problem> {
        let is_model = step.author != NoteAuthor::Owner;
        match change {
            NoteChange::AddFact {
                is_owners,
                basis,
                content,
            } => {
                if self.is_full_of_facts(kept, step.facts_max)? {
                    return full_of_facts(is_model, step.facts_max);
                }
                *made += 1;
                let note = Note {
                    kind: NoteKind::Fact,
                    number: *made,
                    is_owners: *is_owners,
                    basis: *basis,
                    content: content.clone(),
                };
                self.write_note(kept, &note, quota)?;
                Ok(Some(note.number))
            }
            NoteChange::Set(note) => {
                let found = self.is_owners(kept, note.kind, note.number)?;
                let is_missing = note.kind == NoteKind::Fact && found.is_none();
                if is_missing || (is_model && found == Some(true)) {
                    return Ok(None);
                }
                self.write_note(kept, note, quota)?;
                Ok(Some(note.number))
            }
            NoteChange::Import(note) => {
                let is_fact = note.kind == NoteKind::Fact;
                if is_fact && self.is_full_of_facts(kept, step.facts_max)? {
                    return full_of_facts(is_model, step.facts_max);
                }
                if is_fact {
                    *made = note.number.max(*made);
                }
                self.write_note(kept, note, quota)?;
                Ok(Some(note.number))
            }
            NoteChange::Remove { kind, number: of } => {
                let found = self.is_owners(kept, *kind, *of)?;
                if found.is_none() || (is_model && found == Some(true)) {
                    return Ok(None);
                }
                let id = &kept.session.id;
                let remove = "DELETE FROM notes WHERE session = ?1 AND kind = ?2 AND number = ?3
                    RETURNING length(content)";
                let bytes: i64 = self
                    .connection
                    .prepare_cached(remove)?
                    .query_row(params![id, kind.code(), number(*of)], |row| row.get(0))?;
                self.grow(id, -bytes)?;
                Ok(Some(*of))
            }
        }
    }

    /// Returns whether the owner wrote a note; `None` if there is no such note.
    fn is_owners(&self, kept: &Kept, kind: NoteKind, of: u64) -> Result<Option<bool>, Problem> {
        let find = "SELECT owners FROM notes WHERE session = ?1 AND kind = ?2 AND number = ?3";
        let mut find = self.connection.prepare_cached(find)?;
        let place = params![kept.session.id, kind.code(), number(of)];
        Ok(find.query_row(place, |row| row.get(0)).optional()?)
    }

    fn is_full_of_facts(&self, kept: &Kept, facts_max: u64) -> Result<bool, Problem> {
        let count = "SELECT count(*) FROM notes WHERE session = ?1 AND kind = ?2";
        let mut count = self.connection.prepare_cached(count)?;
        let place = params![kept.session.id, NoteKind::Fact.code()];
        let facts: i64 = count.query_row(place, |row| row.get(0))?;
        Ok(facts >= number(facts_max))
    }

    /// Writes a note in the place of the one with its number, within the owner's quota.
    pub(super) fn write_note(&self, kept: &Kept, note: &Note, quota: Quota) -> Result<(), Problem> {
        let (id, owner) = (&kept.session.id, &kept.session.owner);
        let content = self.seal(owner, note.content.to_vec(), &about_note(id, owner, note))?;
        let find =
            "SELECT length(content) FROM notes WHERE session = ?1 AND kind = ?2 AND number = ?3";
        let place = params![id, note.kind.code(), number(note.number)];
        let before: Option<i64> = self
            .connection
            .prepare_cached(find)?
            .query_row(place, |row| row.get(0))
            .optional()?;
        let more = size(&content) - before.unwrap_or_default();
        self.admit(owner, more, quota)?;
        let write =
            "INSERT OR REPLACE INTO notes (session, kind, number, owners, first, last, content)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let mut write = self.connection.prepare_cached(write)?;
        let (first, last) = (number(note.basis.first), number(note.basis.last));
        write.execute(params![
            id,
            note.kind.code(),
            number(note.number),
            note.is_owners,
            first,
            last,
            content
        ])?;
        self.grow(id, more)
    }

    /// Notes that a session has become larger, or smaller.
    pub(super) fn grow(&self, id: &str, more: i64) -> Result<(), Problem> {
        let update = "UPDATE sessions SET bytes = bytes + ?2 WHERE id = ?1";
        let mut update = self.connection.prepare_cached(update)?;
        if update.execute(params![id, more])? == 0 {
            // The session has expired and was removed to make room.
            return Err(StoreError::NoSuchSession.into());
        }
        Ok(())
    }

    fn prune_summaries(&self, id: &str) -> Result<(), Problem> {
        let prune = "DELETE FROM notes WHERE session = ?1 AND kind = ?2 AND number NOT IN
            (SELECT number FROM notes WHERE session = ?1 AND kind = ?2 ORDER BY number DESC LIMIT ?3)
            RETURNING length(content)";
        let kept = i64::try_from(SUMMARIES_MAX).unwrap_or(i64::MAX);
        let mut prune = self.connection.prepare_cached(prune)?;
        let pruned = prune.query_map(params![id, NoteKind::Summary.code(), kept], |row| {
            row.get::<_, i64>(0)
        });
        let bytes: i64 = pruned?.sum::<Result<i64, rusqlite::Error>>()?;
        self.grow(id, -bytes)
    }

    /// Removes the notes that rest on turns after `turn`.
    pub(super) fn forget_after(&self, id: &str, turn: i64) -> Result<(), Problem> {
        self.forget(id, AFTER, turn)
    }

    /// Removes the notes that rest on `turn`.
    pub(super) fn forget_over(&self, id: &str, turn: i64) -> Result<(), Problem> {
        self.forget(id, OVER, turn)
    }

    /// Removes notes. If a fact is among them, which may have replaced another one, the facts of all turns are looked for again.
    fn forget(&self, id: &str, condition: &str, turn: i64) -> Result<(), Problem> {
        let remove = format!("DELETE FROM notes WHERE {condition} RETURNING kind, length(content)");
        let mut remove = self.connection.prepare_cached(&remove)?;
        let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        let removed = remove.query_map(params![id, turn], read)?;
        let removed: Vec<(i64, i64)> = removed.collect::<Result<_, _>>()?;
        let fact = NoteKind::Fact.code();
        if removed.iter().any(|(kind, _)| *kind == fact) {
            let again = "UPDATE sessions SET facts_through = 0 WHERE id = ?1";
            self.connection.prepare_cached(again)?.execute([id])?;
        }
        self.grow(id, -removed.iter().map(|(_, bytes)| bytes).sum::<i64>())
    }

    /// Reads a row of the columns [`NOTE`]. The second value is `true` if it is sealed with the first key for its present
    /// owner.
    pub(super) fn read_note(&self, kept: &Kept, row: &Row<'_>) -> Result<(Note, bool), Problem> {
        let count = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
        let code = row.get(0)?;
        let kind = NoteKind::of_code(code)
            .ok_or_else(|| StoreError::Damaged(format!("a note has the unknown kind {code}")))?;
        let mut note = Note {
            kind,
            number: count(1)?,
            is_owners: row.get(2)?,
            basis: Basis {
                first: count(3)?,
                last: count(4)?,
            },
            content: bytes::Bytes::new(),
        };
        let owners = std::iter::once(&kept.session.owner).chain(&kept.former);
        let owners =
            owners.map(|owner| (owner.as_str(), about_note(&kept.session.id, owner, &note)));
        // Files without owners have no notes.
        let (content, is_fresh) = self.unseal(row.get(5)?, owners, String::new)?;
        note.content = content.into();
        Ok((note, is_fresh))
    }

    /// Seals the notes of a session again that are not sealed with the first key for its present owner.
    pub(super) fn refresh_notes(&self, kept: &Kept) -> Result<(), Problem> {
        let find = format!("SELECT {NOTE} FROM notes WHERE session = ?1");
        let mut find = self.connection.prepare_cached(&find)?;
        let mut rows = find.query([&kept.session.id])?;
        let mut stale = Vec::new();
        while let Some(row) = rows.next()? {
            let (note, is_fresh) = self.read_note(kept, row)?;
            if !is_fresh {
                stale.push(note);
            }
        }
        drop(rows);
        let (id, owner) = (&kept.session.id, &kept.session.owner);
        let update =
            "UPDATE notes SET content = ?4 WHERE session = ?1 AND kind = ?2 AND number = ?3";
        let mut update = self.connection.prepare_cached(update)?;
        for note in stale {
            let content = self.seal(owner, note.content.to_vec(), &about_note(id, owner, &note))?;
            update.execute(params![id, note.kind.code(), number(note.number), content])?;
        }
        Ok(())
    }
}

fn full_of_facts(is_model: bool, facts_max: u64) -> Result<Option<u64>, Problem> {
    if is_model {
        return Ok(None);
    }
    Err(StoreError::FactsFull { facts_max }.into())
}

fn about_note(id: &str, owner: &str, note: &Note) -> String {
    let Note {
        kind,
        number,
        is_owners,
        basis,
        ..
    } = note;
    let (length, code) = (id.len(), kind.code());
    let Basis { first, last } = basis;
    format!(
        "note {code} {number} of session {length} {id} (turns {first} to {last}, owner's: {is_owners}) of {owner}"
    )
}
