//! The contract of stores of answers: a suite that runs against any implementation.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use kebne_cache::Key;
use kebne_retrieval::Vector;

use crate::{
    model::{Entry, Meaning, Scope},
    store::{Bounds, CacheStore},
};

/// The bounds of the stores that are checked.
pub const BOUNDS: Bounds = Bounds {
    bytes: 100_000,
    entries: 100,
    owner_bytes: 50_000,
    owner_entries: 10,
};

/// Checks a store; each case asks for an empty one with [`BOUNDS`].
///
/// # Panics
/// Panics at the first case that the store does not keep.
pub fn check(mut empty: impl FnMut() -> Box<dyn CacheStore>) {
    an_answer_is_found_by_its_owner_until_it_expires(&mut *empty());
    what_was_used_least_recently_makes_room(&mut *empty());
    the_bound_of_all_takes_from_the_one_that_uses_it_least(&mut *empty());
    expired_answers_are_swept_and_erasing_is_bounded_by_its_scope(&mut *empty());
    similar_questions_are_found_within_owner_group_and_space(&mut *empty());
}

/// Returns a key.
pub(crate) fn key(number: u8) -> Key {
    Key([number; 32])
}

pub(crate) fn entry(number: u8, body: &str) -> Entry {
    Entry {
        key: key(number),
        model: "m".to_owned(),
        created: 1000,
        expires: 2000,
        body: body.as_bytes().into(),
        meaning: None,
    }
}

pub(crate) fn asking(number: u8, question: &str, vector: &[f32]) -> Entry {
    Entry {
        meaning: Some(Meaning {
            group: key(200),
            question: question.to_owned(),
            space: "s".to_owned(),
            vector: Vector::new(vector).unwrap(),
        }),
        ..entry(number, question)
    }
}

fn an_answer_is_found_by_its_owner_until_it_expires(store: &mut dyn CacheStore) {
    store.keep("ann", entry(1, "one"), 1000).unwrap();
    let found = store.look("ann", key(1), 1999).unwrap().unwrap();
    assert_eq!(found, entry(1, "one"));
    assert_eq!(store.look("bob", key(1), 1999).unwrap(), None);
    assert_eq!(store.look("ann", key(2), 1999).unwrap(), None);
    assert_eq!(store.look("ann", key(1), 2000).unwrap(), None);
    store.keep("ann", entry(1, "two"), 1000).unwrap();
    let found = store.look("ann", key(1), 1500).unwrap().unwrap();
    assert_eq!(&*found.body, b"two");
    assert_eq!(store.totals().entries, 1);
    assert_eq!(store.totals().bytes, entry(1, "two").size());
}

fn what_was_used_least_recently_makes_room(store: &mut dyn CacheStore) {
    for number in 0..10 {
        store
            .keep("ann", entry(number, "x"), u64::from(number))
            .unwrap();
    }
    store.keep("bob", entry(0, "x"), 0).unwrap();
    // Used a minute later, so that the use is noted.
    assert!(store.look("ann", key(0), 1999).unwrap().is_some());
    let later = Entry {
        expires: 100_000,
        ..entry(0, "x")
    };
    store.keep("ann", later, 70_000).unwrap();
    for number in [10, 11] {
        store.keep("ann", entry(number, "x"), 70_000).unwrap();
    }
    let is_there = |store: &mut dyn CacheStore, number| {
        store.look("ann", key(number), 1500).unwrap().is_some()
    };
    assert!(is_there(store, 0) && is_there(store, 11));
    assert!(!is_there(store, 1) && !is_there(store, 2) && is_there(store, 3));
    assert!(store.look("bob", key(0), 1500).unwrap().is_some());
    assert_eq!((store.totals().entries, store.totals().evicted), (11, 2));
    let large = entry(50, &"y".repeat(49_000));
    store.keep("ann", large, 70_000).unwrap();
    assert!(is_there(store, 50) && !is_there(store, 4));
    assert!(store.totals().bytes <= BOUNDS.owner_bytes + 200);
    let too_large = entry(51, &"y".repeat(50_001));
    store.keep("ann", too_large, 70_000).unwrap();
    assert!(!is_there(store, 51) && is_there(store, 50));
}

fn the_bound_of_all_takes_from_the_one_that_uses_it_least(store: &mut dyn CacheStore) {
    let body = "y".repeat(30_000);
    for (at, owner) in ["a", "b", "c", "d"].iter().enumerate() {
        store.keep(owner, entry(1, &body), at as u64).unwrap();
    }
    let left: Vec<bool> = ["a", "b", "c", "d"]
        .iter()
        .map(|owner| store.look(owner, key(1), 1500).unwrap().is_some())
        .collect();
    assert_eq!(left, [false, true, true, true]);
}

fn expired_answers_are_swept_and_erasing_is_bounded_by_its_scope(store: &mut dyn CacheStore) {
    store.keep("ann", entry(1, "x"), 0).unwrap();
    store
        .keep(
            "ann",
            Entry {
                expires: 9000,
                ..entry(2, "x")
            },
            0,
        )
        .unwrap();
    let other = Entry {
        model: "n".to_owned(),
        expires: 9000,
        ..entry(3, "x")
    };
    store.keep("ann", other, 0).unwrap();
    store
        .keep(
            "bob",
            Entry {
                expires: 9000,
                ..entry(2, "x")
            },
            0,
        )
        .unwrap();
    assert_eq!(store.sweep(2000).unwrap(), 1);
    let counts = store.counts(Some("ann")).unwrap();
    let each: Vec<(&str, u64)> = counts
        .iter()
        .map(|one| (&*one.model, one.entries))
        .collect();
    assert_eq!(each, [("m", 1), ("n", 1)]);
    assert_eq!(store.counts(None).unwrap().len(), 3);
    let scope = |owner: Option<&str>, model: Option<&str>| Scope {
        owner: owner.map(str::to_owned),
        model: model.map(str::to_owned),
    };
    assert_eq!(store.erase(&scope(Some("eve"), None)).unwrap().entries, 0);
    assert_eq!(
        store.erase(&scope(Some("ann"), Some("m"))).unwrap().entries,
        1
    );
    assert_eq!(store.erase(&scope(None, Some("m"))).unwrap().entries, 1);
    assert_eq!(store.erase(&scope(None, None)).unwrap().entries, 1);
    let totals = store.totals();
    assert_eq!((totals.entries, totals.bytes), (0, 0));
}

fn similar_questions_are_found_within_owner_group_and_space(store: &mut dyn CacheStore) {
    store
        .keep("ann", asking(1, "near", &[1.0, 0.1]), 0)
        .unwrap();
    store.keep("ann", asking(2, "far", &[0.0, 1.0]), 0).unwrap();
    store
        .keep("bob", asking(3, "of bob", &[1.0, 0.0]), 0)
        .unwrap();
    let question = Vector::new(&[1.0, 0.0]).unwrap();
    let find = |store: &mut dyn CacheStore, owner: &str, group, space: &str, now| {
        let found = store.similar(owner, key(group), (space, &question), (0.5, 5), now);
        let found = found.unwrap().into_iter();
        found.map(|one| (one.question, one.key)).collect::<Vec<_>>()
    };
    assert_eq!(
        find(store, "ann", 200, "s", 0),
        [("near".to_owned(), key(1))]
    );
    assert!(find(store, "ann", 201, "s", 0).is_empty());
    assert!(find(store, "ann", 200, "t", 0).is_empty());
    assert!(find(store, "ann", 200, "s", 2000).is_empty());
    assert!(find(store, "eve", 200, "s", 0).is_empty());
    store
        .learn("ann", ("m", key(200)), b"known".to_vec(), 0)
        .unwrap();
    store
        .learn("ann", ("m", key(200)), b"more".to_vec(), 1)
        .unwrap();
    assert_eq!(store.learned("ann", key(200)).unwrap().unwrap(), b"more");
    assert_eq!(store.learned("bob", key(200)).unwrap(), None);
    let scope = Scope {
        owner: Some("ann".to_owned()),
        model: None,
    };
    store.erase(&scope).unwrap();
    assert_eq!(store.learned("ann", key(200)).unwrap(), None);
    assert!(find(store, "ann", 200, "s", 0).is_empty());
    assert_eq!(find(store, "bob", 200, "s", 0).len(), 1);
}
