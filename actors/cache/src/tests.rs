//! The stores, the actor, and what is left on the disk.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::{Actor, Handler};
use kebne_actors::{ActorRef, ActorSystem, Context, Props, Spawn};
use kebne_cache::{Key, Observation};
use kebne_retrieval::Vector;
use kebne_settings::{ByteCount, HumanDuration};
use tempfile::TempDir;

use super::{
    contract::{BOUNDS, asking, entry, key},
    *,
};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const OTHER_KEY: &str = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[test]
fn each_store_keeps_the_contract() {
    contract::check(|| Box::new(MemoryStore::new(BOUNDS)));
    for keyring in [None, Some(Keyring::from_hex(KEY).unwrap())] {
        let mut folders = Vec::new();
        contract::check(|| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a/cache.sqlite");
            folders.push(folder);
            let place = Place::new(path, keyring.clone(), 1 << 20);
            Box::new(place.open(BOUNDS).unwrap())
        });
    }
}

#[test]
fn the_file_hides_what_it_holds_and_erasing_an_owner_removes_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.sqlite");
    let keyring = Keyring::from_hex(KEY).unwrap();
    let place = Place::new(path.clone(), Some(keyring.clone()), 1 << 20);
    let mut store = place.open(BOUNDS).unwrap();
    store
        .keep("ann", asking(7, "a secret question", &[1.0, 0.5]), 0)
        .unwrap();
    store
        .learn("ann", ("m", key(200)), b"learned secret".to_vec(), 0)
        .unwrap();
    let bytes = || {
        let mut all = std::fs::read(&path).unwrap();
        all.extend(std::fs::read(path.with_extension("sqlite-wal")).unwrap_or_default());
        all
    };
    let has = |needle: &[u8]| bytes().windows(needle.len()).any(|window| window == needle);
    assert!(!has(b"secret") && !has(&[7; 32]) && has(b"ann"));
    let keys = |path: &std::path::Path| {
        let connection = rusqlite::Connection::open(path).unwrap();
        let count = connection.query_row("SELECT count(*) FROM owners", [], |row| {
            row.get::<_, i64>(0)
        });
        count.unwrap()
    };
    assert_eq!(keys(&path), 1);
    store
        .erase(&Scope {
            owner: Some("ann".to_owned()),
            model: None,
        })
        .unwrap();
    assert_eq!(keys(&path), 0);
    assert!(!has(b"ann"));
    drop(store);

    // Another key does not open it; with the old key beside it, it does.
    let mut store = place.open(BOUNDS).unwrap();
    store.keep("ann", entry(1, "kept"), 0).unwrap();
    drop(store);
    let other = Keyring::from_hex(OTHER_KEY).unwrap();
    let wrong = Place::new(path.clone(), Some(other.clone()), 1 << 20).open(BOUNDS);
    assert!(matches!(wrong, Err(StoreError::Damaged(_))));
    let none = Place::new(path.clone(), None, 1 << 20).open(BOUNDS);
    assert!(matches!(none, Err(StoreError::Damaged(_))));
    let both = other.clone().with_old(KEY).unwrap();
    let mut store = Place::new(path.clone(), Some(both), 1 << 20)
        .open(BOUNDS)
        .unwrap();
    assert!(store.look("ann", key(1), 1).unwrap().is_some());
    drop(store);
    let mut store = Place::new(path, Some(other), 1 << 20).open(BOUNDS).unwrap();
    assert!(store.look("ann", key(1), 1).unwrap().is_some());
    assert_eq!(store.totals().entries, 1);
}

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

/// A process with a cache.
struct World {
    system: ActorSystem,
    parent: ActorRef<Parent>,
    now: Arc<AtomicU64>,
    settings: CacheSettings,
    _folder: TempDir,
}

impl World {
    fn new(store: CacheStoreKind) -> Self {
        let system = ActorSystem::new("test", 7);
        let parent = system.spawn(Props::new(|| Parent), "parent");
        let folder = tempfile::tempdir().unwrap();
        let settings = CacheSettings {
            store,
            path: folder.path().join("cache.sqlite"),
            timeout: HumanDuration(Duration::from_secs(5)),
            bytes_max: ByteCount::from_mib(1),
            ..CacheSettings::default()
        };
        Self {
            system,
            parent,
            now: Arc::new(AtomicU64::new(1000)),
            settings,
            _folder: folder,
        }
    }

    fn parts(&self) -> CacheParts {
        let now = Arc::clone(&self.now);
        CacheParts {
            settings: self.settings.clone(),
            keyring: None,
            clock: Arc::new(move || now.load(SeqCst)),
        }
    }

    async fn end(self, cache: AnswerCache) {
        self.system.terminate().await;
        cache.stop();
    }
}

#[actix::test]
async fn the_actor_keeps_finds_learns_counts_and_erases() {
    for kind in [CacheStoreKind::Memory, CacheStoreKind::Sqlite] {
        let world = World::new(kind);
        let cache = AnswerCache::new(&world.parent, world.parts());
        cache.check().unwrap();
        cache.keep("ann", asking(1, "q", &[1.0, 0.0])).await;
        assert!(cache.look("ann", key(1)).await.is_some());
        assert!(cache.look("bob", key(1)).await.is_none());
        let vector = Vector::new(&[1.0, 0.0]).unwrap();
        let observation = Observation {
            similarity: 0.9,
            is_right: true,
        };
        cache.learn("ann", "m", key(200), observation).await;
        cache.learn("ann", "m", key(200), observation).await;
        let similar = cache
            .similar("ann", key(200), ("s", vector), (0.5, 1))
            .await;
        let (found, learned) = similar.unwrap();
        assert_eq!((found.len(), learned.observed()), (1, 2));
        world.now.store(2000, SeqCst);
        assert!(cache.look("ann", key(1)).await.is_none());
        cache
            .keep(
                "ann",
                Entry {
                    expires: 9000,
                    ..entry(2, "x")
                },
            )
            .await;
        let unwanted = Entry {
            expires: 9000,
            ..entry(3, "x")
        };
        cache.keep_if("ann", unwanted, || false).await;
        assert!(cache.look("ann", key(3)).await.is_none());
        let counts = cache.counts(Some("ann".to_owned())).await.unwrap();
        assert!(counts.iter().any(|one| one.entries >= 1));
        let erased = cache.erase(Scope::default()).await.unwrap();
        assert!(erased.entries >= 1);
        assert_eq!(cache.health().totals.entries, 0);
        assert_eq!(cache.health().failures, 0);
        world.end(cache).await;
    }
}

#[actix::test]
async fn a_store_that_fails_costs_misses_and_is_left_alone() {
    let world = World::new(CacheStoreKind::Memory);
    let opened = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&opened);
    let open: OpenStore = Arc::new(move || {
        count.fetch_add(1, SeqCst);
        Err(StoreError::Failed("no disk".to_owned()))
    });
    let cache = AnswerCache::with_store(&world.parent, world.parts(), open);
    for _ in 0..5 {
        assert!(cache.look("ann", key(1)).await.is_none());
        cache.keep("ann", entry(1, "x")).await;
    }
    // The first failure is followed by a pause.
    assert_eq!(opened.load(SeqCst), 1);
    let health = cache.health();
    assert_eq!(health.failures, 10);
    assert!(health.reason.unwrap().contains("no disk"));
    assert!(cache.erase(Scope::default()).await.is_err());
    world.end(cache).await;
}

#[actix::test]
async fn a_store_that_panics_is_restarted() {
    struct Panics;

    impl CacheStore for Panics {
        fn look(&mut self, _: &str, _: Key, _: u64) -> Result<Option<Entry>, StoreError> {
            panic!("as the test says")
        }
        fn keep(&mut self, _: &str, _: Entry, _: u64) -> Result<(), StoreError> {
            Ok(())
        }
        fn similar(
            &mut self,
            _: &str,
            _: Key,
            _: (&str, &Vector),
            _: (f32, usize),
            _: u64,
        ) -> Result<Vec<Candidate>, StoreError> {
            Ok(Vec::new())
        }
        fn learned(&mut self, _: &str, _: Key) -> Result<Option<Vec<u8>>, StoreError> {
            Ok(None)
        }
        fn learn(&mut self, _: &str, _: (&str, Key), _: Vec<u8>, _: u64) -> Result<(), StoreError> {
            Ok(())
        }
        fn erase(&mut self, _: &Scope) -> Result<Erased, StoreError> {
            Ok(Erased {
                entries: 7,
                bytes: 7,
                keys: 0,
            })
        }
        fn sweep(&mut self, _: u64) -> Result<u64, StoreError> {
            Ok(0)
        }
        fn counts(&mut self, _: Option<&str>) -> Result<Vec<Count>, StoreError> {
            Ok(Vec::new())
        }
        fn totals(&self) -> Totals {
            Totals::default()
        }
    }

    let world = World::new(CacheStoreKind::Memory);
    let open: OpenStore = Arc::new(|| Ok(Box::new(Panics)));
    let cache = AnswerCache::with_store(&world.parent, world.parts(), open);
    assert!(cache.look("ann", key(1)).await.is_none());
    assert_eq!(cache.erase(Scope::default()).await.unwrap().entries, 7);
    assert_eq!(cache.health().failures, 1);
    world.end(cache).await;
}
