//! Collections through their handle, and what is left on the disk.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::{Actor, Handler};
use kebne_actors::{ActorRef, ActorSystem, Context, Props, Spawn};
use kebne_retrieval::Attribute;
use tempfile::TempDir;

use super::*;
use crate::sqlite::{DAY_MS, Database, Lane, Place};

struct Parent;

impl Actor for Parent {
    type Context = Context<Self>;
}

impl Handler<Spawn> for Parent {
    type Result = ();

    fn handle(&mut self, spawn: Spawn, ctx: &mut Context<Self>) {
        spawn.perform(ctx);
    }
}

/// A process with collections; the next one has the same folder.
struct World {
    system: ActorSystem,
    parent: ActorRef<Parent>,
    folder: TempDir,
    now: Arc<AtomicU64>,
    key: Option<String>,
    settings: CollectionsSettings,
    count: Arc<dyn Fn(&str) -> usize + Send + Sync>,
}

fn count(text: &str) -> usize {
    text.split_whitespace().count()
}

impl World {
    fn new() -> Self {
        let system = ActorSystem::new("test", 7);
        let parent = system.spawn(Props::new(|| Parent), "parent");
        let folder = tempfile::tempdir().unwrap();
        let settings = CollectionsSettings {
            path: folder.path().join("data/collections.sqlite"),
            ..CollectionsSettings::default()
        };
        Self {
            system,
            parent,
            now: Arc::new(AtomicU64::new(1_000_000)),
            key: Some("a".repeat(64)),
            settings,
            folder,
            count: Arc::new(count),
        }
    }

    fn place(&self) -> Place {
        let keyring = self.key.as_ref().map(|key| Keyring::from_hex(key).unwrap());
        Place::new(self.settings.path.clone(), keyring)
    }

    fn collections(&self) -> Collections {
        let now = Arc::clone(&self.now);
        let parts = CollectionsParts {
            settings: self.settings.clone(),
            keyring: self.key.as_ref().map(|key| Keyring::from_hex(key).unwrap()),
            clock: Arc::new(move || now.load(SeqCst)),
            count: Arc::clone(&self.count),
        };
        Collections::new(&self.parent, parts)
    }

    /// Returns everything in the folder of the store.
    fn disk(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(self.folder.path().join("data")).unwrap() {
            all.extend(std::fs::read(entry.unwrap().path()).unwrap());
        }
        all
    }
}

fn has(disk: &[u8], text: &str) -> bool {
    disk.windows(text.len()).any(|part| part == text.as_bytes())
}

async fn collection(collections: &Collections, owner: &str) -> String {
    let details = CollectionDetails {
        name: "handbook of secrets".to_owned(),
        ..CollectionDetails::default()
    };
    let made = collections.add_collection(owner, details, None).await;
    made.unwrap().id
}

/// Adds a file to a collection and waits until it is read.
async fn add(collections: &Collections, owner: &str, of: &str, name: &str, text: &str) -> Member {
    let details = FileDetails {
        name: name.to_owned(),
        purpose: "assistants".to_owned(),
    };
    let file = collections
        .add_file(owner, details, text.into(), None)
        .await
        .unwrap();
    let details = MemberDetails {
        attributes: Attributes::from([("name".to_owned(), Attribute::Text(name.to_owned()))]),
        ..MemberDetails::default()
    };
    collections
        .add_member(owner, of, &file.id, details)
        .await
        .unwrap();
    read(collections, owner, of, &file.id).await
}

/// Waits until a file is read.
async fn read(collections: &Collections, owner: &str, of: &str, file: &str) -> Member {
    for _ in 0..2000 {
        let member = collections.member(owner, of, file).await.unwrap();
        if member.status != Status::InProgress {
            return member;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the file was not read in 10 s");
}

fn search(
    collections: &Collections,
    owner: &str,
    of: &str,
    text: &str,
) -> Result<Vec<Source>, StoreError> {
    let query = Query {
        collections: vec![of.to_owned()],
        texts: vec![text.to_owned()],
        limit: 5,
        ..Query::default()
    };
    collections.search(owner, &query)
}

const LAKE: &str = "The lake Torneträsk is 70 kilometres long and freezes in December.";
const MOUNTAIN: &str = "Kebnekaise is the highest mountain of Sweden.";

#[actix::test]
async fn a_file_is_read_and_found_by_its_owner_and_by_nobody_else() {
    let world = World::new();
    let collections = world.collections();
    let id = collection(&collections, "ann").await;
    let lake = add(&collections, "ann", &id, "lake.md", LAKE).await;
    assert_eq!(lake.status, Status::Completed);
    add(&collections, "ann", &id, "mountain.txt", MOUNTAIN).await;
    let found = search(&collections, "ann", &id, "the highest mountain").unwrap();
    assert_eq!(
        (found[0].name.as_str(), found[0].text.as_str()),
        ("mountain.txt", MOUNTAIN)
    );
    assert!((found[0].score - 1.0).abs() < 1e-6 && found[1].score < 1.0);
    let shown = collections.collection("ann", &id).await.unwrap();
    assert_eq!((shown.counts.completed, shown.counts.total()), (2, 2));
    assert!(shown.bytes > 1000);

    let missing = CollectionError::Store(StoreError::NotFound(Thing::Collection));
    // Also somebody who has a store of the same name.
    let own = collection(&collections, "bob").await;
    for owner in ["bob", "eve", ""] {
        assert!(search(&collections, owner, &id, "mountain").is_err());
        let read = collections.collection(owner, &id).await.unwrap_err();
        assert_eq!(read, missing);
        let added = collections
            .add_member(owner, &id, &lake.file, MemberDetails::default())
            .await;
        assert_eq!(added.unwrap_err(), missing);
        assert!(collections.texts(owner, &id, &lake.file).await.is_err());
        assert!(collections.member(owner, &id, &lake.file).await.is_err());
        assert!(collections.remove_collection(owner, &id).await.is_err());
        assert!(collections.content(owner, &lake.file).await.is_err());
        assert!(collections.remove_file(owner, &lake.file).await.is_err());
        let page = PageQuery {
            limit: 10,
            ..PageQuery::default()
        };
        let listed = collections
            .collections(owner, page.clone())
            .await
            .unwrap()
            .items;
        assert!(listed.iter().all(|each| each.id != id));
        let files = collections.files(owner, page, None).await.unwrap();
        assert!(files.items.is_empty());
    }
    let stolen = collections
        .add_member("bob", &own, &lake.file, MemberDetails::default())
        .await;
    let missing = CollectionError::Store(StoreError::NotFound(Thing::File));
    assert_eq!(stolen.unwrap_err(), missing);
    collections.stop();
    world.system.terminate().await;
}

#[actix::test]
async fn nothing_exists_before_the_first_file_or_collection() {
    let world = World::new();
    let collections = world.collections();
    collections.resume().await.unwrap();
    collections.check().unwrap();
    let page = PageQuery {
        limit: 10,
        ..PageQuery::default()
    };
    let listed = collections.collections("ann", page).await.unwrap();
    assert!(listed.items.is_empty());
    assert!(collections.file("ann", "file-1").await.is_err());
    assert!(search(&collections, "ann", "vs_1", "a").is_err());
    assert!(!world.settings.path.parent().unwrap().exists());
    let actors = world.system.tree();
    assert!(
        actors
            .iter()
            .all(|actor| !format!("{actor:?}").contains("ingester"))
    );
    collection(&collections, "ann").await;
    assert!(world.settings.path.exists());
    collections.stop();
}

#[actix::test]
async fn a_filter_and_the_state_of_the_store_decide_what_is_found() {
    let world = World::new();
    let collections = world.collections();
    let id = collection(&collections, "ann").await;
    let lake = add(&collections, "ann", &id, "lake.md", LAKE).await;
    let mountain = add(&collections, "ann", &id, "mountain.md", MOUNTAIN).await;
    let filtered = |value: &str| {
        let filter = serde_json::json!({"type": "eq", "key": "name", "value": value});
        let query = Query {
            collections: vec![id.clone()],
            texts: vec!["mountain".to_owned()],
            filter: Some(serde_json::from_value(filter).unwrap()),
            limit: 5,
            ..Query::default()
        };
        let found = collections.search("ann", &query).unwrap();
        found.into_iter().map(|each| each.file).collect::<Vec<_>>()
    };
    assert_eq!(filtered("lake.md"), [lake.file.as_str()]);
    let other = Attributes::from([("name".to_owned(), Attribute::Text("x".to_owned()))]);
    collections
        .set_attributes("ann", &id, &lake.file, other)
        .await
        .unwrap();
    assert!(filtered("lake.md").is_empty());
    assert_eq!(filtered("x"), [lake.file.as_str()]);
    collections
        .remove_member("ann", &id, &mountain.file)
        .await
        .unwrap();
    let found = search(&collections, "ann", &id, "the highest mountain").unwrap();
    assert!(found.iter().all(|source| source.file == lake.file));
    collections.remove_file("ann", &lake.file).await.unwrap();
    assert!(search(&collections, "ann", &id, "lake").unwrap().is_empty());
    assert!(collections.file("ann", &mountain.file).await.is_ok());
    collections.stop();
}

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
        let job = database.step(|database| {
            database.add_file("ann", &mountain, MOUNTAIN.into(), settings)?;
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
async fn an_import_changes_only_what_has_changed() {
    let world = World::new();
    let collections = world.collections();
    let id = collection(&collections, "ann").await;
    let import = async |text: &str| {
        let document = Document {
            name: "lake.md".to_owned(),
            content: text.into(),
        };
        let imported = collections.import("ann", &id, document).await.unwrap();
        read(&collections, "ann", &id, &imported.member.file).await;
        imported
    };
    let first = import(LAKE).await;
    let same = import(LAKE).await;
    assert!(!first.is_unchanged && same.is_unchanged);
    assert_eq!(first.member.file, same.member.file);
    let changed = import(MOUNTAIN).await;
    assert!(!changed.is_unchanged && changed.member.file != first.member.file);
    assert!(collections.file("ann", &first.member.file).await.is_err());
    let found = search(&collections, "ann", &id, "lake").unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].text, MOUNTAIN);
    collections.stop();
}

#[actix::test]
async fn quotas_and_failures_are_said_in_words() {
    let mut world = World::new();
    world.settings.files_max = 2;
    world.settings.collections_max = 1;
    world.settings.chunks_max = 1;
    let collections = world.collections();
    let id = collection(&collections, "ann").await;
    let full = collections
        .add_collection("ann", CollectionDetails::default(), None)
        .await;
    let full = full.unwrap_err().to_string();
    assert!(full.contains("`collections.collections_max`"), "{full}");
    let bad = add(&collections, "ann", &id, "a.md", "\0").await;
    let failure = bad.details.failure.unwrap();
    assert_eq!(
        (bad.status, failure.code.as_str()),
        (Status::Failed, "unsupported_file")
    );
    let long = format!("{}\n\n{}", "word ".repeat(700), "other ".repeat(700));
    let many = add(&collections, "ann", &id, "b.md", &long).await;
    let failure = many.details.failure.unwrap();
    assert!(failure.message.contains("`collections.chunks_max`"));
    let third = collections
        .add_file("ann", FileDetails::default(), vec![1], None)
        .await;
    let third = third.unwrap_err().to_string();
    assert!(third.contains("`collections.files_max`"), "{third}");
    assert!(search(&collections, "ann", &id, "word").unwrap().is_empty());
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
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(counted.load(SeqCst) > before);
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
            details: CollectionDetails::default(),
            counts: Counts::default(),
            bytes: 0,
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
                database.add_file(owner, &file, LAKE.into(), &settings)?;
                let details = MemberDetails::default();
                let member = (collection.id.as_str(), file.id.as_str());
                database.add_member(owner, member, &details, (1, &settings))?;
            }
            Ok(())
        };
        database.step(add).unwrap();
    }
    let mut last = 0;
    let mut next = |lane| {
        let job = database.step(|database| database.next_job(lane, last));
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

fn database(path: &Path, key: &str) -> Result<Database, StoreError> {
    let keyring = Keyring::from_hex(&key[..64]).unwrap();
    let old = keyring.with_old(&key[64..]).unwrap();
    Place::new(path.to_owned(), Some(old)).open()
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
    first
        .step(|database| database.add_file("ann", &file, LAKE.into(), &settings))
        .unwrap();
    drop(first);
    let wrong = database(&path, &b).unwrap_err();
    assert!(matches!(wrong, StoreError::Damaged(_)), "{wrong}");
    let plain = Place::new(path.clone(), None).open().unwrap_err();
    assert!(plain.to_string().contains("no key is set"), "{plain}");
    drop(database(&path, &format!("{b}{a}")).unwrap());
    // The old key is not needed any more.
    let mut rotated = database(&path, &b).unwrap();
    let content = rotated.step(|database| database.content("ann", "file-1", 2));
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
        details: CollectionDetails::default(),
        counts: Counts::default(),
        bytes: 0,
    };
    database
        .step(|database| {
            database.add_file("ann", &file("file-1", Some(5)), vec![1], &settings)?;
            database.add_file("ann", &file("file-2", None), vec![1], &settings)?;
            database.add_collection("ann", &collection, &settings)
        })
        .unwrap();
    let mut step = |now| {
        database.step(|database| {
            let file = database.file("ann", "file-1", now).is_ok();
            let collection = database.collection("ann", "vs_1", now).is_ok();
            Ok((file, collection, database.remove_expired(now)?))
        })
    };
    assert_eq!(step(4), Ok((true, true, 0)));
    assert_eq!(step(5), Ok((false, true, 1)));
    assert_eq!(step(DAY_MS), Ok((false, false, 1)));
    assert_eq!(step(DAY_MS), Ok((false, false, 0)));
    assert!(
        database
            .step(|database| database.file("ann", "file-2", DAY_MS))
            .is_ok()
    );
}

#[test]
fn a_file_that_disappears_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path().join("c.sqlite"), None);
    drop(place.open().unwrap());
    std::fs::remove_file(folder.path().join("c.sqlite")).unwrap();
    let gone = place.open().unwrap_err();
    assert!(gone.to_string().contains("has disappeared"), "{gone}");
    assert!(!folder.path().join("c.sqlite").exists());
}
