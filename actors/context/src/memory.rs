//! A store in memory, whose sessions are lost when the process ends.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::ready,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    store::erasure::{Looked, Next, Whose},
    store::{
        Alive, Change, Collect, Copying, Details, Fit, Found, Note, NoteKind, NoteStep, Owned,
        Part, PartSize, Progress, Quota, Session, SessionStore, StoreError, Stored, Tidied, Turn,
        TurnContent, tenant_of,
    },
};

mod branches;
mod notes;

/// Keeps sessions in memory. A step costs the same however many sessions there are, unless a quota is nearly used up: then the
/// sessions of that owner are counted.
#[derive(Debug, Default)]
pub struct MemoryStore {
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    kept: BTreeMap<String, Kept>,
    owners: BTreeMap<String, Owner>,
}

#[derive(Debug)]
struct Kept {
    session: Session,
    turns: Vec<Turn>,
    notes: BTreeMap<(NoteKind, u64), Note>,
    bytes: u64,
}

/// What an owner has, with the sessions that have expired and are not removed yet.
#[derive(Debug, Default)]
struct Owner {
    /// The sessions by the time of their creation.
    ids: BTreeSet<(u64, String)>,
    bytes: u64,
}

fn details_size(details: &Details) -> u64 {
    let metadata = details.metadata.iter();
    let metadata = metadata.map(|(name, value)| name.len() + value.len());
    let texts = [&details.system_prompt, &details.prompt, &details.routing];
    let texts = texts.map(|text| text.as_ref().map_or(0, String::len));
    (metadata.sum::<usize>() + texts.iter().sum::<usize>()) as u64
}

impl Sessions {
    fn insert(&mut self, session: Session) {
        self.remove(&session.id);
        let owner = self.owners.entry(session.owner.clone()).or_default();
        let bytes = details_size(&session.details);
        owner.ids.insert((session.created, session.id.clone()));
        owner.bytes = owner.bytes.saturating_add(bytes);
        let id = session.id.clone();
        let kept = Kept {
            session,
            turns: Vec::new(),
            notes: BTreeMap::new(),
            bytes,
        };
        self.kept.insert(id, kept);
    }

    fn remove(&mut self, id: &str) {
        let Some(kept) = self.kept.remove(id) else {
            return;
        };
        let session = kept.session;
        if let Some(owner) = self.owners.get_mut(&session.owner) {
            owner.bytes = owner.bytes.saturating_sub(kept.bytes);
            owner.ids.remove(&(session.created, session.id));
            if owner.ids.is_empty() {
                self.owners.remove(&session.owner);
            }
        }
    }

    fn find(&mut self, id: &str) -> Result<&mut Kept, StoreError> {
        self.kept.get_mut(id).ok_or(StoreError::NoSuchSession)
    }

    fn own(&mut self, named: &Owned) -> Result<&mut Kept, StoreError> {
        let found = self.kept.get_mut(&named.id);
        found
            .filter(|kept| named.is(&kept.session))
            .ok_or(StoreError::NoSuchSession)
    }

    /// Takes note that a session has become larger or smaller.
    fn resize(&mut self, id: &str, before: u64, after: u64) {
        let Some(kept) = self.kept.get_mut(id) else {
            return;
        };
        kept.bytes = kept.bytes.saturating_sub(before).saturating_add(after);
        if let Some(owner) = self.owners.get_mut(&kept.session.owner) {
            owner.bytes = owner.bytes.saturating_sub(before).saturating_add(after);
        }
    }

    /// Returns the sessions of an owner, the newest first.
    fn of(&self, owner: &str) -> impl Iterator<Item = &Kept> {
        let ids = self.owners.get(owner).map(|owner| owner.ids.iter().rev());
        let ids = ids.into_iter().flatten();
        ids.filter_map(|(_, id)| self.kept.get(id))
    }

    /// Looks through all that a tenant has, and removes it on request.
    fn look(&mut self, whose: &Whose, erases: bool) -> Looked {
        let mut looked = Looked::default();
        let of_tenant = self.kept.values().filter(|kept| {
            tenant_of(&kept.session.owner) == whose.tenant && whose.has(&kept.session)
        });
        let mut ids = Vec::new();
        for kept in of_tenant {
            let turns = kept.turns.len() as u64;
            looked.found.add(&kept.session, turns, kept.bytes);
            ids.push(kept.session.id.clone());
        }
        for id in ids.iter().filter(|_| erases) {
            self.remove(id);
        }
        looked
    }

    /// Returns an error if an owner may not have so many more sessions and bytes. Sessions that have expired do not count.
    fn admit(&self, owner: &str, count: u64, bytes: u64, quota: Quota) -> Result<(), StoreError> {
        let exceeded = |(have, held): (u64, u64)| {
            if have.saturating_add(count) > quota.sessions_max && count > 0 {
                Some(StoreError::Full)
            } else if held.saturating_add(bytes) > quota.bytes_max {
                let bytes_max = quota.bytes_max;
                Some(StoreError::BytesFull { bytes_max })
            } else {
                None
            }
        };
        let all = self.owners.get(owner);
        let all = all.map_or((0, 0), |owner| (owner.ids.len() as u64, owner.bytes));
        if exceeded(all).is_none() {
            return Ok(());
        }
        let alive = self.of(owner);
        let alive = alive.filter(|kept| quota.alive.holds(&kept.session));
        let alive = alive.fold((0, 0), |(count, bytes), kept| {
            (count + 1, kept.bytes.saturating_add(bytes))
        });
        exceeded(alive).map_or(Ok(()), Err)
    }
}

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut Sessions) -> Result<T, StoreError>,
    ) -> Stored<T> {
        let result = step(&mut self.lock());
        Box::pin(ready(result))
    }
}

impl SessionStore for MemoryStore {
    fn insert(&self, session: Session, quota: Quota) -> Stored<()> {
        self.step(|sessions| {
            sessions.admit(&session.owner, 1, details_size(&session.details), quota)?;
            sessions.insert(session);
            Ok(())
        })
    }

    fn find(&self, id: &str) -> Stored<Option<Found>> {
        self.step(|sessions| {
            let found = sessions.kept.get(id).map(|kept| kept.session.clone());
            Ok(found.map(|session| Found {
                owner_bytes: sessions
                    .owners
                    .get(&session.owner)
                    .map_or(0, |owner| owner.bytes),
                session,
            }))
        })
    }

    fn find_own(&self, named: Owned) -> Stored<Found> {
        self.step(|sessions| {
            let session = sessions.own(&named)?.session.clone();
            let owner = sessions.owners.get(&session.owner);
            Ok(Found {
                owner_bytes: owner.map_or(0, |owner| owner.bytes),
                session,
            })
        })
    }

    fn change(&self, named: Owned, change: Change, now: u64, quota: Quota) -> Stored<Session> {
        self.step(|sessions| {
            let session = &sessions.own(&named)?.session;
            let (mut details, cuts) = (session.details.clone(), session.marks.cuts);
            let before = details_size(&details);
            change.apply(&mut details, cuts);
            let after = details_size(&details);
            if after > before {
                sessions.admit(&named.owner, 0, after - before, quota)?;
            }
            sessions.resize(&named.id, before, after);
            let session = &mut sessions.own(&named)?.session;
            session.details = details;
            session.used = now;
            Ok(session.clone())
        })
    }

    fn append_if(
        &self,
        id: &str,
        cuts: Option<u64>,
        content: TurnContent,
        now: u64,
        quota: Quota,
    ) -> Stored<u64> {
        self.step(|sessions| {
            let bytes = content.messages.len() as u64;
            let session = &sessions.find(id)?.session;
            if cuts.is_some_and(|cuts| cuts != session.marks.cuts) {
                return Err(StoreError::Changed);
            }
            let owner = session.owner.clone();
            sessions.admit(&owner, 0, bytes, quota)?;
            let kept = sessions.find(id)?;
            let session = &mut kept.session;
            if session.turns >= quota.turns_max {
                return Err(StoreError::TurnsFull);
            }
            session.turns += 1;
            session.tokens = session.tokens.saturating_add(content.tokens);
            session.used = now;
            let number = session.turns;
            kept.turns.push(Turn { number, content });
            sessions.resize(id, 0, bytes);
            Ok(number)
        })
    }

    fn newest(&self, id: &str, mut fit: Fit) -> Stored<Vec<Turn>> {
        self.step(|sessions| {
            let kept = sessions.find(id)?;
            for turn in kept.turns.iter().rev() {
                let content = &turn.content;
                if !fit.takes(content.tokens, content.messages.len() as u64) {
                    break;
                }
                fit.take(turn.clone());
            }
            Ok(fit.finish())
        })
    }

    fn turns(&self, named: Owned, after: u64, size: PartSize) -> Stored<Part<Turn>> {
        self.step(|sessions| {
            let turns = &sessions.own(&named)?.turns;
            let mut part = Collect::new(size);
            for turn in turns.iter().filter(|turn| turn.number > after) {
                if !part.takes(turn.content.messages.len() as u64) {
                    break;
                }
                part.take(turn.clone());
            }
            Ok(part.finish())
        })
    }

    fn remove_turn(&self, named: Owned, number: u64) -> Stored<bool> {
        self.step(|sessions| {
            let kept = sessions.own(&named)?;
            let place = kept.turns.iter().position(|turn| turn.number == number);
            let Some(place) = place else {
                return Ok(false);
            };
            let turn = kept.turns.remove(place);
            let session = &mut kept.session;
            session.tokens = session.tokens.saturating_sub(turn.content.tokens);
            session.marks.cuts += 1;
            sessions.resize(&named.id, turn.content.messages.len() as u64, 0);
            sessions.forget(&named.id, |basis| basis.holds(number));
            Ok(true)
        })
    }

    fn put_turns(&self, named: Owned, turns: Vec<Turn>, quota: Quota) -> Stored<()> {
        self.step(|sessions| sessions.put_turns(&named, turns, quota))
    }

    fn finish(&self, named: Owned, now: u64) -> Stored<Session> {
        self.step(|sessions| {
            let session = &mut sessions.own(&named)?.session;
            session.marks.is_partial = false;
            session.used = now;
            Ok(session.clone())
        })
    }

    fn rewind(&self, named: Owned, to: u64, now: u64) -> Stored<Progress> {
        self.step(|sessions| sessions.rewind(&named, to, now))
    }

    fn copy(&self, named: Owned, copying: Copying, quota: Quota) -> Stored<Progress> {
        self.step(|sessions| sessions.copy(&named, &copying, quota))
    }

    fn leaving(&self, named: Owned, tokens_max: u64) -> Stored<u64> {
        self.step(|sessions| {
            let turns = &sessions.own(&named)?.turns;
            let mut left = tokens_max;
            let leaves = turns.iter().rev().find(|turn| {
                let fits = turn.content.tokens <= left;
                left = left.saturating_sub(turn.content.tokens);
                !fits
            });
            Ok(leaves.map_or(0, |turn| turn.number))
        })
    }

    fn notes(&self, named: Owned, kind: NoteKind) -> Stored<Vec<Note>> {
        self.step(|sessions| {
            let notes = sessions.own(&named)?.notes.values();
            let notes = notes.filter(|note| note.kind == kind);
            Ok(notes.cloned().collect())
        })
    }

    fn note(&self, named: Owned, step: NoteStep, quota: Quota) -> Stored<Vec<Option<u64>>> {
        self.step(|sessions| sessions.note(&named, step, quota))
    }

    fn list(
        &self,
        owner: &str,
        alive: Alive,
        after: Option<String>,
        size: PartSize,
    ) -> Stored<Part<Session>> {
        let owner = owner.to_owned();
        self.step(|sessions| {
            let after = after.map(|id| {
                let named = Owned {
                    owner: owner.clone(),
                    id,
                    alive,
                };
                let session = &sessions.own(&named)?.session;
                Ok::<_, StoreError>((session.created, session.id.clone()))
            });
            let after = after.transpose()?;
            let own = sessions.of(&owner).map(|kept| &kept.session);
            let own = own.filter(|session| {
                let follows =
                    |(created, id): &(u64, String)| (session.created, &session.id) < (*created, id);
                alive.holds(session)
                    && !session.marks.is_partial
                    && after.as_ref().is_none_or(follows)
            });
            let mut part = Collect::new(size);
            for session in own {
                if !part.takes(details_size(&session.details)) {
                    break;
                }
                part.take(session.clone());
            }
            Ok(part.finish())
        })
    }

    fn remove(&self, named: Owned) -> Stored<()> {
        self.step(|sessions| {
            sessions.own(&named)?;
            sessions.remove(&named.id);
            Ok(())
        })
    }

    fn adopt(&self, former: &str, owner: &str) -> Stored<bool> {
        self.step(|sessions| {
            let Some(mut moved) = sessions.owners.remove(former) else {
                return Ok(false);
            };
            for (_, id) in &moved.ids {
                if let Some(kept) = sessions.kept.get_mut(id) {
                    owner.clone_into(&mut kept.session.owner);
                }
            }
            let to = sessions.owners.entry(owner.to_owned()).or_default();
            to.ids.append(&mut moved.ids);
            to.bytes = to.bytes.saturating_add(moved.bytes);
            Ok(false)
        })
    }

    fn count(&self) -> Stored<u64> {
        self.step(|sessions| Ok(sessions.kept.len() as u64))
    }

    fn tidy(&self, alive: Alive) -> Stored<Tidied> {
        self.step(|sessions| {
            let expired = sessions.kept.values().map(|kept| &kept.session);
            let expired = expired.filter(|session| !alive.holds(session));
            let expired: Vec<_> = expired.map(|session| session.id.clone()).collect();
            for id in &expired {
                sessions.remove(id);
            }
            Ok(Tidied {
                expired: expired.len() as u64,
                has_more: false,
            })
        })
    }

    fn held(&self, whose: Whose, _: Next) -> Stored<Looked> {
        self.step(|sessions| Ok(sessions.look(&whose, false)))
    }

    fn erase(&self, whose: Whose, _: Next) -> Stored<Looked> {
        self.step(|sessions| Ok(sessions.look(&whose, true)))
    }

    fn empty_log(&self) -> Stored<bool> {
        Box::pin(ready(Ok(true)))
    }

    fn probe(&self, _: u64) -> Stored<()> {
        Box::pin(ready(Ok(())))
    }
}
