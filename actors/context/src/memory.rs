//! A store that keeps everything in memory, and loses it with the process.

use std::{
    collections::BTreeMap,
    future::ready,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::store::{
    Alive, Details, Fit, Page, Session, SessionStore, StoreError, Stored, Turn, TurnContent,
};

/// Keeps sessions in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    sessions: Mutex<BTreeMap<String, (Session, Vec<Turn>)>>,
}

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Session, Vec<Turn>)>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T: Send + 'static>(
        &self,
        id: &str,
        act: impl FnOnce(&mut Session, &mut Vec<Turn>) -> T,
    ) -> Stored<T> {
        let mut sessions = self.lock();
        let found = sessions
            .get_mut(id)
            .map(|(session, turns)| act(session, turns));
        Box::pin(ready(found.ok_or(StoreError::NoSuchSession)))
    }
}

impl SessionStore for MemoryStore {
    fn insert(&self, session: Session, sessions_max: u64, alive: Alive) -> Stored<()> {
        let mut sessions = self.lock();
        let held = sessions
            .values()
            .filter(|(other, _)| other.owner == session.owner && alive.holds(other));
        if held.count() as u64 >= sessions_max {
            return Box::pin(ready(Err(StoreError::Full)));
        }
        sessions.insert(session.id.clone(), (session, Vec::new()));
        Box::pin(ready(Ok(())))
    }

    fn find(&self, id: &str) -> Stored<Option<Session>> {
        let found = self.lock().get(id).map(|(session, _)| session.clone());
        Box::pin(ready(Ok(found)))
    }

    fn change(&self, id: &str, details: Details, now: u64) -> Stored<()> {
        self.with(id, |session, _| {
            session.details = details;
            session.used = now;
        })
    }

    fn append(&self, id: &str, content: TurnContent, now: u64) -> Stored<u64> {
        self.with(id, |session, turns| {
            session.turns += 1;
            session.tokens = session.tokens.saturating_add(content.tokens);
            session.used = now;
            turns.push(Turn {
                number: session.turns,
                content,
            });
            session.turns
        })
    }

    fn newest(&self, id: &str, tokens_max: u64) -> Stored<Vec<Turn>> {
        self.with(id, |_, turns| {
            let mut fit = Fit::new(tokens_max);
            for turn in turns.iter().rev() {
                if !fit.takes(turn.content.tokens) {
                    break;
                }
                fit.take(turn.clone());
            }
            fit.finish()
        })
    }

    fn turns(&self, id: &str, after: u64, limit: usize) -> Stored<Vec<Turn>> {
        self.with(id, |_, turns| {
            let behind = turns.iter().filter(|turn| turn.number > after);
            behind.take(limit).cloned().collect()
        })
    }

    fn remove_turn(&self, id: &str, number: u64) -> Stored<bool> {
        self.with(id, |session, turns| {
            let Some(place) = turns.iter().position(|turn| turn.number == number) else {
                return false;
            };
            let turn = turns.remove(place);
            session.tokens = session.tokens.saturating_sub(turn.content.tokens);
            true
        })
    }

    fn list(&self, owner: &str, alive: Alive, page: Page) -> Stored<Vec<Session>> {
        let sessions = self.lock();
        let mut own: Vec<_> = sessions
            .values()
            .map(|(session, _)| session)
            .filter(|session| session.owner == owner && alive.holds(session))
            .collect();
        own.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
        let start = match &page.after {
            None => 0,
            Some(id) => match own.iter().position(|session| session.id == *id) {
                Some(place) => place + 1,
                None => return Box::pin(ready(Err(StoreError::NoSuchSession))),
            },
        };
        let behind = own.into_iter().skip(start).take(page.limit);
        Box::pin(ready(Ok(behind.cloned().collect())))
    }

    fn remove(&self, id: &str) -> Stored<bool> {
        let removed = self.lock().remove(id).is_some();
        Box::pin(ready(Ok(removed)))
    }

    fn expire(&self, alive: Alive) -> Stored<u64> {
        let mut sessions = self.lock();
        let before = sessions.len();
        sessions.retain(|_, (session, _)| alive.holds(session));
        let gone = before - sessions.len();
        Box::pin(ready(Ok(gone as u64)))
    }
}
