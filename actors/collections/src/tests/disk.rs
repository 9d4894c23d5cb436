//! What is on the disk, and what is not.

use super::*;

#[actix::test]
async fn no_word_is_on_the_disk_and_what_is_removed_is_gone() {
    for key in [Some("a".repeat(64)), None] {
        let world = World {
            key: key.clone(),
            ..World::new()
        };
        let collections = world.collections();
        let id = collection(&collections, "ann").await;
        let lake = add(&collections, "ann", &id, "lake.md", LAKE).await;
        let words = ["Torneträsk", "lake.md", "handbook of secrets"];
        let disk = world.disk();
        for word in words {
            assert_eq!(has(&disk, word), key.is_none(), "{word}");
        }
        search(&collections, "ann", &id, "lake").unwrap();
        assert!(collections.index_bytes() > 0);
        collections.remove_file("ann", &lake.file).await.unwrap();
        collections.remove_collection("ann", &id).await.unwrap();
        assert_eq!(collections.index_bytes(), 0);
        let disk = world.disk();
        for word in words.into_iter().chain(["ann"]) {
            assert!(!has(&disk, word), "{word} is left");
        }
        collections.stop();
    }
}

#[test]
fn the_key_can_be_replaced_and_a_wrong_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("c.sqlite");
    let (a, b) = ("a".repeat(64), "b".repeat(64));
    let settings = CollectionsSettings::default();
    let file = FileRecord {
        id: "file-1".to_owned(),
        created: 1,
        expires: None,
        bytes: 1,
        details: FileDetails::default(),
    };
    let mut first = database(&path, &a).unwrap();
    step(&mut first, |database| {
        database.add_file("ann", &file, LAKE.as_bytes(), &settings)
    })
    .unwrap();
    drop(first);
    let wrong = database(&path, &b).unwrap_err();
    assert!(matches!(wrong, StoreError::Damaged(_)), "{wrong}");
    let plain = Place::new(path.clone(), None, SPACE, 1 << 20)
        .open()
        .unwrap_err();
    assert!(plain.to_string().contains("no key is set"), "{plain}");
    drop(database(&path, &format!("{b}{a}")).unwrap());
    // The old key is not needed any more.
    let mut rotated = database(&path, &b).unwrap();
    let content = step(&mut rotated, |database| {
        database.content("ann", "file-1", 2)
    });
    assert_eq!(content.unwrap(), LAKE.as_bytes());
    assert!(database(&path, &a).is_err());
}

#[test]
fn what_has_expired_is_gone_at_once_and_erased_by_the_sweep() {
    let folder = tempfile::tempdir().unwrap();
    let mut database = database(&folder.path().join("c.sqlite"), &"a".repeat(64)).unwrap();
    let settings = CollectionsSettings::default();
    let file = |id: &str, expires| FileRecord {
        id: id.to_owned(),
        created: 1,
        expires,
        bytes: 1,
        details: FileDetails::default(),
    };
    let collection = Collection {
        id: "vs_1".to_owned(),
        created: 0,
        used: 0,
        expires_after_days: Some(1),
        file_days: None,
        details: CollectionDetails::default(),
        counts: Counts::default(),
        bytes: 0,
        waiting: 0,
    };
    step(&mut database, |database| {
        database.add_file("ann", &file("file-1", Some(5)), &[1], &settings)?;
        database.add_file("ann", &file("file-2", None), &[1], &settings)?;
        database.add_collection("ann", &collection, &settings)
    })
    .unwrap();
    let mut look = |now| {
        step(&mut database, |database| {
            let file = database.file("ann", "file-1", now).is_ok();
            let collection = database.collection("ann", "vs_1", now).is_ok();
            Ok((
                file,
                collection,
                database.remove_expired(now, Ages::default())?,
            ))
        })
    };
    assert_eq!(look(4), Ok((true, true, 0)));
    assert_eq!(look(5), Ok((false, true, 1)));
    assert_eq!(look(DAY_MS), Ok((false, false, 1)));
    assert_eq!(look(DAY_MS), Ok((false, false, 0)));
    assert!(
        step(&mut database, |database| database
            .file("ann", "file-2", DAY_MS))
        .is_ok()
    );
}

#[test]
fn a_file_that_disappears_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path().join("c.sqlite"), None, SPACE, 1 << 20);
    drop(place.open().unwrap());
    std::fs::remove_file(folder.path().join("c.sqlite")).unwrap();
    let gone = place.open().unwrap_err();
    assert!(gone.to_string().contains("has disappeared"), "{gone}");
    assert!(!folder.path().join("c.sqlite").exists());
}
