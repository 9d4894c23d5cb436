//! What every store does with notes and branches, checked on the store in memory and on the file without and with a key.

use super::*;
use crate::store::{Basis, Marks, NoteAuthor, NoteChange, VariablesChange};

const QUOTA: Quota = Quota {
    sessions_max: 9,
    turns_max: 1000,
    bytes_max: 1 << 30,
    alive: Alive {
        used_since: 0,
        created_since: 0,
    },
};
const ALL: PartSize = PartSize {
    items_max: 10_000,
    bytes_max: 1 << 30,
};

/// The stores under test, each empty, and the folder of their files.
fn stores() -> (tempfile::TempDir, Vec<Arc<dyn SessionStore>>) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, keyring: Option<Keyring>| {
        let path = folder.path().join(name);
        SqliteFile::new(path, keyring, Duration::from_secs(30))
            .open()
            .unwrap()
    };
    let key = Keyring::from_hex(&"a".repeat(64)).unwrap();
    let stores: Vec<Arc<dyn SessionStore>> = vec![
        Arc::new(MemoryStore::default()),
        Arc::new(file("plain", None)),
        Arc::new(file("sealed", Some(key))),
    ];
    (folder, stores)
}

fn named(owner: &str, id: &str) -> Owned {
    Owned {
        owner: owner.to_owned(),
        id: id.to_owned(),
        alive: Alive::default(),
    }
}

async fn insert(store: &dyn SessionStore, id: &str, is_partial: bool) {
    let session = Session {
        id: id.to_owned(),
        owner: "ann".to_owned(),
        created: 1,
        used: 1,
        turns: 0,
        tokens: 0,
        details: Details::default(),
        marks: Marks {
            is_partial,
            ..Marks::default()
        },
    };
    store.insert(session, QUOTA).await.unwrap();
}

async fn with_turns(store: &dyn SessionStore, id: &str, count: u64) {
    insert(store, id, false).await;
    for number in 1..=count {
        let content = turn(&format!("turn {number}"), 10, true);
        assert_eq!(store.append(id, content, 2, QUOTA).await, Ok(number));
    }
}

fn summary(number: u64) -> Note {
    Note {
        kind: NoteKind::Summary,
        number,
        is_owners: false,
        basis: Basis {
            first: 1,
            last: number,
        },
        content: Bytes::from(format!("up to {number}")),
    }
}

fn fact(text: &str, is_owners: bool, (first, last): (u64, u64)) -> NoteChange {
    NoteChange::AddFact {
        is_owners,
        basis: Basis { first, last },
        content: Bytes::copy_from_slice(text.as_bytes()),
    }
}

fn step(author: NoteAuthor, changes: Vec<NoteChange>) -> NoteStep {
    NoteStep {
        author,
        changes,
        facts_through: None,
        facts_max: 100,
    }
}

const OWNER: NoteAuthor = NoteAuthor::Owner;
const MODEL: NoteAuthor = NoteAuthor::Model { cuts: 0 };

async fn note(
    store: &dyn SessionStore,
    id: &str,
    author: NoteAuthor,
    changes: Vec<NoteChange>,
) -> Result<Vec<Option<u64>>, StoreError> {
    store
        .note(named("ann", id), step(author, changes), QUOTA)
        .await
}

async fn numbers(store: &dyn SessionStore, id: &str, kind: NoteKind) -> Vec<u64> {
    let notes = store.notes(named("ann", id), kind).await.unwrap();
    notes.iter().map(|note| note.number).collect()
}

async fn session(store: &dyn SessionStore, id: &str) -> Session {
    store.find(id).await.unwrap().unwrap().session
}

async fn bytes(store: &dyn SessionStore, id: &str) -> u64 {
    store.find(id).await.unwrap().unwrap().owner_bytes
}

async fn rewind(store: &dyn SessionStore, id: &str, to: u64) {
    while store
        .rewind(named("ann", id), to, 3)
        .await
        .unwrap()
        .has_more
    {}
}

#[tokio::test]
async fn notes_are_kept_beside_the_turns_and_counted() {
    let (_folder, stores) = stores();
    for store in stores {
        let store = &*store;
        with_turns(store, "s", 3).await;
        let before = bytes(store, "s").await;
        let added = vec![fact("a", false, (1, 2)), fact("b", true, (0, 0))];
        assert_eq!(
            note(store, "s", OWNER, added).await,
            Ok(vec![Some(1), Some(2)])
        );
        let set = vec![NoteChange::Set(summary(2))];
        note(store, "s", MODEL, set).await.unwrap();
        assert!(bytes(store, "s").await > before);
        let notes = store
            .notes(named("ann", "s"), NoteKind::Fact)
            .await
            .unwrap();
        assert_eq!(notes[0].content, "a");
        assert_eq!(notes[0].basis, Basis { first: 1, last: 2 });
        assert_eq!((notes[0].is_owners, notes[1].is_owners), (false, true));
        let others = store.notes(named("bob", "s"), NoteKind::Fact).await;
        assert_eq!(others, Err(StoreError::NoSuchSession));
        let remove = |number| {
            let kind = NoteKind::Fact;
            note(store, "s", OWNER, vec![NoteChange::Remove { kind, number }])
        };
        assert_eq!(remove(2).await, Ok(vec![Some(2)]));
        assert_eq!(remove(2).await, Ok(vec![None]));
        // A number is not used again.
        let third = note(store, "s", OWNER, vec![fact("c", true, (0, 0))]).await;
        assert_eq!(third, Ok(vec![Some(3)]));
        remove(1).await.unwrap();
        remove(3).await.unwrap();
        let kind = NoteKind::Summary;
        let last = vec![NoteChange::Remove { kind, number: 2 }];
        note(store, "s", OWNER, last).await.unwrap();
        assert_eq!(bytes(store, "s").await, before);
    }
}

#[tokio::test]
async fn a_model_changes_nothing_of_the_owner_and_restores_nothing() {
    let (_folder, stores) = stores();
    for store in stores {
        let store = &*store;
        with_turns(store, "s", 3).await;
        let added = vec![
            fact("hers", true, (0, 0)),
            fact("its", false, (1, 1)),
            fact("gone", false, (2, 2)),
        ];
        note(store, "s", OWNER, added).await.unwrap();
        let kind = NoteKind::Fact;
        note(
            store,
            "s",
            OWNER,
            vec![NoteChange::Remove { kind, number: 3 }],
        )
        .await
        .unwrap();
        let set = |number| {
            NoteChange::Set(Note {
                kind,
                number,
                is_owners: false,
                basis: Basis { first: 3, last: 3 },
                content: Bytes::from_static(b"new"),
            })
        };
        let changed = note(store, "s", MODEL, vec![set(1), set(2), set(3)]).await;
        assert_eq!(changed, Ok(vec![None, Some(2), None]));
        let notes = store.notes(named("ann", "s"), kind).await.unwrap();
        let texts: Vec<_> = notes.iter().map(|note| note.content.clone()).collect();
        assert_eq!(texts, ["hers", "new"]);
    }
}

#[tokio::test]
async fn facts_are_bounded_and_a_step_is_done_whole_or_not() {
    let (_folder, stores) = stores();
    for store in stores {
        let store = &*store;
        with_turns(store, "s", 1).await;
        let mut three = step(OWNER, vec![fact("a", true, (0, 0)); 3]);
        three.facts_max = 2;
        let full = store.note(named("ann", "s"), three.clone(), QUOTA).await;
        assert_eq!(full, Err(StoreError::FactsFull { facts_max: 2 }));
        assert_eq!(numbers(store, "s", NoteKind::Fact).await, [0_u64; 0]);
        // A model's facts that find no room are left out.
        three.author = MODEL;
        three.facts_through = Some(1);
        let some = store.note(named("ann", "s"), three, QUOTA).await;
        assert_eq!(some, Ok(vec![Some(1), Some(2), None]));
        assert_eq!(session(store, "s").await.marks.facts_through, 1);
        let small = Quota {
            bytes_max: bytes(store, "s").await + 30,
            ..QUOTA
        };
        let large = vec![fact("x", true, (0, 0)), fact(&"x".repeat(50), true, (0, 0))];
        let full = store
            .note(named("ann", "s"), step(OWNER, large), small)
            .await;
        assert!(
            matches!(full, Err(StoreError::BytesFull { .. })),
            "{full:?}"
        );
        assert_eq!(numbers(store, "s", NoteKind::Fact).await, [1, 2]);
    }
}

#[tokio::test]
async fn the_newest_summaries_are_kept() {
    let (_folder, stores) = stores();
    for store in stores {
        let store = &*store;
        with_turns(store, "s", 12).await;
        for number in 1..=12 {
            let set = vec![NoteChange::Set(summary(number))];
            note(store, "s", MODEL, set).await.unwrap();
        }
        let kept = numbers(store, "s", NoteKind::Summary).await;
        assert_eq!(kept, (5..=12).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_rewound_session_has_nothing_of_the_turns_that_were_removed() {
    let (_folder, stores) = stores();
    for store in stores {
        let store = &*store;
        with_turns(store, "s", 3).await;
        let before = bytes(store, "s").await;
        for number in 4..=200 {
            let content = turn(&"x".repeat(10_000), 10, true);
            assert_eq!(store.append("s", content, 2, QUOTA).await, Ok(number));
        }
        let changes = vec![
            NoteChange::Set(summary(2)),
            NoteChange::Set(summary(7)),
            fact("early", false, (1, 3)),
            fact("late", false, (3, 4)),
            fact("hers", true, (0, 0)),
        ];
        let mut made = step(MODEL, changes);
        made.facts_through = Some(150);
        store.note(named("ann", "s"), made, QUOTA).await.unwrap();
        rewind(store, "s", 3).await;
        let now = session(store, "s").await;
        assert_eq!((now.turns, now.tokens, now.used), (3, 30, 3));
        // A fact is gone, which may have replaced an earlier one.
        assert_eq!(now.marks.facts_through, 0);
        assert!(now.marks.cuts > 0);
        assert_eq!(numbers(store, "s", NoteKind::Summary).await, [2]);
        assert_eq!(numbers(store, "s", NoteKind::Fact).await, [1, 3]);
        assert!(bytes(store, "s").await < before + 300);
        let turns = store.turns(named("ann", "s"), 0, ALL).await.unwrap();
        assert_eq!(texts(&turns.items), ["turn 1", "turn 2", "turn 3"]);
        // What a model read before is refused now.
        let late = note(store, "s", MODEL, vec![NoteChange::Set(summary(9))]).await;
        assert_eq!(late, Err(StoreError::Changed));
        assert_eq!(
            store.append("s", turn("new", 1, true), 4, QUOTA).await,
            Ok(4)
        );
        // A turn that does not exist yet is no reason to remove anything.
        rewind(store, "s", 9).await;
        assert_eq!(session(store, "s").await.turns, 4);
        let others = store.rewind(named("bob", "s"), 0, 3).await;
        assert_eq!(others, Err(StoreError::NoSuchSession));
    }
}

#[tokio::test]
async fn a_turn_whose_history_was_rewound_is_not_kept() {
    let (_folder, stores) = stores();
    for store in stores {
        let store = &*store;
        with_turns(store, "s", 3).await;
        let cuts = session(store, "s").await.marks.cuts;
        let keep = |cuts| store.append_if("s", Some(cuts), turn("late", 1, true), 4, QUOTA);
        assert_eq!(keep(cuts).await, Ok(4));
        for to in [2, 2, 0, 0] {
            // Also if no turn is removed: the call may have begun before, and its turn would be the next.
            rewind(store, "s", to).await;
            let before = bytes(store, "s").await;
            assert_eq!(keep(cuts).await, Err(StoreError::Changed), "{to}");
            let now = session(store, "s").await;
            assert_eq!((now.turns, bytes(store, "s").await), (to, before));
        }
        let now = session(store, "s").await.marks.cuts;
        assert_eq!(keep(now).await, Ok(1));
        assert!(store.remove_turn(named("ann", "s"), 1).await.unwrap());
        assert_eq!(keep(now).await, Err(StoreError::Changed));
        // What knows of no history, as a tree of responses, is appended in any case.
        let any = store.append("s", turn("any", 1, true), 4, QUOTA).await;
        assert_eq!(any, Ok(2));
        let routing = |cuts| Change {
            routing: Some(RoutingChange {
                cuts,
                before: None,
                after: "x".to_owned(),
            }),
            ..Change::default()
        };
        let change = |cuts| store.change(named("ann", "s"), routing(cuts), 4, QUOTA);
        let late = change(Some(now)).await.unwrap();
        assert_eq!(late.details.routing, None);
        let known = change(Some(late.marks.cuts)).await.unwrap();
        assert_eq!(known.details.routing.as_deref(), Some("x"));
    }
}

#[tokio::test]
async fn single_variables_are_set_as_a_whole_or_not_at_all() {
    let (_folder, stores) = stores();
    for store in stores {
        let store = &*store;
        with_turns(store, "s", 1).await;
        let cuts = session(store, "s").await.marks.cuts;
        let set = async |cuts, variables: &[(&str, Option<&str>)]| {
            let set = variables.iter();
            let change = Change {
                variables: Some(VariablesChange {
                    cuts,
                    entries_max: 2,
                    set: set
                        .map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned)))
                        .collect(),
                }),
                ..Change::default()
            };
            let changed = store.change(named("ann", "s"), change, 4, QUOTA).await;
            let metadata = changed.unwrap().details.metadata.into_iter();
            metadata
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
        };
        let both = [("a", Some("1")), ("b", Some("2"))];
        assert_eq!(set(Some(cuts), &both).await, ["a=1", "b=2"]);
        let too_many = [("a", Some("3")), ("c", Some("4"))];
        assert_eq!(set(Some(cuts), &too_many).await, ["a=1", "b=2"]);
        let replaced = [("a", None), ("c", Some("4"))];
        assert_eq!(set(Some(cuts + 1), &replaced).await, ["a=1", "b=2"]);
        assert_eq!(set(None, &replaced).await, ["b=2", "c=4"]);
    }
}

#[tokio::test]
async fn a_rewind_that_loses_no_fact_reads_no_turn_again() {
    let (_folder, stores) = stores();
    for store in stores {
        let store = &*store;
        with_turns(store, "s", 6).await;
        let mut made = step(MODEL, vec![fact("early", false, (1, 2))]);
        made.facts_through = Some(6);
        store.note(named("ann", "s"), made, QUOTA).await.unwrap();
        rewind(store, "s", 4).await;
        assert_eq!(session(store, "s").await.marks.facts_through, 4);
    }
}

#[tokio::test]
async fn what_rests_on_a_removed_turn_goes_with_it() {
    let (_folder, stores) = stores();
    for store in stores {
        let store = &*store;
        with_turns(store, "s", 6).await;
        let changes = vec![
            NoteChange::Set(summary(2)),
            NoteChange::Set(summary(5)),
            fact("before", false, (1, 2)),
            fact("over", false, (3, 5)),
            fact("after", false, (5, 6)),
        ];
        let mut made = step(MODEL, changes);
        made.facts_through = Some(6);
        store.note(named("ann", "s"), made, QUOTA).await.unwrap();
        assert_eq!(store.remove_turn(named("ann", "s"), 4).await, Ok(true));
        assert_eq!(numbers(store, "s", NoteKind::Summary).await, [2]);
        assert_eq!(numbers(store, "s", NoteKind::Fact).await, [1, 3]);
        assert_eq!(session(store, "s").await.marks.facts_through, 0);
        let late = note(store, "s", MODEL, vec![NoteChange::Set(summary(6))]).await;
        assert_eq!(late, Err(StoreError::Changed));
    }
}

#[tokio::test]
async fn a_copy_has_the_turns_up_to_one_and_what_rests_on_them() {
    let (_folder, stores) = stores();
    for store in stores {
        let store = &*store;
        with_turns(store, "s", 100).await;
        let changes = vec![
            NoteChange::Set(summary(20)),
            NoteChange::Set(summary(90)),
            fact("early", false, (1, 3)),
            fact("late", false, (70, 90)),
            fact("hers", true, (0, 0)),
        ];
        let mut made = step(OWNER, changes);
        made.facts_through = Some(95);
        store.note(named("ann", "s"), made, QUOTA).await.unwrap();
        let before = bytes(store, "s").await;
        insert(store, "t", true).await;
        let mut copying = Copying {
            to: "t".to_owned(),
            after: 0,
            through: 80,
            cuts: 0,
        };
        loop {
            let copied = store.copy(named("ann", "s"), copying.clone(), QUOTA);
            let copied = copied.await.unwrap();
            copying.after = copied.turn;
            if !copied.has_more {
                break;
            }
        }
        let listed = store
            .list("ann", Alive::default(), None, ALL)
            .await
            .unwrap();
        assert_eq!(listed.items.len(), 1);
        let made = store.finish(named("ann", "t"), 7).await.unwrap();
        let listed = store
            .list("ann", Alive::default(), None, ALL)
            .await
            .unwrap();
        assert_eq!(listed.items.len(), 2);
        assert_eq!((made.turns, made.tokens, made.used), (80, 800, 7));
        assert_eq!((made.marks.facts, made.marks.facts_through), (3, 0));
        assert_eq!(numbers(store, "t", NoteKind::Summary).await, [20]);
        assert_eq!(numbers(store, "t", NoteKind::Fact).await, [1, 3]);
        assert!(bytes(store, "s").await > before + 500);
        let turns = store.turns(named("ann", "t"), 0, ALL).await.unwrap();
        let originals = store.turns(named("ann", "s"), 0, ALL).await.unwrap();
        assert_eq!(turns.items, originals.items[..80]);
        // The two do not depend on each other.
        store.remove(named("ann", "s")).await.unwrap();
        while store.tidy(Alive::default()).await.unwrap().has_more {}
        assert_eq!(
            store.append("t", turn("x", 1, true), 8, QUOTA).await,
            Ok(81)
        );
        copying.cuts = 1;
        let gone = store.copy(named("ann", "t"), copying, QUOTA).await;
        assert_eq!(gone, Err(StoreError::Changed));
    }
}

#[tokio::test]
async fn imported_turns_have_their_own_numbers_within_the_quota() {
    let (_folder, stores) = stores();
    for store in stores {
        let store = &*store;
        insert(store, "s", true).await;
        let numbered = |number| Turn {
            number,
            content: turn("x", 5, true),
        };
        let put = |numbers: &[u64], quota| {
            let turns = numbers.iter().copied().map(numbered).collect();
            store.put_turns(named("ann", "s"), turns, quota)
        };
        assert_eq!(put(&[2, 5], QUOTA).await, Ok(()));
        for wrong in [&[5][..], &[7, 6], &[1001]] {
            assert_eq!(put(wrong, QUOTA).await, Err(StoreError::TurnsFull));
        }
        let small = Quota {
            bytes_max: bytes(store, "s").await,
            ..QUOTA
        };
        let full = put(&[8], small).await;
        assert!(
            matches!(full, Err(StoreError::BytesFull { .. })),
            "{full:?}"
        );
        let made = store.finish(named("ann", "s"), 9).await.unwrap();
        assert_eq!((made.turns, made.tokens), (5, 10));
        assert_eq!(store.append("s", turn("y", 1, true), 9, QUOTA).await, Ok(6));
    }
}

#[tokio::test]
async fn the_newest_turn_that_does_not_fit_is_found() {
    let (_folder, stores) = stores();
    for store in stores {
        let store = &*store;
        with_turns(store, "s", 5).await;
        for (tokens_max, expected) in [(50, 0), (49, 1), (30, 2), (9, 5), (0, 5)] {
            let leaving = store.leaving(named("ann", "s"), tokens_max).await;
            assert_eq!(leaving, Ok(expected), "{tokens_max}");
        }
        insert(store, "empty", false).await;
        assert_eq!(store.leaving(named("ann", "empty"), 0).await, Ok(0));
    }
}
