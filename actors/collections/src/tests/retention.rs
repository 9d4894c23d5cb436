//! How long files stay in collections.

use super::*;

/// Days in milliseconds, with the hour in which the test begins.
fn day(days: u64) -> u64 {
    1_000_000 + days * DAY_MS
}

fn sweep(database: &mut Database, now: u64, ages: Ages) -> u64 {
    let removed = step(database, |database| database.remove_expired(now, ages));
    removed.unwrap()
}

#[actix::test]
async fn files_leave_a_collection_at_its_age_and_others_at_that_of_the_settings() {
    let world = World::new();
    let collections = world.collections();
    let lifetimes = Lifetimes {
        unused_days: None,
        file_days: Some(2),
    };
    let short = collections
        .add_collection("ann", CollectionDetails::default(), lifetimes)
        .await
        .unwrap();
    assert_eq!(short.file_days, Some(2));
    let long = collection(&collections, "ann").await;
    let lake = add(&collections, "ann", &short.id, "lake.md", LAKE).await;
    let mountain = add(&collections, "ann", &short.id, "mountain.md", MOUNTAIN).await;
    // A file of both collections.
    collections
        .add_member("ann", &long, &mountain.file, MemberDetails::default())
        .await
        .unwrap();
    read(&collections, "ann", &long, &mountain.file).await;
    let mut database = world.place().open().unwrap();
    let none = Ages::default();
    assert_eq!(sweep(&mut database, day(2) - 1, none), 0);
    assert_eq!(
        search(&collections, "ann", &short.id, "lake").unwrap()[0].file,
        lake.file
    );
    assert_eq!(sweep(&mut database, day(2), none), 2);
    assert!(
        search(&collections, "ann", &short.id, "lake mountain")
            .unwrap()
            .is_empty()
    );
    // The one that only this collection had is erased; the other one is still found where it is.
    assert!(collections.file("ann", &lake.file).await.is_err());
    assert!(collections.file("ann", &mountain.file).await.is_ok());
    assert_eq!(
        search(&collections, "ann", &long, "mountain")
            .unwrap()
            .len(),
        1
    );

    let ages = Ages {
        document: None,
        member: Some(Duration::from_hours(72)),
    };
    assert_eq!(sweep(&mut database, day(3) - 1, ages), 0);
    // What a collection says itself is not changed by the settings.
    let change = CollectionChange {
        file_days: Some(Some(5)),
        ..CollectionChange::default()
    };
    let changed = collections
        .change_collection("ann", &long, change.clone())
        .await;
    assert_eq!(changed.unwrap().file_days, Some(5));
    assert_eq!(sweep(&mut database, day(4), ages), 0);
    let change = CollectionChange {
        file_days: Some(None),
        ..change
    };
    collections
        .change_collection("ann", &long, change)
        .await
        .unwrap();
    assert_eq!(sweep(&mut database, day(3), ages), 1);
    assert!(collections.file("ann", &mountain.file).await.is_err());
    let disk = world.disk();
    assert!(!has(&disk, "Torneträsk"));
    collections.stop();
}

#[test]
fn a_file_of_format_2_gets_ages_and_keeps_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.sqlite");
    let settings = CollectionsSettings::default();
    let collection = Collection {
        id: "vs_1".to_owned(),
        created: 5,
        used: 5,
        expires_after_days: Some(9),
        file_days: Some(1),
        details: CollectionDetails::default(),
        counts: Counts::default(),
        bytes: 0,
        waiting: 0,
    };
    let key = "a".repeat(64);
    let mut first = database(&path, &key).unwrap();
    step(&mut first, |database| {
        database.add_collection("ann", &collection, &settings)
    })
    .unwrap();
    drop(first);
    let connection = rusqlite::Connection::open(&path).unwrap();
    let back = "DROP INDEX members_by_age; ALTER TABLE collections DROP COLUMN file_days; PRAGMA user_version = 2";
    connection.execute_batch(back).unwrap();
    drop(connection);
    let mut upgraded = database(&path, &key).unwrap();
    let read = step(&mut upgraded, |database| {
        database.collection("ann", "vs_1", 6)
    });
    let read = read.unwrap();
    assert_eq!((read.expires_after_days, read.file_days), (Some(9), None));
    let change = CollectionChange {
        file_days: Some(Some(3)),
        ..CollectionChange::default()
    };
    let changed = step(&mut upgraded, |database| {
        database.change_collection("ann", "vs_1", change, 7)
    });
    assert_eq!(changed.unwrap().file_days, Some(3));
}
