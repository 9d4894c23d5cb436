//! The steps by which a session in memory is rewound, copied and imported.

use crate::store::{Copying, Note, NoteKind, Owned, Progress, Quota, StoreError, Turn};

use super::Sessions;

impl Sessions {
    pub(super) fn put_turns(
        &mut self,
        named: &Owned,
        turns: Vec<Turn>,
        quota: Quota,
    ) -> Result<(), StoreError> {
        let mut last = self.own(named)?.session.turns;
        for turn in &turns {
            if turn.number <= last || turn.number > quota.turns_max {
                return Err(StoreError::TurnsFull);
            }
            last = turn.number;
        }
        let sizes = turns.iter().map(|turn| turn.content.messages.len() as u64);
        let bytes = sizes.sum();
        self.admit(&named.owner, 0, bytes, quota)?;
        let kept = self.own(named)?;
        let session = &mut kept.session;
        session.turns = last;
        for turn in turns {
            session.tokens = session.tokens.saturating_add(turn.content.tokens);
            kept.turns.push(turn);
        }
        self.resize(&named.id, 0, bytes);
        Ok(())
    }

    pub(super) fn rewind(
        &mut self,
        named: &Owned,
        to: u64,
        now: u64,
    ) -> Result<Progress, StoreError> {
        let kept = self.own(named)?;
        let session = &mut kept.session;
        session.used = now;
        session.marks.cuts += 1;
        if to < session.turns {
            session.turns = to;
            session.marks.facts_through = session.marks.facts_through.min(to);
            let place = kept.turns.partition_point(|turn| turn.number <= to);
            let mut bytes = 0_u64;
            for turn in kept.turns.split_off(place) {
                session.tokens = session.tokens.saturating_sub(turn.content.tokens);
                bytes = bytes.saturating_add(turn.content.messages.len() as u64);
            }
            self.resize(&named.id, bytes, 0);
            self.forget(&named.id, |basis| basis.last > to);
        }
        Ok(Progress {
            turn: self.own(named)?.session.turns,
            has_more: false,
        })
    }

    pub(super) fn copy(
        &mut self,
        named: &Owned,
        copying: &Copying,
        quota: Quota,
    ) -> Result<Progress, StoreError> {
        let from = self.own(named)?;
        if from.session.marks.cuts != copying.cuts {
            return Err(StoreError::Changed);
        }
        let turns = from.turns.iter();
        let turns = turns
            .filter(|turn| turn.number > copying.after && turn.number <= copying.through)
            .cloned();
        let turns: Vec<Turn> = turns.collect();
        let is_lost =
            |note: &Note| note.kind == NoteKind::Fact && note.basis.last > copying.through;
        let loses_facts = from.notes.values().any(is_lost);
        let notes = from.notes.iter();
        let notes = notes.filter(|(_, note)| note.basis.last <= copying.through);
        let notes: std::collections::BTreeMap<_, _> =
            notes.map(|(place, note)| (*place, note.clone())).collect();
        let last = turns.last().map_or(copying.after, |turn| turn.number);
        let facts = notes.keys().filter(|(kind, _)| *kind == NoteKind::Fact);
        let facts = facts.map(|(_, number)| *number).max().unwrap_or(0);
        let facts_through = if loses_facts {
            0
        } else {
            from.session.marks.facts_through.min(copying.through)
        };
        let newest = from.session.turns.min(copying.through);
        let to = Owned {
            id: copying.to.clone(),
            ..named.clone()
        };
        self.put_turns(&to, turns, quota)?;
        let bytes = notes.values().map(|note| note.content.len() as u64).sum();
        self.admit(&named.owner, 0, bytes, quota)?;
        let kept = self.own(&to)?;
        kept.notes = notes;
        kept.session.turns = newest;
        kept.session.marks.facts = facts;
        kept.session.marks.facts_through = facts_through;
        self.resize(&to.id, 0, bytes);
        Ok(Progress {
            turn: last,
            has_more: false,
        })
    }
}
