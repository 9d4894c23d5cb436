//! An embedder that is slow or away, and what becomes of files and searches.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use kebne_retrieval::{EmbedError, Embedded, Role};
use tokio::sync::Semaphore;

use super::*;

/// An embedder that gives vectors to as many batches as the test allows.
struct LaneEmbedder {
    hashed: HashedNgrams,
    space: String,
    /// The batches that it may still embed.
    batches: Semaphore,
    is_away: AtomicBool,
    /// The texts of documents that it has embedded.
    embedded: AtomicU64,
    /// The questions of documents, answered or not.
    asked: AtomicU64,
}

impl LaneEmbedder {
    fn new(dimensions: usize, batches: usize) -> Arc<Self> {
        let hashed = HashedNgrams::new(dimensions);
        Arc::new(Self {
            hashed,
            space: format!("lane-{dimensions}"),
            batches: Semaphore::new(batches),
            is_away: AtomicBool::new(false),
            embedded: AtomicU64::new(0),
            asked: AtomicU64::new(0),
        })
    }
}

impl Embedder for LaneEmbedder {
    fn space(&self) -> &str {
        &self.space
    }

    fn dimensions(&self) -> Option<usize> {
        None
    }

    fn embed(&self, texts: Vec<String>, role: Role) -> Embedded<'_> {
        Box::pin(async move {
            if role == Role::Document {
                self.asked.fetch_add(1, SeqCst);
            }
            if self.is_away.load(SeqCst) {
                return Err(EmbedError::Unavailable("it loads".to_owned()));
            }
            if texts.iter().any(|text| text.contains("forbidden")) {
                return Err(EmbedError::Refused("not this".to_owned()));
            }
            if role == Role::Document {
                self.batches.acquire().await.unwrap().forget();
                self.embedded.fetch_add(texts.len() as u64, SeqCst);
            }
            Ok(texts.iter().map(|text| self.hashed.embed(text)).collect())
        })
    }
}

fn long(chunks: usize) -> String {
    let words = |at: usize| format!("part{at} {}", "word ".repeat(90));
    (0..chunks).map(words).collect::<Vec<_>>().join("\n\n")
}

/// Imports a document with chunks of at most 100 tokens.
async fn import(collections: &Collections, of: &str, name: &str, text: &str) -> Member {
    let document = Document {
        name: name.to_owned(),
        content: text.into(),
    };
    collections
        .import("ann", of, document)
        .await
        .unwrap()
        .member
}

async fn add_long(collections: &Collections, of: &str, text: &str) -> Member {
    let details = FileDetails {
        name: "long.txt".to_owned(),
        purpose: "assistants".to_owned(),
    };
    let file = collections.add_file("ann", details, text.into(), None);
    let file = file.await.unwrap();
    let details = MemberDetails {
        rules: Rules {
            tokens_max: 100,
            overlap: 0,
        },
        ..MemberDetails::default()
    };
    let member = collections.add_member("ann", of, &file.id, details);
    member.await.unwrap()
}

async fn find(collections: &Collections, of: &str, text: &str) -> Found {
    let query = Query {
        collections: vec![of.to_owned()],
        texts: vec![text.to_owned()],
        limit: 5,
        ..Query::default()
    };
    let vectors = collections.embed_query(&query).await;
    collections.search("ann", &query, &vectors).unwrap()
}

fn attempts(world: &World) -> Vec<(i64, i64)> {
    let connection = rusqlite::Connection::open(&world.settings.path).unwrap();
    let mut rows = connection
        .prepare("SELECT attempts, cut FROM members")
        .unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

#[actix::test]
async fn an_embedder_that_is_away_is_waited_for_and_no_attempt_is_counted() {
    let lane = LaneEmbedder::new(64, 1000);
    lane.is_away.store(true, SeqCst);
    let world = World {
        embedder: lane.clone(),
        ..World::new()
    };
    let collections = world.collections();
    let id = collection(&collections, "ann").await;
    let member = import(&collections, &id, "lake.md", LAKE).await;
    until(|| lane.asked.load(SeqCst) >= 3).await;
    assert_eq!(attempts(&world), [(0, 1)]);
    let shown = collections.collection("ann", &id).await.unwrap();
    assert_eq!((shown.counts.in_progress, shown.waiting), (1, 1));
    let progress = collections.progress();
    assert_eq!(
        (progress.waiting, progress.away.as_deref()),
        (1, Some("it loads"))
    );
    // A question is answered by the words of what is complete, and the answer tells it.
    let found = find(&collections, &id, "lake").await;
    assert_eq!(found.sources.len(), 0);
    let why = found.coverage.words_only.unwrap();
    assert!(why.contains("it loads"), "{why}");
    lane.is_away.store(false, SeqCst);
    let done = read(&collections, "ann", &id, &member.file).await;
    assert_eq!(done.status, Status::Completed);
    let found = find(&collections, &id, "a long lake").await;
    assert!(found.sources[0].cosine.is_some() && found.coverage == Coverage::default());
    let done = EmbeddingProgress {
        embedded: 1,
        ..EmbeddingProgress::default()
    };
    // A step is counted just after it is stored.
    until(|| collections.progress() == done).await;
    collections.stop();
}

#[actix::test]
async fn a_text_that_the_embedder_refuses_fails_its_file_only() {
    let lane = LaneEmbedder::new(64, 1000);
    let world = World {
        embedder: lane.clone(),
        ..World::new()
    };
    let collections = world.collections();
    let id = collection(&collections, "ann").await;
    let bad = import(&collections, &id, "bad.md", "A forbidden text.").await;
    let good = import(&collections, &id, "lake.md", LAKE).await;
    let bad = read(&collections, "ann", &id, &bad.file).await;
    let failure = bad.details.failure.unwrap();
    assert_eq!(
        (&*failure.code, &*failure.message),
        ("invalid_file", "not this")
    );
    let good = read(&collections, "ann", &id, &good.file).await;
    assert_eq!(
        (bad.status, good.status),
        (Status::Failed, Status::Completed)
    );
    let shown = collections.collection("ann", &id).await.unwrap();
    assert_eq!(shown.waiting, 0);
    collections.stop();
}

#[actix::test]
async fn a_process_that_ends_while_a_slow_embedder_works_repeats_one_batch_at_most() {
    let lane = LaneEmbedder::new(64, 2);
    let world = World {
        embedder: lane.clone(),
        ..World::new()
    };
    let first = world.collections();
    let id = collection(&first, "ann").await;
    let member = add_long(&first, &id, &long(150)).await;
    until(|| lane.asked.load(SeqCst) == 3).await;
    assert_eq!(lane.embedded.load(SeqCst), 64);
    assert_eq!(find(&first, &id, "part3").await.sources.len(), 0);
    // The third batch is at the embedder when the process ends.
    first.stop();
    world.system.terminate().await;
    let again = LaneEmbedder::new(64, 1000);
    let next = World {
        folder: world.folder,
        settings: world.settings,
        embedder: again.clone(),
        ..World::new()
    };
    let collections = next.collections();
    collections.resume().await.unwrap();
    let done = read(&collections, "ann", &id, &member.file).await;
    assert_eq!(done.status, Status::Completed);
    assert_eq!(again.embedded.load(SeqCst), 150 - 64);
    let texts = collections.texts("ann", &id, &member.file).await.unwrap();
    assert_eq!(texts.len(), 150);
    assert!(texts[149].text.starts_with("part149 "));
    let found = find(&collections, &id, "part77").await;
    assert_eq!(found.sources[0].place, 77);
    collections.stop();
}

#[actix::test]
async fn after_a_change_of_the_embedder_chunks_are_found_by_words_until_they_have_new_vectors() {
    let world = World::new();
    let first = world.collections();
    let id = collection(&first, "ann").await;
    let member = add_long(&first, &id, &long(100)).await;
    read(&first, "ann", &id, &member.file).await;
    let of_bob = collection(&first, "bob").await;
    add(&first, "bob", &of_bob, "mountain.md", MOUNTAIN).await;
    first.stop();
    world.system.terminate().await;
    // The same size of vectors in another space.
    let lane = LaneEmbedder::new(384, 0);
    let next = World {
        folder: world.folder,
        settings: world.settings,
        embedder: lane.clone(),
        ..World::new()
    };
    let collections = next.collections();
    collections.resume().await.unwrap();
    let found = find(&collections, &id, "part42 wordy").await;
    assert_eq!(
        (found.sources[0].place, found.sources[0].cosine),
        (42, None)
    );
    assert_eq!(found.coverage.waiting, 100);
    until(|| collections.progress().waiting == 101).await;
    let shown = collections.collection("ann", &id).await.unwrap();
    assert_eq!((shown.waiting, shown.counts.completed), (100, 1));

    // Tenants take turns: the one with few chunks does not wait for the other.
    lane.batches.add_permits(2);
    until(|| lane.embedded.load(SeqCst) == 33).await;
    until(|| collections.progress().waiting == 68).await;
    let shown = collections.collection("bob", &of_bob).await.unwrap();
    assert_eq!(shown.waiting, 0);
    let found = find(&collections, &id, "part2 word").await;
    assert_eq!(found.coverage.waiting, 68);
    assert!(found.sources.iter().any(|source| source.cosine.is_some()));
    // A new file goes before the rest of the old ones.
    let new = import(&collections, &id, "lake.md", LAKE).await;
    lane.batches.add_permits(2);
    read(&collections, "ann", &id, &new.file).await;
    assert!(collections.collection("ann", &id).await.unwrap().waiting > 0);

    lane.batches.add_permits(1000);
    until(|| collections.progress().waiting == 0).await;
    let found = find(&collections, &id, "part42 word").await;
    assert_eq!(found.coverage, Coverage::default());
    assert!(found.sources[0].place == 42 && found.sources[0].cosine.is_some());
    assert_eq!(lane.embedded.load(SeqCst), 102);
    collections.stop();
}

#[actix::test]
async fn a_document_that_changes_is_found_until_its_new_version_is_read() {
    let lane = LaneEmbedder::new(64, 1);
    let mut world = World {
        embedder: lane.clone(),
        ..World::new()
    };
    // The new version takes the room of the old one.
    world.settings.files_max = 1;
    world.settings.chunks_max = 1;
    let collections = world.collections();
    let id = collection(&collections, "ann").await;
    let old = import(&collections, &id, "a/lake.md", LAKE).await;
    read(&collections, "ann", &id, &old.file).await;
    let new = import(&collections, &id, "a/lake.md", MOUNTAIN).await;
    until(|| lane.asked.load(SeqCst) == 2).await;
    assert_eq!(
        find(&collections, &id, "lake").await.sources[0].file,
        old.file
    );
    // A third version takes the place of the second, and the first is still found.
    let newest = import(&collections, &id, "a/lake.md", &format!("{MOUNTAIN} High.")).await;
    assert!(collections.file("ann", &new.file).await.is_err());
    assert_eq!(
        find(&collections, &id, "lake").await.sources[0].file,
        old.file
    );
    lane.batches.add_permits(10);
    read(&collections, "ann", &id, &newest.file).await;
    let found = find(&collections, &id, "mountain lake").await;
    let files: Vec<&str> = found
        .sources
        .iter()
        .map(|each| each.file.as_str())
        .collect();
    assert_eq!(files, [newest.file.as_str()]);
    assert!(collections.file("ann", &old.file).await.is_err());
    // A version that cannot be read leaves the last one that was.
    let bad = import(&collections, &id, "a/lake.md", "\0").await;
    let bad = read(&collections, "ann", &id, &bad.file).await;
    assert_eq!(bad.status, Status::Failed);
    assert_eq!(
        find(&collections, &id, "mountain").await.sources[0].file,
        newest.file
    );
    // To remove the new version removes the document.
    collections.remove_file("ann", &bad.file).await.unwrap();
    assert!(find(&collections, &id, "mountain").await.sources.is_empty());
    assert!(collections.file("ann", &newest.file).await.is_err());
    collections.stop();
}

#[actix::test]
async fn a_file_that_is_cut_otherwise_is_found_as_before_until_then() {
    let lane = LaneEmbedder::new(64, 1);
    let world = World {
        embedder: lane.clone(),
        ..World::new()
    };
    let collections = world.collections();
    let id = collection(&collections, "ann").await;
    let member = import(&collections, &id, "long.txt", &long(5)).await;
    read(&collections, "ann", &id, &member.file).await;
    let texts = async || {
        let texts = collections.texts("ann", &id, &member.file).await;
        texts.unwrap().len()
    };
    assert_eq!(texts().await, 1);
    let details = MemberDetails {
        rules: Rules {
            tokens_max: 100,
            overlap: 0,
        },
        ..MemberDetails::default()
    };
    let added = collections.add_member("ann", &id, &member.file, details);
    assert_eq!(added.await.unwrap().status, Status::InProgress);
    until(|| lane.asked.load(SeqCst) == 2).await;
    assert_eq!(texts().await, 1);
    assert_eq!(find(&collections, &id, "part3").await.sources.len(), 1);
    lane.batches.add_permits(1);
    read(&collections, "ann", &id, &member.file).await;
    assert_eq!(texts().await, 5);
    assert_eq!(find(&collections, &id, "part3").await.sources[0].place, 3);
    collections.stop();
}

#[actix::test]
async fn nothing_of_a_version_that_was_replaced_is_left_on_the_disk() {
    let world = World {
        key: None,
        ..World::new()
    };
    let collections = world.collections();
    let id = collection(&collections, "ann").await;
    let old = import(&collections, &id, "lake.md", LAKE).await;
    read(&collections, "ann", &id, &old.file).await;
    assert!(has(&world.disk(), "Torneträsk"));
    let new = import(&collections, &id, "lake.md", MOUNTAIN).await;
    read(&collections, "ann", &id, &new.file).await;
    until(|| !has(&world.disk(), "Torneträsk")).await;
    collections.stop();
}
