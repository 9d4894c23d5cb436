//! Files of the first version, former owners, and keys that are rotated.

use rusqlite::params;

use super::*;

/// The schema of the first version.
const FIRST: &str = "
CREATE TABLE lock (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, created INTEGER NOT NULL, used INTEGER NOT NULL,
    turns INTEGER NOT NULL, tokens INTEGER NOT NULL, details BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_owner ON sessions (owner, created, id);
CREATE INDEX sessions_by_use ON sessions (used);
CREATE INDEX sessions_by_age ON sessions (created);
CREATE TABLE turns (
    session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE, number INTEGER NOT NULL,
    tokens INTEGER NOT NULL, leads INTEGER NOT NULL, messages BLOB NOT NULL,
    PRIMARY KEY (session, number)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
PRAGMA application_id = 0x4b65626e;
PRAGMA journal_mode = WAL;
";

/// Writes a file as the first version did: pieces do not name their owner.
fn write_first(path: &Path, keyring: Option<&Keyring>) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch(FIRST).unwrap();
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
    let details = seal(details, "details of session s");
    let insert = "INSERT INTO sessions VALUES ('s', 'ann', 1, 2, 3, 30, ?1)";
    connection.execute(insert, [details]).unwrap();
    for (turn, text) in (1..).zip(["the secret question", "b", "c"]) {
        let about = format!("turn {turn} of session s (10 tokens, leads: true)");
        let messages = seal(text.as_bytes(), &about);
        let insert = "INSERT INTO turns VALUES ('s', ?1, 10, 1, ?2)";
        connection.execute(insert, params![turn, messages]).unwrap();
    }
}

/// Makes a file of the second version of one of the first: pieces name their owner, and are sealed with the master key.
fn write_second(path: &Path, keyring: Option<&Keyring>) {
    write_first(path, keyring);
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch(SECOND).unwrap();
    let seal = |plain: &[u8], about: &str| match keyring {
        Some(keyring) => keyring.seal(plain, about).unwrap(),
        None => plain.to_vec(),
    };
    let details = br#"{"metadata":{},"system_prompt":"the secret instruction","prompt":null}"#;
    let details = seal(details, "details of session 1 s of ann");
    let update = "UPDATE sessions SET details = ?1";
    connection.execute(update, [details]).unwrap();
    for (turn, text) in (1..).zip(["the secret question", "b", "c"]) {
        let about = format!("turn {turn} of session 1 s (10 tokens, leads: true) of ann");
        let messages = seal(text.as_bytes(), &about);
        let update = "UPDATE turns SET messages = ?2 WHERE number = ?1";
        connection.execute(update, params![turn, messages]).unwrap();
    }
    connection.execute_batch(SECOND_COUNTED).unwrap();
}

/// Brings the schema of the first version to the second.
const SECOND: &str = "
ALTER TABLE sessions ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
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
";
const SECOND_COUNTED: &str = "
UPDATE sessions SET bytes = length(details)
    + coalesce((SELECT sum(length(messages)) FROM turns WHERE turns.session = sessions.id), 0);
";

/// A kind of files of an earlier version.
type Earlier = fn(&Path, Option<&Keyring>);
const EARLIER: [(&str, Earlier); 2] = [("first", write_first), ("second", write_second)];

async fn is_all_there(store: &SqliteStore, owner: &str) {
    let found = store.find("s").await.unwrap().unwrap().session;
    assert_eq!((found.turns, found.tokens, found.used), (3, 30, 2));
    assert_eq!(found.details, session("s", 1).details);
    let part = store.turns(named(owner, "s"), 0, PART).await.unwrap();
    let contents: Vec<_> = part.items.into_iter().map(|turn| turn.content).collect();
    let expected = ["the secret question", "b", "c"].map(|text| content(text, 10));
    assert_eq!(contents, expected);
}

#[tokio::test]
async fn files_of_earlier_versions_are_read_and_brought_to_the_present_one() {
    let folder = tempfile::tempdir().unwrap();
    let cases = EARLIER.map(|earlier| [(earlier, None), (earlier, key("a"))]);
    for ((name, write), keyring) in cases.into_iter().flatten() {
        let path = folder.path().join(format!("{name}-{}", keyring.is_some()));
        write(&path, keyring.as_ref());
        assert_eq!(file(&path, keyring.clone()).check(), Ok(()));
        let store = open(&path, keyring.clone());
        is_all_there(&store, "ann").await;
        let before = owner_bytes(&store, "s").await;
        assert_eq!(store.append("s", content("d", 10), 2, QUOTA).await, Ok(4));
        assert!(owner_bytes(&store, "s").await > before);
        assert_eq!(store.remove_turn(named("ann", "s"), 4).await, Ok(true));
        assert_eq!(owner_bytes(&store, "s").await, before);
        tidy(&store, Alive::default()).await;
        assert_eq!(owner_bytes(&store, "s").await, before);
        close(store, &path).await;
        if keyring.is_some() {
            assert_eq!(number_of(&path, "SELECT count(*) FROM keys"), 1);
            let marks = number_of(&path, "SELECT count(*) FROM lock WHERE name <> 'check'");
            assert_eq!(marks, 0);
            // From now on pieces have to name their owner.
            execute(&path, "UPDATE sessions SET owner = 'bob'");
            let found = open(&path, keyring).find("s").await;
            assert!(matches!(found, Err(StoreError::Damaged(_))), "{found:?}");
        }
    }
}

#[tokio::test]
async fn an_upgrade_that_was_interrupted_goes_on_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    for (name, write) in EARLIER {
        let path = path.with_extension(name);
        write(&path, key("a").as_ref());
        let store = open(&path, key("a"));
        // Only the sessions are sealed again before the process ends.
        assert!(store.tidy(Alive::default()).await.unwrap().has_more);
        close(store, &path).await;
        let store = open(&path, key("a"));
        is_all_there(&store, "ann").await;
        tidy(&store, Alive::default()).await;
        is_all_there(&store, "ann").await;
        close(store, &path).await;
        is_all_there(&open(&path, key("a")), "ann").await;
    }
}

fn number_of(path: &Path, query: &str) -> i64 {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.query_row(query, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_piece_under_the_master_key_is_refused_once_the_upgrade_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    write_second(&path, key("a").as_ref());
    let old = rusqlite::Connection::open(&path).unwrap();
    let find = "SELECT messages FROM turns WHERE number = 1";
    let messages: Vec<u8> = old.query_row(find, [], |row| row.get(0)).unwrap();
    drop(old);
    let store = open(&path, key("a"));
    tidy(&store, Alive::default()).await;
    close(store, &path).await;
    let changed = rusqlite::Connection::open(&path).unwrap();
    let update = "UPDATE turns SET messages = ?1 WHERE number = 1";
    changed.execute(update, [messages]).unwrap();
    drop(changed);
    let turns = open(&path, key("a"))
        .turns(named("ann", "s"), 0, PART)
        .await;
    assert!(matches!(turns, Err(StoreError::Damaged(_))), "{turns:?}");
}

#[tokio::test]
async fn sessions_of_a_former_owner_are_given_to_the_present_one() {
    let folder = tempfile::tempdir().unwrap();
    for keyring in [None, key("a")] {
        let path = folder.path().join(format!("{}", keyring.is_some()));
        write_first(&path, keyring.as_ref());
        let store = open(&path, keyring.clone());
        let bytes = owner_bytes(&store, "s").await;
        for (former, owner) in [("ann", "tenant"), ("tenant", "other tenant")] {
            assert_eq!(store.adopt(former, owner).await, Ok(false));
            is_all_there(&store, owner).await;
            let of_former = store.turns(named(former, "s"), 0, PART).await;
            assert_eq!(of_former, Err(StoreError::NoSuchSession));
        }
        assert!(owner_bytes(&store, "s").await >= bytes);
        tidy(&store, Alive::default()).await;
        close(store, &path).await;
        let store = open(&path, keyring.clone());
        is_all_there(&store, "other tenant").await;
        close(store, &path).await;
        if keyring.is_some() {
            // A former owner's name in the file is no way to a session.
            execute(&path, "UPDATE sessions SET owner = 'ann'");
            let found = open(&path, keyring).find("s").await;
            assert!(matches!(found, Err(StoreError::Damaged(_))), "{found:?}");
        }
    }
}

#[tokio::test]
async fn sessions_are_given_away_in_small_steps() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("s"), key("a"));
    let quota = Quota {
        sessions_max: 1000,
        ..QUOTA
    };
    let inserts = (0..150).map(|number| store.insert(session(&format!("s-{number}"), 1), quota));
    for inserted in futures_util::future::join_all(inserts).await {
        inserted.unwrap();
    }
    let mut steps = 1;
    while store.adopt("ann", "bob").await.unwrap() {
        steps += 1;
    }
    assert_eq!(steps, 3);
    let size = async |owner| {
        let part = store.list(owner, Alive::default(), None, PART).await;
        part.unwrap().items.len()
    };
    assert_eq!((size("ann").await, size("bob").await), (0, 150));
}

fn rotated(new: &str, old: &str) -> Option<Keyring> {
    key(new).unwrap().with_old(&old.repeat(64)).ok()
}

#[tokio::test]
async fn a_rotation_wraps_the_keys_of_tenants_and_touches_no_turn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    write(&path, key("a")).await;
    let turns = |path: &Path| -> Vec<Vec<u8>> {
        let connection = rusqlite::Connection::open(path).unwrap();
        let mut all = connection.prepare("SELECT messages FROM turns").unwrap();
        let all = all.query_map([], |row| row.get(0)).unwrap();
        all.map(Result::unwrap).collect()
    };
    let before = turns(&path);
    let store = open(&path, rotated("b", "a"));
    is_all_there(&store, "ann").await;
    assert_eq!(store.append("s", content("d", 1), 2, QUOTA).await, Ok(4));
    close(store, &path).await;
    assert_eq!(turns(&path)[..3], before);
    let error = file(&path, key("a")).check().unwrap_err();
    assert!(
        error.to_string().contains("the key is not the one"),
        "{error}"
    );
    // The old key is not needed any more.
    assert_eq!(file(&path, key("b")).check(), Ok(()));
    let store = open(&path, key("b"));
    assert_eq!(numbers(&store, "s").await.unwrap(), [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_key_is_rotated_while_a_file_is_upgraded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    write_second(&path, key("a").as_ref());
    let store = open(&path, rotated("b", "a"));
    is_all_there(&store, "ann").await;
    assert_eq!(store.append("s", content("d", 1), 2, QUOTA).await, Ok(4));
    close(store, &path).await;
    // Turns are left under the old key.
    let error = file(&path, key("b")).check().unwrap_err();
    assert!(
        error.to_string().contains("`context.old_keys_env`"),
        "{error}"
    );
    let store = open(&path, rotated("b", "a"));
    tidy(&store, Alive::default()).await;
    close(store, &path).await;
    // Now the old key is not needed any more.
    assert_eq!(file(&path, key("b")).check(), Ok(()));
    let store = open(&path, key("b"));
    assert_eq!(numbers(&store, "s").await.unwrap(), [1, 2, 3, 4]);
    let first = store.find("s").await.unwrap().unwrap().session;
    assert_eq!(first.details, session("s", 1).details);
}

#[tokio::test]
async fn a_key_is_rotated_in_small_steps_and_from_the_first_version_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    write_first(&path, key("a").as_ref());
    let store = open(&path, rotated("b", "a"));
    let appends = (0..150).map(|_| store.append("s", content("x", 1), 2, QUOTA));
    for appended in futures_util::future::join_all(appends).await {
        appended.unwrap();
    }
    let (steps, _) = tidy(&store, Alive::default()).await;
    // One for the session and one for the end of these, and three for the turns and one for their end.
    assert_eq!(steps, 6);
    close(store, &path).await;
    let store = open(&path, rotated("c", "b"));
    assert_eq!(numbers(&store, "s").await.unwrap().len(), 153);
    tidy(&store, Alive::default()).await;
    close(store, &path).await;
    let store = open(&path, key("c"));
    assert_eq!(numbers(&store, "s").await.unwrap().len(), 153);
}

#[tokio::test]
async fn removed_turns_stay_removed_while_a_key_is_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = open(&path, key("a"));
    store.insert(session("s", 1), QUOTA).await.unwrap();
    let appends = (0..150).map(|_| store.append("s", content("x", 1), 2, QUOTA));
    for appended in futures_util::future::join_all(appends).await {
        appended.unwrap();
    }
    store.remove(named("ann", "s")).await.unwrap();
    close(store, &path).await;
    let store = open(&path, rotated("b", "a"));
    // A new session of the same name sees nothing of what is not erased yet.
    store.insert(session("s", 1), QUOTA).await.unwrap();
    assert_eq!(numbers(&store, "s").await.unwrap(), [0; 0]);
    store.append("s", content("y", 1), 2, QUOTA).await.unwrap();
    tidy(&store, Alive::default()).await;
    assert_eq!(numbers(&store, "s").await.unwrap(), [1]);
}
