//! Collections through their handle, and what is left on the disk.

mod erasure;

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
use kebne_file_store::{Claim, FileStore as _};
use kebne_retrieval::{Attribute, BuiltIn, Embedded, Embedder, HashedNgrams, Role};
use tempfile::TempDir;

mod disk;
mod exact;
mod lane;
mod queue;
mod retention;
mod store;
mod unpaid;

use super::*;
use crate::{
    model::Ages,
    sqlite::{DAY_MS, Database, Lane, Place},
};

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
    embedder: Arc<dyn Embedder>,
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
            embedder: Arc::new(BuiltIn::new(HashedNgrams::new(384))),
        }
    }

    fn place(&self) -> Place {
        let keyring = self.key.as_ref().map(|key| Keyring::from_hex(key).unwrap());
        Place::new(
            self.settings.path.clone(),
            keyring,
            self.embedder.space(),
            1 << 20,
        )
    }

    fn collections(&self) -> Collections {
        let now = Arc::clone(&self.now);
        let parts = CollectionsParts {
            settings: self.settings.clone(),
            keyring: self.key.as_ref().map(|key| Keyring::from_hex(key).unwrap()),
            clock: Arc::new(move || now.load(SeqCst)),
            count: Arc::clone(&self.count),
            embedder: Arc::clone(&self.embedder),
            pdf: None,
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
    let made = collections
        .add_collection(owner, details, Lifetimes::default())
        .await;
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

/// Waits until something is so.
async fn until(what: impl Fn() -> bool) {
    for _ in 0..2000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not happen in 10 s");
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
    Ok(collections
        .search(owner, &query, &embedded(&query))?
        .sources)
}

/// Returns the vectors of a query by the built-in embedder.
fn embedded(query: &Query) -> QueryVectors {
    let embedder = HashedNgrams::new(384);
    let vectors = query.texts.iter().map(|text| embedder.embed(text));
    QueryVectors {
        vectors: vectors.collect(),
        missing: None,
    }
}

/// Does a step as the actor of the store does.
fn step<T>(
    database: &mut Database,
    act: impl FnOnce(&mut Database) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    Place::transaction(database, &Claim::default(), act)
}

fn database(path: &Path, key: &str) -> Result<Database, StoreError> {
    let keyring = Keyring::from_hex(&key[..64]).unwrap();
    let old = keyring.with_old(&key[64..]).unwrap();
    Place::new(path.to_owned(), Some(old), SPACE, 1 << 20).open()
}

const SPACE: &str = "hashed-ngrams-v1-384";
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
    assert!(found[0].score > 0.5 && found[0].score < 1.0);
    assert!(found.len() == 1 || found[1].score < found[0].score / 2.0);
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
        let found = collections.search("ann", &query, &embedded(&query));
        found
            .unwrap()
            .sources
            .into_iter()
            .map(|each| each.file)
            .collect::<Vec<_>>()
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
        .add_collection("ann", CollectionDetails::default(), Lifetimes::default())
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
