//! The steps on the notes of a session in memory. A step that fails changes nothing.

use crate::store::{
    Basis, Note, NoteAuthor, NoteChange, NoteKind, NoteStep, Owned, Quota, SUMMARIES_MAX,
    StoreError,
};

use super::{Kept, Sessions};

impl Sessions {
    pub(super) fn note(
        &mut self,
        named: &Owned,
        step: NoteStep,
        quota: Quota,
    ) -> Result<Vec<Option<u64>>, StoreError> {
        let kept = self.own(named)?;
        if let NoteAuthor::Model { cuts } = step.author
            && cuts != kept.session.marks.cuts
        {
            return Err(StoreError::Changed);
        }
        let before = (kept.notes.clone(), kept.session.marks.facts);
        let size_before = kept.notes_size();
        let is_model = step.author != NoteAuthor::Owner;
        let changes = step.changes.into_iter();
        let changed: Result<Vec<_>, StoreError> = changes
            .map(|change| kept.change_note(change, is_model, step.facts_max))
            .collect();
        kept.prune_summaries();
        let size = kept.notes_size();
        let more = size.saturating_sub(size_before);
        let done = changed.and_then(|changed| {
            if more > 0 {
                self.admit(&named.owner, 0, more, quota)?;
            }
            Ok(changed)
        });
        let kept = self.own(named)?;
        if done.is_err() {
            (kept.notes, kept.session.marks.facts) = before;
            return done;
        }
        if let Some(through) = step.facts_through {
            kept.session.marks.facts_through = through;
        }
        self.resize(&named.id, size_before, size);
        done
    }

    /// Removes the notes whose basis fulfils a condition. If a fact is among them, which may have replaced another one, the facts of all turns
    /// are looked for again.
    pub(super) fn forget(&mut self, id: &str, is_over: impl Fn(Basis) -> bool) {
        let Ok(kept) = self.find(id) else { return };
        let before = kept.notes_size();
        let mut notes = kept.notes.values();
        if notes.any(|note| note.kind == NoteKind::Fact && is_over(note.basis)) {
            kept.session.marks.facts_through = 0;
        }
        kept.notes.retain(|_, note| !is_over(note.basis));
        let after = kept.notes_size();
        self.resize(id, before, after);
    }
}

impl Kept {
    pub(super) fn notes_size(&self) -> u64 {
        let sizes = self.notes.values().map(|note| note.content.len() as u64);
        sizes.sum()
    }

    fn change_note(
        &mut self,
        change: NoteChange,
        is_model: bool,
        facts_max: u64,
    ) -> Result<Option<u64>, StoreError> {
        match change {
            NoteChange::AddFact {
                is_owners,
                basis,
                content,
            } => {
                if self.is_full_of_facts(facts_max) {
                    return full_of_facts(is_model, facts_max);
                }
                self.session.marks.facts += 1;
                let number = self.session.marks.facts;
                let kind = NoteKind::Fact;
                self.put(Note {
                    kind,
                    number,
                    is_owners,
                    basis,
                    content,
                });
                Ok(Some(number))
            }
            NoteChange::Set(note) => {
                let found = self.notes.get(&(note.kind, note.number));
                let is_missing = note.kind == NoteKind::Fact && found.is_none();
                if is_missing || (is_model && found.is_some_and(|found| found.is_owners)) {
                    return Ok(None);
                }
                Ok(Some(self.put(note)))
            }
            NoteChange::Import(note) => {
                if note.kind == NoteKind::Fact {
                    if self.is_full_of_facts(facts_max) {
                        return full_of_facts(is_model, facts_max);
                    }
                    let facts = &mut self.session.marks.facts;
                    *facts = note.number.max(*facts);
                }
                Ok(Some(self.put(note)))
            }
            NoteChange::Remove { kind, number } => {
                let found = self.notes.get(&(kind, number));
                if found.is_none_or(|found| is_model && found.is_owners) {
                    return Ok(None);
                }
                self.notes.remove(&(kind, number));
                Ok(Some(number))
            }
        }
    }

    fn put(&mut self, note: Note) -> u64 {
        let number = note.number;
        self.notes.insert((note.kind, number), note);
        number
    }

    fn is_full_of_facts(&self, facts_max: u64) -> bool {
        let facts = self.notes.keys();
        let facts = facts.filter(|(kind, _)| *kind == NoteKind::Fact);
        facts.count() as u64 >= facts_max
    }

    fn prune_summaries(&mut self) {
        let summaries = self.notes.keys().rev();
        let summaries = summaries.filter(|(kind, _)| *kind == NoteKind::Summary);
        let old: Vec<_> = summaries.skip(SUMMARIES_MAX).copied().collect();
        for old in old {
            self.notes.remove(&old);
        }
    }
}

fn full_of_facts(is_model: bool, facts_max: u64) -> Result<Option<u64>, StoreError> {
    if is_model {
        return Ok(None);
    }
    Err(StoreError::FactsFull { facts_max })
}
