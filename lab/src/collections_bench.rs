//! What a collection of many chunks costs: `kebne-lab collections-bench`.
//!
//! Chunks of drawn words and vectors go through the ingestion of the program into an encrypted file; then a second process, as after a
//! restart, searches it. So the figures are those of the program, without the time of a model for the vectors.

mod corpus;
mod searches;

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use actix::{Actor, Handler};
use kebne_actors::{ActorRef, ActorSystem, Context, Props, Spawn};
use kebne_collections::{
    BadKey, CollectionDetails, CollectionError, Collections, CollectionsParts, CollectionsSettings,
    Document, Keyring, Lifetimes, StoreError,
};
use kebne_retrieval::InvalidVector;
use kebne_settings::ByteCount;

use corpus::Corpus;

/// The owner of the collection.
const OWNER: &str = "bench";
/// The file beside the store that holds the id of the collection.
const ID: &str = "collection";
/// The chunks of a document.
const DOCUMENT: usize = 1000;
/// The documents that may wait to be read while another is imported.
const UNREAD_MAX: u64 = 4;
/// The time between two looks at the progress.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The arguments of `collections-bench`.
#[derive(Clone, Debug, clap::Args)]
pub struct CollectionsBench {
    /// The number of chunks.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    chunks: u64,
    /// The components of their vectors.
    #[arg(long, default_value_t = 384)]
    dimensions: usize,
    /// The words of a chunk. A chunk of 800 tokens, the default of the program, has about 600.
    #[arg(long, default_value_t = 200)]
    words: usize,
    /// The searches that are timed.
    #[arg(long, default_value_t = 300)]
    searches: u64,
    /// Also search by the graph. Its construction takes about a millisecond for each chunk.
    #[arg(long)]
    graph: bool,
    /// The folder for the file. Default: a temporary one.
    #[arg(long, overrides_with = "folder")]
    folder: Option<PathBuf>,
    /// Only search what is in the folder: the second process.
    #[arg(long, hide = true)]
    only_search: bool,
}

/// The reason why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum CollectionsBenchError {
    /// A file or a process cannot be used.
    #[error("cannot use a file or a process: {0}")]
    Io(#[from] io::Error),
    /// The collection cannot be used.
    #[error(transparent)]
    Collection(#[from] CollectionError),
    /// A search failed.
    #[error(transparent)]
    Search(#[from] StoreError),
    /// A vector is not one.
    #[error(transparent)]
    Vector(#[from] InvalidVector),
    /// The key is none.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// The second process failed.
    #[error("the process that searches failed: {0}")]
    Process(String),
}

/// The parent of the collection's actors.
struct Root;

impl Actor for Root {
    type Context = Context<Self>;
}

impl Handler<Spawn> for Root {
    type Result = ();

    fn handle(&mut self, spawn: Spawn, ctx: &mut Context<Self>) {
        spawn.perform(ctx);
    }
}

/// Runs the bench, and returns what is to be printed.
///
/// # Errors
/// See [`CollectionsBenchError`].
pub fn run(arguments: &CollectionsBench) -> Result<String, CollectionsBenchError> {
    let temporary = tempfile::tempdir()?;
    let folder = arguments.folder.as_deref().unwrap_or(temporary.path());
    let corpus = arguments.corpus();
    let system = actix_rt::System::new();
    if arguments.only_search {
        let plan = (arguments.searches, arguments.graph);
        return system.block_on(searches::measure(folder, &corpus, plan));
    }
    let mut text = system.block_on(import(folder, &corpus))?;
    drop(system);
    // The same command, so that it runs in whatever program this is a part of.
    let second = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .arg("--only-search")
        .arg("--folder")
        .arg(folder)
        .output()?;
    if !second.status.success() {
        let why = String::from_utf8_lossy(&second.stderr);
        return Err(CollectionsBenchError::Process(why.into_owned()));
    }
    text.push_str(&String::from_utf8_lossy(&second.stdout));
    Ok(text)
}

impl CollectionsBench {
    fn corpus(&self) -> Corpus {
        Corpus {
            chunks: self.chunks,
            dimensions: self.dimensions,
            words: self.words,
        }
    }
}

/// Returns the handle of the collections in a folder, whose vectors are searched by a graph from so many on.
fn open(
    folder: &Path,
    corpus: &Corpus,
    graph_chunks_min: u64,
) -> Result<(ActorSystem, Collections), CollectionsBenchError> {
    let system = ActorSystem::new("bench", 7);
    let parent: ActorRef<Root> = system.spawn(Props::new(|| Root), "root");
    let settings = CollectionsSettings {
        path: folder.join("collections.sqlite"),
        owner_bytes_max: ByteCount(u64::MAX >> 1),
        index_size_max: ByteCount(u64::MAX >> 1),
        chunks_max: u64::MAX,
        graph_chunks_min,
        ..CollectionsSettings::default()
    };
    let millis = || {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
    };
    let parts = CollectionsParts {
        settings,
        keyring: Some(Keyring::from_hex(&"5e".repeat(32))?),
        clock: Arc::new(millis),
        count: Arc::new(|text: &str| text.split_whitespace().count() * 4 / 3),
        embedder: Arc::new(*corpus),
        pdf: None,
    };
    let collections = Collections::new(&parent, parts);
    Ok((system, collections))
}

/// Imports the corpus.
async fn import(folder: &Path, corpus: &Corpus) -> Result<String, CollectionsBenchError> {
    let (_system, collections) = open(folder, corpus, u64::MAX)?;
    let details = CollectionDetails::default();
    let made = collections.add_collection(OWNER, details, Lifetimes::default());
    let id = made.await?.id;
    std::fs::write(folder.join(ID), &id)?;
    let began = Instant::now();
    for first in (0..corpus.chunks).step_by(DOCUMENT) {
        let document = Document {
            name: format!("{first}.jsonl"),
            content: corpus.document(first..corpus.chunks.min(first + DOCUMENT as u64)),
        };
        collections.import(OWNER, &id, document).await?;
        await_read(&collections, &id, UNREAD_MAX).await?;
    }
    await_read(&collections, &id, 0).await?;
    let spent = began.elapsed().as_secs_f64();
    collections.stop();
    let bytes: u64 = ["collections.sqlite", "collections.sqlite-wal"]
        .iter()
        .filter_map(|name| std::fs::metadata(folder.join(name)).ok())
        .map(|file| file.len())
        .sum();
    let Corpus {
        chunks,
        dimensions,
        words,
    } = corpus;
    let rate = ratio(*chunks) / spent;
    Ok(format!(
        "{chunks} chunks of {words} words, vectors of {dimensions} components\nimport         {rate:>8.0} chunks/s ({spent:.1} s)\nfile           {:>8} MiB\n",
        bytes >> 20
    ))
}

/// Waits until at most so many documents are still to be read. A store that is busy is asked again.
async fn await_read(
    collections: &Collections,
    id: &str,
    left: u64,
) -> Result<(), CollectionsBenchError> {
    loop {
        match collections.collection(OWNER, id).await {
            Ok(shown) if shown.counts.in_progress <= left => return Ok(()),
            Ok(_) | Err(CollectionError::NoAnswer(_)) => tokio::time::sleep(LOOK_EVERY).await,
            Err(error) => return Err(error.into()),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of chunks and results")]
fn ratio(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_imported_is_found_again_by_both_indexes() {
        let folder = tempfile::tempdir().unwrap();
        let corpus = Corpus {
            chunks: 1500,
            dimensions: 64,
            words: 20,
        };
        let system = actix_rt::System::new();
        let imported = system.block_on(import(folder.path(), &corpus)).unwrap();
        assert!(imported.contains("chunks/s"), "{imported}");
        let measured = searches::measure(folder.path(), &corpus, (30, true));
        let measured = system.block_on(measured).unwrap();
        let recalls: Vec<f64> = measured
            .lines()
            .filter(|line| line.starts_with("flat") || line.starts_with("graph"))
            .map(|line| line.split_whitespace().nth(3).unwrap().parse().unwrap())
            .collect();
        assert_eq!(recalls.len(), 2, "{measured}");
        assert!(recalls[0] >= 0.99 && recalls[1] >= 0.95, "{measured}");
    }
}
