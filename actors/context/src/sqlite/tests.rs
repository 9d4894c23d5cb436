//! Sessions in a file: what is kept, what a key protects, what damage looks like.

use std::{fs, path::Path, time::Duration};

use bytes::Bytes;

use super::*;
use crate::store::{Alive, Details, Page, Session, SessionStore, StoreError, TurnContent};

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
    }
}

fn content(text: &str, tokens: u64) -> TurnContent {
    TurnContent {
        tokens,
        leads: true,
        messages: Bytes::copy_from_slice(text.as_bytes()),
    }
}

fn key(digit: &str) -> Option<Sealer> {
    Sealer::from_hex(&digit.repeat(64)).ok()
}

async fn write(path: &Path, sealer: Option<Sealer>) {
    let store = SqliteStore::open(path.to_owned(), sealer).unwrap();
    let made = store.insert(session("s", 1), 9, Alive::default()).await;
    made.unwrap();
    for (number, text) in (1..).zip(["the secret question", "b", "c"]) {
        let kept = store.append("s", content(text, 10), 2).await;
        assert_eq!(kept, Ok(number));
    }
    drop(store);
    // The store's thread closes the file when it ends, and takes what it wrote into it.
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    while Path::new(&log).exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
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
    for sealer in [None, key("a")] {
        let path = path.with_extension(if sealer.is_some() { "sealed" } else { "plain" });
        write(&path, sealer.clone()).await;
        let store = SqliteStore::open(path.clone(), sealer.clone()).unwrap();
        let found = store.find("s").await.unwrap().unwrap();
        assert_eq!((found.turns, found.tokens, found.used), (3, 30, 2));
        assert_eq!(found.details, session("s", 1).details);
        let turns = store.newest("s", 20).await.unwrap();
        let numbers: Vec<u64> = turns.iter().map(|turn| turn.number).collect();
        assert_eq!(numbers, [2, 3]);
        let rest = store.turns("s", 1, 1).await.unwrap();
        assert_eq!(rest.len(), 1);
        assert_eq!(rest[0].content, content("b", 10));
        assert_eq!(SqliteStore::check(&path, sealer), Ok(()));
    }
}

#[tokio::test]
async fn a_removed_turn_is_gone_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    for sealer in [None, key("a")] {
        let path = folder.path().join(format!("{}", sealer.is_some()));
        write(&path, sealer.clone()).await;
        let store = SqliteStore::open(path, sealer).unwrap();
        assert_eq!(store.remove_turn("s", 1).await, Ok(true));
        assert_eq!(store.remove_turn("s", 1).await, Ok(false));
        assert_eq!(store.append("s", content("d", 1), 3).await, Ok(4));
        let turns = store.turns("s", 0, 9).await.unwrap();
        let numbers: Vec<u64> = turns.iter().map(|turn| turn.number).collect();
        assert_eq!(numbers, [2, 3, 4]);
        let session = store.find("s").await.unwrap().unwrap();
        assert_eq!((session.turns, session.tokens), (4, 21));
    }
}

#[tokio::test]
async fn no_file_is_made_before_the_first_session() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.sqlite");
    let store = SqliteStore::open(path.clone(), None).unwrap();
    assert_eq!(store.expire(Alive::default()).await, Ok(0));
    assert!(!path.exists());
    let made = store.insert(session("s", 1), 9, Alive::default()).await;
    made.unwrap();
    assert!(path.exists());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "only its owner may read it");
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
async fn a_wrong_key_a_missing_key_and_a_needless_key_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, sealed) = (folder.path().join("plain"), folder.path().join("sealed"));
    write(&plain, None).await;
    write(&sealed, key("a")).await;
    for (path, sealer, words) in [
        (&sealed, key("b"), "the key is not the one"),
        (&sealed, None, "no key is set"),
        (&plain, key("a"), "without encryption"),
    ] {
        let error = SqliteStore::open(path.clone(), sealer).unwrap_err();
        assert!(matches!(error, StoreError::Damaged(_)), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_store_or_was_cut_is_never_an_empty_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.sqlite");
    for bytes in [&b""[..], b"hello", &[0; 8192]] {
        fs::write(&path, bytes).unwrap();
        let error = SqliteStore::open(path.clone(), None).unwrap_err();
        assert!(matches!(error, StoreError::Damaged(_)), "{error}");
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
    let checked = SqliteStore::check(&path, None);
    assert!(
        matches!(checked, Err(StoreError::Damaged(_))),
        "{checked:?}"
    );
}

#[tokio::test]
async fn a_changed_turn_is_damage_and_not_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sealed");
    write(&path, key("a")).await;
    let connection = rusqlite::Connection::open(&path).unwrap();
    // The second turn's sealed text is put in the place of the third's.
    let swap = "UPDATE turns SET messages = (SELECT messages FROM turns WHERE number = 2) WHERE number = 3";
    assert_eq!(connection.execute(swap, []).unwrap(), 1);
    let store = SqliteStore::open(path, key("a")).unwrap();
    let turns = store.turns("s", 2, 9).await;
    assert!(matches!(turns, Err(StoreError::Damaged(_))), "{turns:?}");
    assert_eq!(store.turns("s", 0, 2).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_step_that_fails_harms_no_other_of_its_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("s"), None).unwrap();
    let made = store.insert(session("s", 1), 9, Alive::default()).await;
    made.unwrap();
    let steps = (0..200).map(|number| {
        let id = if number % 3 == 0 { "none" } else { "s" };
        store.append(id, content("x", 1), 2)
    });
    let results = futures_util::future::join_all(steps).await;
    let kept = results.iter().filter(|result| result.is_ok()).count();
    let refused = |result: &&Result<u64, StoreError>| **result == Err(StoreError::NoSuchSession);
    assert_eq!(results.iter().filter(refused).count(), 67);
    let turns = store.turns("s", 0, 1000).await.unwrap();
    let numbers: Vec<u64> = turns.iter().map(|turn| turn.number).collect();
    assert_eq!(numbers, (1..=kept as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn lists_caps_and_expiry_hold_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("s"), None).unwrap();
    for (id, created) in [("a", 1), ("b", 2), ("c", 2)] {
        let made = store.insert(session(id, created), 3, Alive::default());
        made.await.unwrap();
    }
    let fourth = store.insert(session("d", 3), 3, Alive::default()).await;
    assert_eq!(fourth, Err(StoreError::Full));
    let ids = async |after: Option<&str>, alive| {
        let page = Page {
            after: after.map(str::to_owned),
            limit: 2,
        };
        let found = store.list("ann", alive, page).await.unwrap();
        found
            .into_iter()
            .map(|session| session.id)
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(None, Alive::default()).await, ["c", "b"]);
    assert_eq!(ids(Some("b"), Alive::default()).await, ["a"]);
    let alive = Alive {
        used_since: 2,
        created_since: 0,
    };
    assert_eq!(ids(None, alive).await, ["c", "b"]);
    store.append("a", content("x", 1), 1).await.unwrap();
    assert_eq!(store.expire(alive).await, Ok(1));
    assert_eq!(store.find("a").await, Ok(None));
    assert_eq!(store.turns("a", 0, 9).await, Ok(Vec::new()));
    assert_eq!(store.remove("b").await, Ok(true));
    assert_eq!(store.remove("b").await, Ok(false));
}
