//! Notes in a file: files of the version without them, keys that are rotated, and what is left after removal.

use rusqlite::params;

use super::*;
use crate::store::{Basis, Note, NoteAuthor, NoteChange, NoteKind, NoteStep};

/// The schema of the second version.
const SECOND: &str = "
CREATE TABLE lock (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, created INTEGER NOT NULL, used INTEGER NOT NULL,
    turns INTEGER NOT NULL, tokens INTEGER NOT NULL, bytes INTEGER NOT NULL, details BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_owner ON sessions (owner, created, id);
CREATE INDEX sessions_by_use ON sessions (used);
CREATE INDEX sessions_by_age ON sessions (created);
CREATE TABLE turns (
    session TEXT NOT NULL, number INTEGER NOT NULL,
    tokens INTEGER NOT NULL, leads INTEGER NOT NULL, messages BLOB NOT NULL,
    PRIMARY KEY (session, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE owners (owner TEXT PRIMARY KEY, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE removed (session TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TRIGGER session_inserted AFTER INSERT ON sessions BEGIN
    INSERT INTO owners VALUES (new.owner, new.bytes)
        ON CONFLICT (owner) DO UPDATE SET bytes = owners.bytes + excluded.bytes;
END;
CREATE TRIGGER session_changed AFTER UPDATE OF owner, bytes ON sessions BEGIN
    UPDATE owners SET bytes = bytes - old.bytes WHERE owner = old.owner;
    INSERT INTO owners VALUES (new.owner, new.bytes)
        ON CONFLICT (owner) DO UPDATE SET bytes = owners.bytes + excluded.bytes;
    DELETE FROM owners WHERE owner = old.owner AND bytes <= 0;
END;
CREATE TRIGGER session_deleted AFTER DELETE ON sessions BEGIN
    UPDATE owners SET bytes = bytes - old.bytes WHERE owner = old.owner;
    DELETE FROM owners WHERE owner = old.owner AND bytes <= 0;
END;
PRAGMA user_version = 2;
PRAGMA application_id = 0x4b65626e;
PRAGMA journal_mode = WAL;
";

/// Writes a file as the second version did: without notes.
fn write_second(path: &Path, keyring: Option<&Keyring>) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch(SECOND).unwrap();
    let seal = |plain: &[u8], about: &str| match keyring {
        Some(keyring) => keyring.seal(plain, about).unwrap(),
        None => plain.to_vec(),
    };
    if keyring.is_some() {
        let check = seal(b"", "kebne session store");
        let insert = "INSERT INTO lock VALUES ('check', ?1)";
        connection.execute(insert, [check]).unwrap();
    }
    let details = br#"{"metadata":{},"system_prompt":"the secret instruction","prompt":null}"#;
    let details = seal(details, "details of session 1 s of ann");
    let turns = (1..).zip(["the secret question", "b", "c"]);
    let turns = turns.map(|(turn, text)| {
        let about = format!("turn {turn} of session 1 s (10 tokens, leads: true) of ann");
        (turn, seal(text.as_bytes(), &about))
    });
    let turns: Vec<(i64, Vec<u8>)> = turns.collect();
    let bytes: usize = details.len() + turns.iter().map(|(_, text)| text.len()).sum::<usize>();
    let insert = "INSERT INTO sessions VALUES ('s', 'ann', 1, 2, 3, 30, ?1, ?2)";
    let bytes = i64::try_from(bytes).unwrap();
    connection.execute(insert, params![bytes, details]).unwrap();
    for (turn, messages) in turns {
        let insert = "INSERT INTO turns VALUES ('s', ?1, 10, 1, ?2)";
        connection.execute(insert, params![turn, messages]).unwrap();
    }
}

fn summary(text: &str, last: u64) -> NoteStep {
    let note = Note {
        kind: NoteKind::Summary,
        number: last,
        is_owners: false,
        basis: Basis { first: 1, last },
        content: Bytes::copy_from_slice(text.as_bytes()),
    };
    step(NoteChange::Set(note))
}

fn step(change: NoteChange) -> NoteStep {
    NoteStep {
        author: NoteAuthor::Owner,
        changes: vec![change],
        facts_through: None,
        facts_max: 10,
    }
}

async fn summaries(store: &SqliteStore, owner: &str) -> Result<Vec<Bytes>, StoreError> {
    let notes = store.notes(named(owner, "s"), NoteKind::Summary).await?;
    Ok(notes.into_iter().map(|note| note.content).collect())
}

#[tokio::test]
async fn a_file_of_the_second_version_is_brought_to_the_present_one() {
    let folder = tempfile::tempdir().unwrap();
    for keyring in [None, key("a")] {
        let path = folder.path().join(format!("{}", keyring.is_some()));
        write_second(&path, keyring.as_ref());
        assert_eq!(file(&path, keyring.clone()).check(), Ok(()));
        let store = open(&path, keyring.clone());
        let found = store.find("s").await.unwrap().unwrap().session;
        assert_eq!(found.details, session("s", 1).details);
        assert_eq!((found.turns, found.marks), (3, Marks::default()));
        assert_eq!(numbers(&store, "s").await, Ok(vec![1, 2, 3]));
        let before = owner_bytes(&store, "s").await;
        let made = store.note(named("ann", "s"), summary("so far", 2), QUOTA);
        made.await.unwrap();
        assert!(owner_bytes(&store, "s").await > before);
        close(store, &path).await;
        let store = open(&path, keyring);
        assert_eq!(summaries(&store, "ann").await.unwrap(), ["so far"]);
        assert_eq!(store.append("s", content("d", 1), 2, QUOTA).await, Ok(4));
    }
}

#[tokio::test]
async fn notes_are_sealed_and_bound_to_their_owner_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    write(&path, key("a")).await;
    let store = open(&path, key("a"));
    let made = store.note(named("ann", "s"), summary("the secret summary", 2), QUOTA);
    made.await.unwrap();
    close(store, &path).await;
    let bytes = all_bytes(folder.path());
    assert!(memchr::memmem::find(&bytes, b"secret summary").is_none());
    let damaged = async |statement: &str, back: &str| {
        execute(&path, statement);
        let store = open(&path, key("a"));
        let read = summaries(&store, "ann").await;
        assert!(matches!(read, Err(StoreError::Damaged(_))), "{read:?}");
        close(store, &path).await;
        execute(&path, back);
    };
    for (column, before) in [("last", 2), ("number", 2), ("owners", 0)] {
        let (to, back) = (
            format!("UPDATE notes SET {column} = 1"),
            format!("UPDATE notes SET {column} = {before}"),
        );
        damaged(&to, &back).await;
    }
    let store = open(&path, key("a"));
    assert_eq!(
        summaries(&store, "ann").await.unwrap(),
        ["the secret summary"]
    );
}

#[tokio::test]
async fn notes_follow_a_rotated_key_and_a_renamed_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    write(&path, key("a")).await;
    let store = open(&path, key("a"));
    let made = store.note(named("ann", "s"), summary("so far", 2), QUOTA);
    made.await.unwrap();
    assert_eq!(store.adopt("ann", "eve").await, Ok(false));
    assert_eq!(summaries(&store, "eve").await.unwrap(), ["so far"]);
    close(store, &path).await;
    let both = key("b").unwrap().with_old(&"a".repeat(64)).ok();
    let store = open(&path, both);
    assert_eq!(summaries(&store, "eve").await.unwrap(), ["so far"]);
    tidy(&store, Alive::default()).await;
    close(store, &path).await;
    let store = open(&path, key("b"));
    assert_eq!(summaries(&store, "eve").await.unwrap(), ["so far"]);
}

#[tokio::test]
async fn nothing_of_a_removed_session_or_a_rewound_one_is_left_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let is_there = |text: &str| {
        let bytes = all_bytes(folder.path());
        memchr::memmem::find(&bytes, text.as_bytes()).is_some()
    };
    write(&path, None).await;
    let store = open(&path, None);
    for (text, last) in [("a first summary", 1), ("a later summary", 3)] {
        let made = store.note(named("ann", "s"), summary(text, last), QUOTA);
        made.await.unwrap();
    }
    close(store, &path).await;
    assert!(is_there("a later summary") && is_there("the secret question"));
    let store = open(&path, None);
    while store
        .rewind(named("ann", "s"), 1, 3)
        .await
        .unwrap()
        .has_more
    {}
    close(store, &path).await;
    assert!(!is_there("a later summary") && is_there("a first summary"));
    let store = open(&path, None);
    while store
        .rewind(named("ann", "s"), 0, 3)
        .await
        .unwrap()
        .has_more
    {}
    close(store, &path).await;
    assert!(!is_there("a first summary") && !is_there("the secret question"));
    let store = open(&path, None);
    store
        .append("s", content("a new question", 1), 4, QUOTA)
        .await
        .unwrap();
    let fact = NoteChange::AddFact {
        is_owners: true,
        basis: Basis::NONE,
        content: Bytes::from_static(b"a private fact"),
    };
    store
        .note(named("ann", "s"), step(fact), QUOTA)
        .await
        .unwrap();
    close(store, &path).await;
    assert!(is_there("a new question") && is_there("a private fact"));
    let store = open(&path, None);
    store.remove(named("ann", "s")).await.unwrap();
    tidy(&store, Alive::default()).await;
    close(store, &path).await;
    assert!(!is_there("a new question") && !is_there("a private fact"));
    let connection = rusqlite::Connection::open(&path).unwrap();
    let count = "SELECT (SELECT count(*) FROM notes) + (SELECT count(*) FROM owners)";
    let left: i64 = connection.query_row(count, [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}
