//! A store in memory, whose answers are lost when the process ends.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use kebne_cache::Key;
use kebne_retrieval::Vector;

use crate::{
    model::{Candidate, Count, Entry, Erased, Scope, StoreError, Totals},
    store::{Bounds, COMPARED_MAX, CacheStore, GROUPS_MAX, nearest},
};

/// The store.
#[derive(Debug)]
pub struct MemoryStore {
    bounds: Bounds,
    owners: HashMap<Arc<str>, Owner>,
    /// All answers by their last use.
    by_use: BTreeMap<u64, (Arc<str>, Key)>,
    /// The number of the next use.
    uses: u64,
    totals: Totals,
}

#[derive(Debug, Default)]
struct Owner {
    entries: HashMap<Key, Slot>,
    by_use: BTreeMap<u64, Key>,
    by_group: HashMap<Key, BTreeSet<(u64, Key)>>,
    bytes: u64,
    /// What was learned by group, with the model and the last change.
    learned: HashMap<Key, (String, u64, Vec<u8>)>,
}

#[derive(Debug)]
struct Slot {
    entry: Entry,
    used: u64,
}

impl MemoryStore {
    /// Creates an empty store.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            owners: HashMap::new(),
            by_use: BTreeMap::new(),
            uses: 0,
            totals: Totals::default(),
        }
    }

    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    fn remove(&mut self, owner: &str, key: Key) -> Option<Entry> {
        let of_owner = self.owners.get_mut(owner)?;
        let slot = of_owner.entries.remove(&key)?;
        of_owner.by_use.remove(&slot.used);
        self.by_use.remove(&slot.used);
        if let Some(meaning) = &slot.entry.meaning
            && let Some(group) = of_owner.by_group.get_mut(&meaning.group)
        {
            group.remove(&(slot.entry.created, key));
            if group.is_empty() {
                of_owner.by_group.remove(&meaning.group);
            }
        }
        let size = slot.entry.size();
        of_owner.bytes -= size;
        self.totals.bytes -= size;
        self.totals.entries -= 1;
        if of_owner.entries.is_empty() && of_owner.learned.is_empty() {
            self.owners.remove(owner);
        }
        Some(slot.entry)
    }

    /// Makes room for an answer of this size.
    fn make_room(&mut self, owner: &str, size: u64) {
        loop {
            let of_owner = self.owners.get(owner);
            let oldest = of_owner.and_then(|of_owner| {
                let bytes = of_owner.bytes.saturating_add(size);
                let entries = u64::try_from(of_owner.entries.len()).unwrap_or(u64::MAX);
                let is_full =
                    bytes > self.bounds.owner_bytes || entries >= self.bounds.owner_entries;
                let (_, key) = of_owner.by_use.first_key_value().filter(|_| is_full)?;
                Some((Arc::from(owner), *key))
            });
            let is_full = self.totals.bytes.saturating_add(size) > self.bounds.bytes
                || self.totals.entries >= self.bounds.entries;
            let of_all = || {
                let (_, place) = self.by_use.first_key_value().filter(|_| is_full)?;
                Some(place.clone())
            };
            let Some((owner, key)) = oldest.or_else(of_all) else {
                return;
            };
            self.remove(&owner, key);
            self.totals.evicted += 1;
        }
    }

    /// Returns the places of all answers that fit a condition.
    fn places(&self, fits: impl Fn(&str, &Entry) -> bool) -> Vec<(Arc<str>, Key)> {
        let mut places = Vec::new();
        for (name, owner) in &self.owners {
            let entries = owner.entries.values();
            let found = entries.filter(|slot| fits(name, &slot.entry));
            places.extend(found.map(|slot| (Arc::clone(name), slot.entry.key)));
        }
        places
    }
}

impl CacheStore for MemoryStore {
    fn look(&mut self, owner: &str, key: Key, now: u64) -> Result<Option<Entry>, StoreError> {
        let used = self.next_use();
        let Some(of_owner) = self.owners.get_mut(owner) else {
            return Ok(None);
        };
        let Some(slot) = of_owner.entries.get_mut(&key) else {
            return Ok(None);
        };
        if slot.entry.expires <= now {
            self.remove(owner, key);
            return Ok(None);
        }
        let entry = slot.entry.clone();
        let before = std::mem::replace(&mut slot.used, used);
        of_owner.by_use.remove(&before);
        of_owner.by_use.insert(used, key);
        if let Some(place) = self.by_use.remove(&before) {
            self.by_use.insert(used, place);
        }
        Ok(Some(entry))
    }

    fn keep(&mut self, owner: &str, entry: Entry, _now: u64) -> Result<(), StoreError> {
        let (key, size) = (entry.key, entry.size());
        self.remove(owner, key);
        if size > self.bounds.owner_bytes.min(self.bounds.bytes) {
            return Ok(());
        }
        self.make_room(owner, size);
        let used = self.next_use();
        let name: Arc<str> = owner.into();
        let of_owner = self.owners.entry(Arc::clone(&name)).or_default();
        if let Some(meaning) = &entry.meaning {
            let group = of_owner.by_group.entry(meaning.group).or_default();
            group.insert((entry.created, key));
        }
        of_owner.bytes += size;
        of_owner.by_use.insert(used, key);
        of_owner.entries.insert(key, Slot { entry, used });
        self.by_use.insert(used, (name, key));
        self.totals.bytes += size;
        self.totals.entries += 1;
        Ok(())
    }

    fn similar(
        &mut self,
        owner: &str,
        group: Key,
        (space, vector): (&str, &Vector),
        bounds: (f32, usize),
        now: u64,
    ) -> Result<Vec<Candidate>, StoreError> {
        let Some(of_owner) = self.owners.get(owner) else {
            return Ok(Vec::new());
        };
        let members = of_owner.by_group.get(&group).into_iter().flatten();
        let newest = members.rev().take(COMPARED_MAX);
        let candidates = newest.filter_map(|(_, key)| {
            let entry = &of_owner.entries.get(key)?.entry;
            let meaning = entry
                .meaning
                .as_ref()
                .filter(|meaning| meaning.space == space)?;
            (entry.expires > now).then(|| Candidate {
                key: *key,
                question: meaning.question.clone(),
                similarity: meaning.vector.cosine(vector),
            })
        });
        Ok(nearest(candidates, bounds))
    }

    fn learned(&mut self, owner: &str, group: Key) -> Result<Option<Vec<u8>>, StoreError> {
        let learned = self
            .owners
            .get(owner)
            .and_then(|owner| owner.learned.get(&group));
        Ok(learned.map(|(_, _, learned)| learned.clone()))
    }

    fn learn(
        &mut self,
        owner: &str,
        (model, group): (&str, Key),
        learned: Vec<u8>,
        now: u64,
    ) -> Result<(), StoreError> {
        let of_owner = self.owners.entry(owner.into()).or_default();
        of_owner
            .learned
            .insert(group, (model.to_owned(), now, learned));
        if of_owner.learned.len() > GROUPS_MAX {
            let oldest = of_owner
                .learned
                .iter()
                .min_by_key(|(key, (_, at, _))| (*at, **key));
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                of_owner.learned.remove(&oldest);
            }
        }
        Ok(())
    }

    fn erase(&mut self, scope: &Scope) -> Result<Erased, StoreError> {
        let is_owner = |name: &str| scope.owner.as_deref().is_none_or(|owner| owner == name);
        let is_model = |name: &str| scope.model.as_deref().is_none_or(|model| model == name);
        for (name, owner) in &mut self.owners {
            if is_owner(name) {
                owner.learned.retain(|_, (model, _, _)| !is_model(model));
            }
        }
        let mut erased = Erased::default();
        for (owner, key) in self.places(|owner, entry| is_owner(owner) && is_model(&entry.model)) {
            if let Some(entry) = self.remove(&owner, key) {
                erased.entries += 1;
                erased.bytes += entry.size();
            }
        }
        self.owners
            .retain(|_, owner| !owner.entries.is_empty() || !owner.learned.is_empty());
        Ok(erased)
    }

    fn sweep(&mut self, now: u64) -> Result<u64, StoreError> {
        let expired = self.places(|_, entry| entry.expires <= now);
        let mut removed = 0;
        for (owner, key) in expired {
            removed += u64::from(self.remove(&owner, key).is_some());
        }
        Ok(removed)
    }

    fn counts(&mut self, owner: Option<&str>) -> Result<Vec<Count>, StoreError> {
        let mut counts: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
        for (name, of_owner) in &self.owners {
            if owner.is_some_and(|owner| owner != &**name) {
                continue;
            }
            for slot in of_owner.entries.values() {
                let count = counts.entry((name, &slot.entry.model)).or_default();
                count.0 += 1;
                count.1 += slot.entry.size();
            }
        }
        let counts = counts
            .into_iter()
            .map(|((owner, model), (entries, bytes))| Count {
                owner: owner.to_owned(),
                model: model.to_owned(),
                entries,
                bytes,
            });
        Ok(counts.collect())
    }

    fn totals(&self) -> Totals {
        self.totals
    }
}
