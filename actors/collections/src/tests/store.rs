//! The file: its formats, its removal, and steps that are not awaited.

use super::*;

/// The tables of format 1.
const OLD: &str = "
CREATE TABLE lock (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE owners (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, key BLOB) STRICT;
CREATE TABLE files (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner INTEGER NOT NULL,
    created INTEGER NOT NULL, expires INTEGER, bytes INTEGER NOT NULL, details BLOB NOT NULL, content BLOB NOT NULL
) STRICT;
CREATE TABLE collections (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner INTEGER NOT NULL,
    created INTEGER NOT NULL, used INTEGER NOT NULL, days INTEGER, version INTEGER NOT NULL, details BLOB NOT NULL
) STRICT;
CREATE TABLE members (
    number INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL, file INTEGER NOT NULL,
    created INTEGER NOT NULL, status TEXT NOT NULL, attempts INTEGER NOT NULL,
    chunks INTEGER NOT NULL, bytes INTEGER NOT NULL, details BLOB NOT NULL,
    UNIQUE (collection, file)
) STRICT;
CREATE INDEX members_by_file ON members (file);
CREATE INDEX members_waiting ON members (attempts, number) WHERE status = 'in_progress';
CREATE TABLE chunks (
    number INTEGER PRIMARY KEY AUTOINCREMENT, collection INTEGER NOT NULL, member INTEGER NOT NULL,
    place INTEGER NOT NULL, text BLOB NOT NULL, vector BLOB NOT NULL
) STRICT;
CREATE INDEX chunks_by_collection ON chunks (collection, number);
CREATE INDEX chunks_by_member ON chunks (member, place);
PRAGMA application_id = 1264935491;
PRAGMA user_version = 1;
INSERT INTO owners VALUES (1, 'ann', NULL);
INSERT INTO files VALUES (1, 'file-1', 1, 5, NULL, 4, CAST('{\"name\":\"a.md\",\"purpose\":\"assistants\"}' AS BLOB), CAST('lake' AS BLOB));
INSERT INTO files VALUES (2, 'file-2', 1, 5, NULL, 8, CAST('{\"name\":\"b.md\",\"purpose\":\"assistants\"}' AS BLOB), CAST('mountain' AS BLOB));
INSERT INTO collections VALUES (1, 'vs_1', 1, 5, 5, NULL, 7, CAST('{\"name\":\"old\"}' AS BLOB));
INSERT INTO members VALUES (1, 1, 1, 5, 'completed', 1, 1, 10, CAST('{}' AS BLOB));
INSERT INTO members VALUES (2, 1, 2, 5, 'in_progress', 1, 0, 0, CAST('{}' AS BLOB));
";

/// An embedder with the space of the vectors in files of the first format.
struct OfOldFile(BuiltIn);

impl Embedder for OfOldFile {
    fn space(&self) -> &str {
        SPACE
    }

    fn dimensions(&self) -> Option<usize> {
        self.0.dimensions()
    }

    fn embed(&self, texts: Vec<String>, role: Role) -> Embedded<'_> {
        self.0.embed(texts, role)
    }
}

#[actix::test]
async fn a_file_of_the_old_format_keeps_its_vectors_and_its_queue() {
    // The space of these vectors, by another embedder.
    let embedder = OfOldFile(BuiltIn::new(HashedNgrams::new(384)));
    let world = World {
        key: None,
        embedder: Arc::new(embedder),
        ..World::new()
    };
    std::fs::create_dir_all(world.settings.path.parent().unwrap()).unwrap();
    let connection = rusqlite::Connection::open(&world.settings.path).unwrap();
    connection.execute_batch(OLD).unwrap();
    let vector = HashedNgrams::new(384).embed("\nlake").to_bytes();
    let insert = "INSERT INTO chunks VALUES (3, 1, 1, 0, CAST('{\"t\":\"lake\"}' AS BLOB), ?1)";
    connection.execute(insert, [vector]).unwrap();
    drop(connection);
    let collections = world.collections();
    collections.check().unwrap();
    let shown = collections.progress();
    assert_eq!(shown.embedded, 0);
    collections.resume().await.unwrap();
    let read = read(&collections, "ann", "vs_1", "file-2").await;
    assert_eq!(read.status, Status::Completed);
    let found = search(&collections, "ann", "vs_1", "lake").unwrap();
    assert_eq!(found[0].file, "file-1");
    assert!(found[0].cosine.unwrap() > 0.99);
    // Only the file that waited was embedded. A step is counted just after it is stored.
    until(|| collections.progress().embedded == 1).await;
    let shown = collections.collection("ann", "vs_1").await.unwrap();
    assert_eq!((shown.details.name.as_str(), shown.waiting), ("old", 0));
    collections.stop();
}

#[actix::test]
async fn without_its_file_everything_is_refused_until_it_is_back() {
    let world = World::new();
    let collections = world.collections();
    let id = collection(&collections, "ann").await;
    add(&collections, "ann", &id, "lake.md", LAKE).await;
    search(&collections, "ann", &id, "lake").unwrap();
    let away = world.folder.path().join("away.sqlite");
    std::fs::rename(&world.settings.path, &away).unwrap();
    let gone = collections.collection("ann", &id).await.unwrap_err();
    assert!(gone.to_string().contains("has disappeared"), "{gone}");
    let details = FileDetails::default();
    let added = collections.add_file("ann", details.clone(), vec![1], None);
    assert!(added.await.is_err());
    let gone = search(&collections, "ann", &id, "lake").unwrap_err();
    assert!(matches!(gone, StoreError::Failed(_)), "{gone}");
    assert!(!world.settings.path.exists());
    std::fs::rename(&away, &world.settings.path).unwrap();
    assert_eq!(search(&collections, "ann", &id, "lake").unwrap().len(), 1);
    let added = collections.add_file("ann", details, vec![1], None);
    assert!(added.await.is_ok());
    collections.stop();
}

#[actix::test]
async fn a_page_before_an_item_has_the_items_next_to_it() {
    let world = World::new();
    let collections = world.collections();
    let id = collection(&collections, "ann").await;
    let mut all = Vec::new();
    for at in 0..20 {
        let details = FileDetails {
            name: format!("{at}.md"),
            // Pages of one purpose leave the others out.
            purpose: ["assistants", "user_data"][at % 2].to_owned(),
        };
        let file = collections.add_file("ann", details, LAKE.into(), None);
        all.push(file.await.unwrap().id);
    }
    let batch: Vec<_> = all
        .iter()
        .map(|file| (file.clone(), MemberDetails::default()))
        .collect();
    let batch = collections.add_batch("ann", &id, batch).await.unwrap().id;
    let page = |after: Option<&String>, before: Option<&String>, oldest_first| PageQuery {
        limit: 5,
        after: after.cloned(),
        before: before.cloned(),
        oldest_first,
    };
    let newest: Vec<String> = all.iter().rev().cloned().collect();
    for (list, oldest_first) in [(&all, true), (&newest, false)] {
        let cases = [
            (
                page(None, Some(&list[12]), oldest_first),
                &list[7..12],
                true,
            ),
            (page(None, Some(&list[5]), oldest_first), &list[..5], false),
            (page(None, Some(&list[3]), oldest_first), &list[..3], false),
            (page(None, Some(&list[0]), oldest_first), &list[..0], false),
            (
                page(Some(&list[3]), Some(&list[12]), oldest_first),
                &list[4..9],
                true,
            ),
            (
                page(Some(&list[3]), Some(&list[6]), oldest_first),
                &list[4..6],
                false,
            ),
            (
                page(Some(&list[16]), None, oldest_first),
                &list[17..],
                false,
            ),
            (page(None, None, oldest_first), &list[..5], true),
        ];
        for (page, expected, has_more) in cases {
            let files = collections.files("ann", page.clone(), None).await.unwrap();
            let files: Vec<_> = files.items.into_iter().map(|file| file.id).collect();
            assert_eq!(files, expected, "{page:?}");
            let members = collections.members("ann", &id, page.clone(), None);
            let of_batch = collections.batch_members("ann", (&id, &batch), page.clone(), None);
            for part in [members.await.unwrap(), of_batch.await.unwrap()] {
                let files: Vec<_> = part.items.into_iter().map(|member| member.file).collect();
                assert_eq!((&*files, part.has_more), (expected, has_more), "{page:?}");
            }
        }
        let page = page(None, Some(&list[12]), oldest_first);
        let purpose = Some("assistants".to_owned());
        let part = collections.files("ann", page, purpose).await.unwrap();
        let files: Vec<_> = part.items.into_iter().map(|file| file.id).collect();
        let even = list[..12]
            .iter()
            .filter(|id| all.iter().position(|each| each == *id).unwrap() % 2 == 0);
        let even: Vec<_> = even.cloned().collect();
        assert_eq!((&*files, part.has_more), (&even[even.len() - 5..], true));
    }
    let mut stores = vec![id.clone()];
    for _ in 0..3 {
        stores.push(collection(&collections, "ann").await);
    }
    let two = PageQuery {
        limit: 2,
        ..page(None, Some(&stores[3]), true)
    };
    let part = collections.collections("ann", two).await.unwrap();
    let found: Vec<_> = part.items.into_iter().map(|store| store.id).collect();
    assert_eq!((&*found, part.has_more), (&stores[1..3], true));

    let nope = "nope".to_owned();
    for (page, name) in [
        (page(None, Some(&nope), true), "before"),
        (page(Some(&nope), None, true), "after"),
    ] {
        let error = CollectionError::Store(StoreError::NotListed(name));
        for owner in ["ann", "eve"] {
            let files = collections.files(owner, page.clone(), None).await;
            assert_eq!(files.unwrap_err(), error);
            let stores = collections.collections(owner, page.clone()).await;
            assert_eq!(stores.unwrap_err(), error);
        }
        let members = collections.members("ann", &id, page.clone(), None).await;
        assert_eq!(members.unwrap_err(), error);
        let of_batch = collections.batch_members("ann", (&id, &batch), page, None);
        assert_eq!(of_batch.await.unwrap_err(), error);
    }
    collections.stop();
}

#[actix::test]
async fn a_document_that_failed_is_read_again_when_it_is_imported_again() {
    let mut world = World::new();
    world.settings.chunks_max = 1;
    let document = || Document {
        name: "long.md".to_owned(),
        content: format!("{}\n\n{}", "word ".repeat(700), "other ".repeat(700)).into(),
    };
    let collections = world.collections();
    let id = collection(&collections, "ann").await;
    let import = async |collections: &Collections| {
        let imported = collections.import("ann", &id, document()).await.unwrap();
        let member = read(collections, "ann", &id, &imported.member.file).await;
        (imported.is_unchanged, member.status, imported.member.file)
    };
    let (is_unchanged, status, file) = import(&collections).await;
    assert_eq!((is_unchanged, status), (false, Status::Failed));
    assert_eq!(
        import(&collections).await,
        (false, Status::Failed, file.clone())
    );
    collections.stop();
    // There is room now.
    world.settings.chunks_max = 10;
    let collections = world.collections();
    assert_eq!(
        import(&collections).await,
        (false, Status::Completed, file.clone())
    );
    assert_eq!(import(&collections).await, (true, Status::Completed, file));
    collections.stop();
}

#[test]
fn an_import_that_has_no_room_names_the_bound_that_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let mut database = database(&folder.path().join("c.sqlite"), &"a".repeat(64)).unwrap();
    let mut settings = CollectionsSettings {
        files_max: 2,
        ..CollectionsSettings::default()
    };
    let collection = Collection {
        id: "vs_1".to_owned(),
        created: 0,
        used: 0,
        expires_after_days: None,
        file_days: None,
        details: CollectionDetails::default(),
        counts: Counts::default(),
        bytes: 0,
        waiting: 0,
    };
    let added = step(&mut database, |database| {
        database.add_collection("ann", &collection, &settings)
    });
    added.unwrap();
    let mut import = |id: &str, name: &str, content: &str, settings: &CollectionsSettings| {
        let file = FileRecord {
            id: id.to_owned(),
            created: 1,
            expires: None,
            bytes: content.len() as u64,
            details: FileDetails {
                name: name.to_owned(),
                purpose: "assistants".to_owned(),
            },
        };
        let imported = step(&mut database, |database| {
            database.import("ann", "vs_1", (&file, content.into()), settings)
        });
        // It is read.
        let connection = rusqlite::Connection::open(folder.path().join("c.sqlite")).unwrap();
        connection
            .execute("UPDATE members SET status = 'completed'", [])
            .unwrap();
        imported.map(drop).map_err(|error| error.to_string())
    };
    import("file-1", "a", "one", &settings).unwrap();
    import("file-2", "b", "two", &settings).unwrap();
    // It has the room of the one that it replaces, until that is gone.
    import("file-3", "a", "three", &settings).unwrap();
    let full = import("file-4", "b", "four", &settings).unwrap_err();
    assert!(full.starts_with("there are already 2 files"), "{full}");
    settings.files_max = 100;
    settings.owner_bytes_max.0 = 100;
    let full = import("file-4", "b", &"x".repeat(1000), &settings).unwrap_err();
    assert!(full.starts_with("there are already 100 bytes"), "{full}");
}

#[actix::test]
async fn a_file_that_ended_the_process_is_read_after_all_others() {
    let read_first = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&read_first);
    let mut world = World::new();
    world.count = Arc::new(move |text: &str| {
        if text.contains("lake") {
            // The other lane has the time to read its file.
            std::thread::sleep(Duration::from_millis(100));
        }
        for word in ["lake", "Kebnekaise"] {
            let mut seen = seen.lock().unwrap();
            if text.contains(word) && !seen.contains(&word) {
                seen.push(word);
            }
        }
        count(text)
    });
    let collections = world.collections();
    let id = collection(&collections, "ann").await;
    let bad = add(&collections, "ann", &id, "bad.md", "Kebnekaise")
        .await
        .file;
    let other = add(&collections, "ann", &id, "other.md", "a lake")
        .await
        .file;
    collections.stop();
    let connection = rusqlite::Connection::open(&world.settings.path).unwrap();
    // As an earlier process has left them, which ended when it read the first one.
    let left = "UPDATE members SET status = 'in_progress', cut = 0, attempts = (number = 1) * 3";
    connection.execute(left, []).unwrap();
    drop(connection);
    read_first.lock().unwrap().clear();
    let collections = world.collections();
    collections.resume().await.unwrap();
    for file in [&other, &bad] {
        let member = read(&collections, "ann", &id, file).await;
        assert_eq!(member.status, Status::Completed);
    }
    assert_eq!(*read_first.lock().unwrap(), ["lake", "Kebnekaise"]);
    collections.stop();
}
