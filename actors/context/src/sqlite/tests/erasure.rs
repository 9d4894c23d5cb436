//! Keys of tenants, what a file holds of a tenant, and its erasure.

use super::*;
use crate::store::erasure::{Held, Holdings};

async fn keep(store: &SqliteStore, owner: &str, id: &str, user: Option<&str>, texts: &[String]) {
    let mut kept = session(id, 1);
    kept.owner = owner.to_owned();
    let user = user.map(|user| ("user".to_owned(), user.to_owned()));
    kept.details.metadata = user.into_iter().collect();
    let quota = Quota {
        sessions_max: 1000,
        ..QUOTA
    };
    store.insert(kept, quota).await.unwrap();
    for text in texts {
        let kept = store.append(id, content(text, 10), 2, quota).await;
        kept.unwrap();
    }
}

fn whose(tenant: &str, user: Option<&str>) -> Whose {
    Whose {
        tenant: tenant.to_owned(),
        user: user.map(str::to_owned),
    }
}

/// Does all steps; returns what was found, the number of steps, and whether the key was erased.
async fn look(store: &SqliteStore, whose: &Whose, erases: bool) -> (Holdings, u64, bool) {
    let (mut all, mut steps, mut key_erased) = (Holdings::default(), 0, false);
    let mut from = Some(Next::Sessions(None));
    while let Some(next) = from {
        let looked = if erases {
            store.erase(whose.clone(), next).await.unwrap()
        } else {
            store.held(whose.clone(), next).await.unwrap()
        };
        all.join(looked.found);
        steps += 1;
        key_erased |= looked.key_erased;
        from = looked.next;
    }
    (all, steps, key_erased)
}

fn count(path: &Path, query: &str) -> i64 {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.query_row(query, [], |row| row.get(0)).unwrap()
}

fn is_in(bytes: &[u8], text: &[u8]) -> bool {
    memchr::memmem::find(bytes, text).is_some()
}

#[tokio::test]
async fn each_tenant_has_one_key_for_all_its_spaces_and_none_opens_that_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = open(&path, key("a"));
    for (owner, id) in [("ann", "a"), ("ann\u{1f}responses", "r"), ("bob", "b")] {
        keep(&store, owner, id, None, &["x".to_owned()]).await;
    }
    close(store, &path).await;
    assert_eq!(count(&path, "SELECT count(*) FROM keys"), 2);
    // Bob's key does not open Ann's row, nor does a key in the place of another.
    let connection = rusqlite::Connection::open(&path).unwrap();
    let swap =
        "UPDATE keys SET key = (SELECT key FROM keys WHERE tenant = 'bob') WHERE tenant = 'ann'";
    connection.execute(swap, []).unwrap();
    drop(connection);
    let store = open(&path, key("a"));
    let found = store.find("a").await;
    assert!(matches!(found, Err(StoreError::Damaged(_))), "{found:?}");
    assert!(store.find("b").await.unwrap().is_some());
}

#[tokio::test]
async fn an_erased_tenant_leaves_no_byte_and_no_key_in_the_file() {
    for keyring in [None, key("a")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let store = open(&path, keyring.clone());
        let texts: Vec<String> = (0..150).map(|turn| format!("ann-said-{turn:03}")).collect();
        keep(&store, "ann", "a", None, &texts).await;
        keep(&store, "ann\u{1f}responses", "r", None, &texts[..2]).await;
        let others = ["annika-said".to_owned()];
        keep(&store, "annika", "other", None, &others).await;
        let sealed: Vec<Vec<u8>> = {
            let connection = rusqlite::Connection::open(&path).unwrap();
            let select = "SELECT messages FROM turns WHERE session IN ('a', 'r')
                UNION ALL SELECT details FROM sessions WHERE owner < 'annika' AND details NOT LIKE '{%'
                UNION ALL SELECT key FROM keys WHERE tenant = 'ann'";
            let mut all = connection.prepare(select).unwrap();
            let all = all.query_map([], |row| row.get(0)).unwrap();
            all.map(Result::unwrap).collect()
        };
        assert_eq!(sealed.len(), if keyring.is_some() { 155 } else { 152 });
        let before = all_bytes(folder.path());
        assert!(sealed.iter().all(|piece| is_in(&before, piece)));
        let (held, _, _) = look(&store, &whose("ann", None), false).await;
        assert_eq!(held.has_key, keyring.is_some());
        let (removed, steps, key_erased) = look(&store, &whose("ann", None), true).await;
        assert_eq!(removed.spaces, held.spaces);
        assert_eq!(removed.spaces[""].turns, 150);
        assert_eq!(removed.spaces["responses"].turns, 2);
        assert_eq!(key_erased, keyring.is_some());
        assert!(steps > 3, "turns are erased in small steps: {steps}");
        assert_eq!(store.empty_log().await, Ok(true));
        let after = all_bytes(folder.path());
        for piece in sealed {
            assert!(!is_in(&after, &piece), "{keyring:?}");
        }
        assert!(!is_in(&after, b"ann-said-"));
        // What the other tenant said stays.
        assert_eq!(is_in(&after, b"annika-said"), keyring.is_none());
        let (left, steps, key_erased) = look(&store, &whose("ann", None), true).await;
        assert_eq!((left, steps, key_erased), (Holdings::default(), 2, false));
        let others = store.turns(named("annika", "other"), 0, PART).await;
        assert_eq!(others.unwrap().items.len(), 1);
    }
}

#[tokio::test]
async fn what_is_created_while_a_tenant_is_erased_keeps_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = open(&path, key("a"));
    keep(&store, "ann", "a", None, &["x".to_owned()]).await;
    let ann = whose("ann", None);
    let first = store
        .erase(ann.clone(), Next::Sessions(None))
        .await
        .unwrap();
    keep(&store, "ann", "new", None, &["y".to_owned()]).await;
    let mut from = first.next;
    while let Some(next) = from {
        from = store.erase(ann.clone(), next).await.unwrap().next;
    }
    assert_eq!(store.find("new").await, Ok(None));
    keep(&store, "ann", "newer", None, &["z".to_owned()]).await;
    close(store, &path).await;
    let store = open(&path, key("a"));
    assert_eq!(numbers(&store, "newer").await.unwrap(), [1]);
}

#[tokio::test]
async fn a_user_is_found_and_erased_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = open(&path, key("a"));
    for number in 0..200 {
        let user = ["eve", "kim"][number % 2];
        let texts = [format!("{user} said")];
        keep(&store, "ann", &format!("s-{number:03}"), Some(user), &texts).await;
    }
    keep(&store, "ann", "nobody's", None, &["x".to_owned()]).await;
    keep(
        &store,
        "bob",
        "eve's elsewhere",
        Some("eve"),
        &["x".to_owned()],
    )
    .await;
    let eve = whose("ann", Some("eve"));
    let (held, _, _) = look(&store, &eve, false).await;
    assert_eq!(held.spaces[""].sessions, 100);
    let (removed, _, key_erased) = look(&store, &eve, true).await;
    assert_eq!(removed.spaces[""].turns, 100);
    assert!(!key_erased);
    let (left, _, _) = look(&store, &eve, false).await;
    assert_eq!(left.spaces.len(), 0);
    let (others, _, _) = look(&store, &whose("ann", None), false).await;
    let kept = Held {
        bytes: others.spaces[""].bytes,
        sessions: 101,
        turns: 101,
        oldest: Some(1),
        newest: Some(2),
    };
    assert_eq!(others.spaces[""], kept);
    assert!(store.find("eve's elsewhere").await.unwrap().is_some());
}

#[tokio::test]
async fn the_key_of_a_tenant_goes_with_its_last_session() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = open(&path, key("a"));
    for owner in ["ann", "bob", "ann\u{1f}responses"] {
        keep(&store, owner, owner, None, &["x".to_owned()]).await;
    }
    store.remove(named("ann", "ann")).await.unwrap();
    tidy(&store, Alive::default()).await;
    let keys = || count(&path, "SELECT count(*) FROM keys");
    assert_eq!(keys(), 2, "a space of the tenant needs it");
    let in_space = named("ann\u{1f}responses", "ann\u{1f}responses");
    store.remove(in_space).await.unwrap();
    tidy(&store, Alive::default()).await;
    assert_eq!(keys(), 1);
    keep(&store, "ann", "again", None, &["y".to_owned()]).await;
    assert_eq!(numbers(&store, "again").await.unwrap(), [1]);
}

#[tokio::test]
async fn turns_of_a_former_owner_follow_to_the_key_of_the_present_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = open(&path, key("a"));
    keep(&store, "ann", "s", None, &["x".to_owned(), "y".to_owned()]).await;
    assert_eq!(store.adopt("ann", "tenant").await, Ok(false));
    let turns = async |store: &SqliteStore| {
        let turns = store.turns(named("tenant", "s"), 0, PART).await;
        turns.unwrap().items.len()
    };
    assert_eq!(turns(&store).await, 2);
    // Another process goes on with it.
    close(store, &path).await;
    let store = open(&path, key("a"));
    tidy(&store, Alive::default()).await;
    assert_eq!(count(&path, "SELECT count(*) FROM keys"), 1);
    let tenant = count(&path, "SELECT count(*) FROM keys WHERE tenant = 'tenant'");
    assert_eq!((tenant, turns(&store).await), (1, 2));
}

#[tokio::test]
async fn a_key_that_was_created_in_a_step_that_failed_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let store = open(&path, key("a"));
    keep(&store, "bob", "b", None, &["x".to_owned()]).await;
    let tight = Quota {
        bytes_max: 10,
        ..QUOTA
    };
    let refused = store.insert(session("s", 1), tight).await;
    assert!(matches!(refused, Err(StoreError::BytesFull { .. })));
    assert_eq!(count(&path, "SELECT count(*) FROM keys"), 1);
    // The next key has the number of the one that was rolled back.
    keep(&store, "cid", "c", None, &["x".to_owned()]).await;
    close(store, &path).await;
    let store = open(&path, key("a"));
    let found = store.turns(named("cid", "c"), 0, PART).await;
    assert_eq!(found.unwrap().items.len(), 1);
}
