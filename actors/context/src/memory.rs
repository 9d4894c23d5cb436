//! A store in memory, whose sessions are lost when the process ends.

use std::{
    collections::BTreeMap,
    future::ready,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::store::{
    Alive, Change, Collect, Details, Fit, Found, Owned, Part, PartSize, Quota, Session,
    SessionStore, StoreError, Stored, Tidied, Turn, TurnContent,
};

/// Keeps sessions in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    sessions: Mutex<Sessions>,
}

type Sessions = BTreeMap<String, Kept>;

#[derive(Debug)]
struct Kept {
    session: Session,
    turns: Vec<Turn>,
}

impl Kept {
    fn bytes(&self) -> u64 {
        let turns = self.turns.iter().map(|turn| &turn.content.messages);
        turns.fold(details_size(&self.session.details), |sum, messages| {
            sum.saturating_add(messages.len() as u64)
        })
    }
}

fn details_size(details: &Details) -> u64 {
    let metadata = details.metadata.iter();
    let metadata = metadata.map(|(name, value)| name.len() + value.len());
    let texts = [&details.system_prompt, &details.prompt];
    let texts = texts.map(|text| text.as_ref().map_or(0, String::len));
    (metadata.sum::<usize>() + texts.iter().sum::<usize>()) as u64
}

/// Returns the number of an owner's sessions that have not expired, and their bytes.
fn held(sessions: &Sessions, owner: &str, alive: Alive) -> (u64, u64) {
    let own = sessions
        .values()
        .filter(|kept| kept.session.owner == owner && alive.holds(&kept.session));
    own.fold((0, 0), |(count, bytes), kept| {
        (count + 1, kept.bytes().saturating_add(bytes))
    })
}

fn within(bytes: u64, quota: Quota) -> Result<(), StoreError> {
    let bytes_max = quota.bytes_max;
    let fits = bytes <= bytes_max;
    fits.then_some(())
        .ok_or(StoreError::BytesFull { bytes_max })
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

fn own<'a>(sessions: &'a mut Sessions, named: &Owned) -> Result<&'a mut Kept, StoreError> {
    let found = sessions.get_mut(&named.id);
    found
        .filter(|kept| named.is(&kept.session))
        .ok_or(StoreError::NoSuchSession)
}

impl SessionStore for MemoryStore {
    fn insert(&self, session: Session, quota: Quota) -> Stored<()> {
        self.step(|sessions| {
            let (count, bytes) = held(sessions, &session.owner, quota.alive);
            if count >= quota.sessions_max {
                return Err(StoreError::Full);
            }
            within(bytes.saturating_add(details_size(&session.details)), quota)?;
            let turns = Vec::new();
            sessions.insert(session.id.clone(), Kept { session, turns });
            Ok(())
        })
    }

    fn find(&self, id: &str) -> Stored<Option<Found>> {
        self.step(|sessions| {
            let found = sessions.get(id).map(|kept| kept.session.clone());
            Ok(found.map(|session| Found {
                owner_bytes: held(sessions, &session.owner, Alive::default()).1,
                session,
            }))
        })
    }

    fn change(&self, named: Owned, change: Change, now: u64, quota: Quota) -> Stored<Session> {
        self.step(|sessions| {
            let (_, bytes) = held(sessions, &named.owner, quota.alive);
            let session = &mut own(sessions, &named)?.session;
            let before = details_size(&session.details);
            let mut details = session.details.clone();
            change.apply(&mut details);
            let after = details_size(&details);
            if after > before {
                within(bytes.saturating_add(after - before), quota)?;
            }
            session.details = details;
            session.used = now;
            Ok(session.clone())
        })
    }

    fn append(&self, id: &str, content: TurnContent, now: u64, quota: Quota) -> Stored<u64> {
        self.step(|sessions| {
            let found = sessions.get(id).ok_or(StoreError::NoSuchSession)?;
            let (_, bytes) = held(sessions, &found.session.owner, quota.alive);
            within(bytes.saturating_add(content.messages.len() as u64), quota)?;
            let kept = sessions.get_mut(id).ok_or(StoreError::NoSuchSession)?;
            let session = &mut kept.session;
            if session.turns >= quota.turns_max {
                return Err(StoreError::TurnsFull);
            }
            session.turns += 1;
            session.tokens = session.tokens.saturating_add(content.tokens);
            session.used = now;
            let number = session.turns;
            kept.turns.push(Turn { number, content });
            Ok(number)
        })
    }

    fn newest(&self, id: &str, mut fit: Fit) -> Stored<Vec<Turn>> {
        self.step(|sessions| {
            let kept = sessions.get(id).ok_or(StoreError::NoSuchSession)?;
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
            let turns = &own(sessions, &named)?.turns;
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
            let kept = own(sessions, &named)?;
            let place = kept.turns.iter().position(|turn| turn.number == number);
            let Some(place) = place else {
                return Ok(false);
            };
            let turn = kept.turns.remove(place);
            let session = &mut kept.session;
            session.tokens = session.tokens.saturating_sub(turn.content.tokens);
            Ok(true)
        })
    }

    fn list(
        &self,
        owner: &str,
        alive: Alive,
        after: Option<String>,
        size: PartSize,
    ) -> Stored<Part<Session>> {
        self.step(|sessions| {
            let sessions = sessions.values().map(|kept| &kept.session);
            let mut own: Vec<_> = sessions
                .filter(|session| session.owner == owner && alive.holds(session))
                .collect();
            own.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
            let start = match &after {
                None => 0,
                Some(id) => {
                    let place = own.iter().position(|session| session.id == *id);
                    place.ok_or(StoreError::NoSuchSession)? + 1
                }
            };
            let mut part = Collect::new(size);
            for session in own.into_iter().skip(start) {
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
            own(sessions, &named)?;
            sessions.remove(&named.id);
            Ok(())
        })
    }

    fn adopt(&self, former: &str, owner: &str) -> Stored<bool> {
        self.step(|sessions| {
            for kept in sessions.values_mut() {
                if kept.session.owner == former {
                    owner.clone_into(&mut kept.session.owner);
                }
            }
            Ok(false)
        })
    }

    fn count(&self) -> Stored<u64> {
        self.step(|sessions| Ok(sessions.len() as u64))
    }

    fn tidy(&self, alive: Alive) -> Stored<Tidied> {
        self.step(|sessions| {
            let before = sessions.len();
            sessions.retain(|_, kept| alive.holds(&kept.session));
            Ok(Tidied {
                expired: (before - sessions.len()) as u64,
                has_more: false,
            })
        })
    }

    fn probe(&self, _: u64) -> Stored<()> {
        Box::pin(ready(Ok(())))
    }
}
