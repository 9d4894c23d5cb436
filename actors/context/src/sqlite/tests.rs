//! Sessions in a file: what is kept, what a key protects, what damage and outages look like.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use bytes::Bytes;

use super::*;
use crate::store::{Alive, Details, Marks, Session, SessionStore, StoreError, TurnContent};

mod erasure;
mod notes;
mod outages;
mod upgrade;

const QUOTA: Quota = Quota {
    sessions_max: 9,
    turns_max: 1 << 20,
    bytes_max: 1 << 40,
    alive: Alive {
        used_since: 0,
        created_since: 0,
    },
};
const PART: PartSize = PartSize {
    items_max: 1000,
    bytes_max: 1 << 40,
};

fn session(id: &str, created: u64) -> Session {
    Session {
        id: id.to_owned(),
        owner: "ann".to_owned(),
        created,
        used: created,
        turns: 0,
        tokens: 0,
        details: Details {
            system_prompt: Some("the secret instruction".to_owned()),
            ..Details::default()
        },
        marks: Marks::default(),
    }
}

fn content(text: &str, tokens: u64) -> TurnContent {
    TurnContent {
        tokens,
        leads: true,
        messages: Bytes::copy_from_slice(text.as_bytes()),
    }
}

fn key(digit: &str) -> Option<Keyring> {
    Keyring::from_hex(&digit.repeat(64)).ok()
}

fn file(path: &Path, keyring: Option<Keyring>) -> SqliteFile {
    SqliteFile::new(path.to_owned(), keyring, Duration::from_secs(30))
}

fn open(path: &Path, keyring: Option<Keyring>) -> SqliteStore {
    file(path, keyring).open().unwrap()
}

fn named(owner: &str, id: &str) -> Owned {
    Owned {
        owner: owner.to_owned(),
        id: id.to_owned(),
        alive: Alive::default(),
    }
}

async fn numbers(store: &SqliteStore, id: &str) -> Result<Vec<u64>, StoreError> {
    let part = store.turns(named("ann", id), 0, PART).await?;
    Ok(part.items.iter().map(|turn| turn.number).collect())
}

async fn owner_bytes(store: &SqliteStore, id: &str) -> u64 {
    store.find(id).await.unwrap().unwrap().owner_bytes
}

/// Ends a store and waits until its thread has closed the file, which takes the log into it.
async fn close(store: SqliteStore, path: &Path) {
    drop(store);
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    while Path::new(&log).exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn write(path: &Path, keyring: Option<Keyring>) {
    let store = open(path, keyring);
    store.insert(session("s", 1), QUOTA).await.unwrap();
    for (number, text) in (1..).zip(["the secret question", "b", "c"]) {
        let kept = store.append("s", content(text, 10), 2, QUOTA).await;
        assert_eq!(kept, Ok(number));
    }
    close(store, path).await;
}

fn all_bytes(folder: &Path) -> Vec<u8> {
    let files = fs::read_dir(folder).unwrap();
    files
        .flat_map(|file| fs::read(file.unwrap().path()).unwrap())
        .collect()
}

#[tokio::test]
async fn what_was_kept_is_there_when_the_file_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deeper/sessions.sqlite");
    for keyring in [None, key("a")] {
        let path = path.with_extension(if keyring.is_some() { "sealed" } else { "plain" });
        write(&path, keyring.clone()).await;
        let store = open(&path, keyring.clone());
        let found = store.find("s").await.unwrap().unwrap().session;
        assert_eq!((found.turns, found.tokens, found.used), (3, 30, 2));
        assert_eq!(found.details, session("s", 1).details);
        let turns = store.newest("s", Fit::new(20, 1000)).await.unwrap();
        let numbers: Vec<u64> = turns.iter().map(|turn| turn.number).collect();
        assert_eq!(numbers, [2, 3]);
        let size = PartSize {
            items_max: 1,
            ..PART
        };
        let rest = store.turns(named("ann", "s"), 1, size).await.unwrap();
        assert_eq!((rest.items.len(), rest.has_more), (1, true));
        assert_eq!(rest.items[0].content, content("b", 10));
        assert_eq!(file(&path, keyring).check(), Ok(()));
    }
}

#[tokio::test]
async fn a_removed_turn_is_gone_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    for keyring in [None, key("a")] {
        let path = folder.path().join(format!("{}", keyring.is_some()));
        write(&path, keyring.clone()).await;
        let store = open(&path, keyring);
        let remove = || store.remove_turn(named("ann", "s"), 1);
        assert_eq!(remove().await, Ok(true));
        assert_eq!(remove().await, Ok(false));
        assert_eq!(store.append("s", content("d", 1), 3, QUOTA).await, Ok(4));
        assert_eq!(numbers(&store, "s").await.unwrap(), [2, 3, 4]);
        let session = store.find("s").await.unwrap().unwrap().session;
        assert_eq!((session.turns, session.tokens), (4, 21));
    }
}

#[tokio::test]
async fn no_file_is_made_before_the_first_session_and_only_its_owner_may_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deeper/sessions.sqlite");
    let store = open(&path, None);
    assert_eq!(store.tidy(Alive::default()).await, Ok(Tidied::default()));
    assert_eq!(store.find("s").await, Ok(None));
    let list = store.list("ann", Alive::default(), None, PART).await;
    assert_eq!(list, Ok(Part::default()));
    let unmade = store.append("s", content("a", 1), 1, QUOTA).await;
    assert_eq!(unmade, Err(StoreError::NoSuchSession));
    assert!(!path.exists());
    store.insert(session("s", 1), QUOTA).await.unwrap();
    for made in fs::read_dir(path.parent().unwrap()).unwrap() {
        let made = made.unwrap().path();
        let mode = fs::metadata(&made).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", made.display());
    }
    let mut log = path.clone().into_os_string();
    log.push("-wal");
    assert!(Path::new(&log).exists());
    let mode = fs::metadata(path.parent().unwrap())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn a_file_that_others_may_read_is_narrowed_when_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    write(&path, None).await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let store = open(&path, None);
    store.insert(session("other", 1), QUOTA).await.unwrap();
    for file in fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap().path();
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn with_a_key_no_content_is_readable_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("plain"), None).await;
    let secret = |bytes: &[u8]| {
        ["the secret question", "the secret instruction"]
            .map(|text| memchr::memmem::find(bytes, text.as_bytes()).is_some())
    };
    assert_eq!(secret(&all_bytes(folder.path())), [true, true]);
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("sealed"), key("a")).await;
    assert_eq!(secret(&all_bytes(folder.path())), [false, false]);
}

#[tokio::test]
async fn a_wrong_key_a_missing_key_and_a_needless_key_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, sealed) = (folder.path().join("plain"), folder.path().join("sealed"));
    write(&plain, None).await;
    write(&sealed, key("a")).await;
    for (path, keyring, words) in [
        (&sealed, key("b"), "the key is not the one"),
        (&sealed, None, "no key is set"),
        (&plain, key("a"), "without encryption"),
    ] {
        let error = file(path, keyring.clone()).check().unwrap_err();
        assert!(matches!(error, StoreError::Damaged(_)), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(open(path, keyring).find("s").await, Err(error));
    }
}

#[tokio::test]
async fn a_file_that_is_not_a_store_or_was_cut_is_never_an_empty_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.sqlite");
    for bytes in [&b""[..], b"hello", &[0; 8192]] {
        fs::write(&path, bytes).unwrap();
        let error = file(&path, None).check().unwrap_err();
        assert!(matches!(error, StoreError::Damaged(_)), "{error}");
        let inserted = open(&path, None).insert(session("s", 1), QUOTA).await;
        assert_eq!(inserted, Err(error));
        assert!(fs::read(&path).unwrap() == bytes, "it is left as it is");
    }
    fs::remove_file(&path).unwrap();
    write(&path, None).await;
    let whole = fs::read(&path).unwrap();
    // A page in the middle of the file is overwritten.
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xff);
    fs::write(&path, &bytes).unwrap();
    let checked = file(&path, None).check();
    assert!(
        matches!(checked, Err(StoreError::Damaged(_))),
        "{checked:?}"
    );
}

fn execute(path: &Path, statement: &str) {
    let connection = rusqlite::Connection::open(path).unwrap();
    assert_eq!(connection.execute(statement, []).unwrap(), 1);
}

#[tokio::test]
async fn a_changed_turn_is_damage_and_not_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sealed");
    write(&path, key("a")).await;
    // The second turn's sealed text is put in the place of the third's.
    let swap = "UPDATE turns SET messages = (SELECT messages FROM turns WHERE number = 2) WHERE number = 3";
    execute(&path, swap);
    let store = open(&path, key("a"));
    let turns = store.turns(named("ann", "s"), 2, PART).await;
    assert!(matches!(turns, Err(StoreError::Damaged(_))), "{turns:?}");
    let size = PartSize {
        items_max: 1,
        ..PART
    };
    let first = store.turns(named("ann", "s"), 0, size).await.unwrap();
    assert_eq!(first.items.len(), 1);
}

#[tokio::test]
async fn a_row_that_is_moved_to_another_owner_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sealed");
    write(&path, key("a")).await;
    execute(&path, "UPDATE sessions SET owner = 'bob'");
    let store = open(&path, key("a"));
    let found = store.find("s").await;
    assert!(matches!(found, Err(StoreError::Damaged(_))), "{found:?}");
    let turns = store.newest("s", Fit::new(100, 100)).await;
    assert!(matches!(turns, Err(StoreError::Damaged(_))), "{turns:?}");
    let list = store.list("bob", Alive::default(), None, PART).await;
    assert!(matches!(list, Err(StoreError::Damaged(_))), "{list:?}");
    close(store, &path).await;
    // Nor does a turn that is moved to a session of another owner.
    execute(&path, "UPDATE sessions SET owner = 'ann'");
    let store = open(&path, key("a"));
    let mut of_bob = session("t", 1);
    of_bob.owner = "bob".to_owned();
    store.insert(of_bob, QUOTA).await.unwrap();
    close(store, &path).await;
    execute(&path, "UPDATE turns SET session = 't' WHERE number = 1");
    let store = open(&path, key("a"));
    let turns = store.turns(named("bob", "t"), 0, PART).await;
    assert!(matches!(turns, Err(StoreError::Damaged(_))), "{turns:?}");
}

#[tokio::test]
async fn a_step_that_fails_harms_no_other_of_its_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("s"), None);
    store.insert(session("s", 1), QUOTA).await.unwrap();
    let steps = (0..200).map(|number| {
        let id = if number % 3 == 0 { "none" } else { "s" };
        store.append(id, content("x", 1), 2, QUOTA)
    });
    let results = futures_util::future::join_all(steps).await;
    let kept = results.iter().filter(|result| result.is_ok()).count();
    let refused = |result: &&Result<u64, StoreError>| **result == Err(StoreError::NoSuchSession);
    assert_eq!(results.iter().filter(refused).count(), 67);
    let numbers = numbers(&store, "s").await.unwrap();
    assert_eq!(numbers, (1..=kept as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn lists_caps_and_expiry_hold_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("s"), None);
    let quota = Quota {
        sessions_max: 3,
        ..QUOTA
    };
    for (id, created) in [("a", 1), ("b", 2), ("c", 2)] {
        store.insert(session(id, created), quota).await.unwrap();
    }
    let fourth = store.insert(session("d", 3), quota).await;
    assert_eq!(fourth, Err(StoreError::Full));
    let ids = async |after: Option<&str>, alive| {
        let size = PartSize {
            items_max: 2,
            ..PART
        };
        let after = after.map(str::to_owned);
        let part = store.list("ann", alive, after, size).await.unwrap();
        let ids = part.items.into_iter().map(|session| session.id);
        (ids.collect::<Vec<_>>().join(" "), part.has_more)
    };
    assert_eq!(ids(None, Alive::default()).await, ("c b".to_owned(), true));
    assert_eq!(
        ids(Some("b"), Alive::default()).await,
        ("a".to_owned(), false)
    );
    let alive = Alive {
        used_since: 2,
        created_since: 0,
    };
    assert_eq!(ids(None, alive).await, ("c b".to_owned(), false));
    store.append("a", content("x", 1), 1, QUOTA).await.unwrap();
    tidy(&store, alive).await;
    assert_eq!(store.find("a").await, Ok(None));
    assert_eq!(store.remove(named("ann", "b")).await, Ok(()));
    let again = store.remove(named("ann", "b")).await;
    assert_eq!(again, Err(StoreError::NoSuchSession));
}

/// Does everything that is to be done; returns the steps it took and the sessions that had expired.
async fn tidy(store: &SqliteStore, alive: Alive) -> (u64, u64) {
    let (mut steps, mut expired) = (0, 0);
    loop {
        let tidied = store.tidy(alive).await.unwrap();
        steps += 1;
        expired += tidied.expired;
        if !tidied.has_more {
            return (steps, expired);
        }
    }
}

#[tokio::test]
async fn expiry_and_removal_take_small_steps_and_release_the_bytes_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = open(&path, key("a"));
    let quota = Quota {
        sessions_max: 1000,
        ..QUOTA
    };
    store.insert(session("kept", 9), quota).await.unwrap();
    let alone = owner_bytes(&store, "kept").await;
    let inserts = (0..150).map(|number| store.insert(session(&format!("old-{number}"), 1), quota));
    for inserted in futures_util::future::join_all(inserts).await {
        inserted.unwrap();
    }
    // Erased in several steps because they are many, and because they are large.
    for (id, count, size) in [("many", 300, 1), ("large", 8, 600 << 10)] {
        store.insert(session(id, 9), quota).await.unwrap();
        let text = "x".repeat(size);
        let appends = (0..count).map(|_| store.append(id, content(&text, 1), 9, quota));
        for appended in futures_util::future::join_all(appends).await {
            appended.unwrap();
        }
    }
    assert!(owner_bytes(&store, "kept").await > 8 * (600 << 10));
    for id in ["many", "large"] {
        store.remove(named("ann", id)).await.unwrap();
        assert_eq!(store.find(id).await, Ok(None));
    }
    let of_the_old = owner_bytes(&store, "kept").await - alone;
    assert!((150 * 60..150 * 200).contains(&of_the_old), "{of_the_old}");
    let alive = Alive {
        used_since: 5,
        created_since: 5,
    };
    let first = store.tidy(alive).await.unwrap();
    assert_eq!((first.expired, first.has_more), (64, true));
    let (steps, expired) = tidy(&store, alive).await;
    assert_eq!(expired, 150 - 64);
    // Each of those sessions is looked at, 300 turns in steps of 64, and 8 large ones by two.
    assert!((150..200).contains(&steps), "{steps}");
    assert_eq!(owner_bytes(&store, "kept").await, alone);
    close(store, &path).await;
    let connection = rusqlite::Connection::open(&path).unwrap();
    for table in ["turns", "removed"] {
        let count = format!("SELECT count(*) FROM {table}");
        let left: i64 = connection.query_row(&count, [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "{table}");
    }
}

#[tokio::test]
async fn the_bytes_of_an_owner_are_what_its_rows_hold() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = open(&path, key("a"));
    for id in ["a", "b", "c"] {
        store.insert(session(id, 1), QUOTA).await.unwrap();
    }
    let appends = (0..60_usize).map(|number| {
        let id = ["a", "b", "c"][number % 3];
        let text = "x".repeat(number * 7);
        let (store, quota) = (
            &store,
            Quota {
                bytes_max: 8000,
                ..QUOTA
            },
        );
        async move { store.append(id, content(&text, 1), 1, quota).await }
    });
    let results = futures_util::future::join_all(appends).await;
    let full = Err(StoreError::BytesFull { bytes_max: 8000 });
    assert!(results.contains(&full));
    assert!(owner_bytes(&store, "a").await <= 8000);
    let change = Change {
        system_prompt: Some(Some("y".repeat(500))),
        ..Change::default()
    };
    store
        .change(named("ann", "a"), change, 2, QUOTA)
        .await
        .unwrap();
    store.remove_turn(named("ann", "a"), 1).await.unwrap();
    store.remove(named("ann", "b")).await.unwrap();
    let counted = owner_bytes(&store, "a").await;
    close(store, &path).await;
    let connection = rusqlite::Connection::open(&path).unwrap();
    let sum = "SELECT (SELECT sum(length(details)) FROM sessions) + (SELECT sum(length(messages)) FROM turns)";
    let held: i64 = connection.query_row(sum, [], |row| row.get(0)).unwrap();
    assert_eq!(counted, held.unsigned_abs());
}

#[tokio::test]
async fn what_has_expired_makes_room_within_the_step_that_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("s"), None);
    let mut quota = Quota {
        bytes_max: 3000,
        ..QUOTA
    };
    store.insert(session("old", 1), quota).await.unwrap();
    store
        .append("old", content(&"x".repeat(2500), 1), 1, quota)
        .await
        .unwrap();
    store.insert(session("new", 5), quota).await.unwrap();
    let append = |quota| store.append("new", content(&"x".repeat(2500), 1), 5, quota);
    assert_eq!(
        append(quota).await,
        Err(StoreError::BytesFull { bytes_max: 3000 })
    );
    quota.alive.used_since = 5;
    assert_eq!(append(quota).await, Ok(1));
    assert_eq!(store.find("old").await, Ok(None));
}

#[tokio::test]
async fn changes_of_different_fields_at_once_are_all_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("s"), key("a"));
    store.insert(session("s", 1), QUOTA).await.unwrap();
    let prompt = Change {
        prompt: Some(Some("guide".to_owned())),
        ..Change::default()
    };
    let system_prompt = Change {
        system_prompt: Some(None),
        ..Change::default()
    };
    let changes = [prompt, system_prompt];
    let changes = changes.map(|change| store.change(named("ann", "s"), change, 2, QUOTA));
    for changed in futures_util::future::join_all(changes).await {
        changed.unwrap();
    }
    let details = store.find("s").await.unwrap().unwrap().session.details;
    assert_eq!(details.prompt.as_deref(), Some("guide"));
    assert_eq!(details.system_prompt, None);
}
