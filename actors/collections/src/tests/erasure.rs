//! The erasure of all that is held of an owner.

use super::*;
use crate::erasure::Holdings;

#[actix::test]
async fn an_erased_owner_leaves_no_byte_and_no_key() {
    for key in [None, Some("a".repeat(64))] {
        let mut world = World::new();
        world.key = key;
        let collections = world.collections();
        let of_ann = collection(&collections, "ann").await;
        for number in 0..25 {
            let (name, text) = (
                format!("ann-{number}.txt"),
                format!("Ann said number {number}."),
            );
            add(&collections, "ann", &of_ann, &name, &text).await;
        }
        let of_bob = collection(&collections, "bob").await;
        add(&collections, "bob", &of_bob, "b.txt", "Bob said this.").await;
        let query = || Query {
            collections: vec![of_ann.clone()],
            texts: vec!["said".to_owned()],
            limit: 3,
            score_min: 0.0,
            filter: None,
            ..Query::default()
        };
        assert_eq!(
            collections
                .search("ann", &query(), &QueryVectors::default())
                .unwrap()
                .sources
                .len(),
            3
        );
        let held = collections.held("ann").await.unwrap();
        assert_eq!((held.collections, held.files, held.chunks), (1, 25, 25));
        assert_eq!(held.has_key, world.key.is_some());
        let erased = collections.erase("ann").await.unwrap();
        assert_eq!(erased.removed, held);
        assert_eq!(erased.key_erased, world.key.is_some());
        assert!(erased.log_emptied);
        let left = collections.held("ann").await.unwrap();
        assert_eq!(left, Holdings::default());
        assert!(
            collections
                .search("ann", &query(), &QueryVectors::default())
                .is_err()
        );
        let disk = world.disk();
        assert!(!has(&disk, "Ann said") && !has(&disk, "ann-"));
        assert_eq!(has(&disk, "Bob said"), world.key.is_none());
        let again = collections.erase("ann").await.unwrap();
        assert!(again.removed.is_empty() && !again.key_erased);
        let of_bob = collections.held("bob").await.unwrap();
        assert_eq!((of_bob.collections, of_bob.files), (1, 1));
        collections.stop();
        world.system.terminate().await;
    }
}

#[actix::test]
async fn many_chunks_are_erased_in_small_steps_and_are_invisible_from_the_first_on() {
    let world = World::new();
    let collections = world.collections();
    let of_ann = collection(&collections, "ann").await;
    add(&collections, "ann", &of_ann, "a.txt", "Ann said this.").await;
    let mut database = world.place().open().unwrap();
    let hidden = step(&mut database, |database| database.hide("ann")).unwrap();
    assert_eq!((hidden.collections, hidden.files), (1, 1));
    let read = collections.collection("ann", &of_ann).await;
    assert!(read.is_err());
    // An erasure that was interrupted is ended by the next.
    drop(database);
    let erased = collections.erase("ann").await.unwrap();
    assert!(erased.key_erased);
    let left = collections.held("ann").await.unwrap();
    assert_eq!(left, Holdings::default());
    // What is created later has a key of its own.
    let again = collection(&collections, "ann").await;
    add(&collections, "ann", &again, "a.txt", "Ann said that.").await;
    assert!(collections.collection("ann", &again).await.is_ok());
    collections.stop();
    world.system.terminate().await;
}

#[actix::test]
async fn documents_that_are_too_old_are_erased_by_the_sweep() {
    let world = World::new();
    let mut database = world.place().open().unwrap();
    let file = |id: &str, created| FileRecord {
        id: id.to_owned(),
        created,
        expires: None,
        bytes: 3,
        details: FileDetails {
            name: format!("{id}.txt"),
            purpose: "assistants".to_owned(),
        },
    };
    let settings = CollectionsSettings::default();
    step(&mut database, |database| {
        for (id, created) in [("file-old", 1000), ("file-new", 2000)] {
            database.add_file("ann", &file(id, created), b"abc", &settings)?;
        }
        Ok(())
    })
    .unwrap();
    let sweep = |database: &mut Database, before: Option<u64>| {
        let ages = Ages {
            document: before.map(|before| Duration::from_millis(5000 - before)),
            member: None,
        };
        let removed = step(database, |database| database.remove_expired(5000, ages));
        removed.unwrap()
    };
    assert_eq!(sweep(&mut database, None), 0);
    assert_eq!(sweep(&mut database, Some(1000)), 0);
    assert_eq!(sweep(&mut database, Some(1001)), 1);
    let find = |database: &mut Database, id: &str| {
        step(database, |database| database.file("ann", id, 5000)).is_ok()
    };
    assert!(!find(&mut database, "file-old") && find(&mut database, "file-new"));
    assert_eq!(sweep(&mut database, Some(3000)), 1);
    let held = step(&mut database, |database| database.held("ann")).unwrap();
    assert_eq!(held, Holdings::default(), "the key goes with the last file");
}
