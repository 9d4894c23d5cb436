//! The order in which files are read, over kills and slow files.

use super::*;

#[actix::test]
async fn a_file_that_a_killed_process_was_reading_is_read_once_by_the_next() {
    let world = World::new();
    let (file, id) = {
        let first = world.collections();
        let id = collection(&first, "ann").await;
        let done = add(&first, "ann", &id, "lake.md", LAKE).await;
        first.stop();
        // The process ends between the begin of a job and its end.
        let mut database = world.place().open().unwrap();
        let mountain = FileRecord {
            id: "file-2".to_owned(),
            created: 1,
            expires: None,
            bytes: 1,
            details: FileDetails {
                name: "mountain.md".to_owned(),
                purpose: String::new(),
            },
        };
        let settings = &world.settings;
        let job = step(&mut database, |database| {
            database.add_file("ann", &mountain, MOUNTAIN.as_bytes(), settings)?;
            let details = MemberDetails::default();
            database.add_member("ann", (&id, "file-2"), &details, (2, settings))?;
            database.next_job(Lane::First, 0)
        });
        assert_eq!(job.unwrap().unwrap().name, "mountain.md");
        (done.file, id)
    };
    let next = World {
        folder: world.folder,
        settings: world.settings,
        ..World::new()
    };
    let chunks = || -> Vec<(i64, i64)> {
        let connection = rusqlite::Connection::open(&next.settings.path).unwrap();
        let mut rows = connection
            .prepare("SELECT number, member FROM chunks ORDER BY number")
            .unwrap();
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().map(Result::unwrap).collect()
    };
    let before = chunks();
    assert_eq!(before.len(), 1);
    let collections = next.collections();
    collections.resume().await.unwrap();
    let read = read(&collections, "ann", &id, "file-2").await;
    assert_eq!(read.status, Status::Completed);
    let after = chunks();
    assert_eq!((after.len(), after[0]), (2, before[0]));
    let found = search(&collections, "ann", &id, "lake").unwrap();
    assert_eq!(found[0].file, file);
    collections.stop();
}

#[actix::test]
async fn a_file_that_takes_long_stops_nobody_and_ends_when_it_is_removed() {
    let counted = Arc::new(AtomicU64::new(0));
    let slow = Arc::clone(&counted);
    let mut world = World::new();
    world.count = Arc::new(move |text: &str| {
        if text.contains("slow") {
            slow.fetch_add(1, SeqCst);
            std::thread::sleep(Duration::from_millis(20));
        }
        count(text)
    });
    let collections = world.collections();
    let of_ann = collection(&collections, "ann").await;
    let of_bob = collection(&collections, "bob").await;
    let document = Document {
        name: "long.md".to_owned(),
        content: "slow word\n".repeat(100_000).into(),
    };
    let long = collections.import("ann", &of_ann, document).await.unwrap();
    let long = long.member.file;
    let state = async || {
        let member = collections.member("ann", &of_ann, &long).await;
        member.unwrap().status
    };
    let short = add(&collections, "bob", &of_bob, "lake.md", LAKE).await;
    assert_eq!(short.status, Status::Completed);
    // It is read again from its beginning, beside the others.
    let before = counted.load(SeqCst);
    let due = std::time::Instant::now() + Duration::from_mins(1);
    while counted.load(SeqCst) == before {
        assert!(std::time::Instant::now() < due, "it is not read");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(state().await, Status::InProgress);
    add(&collections, "bob", &of_bob, "mountain.md", MOUNTAIN).await;
    assert_eq!(state().await, Status::InProgress);

    collections.remove_file("ann", &long).await.unwrap();
    let mut last = counted.load(SeqCst);
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = counted.load(SeqCst);
        if now == last {
            collections.stop();
            return;
        }
        last = now;
    }
    panic!("the removed file is still read");
}

#[test]
fn owners_take_turns_and_what_was_begun_is_for_the_other_lane() {
    let folder = tempfile::tempdir().unwrap();
    let mut database = database(&folder.path().join("c.sqlite"), &"a".repeat(64)).unwrap();
    let settings = CollectionsSettings::default();
    for owner in ["ann", "bob"] {
        let collection = Collection {
            id: format!("vs_{owner}"),
            created: 0,
            used: 0,
            expires_after_days: None,
            file_days: None,
            details: CollectionDetails::default(),
            counts: Counts::default(),
            bytes: 0,
            waiting: 0,
        };
        let add = |database: &mut Database| {
            database.add_collection(owner, &collection, &settings)?;
            for at in 0..2 {
                let file = FileRecord {
                    id: format!("file-{owner}-{at}"),
                    created: 1,
                    expires: None,
                    bytes: 1,
                    details: FileDetails {
                        name: format!("{owner} {at}"),
                        purpose: String::new(),
                    },
                };
                database.add_file(owner, &file, LAKE.as_bytes(), &settings)?;
                let details = MemberDetails::default();
                let member = (collection.id.as_str(), file.id.as_str());
                database.add_member(owner, member, &details, (1, &settings))?;
            }
            Ok(())
        };
        step(&mut database, add).unwrap();
    }
    let mut last = 0;
    let mut next = |lane| {
        let job = step(&mut database, |database| database.next_job(lane, last));
        let job = job.unwrap()?;
        last = job.owner;
        Some((job.name, job.attempts))
    };
    let job = |name: &str, attempts| Some((name.to_owned(), attempts));
    assert_eq!(next(Lane::First), job("ann 0", 1));
    // It is being read.
    assert_eq!(next(Lane::Again), None);
    assert_eq!(next(Lane::First), job("bob 0", 1));
    assert_eq!(next(Lane::First), job("ann 1", 1));
    assert_eq!(next(Lane::First), job("bob 1", 1));
    assert_eq!(next(Lane::First), None);
    assert_eq!(next(Lane::Again), job("ann 0", 3));
    assert_eq!(next(Lane::Again), job("bob 0", 3));
    assert_eq!(next(Lane::Again), job("ann 1", 3));
}
